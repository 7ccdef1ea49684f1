//! The memory of all processes together, where no cgroup holds it.
//!
//! Nothing in the kernel sums it up without one, so it is put together from what each process has mapped and from what
//! lies in memory without being mapped: files of the sandbox's tmpfs, memfds, System V segments. The cheap figures count
//! twice what two processes share; so they only acquit, and nobody is killed but by the dear ones.
//!
//! What the kernel keeps for the sandbox beside page tables is not seen: buffers of sockets and pipes, names and inodes; nor is
//! a memfd whose only holder is a message in a socket's queue.

use super::cpus;
use crate::processes::{self, Memory as Part};
use crate::sys::file;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, Instant};

/// What init has made in memory, and hands out for this.
pub(crate) struct Places {
    /// The table of the sandbox's System V segments, sysvipc(7), if the kernel has them.
    segments: Option<File>,
    /// Its own tmpfs.
    file_systems: Vec<OwnedFd>,
}

impl Places {
    /// The table first, then the file systems.
    pub(crate) fn new(mut descriptors: Vec<OwnedFd>, has_segments: bool) -> Self {
        let segments = has_segments.then(|| File::from(descriptors.remove(0)));
        Self { segments, file_systems: descriptors }
    }

    fn file_system_bytes(&self) -> u64 {
        self.file_systems.iter().filter_map(|place| file::space(place.as_fd()).ok()).map(|space| space.used_bytes).sum()
    }

    /// The columns `rss` and `swap` of `/proc/sysvipc/shm`, whose place its first line tells.
    fn segment_bytes(&self) -> u64 {
        let Some(table) = &self.segments else { return 0 };
        let (mut text, mut buffer) = (Vec::new(), [0u8; 16 << 10]);
        while let Ok(length @ 1..) = table.read_at(&mut buffer, text.len() as u64) {
            text.extend_from_slice(&buffer[..length]);
        }
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.lines();
        let heads: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
        let wanted: Vec<usize> = (0..heads.len()).filter(|at| ["rss", "swap"].contains(&heads[*at])).collect();
        let row = |line: &str| -> u64 {
            let words: Vec<&str> = line.split_whitespace().collect();
            wanted.iter().filter_map(|at| words.get(*at)?.parse::<u64>().ok()).sum()
        };
        lines.map(row).sum()
    }
}

/// Watches it.
pub(crate) struct Memory {
    limit: u64,
    places: Option<Places>,
    /// The file system of memfds, of System V segments and of shared mappings without a file: the kernel's own.
    shared_device: Option<u64>,
    /// What the whole machine had in shared memory at the start.
    machine_shared: u64,
    next: Instant,
}

/// What an allocation costs at least: the kernel clears no more bytes of pages than this in a second on one CPU.
const BYTES_A_SECOND: f64 = 4e9;
const SHORTEST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(100);
/// A look takes at most a tenth of the time: the pause is this many times what the last one took.
const PAUSE: u32 = 10;
/// How often a look is begun anew when processes came or went meanwhile.
const ATTEMPTS: u32 = 3;

impl Memory {
    pub(crate) fn new(limit: u64) -> Self {
        let probe = file::memfd(c"pinfold").and_then(|probe| file::fstat(probe.as_fd()));
        let shared_device = probe.ok().map(|stat| stat.st_dev);
        let machine_shared = machine_shared();
        Self { limit, places: None, shared_device, machine_shared, next: Instant::now() + pause(limit) }
    }

    pub(crate) fn set_places(&mut self, places: Places) {
        self.places = Some(places);
    }

    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// Looks now. True when the limit is passed.
    pub(crate) fn is_exceeded(&mut self, init: i32) -> bool {
        let begin = Instant::now();
        let at_most = self.at_most(init);
        let is_exceeded = at_most > self.limit && self.is_confirmed(init);
        let took = begin.elapsed();
        self.next = Instant::now() + pause(self.limit.saturating_sub(at_most)).max(took * PAUSE);
        is_exceeded
    }

