//! What time it is, for what is written down. A duration is measured by the monotonic clock as long as the machine is up,
//! so that setting the wall clock makes nothing older or younger; only over a reboot, when that clock begins anew, the
//! wall clock has to do.

use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime};

/// A moment, as far as one machine can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Microseconds since 1970 by the wall clock, UTC.
    pub wall_us: i64,
    /// Milliseconds by the monotonic clock, which does not go on while the machine sleeps.
    pub uptime_ms: i64,
    /// Since which boot: the kernel's `boot_id`.
    pub boot: String,
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        let monotonic = clock_gettime(ClockId::Monotonic);
        let uptime_ms = monotonic.tv_sec.saturating_mul(1000).saturating_add(monotonic.tv_nsec / 1_000_000);
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self { wall_us: microseconds(SystemTime::now()), uptime_ms, boot: boot.trim().to_owned() }
    }

    /// How long ago `earlier` was, and never less than nothing.
    pub fn since(&self, earlier: &Self) -> Duration {
        if self.is_of_same_boot(earlier) {
            return Duration::from_millis(positive(self.uptime_ms.saturating_sub(earlier.uptime_ms)));
        }
        Duration::from_micros(positive(self.wall_us.saturating_sub(earlier.wall_us)))
    }

    /// Whether the machine has not been booted between the two. What ran then may run still.
    pub fn is_of_same_boot(&self, other: &Self) -> bool {
        self.boot == other.boot
    }
}

fn positive(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Microseconds since 1970; a clock before that counts backwards.
fn microseconds(time: SystemTime) -> i64 {
    let whole = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => whole(since),
        Err(before) => -whole(before.duration()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(wall_us: i64, uptime_ms: i64, boot: &str) -> Moment {
        Moment { wall_us, uptime_ms, boot: boot.to_owned() }
    }

    #[test]
    fn the_wall_clock_makes_nothing_older_or_younger_while_the_machine_is_up() {
        let begun = moment(1_000_000_000, 5000, "a");
        for jumped in [i64::MIN, -1, 0, 2_000_000_000, i64::MAX] {
            assert_eq!(moment(jumped, 35_000, "a").since(&begun), Duration::from_secs(30), "{jumped}");
        }
    }

    #[test]
    fn over_a_reboot_the_wall_clock_counts_and_never_backwards() {
        let begun = moment(1_000_000_000, 5_000_000, "a");
        assert_eq!(moment(1_060_000_000, 10, "b").since(&begun), Duration::from_secs(60));
        assert_eq!(moment(900_000_000, 10, "b").since(&begun), Duration::ZERO);
        assert_eq!(moment(0, 4000, "a").since(&begun), Duration::ZERO);
    }

    #[test]
    fn time_goes_on() {
        let first = Moment::now();
        assert!(first.boot.len() == 36 && first.wall_us > 1_600_000_000_000_000, "{first:?}");
        assert!(Moment::now().since(&first) < Duration::from_secs(3600));
    }
}
