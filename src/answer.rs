//! The runner's answer, believed only where it makes sense. The runner sits next to hostile code: what it says is checked
//! as if that code had written it. A fault here is one clean `failed`, never a guess at what was meant.

use crate::stdio::Stdio;
use pinfold_runner::{CONTRACT_VERSION, Job, Outcome, Status};
use serde::Deserialize;

/// The most that any answer may take, in bytes, whatever the job's limits allow.
const HARD_CAP: u64 = 1 << 30;
/// Room for everything in an answer but output and artifacts; an error message may show a path or two.
const REST: u64 = 1 << 20;
/// Room for the names and sums of artifacts, and the paths that were not copied out.
const ARTIFACTS: u64 = 256 << 20;
/// The most bytes that JSON spends on one: a control character is `\u001b`. base64 spends less.
const ESCAPED: u64 = 6;

/// What a right answer to one job looks like.
#[derive(Clone, Debug)]
pub(crate) struct Expectation {
    id: String,
    /// The most bytes of stdout and of stderr that may come; `None`: no limit.
    output: Option<u64>,
    artifacts: bool,
}

impl Expectation {
    pub(crate) fn new(id: String, job: &Job, stdio: Stdio) -> Self {
        let output = if stdio.streams_stdout() { Some(0) } else { job.limits.output_bytes.value() };
        Self { id, output, artifacts: job.artifacts.is_some() }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The longest answer that can be right, in bytes.
    pub(crate) fn longest(&self) -> u64 {
        let streams = self.output.unwrap_or(u64::MAX).saturating_mul(2 * ESCAPED);
        let artifacts = if self.artifacts { ARTIFACTS } else { 0 };
        streams.saturating_add(artifacts).saturating_add(REST).min(HARD_CAP)
    }

    /// The outcome that `answer` says.
    ///
    /// # Errors
    /// What is wrong with the answer, for people.
    pub(crate) fn judge(&self, answer: &[u8]) -> Result<Outcome, String> {
        if answer.iter().all(u8::is_ascii_whitespace) {
            return Err("it is empty".to_owned());
        }
        let mut deserializer = serde_json::Deserializer::from_slice(answer);
        let outcome = Outcome::deserialize(&mut deserializer).map_err(|e| format!("it is no result: {e}"))?;
        deserializer.end().map_err(|e| format!("something follows the result: {e}"))?;
        self.check(&outcome)?;
        Ok(outcome)
    }

    fn check(&self, outcome: &Outcome) -> Result<(), String> {
        if outcome.version != CONTRACT_VERSION {
            return Err(format!("it is of version {}, not {CONTRACT_VERSION}", outcome.version));
        }
        if outcome.id != self.id {
            return Err(format!("it is about another sandbox, `{}`", excerpt(&outcome.id)));
        }
        check_status(outcome)?;
        for (name, kept, written, truncated) in [
            ("stdout", &outcome.stdout, outcome.stdout_bytes, outcome.stdout_truncated),
            ("stderr", &outcome.stderr, outcome.stderr_bytes, outcome.stderr_truncated),
        ] {
            let kept = kept.as_bytes().len() as u64;
            if self.output.is_some_and(|cap| kept > cap) {
                return Err(format!("it brings {kept} bytes of {name}, more than asked for"));
            }
            if kept > written || (truncated && kept == written) {
                return Err(format!("it brings {kept} bytes of {name}, of {written} written"));
            }
        }
        let brought = outcome.artifacts.len() + outcome.artifact_errors.len();
        if brought > 0 && !self.artifacts {
            return Err("it brings artifacts, and none were asked for".to_owned());
        }
        if !outcome.connections.is_empty() || outcome.connections_omitted != 0 {
            return Err("it brings connections, of which only the supervisor knows".to_owned());
        }
        check_usage(outcome)
    }
}

/// Whether the status and what must come with it, and with no other, agree.
fn check_status(outcome: &Outcome) -> Result<(), String> {
    let status = outcome.status;
    let code = outcome.exit_code;
    if code.is_some() != (status == Status::Exited) || code.is_some_and(|code| !(0..=255).contains(&code)) {
        return Err(format!("{status:?} can't come with the exit code {code:?}"));
    }
    let signal = outcome.signal.as_deref();
    let named = |name: &str| name.starts_with("SIG") && name.len() <= 16 && name.bytes().all(is_of_signal_name);
    if signal.is_some() != (status == Status::Signaled) || signal.is_some_and(|name| !named(name)) {
        return Err(format!("{status:?} can't come with the signal `{}`", excerpt(signal.unwrap_or("null"))));
    }
    if outcome.error.is_some() != (status == Status::Failed) {
        return Err(format!("{status:?} {} an error", if outcome.error.is_some() { "comes with" } else { "lacks" }));
    }
    Ok(())
}

/// `SIGRTMIN+3` has a sign.
fn is_of_signal_name(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'+' | b'-')
}

