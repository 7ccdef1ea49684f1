//! What is kept of builds, as it is told.

use super::error::Fault;
use super::plan::Plan;
use super::state::State;
use serde::{Deserialize, Serialize};

/// One build: a snapshot of a project, what is to be done with it, and how far it has come.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Build {
    /// Its id, 32 hexadecimal digits.
    pub id: String,
    /// Whose it is.
    pub owner: String,
    /// The project that it builds.
    pub project: String,
    /// The number of its snapshot among those of the project, from 1 on.
    pub sequence: u64,
    /// Its snapshot's id.
    pub snapshot: String,
    /// What is done with it.
    pub plan: Plan,
    /// Where it is.
    pub state: State,
    /// The build that it is a retry of.
    pub retry_of: Option<String>,
    /// How often a worker took it.
    pub attempt: u32,
    /// How often one may, when workers are lost.
    pub attempts: u32,
    /// The phase that runs, or ran last.
    pub phase: Option<String>,
    /// The name of the sandbox in which that phase runs.
    pub sandbox: Option<String>,
    /// Somebody wants it to end; its worker will see that.
    pub cancel_requested: bool,
    /// When it was handed in, in microseconds since 1970.
    pub created_us: i64,
    /// When its last attempt began.
    pub started_us: Option<i64>,
    /// When it ended.
    pub finished_us: Option<i64>,
    /// The phases of its last attempt that have ended.
    pub phases: Vec<PhaseResult>,
    /// What it made, if it succeeded.
    pub artifact: Option<String>,
    /// Why it did not succeed.
    pub error: Option<Fault>,
    /// How many rows its log has.
    pub log_rows: u64,
    /// Whether its log is cut, because there was more than is kept.
    pub log_truncated: bool,
}

/// How a phase ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseResult {
    /// Its name.
    pub name: String,
    /// The sandbox's status: `exited`, `timed_out`, …
    pub status: String,
    /// Its exit code, if it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<String>,
    /// Wall-clock time in milliseconds.
    pub wall_ms: f64,
    /// CPU time of all its processes in milliseconds, where it was measured.
    pub cpu_ms: Option<f64>,
    /// The most memory that it used in bytes, where it was measured.
    pub peak_memory_bytes: Option<u64>,
}

/// Where a row of a log comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// The command's stdout.
    Stdout,
    /// The command's stderr.
    Stderr,
    /// Ours: what happens to the build.
    System,
}

impl Stream {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::System => "system",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Stdout, Self::Stderr, Self::System].into_iter().find(|stream| stream.name() == name)
    }
}

/// One row of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogRow {
    /// Its number in the build's log, from 1 on, without gaps.
    pub sequence: u64,
    /// When it was written, in microseconds since 1970.
    pub time_us: i64,
    /// The phase; none for what is about the build.
    pub phase: Option<String>,
    /// Where it comes from.
    pub stream: Stream,
    /// The line without its end. What is not UTF-8 is replaced by U+FFFD. It may hold what a terminal obeys.
    pub text: String,
    /// Whether the line was longer than is kept of one.
    #[serde(default)]
    pub truncated: bool,
}

/// A row on its way into a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRow {
    /// See [`LogRow::time_us`].
    pub time_us: i64,
    /// See [`LogRow::phase`].
    pub phase: Option<String>,
    /// See [`LogRow::stream`].
    pub stream: Stream,
    /// See [`LogRow::text`].
    pub text: String,
    /// See [`LogRow::truncated`].
    pub truncated: bool,
}

/// What a project shows: its last build that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Active {
    /// The build.
    pub build: String,
    /// Its artifact.
    pub artifact: String,
    /// The number of its snapshot.
    pub sequence: u64,
}

/// A project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// How many snapshots it has had.
    pub snapshots: u64,
    /// What it shows, once a build succeeded.
    pub active: Option<Active>,
}

/// A preview: a secret by which what a project shows, or one build made, can be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// Its id, which is no secret: 32 hexadecimal digits.
    pub id: String,
    /// The project.
    pub project: String,
    /// The build that it shows; none for whatever the project shows.
    pub build: Option<String>,
    /// When it was made, in microseconds since 1970.
    pub created_us: i64,
    /// When it ends by itself.
    pub expires_us: Option<i64>,
    /// When it was revoked.
    pub revoked_us: Option<i64>,
}

/// Which builds are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this project only.
    pub project: Option<String>,
    /// In this state only.
    pub state: Option<State>,
    /// At most so many, the newest; 0 is 100.
    pub limit: u32,
    /// Older than this build only: the last one of the list before.
    pub before: Option<String>,
}
