//! The sandbox's control groups: limits over all of its processes together, and true figures of what they used.
//!
//! Which hierarchy carries which limit is found out once per job; a controller that is missing is told in `isolation`,
//! never hidden.

mod base;
mod dbus;
mod figures;
mod file;
mod freezer;
pub(crate) mod gauge;
mod io;
mod lacking;
mod manager;
mod nested;
mod v1;
mod v2;

pub(crate) use figures::Figures;
pub(crate) use freezer::Freezer;
pub(crate) use lacking::hint;
pub(crate) use nested::{Entry, Nested};

use crate::failure::{At, Step, StepError};
use crate::rlimit::Held;
use crate::state::Slot;
use crate::sys::Errno;
use pinfold_runner::{CgroupVersion, Cpuset, Limit, Limits};
use std::os::fd::{BorrowedFd, OwnedFd};

pub(crate) use io::{is_asked as limits_io, limits_writing};

/// The groups of one sandbox. They exist before its first process does.
pub(crate) enum Cgroups {
    /// No hierarchy lets us make groups.
    None,
    V1(v1::Groups),
    V2(v2::Groups),
}

/// Whether the groups must exist before init does: on v2 init is born into one of them. On v1 they can be made while
/// init builds the view, which takes as long.
pub(crate) fn precede_init() -> bool {
    matches!(Hierarchy::find(), Hierarchy::V2)
}

impl Cgroups {
    /// Makes the groups for `slot` and sets the limits; those on input and output hold for each of `disks`. Where the host offers no cgroup that we may write to, the
    /// answer is `None`; where it offers one and a limit can't be set in it, that is an error.
    pub(crate) fn create(slot: &Slot, limits: &Limits, disks: &[String], is_held: bool) -> Result<Self, StepError> {
        Ok(match Hierarchy::find() {
            Hierarchy::V1 => v1::Groups::create(slot, limits, disks, is_held)?.map_or(Self::None, Self::V1),
            Hierarchy::V2 => v2::Groups::create(slot, limits, disks, is_held)?.map_or(Self::None, Self::V2),
            Hierarchy::None => Self::None,
        })
    }

    /// Makes what a held sandbox's commands need once init is in a cgroup namespace. See [`v2::Groups::hold`].
    pub(crate) fn hold(&mut self, limits: &Limits, disks: &[String], init: Option<u32>) -> Result<(), StepError> {
        match self {
            Self::V2(groups) => groups.hold(limits, disks, init),
            _ => Ok(()),
        }
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

    /// Whether CPUs can be limited and weighed here, where that was asked for.
    pub(crate) fn divides_cpus(&self) -> bool {
        match self {
            Self::None => false,
            Self::V1(groups) => groups.has("cpu"),
            Self::V2(groups) => groups.has("cpu"),
        }
    }

    /// Whether a set of CPUs that was asked for is held here.
    pub(crate) fn cpuset(&self) -> bool {
        self.holds("cpuset")
    }

    /// Whether limits on block devices that were asked for are held here.
    pub(crate) fn io(&self) -> bool {
        self.holds("io")
    }

    /// Whether the limit on swap is held here.
    pub(crate) fn swap(&self) -> bool {
        self.holds("swap")
    }

    /// What needs no resource limit in its stead.
    pub(crate) fn held(&self) -> Held {
        let cpu_time = match self {
            Self::None => false,
            Self::V1(groups) => groups.has("cpuacct"),
            // `cpu.stat` is there without any controller.
            Self::V2(_) => true,
        };
        Held { memory: self.memory(), cpu_time, pids: self.pids() }
    }

    /// Lifts the limits on input and output, so that what is killed can end: SIGKILL has to wait for what was already
    /// asked of a disk, which at a low rate takes hours.
    pub(crate) fn release_io(&self) {
        if self.io() {
            self.paths().iter().for_each(|path| io::release(path));
        }
    }

    /// The group that init is born in, if it has one of its own: v2, where it must be the command's sibling.
    pub(crate) fn init(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::V2(groups) => Some(groups.init()),
            _ => None,
        }
    }

