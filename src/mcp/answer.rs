//! What came of a command or a piece of code, for a model: words first, the output within its bound, and the same as data.

use super::refusal::Refusal;
use pinfold::code::{CodeResult, Phase};
use pinfold::held::RunOutput;
use pinfold::{Outcome, Status};
use rmcp::model::{CallToolResult, ContentBlock};
use schemars::JsonSchema;
use serde::Serialize;
use std::time::Duration;

/// What came of a command.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Ran {
    /// exited, signaled, timed_out, cpu_exceeded, out_of_memory, workspace_exceeded, cancelled
    pub(super) status: String,
    /// The exit code, if it exited
    pub(super) exit_code: Option<i32>,
    /// How it ended, in words
    pub(super) verdict: String,
    /// What it wrote to stdout; where some was left out, its last line says how much
    pub(super) stdout: String,
    /// What it wrote to stderr
    pub(super) stderr: String,
    /// Bytes of stdout that were left out; null where nobody counted them
    pub(super) stdout_left_out: Option<u64>,
    /// Bytes of stderr that were left out
    pub(super) stderr_left_out: u64,
    /// How long it took
    pub(super) duration_ms: u64,
    /// What else there is to know
    pub(super) notes: Vec<String>,
}

/// A result of text and data.
pub(super) fn told(text: String, data: &impl Serialize) -> Result<CallToolResult, Refusal> {
    let data = serde_json::to_value(data).map_err(|error| Refusal::new(error.to_string()))?;
    let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
    result.structured_content = Some(data);
    Ok(result)
}

/// As many as may be told of, in number and in bytes, and whether there are more.
pub(super) fn within<T>(
    items: impl IntoIterator<Item = T>,
    most: usize,
    room: u64,
    length: impl Fn(&T) -> usize,
) -> (Vec<T>, bool) {
    let (mut kept, mut left) = (Vec::new(), room);
    for item in items {
        // Each has a line of its own, with figures beside the name.
        let Some(rest) = left.checked_sub(length(&item) as u64 + 32).filter(|_| kept.len() < most) else {
            return (kept, true);
        };
        left = rest;
        kept.push(item);
    }
    (kept, false)
}

impl Ran {
    /// # Errors
    /// When nothing ran.
    pub(super) fn of(outcome: Outcome, limit: Option<Duration>, note: Option<String>) -> Result<Self, Refusal> {
        if let Some(failure) = outcome.error {
            return Err(failure.into());
        }
        let verdict = verdict(&outcome, limit);
        let mut notes: Vec<_> = note.into_iter().collect();
        if let Some(count) = outcome.usage.oom_kills.filter(|count| *count > 0) {
            notes.push(format!("the kernel killed {count} of its processes for using too much memory"));
        }
        let (stdout, left_out) = text(outcome.stdout.as_bytes(), outcome.stdout_bytes, "stdout");
        let stdout_left_out = Some(left_out);
        let (stderr, stderr_left_out) = text(outcome.stderr.as_bytes(), outcome.stderr_bytes, "stderr");
        let duration_ms = milliseconds(outcome.usage.wall_ms);
        let (status, exit_code) = (name(outcome.status), outcome.exit_code);
        Ok(Self { status, exit_code, verdict, stdout, stderr, stdout_left_out, stderr_left_out, duration_ms, notes })
    }

    /// # Errors
    /// When nothing ran.
    pub(super) fn of_code(result: CodeResult, limit: Option<Duration>, note: Option<String>) -> Result<Self, Refusal> {
        let compile = result.compile.and_then(|compile| compile.outcome);
        let (outcome, compiles) = match (result.phase, result.outcome, compile) {
            (Phase::Run, Some(outcome), _) => (outcome, false),
            (_, _, Some(outcome)) => (outcome, true),
            _ => return Err(Refusal::new("the code was run without a result")),
        };
        let mut ran = Self::of(*outcome, limit, note)?;
        if compiles {
            ran.verdict = format!("the code does not compile: {}", ran.verdict);
        }
        ran.duration_ms = u64::try_from(result.duration.as_millis()).unwrap_or(u64::MAX);
        Ok(ran)
    }

