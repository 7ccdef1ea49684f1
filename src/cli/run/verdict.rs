//! The end of a run as an exit code and, where that does not say it, as one line for people.

use super::signal;
use crate::cli::exit::Exit;
use crate::cli::message;
use pinfold::{ArtifactErrorCode, ByteSize, Failure, Job, Limit, Outcome, Status, Workspace, WorkspaceMechanism};
use std::time::Duration;

/// The failures that mean that the command, not Pinfold, is at fault.
const NOT_FOUND: &str = "exec_not_found";
const NOT_EXECUTABLE: [&str; 3] = ["exec_not_executable", "exec_denied", "exec_format"];

/// Why we ended the command ourselves, if we did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Ended {
    /// We did not: it ended by itself, or by its limits.
    Itself,
    /// The caller sent this signal a second time.
    Signal(i32),
    /// Nobody reads our output any more.
    ClosedOutput,
    /// Our output could not be written, as has been said.
    FailedOutput,
}

/// Says what there is to say, and tells the exit code.
pub(in crate::cli) fn tell(outcome: &Outcome, job: &Job, ended: Ended) -> Exit {
    for error in &outcome.artifact_errors {
        let reason = reason(error.code);
        let errno = error.errno.as_deref().map(|errno| format!(" ({errno})")).unwrap_or_default();
        message::warning(&format!("artifact `{}` was not copied: {reason}{errno}", error.path.to_text()));
    }
    truncated(outcome, job);
    let exit = match ended {
        Ended::FailedOutput => return Exit::Failed,
        // What the shell says of `yes` in `yes | head`.
        Ended::ClosedOutput if outcome.status != Status::Exited => return Exit::Signal(13),
        _ => exit(outcome, ended),
    };
    match outcome.status {
        // The command's own business, but for what only we know.
        Status::Exited => shot(outcome, job),
        Status::Signaled => signaled(outcome),
        Status::TimedOut => message::killed(&limit("ran longer than", time(job.limits.wall_ms), "--time")),
        Status::CpuExceeded => {
            message::killed(&limit("used more CPU time than", time(job.limits.cpu_ms), "--cpu-time"));
        }
        Status::OutOfMemory => {
            message::killed(&limit("used more than", size(Some(job.limits.memory_bytes), " of memory"), "--memory"));
        }
        Status::WorkspaceExceeded => {
            message::killed(&workspace(outcome, job));
        }
        Status::Cancelled => match ended {
            Ended::Signal(number) => message::ended(&format!("cancelled by a second {}", signal::name(number))),
            _ => message::ended("cancelled"),
        },
        Status::Failed => match &outcome.error {
            Some(failure) => failed(failure),
            None => message::error("the runner says that the job failed, but not why", None),
        },
    }
    exit
}

/// Says that the command lost children to its memory limit, though it ended by itself: the reason that it gives for
/// failing is then seldom the real one.
fn shot(outcome: &Outcome, job: &Job) {
    if let Some(count) = outcome.usage.oom_kills.filter(|count| *count > 0) {
        let processes = if count == 1 { "a process".to_owned() } else { format!("{count} processes") };
        let what = limit("used more than", size(Some(job.limits.memory_bytes), " of memory"), "--memory");
        message::warning(&format!("the kernel killed {processes}: {what}"));
    }
}

/// Says why Pinfold failed.
pub(in crate::cli) fn failed(failure: &Failure) {
    message::error(&failure.message, failure.hint.as_deref());
}

