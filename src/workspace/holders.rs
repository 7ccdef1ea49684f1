//! From a holder to its workspace: an index of one small file for each holder, that names a workspace's key. What counts is
//! the workspace's record; the index only says where to look. It is written before the record gains a holder and
//! removed after the record has lost it, so at every moment, a crash included, a record that names a holder is found
//! by it. An index that is gone is made anew from the records.

use super::error::{Doing, Error, quoted};
use super::file;
use super::key::Key;
use super::limbo::Limbo;
use super::lock::{self, Lock};
use super::record::Record;
use super::state::Workspaces;
use rustix::fs::AtFlags;
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

const NAME: &str = "holders";

/// A file that every index has: so an index is never an empty directory, which a rename would replace.
const MARK: &str = "index";

pub(super) struct Holders<'a> {
    workspaces: &'a Workspaces,
    dir: OwnedFd,
}

impl<'a> Holders<'a> {
    /// Opens the index if it is there.
    pub(super) fn existing(workspaces: &'a Workspaces) -> Result<Option<Self>, Error> {
        match file::open_directory(workspaces.dir.as_fd(), NAME) {
            Ok(dir) => Ok(Some(Self { workspaces, dir })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).doing(|| format!("open `{}`", workspaces.path.join(NAME).display())),
        }
    }

    /// Opens the index, and makes it from the records if it is absent.
    pub(super) fn made(workspaces: &'a Workspaces) -> Result<Self, Error> {
        loop {
            if let Some(there) = Self::existing(workspaces)? {
                return Ok(there);
            }
            let fresh = Limbo::open(workspaces.dir.as_fd())?.make()?;
            let what = || format!("make `{}`", workspaces.path.join(NAME).display());
            fill(fresh.dir(), workspaces)?;
            match fresh.place(workspaces.dir.as_fd(), NAME) {
                Ok(()) => {}
                // Somebody else was faster.
                Err(Errno::EXIST | Errno::NOTEMPTY) => fresh.remove().doing(what)?,
                Err(errno) => return Err(errno).doing(what),
            }
        }
    }

    /// Locks a holder, so that it is one workspace's only. Held for a moment.
    pub(super) fn lock(&self, holder: &Key, name: &str) -> Result<Lock, Error> {
        let file = format!("{}.lock", holder.shard());
        let locked = lock::make(self.dir.as_fd(), &file).and_then(|()| Lock::alone(self.dir.as_fd(), &file));
        locked.doing(|| format!("lock `{}`", self.path().join(&file).display()))?.ok_or_else(|| {
            let reason = "another process keeps the lock of its name";
            Error::invalid(format!("the holder {}", quoted(name)), reason)
        })
    }

    /// The workspace that a holder refers to, with its record.
    ///
    /// # Errors
    /// Also when the record where it would stand can't be read.
    pub(super) fn find(&self, holder: &Key, name: &str) -> Result<Option<Record>, Error> {
        let Some(key) = self.get(holder)? else { return Ok(None) };
        let Some(place) = self.workspaces.find(&key)? else { return Ok(None) };
        match place.record() {
            Ok(record) => Ok(record.holders.contains(name).then_some(record)),
            // Removed between our two looks.
            Err(Error::Corrupt { .. }) if !self.workspaces.is_current(&place)? => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes down where to look for a holder.
    pub(super) fn set(&self, holder: &Key, workspace: &Key) -> Result<(), Error> {
        file::replace(self.dir.as_fd(), holder.as_str(), workspace.as_str().as_bytes()).doing(|| self.what(holder))
    }

    /// Forgets a holder that refers to nothing any more, so that the index does not grow for ever. The caller has the
    /// lock.
    pub(super) fn forget(&self, holder: &Key, name: &str) -> Result<(), Error> {
        // What can't be told is left as it is.
        if !matches!(self.find(holder, name), Ok(None)) {
            return Ok(());
        }
        match rustix::fs::unlinkat(&self.dir, holder.as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno).doing(|| self.what(holder)),
        }
    }

    fn get(&self, holder: &Key) -> Result<Option<Key>, Error> {
        match file::read(self.dir.as_fd(), holder.as_str(), 64) {
            Ok(bytes) => match Key::parse(&bytes) {
                Some(key) => Ok(Some(key)),
                None => {
                    let reason =
                        format!("it names no workspace; without `{}` the index is made anew", self.path().display());
                    Err(Error::Corrupt { path: self.path().join(holder.as_str()), reason })
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).doing(|| self.what(holder)),
        }
    }

    fn path(&self) -> PathBuf {
        self.workspaces.path.join(NAME)
    }

    fn what(&self, holder: &Key) -> String {
        format!("change `{}`", self.path().join(holder.as_str()).display())
    }
}

/// Writes the whole index. The holders of a record that can't be read are not in it.
fn fill(dir: BorrowedFd<'_>, workspaces: &Workspaces) -> Result<(), Error> {
    for key in workspaces.keys()? {
        let Some(Ok(record)) = workspaces.find(&key)?.map(|place| place.record()) else { continue };
        for holder in &record.holders {
            let name = Key::of(holder)?;
            file::replace(dir, name.as_str(), key.as_str().as_bytes()).doing(|| format!("write `{name}`"))?;
        }
    }
    file::replace(dir, MARK, b"").doing(|| format!("write `{MARK}`"))
}
