//! Writing: overwrite, create, append, edit, permissions. A file is replaced as a whole, or not at all.

use super::Error;
use super::entry::size;
use super::error::Reason;
use super::path::{Inside, c_string};
use super::read::read_whole;
use super::temporary::{Replace, Temporary};
use super::tree::{PERMISSIONS, Tree, expect_regular, set_mode};
use rustix::fs::{Mode, OFlags, Stat};
use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// Which occurrences [`Tree::edit`] replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occurrences {
    /// The only one; with more it is an error, `ambiguous`.
    One,
    /// Each of them.
    All,
}

const NEW_FILE: u32 = 0o644;

/// How often a file may come and go while it is appended to.
const MOST_RACES: u32 = 100;

impl Tree {
    /// Writes a whole file, and makes it and its folders if they are missing. Whoever reads it meanwhile has the old content
    /// or the new. A file that was there keeps its permissions, but for set-id bits.
    ///
    /// # Errors
    /// `is_directory`, `symlink`, `not_regular`, `too_big`, and whatever else keeps it from being written.
    pub fn write(&self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<(), Error> {
        self.told("write", path, |path| self.replace(path, bytes.as_ref(), Replace::Allowed))
    }

    /// Writes a file that must not be there yet.
    ///
    /// # Errors
    /// `exists`, and as for [`write`](Self::write).
    pub fn create(&self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<(), Error> {
        self.told("create", path, |path| self.replace(path, bytes.as_ref(), Replace::Refused))
    }

    /// Adds to the end of a file, and makes it and its folders if they are missing. What several append at once is all
    /// there, in some order, and other names of the file, hard links, keep what they had.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn append(&self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<(), Error> {
        self.told("append to", path, |path| {
            let bytes = bytes.as_ref();
            let (directory, name) = self.made_parent(path)?;
            let name = c_string(name)?;
            for _ in 0..MOST_RACES {
                let (mut file, stat) = match self.regular(directory.as_fd(), &name, OFlags::WRONLY | OFlags::APPEND) {
                    Err(Reason::NotFound) => {
                        match self.put(directory.as_fd(), &name, &[bytes], NEW_FILE, Replace::Refused) {
                            // Somebody else was faster, and has begun the file.
                            Err(Reason::Exists) => continue,
                            other => return other,
                        }
                    }
                    other => other?,
                };
                if size(&stat).saturating_add(bytes.len() as u64) > self.bounds.copy_bytes {
                    return Err(Reason::TooBig(self.bounds.copy_bytes));
                }
                if stat.st_nlink > 1 {
                    let (old, _) = self.regular(directory.as_fd(), &name, OFlags::RDONLY)?;
                    let old = read_whole(old, self.bounds.file_bytes)?;
                    return self.put(directory.as_fd(), &name, &[&old, bytes], stat.st_mode, Replace::Allowed);
                }
                return Ok(file.write_all(bytes)?);
            }
            Err(Reason::Changed)
        })
    }

    /// Replaces `old` by `new`, the one occurrence or all of them, and tells how many there were.
    ///
    /// # Errors
    /// `no_match`; `ambiguous`, with the number of occurrences; `changed` when another process writes to the file at the
    /// same time; and as for [`read`](Self::read) and [`write`](Self::write).
    pub fn edit(
        &self,
        path: impl AsRef<Path>,
        old: impl AsRef<[u8]>,
        new: impl AsRef<[u8]>,
        which: Occurrences,
    ) -> Result<u64, Error> {
        self.told("edit", path, |path| {
            let (directory, name) = self.parent(path)?;
            let name = c_string(name)?;
            let (file, before) = self.regular(directory.as_fd(), &name, OFlags::RDONLY)?;
            let text = read_whole(file, self.bounds.file_bytes)?;
            let (text, count) = substitute(&text, old.as_ref(), new.as_ref(), which, self.bounds.file_bytes)?;
            let (_, now) = self.look(directory.as_fd(), &name)?;
            if version(&before) != version(&now) {
                return Err(Reason::Changed);
            }
            self.put(directory.as_fd(), &name, &[&text], before.st_mode, Replace::Allowed)?;
            Ok(count)
        })
    }

    /// Sets the permissions of a file or directory: the nine bits of `0o777`, others are dropped.
    ///
    /// # Errors
    /// `not_found`, `symlink`, `not_regular`, `denied`.
    pub fn set_mode(&self, path: impl AsRef<Path>, mode: u32) -> Result<(), Error> {
        self.told("set the mode of", path, |path| {
            let (pinned, stat) = self.look(self.root(), &path.to_c()?)?;
            match expect_regular(&stat) {
                Ok(()) | Err(Reason::IsDirectory) => set_mode(&pinned, mode),
                Err(reason) => Err(reason),
            }
        })
    }

    fn replace(&self, path: &Inside, bytes: &[u8], replace: Replace) -> Result<(), Reason> {
        if path.is_root() {
            return Err(Reason::IsDirectory);
        }
        if bytes.len() as u64 > self.bounds.file_bytes {
            return Err(Reason::TooBig(self.bounds.file_bytes));
        }
        let (directory, name) = self.made_parent(path)?;
        let name = c_string(name)?;
        let mode = match self.look(directory.as_fd(), &name) {
            Err(Reason::NotFound) => NEW_FILE,
            Err(reason) => return Err(reason),
            Ok(_) if replace == Replace::Refused => return Err(Reason::Exists),
            Ok((_, stat)) => expect_regular(&stat).map(|()| stat.st_mode)?,
        };
        self.put(directory.as_fd(), &name, &[bytes], mode, replace)
    }

    fn put(
        &self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        parts: &[&[u8]],
        mode: u32,
        replace: Replace,
    ) -> Result<(), Reason> {
        let (temporary, mut file) = Temporary::file(self, directory)?;
        parts.iter().try_for_each(|part| file.write_all(part))?;
        finish(&file, mode)?;
        temporary.publish(name, replace)
    }
}

/// Gives a new file its permissions, last of all: writing to a file takes set-id bits away, and so do we.
pub(crate) fn finish(file: &File, mode: u32) -> Result<(), Reason> {
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode & PERMISSIONS))?)
}

