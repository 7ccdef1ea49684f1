//! The sandbox's control groups: limits over all of its processes together, and true figures of what they used.
//!
//! Which hierarchy carries which limit is found out once per job; a controller that is missing is told in `isolation`,
//! never hidden.

mod file;
mod v1;
mod v2;

use crate::failure::StepError;
use crate::message::EntryKind;
use crate::state::Slot;
use pinfold_runner::{CgroupVersion, Limits};
use std::os::fd::{BorrowedFd, OwnedFd};

/// What cgroups measured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// CPU time in all.
    pub(crate) cpu_ms: Option<f64>,
    pub(crate) user_ms: Option<f64>,
    pub(crate) system_ms: Option<f64>,
    pub(crate) throttled_ms: Option<f64>,
    pub(crate) peak_memory_bytes: Option<u64>,
    pub(crate) peak_pids: Option<u64>,
    pub(crate) oom_kills: Option<u64>,
}

/// The groups of one sandbox. They exist before its first process does.
pub(crate) enum Cgroups {
    /// No hierarchy lets us make groups.
    None,
    V1(v1::Groups),
    V2(v2::Groups),
}

/// How the command's process gets into its group before its first instruction.
pub(crate) enum Entry {
    /// There is no group.
    None,
    /// It writes `0` to each of these, which moves itself: the cheap way on v1.
    Tasks(Vec<OwnedFd>),
    /// It is born there: CLONE_INTO_CGROUP.
    Clone(OwnedFd),
}

impl Entry {
    /// Puts together what came over init's socket. `None` when the descriptors are not what they should be.
    pub(crate) fn received(kind: EntryKind, mut descriptors: Vec<OwnedFd>) -> Option<Self> {
        match (kind, descriptors.len()) {
            (EntryKind::None, 0) => Some(Self::None),
            (EntryKind::Tasks, 1..) => Some(Self::Tasks(descriptors)),
            (EntryKind::Clone, 1) => descriptors.pop().map(Self::Clone),
            _ => None,
        }
    }
}

/// Whether the groups must exist before init does: on v2 init is born into one of them. On v1 they can be made while
/// init builds the view, which takes as long.
pub(crate) fn precede_init() -> bool {
    matches!(Hierarchy::find(), Hierarchy::V2)
}

impl Cgroups {
    /// Makes the groups for `slot` and sets the limits. Where the host offers no cgroup that we may write to, the
    /// answer is `None`; where it offers one and a limit can't be set in it, that is an error.
    pub(crate) fn create(slot: &Slot, limits: &Limits, owner: Option<u32>) -> Result<Self, StepError> {
        let groups = match Hierarchy::find() {
            Hierarchy::V1 => v1::Groups::create(slot.number, limits)?.map_or(Self::None, Self::V1),
            Hierarchy::V2 => v2::Groups::create(slot.number, limits, owner)?.map_or(Self::None, Self::V2),
            Hierarchy::None => Self::None,
        };
        let paths = groups.paths();
        if !paths.is_empty() {
            slot.record_cgroups(&paths)?;
        }
        Ok(groups)
    }

