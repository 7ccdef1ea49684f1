//! tar archives as POSIX.1-2001 (pax) has them: what GNU tar, bsdtar and Python read and write. Written here rather than
//! taken from a crate since an archive is a stranger's: every size has a bound, and what is not understood is refused. What
//! an entry becomes is for `workspace::import` and `files::unpack` to say.

mod header;
mod pax;
mod read;
mod write;

pub(crate) use read::Reader;
pub(crate) use write::Writer;

use std::io;

/// The unit of an archive.
const BLOCK: usize = 512;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File {
        size: u64,
    },
    Directory,
    /// The text of the link.
    Symlink(Vec<u8>),
    /// The path in the archive of what it is another name of.
    HardLink(Vec<u8>),
    /// A device, a FIFO, or something that only another program's archives have: its type's letter.
    Other(u8),
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As the archive has it.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    /// Seconds since 1970.
    pub(crate) modified: i64,
    /// The names of extended attributes that the archive has for it.
    pub(crate) attributes: Vec<Vec<u8>>,
}

/// Why there is no next entry.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The archive is damaged, or holds what is not understood: in words.
    Archive(String),
    /// It can't be read.
    Read(io::Error),
}

impl Entry {
    /// Whether it has an attribute by which overlayfs hides or redirects files.
    pub(crate) fn overlay_attribute(&self) -> Option<&[u8]> {
        let is_overlay = |name: &&Vec<u8>| name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
        self.attributes.iter().find(is_overlay).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn entry(path: &[u8], kind: Kind) -> Entry {
        Entry { path: path.to_vec(), kind, mode: 0o640, modified: 1_700_000_000, attributes: Vec::new() }
    }

    #[test]
    fn what_was_written_is_read() {
        let long = [b"d/".repeat(150), b"x".repeat(200)].concat();
        let entries = [
            entry(b"plain", Kind::File { size: 5 }),
            entry(&long, Kind::File { size: 512 }),
            entry(b"\xff\n odd", Kind::File { size: 0 }),
            Entry { modified: -5, ..entry(b"old/", Kind::Directory) },
            entry(b"link", Kind::Symlink(long.clone())),
            entry(b"hard", Kind::HardLink(b"plain".to_vec())),
        ];
        let mut writer = Writer::new(Vec::new());
        for entry in &entries {
            let mut content: &[u8] = &[7; 512];
            writer.append(entry, &mut content).unwrap();
        }
        let bytes = writer.finish().unwrap();
        assert_eq!(bytes.len() % BLOCK, 0);
        let mut reader = Reader::new(&bytes[..]);
        for expected in &entries {
            assert_eq!(reader.next_entry().unwrap().as_ref(), Some(expected));
            let mut content = Vec::new();
            reader.content().read_to_end(&mut content).unwrap();
            let size = if let Kind::File { size } = expected.kind { size } else { 0 };
            assert_eq!(content, [7; 512][..usize::try_from(size).unwrap()]);
        }
        assert_eq!(reader.next_entry().unwrap(), None);
    }

    #[test]
    fn content_that_nobody_reads_is_passed_over_and_every_cut_is_noticed() {
        let mut writer = Writer::new(Vec::new());
        let mut content: &[u8] = &[1; 2000];
        writer.append(&entry(b"a", Kind::File { size: 2000 }), &mut content).unwrap();
        writer.append(&entry(b"b", Kind::Directory), &mut &b""[..]).unwrap();
        let bytes = writer.finish().unwrap();
        let names = |bytes: &[u8]| {
            let (mut reader, mut names) = (Reader::new(bytes), Vec::new());
            while let Some(entry) = reader.next_entry()? {
                names.push(entry.path);
            }
            Ok::<_, Fault>(names)
        };
        assert_eq!(names(&bytes).unwrap(), [b"a".to_vec(), b"b".to_vec()]);
        for length in 0..bytes.len() - BLOCK {
            assert!(names(&bytes[..length]).is_err(), "{length}");
        }
        for index in [0, 100, 124, 148, 156] {
            let mut flipped = bytes.clone();
            flipped[index] ^= 1;
            assert!(names(&flipped).is_err(), "{index}");
        }
    }
}
