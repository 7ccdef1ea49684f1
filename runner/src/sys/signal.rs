//! Signals as descriptors: no handler ever runs in this program.

use super::{Errno, check, check_int, file, owned};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Blocks `signals` and returns a descriptor from which they are read: `sigprocmask(2)`, `signalfd(2)`.
pub(crate) fn signalfd(signals: &[i32]) -> Result<OwnedFd, Errno> {
    let set = set_of(signals)?;
    // SAFETY: the kernel reads the set during the call; the old mask is not asked for.
    check_int(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) })?;
    // SAFETY: the kernel reads the set during the call and keeps a copy.
    owned(i64::from(unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) }))
}

/// The number of the next signal that waits on a signalfd, if any.
pub(crate) fn next_signal(fd: BorrowedFd<'_>) -> Option<i32> {
    let mut buffer = [0u8; size_of::<libc::signalfd_siginfo>()];
    match file::read(fd, &mut buffer) {
        // ssi_signo is the first field, see signalfd(2).
        Ok(length) if length == buffer.len() => Some(i32::from_ne_bytes([buffer[0], buffer[1], buffer[2], buffer[3]])),
        _ => None,
    }
}

fn set_of(signals: &[i32]) -> Result<libc::sigset_t, Errno> {
    // SAFETY: a sigset_t is plain integers, for which all zeroes is a value; sigemptyset then gives it its meaning.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: writes one sigset_t that we own.
    check_int(unsafe { libc::sigemptyset(&raw mut set) })?;
    for signal in signals {
        // SAFETY: writes one sigset_t that we own.
        check_int(unsafe { libc::sigaddset(&raw mut set, *signal) })?;
    }
    Ok(set)
}

/// Ignores SIGPIPE, so that a reader that went away is EPIPE, which we expect, and no death.
pub(crate) fn ignore_sigpipe() {
    // SAFETY: sets a disposition, takes no memory.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// The clean state that a program expects at its start: every signal at its default, none blocked. Called in a freshly
/// forked child. By the raw call: glibc refuses to touch 32 and 33, and whoever started us may have ignored them.
pub(crate) fn reset_all() -> Result<(), Errno> {
    // The kernel's struct sigaction: handler, flags, restorer, mask; all zeroes is SIG_DFL.
    let default = [0u64; 4];
    for signal in 1..=64 {
        let (new, old) = (default.as_ptr(), std::ptr::null::<u64>());
        // SAFETY: the kernel reads one structure of that size and writes none. SIGKILL and SIGSTOP answer EINVAL, as
        // they should.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, new, old, size_of::<u64>()) };
    }
    unblock_all()
}

/// Drops those of `signals` that wait to be delivered: ignoring a signal does that (signal(7)). They then do again what
/// they do by default.
pub(crate) fn forget_pending(signals: &[i32]) {
    for signal in signals {
        // SAFETY: sets a disposition, takes no memory.
        unsafe { libc::signal(*signal, libc::SIG_IGN) };
        // SAFETY: the same.
        unsafe { libc::signal(*signal, libc::SIG_DFL) };
    }
}

/// Blocks no signal any more; what waits is delivered.
pub(crate) fn unblock_all() -> Result<(), Errno> {
    let none = set_of(&[])?;
    // SAFETY: the kernel reads the set during the call; the old mask is not asked for.
    check_int(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) }).map(drop)
}

/// Whether one of `signals` waits to be delivered: `sigpending(2)`. It goes on waiting.
pub(crate) fn is_pending(signals: &[i32]) -> bool {
    let Ok(mut set) = set_of(&[]) else { return false };
    // SAFETY: the kernel writes one sigset_t into the space that we own, during the call.
    let asked = check_int(unsafe { libc::sigpending(&raw mut set) });
    // SAFETY: reads one sigset_t that we own.
    asked.is_ok() && signals.iter().any(|signal| unsafe { libc::sigismember(&raw const set, *signal) } == 1)
}

/// `kill(2)`.
pub(crate) fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: takes no memory.
    check_int(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// `pidfd_send_signal(2)`, Linux 5.1: never hits a process that reused the number.
pub(crate) fn pidfd_send_signal(pidfd: &impl AsFd, signal: i32) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    let (fd, no_info) = (pidfd.as_fd().as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: a null siginfo asks the kernel to make one as kill(2) does; no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, no_info, 0) }).map(drop)
}

/// The name of a signal, such as `SIGSEGV`; real-time ones as `SIGRTMIN+n` (signal(7)).
pub(crate) fn name(signal: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    match usize::try_from(signal - 1).ok().and_then(|index| NAMES.get(index)) {
        Some(name) => format!("SIG{name}"),
        None => format!("SIGRTMIN+{}", signal - 34),
    }
}
