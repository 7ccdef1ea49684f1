//! Out of a tree as tar, in GNU's format: names of any bytes and length, links as links. Owners are left out: they mean
//! nothing elsewhere.

use super::Error;
use super::entry::{Kind, size};
use super::error::Reason;
use super::list::link_target;
use super::path::c_string;
use super::plant::{Progress, Report};
use super::tree::{PERMISSIONS, Tree, expect_regular};
use super::walk::{Next, Visit, Visitor, walk};
use rustix::fs::{OFlags, Stat};
use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tar::{EntryType, Header};

const BLOCK: usize = 512;
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
            let mut packer = Packer { tree: self, prefix, to: &mut to, report: Report::default(), progress };
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
            packer.write(&[0; 2 * BLOCK])?;
            packer.to.flush()?;
            Ok(packer.report)
        })
    }
}

struct Packer<'a> {
    tree: &'a Tree,
    prefix: PathBuf,
    to: &'a mut dyn Write,
    report: Report,
    progress: Progress<'a>,
}

impl Packer<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        // Not by `?`: what the reader of the archive does is no fault of a file's, so it must not look like one.
        self.to.write_all(bytes).map_err(Reason::Io)
    }

    fn pad(&mut self, length: u64) -> Result<(), Reason> {
        let over = usize::try_from(length % BLOCK as u64).unwrap_or_default();
        if over == 0 { Ok(()) } else { self.write(&[0; BLOCK][over..]) }
    }

    /// The header of one entry, with its long names before it.
    fn header(&mut self, path: &Path, kind: EntryType, stat: &Stat, length: u64, target: &[u8]) -> Result<(), Reason> {
        let mut name = match (self.prefix.as_os_str().is_empty(), path.as_os_str().is_empty()) {
            (true, _) => path.as_os_str().as_bytes().to_vec(),
            (false, true) => self.prefix.as_os_str().as_bytes().to_vec(),
            (false, false) => self.prefix.join(path).as_os_str().as_bytes().to_vec(),
        };
        if kind.is_dir() {
            name.push(b'/');
        }
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(stat.st_mode & PERMISSIONS);
        header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or_default());
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(length);
        let old = header.as_old_mut();
        let (is_long_name, is_long_target) = (!fill(&mut old.name, &name), !fill(&mut old.linkname, target));
        header.set_cksum();
        if is_long_target {
            self.long(EntryType::GNULongLink, target)?;
        }
        if is_long_name {
            self.long(EntryType::GNULongName, &name)?;
        }
        self.write(header.as_bytes())
    }

    fn long(&mut self, kind: EntryType, text: &[u8]) -> Result<(), Reason> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        fill(&mut header.as_old_mut().name, b"././@LongLink");
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(text.len() as u64 + 1);
        header.set_cksum();
        self.write(header.as_bytes())?;
        self.write(text)?;
        self.write(&[0])?;
        self.pad(text.len() as u64 + 1)
    }

    fn directory(&mut self, path: &Path, stat: &Stat) -> Result<(), Reason> {
        self.header(path, EntryType::Directory, stat, 0, b"")?;
        self.report.directories += 1;
        Ok(())
    }

    fn file(&mut self, directory: BorrowedFd<'_>, name: &CStr, path: &Path) -> Result<(), Reason> {
        let (mut file, stat) = self.tree.regular(directory, name, OFlags::RDONLY)?;
        let length = size(&stat);
        let most = self.tree.bounds.copy_bytes;
        if self.report.bytes.saturating_add(length) > most {
            return Err(Reason::TooBig(most));
        }
        self.header(path, EntryType::Regular, &stat, length, b"")?;
        self.content(&mut file, length)?;
        self.pad(length)?;
        self.report.files += 1;
        Ok(())
    }

    /// Exactly as much as the header says: what has grown since is cut, what has shrunk is filled with zeros, as by
    /// GNU tar.
    fn content(&mut self, file: &mut File, length: u64) -> Result<(), Reason> {
        let mut chunk = vec![0; 128 << 10];
        let mut left = length;
        let mut is_at_end = false;
        while left > 0 {
            let wanted = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
            let read = match file.read(&mut chunk[..wanted]) {
                _ if is_at_end => wanted,
                // A disk that fails in the middle of a file must not end as a file of zeros that looks whole.
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return Err(Reason::Io(error)),
                Err(_interrupted) => continue,
                Ok(0) => {
                    is_at_end = true;
                    chunk.fill(0);
                    continue;
                }
                Ok(read) => read,
            };
            self.write(&chunk[..read])?;
            left -= read as u64;
            self.report.bytes += read as u64;
            (self.progress)(&self.report);
        }
        Ok(())
    }

    fn entry(&mut self, visit: &Visit<'_>) -> Result<(), Reason> {
        match Kind::of(visit.stat) {
            Kind::Directory => self.directory(visit.path, visit.stat),
            Kind::File => self.file(visit.directory, visit.name, visit.path),
            Kind::Symlink => {
                let target = link_target(visit.directory, visit.name)?;
                self.header(visit.path, EntryType::Symlink, visit.stat, 0, target.as_os_str().as_bytes())?;
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

/// Puts a text into a field of a header, if it fits.
fn fill(field: &mut [u8], text: &[u8]) -> bool {
    match field.get_mut(..text.len()) {
        Some(start) => start.copy_from_slice(text),
        None => return false,
    }
    true
}