    /// The same of a terminal, whose output is one.
    pub(super) fn of_terminal(ran: RunOutput, limit: Option<Duration>, note: Option<String>) -> Self {
        let kept = ran.output.as_bytes();
        let (mut stdout, _) = text(kept, kept.len() as u64, "output");
        if ran.truncated {
            stdout += "\n[more output was left out]";
        }
        let mut notes: Vec<_> = note.into_iter().collect();
        if ran.replaced {
            notes.push("only a new shell could end it: variables and directory of the old one are gone".to_owned());
        }
        if ran.ended {
            notes.push("the shell has ended with it: name another terminal from now on".to_owned());
        }
        let (status, verdict) = match (ran.timed_out, ran.exit_code) {
            (true, _) => ("timed_out", format!("interrupted: it ran longer than {}", words(limit))),
            (false, Some(code)) => ("exited", format!("exit code {code}")),
            (false, None) => ("exited", "the shell ended before it could tell the exit code".to_owned()),
        };
        Self {
            status: status.to_owned(),
            exit_code: ran.exit_code,
            verdict,
            stdout,
            stderr: String::new(),
            stdout_left_out: (!ran.truncated).then_some(0),
            stderr_left_out: 0,
            duration_ms: milliseconds(Some(ran.duration_ms)),
            notes,
        }
    }

    /// The result. What did not end by itself is an error; a command that ends with another exit code than 0 is none.
    pub(super) fn into_result(self) -> Result<CallToolResult, Refusal> {
        let mut words = format!("{} ({} ms)\n", self.verdict, self.duration_ms);
        for note in &self.notes {
            words += &format!("note: {note}\n");
        }
        for (name, stream) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !stream.is_empty() {
                words += &format!("--- {name} ---\n{stream}");
                words += if stream.ends_with('\n') { "" } else { "\n" };
            }
        }
        let is_error = self.status != name(Status::Exited);
        let mut result = told(words, &self)?;
        result.is_error = Some(is_error);
        Ok(result)
    }
}

fn verdict(outcome: &Outcome, limit: Option<Duration>) -> String {
    match outcome.status {
        Status::Exited => format!("exit code {}", outcome.exit_code.unwrap_or(-1)),
        Status::Signaled => format!("it died of {}", outcome.signal.as_deref().unwrap_or("a signal")),
        Status::TimedOut => format!("killed: it ran longer than {}", words(limit)),
        Status::CpuExceeded => "killed: it used more CPU time than is allowed".to_owned(),
        Status::OutOfMemory => "killed: it used more memory than is allowed".to_owned(),
        Status::WorkspaceExceeded => "killed: it wrote more into the workspace than is allowed".to_owned(),
        Status::Cancelled => "cancelled".to_owned(),
        Status::Failed => "it could not be run".to_owned(),
    }
}

fn words(limit: Option<Duration>) -> String {
    limit.map_or("is allowed".to_owned(), |limit| format!("{limit:?}"))
}

/// As results of Pinfold name it.
fn name(status: Status) -> String {
    let json = serde_json::to_value(status).unwrap_or_default();
    json.as_str().unwrap_or_default().to_owned()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time in milliseconds fits")]
fn milliseconds(time: Option<f64>) -> u64 {
    time.unwrap_or_default().round() as u64
}

/// What was kept, as text with a word on what was not, and how much that is.
pub(super) fn text(kept: &[u8], written: u64, name: &str) -> (String, u64) {
    let left_out = written.saturating_sub(kept.len() as u64);
    if kept.contains(&0) {
        let words = format!("[{name} is binary, {written} bytes: write it into a file and read that]");
        return (words, written);
    }
    let kept = if left_out > 0 { whole_characters(kept) } else { kept };
    let mut text = String::from_utf8_lossy(kept).into_owned();
    let left_out = if left_out > 0 { written - kept.len() as u64 } else { 0 };
    if left_out > 0 {
        text += &format!("\n[{left_out} more bytes of {name} were left out]");
    }
    (text, left_out)
}

/// Without the beginning of a character that was cut off.
pub(super) fn whole_characters(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_told_and_no_character_is_cut() {
        assert_eq!(text(b"all\n", 4, "stdout"), ("all\n".to_owned(), 0));
        let (cut, left_out) = text(&"€€".as_bytes()[..5], 100, "stdout");
        assert_eq!((cut.as_str(), left_out), ("€\n[97 more bytes of stdout were left out]", 97));
        assert!(text(b"a\0b", 3, "stderr").0.contains("binary"));
    }

    #[test]
    fn lists_are_bounded_in_number_and_in_bytes() {
        let within = |most, room| within(["a", "bb", "ccc"], most, room, |text| text.len());
        assert_eq!(within(3, 102), (vec!["a", "bb", "ccc"], false));
        assert_eq!(within(2, 102), (vec!["a", "bb"], true));
        assert_eq!(within(3, 101), (vec!["a", "bb"], true));
    }
}
