//! Into a tree from tar. The archive is not trusted: every entry is placed exactly inside or refused by name, nothing is
//! followed, and extensions are read to a size and only where they are understood.

use super::Error;
use super::error::Reason;
use super::path::Inside;
use super::plant::{Likeness, Planter, Progress, Report};
use super::tree::Tree;
use rustix::fs::Timespec;
use std::cell::Cell;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tar::{Entry, EntryType, PaxExtensions};

/// Of one extension, which holds a path or a few attributes.
const LONGEST_EXTENSION: u64 = 1 << 20;
/// What may follow the end of an archive, and is read so that its writer does not fail: tar pads to 10 KiB.
const LONGEST_PADDING: u64 = 1 << 20;

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

/// What the entries before a file's own say of it.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    refusal: Option<&'static str>,
}

struct Unpacker<'a> {
    planter: Planter<'a>,
}

impl Unpacker<'_> {
    fn all(&mut self, archive: impl Read) -> Result<(), Reason> {
        let has_ended = Cell::new(false);
        let mut archive = tar::Archive::new(Watched { inner: archive, has_ended: &has_ended });
        let mut extensions = Extensions::default();
        // Raw, since otherwise an extension of any length is read into memory.
        for entry in archive.entries().map_err(bad)?.raw(true) {
            let mut entry = entry.map_err(bad)?;
            match entry.header().entry_type() {
                EntryType::GNULongName => extensions.path = Some(until_nul(small(&mut entry)?)),
                EntryType::GNULongLink => extensions.target = Some(until_nul(small(&mut entry)?)),
                EntryType::XHeader => extensions.take(&small(&mut entry)?)?,
                EntryType::XGlobalHeader => _ = small(&mut entry)?,
                EntryType::GNUSparse => return Err(Reason::BadArchive("GNU's sparse format is not supported".into())),
                _ => self.placed(entry, std::mem::take(&mut extensions))?,
            }
        }
        if has_ended.get() {
            return Err(Reason::BadArchive("it ends before its end".into()));
        }
        let _nothing_of_ours = io::copy(&mut archive.into_inner().take(LONGEST_PADDING), &mut io::sink());
        Ok(())
    }

    fn placed<R: Read>(&mut self, mut entry: Entry<'_, R>, extensions: Extensions) -> Result<(), Reason> {
        if extensions.size.is_some_and(|size| size != entry.size()) {
            return Err(Reason::BadArchive("an entry has two sizes".into()));
        }
        let path = extensions.path.clone().unwrap_or_else(|| entry.path_bytes().into_owned());
        match self.entry(&path, &mut entry, extensions) {
            Err(Reason::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(Reason::BadArchive("it ends in the middle of a file".into()))
            }
            Err(reason) => self.planter.refuse(Path::new(OsStr::from_bytes(&path)), reason),
            Ok(()) => Ok(()),
        }
    }

    fn entry<R: Read>(&mut self, path: &[u8], entry: &mut Entry<'_, R>, extensions: Extensions) -> Result<(), Reason> {
        if let Some(why) = extensions.refusal {
            return Err(Reason::BadArchive(why.into()));
        }
        let inside = archived(path)?;
        let header = entry.header().clone();
        let mode = header.mode().map_err(bad)?;
        let target = || extensions.target.or_else(|| header.link_name_bytes().map(|bytes| bytes.into_owned()));
        match header.entry_type() {
            EntryType::Directory => self.planter.directory(&inside, mode),
            // Tar of 1979 has no type for directories.
            EntryType::Regular if path.ends_with(b"/") => self.planter.directory(&inside, mode),
            EntryType::Regular | EntryType::Continuous => {
                let seconds = i64::try_from(header.mtime().map_err(bad)?).unwrap_or_default();
                let modified = Timespec { tv_sec: seconds, tv_nsec: 0 };
                let left = entry.size();
                self.planter.file(&inside, Likeness { mode, modified }, &mut Exactly { inner: entry, left })
            }
            EntryType::Symlink => match target() {
                Some(target) if !target.is_empty() => self.planter.symlink(&inside, OsStr::from_bytes(&target)),
                _ => Err(Reason::BadArchive("a link without a target".into())),
            },
            EntryType::Link => {
                let target = target().ok_or_else(|| Reason::BadArchive("a link without a target".into()))?;
                self.planter.hard_link(&inside, &archived(&target)?)
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => Err(Reason::NotRegular),
            other => Err(Reason::BadArchive(format!("entries of type {} are not supported", other.as_byte()))),
        }
    }
}

/// A path of an archive: always relative.
fn archived(path: &[u8]) -> Result<Inside, Reason> {
    if path.starts_with(b"/") {
        return Err(Reason::InvalidPath("the path is absolute"));
    }
    Inside::relative(path)
}

impl Extensions {
    /// Reads the records of a pax header: pax(1).
    fn take(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        for record in PaxExtensions::new(bytes) {
            let record = record.map_err(bad)?;
            let value = record.value_bytes();
            match record.key_bytes() {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.target = Some(value.to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    self.size = Some(size.ok_or_else(|| Reason::BadArchive("a size is no number".into()))?);
                }
                key if key.starts_with(b"GNU.sparse.") => self.refusal = Some("sparse files are not supported"),
                key if key.starts_with(b"SCHILY.xattr.") && key.windows(9).any(|part| part == b".overlay.") => {
                    self.refusal = Some("it has an attribute of overlayfs");
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn bad(error: io::Error) -> Reason {
    Reason::BadArchive(error.to_string())
}

fn small<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<u8>, Reason> {
    let size = entry.size();
    if size > LONGEST_EXTENSION {
        return Err(Reason::BadArchive("a name or attribute in it is too long".into()));
    }
    let mut bytes = Vec::new();
    Exactly { inner: entry, left: size }.read_to_end(&mut bytes).map_err(bad)?;
    Ok(bytes)
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

/// A reader of exactly so many bytes: fewer are an error.
struct Exactly<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left = self.left.saturating_sub(read as u64);
        Ok(read)
    }
}

/// Notices that the input has ended. A whole archive says itself where it ends.
struct Watched<'a, R> {
    inner: R,
    has_ended: &'a Cell<bool>,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            self.has_ended.set(true);
        }
        Ok(read)
    }
}
