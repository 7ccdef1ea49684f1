//! Removing: one file, or a tree of any depth, width and modes. Only names are removed; no link is followed.

use super::Error;
use super::entry::Kind;
use super::error::Reason;
use super::list::stat_of;
use super::names::names;
use super::path::c_string;
use super::temporary::fresh_name;
use super::tree::{Tree, set_mode};
use rustix::fs::{AtFlags, RenameFlags};
use std::ffi::{CStr, CString, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Folders that are held open at once. Deeper ones are moved up first, so that neither the stack nor the descriptors grow
/// with the tree.
const DEEPEST: usize = 64;
/// Names that are read at a time: a folder of millions takes no more memory than one of these.
const BATCH: u64 = 4096;
/// How often a folder may be found filled again before that is an error.
const MOST_REFILLS: u32 = 100;

impl Tree {
    /// Removes a file, a link, a FIFO: whatever is no directory.
    ///
    /// # Errors
    /// `not_found`, `is_directory`, `denied`.
    pub fn delete(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        self.told("delete", path, |path| {
            if path.is_root() {
                return Err(Reason::IsDirectory);
            }
            let (directory, name) = self.parent(path)?;
            Ok(rustix::fs::unlinkat(&directory, c_string(name)?, AtFlags::empty())?)
        })
    }

    /// Removes whatever has the path, a directory with all in it.
    ///
    /// # Errors
    /// `not_found`; `denied`; `not_empty`, when something goes on filling it.
    pub fn delete_tree(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        self.told("delete", path, |path| {
            let (directory, name) = self.parent(path)?;
            let name = c_string(name)?;
            let stat = stat_of(directory.as_fd(), &name)?.ok_or(Reason::NotFound)?;
            if Kind::of(&stat) != Kind::Directory {
                return Ok(rustix::fs::unlinkat(&directory, &name, AtFlags::empty())?);
            }
            let inner = self.opened_wide(directory.as_fd(), &name)?;
            self.empty(&inner)?;
            Ok(rustix::fs::unlinkat(&directory, &name, AtFlags::REMOVEDIR)?)
        })
    }

    /// Removes everything in the tree, and leaves the root.
    ///
    /// # Errors
    /// `denied`; `not_empty`, when something goes on filling it.
    pub fn clear(&self) -> Result<(), Error> {
        let emptied = self.directory(self.root(), c".").and_then(|root| self.empty(&root));
        emptied.map_err(|reason| reason.when("clear", "."))
    }

    /// Opens a directory to empty it; our own of any mode, since we may change it.
    fn opened_wide(&self, at: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Reason> {
        let pinned = self.pass(at, name)?;
        let mode = rustix::fs::fstat(&pinned)?.st_mode;
        if mode & 0o700 != 0o700 && !rustix::process::geteuid().is_root() {
            set_mode(&pinned, 0o700)?;
        }
        self.directory(pinned.as_fd(), c".")
    }

    fn empty(&self, top: &OwnedFd) -> Result<(), Reason> {
        let mut levels: Vec<Level> = Vec::new();
        let mut first = Level::new(self.directory(top.as_fd(), c".")?, CString::default());
        let mut steps = self.bounds.entries.saturating_mul(10);
        loop {
            // Somebody who makes new ones all the time must not keep us for ever.
            steps = steps.checked_sub(1).ok_or(Reason::NotEmpty)?;
            let depth = levels.len();
            let level = levels.last_mut().unwrap_or(&mut first);
            if let Some(name) = level.next_name()? {
                let name = c_string(name)?;
                if let Some(inner) = self.remove_name(level, &name, depth, top)? {
                    levels.push(Level::new(inner, name));
                }
                continue;
            }
            let Some(done) = levels.pop() else { return Ok(()) };
            let above = levels.last_mut().unwrap_or(&mut first);
            match rustix::fs::unlinkat(&above.directory, &done.name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(errno) => above.failed(errno.into())?,
            }
        }
    }

    /// Removes an entry; a directory that is not empty is returned, to be emptied first.
    fn remove_name(
        &self,
        level: &mut Level,
        name: &CStr,
        depth: usize,
        top: &OwnedFd,
    ) -> Result<Option<OwnedFd>, Reason> {
        let at = level.directory.as_fd();
        let Some(stat) = stat_of(at, name)? else { return Ok(None) };
        let flags = if Kind::of(&stat) == Kind::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(at, name, flags).map_err(Reason::from) {
            Ok(()) | Err(Reason::NotFound) => return Ok(None),
            // It has become the other kind meanwhile: the next reading finds it again.
            Err(Reason::NotDirectory | Reason::IsDirectory) => return level.failed(Reason::Changed).map(|()| None),
            // rmdir(2) allows both.
            Err(Reason::NotEmpty | Reason::Exists) => {}
            Err(reason) => return Err(reason),
        }
        if depth < DEEPEST {
            return match self.opened_wide(at, name) {
                Err(Reason::NotFound | Reason::NotDirectory) => level.failed(Reason::Changed).map(|()| None),
                other => other.map(Some),
            };
        }
        // Moving a directory writes to its `..`, so it must be writable itself: rename(2), EACCES.
        let _wide_enough_now = self.opened_wide(at, name)?;
        let fresh = fresh_name()?;
        self.make(|| rustix::fs::renameat_with(at, name, top, fresh, RenameFlags::NOREPLACE))?;
        Ok(None)
    }
}

/// A folder that is being emptied.
struct Level {
    directory: OwnedFd,
    /// In the folder above.
    name: CString,
    waiting: Vec<OsString>,
    failures: u32,
}

impl Level {
    fn new(directory: OwnedFd, name: CString) -> Self {
        Self { directory, name, waiting: Vec::new(), failures: 0 }
    }

    /// The next name in it. It is read from its beginning again and again, until there is none: what was moved here or
    /// made meanwhile is found as well.
    fn next_name(&mut self) -> Result<Option<OsString>, Reason> {
        if self.waiting.is_empty() {
            rustix::fs::seek(&self.directory, rustix::fs::SeekFrom::Start(0))?;
            self.waiting = names(self.directory.as_fd(), BATCH)?.0;
        }
        Ok(self.waiting.pop())
    }

    fn failed(&mut self, reason: Reason) -> Result<(), Reason> {
        self.failures += 1;
        if self.failures > MOST_REFILLS { Err(reason) } else { Ok(()) }
    }
}