/// JSON has no infinity and no NaN; negative figures it has.
fn check_usage(outcome: &Outcome) -> Result<(), String> {
    let usage = &outcome.usage;
    let times = [
        usage.wall_ms,
        usage.user_ms,
        usage.system_ms,
        usage.throttled_ms,
        usage.setup_ms,
        usage.teardown_ms,
        usage.overhead_cpu_ms,
    ];
    match times.into_iter().flatten().find(|time| !time.is_finite() || *time < 0.0) {
        Some(time) => Err(format!("it says that something took {time} ms")),
        None => Ok(()),
    }
}

/// The beginning of a text that somebody else wrote, as a message may show it: bounded, without control characters.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(600).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinfold_runner::{Content, Failure, Usage};

    fn expectation() -> Expectation {
        Expectation { id: "a".to_owned(), output: Some(4), artifacts: false }
    }

    fn exited() -> Outcome {
        let failed = Outcome::failed("a", Failure::new("", ""));
        Outcome { status: Status::Exited, exit_code: Some(3), error: None, ..failed }
    }

    fn judge(outcome: &Outcome) -> Result<Outcome, String> {
        expectation().judge(&serde_json::to_vec(outcome).unwrap())
    }

    #[test]
    fn a_right_answer_is_believed() {
        let outcome = Outcome { stdout: Content::from("1234"), stdout_bytes: 9, stdout_truncated: true, ..exited() };
        assert_eq!(judge(&outcome), Ok(outcome));
    }

    #[test]
    fn a_status_without_what_belongs_to_it_is_refused() {
        for absurd in [
            Outcome { exit_code: None, ..exited() },
            Outcome { exit_code: Some(256), ..exited() },
            Outcome { exit_code: Some(-1), ..exited() },
            Outcome { status: Status::Signaled, ..exited() },
            Outcome { status: Status::Signaled, exit_code: None, ..exited() },
            Outcome { status: Status::Signaled, exit_code: None, signal: Some("\x1b[2J".to_owned()), ..exited() },
            Outcome { status: Status::TimedOut, ..exited() },
            Outcome { status: Status::Failed, exit_code: None, ..exited() },
            Outcome { error: Some(Failure::new("a", "b")), ..exited() },
            Outcome { signal: Some("SIGKILL".to_owned()), ..exited() },
        ] {
            assert!(judge(&absurd).is_err(), "{absurd:?}");
        }
    }

    #[test]
    fn another_sandbox_another_version_and_too_much_output_are_refused() {
        for absurd in [
            Outcome { id: "b".to_owned(), ..exited() },
            Outcome { version: 2, ..exited() },
            Outcome { stdout: Content::from("12345"), stdout_bytes: 5, ..exited() },
            Outcome { stderr: Content::from("1234"), stderr_bytes: 3, ..exited() },
            Outcome { stdout_truncated: true, ..exited() },
            Outcome { usage: Usage { wall_ms: Some(-1.0), ..Usage::default() }, ..exited() },
            Outcome { usage: Usage { overhead_cpu_ms: Some(-0.5), ..Usage::default() }, ..exited() },
        ] {
            assert!(judge(&absurd).is_err(), "{absurd:?}");
        }
    }

    #[test]
    fn only_one_whole_object_is_an_answer() {
        let right = serde_json::to_string(&exited()).unwrap();
        assert!(expectation().judge(format!("{right}\n").as_bytes()).is_ok());
        for wrong in ["", "\n", "hello", "null", "[]", "{}", &right[..right.len() - 1], &format!("{right}\n{right}\n")]
        {
            assert!(expectation().judge(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_longest_answer_never_passes_the_hard_cap() {
        assert_eq!(expectation().longest(), REST + 48);
        assert_eq!(Expectation { output: None, ..expectation() }.longest(), HARD_CAP);
        assert_eq!(Expectation { output: Some(u64::MAX), artifacts: true, ..expectation() }.longest(), HARD_CAP);
    }
}
