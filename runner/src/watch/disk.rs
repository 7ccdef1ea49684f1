//! How much a workspace on disk has grown, in bytes and in files.

use crate::processes;
use crate::sys::file::{self, Space};
use crate::sys::{Errno, signal};
use crate::tree::{self, Size};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// How much a workspace may grow; `None` is without limit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Room {
    pub(crate) bytes: Option<u64>,
    pub(crate) inodes: Option<u64>,
}

impl Room {
    /// Whether there is anything to watch.
    pub(crate) fn is_limited(self) -> bool {
        self.bytes.is_some() || self.inodes.is_some()
    }

    fn is_passed(self, bytes: u64, inodes: u64) -> bool {
        self.bytes.is_some_and(|limit| bytes > limit) || self.inodes.is_some_and(|limit| inodes > limit)
    }
}

/// Watches a workspace.
///
/// Between two looks a program can write as much as the disk takes. What is deleted but still open counts too, as long as a
/// process holds it as a descriptor. Where something could not be looked into (a directory without read permission, a
/// process that hides its descriptors, a deleted file that is only mapped), what the whole file system has lost since
/// the start must not pass the limit either: others that write there may then end a job that hides something, and nobody
/// gets away with hiding. A file without a name whose only holder is a message in a socket's queue (unix(7), SCM_RIGHTS) is seen by
/// nobody; a workspace in memory or with a quota has no such gap.
pub(crate) struct Disk {
    root: OwnedFd,
    /// A second directory that counts along.
    beside: Option<OwnedFd>,
    room: Room,
    /// What was there before the command; only growth counts.
    start: Size,
    /// The file system before the command.
    before: Option<Space>,
    /// The file system at the last look, and how much room was left then.
    last: Option<Space>,
    left: Room,
    /// When to look at all files, when at the earliest, and when to ask what the file system has lost.
    due: Instant,
    earliest: Instant,
    next: Instant,
}

/// The first look comes soon enough to stop a flood, and late enough to cost a short job nothing.
const FIRST: Duration = Duration::from_millis(100);
/// A look takes at most a tenth of the time: the pause is this many times what the last one took.
const PAUSE: u32 = 10;
const SHORTEST: Duration = Duration::from_millis(100);
/// In between, the file system is asked how much space it has left, which takes a microsecond: fallocate(2) takes gigabytes in
/// that time, and a large tree is looked at seldom.
const GLANCE: Duration = Duration::from_millis(25);
/// How long measuring what is there already may take.
const MEASURING: Duration = Duration::from_secs(60);

impl Disk {
    /// `is_empty` spares measuring what was just made. ETIMEDOUT when that takes too long; it ends at once when the runner
    /// is told to stop, and then the number does not matter any more.
    pub(crate) fn new(root: OwnedFd, room: Room, is_empty: bool) -> Result<Self, Errno> {
        let deadline = Instant::now() + MEASURING;
        let mut start = Size::default();
        if !is_empty {
            let stop = || signal::is_pending(&[libc::SIGTERM, libc::SIGINT]);
            start = tree::size(root.as_fd(), |_| stop() || Instant::now() > deadline).0;
            if start.unfinished && !stop() {
                return Err(Errno(libc::ETIMEDOUT));
            }
        }
        let before = file::space(root.as_fd()).ok();
        let due = Instant::now() + FIRST;
        Ok(Self { root, beside: None, room, start, before, last: before, left: room, due, earliest: due, next: due })
    }

    /// Counts what comes to be in another directory, which is empty now, as well.
    pub(crate) fn with(self, beside: Option<OwnedFd>) -> Self {
        Self { beside, ..self }
    }

    /// The command reaches the directory through an overlay of its own, whose files have another device.
    pub(crate) fn seen_through_overlay(mut self) -> Self {
        self.before = self.before.map(|space| Space { is_overlay: true, ..space });
        self
    }

