//! Files and directories by descriptor: what the rest of this room opens, reads and replaces. No link is followed here.

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A directory that must be one, not a link to one.
pub(crate) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Never above the directory, through no link, and onto no other file system that somebody mounted there.
pub(crate) const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_XDEV);

/// Only for us: records and locks, and the directories that hold them.
pub(crate) const OURS: Mode = Mode::RUSR.union(Mode::WUSR);
pub(crate) const OUR_DIRECTORY: Mode = Mode::RWXU;

pub(crate) fn open_directory(at: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(at, name, DIRECTORY, Mode::empty())
}

/// Opens a directory, and makes it if it is absent.
pub(crate) fn make_directory(at: BorrowedFd<'_>, name: &str, mode: Mode) -> Result<OwnedFd, Errno> {
    match rustix::fs::mkdirat(at, name, mode) {
        Ok(()) | Err(Errno::EXIST) => open_directory(at, name),
        Err(errno) => Err(errno),
    }
}

/// The names in a directory, without `.` and `..`, in order.
pub(crate) fn names(dir: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}

pub(crate) fn stat(at: BorrowedFd<'_>, name: impl rustix::path::Arg) -> Result<Stat, Errno> {
    rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)
}

pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Whether two looks met the same file.
pub(crate) fn is_same(one: &Stat, other: &Stat) -> bool {
    one.st_ino == other.st_ino && one.st_dev == other.st_dev
}

/// Reads a small file of ours.
///
/// # Errors
/// Also when it is no regular file, or larger than `most` bytes.
pub(crate) fn read(at: BorrowedFd<'_>, name: &str, most: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(at, name, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is larger than {most} bytes")));
    }
    Ok(bytes)
}

/// Replaces a file as a whole, or not at all: whoever reads it finds the old bytes or the new, and what was written is
/// on disk when this returns. The caller holds the lock that keeps others from doing the same.
pub(crate) fn replace(at: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let fresh = format!("{name}.new");
    // What a killed process left under this name is written over.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(at, fresh.as_str(), flags, OURS)?);
    file.write_all(bytes)?;
    file.sync_all()?;
    rustix::fs::renameat(at, fresh.as_str(), at, name)?;
    Ok(rustix::fs::fsync(at)?)
}

/// Opens what a path leads to beneath `root`, or fails: for whatever a sandbox may have made.
pub(crate) fn open_beneath(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    loop {
        // EAGAIN: something was renamed meanwhile, so the kernel can't tell that the path stays beneath: openat2(2).
        match rustix::fs::openat2(root.as_fd(), path, flags, Mode::empty(), BENEATH) {
            Err(Errno::AGAIN) => std::thread::yield_now(),
            other => return other,
        }
    }
}

/// The directory that a path's last name is in, beneath `root`, and that name.
pub(crate) fn open_parent<'p>(root: BorrowedFd<'_>, path: &'p [u8]) -> Result<(OwnedFd, &'p [u8]), Errno> {
    let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&b""[..], path),
    };
    Ok((open_beneath(root, parent, OFlags::RDONLY | OFlags::DIRECTORY)?, name))
}
