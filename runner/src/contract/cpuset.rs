//! A set of CPUs in the kernel's list format: `0-3,8`, cpuset(7).

use super::text::{InvalidValue, refuse};
use std::fmt;

/// The highest CPU number that is taken: NR_CPUS is at most 8192 on x86-64.
pub(super) const HIGHEST: u64 = 8191;

/// CPUs on which a sandbox may run. Never empty; sorted, without overlaps, however it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpuset {
    ranges: Vec<(u64, u64)>,
}

impl Cpuset {
    /// The numbers in it, in order.
    pub fn cpus(&self) -> impl Iterator<Item = u64> + '_ {
        self.ranges.iter().flat_map(|(first, last)| *first..=*last)
    }
}

impl std::str::FromStr for Cpuset {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (number(first), number(last)) {
                (Some(first), Some(last)) if first <= last => ranges.push((first, last)),
                _ => return refuse(format!("`{text}` is not a list of CPUs from 0 to {HIGHEST}, such as \"0-3,8\"")),
            }
        }
        ranges.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::new();
        for (first, last) in ranges {
            match joined.last_mut() {
                Some(before) if first <= before.1 + 1 => before.1 = before.1.max(last),
                _ => joined.push((first, last)),
            }
        }
        Ok(Self { ranges: joined })
    }
}

/// Digits only: `parse` alone would take `+1`.
fn number(text: &str) -> Option<u64> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|number| *number <= HIGHEST)
}

impl fmt::Display for Cpuset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}