    /// The group that the command is born in, by CLONE_INTO_CGROUP: v2. The kernel asks whether the parent, init, may
    /// write to `cgroup.procs` of that group and of the common ancestor (cgroups(7)); it may, since it has not changed
    /// its uid yet when it makes the command's process.
    pub(crate) fn command(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::V2(groups) => Some(groups.command()),
            _ => None,
        }
    }

    /// Where the command's process writes `0`, which moves itself into its groups: the cheap way on v1.
    pub(crate) fn tasks(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::V1(groups) => groups.tasks(),
            _ => Vec::new(),
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

    /// What init reads to tell of what the sandbox's memory consists; nothing where no group holds it.
    pub(crate) fn gauge(&self) -> Vec<OwnedFd> {
        match self {
            Self::None => Vec::new(),
            Self::V1(groups) => groups.gauge(),
            Self::V2(groups) => groups.gauge(),
        }
    }

    /// Memory that is charged now, in bytes.
    pub(crate) fn memory_bytes(&self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::V1(groups) => file::number(groups.get("memory")?, c"memory.usage_in_bytes"),
            Self::V2(groups) => file::number(groups.command(), c"memory.current"),
        }
    }

    /// Where the number of processes and threads can be read now and later. On v1, where the kernel doesn't ask the limit
    /// when somebody enters a group: who does has to look himself.
    pub(crate) fn counter(&self) -> Option<OwnedFd> {
        match self {
            Self::V1(groups) => file::open(groups.get("pids")?, c"pids.current"),
            _ => None,
        }
    }

    /// Processes and threads now.
    pub(crate) fn pids_now(&self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::V1(groups) => file::number(groups.get("pids")?, c"pids.current"),
            Self::V2(groups) => file::number(groups.command(), c"pids.current"),
        }
    }

    /// The host's pids of all processes in the command's group; empty when there is none.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let path = match self {
            Self::None => None,
            Self::V1(groups) => groups.any(),
            Self::V2(groups) => Some(groups.command_path()),
        };
        let mut found = Vec::new();
        path.into_iter().for_each(|path| nested::processes_below(path, &mut found));
        found
    }

    /// Lets nobody in the groups fork any more, where processes are counted: what is killed one by one must not grow
    /// meanwhile.
    pub(crate) fn stop_forks(&self) {
        let counted = match self {
            Self::V1(groups) => groups.get("pids"),
            Self::V2(groups) => Some(groups.command()),
            Self::None => None,
        };
        if let Some(group) = counted {
            let _only_slower = file::write(group, c"pids.max", "0");
        }
    }

    /// What can stop everybody in the commands' groups, if there is such a thing.
    pub(crate) fn freezer(&self) -> Option<Freezer<'_>> {
        match self {
            Self::None => None,
            Self::V1(groups) => groups.get("freezer").map(|group| Freezer { group, is_v1: true }),
            Self::V2(groups) => Some(Freezer { group: groups.command(), is_v1: false }),
        }
    }

    /// Removes the groups, which must be empty. False when one is left.
    pub(crate) fn destroy(&self) -> bool {
        // All of them, whatever becomes of the first.
        self.paths().iter().filter(|path| !remove(path)).count() == 0
    }
}

/// Makes groups of which the slot's record says that they are ours before they are there, so that no moment is left at
/// which a runner's death would leave a group that nobody knows of. What was not made is not claimed either: a group of
/// that name may be another's.
fn recorded<T>(
    slot: &Slot,
    paths: &[String],
    make: impl FnOnce() -> Result<Option<T>, StepError>,
) -> Result<Option<T>, StepError> {
    slot.record_cgroups(paths)?;
    let made = make();
    if !matches!(made, Ok(Some(_))) {
        slot.forget_cgroups()?;
    }
    made
}

/// The name of a sandbox's group below whatever group it is made in.
pub(crate) fn group_name(number: u32) -> String {
    format!("pinfold-{number}")
}

/// Whether a job wants CPUs divided, by quota or by weight.
fn wants_cpu(limits: &Limits) -> bool {
    limits.cpus != Limit::Max || limits.cpu_weight != Limit::Max
}

/// Sets the CPUs of a group. The kernel takes CPUs that are not to be had without a word on v2, so what came of it is
/// read back.
fn set_cpus(dir: BorrowedFd<'_>, wanted: &Cpuset, effective: &std::ffi::CStr) -> Result<(), StepError> {
    file::limit(dir, c"cpuset.cpus", &wanted.to_string())?;
    let got = file::read(dir, effective).unwrap_or_default();
    match got.trim().parse() {
        Ok(got) if *wanted == got => Ok(()),
        _ => Err(Errno(libc::ENODEV)).at(Step::SetCgroupLimit, format!("cpuset.cpus = {wanted}")),
    }
}

/// Kills everybody in a group and below, where the host can do that at once: cgroup v2, Linux 5.14.
pub(crate) fn kill(path: &str) {
    let _only_there = std::fs::write(format!("{path}/cgroup.kill"), "1");
}

/// How long an emptied group may be busy: its last process is reaped, but the kernel may still be letting go of it.
const REMOVAL: std::time::Duration = std::time::Duration::from_secs(2);
/// After this something else keeps it busy.
const LETTING_GO: std::time::Duration = std::time::Duration::from_millis(50);

/// Removes one group directory, children first as listed by the caller. What is gone already is fine. False when it is
/// still there.
pub(crate) fn remove(path: &str) -> bool {
    let start = std::time::Instant::now();
    let mut is_released = false;
    loop {
        match std::fs::remove_dir(path).map_err(Errno::from) {
            Ok(()) | Err(Errno(libc::ENOENT)) => return true,
            Err(Errno(libc::EBUSY)) if start.elapsed() < REMOVAL => {
                // A held sandbox has one for each command, where what the command left may have lived to the end.
                nested::children(path).for_each(|child| _ = std::fs::remove_dir(child));
                // Who is stopped by v1's freezer can't even be killed.
                let _only_there = std::fs::write(format!("{path}/freezer.state"), "THAWED");
                // Whose runner was shot may still wait for a disk there.
                if start.elapsed() > LETTING_GO && !std::mem::replace(&mut is_released, true) {
                    io::release(path);
                }
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
            Err(_) => return false,
        }
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
