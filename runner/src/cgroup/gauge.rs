//! Of what the memory of a sandbox consists. Init reads it, in the moment before it kills what is left: afterwards most of
//! it is gone, and with init the sandbox's tmpfs. The runner opens the files, for init sees no cgroup.
//!
//! The kernel counts these figures on each CPU for itself and adds them up now and then: each may be behind by 64 pages a
//! CPU (MEMCG_CHARGE_BATCH).

use super::file;
use crate::sys;
use pinfold_runner::MemoryUse;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What a gauge shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) memory: MemoryUse,
    /// Page faults of both kinds since the group was made.
    pub(crate) faults: Option<u64>,
    pub(crate) major_faults: Option<u64>,
}

/// `memory.stat`, and the one file beside it that has what is not in it: swap on v2, the kernel's own on v1. That file
/// is absent where the kernel doesn't count such memory.
pub(super) fn open(dir: BorrowedFd<'_>, beside: &CStr) -> Vec<OwnedFd> {
    let open = |name| sys::file::openat(Some(dir), name, libc::O_RDONLY, 0);
    match open(c"memory.stat") {
        Ok(stat) => std::iter::once(stat).chain(open(beside)).collect(),
        Err(_) => Vec::new(),
    }
}

/// Reads the files that `open` gave, once. `None` when there are none.
pub(crate) fn read(files: &[OwnedFd]) -> Option<Reading> {
    let stat = file::read_all(files.first()?.as_fd()).ok()?;
    let beside = files.get(1).and_then(|file| file::read_all(file.as_fd()).ok()?.trim().parse().ok());
    Some(parse(&stat, beside))
}

fn parse(stat: &str, beside: Option<u64>) -> Reading {
    let value = |key| file::keyed(stat, key);
    let is_v1 = value("total_rss").is_some();
    let memory = if is_v1 {
        MemoryUse {
            anon_bytes: value("total_rss"),
            file_bytes: value("total_cache"),
            shmem_bytes: value("total_shmem"),
            kernel_bytes: beside,
            // Absent where the kernel does not account swap.
            swap_bytes: value("total_swap"),
        }
    } else {
        MemoryUse {
            anon_bytes: value("anon"),
            file_bytes: value("file"),
            shmem_bytes: value("shmem"),
            // `kernel` is there since Linux 5.18; what sockets hold is told beside it.
            kernel_bytes: value("kernel").map(|bytes| bytes + value("sock").unwrap_or(0)),
            swap_bytes: beside,
        }
    };
    let faults = |v1, v2| value(if is_v1 { v1 } else { v2 });
    Reading {
        memory,
        faults: faults("total_pgfault", "pgfault"),
        major_faults: faults("total_pgmajfault", "pgmajfault"),
    }
}
