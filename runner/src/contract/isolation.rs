//! What was really enforced: the `isolation` part of a result, and the names that `require` may ask for.

use serde::{Deserialize, Serialize};

/// The fences that stood around the command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Isolation {
    /// By what the command was confined, as the job said.
    pub mode: Mode,
    /// The namespaces that are the sandbox's own (namespaces(7)); `net` is missing with `network: "host"`.
    pub namespaces: Vec<String>,
    /// The seccomp policy in force: a built-in policy's name, or the path that it was loaded from.
    pub seccomp: Option<String>,
    /// The Landlock ABI in force (landlock(7)), or `None` where the kernel has none.
    pub landlock: Option<u32>,
    /// The cgroup hierarchy that carries the limits, if any does.
    pub cgroup: Option<CgroupVersion>,
    /// What holds the memory limit.
    pub memory: Mechanism,
    /// What holds the limit on processes and threads.
    pub pids: Mechanism,
    /// What holds the limits on CPU time and CPUs.
    pub cpu: Mechanism,
    /// What holds the limit on swap.
    pub swap: Mechanism,
    /// What holds the set of CPUs.
    pub cpuset: Mechanism,
    /// What holds the limits on block devices.
    pub io: Mechanism,
    /// What holds the size of the workspace.
    pub workspace: WorkspaceMechanism,
    /// How the workspace's files lie on the host.
    pub workspace_files: WorkspaceFiles,
    /// What holds the number of files in the workspace.
    pub workspace_inodes: WorkspaceMechanism,
    /// What keeps the command from the host's network.
    pub network: NetworkFence,
    /// Whether the caller's supplementary groups are gone.
    pub groups: Groups,
    /// Who sees to it that nothing lives on when the runner is killed.
    pub lifetime: Lifetime,
}

/// By what a command is confined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Namespaces of its own and a view of its own, with every other fence behind: the default.
    #[default]
    Namespaces,
    /// Landlock, seccomp, resource limits and a process group, where namespaces are denied. Paths and processes are the host's.
    Landlock,
}

/// How a workspace's files lie on the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkspaceFiles {
    /// In memory only.
    Memory,
    /// In one directory.
    #[default]
    Directory,
    /// In layers, which overlayfs shows as one directory: a workspace with checkpoints.
    Overlay,
}

/// What keeps the command from the host's network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkFence {
    /// A network namespace of its own, network_namespaces(7).
    Namespace,
    /// A network namespace of its own, and a list of hosts to which the supervisor relays connections.
    Allowlist,
    /// A seccomp filter that refuses every socket but Unix ones.
    Seccomp,
    /// Nothing: it has the host's.
    #[default]
    None,
}

/// Who sees to it that nothing lives on when the runner is killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifetime {
    /// The kernel: when the first process of a pid namespace ends, all others do (pid_namespaces(7)).
    Kernel,
    /// The runner and a process of ours beside the command: each ends everything when the other dies. A SIGKILL of both at once
    /// may leave processes of the command's alive, still confined.
    #[default]
    BestEffort,
}

/// A cgroup hierarchy: cgroups(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupVersion {
    /// One controller, one hierarchy.
    V1,
    /// The unified hierarchy.
    V2,
}

/// What holds a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mechanism {
    /// A cgroup, over the whole sandbox, exactly.
    Cgroup,
    /// A resource limit of each process, setrlimit(2): not a limit over the sandbox as a whole.
    Rlimit,
    /// The runner looks now and then and kills on excess.
    Watched,
    /// A cgroup, but only what is written straight to the disk, and not what the kernel writes out later: limits on writing
    /// with cgroup v1.
    Direct,
    /// Nothing.
    #[default]
    None,
}

/// What holds the size of the workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkspaceMechanism {
    /// A tmpfs of that size.
    Tmpfs,
    /// A quota of the file system.
    Quota,
    /// The runner looks now and then and kills on excess.
    Watched,
    /// Nothing.
    #[default]
    None,
}

/// Which supplementary groups the command has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Groups {
    /// None.
    None,
    /// The default, where nothing is known. The caller's: the kernel lets no unprivileged user drop them (user_namespaces(7), `setgroups`).
    #[default]
    Caller,
}

/// A feature that must be in force, by its first mechanism, or the job fails before the command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Requirement {
    /// Memory, pids and CPU are all held by cgroups.
    Cgroup,
    /// Landlock is in force.
    Landlock,
    /// The memory limit is held by a cgroup.
    Memory,
    /// The limit on processes is held by a cgroup.
    Pids,
    /// The CPU limits are held by a cgroup.
    Cpu,
    /// The workspace's size is held exactly: by a tmpfs or a quota.
    Workspace,
    /// The command has no supplementary groups.
    Groups,
}

impl Requirement {
    /// Every requirement.
    pub const ALL: [Self; 7] =
        [Self::Cgroup, Self::Landlock, Self::Memory, Self::Pids, Self::Cpu, Self::Workspace, Self::Groups];

    /// The name in JSON and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Landlock => "landlock",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
            Self::Workspace => "workspace",
            Self::Groups => "groups",
        }
    }

    /// Whether `isolation` meets this requirement.
    pub fn is_met(self, isolation: &Isolation) -> bool {
        match self {
            Self::Cgroup => {
                isolation.cgroup.is_some()
                    && [isolation.memory, isolation.pids, isolation.cpu].iter().all(|m| *m == Mechanism::Cgroup)
            }
            Self::Landlock => isolation.landlock.is_some(),
            Self::Memory => isolation.memory == Mechanism::Cgroup,
            Self::Pids => isolation.pids == Mechanism::Cgroup,
            Self::Cpu => isolation.cpu == Mechanism::Cgroup,
            Self::Workspace => matches!(isolation.workspace, WorkspaceMechanism::Tmpfs | WorkspaceMechanism::Quota),
            Self::Groups => isolation.groups == Groups::None,
        }
    }
}

impl std::str::FromStr for Requirement {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|requirement| requirement.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|requirement| requirement.name()).collect();
            format!("unknown feature `{name}`, expected one of {}", names.join(", "))
        })
    }
}
