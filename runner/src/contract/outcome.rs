//! The result: what happened, what it cost, what was enforced.

use super::artifact::{ArtifactError, ArtifactFile};
use super::content::Content;
use super::isolation::Isolation;
use serde::{Deserialize, Serialize};

/// The answer to one job: one JSON object on one line. A command that ends badly is a result, not an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The version of the contract, 1.
    pub version: u32,
    /// The job's id, or the one that was generated for it.
    pub id: String,
    /// How it ended.
    pub status: Status,
    /// The command's exit code when `status` is `exited`.
    pub exit_code: Option<i32>,
    /// The signal's name, such as `SIGSEGV`, when `status` is `signaled`.
    pub signal: Option<String>,
    /// What was kept of stdout; empty when the caller had it live.
    pub stdout: Content,
    /// What was kept of stderr; empty when the caller had it live.
    pub stderr: Content,
    /// What the command wrote to stdout in bytes, kept or not.
    pub stdout_bytes: u64,
    /// What the command wrote to stderr in bytes, kept or not.
    pub stderr_bytes: u64,
    /// Whether some of stdout was dropped at `output_bytes`.
    pub stdout_truncated: bool,
    /// Whether some of stderr was dropped at `output_bytes`.
    pub stderr_truncated: bool,
    /// What it cost.
    pub usage: Usage,
    /// What was enforced.
    pub isolation: Isolation,
    /// The files that were copied out.
    #[serde(default)]
    pub artifacts: Vec<ArtifactFile>,
    /// The paths that were not, and why.
    #[serde(default)]
    pub artifact_errors: Vec<ArtifactError>,
    /// With a list of allowed hosts: every connection, and every name that was asked for and refused; in the order in which they
    /// began, up to some number.
    #[serde(default)]
    pub connections: Vec<Connection>,
    /// How many there were beyond that number.
    #[serde(default)]
    pub connections_omitted: u64,
    /// Why, when `status` is `failed`.
    pub error: Option<Failure>,
}

impl Outcome {
    /// A result that says that Pinfold could not do what the job asked.
    pub fn failed(id: impl Into<String>, failure: Failure) -> Self {
        Self {
            version: crate::CONTRACT_VERSION,
            id: id.into(),
            status: Status::Failed,
            exit_code: None,
            signal: None,
            stdout: Content::default(),
            stderr: Content::default(),
            stdout_bytes: 0,
            stderr_bytes: 0,
            stdout_truncated: false,
            stderr_truncated: false,
            usage: Usage::default(),
            isolation: Isolation::default(),
            artifacts: Vec::new(),
            artifact_errors: Vec::new(),
            connections: Vec::new(),
            connections_omitted: 0,
            error: Some(failure),
        }
    }
}

/// A connection out of a sandbox with a list of allowed hosts, or the attempt at one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The name that was asked for, or the address.
    pub host: String,
    /// The port; null where a name was refused before there was any talk of one.
    pub port: Option<u16>,
    /// Whether it was made.
    pub allowed: bool,
    /// What the sandbox got through it, in bytes.
    pub bytes_in: u64,
    /// What the sandbox sent through it, in bytes.
    pub bytes_out: u64,
    /// Why it was not made.
    pub reason: Option<RefusalReason>,
}

/// Why a connection was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// The name is not on the list.
    NotListed,
    /// More names were asked for than one sandbox can have.
    TooMany,
    /// The name leads nowhere: it could not be resolved.
    Unresolved,
    /// The name leads to an address that no list covers: loopback, private, link-local and their kin.
    Address,
    /// The host did not take the connection.
    Unreachable,
}

