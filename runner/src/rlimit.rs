//! Resource limits of the command: fixed ones for everybody, so that nothing depends on what the caller happened to
//! have, and those that stand in where there is no cgroup.

use crate::failure::{At, Step, StepError};
use crate::plan::Plan;
use crate::sys::Errno;
use crate::sys::resource::{lift, lower};
use pinfold_runner::{Job, Limit, Limits};

/// Memory that may be locked, mlock(2): systemd's and Docker's default.
const LOCKED_BYTES: u64 = 8 << 20;
/// Bytes in POSIX message queues, mq_overview(7): the kernel's default.
const QUEUE_BYTES: u64 = 819_200;

/// Limits open files, last of all: setting up takes more descriptors than a job may allow its command.
pub(crate) fn set_open_files(job: &Job) -> Result<(), StepError> {
    let Limit::At(files) = job.limits.open_files else { return Ok(()) };
    let set = lower(libc::RLIMIT_NOFILE, files).at(Step::SetResourceLimit, "nofile")?;
    // Less than the default is no worse a fence; less than what was asked for is not what was asked for.
    if set < files && job.limits.open_files != Limits::default().open_files {
        return Err(Errno(libc::EPERM)).at(Step::SetResourceLimit, format!("nofile = {files}"));
    }
    Ok(())
}

/// Which limits a cgroup holds, so that no resource limit need stand in for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) memory: bool,
    /// CPU time is measured over the whole sandbox.
    pub(crate) cpu_time: bool,
    pub(crate) pids: bool,
}

impl Held {
    /// For a message between our own processes.
    pub(crate) fn encode(self) -> u8 {
        u8::from(self.memory) | u8::from(self.cpu_time) << 1 | u8::from(self.pids) << 2
    }

    /// See [`Held::encode`].
    pub(crate) fn decode(byte: u8) -> Self {
        Self { memory: byte & 1 != 0, cpu_time: byte & 2 != 0, pids: byte & 4 != 0 }
    }
}

/// Sets hard and soft limits alike.
pub(crate) fn set(plan: &Plan<'_>, held: Held) -> Result<(), StepError> {
    let limits = &plan.job.limits;
    for resource in [
        libc::RLIMIT_FSIZE,
        libc::RLIMIT_AS,
        libc::RLIMIT_RSS,
        libc::RLIMIT_DATA,
        libc::RLIMIT_CPU,
        libc::RLIMIT_SIGPENDING,
        libc::RLIMIT_RTTIME,
    ] {
        lift(resource).at(Step::SetResourceLimit, "soft limits")?;
    }
    // No core files: they are written by the host, and `core_pattern` may hand them to a program of the host.
    lower(libc::RLIMIT_CORE, 0).at(Step::SetResourceLimit, "core")?;
    set_stack(limits)?;
    lower(libc::RLIMIT_MEMLOCK, LOCKED_BYTES).at(Step::SetResourceLimit, "memlock")?;
    lower(libc::RLIMIT_MSGQUEUE, QUEUE_BYTES).at(Step::SetResourceLimit, "msgqueue")?;
    lower(libc::RLIMIT_NICE, 0).at(Step::SetResourceLimit, "nice")?;
    lower(libc::RLIMIT_RTPRIO, 0).at(Step::SetResourceLimit, "rtprio")?;
    set_processes(plan, held)?;
    if let (false, Limit::At(bytes)) = (held.memory, limits.memory_bytes) {
        // Of each process: heap and private writable mappings (since Linux 4.7). RLIMIT_AS would count what the JVM,
        // Go and Node merely reserve, and break them.
        lower(libc::RLIMIT_DATA, bytes).at(Step::SetResourceLimit, "data")?;
    }
    if let (false, Limit::At(ms)) = (held.cpu_time, limits.cpu_ms) {
        // A second late, for the case that nobody looks any more: the kernel goes by timer ticks here, which may say more than
        // was used, and such an end could not be told from any other SIGKILL.
        lower(libc::RLIMIT_CPU, ms.div_ceil(1000) + 1).at(Step::SetResourceLimit, "cpu")?;
    }
    Ok(())
}

/// Limits the processes of the sandbox's user.
pub(crate) fn set_processes(plan: &Plan<'_>, held: Held) -> Result<(), StepError> {
    if let (Limit::At(count), Some(others)) = (plan.job.limits.pids, plan.others_of_user) {
        // Where a cgroup counts, this is the second fence, and has room for a process of ours that is in no group yet.
        let others = others + u64::from(held.pids);
        // Counted per user and user namespace (since Linux 5.14), so this is the sandbox's own count.
        lower(libc::RLIMIT_NPROC, count.saturating_add(others)).at(Step::SetResourceLimit, "nproc")?;
    }
    Ok(())
}

/// The first thread's stack, and by custom the size of every other's.
fn set_stack(limits: &Limits) -> Result<(), StepError> {
    let wanted = limits.stack_bytes.value().unwrap_or(u64::MAX);
    let set = lower(libc::RLIMIT_STACK, wanted).at(Step::SetResourceLimit, "stack")?;
    // As with open files: less than what was asked for is only no fault where nobody asked.
    if set < wanted && limits.stack_bytes != Limits::default().stack_bytes {
        let shown = limits.stack_bytes.value().map_or("max".to_owned(), |bytes| bytes.to_string());
        return Err(Errno(libc::EPERM)).at(Step::SetResourceLimit, format!("stack = {shown}"));
    }
    Ok(())
}
