//! Waiting for descriptors with a deadline.

use super::{Errno, check_int};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// What to wait for on one descriptor.
pub(crate) fn entry(fd: BorrowedFd<'_>, events: i16) -> libc::pollfd {
    libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 }
}

/// `ppoll(2)`: waits until one of the descriptors is ready or the time is over (`None`: for ever). An interruption by a
/// signal counts as nothing being ready: every caller loops, and looks at the clock when it does.
pub(crate) fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> Result<usize, Errno> {
    let timeout = timeout.map(|left| libc::timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(left.subsec_nanos()),
    });
    let pointer = timeout.as_ref().map_or(std::ptr::null(), |spec| &raw const *spec);
    // SAFETY: the kernel reads and writes the array and reads the time during the call, and keeps neither.
    match check_int(unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as u64, pointer, std::ptr::null()) }) {
        Ok(ready) => Ok(ready as usize),
        Err(Errno(libc::EINTR)) => {
            fds.iter_mut().for_each(|fd| fd.revents = 0);
            Ok(0)
        }
        Err(errno) => Err(errno),
    }
}
