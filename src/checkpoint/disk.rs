//! Threads in a directory, safe across processes and crashes. A thread is `thread.json`, which is replaced as a whole, and
//! a file for each state, written before it is named there. So at every moment there is the old thread or the new one.

use super::error::Error;
use super::storage::{States, Storage};
use super::thread::{Retention, Thread, VERSION};
use crate::workspace::{self, Doing, Key, Limbo, Lock, OUR_DIRECTORY, file, lock};
use rustix::fs::AtFlags;
use rustix::io::Errno;
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

const NAME: &str = "thread.json";
const STATES: &str = "states";

/// The largest thread in bytes, without its states.
const LARGEST: u64 = 64 << 20;
/// The largest state in bytes.
const LARGEST_STATE: u64 = 1 << 30;

/// One thread's directory.
#[derive(Debug)]
pub(crate) struct ThreadDir {
    dir: OwnedFd,
    path: PathBuf,
}

impl ThreadDir {
    /// Opens it if it is there.
    pub(crate) fn existing(at: BorrowedFd<'_>, name: &str, path: &Path) -> Result<Option<Self>, Error> {
        let path = path.join(name);
        match file::open_directory(at, name) {
            Ok(dir) => Ok(Some(Self { dir, path })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).doing(|| format!("open `{}`", path.display())).map_err(Error::from),
        }
    }

    /// Opens it, and makes it if it is absent.
    pub(crate) fn made(at: BorrowedFd<'_>, name: &str, path: &Path) -> Result<Self, Error> {
        let path = path.join(name);
        let made = file::make_directory(at, name, OUR_DIRECTORY).and_then(|dir| {
            file::make_directory(dir.as_fd(), STATES, OUR_DIRECTORY)?;
            rustix::fs::fsync(at)?;
            Ok(dir)
        });
        let dir = made.doing(|| format!("make `{}`", path.display()))?;
        Ok(Self { dir, path })
    }

    /// What is written down, if anything is.
    pub(crate) fn read(&self) -> Result<Option<Thread>, Error> {
        let corrupt = |reason: String| workspace::Error::Corrupt { path: self.path.join(NAME), reason };
        let bytes = match file::read(self.dir.as_fd(), NAME, LARGEST) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(corrupt(error.to_string()).into()),
        };
        let thread: Thread = serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?;
        if thread.version != VERSION {
            let reason = format!("it is of version {}, and this program knows version {VERSION}", thread.version);
            return Err(corrupt(reason).into());
        }
        Ok(Some(thread))
    }

    /// The state of a checkpoint, if it is there.
    pub(crate) fn state(&self, id: &str) -> Result<Option<Value>, Error> {
        let Some(states) = Self::existing(self.dir.as_fd(), STATES, &self.path)? else { return Ok(None) };
        let name = Key::of(id)?;
        let corrupt = |reason: String| workspace::Error::Corrupt { path: states.path.join(name.as_str()), reason };
        match file::read(states.dir.as_fd(), name.as_str(), LARGEST_STATE) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(corrupt(error.to_string()).into()),
        }
    }

    /// Replaces the thread. It is on disk when this returns. The caller keeps others from doing the same.
    pub(crate) fn write(&self, thread: &Thread, fresh: &States) -> Result<(), Error> {
        let what = || format!("write `{}`", self.path.join(NAME).display());
        let states = file::make_directory(self.dir.as_fd(), STATES, OUR_DIRECTORY).doing(what)?;
        for (id, state) in fresh {
            let json = serde_json::to_vec(state).map_err(std::io::Error::from).doing(what)?;
            file::replace(states.as_fd(), Key::of(id)?.as_str(), &json).doing(what)?;
        }
        let mut json = serde_json::to_vec(thread).map_err(std::io::Error::from).doing(what)?;
        json.push(b'\n');
        if json.len() as u64 > LARGEST {
            return Err(Error::StorageFull { limit: LARGEST, wanted: json.len() as u64 });
        }
        file::replace(self.dir.as_fd(), NAME, &json).doing(what)?;
        forget(states.as_fd(), thread);
        Ok(())
    }
}

