//! What went wrong, where: a step of building the sandbox, its operand and the errno; and the advice that goes with it.

use crate::sys::Errno;
use pinfold_runner::Failure;

/// Writes the enum, the names and the codes from one list, in the order in which the steps run.
macro_rules! steps {
    ($( $(#[$doc:meta])* $variant:ident: $verb:literal, $code:literal; )*) => {
        /// The steps from a job to a running command, in order. A step that fails ends the job.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Step { $( $(#[$doc])* $variant, )* }

        impl Step {
            const ALL: &'static [Self] = &[$( Self::$variant ),*];

            /// What the step does, to follow "failed to".
            fn verb(self) -> &'static str {
                match self { $( Self::$variant => $verb, )* }
            }

            /// The stable code of the result's `error`.
            fn code(self) -> &'static str {
                match self { $( Self::$variant => $code, )* }
            }
        }
    };
}

steps! {
    // In the runner, on the host's side.
    OpenState: "open the state directory", "state";
    TakeSlot: "take a slot in the state directory", "state";
    LoadPolicy: "load the seccomp policy", "seccomp";
    OpenWorkspace: "open the workspace", "workspace";
    OpenSource: "open the mount source", "mount";
    OpenRoot: "open the root file system", "root";
    OpenArtifactDirectory: "open the artifact directory", "artifacts";
    MapOwner: "map the owner of", "idmap";
    FindDisk: "find the disk under", "cgroup";
    MakeCgroup: "make the cgroup", "cgroup";
    SetCgroupLimit: "set the cgroup limit", "cgroup";
    CountProcesses: "count this user's processes", "process";
    MakePipe: "make a pipe for", "pipe";
    MakeNamespaces: "make the sandbox's namespaces", "namespaces";
    WriteIdMap: "write the id map", "namespaces";
    // In init, inside the new namespaces.
    MakeMountsPrivate: "make all mounts private", "mount";
    CopyTree: "take a copy of the mount", "mount";
    BecomeUser: "become the sandbox's user", "identity";
    MakeFileSystem: "make a file system of type", "mount";
    MakeEntry: "make", "view";
    Attach: "mount", "mount";
    EnterRoot: "enter the new root", "view";
    RaiseLoopback: "bring up the loopback interface", "network";
    PrepareNetwork: "prepare the way to the allowed hosts at", "network";
    SetHostname: "set the host name", "namespaces";
    OpenTerminal: "open a terminal", "terminal";
    GuardInit: "guard the sandbox's init", "init";
    StartCommand: "start a process for the command", "process";
    // In the command's process, before it is the command's.
    JoinCgroup: "join the cgroup", "cgroup";
    HideCgroup: "make a cgroup namespace", "namespaces";
    StartSession: "start a session", "process";
    SetResourceLimit: "set the resource limit", "rlimit";
    ConnectStdio: "connect", "stdio";
    DropPrivileges: "drop privileges", "privileges";
    WriteFile: "write the file", "files";
    EnterDirectory: "enter the directory", "cwd";
    RestrictPaths: "restrict paths by Landlock", "landlock";
    RestrictSystemCalls: "restrict system calls by seccomp", "seccomp";
    Execute: "execute", "exec_failed";
}

/// A step that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StepError {
    pub(crate) step: Step,
    /// What the step was applied to: a path, a limit, a policy; may be empty.
    pub(crate) operand: String,
    pub(crate) errno: Errno,
}

/// Gives an errno its step and operand.
pub(crate) trait At<T> {
    fn at(self, step: Step, operand: impl AsRef<str>) -> Result<T, StepError>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, step: Step, operand: impl AsRef<str>) -> Result<T, StepError> {
        self.map_err(|errno| StepError { step, operand: operand.as_ref().to_owned(), errno })
    }
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, step: Step, operand: impl AsRef<str>) -> Result<T, StepError> {
        self.map_err(Errno::from).at(step, operand)
    }
}

/// What the command's process says right before exec. End-of-file without it means that it died before.
pub(crate) const EXECUTING: u8 = 0xFF;

/// More of an operand than this is cut: a message from the sandbox's side is never longer than one packet.
const LONGEST_OPERAND: usize = 1024;

impl StepError {
    /// The error as one message between our own processes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let operand = &self.operand.as_bytes()[..self.operand.len().min(LONGEST_OPERAND)];
        let mut bytes = vec![self.step as u8];
        bytes.extend_from_slice(&self.errno.0.to_le_bytes());
        // With its length: two processes may have something to say, and the first one counts.
        bytes.extend_from_slice(&u16::try_from(operand.len()).unwrap_or(0).to_le_bytes());
        bytes.extend_from_slice(operand);
        bytes
    }

    /// The error that `bytes` say.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(7)?;
        let operand = rest.get(..usize::from(u16::from_le_bytes([head[5], head[6]])))?;
        Some(Self {
            step: *Step::ALL.get(usize::from(head[0]))?,
            errno: Errno(i32::from_le_bytes([head[1], head[2], head[3], head[4]])),
            operand: String::from_utf8_lossy(operand).into_owned(),
        })
    }

    fn code(&self) -> &'static str {
        match (self.step, self.errno.0) {
            (Step::Execute, libc::ENOENT | libc::ENOTDIR) => "exec_not_found",
            (Step::Execute, libc::EACCES | libc::ENOEXEC | libc::EISDIR | libc::EPERM) => "exec_not_executable",
            _ => self.step.code(),
        }
    }
}