impl Outcome {
    /// All of it as one text, for whoever reads rather than asks, such as a model: stdout, stderr after a line `[STDERR]:`, and how it
    /// ended if not by itself with 0, as `[Exit Code: 3]`. Bytes that are no UTF-8 are shown as U+FFFD. A command can write such
    /// lines itself: programs go by the fields.
    pub fn transcript(&self) -> String {
        let mut text = self.stdout.to_text().into_owned();
        let mut add = |part: &str| {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(part);
        };
        if self.stdout_truncated {
            add("[stdout was cut]");
        }
        if !self.stderr.as_bytes().is_empty() {
            add("[STDERR]:\n");
            add(&self.stderr.to_text());
        }
        if self.stderr_truncated {
            add("[stderr was cut]");
        }
        match (self.status, self.exit_code, &self.signal, &self.error) {
            (Status::Exited, Some(0), ..) => {}
            (Status::Exited, Some(code), ..) => add(&format!("[Exit Code: {code}]")),
            (Status::Signaled, _, Some(signal), _) => add(&format!("[Signal: {signal}]")),
            (Status::TimedOut, ..) => add("[Timed out]"),
            (Status::CpuExceeded, ..) => add("[Out of CPU time]"),
            (Status::OutOfMemory, ..) => add("[Out of memory]"),
            (Status::WorkspaceExceeded, ..) => add("[Out of disk space]"),
            (Status::Cancelled, ..) => add("[Cancelled]"),
            (_, _, _, Some(failure)) => add(&format!("[Failed: {}]", failure.message)),
            _ => add("[Failed]"),
        }
        text
    }
}

/// How a job ended. The first cause for which Pinfold or the kernel killed the command decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The command ended by itself: `exit_code`.
    Exited,
    /// A signal ended the command: `signal`.
    Signaled,
    /// The wall clock ran out.
    TimedOut,
    /// The CPU time ran out.
    CpuExceeded,
    /// The kernel's OOM killer acted and the command ended by SIGKILL; or, without a cgroup, all processes together took more
    /// than they may.
    OutOfMemory,
    /// The workspace grew past its limit.
    WorkspaceExceeded,
    /// The caller cancelled.
    Cancelled,
    /// Pinfold could not do what the job asked; the command did not run, or its end is not known: `error`.
    Failed,
}

/// What a job cost, over the whole sandbox. A figure that could not be measured is `None`, never 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// From the command's first instruction to its end, in milliseconds of the monotonic clock.
    pub wall_ms: Option<f64>,
    /// CPU time in user mode, in milliseconds.
    pub user_ms: Option<f64>,
    /// CPU time in the kernel, in milliseconds.
    pub system_ms: Option<f64>,
    /// Time for which the `cpus` limit held processes back, in milliseconds; 0 without that limit.
    pub throttled_ms: Option<f64>,
    /// Periods of the `cpus` limit, 100 ms each, in which it held somebody back; 0 without that limit.
    pub throttled_periods: Option<u64>,
    /// The most memory that was charged to the sandbox at once, page cache included, in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// Of what the memory consisted when the command ended, or when it was about to be killed.
    pub memory: Option<MemoryUse>,
    /// The most processes and threads at once.
    pub peak_pids: Option<u64>,
    /// Processes and threads that were ever started, the command included.
    pub total_pids: Option<u64>,
    /// Processes that the OOM killer shot.
    pub oom_kills: Option<u64>,
    /// Bytes that were really read from storage.
    pub read_bytes: Option<u64>,
    /// Bytes that were sent to storage, or will be when the page cache is written back.
    pub written_bytes: Option<u64>,
    /// Page faults that needed no reading from storage.
    pub minor_faults: Option<u64>,
    /// Page faults that did.
    pub major_faults: Option<u64>,
    /// How often processes gave up a CPU to wait for something.
    pub voluntary_switches: Option<u64>,
    /// How often one was taken from them.
    pub involuntary_switches: Option<u64>,
    /// From the runner's start to the command's first instruction, in milliseconds.
    pub setup_ms: Option<f64>,
    /// From the command's end until nothing of the sandbox was left, in milliseconds.
    pub teardown_ms: Option<f64>,
    /// CPU time that the runner and init used themselves, from start to answer, in milliseconds.
    pub overhead_cpu_ms: Option<f64>,
}

/// What a sandbox's memory consisted of, in bytes, in the terms of cgroup v2's `memory.stat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryUse {
    /// Heaps, stacks and other private mappings.
    pub anon_bytes: Option<u64>,
    /// The page cache, tmpfs and shared memory included.
    pub file_bytes: Option<u64>,
    /// Of that: tmpfs and shared memory, which only deleting gives back.
    pub shmem_bytes: Option<u64>,
    /// What the kernel keeps for the sandbox: page tables, stacks, slabs, socket buffers.
    pub kernel_bytes: Option<u64>,
    /// What was swapped out.
    pub swap_bytes: Option<u64>,
}

/// Why a job failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable name for programs, such as `exec_not_found`.
    pub code: String,
    /// What failed, for people: the step, the operand, the errno.
    pub message: String,
    /// What to do about it, where we know.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), hint: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
