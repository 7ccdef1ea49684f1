//! A job as this host will carry it out: every default resolved, before anything is made.

use crate::failure::{At, Step, StepError};
use crate::identity::{self, HostIds};
use crate::spent::Start;
use crate::state;
use crate::sys::seccomp::set_mode_filter;
use crate::sys::{self, process};
use crate::view::{Size, Sizes};
use crate::watch::Room;
use crate::{held, landlocked};
use pinfold_runner::seccomp::{self, Program};
use pinfold_runner::{Failure, Job, Limit, Mode, Network, Seccomp, User, WORKSPACE, Workspace};
use std::time::{Duration, Instant};

/// What the runner, init and the command's process all go by.
pub(crate) struct Plan<'a> {
    pub(crate) job: &'a Job,
    /// Whether root started us: then the sandbox has a uid of its own and the caller's paths are opened by root.
    pub(crate) privileged: bool,
    pub(crate) sizes: Sizes,
    /// How much a workspace on disk may grow.
    pub(crate) room: Room,
    /// What a command's process installs. In a held sandbox it is what `held` lacks of the job's policy.
    pub(crate) policy: Program,
    /// In a held sandbox: init's own filter, within which it can start commands.
    pub(crate) held: Option<Program>,
    /// Whether making set-id files is refused: where the command can write to a directory of the host.
    pub(crate) forbids_set_id: bool,
    pub(crate) terminal: Option<(u16, u16)>,
    /// How many processes count against RLIMIT_NPROC beside the command's own; `None`: that can't be held.
    pub(crate) others_of_user: Option<u64>,
    /// The kernel's Landlock ABI. Asked once: what it said is what must then be enforced.
    pub(crate) landlock: Option<u32>,
    pub(crate) start: &'a Start,
}

/// The oldest kernel that has all that we build on: mount_setattr (5.12), Landlock (5.13), and what RHEL 9 ships.
const OLDEST_KERNEL: (u32, u32) = (5, 14);

/// Refuses a kernel that is too old.
pub(crate) fn check_kernel() -> Result<(), Failure> {
    let release = process::kernel_release().unwrap_or_default();
    let mut numbers = release.split(['.', '-', '+']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= OLDEST_KERNEL {
        return Ok(());
    }
    let (major, minor) = OLDEST_KERNEL;
    Err(Failure::new(
        "unsupported_kernel",
        format!("this kernel is Linux {release}, Pinfold needs {major}.{minor} or newer"),
    )
    .with_hint("boot a newer kernel"))
}

impl<'a> Plan<'a> {
    pub(crate) fn new(
        job: &'a Job,
        terminal: Option<(u16, u16)>,
        landlock: Option<u32>,
        start: &'a Start,
        is_held: bool,
    ) -> Result<Self, Failure> {
        check_targets(job)?;
        if is_held && job.mode == Mode::Landlock {
            return Err(Failure::new("mode", "a sandbox can't be held in `\"mode\": \"landlock\"`").with_hint(
                "without namespaces nothing tells which processes are a command's, or ends them with it; use the mode \"namespaces\"",
            ));
        }
        let (policy, held) = policy(&job.seccomp, is_held)?;
        let privileged = process::effective_uid() == 0 && identity::can_map(state::uids()?);
        // Init, or the warden, has the sandbox's uid, and nobody else.
        let mut others_of_user = Some(1);
        if job.mode == Mode::Landlock {
            let own = User { uid: process::effective_uid(), gid: process::effective_gid() };
            landlocked::demands::check(job, terminal.is_some(), landlock, (!privileged).then_some(own))?;
            if !privileged {
                others_of_user = landlocked::count_of_user()?.map(|count| count + 1);
            }
        }
        Ok(Self {
            job,
            privileged,
            sizes: sizes(job),
            room: room(job),
            policy,
            held,
            forbids_set_id: job.workspace.directory().is_some() || job.mounts.iter().any(|mount| mount.writable),
            terminal,
            others_of_user,
            landlock,
            start,
        })
    }

    /// The same for a command in a held sandbox, which says the rest itself.
    pub(crate) fn of_command<'b>(&'b self, job: &'b Job, terminal: Option<(u16, u16)>) -> Plan<'b> {
        let (policy, held) = (self.policy.clone(), None);
        let Plan { privileged, sizes, room, forbids_set_id, others_of_user, landlock, start, .. } = *self;
        Plan { job, privileged, sizes, room, policy, held, forbids_set_id, terminal, others_of_user, landlock, start }
    }

    /// Installs the command's filters in this process, right before exec.
    pub(crate) fn restrict_system_calls(&self) -> Result<(), StepError> {
        self.restrict_set_id()?;
        self.restrict_by_policy()
    }

    /// No set-id files, if that is to be. openat2(2) is not to be had from here on.
    pub(crate) fn restrict_set_id(&self) -> Result<(), StepError> {
        if self.forbids_set_id {
            let filter = seccomp::restrict_suid_sgid();
            set_mode_filter(filter.instructions()).at(Step::RestrictSystemCalls, "set-id files")?;
        }
        Ok(())
    }

    /// The policy alone.
    pub(crate) fn restrict_by_policy(&self) -> Result<(), StepError> {
        set_mode_filter(self.policy.instructions()).at(Step::RestrictSystemCalls, self.job.seccomp.name())
    }

    /// Whose rights the sandbox has on the host: with root those of the slot's own uid, else the starter's.
    pub(crate) fn host_ids(&self, slot: u32) -> HostIds {
        if self.privileged {
            HostIds { uid: slot, gid: slot }
        } else {
            HostIds { uid: process::effective_uid(), gid: process::effective_gid() }
        }
    }

    /// Microseconds since the runner started.
    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.start.at.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The moment of so many microseconds after the runner's start; now, if that is yet to come.
    pub(crate) fn moment(&self, us: u64) -> Instant {
        let now = Instant::now();
        self.start.at.checked_add(Duration::from_micros(us)).map_or(now, |moment| moment.min(now))
    }

    /// The namespaces of the sandbox, by their names in `/proc/PID/ns`.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        if self.is_landlocked() {
            return Vec::new();
        }
        let all = ["user", "pid", "mount", "net", "ipc", "uts", "cgroup"];
        all.iter().filter(|name| **name != "net" || self.own_network()).map(|name| (*name).to_owned()).collect()
    }

    /// Whether the sandbox has a network namespace.
    pub(crate) fn own_network(&self) -> bool {
        self.keeps_off_network() && !self.is_landlocked()
    }

    /// Whether the host's network is closed to the command.
    pub(crate) fn keeps_off_network(&self) -> bool {
        self.job.network != Network::Host
    }

    /// Whether the command is confined without namespaces.
    pub(crate) fn is_landlocked(&self) -> bool {
        self.job.mode == Mode::Landlock
    }
}

