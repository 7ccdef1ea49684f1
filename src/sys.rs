//! The library's one room with `unsafe`, and its one use: to wait for a pidfd on tokio. Everything else that speaks to the
//! kernel goes through std, rustix and nix.
#![expect(unsafe_code, reason = "this is the room for it")]

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a pidfd with the current tokio runtime; readable means that the process has ended: pidfd_open(2), Linux 5.3.
pub(crate) fn watch_pidfd(pidfd: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: the `AsyncFd` owns a share of the descriptor, and nobody can close an `OwnedFd` or change its number while a
    // share is left: it stays open and the same for as long as tokio's epoll knows of it, and epoll only looks.
    let registered = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) };
    Ok(registered?)
}