    /// A sum that is never too small but for processes that were missed: one may be born and die, with what it inherited handed
    /// on to a child, while we look.
    fn at_most(&self, init: i32) -> u64 {
        let mut most = 0;
        for _ in 0..ATTEMPTS {
            let mut has_missed = false;
            let mut unmapped = Unmapped::default();
            let mut mapped = 0;
            processes::each_below(init, |pid| match processes::mapped(pid) {
                Some(part) => {
                    mapped += part.private + part.shared;
                    self.add_files(pid, &mut unmapped);
                }
                None => has_missed = true,
            });
            most = most.max(mapped + self.in_files(&unmapped));
            if most > self.limit || !has_missed {
                break;
            }
        }
        most
    }

    /// Whether the limit is passed when nothing is counted twice. Where processes come and go while we look, a page may be
    /// counted with a parent and again with its child; then the smallest of several sums counts.
    fn is_confirmed(&self, init: i32) -> bool {
        for _ in 0..ATTEMPTS {
            let pids = processes::below(init);
            if self.sum(&pids) <= self.limit {
                return false;
            }
            if processes::below(init) == pids {
                break;
            }
        }
        true
    }

    fn sum(&self, pids: &[i32]) -> u64 {
        let mut unmapped = Unmapped::default();
        let mut mapped = Part::default();
        let memories = processes::with_own_memory(pids);
        for part in memories.iter().filter_map(|pid| processes::part(*pid)) {
            mapped.private += part.private;
            mapped.shared += part.shared;
        }
        pids.iter().for_each(|pid| self.add_files(*pid, &mut unmapped));
        let in_files = self.in_files(&unmapped);
        let (low, high) = (mapped.private + in_files, mapped.private + mapped.shared + in_files);
        // Most of what is mapped of shared memory is in files that were counted. What is in none has to be told apart only
        // where that decides.
        if low > self.limit || high <= self.limit { high } else { low + self.mapped_only(&memories, &unmapped) }
    }

    /// Shared memory that is mapped and that no descriptor leads to, as with MAP_SHARED and MAP_ANONYMOUS.
    fn mapped_only(&self, pids: &[i32], unmapped: &Unmapped) -> u64 {
        let Some(device) = self.shared_device else { return 0 };
        let numbers = (libc::major(device), libc::minor(device));
        let mut bytes = 0;
        for pid in pids {
            processes::each_mapping_of(*pid, numbers, |inode, name, part| {
                // System V segments are counted as such.
                if !name.starts_with("/SYSV") && !unmapped.seen.contains(&inode) {
                    bytes += part;
                }
            });
        }
        bytes
    }

    /// Files of the kernel's own file system in memory, once each however many hold them.
    fn add_files(&self, pid: i32, unmapped: &mut Unmapped) {
        let Some(device) = self.shared_device else { return };
        let is_seen = processes::each_open_file(pid, |found| {
            if found.dev() == device && found.is_file() && unmapped.seen.insert(found.ino()) {
                unmapped.bytes += found.blocks() * 512;
            }
        });
        unmapped.is_hidden |= !is_seen;
    }

    /// What lies in memory as files. A process that isn't dumpable hides its descriptors from an ordinary user's runner; then what
    /// the whole machine has more of since the start counts, to whomever it belongs: nobody gets away with hiding.
    fn in_files(&self, unmapped: &Unmapped) -> u64 {
        let seen = unmapped.bytes + self.in_places();
        if unmapped.is_hidden { seen.max(machine_shared().saturating_sub(self.machine_shared)) } else { seen }
    }

    fn in_places(&self) -> u64 {
        self.places.as_ref().map_or(0, |places| places.file_system_bytes() + places.segment_bytes())
    }
}

/// What lies in memory as a file, mapped or not.
#[derive(Default)]
struct Unmapped {
    bytes: u64,
    seen: BTreeSet<u64>,
    is_hidden: bool,
}

/// All shared memory and files in memory of this machine, in bytes: `Shmem` in `/proc/meminfo`.
fn machine_shared() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    processes::field(&text, "Shmem:").unwrap_or(0) << 10
}

/// The limit can't be passed before so much time has gone by, even with all CPUs at work.
fn pause(left: u64) -> Duration {
    let seconds = left as f64 / (BYTES_A_SECOND * cpus());
    Duration::from_secs_f64(seconds.clamp(SHORTEST.as_secs_f64(), LONGEST.as_secs_f64()))
}
