//! A kernel counter over a process and all that it ever starts: perf_event_open(2).

use super::{Errno, file, owned};
use std::os::fd::{AsFd, OwnedFd};

/// `struct perf_event_attr` of <linux/perf_event.h> in its first version, PERF_ATTR_SIZE_VER0.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    breakpoint_address: u64,
}

const PERF_TYPE_SOFTWARE: u32 = 1;
const PERF_COUNT_SW_TASK_CLOCK: u64 = 1;
const PERF_FLAG_FD_CLOEXEC: u64 = 8;
/// `inherit`: whatever the process starts from now on is counted too, dead or alive.
const INHERIT: u64 = 1 << 1;
/// `exclude_kernel` and `exclude_hv`: who says so may count with `kernel.perf_event_paranoid` at 2, the kernel's default. This
/// counter is of time on a CPU, and counts that in the kernel all the same.
const EXCLUDE_KERNEL: u64 = 1 << 5 | 1 << 6;

/// Counts the CPU time of `pid` and of all its descendants to come.
pub(crate) fn task_clock(pid: i32) -> Result<OwnedFd, Errno> {
    let attributes = Attributes {
        kind: PERF_TYPE_SOFTWARE,
        size: size_of::<Attributes>() as u32,
        config: PERF_COUNT_SW_TASK_CLOCK,
        flags: INHERIT | EXCLUDE_KERNEL,
        ..Attributes::default()
    };
    // SAFETY: the kernel reads the attributes, whose size is told, during the call and keeps nothing.
    owned(unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attributes, pid, -1, -1, PERF_FLAG_FD_CLOEXEC) })
}

/// What such a counter says, in nanoseconds.
pub(crate) fn nanoseconds(counter: &OwnedFd) -> Option<u64> {
    let mut count = [0u8; 8];
    let length = file::read(counter.as_fd(), &mut count).ok()?;
    (length == count.len()).then(|| u64::from_ne_bytes(count))
}
