//! The library's one room with `unsafe`: to wait for a pidfd on tokio, to take over what a keeper was started with, and to
//! interrupt what is in the foreground of a terminal.
//! Everything else that speaks to the kernel goes through std, rustix and nix.
#![expect(unsafe_code, reason = "this is the room for it")]

use nix::unistd::{ForkResult, fork};
use rustix::process::Signal;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a pidfd with the current tokio runtime; readable means that the process has ended: pidfd_open(2), Linux 5.3.
pub(crate) fn watch_pidfd(pidfd: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    watch(pidfd, Interest::READABLE)
}

/// Registers a descriptor with the current tokio runtime.
pub(crate) fn watch(descriptor: Arc<OwnedFd>, interest: Interest) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: the `AsyncFd` owns a share of the descriptor, and nobody can close an `OwnedFd` or change its number while a
    // share is left: it stays open and the same for as long as tokio's epoll knows of it, and epoll only looks.
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, interest) };
    Ok(registered?)
}

/// Takes over the descriptors from number 3 on that whoever started this program says are its own: sd_listen_fds(3).
/// `None` when one is missing, or is none of a socket.
///
/// To be called once, first of all in `main`, before anything else opens a file.
pub(crate) fn handed_sockets(count: usize) -> Option<Vec<OwnedFd>> {
    let mut taken = Vec::new();
    for number in 3..3 + RawFd::try_from(count).ok()? {
        let link = rustix::fs::readlink(format!("/proc/self/fd/{number}"), Vec::new()).ok()?;
        if !link.as_bytes().starts_with(b"socket:") {
            return None;
        }
        // SAFETY: it is open, as was just seen; it came with exec, since nothing in this program has opened any; and each
        // number is met once, so that nobody else owns it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC).ok()?;
        taken.push(descriptor);
    }
    Some(taken)
}

/// The descriptors from number 3 on that this program was started with, `count` of them, and no others: whatever else was
/// inherited is closed. `None` when one is missing.
///
/// To be called once, first of all in `main`, before anything else opens a file.
pub(crate) fn inherited(count: usize) -> Option<Vec<OwnedFd>> {
    let last = 3 + RawFd::try_from(count).ok()?;
    let listed = std::fs::read_dir("/proc/self/fd").ok()?;
    let mut numbers: Vec<RawFd> = listed
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|number| *number >= 3)
        .collect();
    numbers.sort_unstable();
    let mut taken = Vec::new();
    for number in numbers {
        // The listing's own descriptor is closed by now.
        if rustix::fs::readlink(format!("/proc/self/fd/{number}"), Vec::new()).is_err() {
            continue;
        }
        // SAFETY: it is open, as was just seen; it came with exec, since nothing in this program has opened any; and each
        // number is met once, so that nobody else owns it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        if number < last {
            rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC).ok()?;
            taken.push(descriptor);
        }
    }
    (taken.len() == count).then_some(taken)
}

/// Goes on in a child process, so that whoever started this one can wait for it and be done. True in the child.
///
/// # Errors
/// When there is no process to be had; also when this one has threads, since a child has only the one that forked.
pub(crate) fn go_on_in_child() -> io::Result<bool> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("this process has threads already"));
    }
    // SAFETY: this process has one thread, as was just seen, so that no lock can be held by one that the child lacks.
    match unsafe { fork() }? {
        ForkResult::Child => Ok(true),
        ForkResult::Parent { .. } => Ok(false),
    }
}

/// Sends SIGINT, SIGQUIT or SIGTSTP to the foreground process group of the terminal on the other side of a pty's master:
/// TIOCSIG. The group is the kernel's to look up, whatever pid namespace it is in.
pub(crate) fn signal_foreground(master: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    /// `_IOW('T', 0x36, int)`, by the numbers of asm-generic/ioctls.h.
    const TIOCSIG: rustix::ioctl::Opcode = rustix::ioctl::opcode::write::<i32>(b'T', 0x36);
    let number = usize::try_from(signal.as_raw()).unwrap_or_default();
    // SAFETY: the request takes its argument as an integer, so that the kernel reads no memory of ours: pty_unix98_ioctl.
    let request = unsafe { rustix::ioctl::IntegerSetter::<TIOCSIG>::new_usize(number) };
    // SAFETY: as above; on a descriptor of another kind it is refused.
    Ok(unsafe { rustix::ioctl::ioctl(master, request) }?)
}