    fn paths(&self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::V1(groups) => groups.paths(),
            Self::V2(groups) => groups.paths(),
        }
    }

    /// The hierarchy in use.
    pub(crate) fn version(&self) -> Option<CgroupVersion> {
        match self {
            Self::None => None,
            Self::V1(_) => Some(CgroupVersion::V1),
            Self::V2(_) => Some(CgroupVersion::V2),
        }
    }

    fn holds(&self, controller: &str) -> bool {
        match self {
            Self::None => false,
            Self::V1(groups) => groups.holds(controller),
            Self::V2(groups) => groups.holds(controller),
        }
    }

    /// Whether the memory limit is held here.
    pub(crate) fn memory(&self) -> bool {
        self.holds("memory")
    }

    /// Whether the limit on processes is held here.
    pub(crate) fn pids(&self) -> bool {
        self.holds("pids")
    }

    /// Whether CPU limits are held here: what measures CPU time, and what throttles where that was asked for.
    pub(crate) fn cpu(&self) -> bool {
        self.holds("cpu")
    }

    /// The group that init is born in, if it has one of its own: v2, where it must be the command's sibling.
    pub(crate) fn init(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::V2(groups) => Some(groups.init()),
            _ => None,
        }
    }

    /// How the command enters: what is sent to init, which makes an [`Entry`] of it.
    pub(crate) fn entry(&self) -> (EntryKind, Vec<BorrowedFd<'_>>) {
        match self {
            Self::None => (EntryKind::None, Vec::new()),
            Self::V1(groups) => (EntryKind::Tasks, groups.tasks()),
            Self::V2(groups) => (EntryKind::Clone, vec![groups.command()]),
        }
    }

    /// CPU time used so far, in milliseconds.
    pub(crate) fn cpu_ms(&self) -> Option<f64> {
        match self {
            Self::None => None,
            Self::V1(groups) => groups.cpu_ms(),
            Self::V2(groups) => groups.cpu_ms(),
        }
    }

    /// Everything that was measured.
    pub(crate) fn figures(&self, throttled: bool) -> Figures {
        let mut figures = match self {
            Self::None => Figures::default(),
            Self::V1(groups) => groups.figures(),
            Self::V2(groups) => groups.figures(),
        };
        // Without a limit on CPUs nobody is held back; that is a figure, and not a missing one.
        if !throttled {
            figures.throttled_ms = Some(0.0);
        }
        figures
    }

    /// The host's pids of all processes in the command's group; empty when there is none.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let dir = match self {
            Self::None => return Vec::new(),
            Self::V1(groups) => groups.any(),
            Self::V2(groups) => Some(groups.command()),
        };
        let text = dir.and_then(|dir| file::read(dir, c"cgroup.procs").ok()).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Removes the groups, which must be empty.
    pub(crate) fn destroy(&self) {
        for path in self.paths() {
            remove(&path);
        }
    }
}

/// The name of a sandbox's group below whatever group it is made in.
pub(crate) fn group_name(number: u32) -> String {
    format!("pinfold-{number}")
}

/// How long an emptied group may be busy: its last process is reaped, but the kernel may still be letting go of it.
const REMOVAL: std::time::Duration = std::time::Duration::from_secs(2);

/// Removes one group directory, children first as listed by the caller. What is gone already is fine.
pub(crate) fn remove(path: &str) {
    let start = std::time::Instant::now();
    while let Err(error) = std::fs::remove_dir(path) {
        let busy = error.raw_os_error() == Some(libc::EBUSY);
        if !busy || start.elapsed() > REMOVAL {
            return;
        }
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
}

/// Which hierarchy this host has its controllers on.
enum Hierarchy {
    V1,
    V2,
    None,
}

impl Hierarchy {
    /// Looks at what is mounted on `/sys/fs/cgroup`, where every system of today has it: the unified hierarchy, or a
    /// tmpfs with one directory a controller.
    fn find() -> Self {
        match crate::sys::file::file_system_magic(c"/sys/fs/cgroup") {
            Ok(libc::CGROUP2_SUPER_MAGIC) => Self::V2,
            Ok(libc::TMPFS_MAGIC) => Self::V1,
            _ => Self::None,
        }
    }
}

/// Which groups we are in: `/proc/self/cgroup`.
fn own_groups() -> String {
    std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default()
}

/// The path of our own group in the hierarchy of `controller` (v1), or in the unified one (`None`).
fn own_path(table: &str, controller: Option<&str>) -> Option<String> {
    table.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let matches = match controller {
            Some(name) => controllers.split(',').any(|controller| controller == name),
            None => controllers.is_empty(),
        };
        matches.then(|| path.to_owned())
    })
}

/// One group's directory.
struct Directory {
    path: String,
    fd: OwnedFd,
}
