//! Entries of an archive as files beneath a directory that only we write to. Links are made as they stand and never
//! followed: a later entry whose path leads through one is refused.

use super::error::shown;
use super::error::{Doing, Error};
use super::file;
use crate::tar::{Entry, Kind};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// Whose the files are to be, where that is not us.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner(Option<(Uid, Gid)>);

impl Owner {
    /// The owner of a directory. Only root can give files away.
    pub(super) fn of(dir: BorrowedFd<'_>) -> Result<Self, Error> {
        let stat = rustix::fs::fstat(dir).doing(|| "look at the workspace's files".to_owned())?;
        let is_other = stat.st_uid != rustix::process::geteuid().as_raw() && rustix::process::geteuid().is_root();
        Ok(Self(is_other.then(|| (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid)))))
    }

    /// Gives an open file to the owner.
    pub(super) fn own(self, file: BorrowedFd<'_>) -> Result<(), Error> {
        let Some((uid, gid)) = self.0 else { return Ok(()) };
        rustix::fs::fchown(file, Some(uid), Some(gid)).doing(|| "give a file to its owner".to_owned())
    }

    fn own_link(self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
        let Some((uid, gid)) = self.0 else { return Ok(()) };
        rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
    }
}

pub(super) struct Unpack<'a> {
    root: BorrowedFd<'a>,
    owner: Owner,
    /// Where the last entry went: the next one mostly goes there too. No directory is ever replaced, so it stays right.
    last: Option<(Vec<u8>, Rc<OwnedFd>)>,
    /// The directories that the archive has, with the mode and the time that they get at the end.
    directories: BTreeMap<Vec<u8>, (u32, i64)>,
    /// The bytes of all these paths.
    remembered: usize,
    /// Files, directories and links made so far, those included that the archive only implies.
    pub(super) made: u64,
}

/// The most that the paths of an archive's directories may take in memory.
const MOST_REMEMBERED: usize = 256 << 20;

/// PATH_MAX of <linux/limits.h>, less the NUL.
const LONGEST_PATH: usize = 4095;

impl<'a> Unpack<'a> {
    pub(super) fn new(root: BorrowedFd<'a>, owner: Owner) -> Self {
        Self { root, owner, last: None, directories: BTreeMap::new(), remembered: 0, made: 0 }
    }

    /// Makes what an entry says. Of several files or links with one path the last one counts, as for tar.
    pub(super) fn add(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), Error> {
        let path = clean(&entry.path)?;
        let Some((parent, name)) = split(&path) else {
            // `.`, the root itself, keeps its own mode.
            let is_root = entry.kind == Kind::Directory;
            return if is_root { Ok(()) } else { Err(refused(&entry.path, "it has no name")) };
        };
        match &entry.kind {
            Kind::Directory => {
                self.directory(&path)?;
                self.remember(path, entry)
            }
            Kind::File { .. } => {
                let dir = self.directory(parent)?;
                self.file(dir.as_fd(), name, entry, content)
            }
            Kind::Symlink(text) => {
                let dir = self.directory(parent)?;
                self.symlink(dir.as_fd(), name, entry, text)
            }
            Kind::HardLink(target) => {
                let target = clean(target)?;
                let dir = self.directory(parent)?;
                self.hard_link(dir.as_fd(), name, entry, &target)
            }
            Kind::Other(_) => Err(refused(&entry.path, "it is of a kind that is not known")),
        }
    }

    /// Gives the directories their modes and times: now, since a mode may forbid to make anything in one, and whatever is
    /// made in one changes its time. What lies deeper comes first.
    pub(super) fn finish(self) -> Result<(), Error> {
        for (path, (mode, modified)) in self.directories.iter().rev() {
            let what = || format!("finish the directory {}", shown(path));
            let dir = file::open_beneath(self.root, path, OFlags::RDONLY | OFlags::DIRECTORY).doing(what)?;
            rustix::fs::fchmod(&dir, Mode::from_raw_mode(*mode)).doing(what)?;
            rustix::fs::futimens(&dir, &times(*modified)).doing(what)?;
        }
        Ok(())
    }

    fn remember(&mut self, path: Vec<u8>, entry: &Entry) -> Result<(), Error> {
        self.remembered += path.len();
        if self.remembered > MOST_REMEMBERED {
            return Err(Error::TooBig { limit: "256 MiB of directories' paths".to_owned() });
        }
        self.directories.insert(path, (entry.mode & 0o777, entry.modified));
        Ok(())
    }