fn exit(outcome: &Outcome, ended: Ended) -> Exit {
    match outcome.status {
        Status::Exited => match outcome.exit_code.map(u8::try_from) {
            Some(Ok(code)) => Exit::Command(code),
            _ => Exit::Failed,
        },
        Status::Signaled => outcome.signal.as_deref().and_then(signal::number).map_or(Exit::Failed, Exit::Signal),
        Status::TimedOut | Status::CpuExceeded => Exit::TimedOut,
        Status::OutOfMemory => Exit::OutOfMemory,
        Status::WorkspaceExceeded => Exit::WorkspaceExceeded,
        Status::Cancelled => match ended {
            Ended::Signal(signal::SIGINT) => Exit::Signal(2),
            _ => Exit::Signal(15),
        },
        Status::Failed => match outcome.error.as_ref().map(|failure| failure.code.as_str()) {
            Some(NOT_FOUND) => Exit::NotFound,
            Some(code) if NOT_EXECUTABLE.contains(&code) => Exit::NotExecutable,
            _ => Exit::Failed,
        },
    }
}

/// A shell says nothing of a command that Ctrl-C ended, or a closed pipe.
fn signaled(outcome: &Outcome) {
    match outcome.signal.as_deref() {
        Some("SIGINT" | "SIGPIPE") => {}
        Some(name) => message::ended(&format!("the command died of {name}")),
        None => message::ended("the command died of a signal"),
    }
}

fn truncated(outcome: &Outcome, job: &Job) {
    let streams = [
        ("stdout", outcome.stdout_truncated, outcome.stdout_bytes),
        ("stderr", outcome.stderr_truncated, outcome.stderr_bytes),
    ];
    for (name, _, written) in streams.into_iter().filter(|(_, truncated, _)| *truncated) {
        let kept = size(Some(job.limits.output_bytes), "").unwrap_or_default();
        message::warning(&format!("{name} was cut off at {kept} of {} (--output)", ByteSize::new(written)));
    }
}

/// `used more than 512 MiB of memory (--memory)`; without a number where the limit is not ours to know.
fn limit(words: &str, amount: Option<String>, option: &str) -> String {
    format!("{words} {} ({option})", amount.as_deref().unwrap_or("its limit"))
}

fn time(limit: Limit<u64>) -> Option<String> {
    limit.value().map(|ms| format!("{:?}", Duration::from_millis(ms)))
}

fn size(limit: Option<Limit<u64>>, what: &str) -> Option<String> {
    limit.and_then(Limit::value).map(|bytes| format!("{}{what}", ByteSize::new(bytes)))
}

/// What the workspace had room for. Files only where their number was asked for, or is all that is limited: empty ones count as
/// bytes too, and come to the default of bytes first.
fn workspace(outcome: &Outcome, job: &Job) -> String {
    let is_temporary = job.workspace == Workspace::Temp && outcome.isolation.workspace != WorkspaceMechanism::Tmpfs;
    let default = |value| is_temporary.then_some(Limit::At(value));
    let bytes = size(job.limits.workspace_bytes.or(default(1 << 30)), "");
    let files = job.limits.workspace_inodes.or(default(1 << 20).filter(|_| bytes.is_none()));
    let files = files.and_then(Limit::value).map(|count| format!("{count} files"));
    let options = if files.is_some() { "--disk, --inodes" } else { "--disk" };
    let both = [bytes, files].into_iter().flatten().collect::<Vec<_>>().join(" or ");
    limit("wrote more than", (!both.is_empty()).then(|| format!("{both} in the workspace")), options)
}

fn reason(code: ArtifactErrorCode) -> &'static str {
    match code {
        ArtifactErrorCode::Missing => "it is not there",
        ArtifactErrorCode::Symlink => "it is a symbolic link",
        ArtifactErrorCode::Special => "it is no regular file",
        ArtifactErrorCode::Exists => "something of that name is there already",
        ArtifactErrorCode::TooBig => "it is too large",
        ArtifactErrorCode::TooMany => "there are too many files",
        ArtifactErrorCode::TooDeep => "it lies too deep",
        ArtifactErrorCode::TooSlow => "copying takes too long",
        ArtifactErrorCode::Cancelled => "the run was cancelled",
        ArtifactErrorCode::Io => "the system refused",
    }
}
