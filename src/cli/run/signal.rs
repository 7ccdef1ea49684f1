//! The signals that we pass on to the command. Which of them ends what is the flow's to decide, in `live`.

use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, BorrowedFd};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that a caller may send us to mean the command, with their numbers and names.
const PASSED_ON: [(i32, &str); 6] =
    [(1, "SIGHUP"), (2, "SIGINT"), (3, "SIGQUIT"), (10, "SIGUSR1"), (12, "SIGUSR2"), (15, "SIGTERM")];

pub(in crate::cli) const SIGINT: i32 = 2;
pub(super) const SIGPIPE: i32 = 13;
pub(in crate::cli) const SIGTERM: i32 = 15;

/// Signals as they come in. As long as this lives they do not end the program.
pub(in crate::cli) struct Signals {
    streams: Vec<(i32, Signal)>,
}

impl Signals {
    /// Catches the signals that are passed on, less those that we were started to ignore, as by nohup(1) or in the
    /// background of a shell script.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(in crate::cli) fn new() -> std::io::Result<Self> {
        let ignored = ignored();
        let mut streams = Vec::new();
        for (number, _) in PASSED_ON.iter().filter(|(number, _)| ignored >> (number - 1) & 1 == 0) {
            streams.push((*number, signal(SignalKind::from_raw(*number))?));
        }
        Ok(Self { streams })
    }

    /// The next signal's number.
    pub(in crate::cli) async fn next(&mut self) -> i32 {
        std::future::poll_fn(|context| {
            for (number, stream) in &mut self.streams {
                if stream.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*number);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// The signals that are passed on, held back in this thread: they wait until somebody has time for them. The descriptor is
/// readable as soon as there is one.
pub(in crate::cli) struct HeldBack {
    mask: SigSet,
    waiting: SignalFd,
}

impl HeldBack {
    /// Holds them back from now on. Those that we were started to ignore too: the kernel keeps what is held back.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(in crate::cli) fn new() -> std::io::Result<Self> {
        let numbers = PASSED_ON.iter().filter_map(|(number, _)| nix::sys::signal::Signal::try_from(*number).ok());
        let mask: SigSet = numbers.collect();
        mask.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self { mask, waiting: SignalFd::with_flags(&mask, flags)? })
    }

    /// Takes one, unless we were started to ignore it.
    pub(in crate::cli) fn take(&self) -> Option<i32> {
        let number = self.waiting.read_signal().ok()??.ssi_signo.cast_signed();
        (ignored() >> (number - 1) & 1 == 0).then_some(number)
    }

    /// Lets them go: each ends us, or comes to [`Signals`], or is ignored.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(in crate::cli) fn release(self) -> std::io::Result<()> {
        Ok(self.mask.thread_unblock()?)
    }
}

impl AsFd for HeldBack {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waiting.as_fd()
    }
}

/// The name of a signal that is passed on.
pub(in crate::cli) fn name(number: i32) -> &'static str {
    PASSED_ON.iter().find(|(known, _)| *known == number).map_or("a signal", |(_, name)| name)
}

/// The number of a signal by its name, as results have it: signal(7), the numbers that x86, ARM, RISC-V and s390 share.
pub(super) fn number(name: &str) -> Option<u8> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    let short = name.strip_prefix("SIG")?;
    let position = NAMES.iter().position(|known| *known == short);
    if let Some(number) = position.and_then(|position| u8::try_from(position + 1).ok()) {
        return Some(number);
    }
    // Real-time signals: 34 is the first that the C library leaves to programs.
    let number = short.strip_prefix("RTMIN").map(|offset| offset.trim_start_matches('+'));
    match number {
        Some("") => Some(34),
        Some(offset) => offset.parse::<u8>().ok().and_then(|offset| offset.checked_add(34)),
        None => short.parse().ok(),
    }
}

/// The mask of ignored signals that we inherited: proc_pid_status(5), `SigIgn`.
pub(in crate::cli) fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or_default();
    // Rust itself ignores SIGPIPE, which is not among those that we pass on.
    u64::from_str_radix(mask.trim(), 16).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_those_of_the_kernel() {
        assert_eq!(number("SIGSEGV"), Some(11));
        assert_eq!(number("SIGKILL"), Some(9));
        assert_eq!(number("SIGSYS"), Some(31));
        assert_eq!(number("SIGXFSZ"), Some(25));
        assert_eq!(number("SIGRTMIN+1"), Some(35));
        assert_eq!(number("nonsense"), None);
        for (known, name) in PASSED_ON {
            assert_eq!(number(name).map(i32::from), Some(known));
        }
    }
}
