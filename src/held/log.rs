//! The log of a held sandbox: one JSON object a line, so that no text from inside can pass for a line of ours.

use pinfold_runner::Content;
use serde::{Deserialize, Serialize};

/// The most of one line of output that is kept, in bytes.
pub(crate) const LONGEST_LINE: usize = 8 << 10;

/// When the log is larger than this, in bytes, it becomes the older half, and the older half before it goes.
pub(crate) const HALF: u64 = 8 << 20;

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Its place in the log, from 1 on; 0 in logs of sandboxes that an older version started.
    #[serde(default)]
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// Which command, by its number; none where it is about the sandbox.
    pub exec: Option<u64>,
    /// What happened, or which stream it is from.
    pub event: LogEvent,
    /// The output, without the end of its line; or a word on what happened.
    pub text: Content,
    /// The line was longer than what is kept of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// What a line of a log is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogEvent {
    /// The sandbox was started.
    Started,
    /// A command was asked for: its words.
    Begun,
    /// A line that a detached command wrote to stdout.
    Stdout,
    /// A line that a detached command wrote to stderr.
    Stderr,
    /// A command has ended: how.
    Ended,
    /// A connection to a host of the sandbox's list has ended, or one was refused: which.
    Connection,
    /// Older lines were dropped, since the log was full.
    Dropped,
    /// The sandbox has ended: why.
    Stopped,
}

impl LogEvent {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Begun => "begun",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Ended => "ended",
            Self::Connection => "connection",
            Self::Dropped => "dropped",
            Self::Stopped => "stopped",
        }
    }
}

/// The file of a sandbox's log, and of its older half, and the record that outlives the sandbox with them.
pub(crate) fn files(id: &str) -> [String; 3] {
    [format!("{id}.log"), format!("{id}.log.1"), format!("{id}.json")]
}
