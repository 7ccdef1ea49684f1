//! An errno with its name, and how a system call's answer becomes one. Not an error with a story: `failure` tells which step
//! and operand it belongs to.

use std::ffi::c_long;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// The kernel's answer to a call that failed: errno(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

impl Errno {
    /// The errno of the last failed call of this thread.
    pub(crate) fn last() -> Self {
        Self(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }

    /// The symbolic name, such as `ENOENT`, or the number where we have no name for it.
    pub(crate) fn name(self) -> String {
        NAMES
            .iter()
            .find(|(number, _)| *number == self.0)
            .map_or_else(|| format!("errno {}", self.0), |(_, name)| (*name).to_owned())
    }
}

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = std::io::Error::from_raw_os_error(self.0).to_string();
        let plain = text.split(" (os error").next().unwrap_or(&text);
        write!(f, "{} ({plain})", self.name())
    }
}

impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// The value of a system call that answers -1 on failure.
pub(super) fn check(value: c_long) -> Result<c_long, Errno> {
    if value == -1 { Err(Errno::last()) } else { Ok(value) }
}

/// The same for calls that answer an `int`.
pub(super) fn check_int(value: i32) -> Result<i32, Errno> {
    if value == -1 { Err(Errno::last()) } else { Ok(value) }
}

/// A new descriptor that the kernel just gave us.
pub(super) fn owned(value: c_long) -> Result<OwnedFd, Errno> {
    let fd = check(value)?;
    // SAFETY: every caller passes the answer of a call that creates a descriptor; it is new, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

macro_rules! names {
    ($($name:ident)*) => { &[$((libc::$name, stringify!($name))),*] };
}

const NAMES: &[(i32, &str)] = names! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST
    EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM
    ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP EOVERFLOW EOPNOTSUPP EADDRINUSE ECONNRESET ENOBUFS
    ETIMEDOUT ECONNREFUSED EALREADY ESTALE EDQUOT EUSERS EPROTO EBADMSG EAFNOSUPPORT
};
