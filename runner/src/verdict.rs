//! What an end means: the status, the figures, and the result that tells both.

use crate::cgroup::{Cgroups, Figures};
use crate::ground::Ground;
use crate::message::{Departure, Report};
use crate::owners::Owners;
use crate::plan::Plan;
use crate::spent::Spent;
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
    let Some((status, exit_code, signal)) = judge(&ending, figures.oom_kills, plan.job) else {
        return Err(Failure::new("init_died", "the sandbox's init ended before the command did")
            .with_hint("something on the host killed it, or the machine is out of memory"));
    };
    let usage = usage(plan.start.at, &ground.cgroups, &figures, &ending);
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
        connections: Vec::new(),
        connections_omitted: 0,
        error: None,
    };
    Ok((outcome, streams.workspace, streams.owners))
}

/// Milliseconds between two moments, where both are known.
pub(crate) fn elapsed(from: Option<Instant>, to: Option<Instant>) -> Option<f64> {
    Some(to?.saturating_duration_since(from?).as_secs_f64() * 1e3)
}

pub(crate) type Judgement = (Status, Option<i32>, Option<String>);

/// What the end means. The first cause for which we killed decides; else the kernel's.
pub(crate) fn judge(ending: &Ending, oom_kills: Option<u64>, job: &Job) -> Option<Judgement> {
    if let Some(cause) = ending.cause {
        return Some((cause, None, None));
    }
    let report = ending.report?;
    Some(match report.end {
        End::Exited(code) => (Status::Exited, Some(code), None),
        End::Signaled(libc::SIGKILL) if oom_kills.is_some_and(|count| count > 0) => (Status::OutOfMemory, None, None),
        // RLIMIT_CPU, where there is no cgroup: the kernel's SIGKILL at the hard limit.
        End::Signaled(libc::SIGKILL | libc::SIGXCPU)
            if job.limits.cpu_ms.value().is_some_and(|limit| report.spent.cpu_ms() >= limit as f64) =>
        {
            (Status::CpuExceeded, None, None)
        }
        End::Signaled(number) => (Status::Signaled, None, Some(signal::name(number))),
    })
}

/// The figures, all but those that are only known when everything is taken away.
pub(crate) fn usage(start: Instant, groups: &Cgroups, figures: &Figures, ending: &Ending) -> Usage {
    let (report, departure) = (ending.report, ending.departure);
    // What setting up the command's process has cost is none of the command's.
    let spent = report.zip(departure).map(|(report, departure)| report.spent.since(&departure.spent));
    let (user_ms, system_ms) = cpu_time(groups, figures, spent, departure, ending.counted_cpu_ms);
    let (minor_faults, major_faults) = faults(report, spent, departure);
    Usage {
        wall_ms: elapsed(ending.started, ending.ended),
        user_ms,
        system_ms,
        throttled_ms: figures.throttled_ms,
        throttled_periods: figures.throttled_periods,
        peak_memory_bytes: figures.peak_memory_bytes,
        memory: report.and_then(|report| report.reading).map(|reading| reading.memory),
        peak_pids: figures.peak_pids,
        total_pids: total_pids(report, groups),
        oom_kills: figures.oom_kills,
        read_bytes: spent.map(|spent| spent.read_bytes),
        written_bytes: spent.map(|spent| spent.written_bytes),
        minor_faults,
        major_faults,
        voluntary_switches: spent.map(|spent| spent.voluntary_switches),
        involuntary_switches: spent.map(|spent| spent.involuntary_switches),
        setup_ms: elapsed(Some(start), ending.started),
        teardown_ms: None,
        overhead_cpu_ms: None,
    }
}

/// CPU time in user mode and in the kernel. The cgroup has the true sum, or else the kernel's counter, over processes that nobody
/// reaped too; how it splits is best told by init's count of reaped children, since v1 splits by timer ticks of some
/// milliseconds.
fn cpu_time(
    groups: &Cgroups,
    figures: &Figures,
    spent: Option<Spent>,
    departure: Option<Departure>,
    metered_ms: Option<f64>,
) -> (Option<f64>, Option<f64>) {
    let reported = spent.map(|spent| (spent.user_us as f64 / 1e3, spent.system_us as f64 / 1e3));
    // Both began when the command's process entered its group, or would have.
    let (Some(total), Some(departure)) = (figures.cpu_ms.or(metered_ms), departure) else { return reported.unzip() };
    let total = (total - departure.in_group().cpu_ms()).max(0.0);
    let some = |(user, system): &(f64, f64)| user + system > 0.0;
    let split = reported.filter(some).or_else(|| groups.cpu_split_ms().filter(some));
    let share = split.map_or(0.5, |(user, system)| user / (user + system));
    (Some(total * share), Some(total * (1.0 - share)))
}

/// Page faults, minor and major. Neither source says too much: the cgroup is some behind, as it adds up each CPU's count
/// now and then, and init's count lacks children that nobody reaped. So the larger is nearer the truth.
fn faults(report: Option<Report>, spent: Option<Spent>, departure: Option<Departure>) -> (Option<u64>, Option<u64>) {
    let Some((spent, departure)) = spent.zip(departure) else { return (None, None) };
    let before = departure.in_group();
    let reading = report.and_then(|report| report.reading).unwrap_or_default();
    let major = reading.major_faults.unwrap_or(0);
    let minor = reading.faults.unwrap_or(0).saturating_sub(major);
    (
        Some(spent.minor_faults.max(minor.saturating_sub(before.minor_faults))),
        Some(spent.major_faults.max(major.saturating_sub(before.major_faults))),
    )
}

/// Number 1 is init's; each other was the command's or of something that it started, or of a fork that was refused.
fn total_pids(report: Option<Report>, groups: &Cgroups) -> Option<u64> {
    report?.last_number?.checked_sub(1)?.checked_sub(groups.refused_forks()?)
}

/// CPU time that was ours: the runner's own until now, init's, and that of the command's process until it became the
/// command. `whole` is what init and all that it reaped have used.
pub(crate) fn overhead_cpu_ms(
    plan: &Plan<'_>,
    report: Option<Report>,
    departure: Option<Departure>,
    whole: Option<Spent>,
) -> Option<f64> {
    let of_init = whole?.since(&report?.spent).cpu_ms();
    let of_runner = Spent::by_self().since(&plan.start.spent).cpu_ms();
    Some(of_runner + of_init + departure?.spent.cpu_ms())
}
