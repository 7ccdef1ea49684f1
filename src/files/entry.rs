//! What a directory entry is, as the kernel says it.

use rustix::fs::{FileType, Stat};
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// What kind of thing an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, which is told and never followed.
    Symlink,
    /// A FIFO, a named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A block or character device.
    Device,
}

impl Kind {
    pub(crate) fn of(stat: &Stat) -> Self {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            _ => Self::Device,
        }
    }
}

/// One entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Relative to the tree's root, so that it can be passed to every other call.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// In bytes, as stat(2) says; a sparse file takes less.
    pub size: u64,
    /// The permission bits, with set-id and sticky: `0o7777` at most.
    pub mode: u32,
    /// When its content was last changed, which whoever owns it can set to anything.
    pub modified: SystemTime,
    /// Where a symbolic link points. It is only text, whatever it says.
    pub target: Option<PathBuf>,
}

impl Entry {
    pub(crate) fn new(path: PathBuf, stat: &Stat, target: Option<PathBuf>) -> Self {
        Self {
            path,
            kind: Kind::of(stat),
            size: size(stat),
            mode: stat.st_mode & 0o7777,
            modified: modified(stat),
            target,
        }
    }
}

/// No file system tells a negative size; one that is mounted from a user's program could.
pub(crate) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

fn modified(stat: &Stat) -> SystemTime {
    let (seconds, nanoseconds) = (stat.st_mtime, stat.st_mtime_nsec);
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let base = SystemTime::UNIX_EPOCH;
    let moved = if seconds < 0 { base.checked_sub(whole) } else { base.checked_add(whole) };
    moved.and_then(|time| time.checked_add(Duration::from_nanos(nanoseconds))).unwrap_or(base)
}
