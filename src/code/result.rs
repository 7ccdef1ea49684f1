//! What came of a piece of code.

use super::time;
use super::validator::Finding;
use nix::sys::signal::Signal;
use pinfold_runner::{Content, Outcome, Status};
use serde::Serialize;
use std::time::Duration;

/// What came of a piece of code. A program that fails is a result like any other.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CodeResult {
    /// The request's id.
    pub id: String,
    /// Whether the program ended by itself with exit code 0.
    pub success: bool,
    /// The program's exit code; 128 and its number when a signal ended it; -1 when its time ran out or it was cancelled.
    /// The compiler's, when the code did not compile.
    pub exit_code: i32,
    /// What was kept of stdout, as text; what is not UTF-8 is replaced.
    pub stdout: String,
    /// What was kept of stderr, as text. The compiler's words, when the code did not compile.
    pub stderr: String,
    /// Why the program was ended, when it didn't end by itself: `execution timeout`, `memory limit exceeded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long the whole took, in nanoseconds, compiling included.
    #[serde(serialize_with = "time::nanoseconds")]
    pub duration: Duration,
    /// The most memory that it used, where that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes: Option<u64>,
    /// Whether some of stdout or stderr was dropped.
    pub truncated: bool,
    /// The signal that ended the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Whether its time ran out, the compiler's included.
    #[serde(skip)]
    pub timed_out: bool,
    /// The language by its first name, and the toolchain.
    pub language: String,
    /// What ran it: `CPython`.
    pub toolchain: String,
    /// The backend.
    pub backend: &'static str,
    /// Whether anything kept the program from the rest of the host.
    pub isolated: bool,
    /// What this result tells of.
    pub phase: Phase,
    /// What of the code a reader should look at twice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// What came of compiling, for languages that are compiled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compile: Option<Box<Phased>>,
    /// The sandbox's own result, whole: usage, isolation and the output's bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Box<Outcome>>,
}

/// The two things that are done with code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A program is made of it.
    Compile,
    /// The program is run.
    Run,
}

/// What one phase came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Phased {
    /// Whether the command ended by itself with exit code 0.
    pub success: bool,
    /// As [`CodeResult::exit_code`].
    pub exit_code: i32,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr: a compiler's diagnostics.
    pub stderr: String,
    /// Whether some of either was dropped.
    pub truncated: bool,
    /// Why it was ended, when it didn't end by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether its time ran out.
    #[serde(skip)]
    pub timed_out: bool,
    /// How long it took, in nanoseconds.
    #[serde(serialize_with = "time::nanoseconds")]
    pub duration: Duration,
    /// The sandbox's own result, if there was a sandbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Box<Outcome>>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Exited(i32),
    Signaled(i32),
    TimedOut,
    Cancelled,
}

impl Phased {
    /// What a process came to that no sandbox held.
    pub(super) fn unconfined(ended: Ended, [stdout, stderr]: [(Content, bool); 2], duration: Duration) -> Self {
        let (exit_code, signal, error) = match ended {
            Ended::Exited(code) => (code, None, None),
            Ended::Signaled(number) => {
                (128 + number, Signal::try_from(number).ok().map(|it| it.as_str().to_owned()), None)
            }
            Ended::TimedOut => (-1, None, Some("execution timeout")),
            Ended::Cancelled => (-1, None, Some("execution cancelled")),
        };
        Self {
            success: ended == Ended::Exited(0),
            exit_code,
            signal,
            stdout: kept(&stdout.0, stdout.1),
            stderr: kept(&stderr.0, stderr.1),
            truncated: stdout.1 || stderr.1,
            error: error.map(str::to_owned),
            timed_out: ended == Ended::TimedOut,
            duration,
            outcome: None,
        }
    }

    /// What a sandbox's outcome means, unless it is `failed`.
    pub(super) fn of(outcome: Outcome, duration: Duration) -> Self {
        let shot = outcome.usage.oom_kills.is_some_and(|kills| kills > 0);
        let success = outcome.status == Status::Exited && outcome.exit_code == Some(0);
        let number = outcome.signal.as_deref().and_then(|name| name.parse::<Signal>().ok()).map(|signal| signal as i32);
        let (exit_code, error) = match outcome.status {
            Status::Exited => (outcome.exit_code.unwrap_or(-1), (shot && !success).then_some("memory limit exceeded")),
            Status::Signaled => (number.map_or(-1, |number| 128 + number), None),
            Status::TimedOut => (-1, Some("execution timeout")),
            Status::CpuExceeded => (-1, Some("CPU time limit exceeded")),
            Status::OutOfMemory => (128 + Signal::SIGKILL as i32, Some("memory limit exceeded")),
            Status::WorkspaceExceeded => (128 + Signal::SIGXFSZ as i32, Some("workspace limit exceeded")),
            Status::Cancelled => (-1, Some("execution cancelled")),
            Status::Failed => (-1, Some("execution failed")),
        };
        Self {
            success,
            exit_code,
            signal: outcome.signal.clone(),
            stdout: kept(&outcome.stdout, outcome.stdout_truncated),
            stderr: kept(&outcome.stderr, outcome.stderr_truncated),
            truncated: outcome.stdout_truncated || outcome.stderr_truncated,
            error: error.map(str::to_owned),
            timed_out: outcome.status == Status::TimedOut,
            duration,
            outcome: Some(Box::new(outcome)),
        }
    }
}

/// The text of a stream. Where it was cut off in the middle of a character, that one is left out.
pub(super) fn kept(content: &Content, truncated: bool) -> String {
    let bytes = content.as_bytes();
    let whole = match std::str::from_utf8(bytes) {
        Err(error) if truncated && error.error_len().is_none() => &bytes[..error.valid_up_to()],
        _ if truncated => &bytes[..bytes.len() - half_character(bytes)],
        _ => bytes,
    };
    String::from_utf8_lossy(whole).into_owned()
}

/// How many bytes at the end are the beginning of a character.
fn half_character(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    let start = (0..tail.len()).find(|&at| {
        std::str::from_utf8(&tail[at..]).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    });
    start.map_or(0, |start| tail.len() - start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_off_ends_with_a_whole_character() {
        let text = |bytes: &[u8], truncated| kept(&Content::from(bytes), truncated);
        let euros = "€€".as_bytes();
        assert_eq!(text(&euros[..5], true), "€");
        assert_eq!(text(&euros[..4], true), "€");
        assert_eq!(text(euros, true), "€€");
        assert_eq!(text(&euros[..5], false), "€\u{fffd}");
        assert_eq!(text(&[b"\xff".as_slice(), &euros[..5]].concat(), true), "\u{fffd}€");
    }
}
