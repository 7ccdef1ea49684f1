//! Into a tree from tar. The archive is not trusted: every entry is placed exactly inside or refused by name, nothing is
//! followed, and extensions are read to a size and only where they are understood.

use super::Error;
use super::error::Reason;
use super::path::Inside;
use super::plant::{Likeness, Planter, Progress, Report};
use super::tree::Tree;
use crate::tar::{Entry, Fault, Kind, Reader};
use rustix::fs::Timespec;
use std::ffi::OsStr;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

impl Tree {
    /// Unpacks a tar archive into a directory, which is made if it is missing. Files that are there are replaced, each as a
    /// whole. Set-id bits, owners and extended attributes are dropped.
    ///
    /// Refused by name, while the rest goes on: absolute paths and those with `..`, what leads through a symbolic link,
    /// devices, FIFOs, hard links to anything but a file below the directory, attributes of overlayfs.
    ///
    /// # Errors
    /// `bad_archive`, also for one that has no end; what keeps it from beginning or from going on. What was unpacked until
    /// then stays. What only keeps one entry from being unpacked is in the report.
    pub fn unpack(&self, path: impl AsRef<Path>, archive: impl Read, progress: Progress<'_>) -> Result<Report, Error> {
        self.told("unpack into", path, |path| {
            let mut unpacker = Unpacker { planter: Planter::new(self, path, progress)? };
            unpacker.all(archive)?;
            Ok(unpacker.planter.done())
        })
    }
}

struct Unpacker<'a> {
    planter: Planter<'a>,
}

impl Unpacker<'_> {
    fn all(&mut self, archive: impl Read) -> Result<(), Reason> {
        let mut reader = Reader::new(BufReader::with_capacity(1 << 17, archive));
        while let Some(entry) = reader.next_entry()? {
            match self.entry(&entry, &mut reader.content()) {
                Err(Reason::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(Reason::BadArchive(error.to_string()));
                }
                // More may follow it than its size says, so that nobody knows where the next one begins.
                Err(reason) if entry.kind == Kind::Other(GNU_SPARSE) => return Err(reason),
                Err(reason) => self.planter.refuse(Path::new(OsStr::from_bytes(&entry.path)), reason)?,
                Ok(()) => {}
            }
        }
        reader.drain();
        Ok(())
    }

    fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), Reason> {
        if entry.overlay_attribute().is_some() {
            return Err(Reason::BadArchive("it has an attribute of overlayfs".into()));
        }
        let inside = archived(&entry.path)?;
        match &entry.kind {
            Kind::Directory => self.planter.directory(&inside, entry.mode),
            Kind::File { .. } => {
                let modified = Timespec { tv_sec: entry.modified, tv_nsec: 0 };
                self.planter.file(&inside, Likeness { mode: entry.mode, modified }, content)
            }
            Kind::Symlink(target) | Kind::HardLink(target) if target.is_empty() => {
                Err(Reason::BadArchive("a link without a target".into()))
            }
            Kind::Symlink(target) => self.planter.symlink(&inside, OsStr::from_bytes(target)),
            Kind::HardLink(target) => self.planter.hard_link(&inside, &archived(target)?),
            Kind::Other(b'3' | b'4' | b'6') => Err(Reason::NotRegular),
            Kind::Other(GNU_SPARSE) => Err(Reason::BadArchive("GNU's sparse format is not supported".into())),
            Kind::Other(letter) => Err(Reason::BadArchive(format!("entries of type {letter} are not supported"))),
        }
    }
}

const GNU_SPARSE: u8 = b'S';

/// A path of an archive: always relative.
fn archived(path: &[u8]) -> Result<Inside, Reason> {
    if path.starts_with(b"/") {
        return Err(Reason::InvalidPath("the path is absolute"));
    }
    Inside::relative(path)
}

impl From<Fault> for Reason {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Archive(reason) => Self::BadArchive(reason),
            Fault::Read(error) => Self::Io(error),
        }
    }
}
