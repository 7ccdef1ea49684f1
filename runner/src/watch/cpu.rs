//! The CPU time that all processes have used together.

use crate::sys::perf;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Watches it.
pub(crate) struct Cpu {
    limit_ms: f64,
    next: Instant,
    cpus: f64,
    /// A counter of the kernel's: exact, whoever lives or has died, but for whoever got rid of it. Executing a program that
    /// can't be read ends all counting of the process that does (`begin_new_exec`: perf_event_exit_task).
    meter: Option<OwnedFd>,
    tally: Tally,
    /// What the tally says, where that is more than the counter can be behind.
    uncounted_ms: Option<f64>,
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
        Self { limit_ms, next, cpus, meter: None, tally: Tally::default(), uncounted_ms: None }
    }

    /// Takes the kernel's counter, before the command begins.
    pub(crate) fn set_meter(&mut self, counter: OwnedFd) {
        self.meter = Some(counter);
    }

    /// What the kernel's counter says, if there is one; or what was seen, where that is more.
    pub(crate) fn counted_ms(&self) -> Option<f64> {
        let counted_ms = perf::nanoseconds(self.meter.as_ref()?)? as f64 / 1e6;
        Some(counted_ms.max(self.uncounted_ms.unwrap_or(0.0)))
    }

    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// Looks now: at what a cgroup has counted, else at the counter and at the sum over processes, which says when somebody
    /// got rid of the counter. True when the limit is passed.
    pub(crate) fn is_exceeded(&mut self, in_group: Option<f64>, of_processes: impl Fn() -> Option<f64>) -> bool {
        let begin = Instant::now();
        let seen = if in_group.is_some() { None } else { self.tally.add(of_processes) };
        self.compare(seen);
        let used = in_group.or_else(|| self.counted_ms()).or(seen);
        let left = self.limit_ms - used.unwrap_or(0.0);
        let took = begin.elapsed() * PAUSE;
        let longest = match (in_group, &self.meter, self.uncounted_ms) {
            (Some(_), ..) => LONGEST,
            (None, Some(_), None) => took.max(BESIDE_METER),
            _ => took.max(GLANCE),
        };
        self.next = Instant::now() + pause(left, self.cpus).min(longest);
        left <= 0.0
    }

    /// Believes the sum over processes where the counter has fallen behind it: by less than this they may differ, since a
    /// process is missed or counted twice when it ends while we look.
    fn compare(&mut self, seen: Option<f64>) {
        if let (Some(seen), Some(counted)) = (seen, self.counted_ms())
            && (self.uncounted_ms.is_some() || seen > counted * MORE + MORE_MS)
        {
            self.uncounted_ms = Some(seen);
        }
    }
}

/// The first look, after which it is known how exact the count is.
const FIRST: Duration = Duration::from_millis(50);
/// The longest pause where the count misses nothing.
const LONGEST: Duration = Duration::from_secs(1);
/// The longest pause beside a counter that nobody has got rid of yet.
const BESIDE_METER: Duration = Duration::from_millis(100);
const MORE: f64 = 1.1;
const MORE_MS: f64 = 100.0;
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
