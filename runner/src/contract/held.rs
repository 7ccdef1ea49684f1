//! What a keeper and the runner of a held sandbox say to each other: one JSON object a message, with descriptors where a
//! message says so, over a socket that keeps messages whole (SOCK_SEQPACKET). The runner is told of its end by
//! `--held=FD`; what it holds then is the job on its stdin, which has no `command`.
//!
//! What runs in a held sandbox is asked for as a [`Job`] and answered with an [`Outcome`], like everything that Pinfold
//! runs: of such a job only `id`, `command`, `env`, `cwd` and `limits` may say anything; the rest is the sandbox's.

use super::isolation::Isolation;
use super::job::{Job, JobError};
use super::limit::{Limit, Limits};
use super::outcome::{Failure, MemoryUse, Outcome};
use serde::{Deserialize, Serialize};

/// No message is longer, in bytes. A command with more arguments and environment than this can't be asked for.
pub const MAX_HELD_MESSAGE: usize = 128 << 10;

/// What the keeper asks of the runner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// Start a command. With it come the command's ends of stdin, stdout and stderr, unless it gets a terminal, and then
    /// `extra` descriptors more, which it finds from number 3 on.
    Exec {
        /// A number of the keeper's that no other command of this sandbox had.
        number: u64,
        /// The command.
        job: Box<Job>,
        /// Rows and columns of a terminal of its own.
        terminal: Option<(u16, u16)>,
        /// How many descriptors come after those of its stdio, at most 4.
        #[serde(default)]
        extra: u8,
    },
    /// Send a signal to a command's process group.
    Signal {
        /// Which command.
        number: u64,
        /// signal(7), 1 to 64.
        signal: i32,
    },
    /// End a command and all that it started: `cancelled`. What earlier it left running in the background is in this too.
    Cancel {
        /// Which command.
        number: u64,
    },
    /// Stop every process of the sandbox where it is, until [`Ask::Thaw`].
    Freeze,
    /// Let them go on.
    Thaw,
    /// Tell what the sandbox uses now.
    Figures,
    /// Hand over the workspace's directory, as the sandbox sees it.
    Workspace,
}

/// What the runner tells the keeper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Notice {
    /// The sandbox is there, and takes commands. Before it nothing else is told; if it can't be made, the runner's answer
    /// on stdout says why.
    Ready {
        /// What is enforced.
        isolation: Box<Isolation>,
        /// The first process inside, as the runner's own pid namespace numbers it: when it has ended, all have.
        init: i32,
    },
    /// A command was executed. With it comes its terminal's other side, if it has a terminal.
    Executed {
        /// Which command.
        number: u64,
        /// Its process, as the runner's own pid namespace numbers it; told where it has a terminal.
        pid: Option<i32>,
    },
    /// A command has ended, or could not be started (`failed`). What it left running lives on, unless it was killed for
    /// something. Output is the keeper's to add.
    Ended {
        /// Which command.
        number: u64,
        /// How.
        outcome: Box<Outcome>,
    },
    /// The answer to [`Ask::Freeze`], when everything has stopped, or why it could not be.
    Frozen(Option<Failure>),
    /// The answer to [`Ask::Thaw`].
    Thawed,
    /// The answer to [`Ask::Figures`].
    Figures(Box<HeldFigures>),
    /// The answer to [`Ask::Workspace`]. With it comes the directory, unless there was none to be had.
    Workspace,
}

/// What a held sandbox uses now. What can't be measured is null.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HeldFigures {
    /// CPU time since the start, in milliseconds.
    pub cpu_ms: Option<f64>,
    /// Memory now, and its parts.
    pub memory_bytes: Option<u64>,
    /// The most that it ever was.
    pub peak_memory_bytes: Option<u64>,
    /// What the memory consists of.
    pub memory: Option<MemoryUse>,
    /// Processes and threads now, without init.
    pub pids: Option<u64>,
    /// What the workspace holds, where its file system is its own and tells: a tmpfs.
    pub workspace_bytes: Option<u64>,
    /// Whether everything is stopped by [`Ask::Freeze`].
    pub frozen: bool,
}

/// Limits for a command in a held sandbox: none but the sandbox's own.
pub fn no_limits_of_its_own() -> Limits {
    Limits {
        wall_ms: Limit::Max,
        memory_bytes: Limit::Max,
        pids: Limit::Max,
        output_bytes: Limit::Max,
        open_files: Limit::Max,
        stack_bytes: Limit::Max,
        swap_bytes: Limit::Max,
        shm_bytes: Limit::Max,
        ..Limits::default()
    }
}

/// Checks that a job asks only for what a command in a sandbox that is there can have of its own.
///
/// # Errors
/// The first field that belongs to the sandbox.
pub fn check_exec(job: &Job) -> Result<(), JobError> {
    let plain = Job { limits: job.limits.clone(), ..Job::new(job.command.clone()) };
    let of_the_sandbox = [
        ("mode", job.mode != plain.mode),
        ("user", job.user != plain.user),
        ("stdin", job.stdin != plain.stdin),
        ("files", job.files != plain.files),
        ("workspace", job.workspace != plain.workspace),
        ("workspace_at", job.workspace_at != plain.workspace_at),
        ("root", job.root != plain.root),
        ("mounts", job.mounts != plain.mounts),
        ("network", job.network != plain.network),
        ("seccomp", job.seccomp != plain.seccomp),
        ("require", job.require != plain.require),
        ("artifacts", job.artifacts != plain.artifacts),
    ];
    let none = no_limits_of_its_own();
    let limits = &job.limits;
    let limits_of_the_sandbox = [
        ("limits.cpuset", limits.cpuset != none.cpuset),
        ("limits.swap_bytes", limits.swap_bytes != none.swap_bytes),
        ("limits.workspace_bytes", limits.workspace_bytes != none.workspace_bytes),
        ("limits.workspace_inodes", limits.workspace_inodes != none.workspace_inodes),
        ("limits.tmp_bytes", limits.tmp_bytes != none.tmp_bytes),
        ("limits.shm_bytes", limits.shm_bytes != none.shm_bytes),
        ("limits.io_read_bps", limits.io_read_bps != none.io_read_bps),
        ("limits.io_write_bps", limits.io_write_bps != none.io_write_bps),
        ("limits.io_read_iops", limits.io_read_iops != none.io_read_iops),
        ("limits.io_write_iops", limits.io_write_iops != none.io_write_iops),
    ];
    let refused = of_the_sandbox.into_iter().chain(limits_of_the_sandbox).find(|(_, is_set)| *is_set);
    match refused {
        Some((field, _)) => Err(JobError {
            path: Some(field.to_owned()),
            reason: "it is the sandbox's, and was settled when that was started".to_owned(),
        }),
        None => Ok(()),
    }
}
