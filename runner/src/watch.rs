//! Limits that no kernel object holds: the runner looks now and then, and kills on excess.

use crate::sys::file;
use crate::tree;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Watches how much a workspace on disk has grown.
///
/// Between two looks a program can write as much as the disk takes; what is deleted but still open counts too, as long
/// as a process holds it as a descriptor.
pub(crate) struct Disk {
    root: OwnedFd,
    limit: u64,
    /// What was there before the command; only growth counts.
    start: u64,
    next: Instant,
}

/// The first look comes soon enough to stop a flood, and late enough to cost a short job nothing.
const FIRST: Duration = Duration::from_millis(100);
/// A look takes at most a tenth of the time: the pause is this many times what the last one took.
const PAUSE: u32 = 10;
const SHORTEST: Duration = Duration::from_millis(100);

impl Disk {
    /// `is_empty` spares measuring what was just made.
    pub(crate) fn new(root: OwnedFd, limit: u64, is_empty: bool) -> Self {
        let start = if is_empty { 0 } else { tree::size(root.as_fd()).0.bytes };
        Self { root, limit, start, next: Instant::now() + FIRST }
    }

    /// When to look next.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// Looks now. True when the limit is passed.
    pub(crate) fn is_exceeded(&mut self, processes: &[i32]) -> bool {
        let begin = Instant::now();
        let (size, mut seen) = tree::size(self.root.as_fd());
        let used = size.bytes + self.unlinked(processes, &mut seen);
        self.next = Instant::now() + (begin.elapsed() * PAUSE).max(SHORTEST);
        size.bottomless || used.saturating_sub(self.start) > self.limit
    }

    /// Space of files that have no name any more but are held open by a process of the sandbox.
    fn unlinked(&self, processes: &[i32], seen: &mut BTreeSet<u64>) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let device = file::fstat(self.root.as_fd()).map(|stat| stat.st_dev).unwrap_or_default();
        let mut bytes = 0;
        for pid in processes {
            let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
            for descriptor in descriptors.flatten() {
                // metadata() goes through the magic link and opens nothing: a FIFO or device can't hold us up.
                let Ok(found) = std::fs::metadata(descriptor.path()) else { continue };
                if found.dev() == device && found.nlink() == 0 && found.is_file() && seen.insert(found.ino()) {
                    bytes += found.blocks() * 512;
                }
            }
        }
        bytes
    }
}

/// Watches the CPU time that all processes have used together.
pub(crate) struct Cpu {
    limit_ms: f64,
    next: Instant,
    cpus: f64,
}

impl Cpu {
    pub(crate) fn new(limit_ms: u64) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
        let limit_ms = limit_ms as f64;
        Self { limit_ms, next: Instant::now() + pause(limit_ms, cpus), cpus }
    }

    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// Looks now. True when the limit is passed.
    pub(crate) fn is_exceeded(&mut self, used_ms: Option<f64>) -> bool {
        let left = self.limit_ms - used_ms.unwrap_or(0.0);
        self.next = Instant::now() + pause(left, self.cpus);
        left <= 0.0
    }
}

/// The limit can't be passed before so much time has gone by, even with all CPUs at work.
fn pause(left_ms: f64, cpus: f64) -> Duration {
    Duration::from_secs_f64((left_ms / cpus).clamp(1.0, 1000.0) / 1e3)
}
