//! Looking: what is there, and what kind of thing it is.

use super::Error;
use super::entry::{Entry, Kind};
use super::error::Reason;
use super::names::names;
use super::path::{Inside, c_string};
use super::temporary::Replace;
use super::tree::Tree;
use rustix::fs::{AtFlags, RenameFlags, Stat};
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// What is in a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// By name, in the order of its bytes.
    pub entries: Vec<Entry>,
    /// Whether there are more than [`entries`](super::Bounds::entries), which then are any of them.
    pub is_truncated: bool,
}

impl Tree {
    /// What is in a directory, hidden entries included, and not what is in its folders.
    ///
    /// # Errors
    /// `not_found`, `not_directory`, `symlink`, `denied`.
    pub fn list(&self, path: impl AsRef<Path>) -> Result<Listing, Error> {
        self.told("list", path, |path| {
            let directory = self.directory(self.root(), &path.to_c()?)?;
            let (mut names, is_truncated) = names(directory.as_fd(), self.bounds.entries)?;
            names.sort_unstable();
            let folder = if path.is_root() { PathBuf::new() } else { path.to_path() };
            let mut entries = Vec::with_capacity(names.len());
            for name in names {
                let c_name = c_string(&*name)?;
                // What has gone meanwhile is not there.
                let Some(stat) = stat_of(directory.as_fd(), &c_name)? else { continue };
                entries.push(entry(directory.as_fd(), &c_name, &stat, folder.join(&name)));
            }
            Ok(Listing { entries, is_truncated })
        })
    }

    /// What has this path. A symbolic link is told as such.
    ///
    /// # Errors
    /// `not_found`, and what keeps it from being reached.
    pub fn stat(&self, path: impl AsRef<Path>) -> Result<Entry, Error> {
        self.told("look at", path, |path| {
            let (_, stat) = self.look(self.root(), &path.to_c()?)?;
            match path.split() {
                None => Ok(Entry::new(path.to_path(), &stat, None)),
                Some((parent, name)) => {
                    let parent = self.pass(self.root(), &parent.to_c()?)?;
                    Ok(entry(parent.as_fd(), &c_string(name)?, &stat, path.to_path()))
                }
            }
        })
    }

    /// Whether anything has this path, a dangling symbolic link for instance.
    ///
    /// # Errors
    /// What keeps it from being found out.
    pub fn exists(&self, path: impl AsRef<Path>) -> Result<bool, Error> {
        match self.stat(path) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.reason(), Reason::NotFound | Reason::NotDirectory) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether there is a directory of this path. A link to one is none.
    ///
    /// # Errors
    /// What keeps it from being found out.
    pub fn is_directory(&self, path: impl AsRef<Path>) -> Result<bool, Error> {
        match self.stat(path) {
            Ok(entry) => Ok(entry.kind == Kind::Directory),
            Err(error) if matches!(error.reason(), Reason::NotFound | Reason::NotDirectory) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes a directory and those on the way to it; one that is there already will do.
    ///
    /// # Errors
    /// `not_directory` when something else is there, `symlink`, `denied`.
    pub fn make_directory_all(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        self.told("make the directory", path, |path| self.make_directories(self.root(), path).map(drop))
    }

    /// Gives a file or directory another path in the same tree. Its new folder must be there.
    ///
    /// # Errors
    /// `not_found`; `exists`, if it may not replace what is there; `is_directory`, `not_directory` and `not_empty` as
    /// rename(2) has them; `invalid_path` for moving a directory into itself.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>, replace: Replace) -> Result<(), Error> {
        let target = self.inside(to.as_ref()).map_err(|reason| reason.when("rename to", &to))?;
        self.told("rename", from, |from| {
            let (old_directory, old) = self.parent(from)?;
            let (new_directory, new) = self.parent(&target)?;
            let flags = match replace {
                Replace::Allowed => RenameFlags::empty(),
                Replace::Refused => RenameFlags::NOREPLACE,
            };
            let (old, new) = (c_string(old)?, c_string(new)?);
            match self.make(|| rustix::fs::renameat_with(&old_directory, old, &new_directory, new, flags)) {
                Err(rustix::io::Errno::INVAL) => Err(Reason::InvalidPath("a directory can't be moved into itself")),
                other => Ok(other?),
            }
        })
    }
}

/// What a name in a directory is; nothing if it is not there.
pub(crate) fn stat_of(directory: BorrowedFd<'_>, name: &CStr) -> Result<Option<Stat>, Reason> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT) {
        Ok(stat) => Ok(Some(stat)),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Where a symbolic link points, as text.
pub(crate) fn link_target(directory: BorrowedFd<'_>, name: &CStr) -> Result<PathBuf, Reason> {
    let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
    Ok(std::ffi::OsString::from_vec(target.into_bytes()).into())
}

/// An entry with all that is known of it. Where a link points is left out if the link has gone meanwhile.
pub(crate) fn entry(directory: BorrowedFd<'_>, name: &CStr, stat: &Stat, path: PathBuf) -> Entry {
    let target = (Kind::of(stat) == Kind::Symlink).then(|| link_target(directory, name).ok()).flatten();
    Entry::new(path, stat, target)
}

/// A path of a walk below `base`, as callers know it.
pub(crate) fn below(base: &Inside, path: &Path) -> PathBuf {
    match (base.is_root(), path.as_os_str() == OsStr::new("")) {
        (_, true) => base.to_path(),
        (true, _) => path.to_owned(),
        (false, _) => base.to_path().join(path),
    }
}
