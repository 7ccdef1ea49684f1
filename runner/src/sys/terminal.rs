//! Pseudo-terminals: pty(7).

use super::{Errno, check_int, owned};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Unlocks the other side of a pty's master and opens it: TIOCSPTLCK, TIOCGPTPEER (Linux 4.13). The path in `/dev/pts`
/// plays no part, so nobody can put something else there.
pub(crate) fn open_peer(master: &impl AsFd) -> Result<OwnedFd, Errno> {
    let unlock: i32 = 0;
    let fd = master.as_fd().as_raw_fd();
    // SAFETY: the kernel reads one int during the call.
    check_int(unsafe { libc::ioctl(fd, libc::TIOCSPTLCK, &raw const unlock) })?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: takes an integer; answers a new descriptor.
    owned(i64::from(unsafe { libc::ioctl(fd, libc::TIOCGPTPEER, flags) }))
}

/// Sets a terminal's size: TIOCSWINSZ. Programs on it get SIGWINCH.
pub(crate) fn set_size(terminal: &impl AsFd, rows: u16, columns: u16) -> Result<(), Errno> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel reads one winsize during the call.
    check_int(unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

/// Makes a terminal the controlling one of this session, which must have none: TIOCSCTTY.
pub(crate) fn set_controlling(terminal: &impl AsFd) -> Result<(), Errno> {
    // SAFETY: takes an integer.
    check_int(unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSCTTY, 0) }).map(drop)
}
