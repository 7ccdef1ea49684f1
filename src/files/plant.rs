//! Making files, folders and links below a folder, as a copy or an archive has them: what every copy into a tree is made
//! of. What can't be made is refused by name, and the rest goes on.

use super::Error;
use super::entry::Kind;
use super::error::Reason;
use super::path::{Inside, c_string};
use super::temporary::{Replace, Temporary};
use super::tree::{Tree, expect_regular, set_mode, through_descriptor};
use super::write::{finish, pour};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT};
use std::ffi::{CString, OsStr};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What a copy has done.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Files made or replaced.
    pub files: u64,
    /// Directories, those included that were there already.
    pub directories: u64,
    /// Symbolic and hard links.
    pub links: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// What was left out, each with its path as the source or the archive has it, and the reason. A copy with more than 1000 of them is given up.
    pub refused: Vec<Error>,
}

/// Whom a copy tells how far it is.
pub type Progress<'a> = &'a mut dyn FnMut(&Report);

const MOST_REFUSED: usize = 1000;

pub(crate) struct Planter<'a> {
    tree: &'a Tree,
    base: OwnedFd,
    report: Report,
    progress: Progress<'a>,
}

/// What a file of a copy is like.
#[derive(Clone, Copy)]
pub(crate) struct Likeness {
    pub(crate) mode: u32,
    pub(crate) modified: Timespec,
}

impl<'a> Planter<'a> {
    /// Below the folder `base`, which is made if it is missing.
    pub(crate) fn new(tree: &'a Tree, base: &Inside, progress: Progress<'a>) -> Result<Self, Reason> {
        let base = tree.make_directories(tree.root(), base)?;
        Ok(Self { tree, base, report: Report::default(), progress })
    }

    /// Gives the folder itself the permissions of what is copied into it.
    pub(crate) fn set_base_mode(&self, mode: u32) -> Result<(), Reason> {
        set_mode(&self.base, mode | 0o700)
    }

    /// What has been done.
    pub(crate) fn done(self) -> Report {
        self.report
    }

    /// Leaves an entry out, unless the reason is one for which no other could be made either.
    pub(crate) fn refuse(&mut self, path: &Path, reason: Reason) -> Result<(), Reason> {
        let ends_all = matches!(reason, Reason::NoSpace | Reason::TooBig(_) | Reason::TooMany(_));
        if ends_all || self.report.refused.len() >= MOST_REFUSED {
            return Err(reason);
        }
        self.report.refused.push(reason.when("copy", path));
        Ok(())
    }

    pub(crate) fn directory(&mut self, path: &Inside, mode: u32) -> Result<(), Reason> {
        self.count_entry()?;
        let Some((parent, name)) = path.split() else { return Ok(()) };
        let parent = self.folder(&parent)?;
        let name = c_string(name)?;
        // Its owner must be able to fill it.
        let mode = mode | 0o700;
        match self.tree.make_directory(parent.as_fd(), &name, mode) {
            Ok(_) => {}
            Err(Reason::Exists) => set_mode(&self.tree.pass(parent.as_fd(), &name)?, mode)?,
            Err(reason) => return Err(reason),
        }
        self.report.directories += 1;
        (self.progress)(&self.report);
        Ok(())
    }

    pub(crate) fn file(&mut self, path: &Inside, likeness: Likeness, content: &mut dyn Read) -> Result<(), Reason> {
        self.count_entry()?;
        let (parent, name) = self.place(path)?;
        let (temporary, file) = Temporary::file(self.tree, parent.as_fd())?;
        let (report, progress, most) = (&mut self.report, &mut *self.progress, self.tree.bounds.copy_bytes);
        pour(content, &file, &mut |bytes| {
            report.bytes = report.bytes.saturating_add(bytes);
            progress(report);
            if report.bytes > most { Err(Reason::TooBig(most)) } else { Ok(()) }
        })?;
        let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        // A time that the file system can't hold is no reason to lose the file.
        let _at_worst_now =
            rustix::fs::futimens(&file, &Timestamps { last_access, last_modification: likeness.modified });
        finish(&file, likeness.mode)?;
        temporary.publish(&name, Replace::Allowed)?;
        self.report.files += 1;
        Ok(())
    }

    pub(crate) fn symlink(&mut self, path: &Inside, target: &OsStr) -> Result<(), Reason> {
        self.count_entry()?;
        let (parent, name) = self.place(path)?;
        let link = Temporary::made_by(self.tree, parent.as_fd(), |fresh| {
            self.tree.make_symlink(parent.as_fd(), fresh, target)
        })?;
        link.publish(&name, Replace::Allowed)?;
        self.report.links += 1;
        Ok(())
    }

    /// Gives a regular file below the same folder one more name.
    pub(crate) fn hard_link(&mut self, path: &Inside, existing: &Inside) -> Result<(), Reason> {
        self.count_entry()?;
        let (pinned, stat) = self.tree.look(self.base.as_fd(), &existing.to_c()?)?;
        expect_regular(&stat)?;
        let (parent, name) = self.place(path)?;
        let link = Temporary::made_by(self.tree, parent.as_fd(), |fresh| {
            let pinned = through_descriptor(&pinned);
            Ok(self.tree.make(|| rustix::fs::linkat(CWD, pinned, &parent, fresh, AtFlags::SYMLINK_FOLLOW))?)
        })?;
        link.publish(&name, Replace::Allowed)?;
        self.report.links += 1;
        Ok(())
    }

    /// The folder that something goes to, and its name there; what is there may be replaced, a directory may not.
    fn place(&self, path: &Inside) -> Result<(OwnedFd, CString), Reason> {
        let (parent, name) = path.split().ok_or(Reason::IsDirectory)?;
        let (parent, name) = (self.folder(&parent)?, c_string(name)?);
        match self.tree.look(parent.as_fd(), &name) {
            Ok((_, stat)) if Kind::of(&stat) == Kind::Directory => Err(Reason::IsDirectory),
            Ok(_) | Err(Reason::NotFound) => Ok((parent, name)),
            Err(reason) => Err(reason),
        }
    }

    fn folder(&self, path: &Inside) -> Result<OwnedFd, Reason> {
        if path.names().len() as u64 >= self.tree.bounds.depth {
            return Err(Reason::TooDeep(self.tree.bounds.depth));
        }
        self.tree.make_directories(self.base.as_fd(), path)
    }

    fn count_entry(&self) -> Result<(), Reason> {
        let entries = self.report.files + self.report.directories + self.report.links;
        let most = self.tree.bounds.entries;
        if entries >= most { Err(Reason::TooMany(most)) } else { Ok(()) }
    }
}
