//! How many processes and threads were ever started, by the numbers that they got. A pid namespace hands its numbers out
//! in sequence, so the last one tells, however short anybody lived, until the sequence begins anew after `pid_max`:
//! from then on nobody knows.

use crate::failure::{At, Step, StepError};
use crate::sys::{Errno, file};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Looks at the sequence of the pid namespace that this process is in.
pub(crate) struct Numbers {
    /// `/proc/loadavg`, whose last field is the number that was handed out last, in the reader's own pid namespace.
    file: OwnedFd,
    /// The last number at the last look, and when that was; `None` once the sequence may have begun anew.
    seen: Option<(u64, Instant)>,
    /// In less time than this the sequence can't come round.
    round: Duration,
}

/// No kernel hands out numbers faster than one in this time. A clone(2) that fails takes a number as well, and costs
/// some 8 µs, on two CPUs together no less than that: it goes through locks of which there is one in the machine.
const FASTEST: Duration = Duration::from_micros(1);

/// The number at which the sequence begins anew (RESERVED_PIDS in the kernel).
const RESERVED: u64 = 300;

impl Numbers {
    /// Opens what it needs in the sandbox's own `/proc`.
    pub(crate) fn open() -> Result<Self, StepError> {
        let open = |path: &str| file::open(path, libc::O_RDONLY).at(Step::GuardInit, path);
        let file = open("/proc/loadavg")?;
        // The namespace's own since Linux 6.14, four million; before that the host's, which may be 32768.
        let most = open("/proc/sys/kernel/pid_max")?;
        let most = text(&most).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0u64);
        let round = FASTEST.saturating_mul(u32::try_from(most.saturating_sub(RESERVED)).unwrap_or(u32::MAX));
        Ok(Self { file, seen: Some((0, Instant::now())), round })
    }

    /// How long until [`Numbers::keep_up`] is to be called; for good when nothing can be told any more.
    pub(crate) fn pause(&self) -> Option<Duration> {
        self.seen.map(|(_, then)| (self.round / 2).saturating_sub(then.elapsed()))
    }

    /// Looks, if it is time to.
    pub(crate) fn keep_up(&mut self) {
        if self.pause() == Some(Duration::ZERO) {
            self.last();
        }
    }

    /// Looks now: the number that was handed out last, if it is the first time that it was.
    pub(crate) fn last(&mut self) -> Option<u64> {
        let (before, then) = self.seen?;
        let last = text(&self.file).ok().and_then(|text| text.trim_end().rsplit(' ').next()?.parse().ok());
        let now = Instant::now();
        self.seen = last.filter(|last| *last >= before && now - then < self.round).map(|last| (last, now));
        self.seen.map(|(last, _)| last)
    }
}

fn text(file: &OwnedFd) -> Result<String, Errno> {
    let mut buffer = [0; 128];
    let length = file::read_start(file.as_fd(), &mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}
