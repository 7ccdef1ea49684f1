//! The contract between whoever asks for a sandbox and `pinfold-runner`, which builds it: the JSON job, the JSON
//! result, and the runner's command-line options.
//!
//! This library describes and checks, and makes no system call but those of [`confine`]. The program that builds sandboxes is
//! this package's binary.

pub mod confine;
pub mod contract;
pub mod seccomp;

/// Of the runner's room for system calls what [`confine`] needs: the same files.
#[expect(unsafe_code, reason = "system calls are made here and nowhere else in this crate")]
#[expect(clippy::disallowed_methods, reason = "this is the room that the ban on `libc::syscall` leaves")]
#[allow(dead_code, reason = "what only the runner uses")]
mod sys {
    mod errno;
    pub(crate) mod landlock;
    pub(crate) mod seccomp;

    pub(crate) use errno::Errno;
    use errno::{check, owned};
}

pub use contract::artifact::{ArtifactError, ArtifactErrorCode, ArtifactFile, Artifacts};
pub use contract::content::Content;
pub use contract::cpuset::Cpuset;
pub use contract::held::{Ask, HeldFigures, MAX_HELD_MESSAGE, Notice, check_exec, no_limits_of_its_own};
pub use contract::isolation::{
    CgroupVersion, Groups, Isolation, Lifetime, Mechanism, Mode, NetworkFence, Requirement, WorkspaceFiles,
    WorkspaceMechanism,
};
pub use contract::job::{FileEntry, Job, JobError, Mount, Root, Seccomp};
pub use contract::limit::{Limit, Limits};
pub use contract::network::{
    AddressRange, AllowList, NAME_SERVER, Network, Rule, STAND_INS, STAND_INS_V6, normal_name,
};
pub use contract::options::{ControlMessage, RunnerOptions};
pub use contract::outcome::{Connection, Failure, MemoryUse, Outcome, RefusalReason, Status, Usage};
pub use contract::relay::{MOST_LISTENERS, RelayMessage};
pub use contract::text::{AbsolutePath, Argv, Cwd, Environment, InvalidValue, SandboxId, User, WorkspacePath};
pub use contract::workspace::{Layers, MAX_LAYERS, Workspace};

/// The version of the contract that this build speaks: the `version` of jobs and results.
pub const CONTRACT_VERSION: u32 = 1;

/// The largest job that the runner reads, in bytes: 64 MiB.
pub const MAX_JOB_BYTES: usize = 64 << 20;

/// Where the workspace is mounted in every sandbox.
pub const WORKSPACE: &str = "/workspace";
