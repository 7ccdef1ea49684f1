//! A workspace as a tar archive: files, directories and links, whatever their names. Devices, FIFOs and sockets are left
//! out, as are extended attributes, owners and set-id bits: `import` would take none of them.

use super::error::{Doing, Error};
use super::file;
use super::store::Store;
use super::tree::{self, Found, Met};
use crate::tar::{Entry, Kind, Writer};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

/// What an export came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// Entries written.
    pub entries: u64,
    /// Bytes of files written.
    pub bytes: u64,
    /// How much is not in the archive, or not whole.
    pub left_out: u64,
    /// The first hundred of it: the path, as the bytes it is, and why.
    pub reasons: Vec<(Vec<u8>, &'static str)>,
}

impl Store {
    /// Writes the files of a workspace to `target` as a tar archive, in an order that depends on nothing but their names.
    /// Jobs may go on meanwhile: what they change then is in the archive as it was at some moment.
    ///
    /// # Errors
    /// [`Error::TooBig`] when the files have more than `most` bytes, holes of sparse files included; [`Error::Io`] when
    /// `target` does not take them.
    pub fn export(&self, id: &str, target: impl Write, most: Option<u64>) -> Result<Exported, Error> {
        let workspace = self.open_to_read(id)?;
        let directory = workspace.directory(false)?;
        let mut export = Export {
            writer: Writer::new(io::BufWriter::with_capacity(1 << 17, target)),
            seen: BTreeMap::new(),
            done: Exported::default(),
            most: most.unwrap_or(u64::MAX),
        };
        tree::walk(directory.as_fd(), |met| export.add(met))?;
        export.writer.finish().and_then(|writer| writer.into_inner()?.flush()).doing(|| WRITING.to_owned())?;
        Ok(export.done)
    }
}

const WRITING: &str = "write the archive";

struct Export<W> {
    writer: Writer<W>,
    /// The first path of each file that has several.
    seen: BTreeMap<(u64, u64), Vec<u8>>,
    done: Exported,
    most: u64,
}

impl<W: Write> Export<W> {
    fn add(&mut self, met: Met<'_>) -> Result<(), Error> {
        let found = match met {
            Met::Entry(found) => found,
            Met::Missed(path, errno) => return self.leave_out(path, reason(errno)),
        };
        match file::kind(&found.stat) {
            FileType::Directory => {
                let path = [&found.path[..], b"/"].concat();
                self.write(entry(path, Kind::Directory, &found.stat), &mut io::empty()).map(drop)
            }
            FileType::Symlink => match rustix::fs::readlinkat(found.dir, found.name, Vec::new()) {
                Ok(text) => {
                    let kind = Kind::Symlink(text.into_bytes());
                    self.write(entry(found.path, kind, &found.stat), &mut io::empty()).map(drop)
                }
                Err(errno) => self.leave_out(found.path, reason(errno)),
            },
            FileType::RegularFile => self.add_file(found),
            _ => self.leave_out(found.path, "it is a device, a FIFO or a socket"),
        }
    }

    fn add_file(&mut self, found: Found<'_>) -> Result<(), Error> {
        // A FIFO may have taken its place: no waiting for somebody to write to it.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(found.dir, found.name, flags, Mode::empty())
            .and_then(|file| Ok((rustix::fs::fstat(&file)?, File::from(file))));
        let (stat, mut file) = match opened {
            Ok((stat, file)) if file::kind(&stat) == FileType::RegularFile => (stat, file),
            Ok(_) => return self.leave_out(found.path, "it changed meanwhile"),
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return self.leave_out(found.path, reason(errno)),
        };
        if stat.st_nlink > 1 {
            if let Some(first) = self.seen.get(&(stat.st_dev, stat.st_ino)) {
                let kind = Kind::HardLink(first.clone());
                return self.write(entry(found.path, kind, &stat), &mut io::empty()).map(drop);
            }
            self.seen.insert((stat.st_dev, stat.st_ino), found.path.clone());
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.done.bytes = self.done.bytes.saturating_add(size);
        if self.done.bytes > self.most {
            return Err(Error::TooBig { limit: crate::ByteSize::new(self.most).to_string() });
        }
        let path = found.path.clone();
        if !self.write(entry(found.path, Kind::File { size }, &stat), &mut file)? {
            self.leave_out(path, "it became shorter meanwhile; its end is zeros")?;
        }
        Ok(())
    }

    fn write(&mut self, entry: Entry, content: &mut dyn io::Read) -> Result<bool, Error> {
        self.done.entries += 1;
        self.writer.append(&entry, content).doing(|| WRITING.to_owned())
    }

    fn leave_out(&mut self, path: Vec<u8>, reason: &'static str) -> Result<(), Error> {
        self.done.left_out += 1;
        // A program may have made millions.
        if self.done.reasons.len() < 100 {
            self.done.reasons.push((path, reason));
        }
        Ok(())
    }
}

fn entry(path: Vec<u8>, kind: Kind, stat: &Stat) -> Entry {
    Entry { path, kind, mode: stat.st_mode & 0o777, modified: stat.st_mtime, attributes: Vec::new() }
}

fn reason(errno: Errno) -> &'static str {
    match errno {
        Errno::ACCESS | Errno::PERM => "it may not be read",
        Errno::NAMETOOLONG => "its path is longer than 4096 bytes",
        Errno::XDEV => "another file system is mounted there",
        _ => "the system refused",
    }
}
