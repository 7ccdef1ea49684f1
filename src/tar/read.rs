//! Reading an archive entry by entry, from anything that can be read once.

use super::header::{self, Block, Header};
use super::pax::Records;
use super::{BLOCK, Entry, Fault, Kind};
use crate::workspace::error::quoted;
use std::io::{self, Read};

/// The most that the names and attributes of one entry may take in bytes. A path has 4096 at most.
const LARGEST_EXTENSION: u64 = 1 << 20;

/// What may follow the end: GNU tar fills up to 10 KiB, others to more.
const LARGEST_FILLING: u64 = 1 << 20;

pub(crate) struct Reader<R> {
    source: R,
    /// What is left of the entry's content, and what fills up its last block.
    left: u64,
    filling: u64,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source, left: 0, filling: 0 }
    }

    /// The next entry, or `None` at the end.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, Fault> {
        let (mut records, mut path, mut link) = (Records::default(), None, None);
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            match header.kind {
                b'x' | b'X' => {
                    let bytes = self.extension(&header)?;
                    records = records.parse(&bytes).ok_or_else(|| malformed("a pax header is malformed"))?;
                }
                b'g' => self.global(&header)?,
                // GNU tar's long names, each with a NUL at its end.
                b'L' => path = Some(c_text(self.extension(&header)?)),
                b'K' => link = Some(c_text(self.extension(&header)?)),
                // The archive's own name.
                b'V' => self.begin(header.size),
                _ => return self.entry(header, records, path, link).map(Some),
            }
        }
    }

    /// The content of the entry that `next_entry` gave last.
    pub(crate) fn content(&mut self) -> impl Read + '_ {
        Content(self)
    }

    /// Reads on to the end of what was handed in, so that whoever writes into a pipe does not die of it.
    pub(crate) fn drain(&mut self) {
        let _best_effort = io::copy(&mut self.source.by_ref().take(LARGEST_FILLING), &mut io::sink());
    }

    fn entry(
        &mut self,
        header: Header,
        records: Records,
        path: Option<Vec<u8>>,
        link: Option<Vec<u8>>,
    ) -> Result<Entry, Fault> {
        let path = records.path.or(path).unwrap_or(header.path);
        let link = records.link.or(link).unwrap_or(header.link);
        if records.is_sparse {
            return Err(malformed(format!(
                "{} is stored as a sparse file, which is not supported",
                quoted(&String::from_utf8_lossy(&path))
            )));
        }
        let size = records.size.unwrap_or(header.size);
        let is_directory = path.ends_with(b"/");
        let kind = match header.kind {
            // Before ustar a directory was a file whose name ended in a slash.
            0 | b'0' | b'7' if is_directory => Kind::Directory,
            0 | b'0' | b'7' => Kind::File { size },
            b'1' => Kind::HardLink(link),
            b'2' => Kind::Symlink(link),
            b'5' => Kind::Directory,
            other => Kind::Other(other),
        };
        // Links, directories, devices and FIFOs have no content, whatever size some programs write there. What is of a type
        // that is not known has as much as a file would: pax(1).
        let has_content = !matches!(header.kind, b'1'..=b'6') && kind != Kind::Directory;
        self.begin(if has_content { size } else { 0 });
        let modified = records.modified.unwrap_or(header.modified);
        Ok(Entry { path, kind, mode: header.mode, modified, attributes: records.attributes })
    }

    fn global(&mut self, header: &Header) -> Result<(), Fault> {
        let bytes = self.extension(header)?;
        let records = Records::default().parse(&bytes).ok_or_else(|| malformed("a pax header is malformed"))?;
        // Comments, as git writes them, say nothing of files.
        if records.path.is_some() || records.link.is_some() || records.size.is_some() || records.is_sparse {
            return Err(malformed("a global pax header gives all entries one path or size"));
        }
        Ok(())
    }

    /// The next header. `None` at the mark of the end.
    fn header(&mut self) -> Result<Option<Header>, Fault> {
        let mut block: Block = [0; BLOCK];
        self.fill(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        match header::parse(&block) {
            Some(header) => Ok(Some(header)),
            None => Err(malformed(foreign(&block))),
        }
    }

    /// What an entry that only speaks of the next one says.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, Fault> {
        if header.size > LARGEST_EXTENSION {
            return Err(malformed("the names and attributes of an entry take more than 1 MiB"));
        }
        self.begin(header.size);
        let mut bytes = vec![0; usize::try_from(header.size).unwrap_or_default()];
        self.fill(&mut bytes)?;
        self.left = 0;
        Ok(bytes)
    }

    fn begin(&mut self, size: u64) {
        self.left = size;
        self.filling = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    /// Passes over what is left of an entry.
    fn skip(&mut self) -> Result<(), Fault> {
        let wanted = self.left.saturating_add(self.filling);
        (self.left, self.filling) = (0, 0);
        let passed = io::copy(&mut self.source.by_ref().take(wanted), &mut io::sink());
        match passed.map_err(Fault::Read)? {
            passed if passed == wanted => Ok(()),
            _ => Err(malformed(CUT)),
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Fault> {
        match self.source.read_exact(bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(malformed(CUT)),
            other => other.map_err(Fault::Read),
        }
    }
}

/// An entry's content, and an error where the archive ends before it.
struct Content<'a, R>(&'a mut Reader<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.0.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        match self.0.source.read(&mut buffer[..most])? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, CUT)),
            length => {
                self.0.left -= length as u64;
                Ok(length)
            }
        }
    }
}

const CUT: &str = "it ends too early";

fn malformed(reason: impl Into<String>) -> Fault {
    Fault::Archive(reason.into())
}

fn c_text(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    bytes
}

/// What a file that is no tar archive is instead.
fn foreign(block: &Block) -> &'static str {
    match block {
        [0x1f, 0x8b, ..] => "it is compressed; pass it through `gzip -dc`",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "it is compressed; pass it through `zstd -dc`",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "it is compressed; pass it through `xz -dc`",
        [b'B', b'Z', b'h', ..] => "it is compressed; pass it through `bzip2 -dc`",
        _ => "it is no tar archive, or damaged",
    }
}
