//! How fast is read what programs in the sandbox write without end. The keeper is in none of the sandbox's groups, so no limit
//! of its job holds the time that this takes; whoever writes waits instead.

use rustix::time::{ClockId, clock_gettime};
use std::cell::Cell;
use std::time::Duration;
use tokio::time::Instant;

/// In the long run reading takes at most one part in so many of a CPU.
const PARTS: u32 = 4;

/// So much CPU time may be taken at once: seconds of what programs usually write.
const BURST: Duration = Duration::from_secs(1);

/// What everything that is read has cost lately.
#[derive(Debug)]
pub(crate) struct Pace {
    spent: Cell<Duration>,
    as_of: Cell<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { spent: Cell::default(), as_of: Cell::new(Instant::now()) }
    }
}

impl Pace {
    /// Does something, and counts what it takes.
    pub(crate) fn counted<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = cpu_time();
        let done = work();
        let now = Instant::now();
        let forgiven = now.duration_since(self.as_of.replace(now)) / PARTS;
        self.spent.update(|spent| spent.saturating_sub(forgiven) + cpu_time().saturating_sub(before));
        done
    }

    /// Until when nothing more is to be read. `None`: it may be at once.
    pub(crate) fn pause(&self) -> Option<Instant> {
        let more = self.spent.get().checked_sub(BURST).filter(|more| !more.is_zero())?;
        self.as_of.get().checked_add(more * PARTS).filter(|until| *until > Instant::now())
    }

    /// Waits until then.
    pub(crate) async fn wait(&self) {
        if let Some(until) = self.pause() {
            tokio::time::sleep_until(until).await;
        }
    }
}

/// What this thread has used.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_burst_one_part_in_four_is_left() {
        let pace = Pace::default();
        pace.spent.set(BURST / 2);
        assert_eq!(pace.pause(), None);
        pace.spent.set(BURST + Duration::from_secs(10));
        assert_eq!(pace.pause(), Some(pace.as_of.get() + Duration::from_secs(40)));
        // What is long ago counts no more.
        pace.as_of.set(Instant::now().checked_sub(Duration::from_secs(60)).unwrap());
        assert_eq!(pace.pause(), None);
        pace.counted(|| ());
        assert!(pace.spent.get() < BURST, "{pace:?}");
    }

    #[test]
    fn work_is_counted_by_what_it_takes_and_not_by_how_long_it_waits() {
        let pace = Pace::default();
        pace.counted(|| std::thread::sleep(Duration::from_millis(50)));
        assert!(pace.spent.get() < Duration::from_millis(40), "{pace:?}");
        let begun = cpu_time();
        pace.counted(|| while cpu_time() < begun + Duration::from_millis(20) {});
        assert!(pace.spent.get() >= Duration::from_millis(10), "{pace:?}");
    }
}