/// What the sandbox has of its own can't be mounted over: everything else in it rests on these.
fn check_targets(job: &Job) -> Result<(), Failure> {
    for (index, mount) in job.mounts.iter().enumerate() {
        check_target(&format!("mounts[{index}].target"), mount.target.as_str())?;
    }
    match &job.workspace_at {
        Some(place) if std::path::Path::new(place.as_str()).starts_with(WORKSPACE) => {
            Err(Failure::new("bad_job", format!("invalid job: `workspace_at`: `{place}` is the workspace already")))
        }
        Some(place) => check_target("workspace_at", place.as_str()),
        None => Ok(()),
    }
}

fn check_target(field: &str, target: &str) -> Result<(), Failure> {
    let mut parts = target.split('/').filter(|part| !part.is_empty() && *part != ".");
    let (first, second) = (parts.next(), parts.next());
    if matches!(first, None | Some("proc" | "dev")) || (first == Some("workspace") && second.is_none()) {
        let failure = Failure::new("bad_job", format!("invalid job: `{field}`: nothing can be mounted at `{target}`"));
        return Err(failure.with_hint("`/`, `/proc` and `/dev` are the sandbox's own; `root` gives another root file system, `workspace` another workspace"));
    }
    Ok(())
}

fn room(job: &Job) -> Room {
    let (bytes, inodes) = match job.workspace {
        Workspace::Temp => (Limit::At(1 << 30), Limit::At(1 << 20)),
        Workspace::Path(_) | Workspace::Layered(_) => (Limit::Max, Limit::Max),
        // It has its size, and nothing on disk.
        Workspace::Tmpfs => return Room::default(),
    };
    Room {
        bytes: job.limits.workspace_bytes.unwrap_or(bytes).value(),
        inodes: job.limits.workspace_inodes.unwrap_or(inodes).value(),
    }
}

fn sizes(job: &Job) -> Sizes {
    let half = match job.limits.memory_bytes {
        Limit::At(bytes) => Size::Bytes(bytes / 2),
        Limit::Max => Size::HalfOfMachine,
    };
    let size = |limit: Option<Limit<u64>>| match limit {
        None => half,
        Some(Limit::At(bytes)) => Size::Bytes(bytes),
        Some(Limit::Max) => Size::Unlimited,
    };
    Sizes {
        tmp: size(job.limits.tmp_bytes),
        shm: size(Some(job.limits.shm_bytes)),
        workspace: size(job.limits.workspace_bytes),
        workspace_inodes: job.limits.workspace_inodes,
    }
}

/// The job's policy; for a held sandbox in two parts, of which the second is init's own filter.
fn policy(seccomp: &Seccomp, is_held: bool) -> Result<(Program, Option<Program>), Failure> {
    let calls = held::CALLS;
    match seccomp {
        Seccomp::Builtin(name) => {
            let unknown = || sys::Errno(libc::ENOENT);
            if !is_held {
                return Ok((seccomp::builtin(name).ok_or_else(unknown).at(Step::LoadPolicy, name)?, None));
            }
            let parts = seccomp::builtin_parts(name, calls).ok_or_else(unknown).at(Step::LoadPolicy, name)?;
            let seccomp::Parts { widened, rest } = parts.map_err(|error| unusable(name, &error))?;
            Ok((rest, Some(widened)))
        }
        Seccomp::Path(path) => {
            use std::io::Read;
            let mut bytes = Vec::new();
            // Not to wait for the writer of a FIFO; reading one, or a directory, is an error then.
            let mut options = std::fs::OpenOptions::new();
            std::os::unix::fs::OpenOptionsExt::custom_flags(options.read(true), libc::O_NONBLOCK)
                .open(path.as_str())
                .and_then(|file| file.take(seccomp::MAX_BYTES as u64 + 1).read_to_end(&mut bytes))
                .at(Step::LoadPolicy, path.as_str())?;
            let unusable = |error| unusable(path.as_str(), &error);
            if !is_held {
                return Ok((seccomp::load(&bytes).map_err(unusable)?, None));
            }
            let seccomp::Parts { widened, rest } = seccomp::load_parts(&bytes, calls).map_err(unusable)?;
            Ok((rest, Some(widened)))
        }
    }
}

fn unusable(name: &str, error: &seccomp::PolicyError) -> Failure {
    use std::error::Error;
    let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    let failure = Failure::new("seccomp", format!("`{name}`: {error}{cause}"));
    match error.hint() {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}
