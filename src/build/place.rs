//! Where builds are: `builds` in the state directory.
//!
//! ```text
//! builds.db          the store
//! snapshots/<id>/    what is to be built, one archive each; the id is the SHA-256 of its bytes
//! artifacts/<id>/    what was made: `files`, and `manifest.json`, of whose bytes the id is the SHA-256
//! caches/<key>/      folders that builds of one owner keep; the key is the SHA-256 of owner and name
//! workers/<id>       held by a worker for as long as it lives
//! workspaces/        the workspaces of builds that run, a store of their own
//! limbo/             on the way in or out
//! lock               shared by who puts something here and then writes down that it is needed; alone by who clears up
//! ```

use super::error::{Doing, Error};
use crate::workspace::key::Key;
use crate::workspace::lock::{self, Lock};
use crate::workspace::{Limbo, OUR_DIRECTORY, fresh_name};
use crate::workspace::{file, open_state};
use rustix::fs::AtFlags;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";

/// The directory of all builds, open.
#[derive(Debug)]
pub(crate) struct Place {
    state: PathBuf,
    path: PathBuf,
    dir: OwnedFd,
    pub(crate) snapshots: OwnedFd,
    pub(crate) artifacts: OwnedFd,
    caches: OwnedFd,
    workers: OwnedFd,
}

impl Place {
    /// Opens it below this state directory, and makes it if it is absent.
    pub(crate) fn open(state: &Path) -> Result<Self, Error> {
        if !state.is_absolute() || state.to_str().is_none() {
            let what = format!("the state directory `{}`", state.display());
            return Err(Error::invalid(what, "its path must be absolute and UTF-8"));
        }
        let path = state.join("builds");
        let what = || format!("open `{}`", path.display());
        let Some(parent) = open_state(state, true)? else { return Err(Errno::NOENT).doing(what) };
        let dir = file::make_directory(parent.as_fd(), "builds", OUR_DIRECTORY).doing(what)?;
        let inner = |name: &str| {
            let made = file::make_directory(dir.as_fd(), name, OUR_DIRECTORY);
            made.doing(|| format!("open `{}`", path.join(name).display()))
        };
        let (snapshots, artifacts) = (inner("snapshots")?, inner("artifacts")?);
        let (caches, workers) = (inner("caches")?, inner("workers")?);
        lock::make(dir.as_fd(), LOCK).doing(what)?;
        Ok(Self { state: state.to_owned(), path, dir, snapshots, artifacts, caches, workers })
    }

    /// The state directory.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path.join("builds.db")
    }

    pub(crate) fn limbo(&self) -> Result<Limbo, Error> {
        Ok(Limbo::open(self.dir.as_fd())?)
    }

    /// Keeps others from clearing up what is about to be needed.
    pub(crate) fn keep(&self) -> Result<Lock, Error> {
        let locked = Lock::shared(self.dir.as_fd(), LOCK).doing(|| "lock the store of builds".to_owned())?;
        locked.ok_or(Error::Busy("somebody clears up and does not come to an end"))
    }

    /// Keeps others from putting anything here, if nobody is about to.
    pub(crate) fn clear(&self) -> Result<Lock, Error> {
        let locked = Lock::alone_briefly(self.dir.as_fd(), LOCK).doing(|| "lock the store of builds".to_owned())?;
        locked.ok_or(Error::Busy("somebody hands in a build, or publishes what one made"))
    }

    /// The folder of a cache, made if it is absent. Two owners never get the same.
    pub(crate) fn cache(&self, owner: &str, name: &str) -> Result<PathBuf, Error> {
        // By the length no owner and name make the same text as others do.
        let key = Key::of(&format!("{}:{owner}:{name}", owner.len()))?;
        let made = file::make_directory(self.caches.as_fd(), key.as_str(), OUR_DIRECTORY);
        made.doing(|| format!("make the cache `{}`", name.escape_debug()))?;
        Ok(self.path.join("caches").join(key.as_str()))
    }

    /// Signs a worker on, until what is returned is dropped or this process ends.
    pub(crate) fn sign_on(&self) -> Result<(String, OwnedFd), Error> {
        let what = || "sign a worker on".to_owned();
        loop {
            let id = fresh_name().doing(what)?;
            lock::make(self.workers.as_fd(), &id).doing(what)?;
            // Who clears up may have had the lock for a moment, or removed the file.
            match lock::file_alone_now(self.workers.as_fd(), &id) {
                Ok(Some(held)) if self.is_there(&id, held.as_fd()).doing(what)? => return Ok((id, held)),
                Ok(_) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno).doing(what),
            }
        }
    }

    /// Signs a worker off, while its lock is held still.
    pub(crate) fn sign_off(&self, worker: &str) {
        let _swept_later = rustix::fs::unlinkat(&self.workers, worker, AtFlags::empty());
    }

    fn is_there(&self, id: &str, held: BorrowedFd<'_>) -> Result<bool, Errno> {
        match file::stat(self.workers.as_fd(), id) {
            Ok(there) => Ok(file::is_same(&there, &rustix::fs::fstat(held)?)),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Whether a worker is known to be dead. What can't be told is no death.
    pub(crate) fn is_dead(&self, worker: &str) -> bool {
        match Lock::is_held(self.workers.as_fd(), worker) {
            Ok(held) => !held,
            Err(errno) => errno == Errno::NOENT,
        }
    }

    /// The workers that are signed on.
    pub(crate) fn workers(&self) -> Vec<String> {
        let names = file::names(self.workers.as_fd()).unwrap_or_default();
        names.into_iter().filter_map(|name| name.into_string().ok()).filter(|name| !self.is_dead(name)).collect()
    }

    /// Removes what dead workers signed on with.
    pub(crate) fn sweep_workers(&self) {
        for name in file::names(self.workers.as_fd()).unwrap_or_default() {
            let Ok(name) = name.into_string() else { continue };
            if let Ok(Some(_ours)) = lock::file_alone_now(self.workers.as_fd(), &name) {
                let _next_time = rustix::fs::unlinkat(&self.workers, &*name, AtFlags::empty());
            }
        }
    }
}

impl Place {
    /// Removes every snapshot or artifact but those that are kept, and says how many.
    pub(crate) fn remove_others(&self, from: &OwnedFd, is_kept: impl Fn(&str) -> bool) -> Result<u64, Error> {
        let what = || "clear up".to_owned();
        let (limbo, mut removed) = (self.limbo()?, 0);
        for name in file::names(from.as_fd()).doing(what)? {
            let Some(name) = name.to_str().ok().filter(|name| !is_kept(name)) else { continue };
            let dir = file::open_directory(from.as_fd(), name).doing(what)?;
            // Gone from its place as a whole; what can't be removed then is tried again next time.
            let _swept_later = limbo.take(from.as_fd(), name, dir).doing(what)?.remove();
            removed += 1;
        }
        Ok(removed)
    }
}