    /// When to look next.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// Looks now, where there is reason to. True when a limit is passed.
    pub(crate) fn is_exceeded(&mut self, processes: impl FnOnce() -> Vec<i32>) -> bool {
        let begin = Instant::now();
        let space = file::space(self.root.as_fd()).ok();
        let is_exceeded = if begin >= self.due || (begin >= self.earliest && self.is_losing(space)) {
            self.last = space;
            let is_exceeded = self.look(&processes());
            let took = begin.elapsed();
            self.earliest = Instant::now() + took;
            self.due = Instant::now() + (took * PAUSE).max(SHORTEST);
            is_exceeded
        } else {
            false
        };
        self.next = (Instant::now() + GLANCE).min(self.due);
        is_exceeded
    }

    /// Whether the file system has lost so much since the last look that the limit may be passed.
    fn is_losing(&self, space: Option<Space>) -> bool {
        match (self.last, space) {
            (Some(last), Some(now)) => self.left.is_passed(
                last.free_bytes.saturating_sub(now.free_bytes),
                last.free_inodes.saturating_sub(now.free_inodes),
            ),
            _ => true,
        }
    }

    fn look(&mut self, processes: &[i32]) -> bool {
        let growth =
            |size: &Size| (size.bytes.saturating_sub(self.start.bytes), size.inodes.saturating_sub(self.start.inodes));
        let (mut size, mut seen) = tree::size(self.root.as_fd(), |size| {
            let (bytes, inodes) = growth(size);
            self.room.is_passed(bytes, inodes)
        });
        if let Some(beside) = &self.beside {
            let (other, others) = tree::size(beside.as_fd(), |other| {
                let (bytes, inodes) = growth(&size.and(*other));
                self.room.is_passed(bytes, inodes)
            });
            size = size.and(other);
            seen.extend(others);
        }
        let is_hidden = self.add_unlinked(processes, &mut size, &mut seen);
        let (bytes, inodes) = growth(&size);
        self.left = Room {
            bytes: self.room.bytes.map(|limit| limit.saturating_sub(bytes)),
            inodes: self.room.inodes.map(|limit| limit.saturating_sub(inodes)),
        };
        let is_passed = size.bottomless || self.room.is_passed(bytes, inodes);
        is_passed || ((size.blind || is_hidden) && self.has_lost_too_much())
    }

    /// Whether the file system has lost more than the limit since the start, to whomever.
    fn has_lost_too_much(&self) -> bool {
        let (Some(before), Some(now)) = (self.before, self.last) else { return true };
        let bytes = before.free_bytes.saturating_sub(now.free_bytes);
        self.room.is_passed(bytes, before.free_inodes.saturating_sub(now.free_inodes))
    }

    /// Files that have no name any more but are held open by a process of the sandbox. True when there may be some that can't
    /// be seen.
    fn add_unlinked(&self, processes: &[i32], size: &mut Size, seen: &mut BTreeSet<u64>) -> bool {
        use std::os::unix::fs::MetadataExt;
        let roots = [Some(&self.root), self.beside.as_ref()].into_iter().flatten();
        let devices: Vec<_> = roots.filter_map(|root| Some(file::fstat(root.as_fd()).ok()?.st_dev)).collect();
        let (mut is_hidden, mut is_elsewhere) = (false, false);
        for pid in processes {
            is_hidden |= !processes::each_open_file(*pid, |found| {
                if found.nlink() != 0 || !found.is_file() {
                    return;
                }
                if !devices.contains(&found.dev()) {
                    is_elsewhere = true;
                } else if seen.insert(found.ino()) {
                    size.bytes += found.blocks() * 512;
                    size.inodes += 1;
                }
            });
            is_hidden |= processes::maps_deleted(*pid);
        }
        // An overlay's files may have the device of a layer, which can't be told from a foreign one.
        is_hidden || (is_elsewhere && self.before.is_none_or(|space| space.is_overlay))
    }
}
