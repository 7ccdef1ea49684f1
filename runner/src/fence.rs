//! Landlock, the second fence: even if something outside of the view could be named, it could not be opened.
//!
//! The first fence is the mount namespace. Rules name what may be written; everything in the view may be read.

use crate::failure::{At, Step, StepError};
use crate::plan::Plan;
use crate::sys::{Errno, file, landlock};
use std::os::fd::{AsFd, BorrowedFd};

// LANDLOCK_ACCESS_FS_* of <linux/landlock.h>, by bit; the ABI that brought each is in `handled`.
const EXECUTE: u64 = 1 << 0;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const ABI_1: u64 = (1 << 13) - 1;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
/// LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET and LANDLOCK_SCOPE_SIGNAL.
const SCOPES: u64 = 0b11;

/// Which rights a kernel of this ABI can take away: landlock(7), the table of ABI versions.
fn handled(abi: u32) -> u64 {
    let mut access = ABI_1;
    if abi >= 2 {
        access |= REFER;
    }
    if abi >= 3 {
        access |= TRUNCATE;
    }
    if abi >= 5 {
        access |= IOCTL_DEV;
    }
    access
}

/// Restricts this process, where the kernel has Landlock. `isolation.landlock` tells whether it has.
pub(crate) fn restrict(plan: &Plan<'_>) -> Result<(), StepError> {
    let Some(abi) = plan.landlock else { return Ok(()) };
    let handled = handled(abi);
    let attributes = landlock::RulesetAttributes {
        handled_access_fs: handled,
        handled_access_net: 0,
        scoped: if abi >= 6 { SCOPES } else { 0 },
    };
    // The structure grew with the ABI: 8 bytes at first, 16 with the network of ABI 4, 24 with the scopes of ABI 6.
    let size = match abi {
        ..=3 => 8,
        4..=5 => 16,
        _ => 24,
    };
    let ruleset = landlock::create_ruleset(&attributes, size).at(Step::RestrictPaths, "ruleset")?;
    let read = EXECUTE | READ_FILE | READ_DIR;
    allow(ruleset.as_fd(), "/", read & handled)?;
    // Devices are opened for writing and asked by ioctl (terminals); the directory itself can't be changed.
    allow(ruleset.as_fd(), "/dev", (read | WRITE_FILE | TRUNCATE | IOCTL_DEV) & handled)?;
    // One's own /proc/self/comm, oom_score_adj, coredump_filter…; the knobs in /proc/sys are on a read-only mount.
    allow(ruleset.as_fd(), "/proc", (read | WRITE_FILE | TRUNCATE) & handled)?;
    // What may be written may be written in every way, but for making device nodes, which nobody can.
    for path in ["/tmp", "/dev/shm", pinfold_runner::WORKSPACE] {
        allow(ruleset.as_fd(), path, handled)?;
    }
    for mount in plan.job.mounts.iter().filter(|mount| mount.writable) {
        allow(ruleset.as_fd(), mount.target.as_str(), handled)?;
    }
    landlock::restrict_self(ruleset.as_fd()).at(Step::RestrictPaths, "")
}

/// Rights that mean something for a file; the others are for directories, and the kernel refuses them on a file.
const OF_A_FILE: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;

fn allow(ruleset: BorrowedFd<'_>, path: &str, access: u64) -> Result<(), StepError> {
    let parent = file::open(path, libc::O_PATH).at(Step::RestrictPaths, path)?;
    match landlock::allow_beneath(ruleset, parent.as_fd(), access) {
        Err(Errno(libc::EINVAL)) => landlock::allow_beneath(ruleset, parent.as_fd(), access & OF_A_FILE),
        other => other,
    }
    .at(Step::RestrictPaths, path)
}
