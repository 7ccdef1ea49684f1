//! The loopback interface of a new network namespace.

use super::{Errno, check_int, owned};
use std::os::fd::AsRawFd;

/// Brings `lo` up: netdevice(7), SIOCSIFFLAGS.
pub(crate) fn loopback_up() -> Result<(), Errno> {
    // SAFETY: takes no memory.
    let socket = owned(i64::from(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }))?;
    // SAFETY: ifreq is plain integers and bytes, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: the kernel reads one ifreq during the call and keeps nothing.
    check_int(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }).map(drop)
}
