//! Resource limits: setrlimit(2).

use super::{Errno, check_int};

/// Sets hard and soft limit of one resource to `value`, or to the hard limit that is in force where that is lower
/// (only CAP_SYS_RESOURCE may raise it). Returns what was set.
pub(crate) fn lower(resource: libc::__rlimit_resource_t, value: u64) -> Result<u64, Errno> {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit into the space that we own, during the call.
    check_int(unsafe { libc::getrlimit(resource, &raw mut now) })?;
    let value = value.min(now.rlim_max);
    let wanted = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: the kernel reads one rlimit during the call.
    check_int(unsafe { libc::setrlimit(resource, &raw const wanted) })?;
    Ok(value)
}

/// Sets the soft limit of one resource alone, so that it can be changed again. Returns the hard one.
pub(crate) fn set_soft(resource: libc::__rlimit_resource_t, value: u64) -> Result<u64, Errno> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit into the space that we own, during the call.
    check_int(unsafe { libc::getrlimit(resource, &raw mut limit) })?;
    limit.rlim_cur = value.min(limit.rlim_max);
    // SAFETY: the kernel reads one rlimit during the call.
    check_int(unsafe { libc::setrlimit(resource, &raw const limit) })?;
    Ok(limit.rlim_max)
}

/// Lifts the soft limit of a resource to its hard limit, so that nothing of the caller's shell is left in it.
pub(crate) fn lift(resource: libc::__rlimit_resource_t) -> Result<(), Errno> {
    lower(resource, u64::MAX).map(drop)
}

/// The ordinary scheduling policy, and no change to how programs are run: `sched_setscheduler(2)`, `personality(2)`. Both
/// are inherited. Idle priority stays where RLIMIT_NICE, on the host, lets nobody out of it (EPERM): it costs the sandbox time and
/// gives it nothing.
pub(crate) fn reset_scheduling() -> Result<(), Errno> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads one structure during the call.
    let ordinary = check_int(unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const parameters) });
    // SAFETY: takes no memory.
    let is_idle = unsafe { libc::sched_getscheduler(0) } == libc::SCHED_IDLE;
    if !is_idle {
        ordinary?;
    }
    // SAFETY: takes no memory.
    check_int(unsafe { libc::personality(0) }).map(drop)
}

/// Sets the nice value of this process to 0 where that is allowed: `setpriority(2)`. A higher one that was inherited
/// stays where only CAP_SYS_NICE, on the host, could lower it; it costs the sandbox time and gives it nothing.
pub(crate) fn reset_nice() {
    // SAFETY: takes no memory.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) };
}