    /// A directory, made with its parents where they are absent.
    fn directory(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, Error> {
        if let Some((_, dir)) = self.last.as_ref().filter(|(last, _)| last == path) {
            return Ok(Rc::clone(dir));
        }
        let dir = match file::open_beneath(self.root, path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => self.make_directory(path)?,
            Err(errno) => return Err(no_way(path, errno)),
        };
        let dir = Rc::new(dir);
        self.last = Some((path.to_vec(), Rc::clone(&dir)));
        Ok(dir)
    }

    fn make_directory(&mut self, path: &[u8]) -> Result<OwnedFd, Error> {
        let Some((parent, name)) = split(path) else { return Err(no_way(path, Errno::NOENT)) };
        let parent = self.directory(parent)?;
        let made = rustix::fs::mkdirat(&parent, name, Mode::RWXU)
            .and_then(|()| rustix::fs::openat(&parent, name, file::DIRECTORY, Mode::empty()));
        let dir = made.map_err(|errno| no_way(path, errno))?;
        // What it has if the archive does not say more of it.
        rustix::fs::fchmod(&dir, Mode::from_raw_mode(0o755)).map_err(|errno| no_way(path, errno))?;
        self.owner.own(dir.as_fd())?;
        self.made += 1;
        Ok(dir)
    }

    fn file(&mut self, dir: BorrowedFd<'_>, name: &[u8], entry: &Entry, content: &mut dyn Read) -> Result<(), Error> {
        make_room(dir, name, entry)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(dir, name, flags, file::OURS);
        let mut file = File::from(made.map_err(|errno| no_way(&entry.path, errno))?);
        self.made += 1;
        let what = || format!("write {}", shown(&entry.path));
        io::copy(content, &mut file).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::archive(error.to_string()),
            _ => Error::Io { what: what(), source: error },
        })?;
        self.owner.own(file.as_fd())?;
        // Set-id bits are of use to nobody but an attacker.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode & 0o777)).doing(what)?;
        rustix::fs::futimens(&file, &times(entry.modified)).doing(what)
    }

    fn symlink(&mut self, dir: BorrowedFd<'_>, name: &[u8], entry: &Entry, text: &[u8]) -> Result<(), Error> {
        if text.is_empty() || text.len() > LONGEST_PATH || text.contains(&0) {
            return Err(refused(&entry.path, "its text can't be that of a link"));
        }
        make_room(dir, name, entry)?;
        let made = rustix::fs::symlinkat(text, dir, name)
            .and_then(|()| self.owner.own_link(dir, name))
            .and_then(|()| rustix::fs::utimensat(dir, name, &times(entry.modified), AtFlags::SYMLINK_NOFOLLOW));
        self.made += 1;
        made.map_err(|errno| no_way(&entry.path, errno))
    }

    fn hard_link(&mut self, dir: BorrowedFd<'_>, name: &[u8], entry: &Entry, target: &[u8]) -> Result<(), Error> {
        let missing = || refused(&entry.path, "it is a hard link to nothing that came before it");
        let (parent, target_name) = split(target).ok_or_else(missing)?;
        let target_dir = match file::open_beneath(self.root, parent, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => return Err(missing()),
            other => other.map_err(|errno| no_way(&entry.path, errno))?,
        };
        let there = match file::stat(target_dir.as_fd(), target_name) {
            Err(Errno::NOENT) => return Err(missing()),
            other => other.map_err(|errno| no_way(&entry.path, errno))?,
        };
        if !matches!(file::kind(&there), FileType::RegularFile | FileType::Symlink) {
            return Err(refused(&entry.path, "it is a hard link to what is no file"));
        }
        // A link to itself is there already, and must not be removed to make room for it.
        if file::stat(dir, name).is_ok_and(|here| file::is_same(&here, &there)) {
            return Ok(());
        }
        make_room(dir, name, entry)?;
        // Without AT_SYMLINK_FOLLOW: a link's other name is a link.
        let made = rustix::fs::linkat(&target_dir, target_name, dir, name, AtFlags::empty());
        made.map_err(|errno| no_way(&entry.path, errno))
    }
}

/// Removes a file or a link that an earlier entry made under this name.
fn make_room(dir: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), Error> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => Err(refused(&entry.path, "an earlier entry of that path is a directory")),
        Err(errno) => Err(no_way(&entry.path, errno)),
    }
}

/// The parts of a path that name something, or why the path is not taken.
fn clean(path: &[u8]) -> Result<Vec<u8>, Error> {
    let parts: Vec<_> = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    if path.first() == Some(&b'/') {
        return Err(refused(path, "its path is absolute"));
    }
    if parts.contains(&&b".."[..]) {
        return Err(refused(path, "its path has `..` in it"));
    }
    if path.contains(&0) || path.len() > LONGEST_PATH {
        return Err(refused(path, "its path has a NUL in it or is longer than 4095 bytes"));
    }
    Ok(parts.join(&b'/'))
}

/// A clean path as its parent and its name; the root has none.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => Some((&path[..slash], &path[slash + 1..])),
        None if path.is_empty() => None,
        None => Some((b"", path)),
    }
}

fn refused(path: &[u8], reason: &str) -> Error {
    Error::archive(format!("{}: {reason}", shown(path)))
}

/// What the system says of a path that the archive chose.
fn no_way(path: &[u8], errno: Errno) -> Error {
    match errno {
        Errno::LOOP | Errno::NOTDIR => refused(path, "its path leads through a link or a file"),
        Errno::NAMETOOLONG => refused(path, "a name in its path is longer than 255 bytes, or all of it than 4095"),
        errno => Error::Io { what: format!("make {}", shown(path)), source: errno.into() },
    }
}

fn times(modified: i64) -> Timestamps {
    let modified = Timespec { tv_sec: modified, tv_nsec: 0 };
    Timestamps { last_access: modified, last_modification: modified }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_apart_or_refused() {
        for (path, expected) in [("a", "a"), ("./a//b/", "a/b"), (".", ""), ("", ""), ("a/./..b/...", "a/..b/...")] {
            assert_eq!(clean(path.as_bytes()).unwrap(), expected.as_bytes(), "{path}");
        }
        for path in ["/a", "/", "..", "a/..", "a/../b", "../a", "a\0b", &"x/".repeat(3000)] {
            assert!(clean(path.as_bytes()).is_err(), "{path}");
        }
        assert_eq!(split(b"a/b/c"), Some((&b"a/b"[..], &b"c"[..])));
        assert_eq!((split(b"a"), split(b"")), (Some((&b""[..], &b"a"[..])), None));
    }
}
