//! Why an operation on files failed: one type, with a code that stays the same from version to version.

use rustix::io::Errno;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What was to be done, with which path, and why it could not be.
#[derive(Debug)]
pub struct Error {
    doing: &'static str,
    path: PathBuf,
    reason: Reason,
}

/// Why an operation on files failed. [`code`](Self::code) is its stable name.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reason {
    /// There is nothing of this name.
    NotFound,
    /// The path can't be one of a file here, for the reason given.
    InvalidPath(&'static str),
    /// There is more than may be read or written; the limit in bytes.
    TooBig(u64),
    /// There are more entries than may be looked at; the limit.
    TooMany(u64),
    /// The tree is deeper than anyone looks; the limit.
    TooDeep(u64),
    /// It took longer than it may.
    TooSlow,
    /// Something of this name is there already.
    Exists,
    /// It is a directory.
    IsDirectory,
    /// Something on the way, or at its end, is no directory.
    NotDirectory,
    /// The directory is not empty, or something keeps filling it.
    NotEmpty,
    /// It is a FIFO, a socket or a device, which are never opened.
    NotRegular,
    /// A symbolic link is on the way, or at its end; none is followed.
    Symlink,
    /// Another file system is mounted on the way.
    MountPoint,
    /// What was to be replaced does not occur.
    NoMatch,
    /// What was to be replaced once occurs this many times.
    Ambiguous(u64),
    /// The pattern can't be one, for the reason given.
    InvalidPattern(String),
    /// It changed between being read and being replaced.
    Changed,
    /// The archive is damaged, or uses what is not supported.
    BadArchive(String),
    /// It is not UTF-8, and was to be read as text.
    NotText,
    /// The permissions do not allow it.
    Denied,
    /// There is no space left, or a quota is used up.
    NoSpace,
    /// Another process holds a lease on the file: fcntl(2), F_SETLEASE. It has been asked to give it up.
    Busy,
    /// Everything else that the system said.
    Io(io::Error),
}

impl Reason {
    /// The stable name: `not_found`, `invalid_path`, `too_big`, and so on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::InvalidPath(_) => "invalid_path",
            Self::TooBig(_) => "too_big",
            Self::TooMany(_) => "too_many",
            Self::TooDeep(_) => "too_deep",
            Self::TooSlow => "too_slow",
            Self::Exists => "exists",
            Self::IsDirectory => "is_directory",
            Self::NotDirectory => "not_directory",
            Self::NotEmpty => "not_empty",
            Self::NotRegular => "not_regular",
            Self::Symlink => "symlink",
            Self::MountPoint => "mount_point",
            Self::NoMatch => "no_match",
            Self::Ambiguous(_) => "ambiguous",
            Self::InvalidPattern(_) => "invalid_pattern",
            Self::Changed => "changed",
            Self::BadArchive(_) => "bad_archive",
            Self::NotText => "not_text",
            Self::Denied => "denied",
            Self::NoSpace => "no_space",
            Self::Busy => "busy",
            Self::Io(_) => "io",
        }
    }

    /// Says what was being done, and to what.
    pub(crate) fn when(self, doing: &'static str, path: impl AsRef<Path>) -> Error {
        Error { doing, path: path.as_ref().to_owned(), reason: self }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("no such file or directory"),
            Self::InvalidPath(why) => f.write_str(why),
            Self::TooBig(limit) => write!(f, "it is larger than {}", crate::ByteSize::new(*limit)),
            Self::TooMany(limit) => write!(f, "there are more than {limit} entries"),
            Self::TooDeep(limit) => write!(f, "the tree is deeper than {limit} levels"),
            Self::TooSlow => f.write_str("it takes too long"),
            Self::Exists => f.write_str("it exists already"),
            Self::IsDirectory => f.write_str("it is a directory"),
            Self::NotDirectory => f.write_str("it, or something on the way to it, is not a directory"),
            Self::NotEmpty => f.write_str("the directory is not empty"),
            Self::NotRegular => f.write_str("it is a FIFO, a socket or a device, and no regular file"),
            Self::Symlink => f.write_str("it is, or leads through, a symbolic link, and none is followed"),
            Self::MountPoint => f.write_str("it leads into another file system that is mounted there"),
            Self::NoMatch => f.write_str("the text to replace does not occur in it"),
            Self::Ambiguous(count) => write!(f, "the text to replace occurs {count} times in it, not once"),
            Self::InvalidPattern(why) => write!(f, "the pattern is not valid: {why}"),
            Self::Changed => f.write_str("it was changed by another process meanwhile"),
            Self::BadArchive(why) => write!(f, "the archive is not valid: {why}"),
            Self::NotText => f.write_str("it is not UTF-8 text"),
            Self::Denied => f.write_str("permission denied"),
            Self::NoSpace => f.write_str("no space is left, or a quota is used up"),
            Self::Busy => f.write_str("another process holds a lease on it"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl From<Errno> for Reason {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT => Self::NotFound,
            Errno::EXIST => Self::Exists,
            Errno::ISDIR => Self::IsDirectory,
            Errno::NOTDIR => Self::NotDirectory,
            Errno::NOTEMPTY => Self::NotEmpty,
            Errno::NXIO => Self::NotRegular,
            Errno::LOOP => Self::Symlink,
            Errno::XDEV => Self::MountPoint,
            Errno::NAMETOOLONG => Self::InvalidPath("the path, or a name in it, is too long"),
            Errno::ACCESS | Errno::PERM => Self::Denied,
            Errno::NOSPC | Errno::DQUOT => Self::NoSpace,
            Errno::AGAIN => Self::Busy,
            errno => Self::Io(errno.into()),
        }
    }
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        Errno::from_io_error(&error).map_or(Self::Io(error), Self::from)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error.reason {
            Reason::NotFound => io::ErrorKind::NotFound,
            Reason::InvalidPath(_) | Reason::InvalidPattern(_) => io::ErrorKind::InvalidInput,
            Reason::TooBig(_) | Reason::TooMany(_) | Reason::TooDeep(_) => io::ErrorKind::FileTooLarge,
            Reason::TooSlow => io::ErrorKind::TimedOut,
            Reason::Exists => io::ErrorKind::AlreadyExists,
            Reason::IsDirectory => io::ErrorKind::IsADirectory,
            Reason::NotDirectory => io::ErrorKind::NotADirectory,
            Reason::NotEmpty => io::ErrorKind::DirectoryNotEmpty,
            Reason::MountPoint => io::ErrorKind::CrossesDevices,
            Reason::NotText | Reason::BadArchive(_) => io::ErrorKind::InvalidData,
            Reason::Denied => io::ErrorKind::PermissionDenied,
            Reason::NoSpace => io::ErrorKind::StorageFull,
            Reason::Busy => io::ErrorKind::ResourceBusy,
            Reason::Io(error) => error.kind(),
            Reason::NotRegular | Reason::Symlink | Reason::NoMatch | Reason::Ambiguous(_) | Reason::Changed => {
                io::ErrorKind::Other
            }
        };
        Self::new(kind, error)
    }
}

impl Error {
    /// The stable name of the reason: `not_found`, `invalid_path`, `too_big`, and so on.
    pub fn code(&self) -> &'static str {
        self.reason.code()
    }

    /// Why it failed.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// The path that it failed at, as it was given or found.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to {} `{}`: {}", self.doing, self.path.display(), self.reason)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            Reason::Io(error) => error.source(),
            _ => None,
        }
    }
}