/// Removes the states that no checkpoint has. Those that can't be removed are tried again with the next change.
fn forget(states: BorrowedFd<'_>, thread: &Thread) {
    let kept: BTreeSet<Vec<u8>> =
        thread.ids().filter_map(|id| Some(Key::of(id).ok()?.as_str().as_bytes().to_vec())).collect();
    for name in file::names(states).unwrap_or_default() {
        if !kept.contains(name.to_bytes()) {
            let _next_time = rustix::fs::unlinkat(states, name.as_c_str(), AtFlags::empty());
        }
    }
}

/// Threads in a directory, one below it for each.
#[derive(Clone, Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Keeps threads in a directory of this user's alone, mode 0700, which is made when something is written.
    ///
    /// # Errors
    /// When the path is not absolute.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        if path.is_absolute() {
            return Ok(Self { path });
        }
        let what = format!("the directory `{}`", path.display());
        Err(workspace::Error::invalid(what, "its path must be absolute").into())
    }

    fn open(&self, make: bool) -> Result<Option<OwnedFd>, Error> {
        Ok(workspace::open_state(&self.path, make)?)
    }

    fn thread(&self, name: &str) -> Result<Option<ThreadDir>, Error> {
        let Some(dir) = self.open(false)? else { return Ok(None) };
        ThreadDir::existing(dir.as_fd(), Key::of(name)?.as_str(), &self.path)
    }

    /// Nobody else changes a thread while this is held. The files of locks stay, as each is several threads'.
    fn lock(&self, dir: BorrowedFd<'_>, key: &Key, name: &str) -> Result<Lock, Error> {
        let what = || format!("lock a thread in `{}`", self.path.display());
        let locks = file::make_directory(dir, "locks", OUR_DIRECTORY).doing(what)?;
        lock::make(locks.as_fd(), key.shard()).doing(what)?;
        let locked = Lock::alone(locks.as_fd(), key.shard()).doing(what)?;
        let busy = workspace::Error::Busy { id: name.to_owned(), why: "another process keeps its lock" };
        Ok(locked.ok_or(busy)?)
    }
}

impl Storage for Disk {
    fn read(&self, thread: &str) -> Result<Option<Thread>, Error> {
        self.thread(thread)?.map_or(Ok(None), |dir| dir.read())
    }

    fn state(&self, thread: &str, id: &str) -> Result<Option<Value>, Error> {
        self.thread(thread)?.map_or(Ok(None), |dir| dir.state(id))
    }

    fn change(
        &self,
        thread: &str,
        retention: Retention,
        change: &mut dyn FnMut(&mut Thread) -> Result<States, Error>,
    ) -> Result<(), Error> {
        let key = Key::of(thread)?;
        let Some(dir) = self.open(true)? else { return Ok(()) };
        let _locked = self.lock(dir.as_fd(), &key, thread)?;
        let existing = ThreadDir::existing(dir.as_fd(), key.as_str(), &self.path)?;
        let kept = existing.as_ref().map(ThreadDir::read).transpose()?.flatten();
        let mut changed = kept.unwrap_or_else(|| Thread::new(thread, retention));
        let states = change(&mut changed)?;
        let place = existing.map_or_else(|| ThreadDir::made(dir.as_fd(), key.as_str(), &self.path), Ok)?;
        place.write(&changed, &states)
    }

    fn delete(&self, thread: &str) -> Result<(), Error> {
        let key = Key::of(thread)?;
        let Some(dir) = self.open(false)? else { return Ok(()) };
        let _locked = self.lock(dir.as_fd(), &key, thread)?;
        let Some(place) = ThreadDir::existing(dir.as_fd(), key.as_str(), &self.path)? else { return Ok(()) };
        let limbo = Limbo::open(dir.as_fd())?;
        limbo.sweep();
        let half = limbo.take(dir.as_fd(), key.as_str(), place.dir);
        let half = half.doing(|| format!("remove `{}`", place.path.display()))?;
        let _swept_next_time = half.remove();
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        let Some(dir) = self.open(false)? else { return Ok(Vec::new()) };
        let mut threads = Vec::new();
        for name in file::names(dir.as_fd()).doing(|| format!("read `{}`", self.path.display()))? {
            let Some(key) = Key::parse(name.to_bytes()) else { continue };
            let found = ThreadDir::existing(dir.as_fd(), key.as_str(), &self.path)?;
            threads.extend(found.map(|dir| dir.read()).transpose()?.flatten().map(|thread| thread.name));
        }
        threads.sort();
        Ok(threads)
    }
}