/// What tells one state of a file from another. The change time can't be set by whoever owns the file.
fn version(stat: &Stat) -> impl PartialEq + use<> {
    (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec)
}

fn substitute(text: &[u8], old: &[u8], new: &[u8], which: Occurrences, most: u64) -> Result<(Vec<u8>, u64), Reason> {
    if old.is_empty() {
        return Err(Reason::InvalidPattern("the text to replace is empty".to_owned()));
    }
    let places: Vec<usize> = memchr::memmem::find_iter(text, old).collect();
    let count = places.len() as u64;
    match (which, count) {
        (_, 0) => return Err(Reason::NoMatch),
        (Occurrences::One, 2..) => return Err(Reason::Ambiguous(count)),
        _ => {}
    }
    // Never less than nothing: each occurrence was found in the text.
    let length = (text.len() as u64 - count * old.len() as u64).saturating_add(count.saturating_mul(new.len() as u64));
    if length > most {
        return Err(Reason::TooBig(most));
    }
    let (mut replaced, mut done) = (Vec::new(), 0);
    for place in places {
        replaced.extend_from_slice(&text[done..place]);
        replaced.extend_from_slice(new);
        done = place + old.len();
    }
    replaced.extend_from_slice(&text[done..]);
    Ok((replaced, count))
}

/// Copies to the end, and leaves out what is zero, so that a sparse file stays one. `count` is told each piece's length
/// before it is written, and may refuse it.
pub(crate) fn pour(
    from: &mut dyn Read,
    to: &File,
    count: &mut dyn FnMut(u64) -> Result<(), Reason>,
) -> Result<u64, Reason> {
    use std::os::unix::fs::FileExt;
    let (mut chunk, mut length) = (vec![0; 128 << 10], 0u64);
    loop {
        let read = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        count(read as u64)?;
        if chunk[..read] != ZEROS[..read] {
            to.write_all_at(&chunk[..read], length)?;
        }
        length += read as u64;
    }
    to.set_len(length)?;
    Ok(length)
}

static ZEROS: [u8; 128 << 10] = [0; 128 << 10];
