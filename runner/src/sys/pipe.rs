//! Pipes.

use super::{Errno, check_int};
use std::os::fd::{FromRawFd, OwnedFd};

/// `pipe2(2)`, close-on-exec: the read end and the write end.
pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut fds = [-1; 2];
    // SAFETY: the kernel writes two descriptors into the array during the call.
    check_int(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    let read = unsafe { OwnedFd::from_raw_fd(fds[0]) };
    // SAFETY: the same.
    let write = unsafe { OwnedFd::from_raw_fd(fds[1]) };
    Ok((read, write))
}
