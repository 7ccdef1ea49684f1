//! Out of a tree as tar: names of any bytes and length, links as links. Owners are left out: they mean
//! nothing elsewhere.

use super::Error;
use super::entry::{Kind, size};
use super::error::Reason;
use super::list::link_target;
use super::path::c_string;
use super::plant::{Progress, Report};
use super::tree::{PERMISSIONS, Tree, expect_regular};
use super::walk::{Next, Visit, Visitor, walk};
use crate::tar::{self, Writer};
use rustix::fs::{OFlags, Stat};
use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

const MOST_REFUSED: usize = 1000;

impl Tree {
    /// Writes a file, or what is in a directory, as a tar archive. The names in it begin with `prefix`, unless that is
    /// empty; that of a file is then the prefix itself, or the file's own name.
    ///
    /// An archive that could not be finished has no end, so that whoever reads it notices.
    ///
    /// # Errors
    /// What keeps it from beginning or from going on. FIFOs, sockets and devices, and what can't be read, are left out and
    /// named in the report.
    pub fn pack(
        &self,
        path: impl AsRef<Path>,
        prefix: impl AsRef<Path>,
        mut to: impl Write,
        progress: Progress<'_>,
    ) -> Result<Report, Error> {
        self.told("pack", path, |path| {
            let (start, stat) = self.look(self.root(), &path.to_c()?)?;
            let prefix = prefix.as_ref().to_owned();
            let writer = Writer::new(&mut to as &mut dyn Write);
            let mut packer = Packer { tree: self, prefix, writer, report: Report::default(), progress };
            if Kind::of(&stat) == Kind::Directory {
                if !packer.prefix.as_os_str().is_empty() {
                    packer.directory(Path::new(""), &stat)?;
                }
                walk(self, start.as_fd(), &mut packer)?;
            } else {
                expect_regular(&stat)?;
                let (parent, name) = self.parent(path)?;
                if packer.prefix.as_os_str().is_empty() {
                    packer.prefix = PathBuf::from(name);
                }
                packer.file(parent.as_fd(), &c_string(name)?, Path::new(""))?;
            }
            packer.writer.finish().map_err(Reason::Io)?;
            Ok(packer.report)
        })
    }
}

struct Packer<'a> {
    tree: &'a Tree,
    prefix: PathBuf,
    writer: Writer<&'a mut dyn Write>,
    report: Report,
    progress: Progress<'a>,
}

impl Packer<'_> {
    fn append(&mut self, path: &Path, kind: tar::Kind, stat: &Stat) -> Result<(), Reason> {
        let entry = self.described(path, kind, stat);
        // Not by `?`: what the reader of the archive does is no fault of a file's, so it must not look like one.
        self.writer.append(&entry, &mut std::io::empty()).map(drop).map_err(Reason::Io)
    }

    fn described(&self, path: &Path, kind: tar::Kind, stat: &Stat) -> tar::Entry {
        let path = match (self.prefix.as_os_str().is_empty(), path.as_os_str().is_empty()) {
            (true, _) => path.to_owned(),
            (false, true) => self.prefix.clone(),
            (false, false) => self.prefix.join(path),
        };
        let mut path = path.into_os_string().into_vec();
        if kind == tar::Kind::Directory {
            path.push(b'/');
        }
        tar::Entry { path, kind, mode: stat.st_mode & PERMISSIONS, modified: stat.st_mtime, attributes: Vec::new() }
    }

    fn directory(&mut self, path: &Path, stat: &Stat) -> Result<(), Reason> {
        self.append(path, tar::Kind::Directory, stat)?;
        self.report.directories += 1;
        Ok(())
    }

    fn file(&mut self, directory: BorrowedFd<'_>, name: &CStr, path: &Path) -> Result<(), Reason> {
        let (file, stat) = self.tree.regular(directory, name, OFlags::RDONLY)?;
        let length = size(&stat);
        let most = self.tree.bounds.copy_bytes;
        if self.report.bytes.saturating_add(length) > most {
            return Err(Reason::TooBig(most));
        }
        let entry = self.described(path, tar::Kind::File { size: length }, &stat);
        let mut content = Counted { file, report: &mut self.report, progress: &mut *self.progress };
        // Exactly as much as the header says: what has grown since is cut, what has shrunk is filled with zeros, as by GNU tar.
        // A disk that fails in the middle of a file ends all: it must not end as a file of zeros that looks whole.
        self.writer.append(&entry, &mut content).map_err(Reason::Io)?;
        self.report.files += 1;
        Ok(())
    }

    fn entry(&mut self, visit: &Visit<'_>) -> Result<(), Reason> {
        match Kind::of(visit.stat) {
            Kind::Directory => self.directory(visit.path, visit.stat),
            Kind::File => self.file(visit.directory, visit.name, visit.path),
            Kind::Symlink => {
                let target = link_target(visit.directory, visit.name)?;
                self.append(visit.path, tar::Kind::Symlink(target.into_os_string().into_vec()), visit.stat)?;
                self.report.links += 1;
                Ok(())
            }
            Kind::Fifo | Kind::Socket | Kind::Device => Err(Reason::NotRegular),
        }
    }
}

impl Visitor for Packer<'_> {
    fn visit(&mut self, visit: &Visit<'_>) -> Result<Next, Reason> {
        match self.entry(visit) {
            Ok(()) => Ok(Next::Into),
            Err(Reason::NotFound) => Ok(Next::Past),
            Err(reason) => self.refused(visit.path, reason).map(|()| Next::Past),
        }
    }

    fn refused(&mut self, path: &Path, reason: Reason) -> Result<(), Reason> {
        // `Io` may have come in the middle of an entry, after which there is no going on.
        let ends_all = matches!(reason, Reason::Io(_) | Reason::NoSpace | Reason::TooBig(_) | Reason::TooMany(_));
        if ends_all || self.report.refused.len() >= MOST_REFUSED {
            return Err(reason);
        }
        self.report.refused.push(reason.when("pack", path));
        Ok(())
    }
}

/// A file's content, of which it is told how much was read.
struct Counted<'a, 'p> {
    file: File,
    report: &'a mut Report,
    progress: &'a mut (dyn FnMut(&Report) + 'p),
}

impl Read for Counted<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.report.bytes += read as u64;
        (self.progress)(self.report);
        Ok(read)
    }
}
