//! The CPU time that all processes have used together.

use crate::sys::perf;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Watches it.
pub(crate) struct Cpu {
    limit_ms: f64,
    next: Instant,
    cpus: f64,
    /// A counter of the kernel's: exact, whoever lives or has died.
    meter: Option<OwnedFd>,
    tally: Tally,
}

/// The sum over processes as it can be seen. A process whose parent ignores SIGCHLD takes what it used along when it ends:
/// then the sum falls, and what it fell by was used all the same.
#[derive(Default)]
struct Tally {
    last_ms: f64,
    lost_ms: f64,
}

impl Tally {
    fn add(&mut self, look: impl Fn() -> Option<f64>) -> Option<f64> {
        let mut seen_ms = look()?;
        // It also falls for a moment when a child is reaped after its parent was looked at.
        for _ in 0..ATTEMPTS {
            if seen_ms >= self.last_ms {
                break;
            }
            seen_ms = seen_ms.max(look()?);
        }
        self.lost_ms += (self.last_ms - seen_ms).max(0.0);
        self.last_ms = seen_ms;
        Some(seen_ms + self.lost_ms)
    }
}

impl Cpu {
    pub(crate) fn new(limit_ms: u64) -> Self {
        let cpus = super::cpus();
        let limit_ms = limit_ms as f64;
        let next = Instant::now() + pause(limit_ms, cpus).min(FIRST);
        Self { limit_ms, next, cpus, meter: None, tally: Tally::default() }
    }

    /// Takes the kernel's counter, before the command begins.
    pub(crate) fn set_meter(&mut self, counter: OwnedFd) {
        self.meter = Some(counter);
    }

    /// What the kernel's counter says, if there is one.
    pub(crate) fn counted_ms(&self) -> Option<f64> {
        Some(perf::nanoseconds(self.meter.as_ref()?)? as f64 / 1e6)
    }

    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// Looks now: at what a cgroup has counted, else at the counter, else at the sum over processes. True when the limit is
    /// passed.
    pub(crate) fn is_exceeded(&mut self, in_group: Option<f64>, of_processes: impl Fn() -> Option<f64>) -> bool {
        let begin = Instant::now();
        let counted = in_group.or_else(|| self.counted_ms());
        let used = counted.or_else(|| self.tally.add(of_processes));
        let left = self.limit_ms - used.unwrap_or(0.0);
        let longest = if counted.is_some() { LONGEST } else { (begin.elapsed() * PAUSE).max(GLANCE) };
        self.next = Instant::now() + pause(left, self.cpus).min(longest);
        left <= 0.0
    }
}

/// The first look, after which it is known how exact the count is.
const FIRST: Duration = Duration::from_millis(50);
/// The longest pause where the count misses nothing.
const LONGEST: Duration = Duration::from_secs(1);
/// Where processes are summed up, what ends unseen may be lost: a pause is this short, but a look takes at most a tenth of the
/// time.
const GLANCE: Duration = Duration::from_millis(10);
const PAUSE: u32 = 10;
/// How often a sum that fell is made anew.
const ATTEMPTS: u32 = 3;

/// The limit can't be passed before so much time has gone by, even with all CPUs at work.
fn pause(left_ms: f64, cpus: f64) -> Duration {
    Duration::from_secs_f64((left_ms / cpus).max(1.0) / 1e3)
}
