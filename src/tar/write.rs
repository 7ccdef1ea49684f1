//! Writing an archive. The same files make the same bytes.

use super::header::{self, Header, LONGEST_NAME};
use super::{BLOCK, Entry, Kind, pax};
use std::io::{self, Read, Write};

pub(crate) struct Writer<W>(W);

impl<W: Write> Writer<W> {
    pub(crate) fn new(target: W) -> Self {
        Self(target)
    }

    /// Writes an entry. Of a file exactly its size is taken from `content`; what is missing is filled with zeros, as the
    /// size is written already. True when nothing was missing.
    pub(crate) fn append(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<bool> {
        let (kind, link, size) = match &entry.kind {
            Kind::File { size } => (b'0', &[][..], *size),
            Kind::HardLink(link) => (b'1', &link[..], 0),
            Kind::Symlink(link) => (b'2', &link[..], 0),
            Kind::Directory => (b'5', &[][..], 0),
            Kind::Other(letter) => (*letter, &[][..], 0),
        };
        self.extension(b'x', &records(entry, link, size))?;
        for (kind, text) in [(b'L', &entry.path[..]), (b'K', link)] {
            if long(text) && is_binary(text) {
                self.extension(kind, &[text, b"\0"].concat())?;
            }
        }
        let (path, link, modified) = (entry.path.clone(), link.to_vec(), entry.modified);
        let size_here = if header::fits(size) { size } else { 0 };
        self.header(Header { path, link, kind, mode: entry.mode, size: size_here, modified })?;
        let copied = io::copy(&mut content.take(size), &mut self.0)?;
        io::copy(&mut io::repeat(0).take(size - copied), &mut self.0)?;
        self.fill(size)?;
        Ok(copied == size)
    }

    /// Writes the mark of the end, and gives back what was written to.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.0.write_all(&[0; 2 * BLOCK])?;
        self.0.flush()?;
        Ok(self.0)
    }

    /// Writes what is to be known of the next entry, if there is anything.
    fn extension(&mut self, kind: u8, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let size = bytes.len() as u64;
        self.header(Header { path: b"extension".to_vec(), kind, mode: 0o644, size, ..Header::default() })?;
        self.0.write_all(bytes)?;
        self.fill(size)
    }

    fn header(&mut self, header: Header) -> io::Result<()> {
        self.0.write_all(&header::build(&header))
    }

    /// Fills up the last block.
    fn fill(&mut self, size: u64) -> io::Result<()> {
        let used = usize::try_from(size % BLOCK as u64).unwrap_or_default();
        self.0.write_all(&[0; BLOCK][..(BLOCK - used) % BLOCK])
    }
}

fn long(text: &[u8]) -> bool {
    text.len() > LONGEST_NAME
}

/// Text in a pax header is UTF-8 unless `hdrcharset` says otherwise, which GNU tar does not know: what is not UTF-8 goes
/// in GNU tar's own way, which all others know too.
fn is_binary(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_err()
}

/// What the header's fields can't hold.
fn records(entry: &Entry, link: &[u8], size: u64) -> Vec<u8> {
    let mut records = Vec::new();
    let mut add = |key, value: &[u8]| records.extend(pax::record(key, value));
    if long(&entry.path) && !is_binary(&entry.path) {
        add("path", &entry.path);
    }
    if long(link) && !is_binary(link) {
        add("linkpath", link);
    }
    if !header::fits(size) {
        add("size", size.to_string().as_bytes());
    }
    if u64::try_from(entry.modified).map_or(true, |seconds| !header::fits(seconds)) {
        add("mtime", entry.modified.to_string().as_bytes());
    }
    records
}
