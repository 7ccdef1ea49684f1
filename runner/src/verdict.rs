//! What an end means: the status, the figures, and the result that tells both.

use crate::cgroup::Figures;
use crate::ground::Ground;
use crate::message::Report;
use crate::owners::Owners;
use crate::plan::Plan;
use crate::sys::process::End;
use crate::sys::signal;
use crate::wait::{Ending, Streams};
use pinfold_runner::{Content, Failure, Job, Limit, Outcome, Status, Usage};
use std::os::fd::OwnedFd;
use std::time::Instant;

/// Puts the result together, all but artifacts and `teardown_ms`. What else is needed afterwards comes along.
pub(crate) fn outcome(
    plan: &Plan<'_>,
    id: String,
    start: Instant,
    ground: &Ground,
    ending: Ending,
    streams: Streams,
) -> Result<(Outcome, Option<OwnedFd>, Owners), Failure> {
    if let Some(error) = ending.step_error {
        return Err(error.into());
    }
    if ending.started.is_none() && ending.cause.is_none() {
        return Err(Failure::new("setup_died", "the command's process died before the command could be executed")
            .with_hint("`memory_bytes` may be too small for it, or somebody on the host killed it"));
    }
    let figures = ground.cgroups.figures(plan.job.limits.cpus != Limit::Max);
    let report = ending.report;
    let Some((status, exit_code, signal)) = judge(&ending, figures.oom_kills, plan.job) else {
        return Err(Failure::new("init_died", "the sandbox's init ended before the command did")
            .with_hint("something on the host killed it, or the machine is out of memory"));
    };
    let (user_ms, system_ms) = cpu_time(&figures, report);
    let usage = Usage {
        wall_ms: elapsed(ending.started, ending.ended),
        user_ms,
        system_ms,
        throttled_ms: figures.throttled_ms,
        peak_memory_bytes: figures.peak_memory_bytes,
        peak_pids: figures.peak_pids,
        oom_kills: figures.oom_kills,
        read_bytes: report.map(|report| report.read_bytes),
        written_bytes: report.map(|report| report.written_bytes),
        setup_ms: elapsed(Some(start), ending.started),
        ..Usage::default()
    };
    let (stdout, stderr) = (streams.stdout, streams.stderr);
    let outcome = Outcome {
        version: pinfold_runner::CONTRACT_VERSION,
        id,
        status,
        exit_code,
        signal,
        stdout_bytes: stdout.bytes,
        stderr_bytes: stderr.bytes,
        stdout_truncated: stdout.truncated,
        stderr_truncated: stderr.truncated,
        stdout: Content(stdout.into_kept()),
        stderr: Content(stderr.into_kept()),
        usage,
        isolation: ground.isolation.clone(),
        artifacts: Vec::new(),
        artifact_errors: Vec::new(),
        error: None,
    };
    Ok((outcome, streams.workspace, streams.owners))
}

/// Milliseconds between two moments, where both are known.
pub(crate) fn elapsed(from: Option<Instant>, to: Option<Instant>) -> Option<f64> {
    Some(to?.saturating_duration_since(from?).as_secs_f64() * 1e3)
}

type Judgement = (Status, Option<i32>, Option<String>);

/// What the end means. The first cause for which we killed decides; else the kernel's.
fn judge(ending: &Ending, oom_kills: Option<u64>, job: &Job) -> Option<Judgement> {
    if let Some(cause) = ending.cause {
        return Some((cause, None, None));
    }
    let report = ending.report?;
    Some(match report.end {
        End::Exited(code) => (Status::Exited, Some(code), None),
        End::Signaled(libc::SIGKILL) if oom_kills.is_some_and(|count| count > 0) => (Status::OutOfMemory, None, None),
        // RLIMIT_CPU, where there is no cgroup: the kernel's SIGKILL at the hard limit.
        End::Signaled(libc::SIGKILL | libc::SIGXCPU)
            if job.limits.cpu_ms.value().is_some_and(|limit| report.user_ms + report.system_ms >= limit as f64) =>
        {
            (Status::CpuExceeded, None, None)
        }
        End::Signaled(number) => (Status::Signaled, None, Some(signal::name(number))),
    })
}

/// CPU time in user mode and in the kernel. The cgroup has the true sum, over processes that nobody reaped too; how it
/// splits is best told by init's count of reaped children, since v1 splits by timer ticks of some milliseconds.
fn cpu_time(figures: &Figures, report: Option<Report>) -> (Option<f64>, Option<f64>) {
    let reported = report.map(|report| (report.user_ms, report.system_ms));
    let counted = figures.user_ms.zip(figures.system_ms);
    let Some(total) = figures.cpu_ms else {
        return reported.or(counted).unzip();
    };
    let share = [reported, counted]
        .into_iter()
        .flatten()
        .find(|(user, system)| user + system > 0.0)
        .map_or(0.5, |(user, system)| user / (user + system));
    (Some(total * share), Some(total * (1.0 - share)))
}
