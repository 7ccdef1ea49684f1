//! Copying from one tree into another: a workspace and a directory of the caller's, or two workspaces. Both sides are
//! confined alike.

use super::Error;
use super::entry::Kind;
use super::error::Reason;
use super::list::link_target;
use super::path::{Inside, c_string};
use super::plant::{Likeness, Planter, Progress, Report};
use super::tree::{Tree, expect_regular};
use super::walk::{Next, Visit, Visitor, walk};
use rustix::fs::{OFlags, Stat, Timespec};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

impl Tree {
    /// Copies a file, or what is in a directory, to another tree: a file to be the file `target`, a directory's content into
    /// the directory `target`. Folders on the way are made; files that are there are replaced, one at a time and each as a
    /// whole. Links are copied as links, modes without set-id bits, times of files; FIFOs, sockets and devices are left out
    /// and named in the report.
    ///
    /// # Errors
    /// What keeps the copy from beginning or from going on. What only keeps one entry from being copied is in the report.
    pub fn copy_to(
        &self,
        path: impl AsRef<Path>,
        to: &Tree,
        target: impl AsRef<Path>,
        progress: Progress<'_>,
    ) -> Result<Report, Error> {
        let target = to.inside(target.as_ref()).map_err(|reason| reason.when("copy to", &target))?;
        self.told("copy", path, |path| {
            if self.is_same_as(to) && target.names().starts_with(path.names()) {
                return Err(Reason::InvalidPath("it can't be copied into itself"));
            }
            let (start, stat) = self.look(self.root(), &path.to_c()?)?;
            if Kind::of(&stat) != Kind::Directory {
                expect_regular(&stat)?;
                let (folder, name) = target.split().ok_or(Reason::IsDirectory)?;
                let mut copier = Copier { from: self, planter: Planter::new(to, &folder, progress)? };
                let (parent, source) = self.parent(path)?;
                copier.file(parent.as_fd(), &c_string(source)?, &Inside::relative(name.as_bytes())?)?;
                return Ok(copier.planter.done());
            }
            let is_new = matches!(to.look(to.root(), &target.to_c()?), Err(Reason::NotFound));
            let mut copier = Copier { from: self, planter: Planter::new(to, &target, progress)? };
            if is_new {
                copier.planter.set_base_mode(stat.st_mode)?;
            }
            walk(self, start.as_fd(), &mut copier)?;
            Ok(copier.planter.done())
        })
    }

    /// Adds up the regular files that a copy would find, for a bar that knows its end. What can't be looked at is no error
    /// here.
    pub fn measure(&self, path: impl AsRef<Path>) -> u64 {
        let measured = self.told("measure", path, |path| {
            let (start, stat) = self.look(self.root(), &path.to_c()?)?;
            let mut sum = Sum(0);
            match Kind::of(&stat) {
                Kind::Directory => walk(self, start.as_fd(), &mut sum)?,
                Kind::File => sum.0 = super::entry::size(&stat),
                _ => {}
            }
            Ok(sum.0)
        });
        measured.unwrap_or_default()
    }
}

struct Copier<'a> {
    from: &'a Tree,
    planter: Planter<'a>,
}

impl Copier<'_> {
    fn file(&mut self, directory: BorrowedFd<'_>, name: &CStr, path: &Inside) -> Result<(), Reason> {
        let (mut file, stat) = self.from.regular(directory, name, OFlags::RDONLY)?;
        self.planter.file(path, likeness(&stat), &mut file)
    }

    fn entry(&mut self, visit: &Visit<'_>) -> Result<Next, Reason> {
        let path = Inside::relative(visit.path.as_os_str().as_bytes())?;
        match Kind::of(visit.stat) {
            Kind::Directory => self.planter.directory(&path, visit.stat.st_mode)?,
            Kind::File => self.file(visit.directory, visit.name, &path)?,
            Kind::Symlink => {
                let target = link_target(visit.directory, visit.name)?;
                self.planter.symlink(&path, target.as_os_str())?;
            }
            Kind::Fifo | Kind::Socket | Kind::Device => return Err(Reason::NotRegular),
        }
        Ok(Next::Into)
    }
}

impl Visitor for Copier<'_> {
    fn visit(&mut self, visit: &Visit<'_>) -> Result<Next, Reason> {
        match self.entry(visit) {
            Err(reason) => self.planter.refuse(visit.path, reason).map(|()| Next::Past),
            next => next,
        }
    }

    fn refused(&mut self, path: &Path, reason: Reason) -> Result<(), Reason> {
        self.planter.refuse(path, reason)
    }
}

fn likeness(stat: &Stat) -> Likeness {
    let modified = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
    Likeness { mode: stat.st_mode, modified }
}

struct Sum(u64);

impl Visitor for Sum {
    fn visit(&mut self, visit: &Visit<'_>) -> Result<Next, Reason> {
        if Kind::of(visit.stat) == Kind::File {
            self.0 = self.0.saturating_add(super::entry::size(visit.stat));
        }
        Ok(Next::Into)
    }

    fn refused(&mut self, _path: &Path, _reason: Reason) -> Result<(), Reason> {
        Ok(())
    }
}
