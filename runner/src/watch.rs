//! Limits that no kernel object holds: the runner looks now and then, and kills on excess.

use crate::sys::file;
use crate::tree;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Watches how much a workspace on disk has grown.
///
/// Between two looks a program can write as much as the disk takes. What is deleted but still open counts too, as long as a
/// process holds it as a descriptor. Where something could not be looked into (a directory without read permission, a
/// process that hides its descriptors, a deleted file that is only mapped), what the whole file system has lost since
/// the start must not pass the limit either: others that write there may then end a job that hides something, and nobody
/// gets away with hiding. A file without a name whose only holder is a message in a socket's queue (unix(7), SCM_RIGHTS) is seen by
/// nobody; a workspace in memory has no such gap.
pub(crate) struct Disk {
    root: OwnedFd,
    /// A second directory that counts along, on the same terms.
    beside: Option<OwnedFd>,
    limit: u64,
    /// What was there before the command; only growth counts.
    start: u64,
    /// Free space on the file system before the command.
    free: Option<u64>,
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
        let free = file::free_bytes(root.as_fd()).ok();
        Self { root, beside: None, limit, start, free, next: Instant::now() + FIRST }
    }

    /// Counts what comes to be in another directory, which is empty now, as well.
    pub(crate) fn with(self, beside: Option<OwnedFd>) -> Self {
        Self { beside, ..self }
    }

    /// When to look next.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// Looks now. True when the limit is passed.
    pub(crate) fn is_exceeded(&mut self, processes: &[i32]) -> bool {
        let begin = Instant::now();
        let (mut size, mut seen) = tree::size(self.root.as_fd());
        if let Some((other, others)) = self.beside.as_ref().map(|beside| tree::size(beside.as_fd())) {
            size = size.and(other);
            seen.extend(others);
        }
        let (unlinked, is_hidden) = self.unlinked(processes, &mut seen);
        let used = (size.bytes + unlinked).saturating_sub(self.start);
        self.next = Instant::now() + (begin.elapsed() * PAUSE).max(SHORTEST);
        size.bottomless || used > self.limit || ((size.blind || is_hidden) && self.lost() > self.limit)
    }

    /// What the file system has lost since the start, to whomever.
    fn lost(&self) -> u64 {
        match (self.free, file::free_bytes(self.root.as_fd())) {
            (Some(before), Ok(now)) => before.saturating_sub(now),
            _ => u64::MAX,
        }
    }

    /// Space of files that have no name any more but are held open by a process of the sandbox; and whether there may be
    /// some that can't be seen.
    fn unlinked(&self, processes: &[i32], seen: &mut BTreeSet<u64>) -> (u64, bool) {
        use std::os::unix::fs::MetadataExt;
        let roots = [Some(&self.root), self.beside.as_ref()].into_iter().flatten();
        let devices: Vec<_> = roots.filter_map(|root| Some(file::fstat(root.as_fd()).ok()?.st_dev)).collect();
        let (mut bytes, mut is_hidden) = (0, false);
        for thread in processes.iter().flat_map(|pid| threads(*pid)) {
            // Of each thread: one may have a table of its own (unshare(2), CLONE_FILES), and the first may have ended.
            let descriptors = match std::fs::read_dir(thread.join("fd")) {
                Ok(descriptors) => descriptors,
                Err(error) => {
                    is_hidden |= error.kind() == std::io::ErrorKind::PermissionDenied;
                    continue;
                }
            };
            for descriptor in descriptors.flatten() {
                // metadata() goes through the magic link and opens nothing: a FIFO or device can't hold us up.
                let Ok(found) = std::fs::metadata(descriptor.path()) else { continue };
                if devices.contains(&found.dev()) && found.nlink() == 0 && found.is_file() && seen.insert(found.ino()) {
                    bytes += found.blocks() * 512;
                }
            }
            is_hidden |= maps_deleted(&thread);
        }
        (bytes, is_hidden)
    }
}

/// The directories of a process's threads in `/proc`.
fn threads(pid: i32) -> impl Iterator<Item = PathBuf> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.map(|task| task.path())
}

/// Whether a thread has mapped a file that has no name any more: then no descriptor may be left of it. The kernel's own
/// (shared memory, memfd) are called so too, and are in memory.
fn maps_deleted(thread: &Path) -> bool {
    let maps = std::fs::read_to_string(thread.join("maps")).unwrap_or_default();
    let in_memory = ["/dev/zero (", "/memfd:", "/SYSV", "/dev/shm/"];
    maps.lines().filter(|line| line.ends_with(" (deleted)")).any(|line| {
        let path = line.find('/').map_or("", |start| &line[start..]);
        !in_memory.iter().any(|start| path.starts_with(start))
    })
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
