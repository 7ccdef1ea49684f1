//! Reading: whole files, ranges and lines. What counts is what is read, never what stat(2) says, since files grow and may
//! be sparse.

use super::Error;
use super::error::Reason;
use super::path::Inside;
use super::tree::Tree;
use rustix::fs::OFlags;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Take};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Some lines of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lines {
    /// The lines as they are in the file, with their ends; only the file's last line may lack one.
    pub bytes: Vec<u8>,
    /// The number of the first one, from 1 on.
    pub first: u64,
    /// How many they are.
    pub count: u64,
    /// Whether there are no more after them.
    pub is_end: bool,
}

impl Lines {
    /// As text with a number before each line, as `cat -n` has it. Bytes that are no UTF-8 are shown as U+FFFD.
    pub fn numbered(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let lines = (self.first..).zip(text.split_inclusive('\n'));
        lines.map(|(number, line)| format!("{number:>6}\t{line}")).collect()
    }
}

impl Tree {
    /// Reads a whole file of at most [`file_bytes`](super::Bounds::file_bytes).
    ///
    /// # Errors
    /// `not_found`, `too_big`, and whatever else keeps it from being read.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Vec<u8>, Error> {
        self.told("read", path, |path| {
            let (file, _) = self.regular(self.root(), &path.to_c()?, OFlags::RDONLY)?;
            read_whole(file, self.bounds.file_bytes)
        })
    }

    /// Reads a whole file as text.
    ///
    /// # Errors
    /// As for [`read`](Self::read), and `not_text`.
    pub fn read_to_string(&self, path: impl AsRef<Path>) -> Result<String, Error> {
        let path = path.as_ref();
        String::from_utf8(self.read(path)?).map_err(|_not_utf8| Reason::NotText.when("read", path))
    }

    /// Opens a regular file to read it piece by piece, whatever takes its place meanwhile, and tells how long it is now.
    ///
    /// # Errors
    /// `not_found`, and whatever else keeps it from being read.
    pub fn open_file(&self, path: impl AsRef<Path>) -> Result<(File, u64), Error> {
        self.told("read", path, |path| {
            let (file, stat) = self.regular(self.root(), &path.to_c()?, OFlags::RDONLY)?;
            Ok((file, super::entry::size(&stat)))
        })
    }

    /// Reads at most `length` bytes from `offset` on; fewer where the file ends, none behind its end.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn read_range(&self, path: impl AsRef<Path>, offset: u64, length: u64) -> Result<Vec<u8>, Error> {
        self.told("read", path, |path| {
            if length > self.bounds.file_bytes {
                return Err(Reason::TooBig(self.bounds.file_bytes));
            }
            let (file, _) = self.regular(self.root(), &path.to_c()?, OFlags::RDONLY)?;
            read_range(&file, offset, length)
        })
    }

    /// Reads at most `limit` lines after the first `offset` of them.
    ///
    /// # Errors
    /// As for [`read`](Self::read); `too_big` also when it takes more than [`scan_bytes`](super::Bounds::scan_bytes) to find
    /// them.
    pub fn read_lines(&self, path: impl AsRef<Path>, offset: u64, limit: u64) -> Result<Lines, Error> {
        self.told("read", path, |path| {
            let (file, _) = self.regular(self.root(), &path.to_c()?, OFlags::RDONLY)?;
            let mut lines = LineReader::new(file, self.bounds.scan_bytes);
            let mut skipped = Vec::new();
            for _ in 0..offset {
                match lines.next(&mut skipped, 0)? {
                    Some(_) => {}
                    None if lines.is_exhausted() => return Err(Reason::TooBig(self.bounds.scan_bytes)),
                    None => return Ok(Lines { is_end: true, first: offset.saturating_add(1), ..Lines::default() }),
                }
            }
            let mut read = Lines { first: offset.saturating_add(1), ..Lines::default() };
            while read.count < limit {
                let room = self.bounds.file_bytes.saturating_sub(read.bytes.len() as u64);
                match lines.next(&mut read.bytes, room)? {
                    Some(Line::Whole) => read.count += 1,
                    Some(Line::Cut) => return Err(Reason::TooBig(self.bounds.file_bytes)),
                    None => break,
                }
            }
            if lines.is_exhausted() {
                return Err(Reason::TooBig(self.bounds.scan_bytes));
            }
            read.is_end = lines.is_at_end()?;
            Ok(read)
        })
    }

    /// Reads the path, does the work, and tells a failure with both.
    pub(crate) fn told<T>(
        &self,
        doing: &'static str,
        path: impl AsRef<Path>,
        work: impl FnOnce(&Inside) -> Result<T, Reason>,
    ) -> Result<T, Error> {
        let path = path.as_ref();
        self.inside(path).and_then(|inside| work(&inside)).map_err(|reason| reason.when(doing, path))
    }
}

/// Reads to the end, or to one byte more than there may be.
pub(crate) fn read_whole(file: File, limit: u64) -> Result<Vec<u8>, Reason> {
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(Reason::TooBig(limit)) } else { Ok(bytes) }
}

fn read_range(file: &File, offset: u64, length: u64) -> Result<Vec<u8>, Reason> {
    let (mut bytes, mut chunk) = (Vec::new(), vec![0; 128 << 10]);
    while (bytes.len() as u64) < length {
        let wanted = usize::try_from(length - bytes.len() as u64).map_or(chunk.len(), |left| left.min(chunk.len()));
        let position = offset.saturating_add(bytes.len() as u64);
        // pread(2) takes no range beyond the largest signed number, and no file is so long.
        if i64::try_from(position.saturating_add(wanted as u64)).is_err() {
            break;
        }
        match file.read_at(&mut chunk[..wanted], position) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

/// Reads line by line, each to a length and all to a total.
pub(crate) struct LineReader {
    reader: BufReader<Take<File>>,
}

/// Whether a line was kept as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Whole,
    Cut,
}

impl LineReader {
    pub(crate) fn new(file: File, most: u64) -> Self {
        Self { reader: BufReader::with_capacity(64 << 10, file.take(most)) }
    }

    /// What the file begins with.
    pub(crate) fn head(&mut self) -> Result<&[u8], Reason> {
        Ok(self.reader.fill_buf()?)
    }

    /// Adds at most `keep` bytes of the next line to `line`, and passes over the rest of it.
    pub(crate) fn next(&mut self, line: &mut Vec<u8>, keep: u64) -> Result<Option<Line>, Reason> {
        let kept = self.reader.by_ref().take(keep).read_until(b'\n', line)?;
        if kept > 0 && line.last() == Some(&b'\n') {
            return Ok(Some(Line::Whole));
        }
        match self.reader.skip_until(b'\n')? {
            0 if kept == 0 => Ok(None),
            0 => Ok(Some(Line::Whole)),
            _ => Ok(Some(Line::Cut)),
        }
    }

    /// Whether all that may be read was read; what looks like the file's end is none then.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.reader.get_ref().limit() == 0 && self.reader.buffer().is_empty()
    }

    fn is_at_end(&mut self) -> Result<bool, Reason> {
        Ok(self.reader.fill_buf()?.is_empty())
    }

    /// How much more may be read.
    pub(crate) fn left(&self) -> u64 {
        self.reader.get_ref().limit().saturating_add(self.reader.buffer().len() as u64)
    }
}