impl std::fmt::Display for StepError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "failed to {}", self.step.verb())?;
        if !self.operand.is_empty() {
            write!(f, " `{}`", self.operand.escape_debug())?;
        }
        write!(f, ": {}", self.errno)
    }
}

impl From<StepError> for Failure {
    fn from(error: StepError) -> Self {
        let failure = Self::new(error.code(), error.to_string());
        match hint(&error) {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

/// What to do about it. Errnos that mislead are explained here: mount(2) says ENOSPC for "too many mounts", clone(2)
/// says ENOSPC for "too many namespaces" and EPERM for "an administrator forbade it".
fn hint(error: &StepError) -> Option<String> {
    let text = match (error.step, error.errno.0) {
        (Step::MakeNamespaces, libc::EPERM | libc::EACCES) | (Step::WriteIdMap, libc::EPERM | libc::EACCES) => {
            "this host forbids user namespaces to this user; `pinfold doctor` says which setting allows them. Where none can \
             be had, `\"mode\": \"landlock\"` confines with less"
        }
        (
            Step::MakeMountsPrivate | Step::CopyTree | Step::MakeFileSystem | Step::Attach,
            libc::EPERM | libc::EACCES,
        ) if error.operand == "proc" => {
            "a fresh /proc can't be mounted where the host's own is partly covered, as in a container; run the container \
             with `--security-opt systempaths=unconfined`"
        }
        (Step::MakeMountsPrivate | Step::MakeFileSystem, libc::EPERM | libc::EACCES) => {
            "the user namespace has no rights: AppArmor may restrict it; `pinfold doctor` says which setting allows it"
        }
        (Step::MakeNamespaces, libc::ENOSYS) => {
            "a filter of system calls (seccomp) keeps namespaces from us, as Docker's and Kubernetes' default profiles do; \
             `pinfold doctor` says what the container needs"
        }
        (Step::MakeNamespaces, libc::ENOSPC) => {
            "the limit on namespaces is reached: raise `user.max_user_namespaces` and its kin with sysctl"
        }
        (Step::MakeNamespaces, libc::EINVAL) => "the kernel was built without one of the namespaces",
        (Step::MakeNamespaces | Step::StartCommand, libc::EAGAIN) => {
            "the limit on processes is reached: see `ulimit -u` and the cgroup's pids.max"
        }
        (Step::Attach, libc::ENOSPC) => "the limit on mounts is reached: raise `fs.mount-max` with sysctl",
        (Step::Execute, libc::ENOENT) => {
            "it is looked up on PATH inside the sandbox, where only /usr, the workspace and what is mounted can be seen"
        }
        (Step::Execute, libc::ENOEXEC) => "it has no `#!` line and is no program for this machine",
        (Step::EnterDirectory, libc::EACCES) => {
            "the sandbox's user must be able to reach it: with `\"mode\": \"landlock\"` and a temporary workspace that goes for \
             the directories above the state directory too"
        }
        (Step::EnterDirectory, libc::ENOENT) => "`cwd` must exist in the sandbox",
        (Step::Attach | Step::MakeEntry, libc::ENOENT | libc::EROFS | libc::ELOOP) => {
            "a mount's target must exist already when it lies below something read-only, and no link may lead to it"
        }
        (Step::BecomeUser, libc::EPERM) => {
            "root needs the capabilities CAP_SETUID and CAP_SETGID to give the sandbox a uid of its own; start Pinfold with them, \
             or as an ordinary user"
        }
        (Step::MapOwner, libc::EINVAL) => {
            "the file system of that directory has no idmapped mounts (mount_setattr(2)); use another one, or start Pinfold as \
             the owner of the directory"
        }
        (Step::OpenState | Step::TakeSlot, _) => {
            "the state directory is $PINFOLD_STATE_DIR, else /var/lib/pinfold for root and /var/tmp/pinfold-UID for a user"
        }
        (Step::OpenWorkspace | Step::OpenSource | Step::OpenRoot, libc::ENOENT) => "the path must exist on the host",
        (Step::OpenWorkspace | Step::OpenSource | Step::OpenRoot, libc::EPERM) => {
            "root who lacks CAP_SYS_ADMIN, as in a container, can't hand a mount to a sandbox: start Pinfold as an ordinary user there"
        }
        (Step::FindDisk, _) => {
            "limits on input and output hold for block devices, and this file system is on none that can be seen from here, as \
             on a network, FUSE, ZFS or a container's layers; use another place, or no such limit"
        }
        (Step::SetCgroupLimit, _) if error.operand.starts_with("cpuset.") => {
            "not all of these CPUs are online and in the set of the cgroup that Pinfold was started in: see `nproc --all` and \
             `taskset -cp $$`"
        }
        (Step::SetCgroupLimit, libc::EBUSY) => {
            "the cgroup has processes of its own, so it can't hand controllers down (cgroups(7), no internal processes)"
        }
        (Step::WriteFile, libc::ENOSPC) => "the job's `files` are larger than the workspace",
        _ => return None,
    };
    Some(text.to_owned())
}
