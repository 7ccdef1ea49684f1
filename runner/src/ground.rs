//! What a sandbox rests on and the runner gives back: its slot, its workspace on disk, its cgroups.

use crate::cgroup::Cgroups;
use crate::failure::{At, Step, StepError};
use crate::plan::Plan;
use crate::state::{Slot, State};
use crate::sys::{Errno, file};
use crate::watch::Disk;
use crate::{block_device, cgroup, identity, landlocked, processes, quota, tree, view};
use pinfold_runner::{
    CgroupVersion, Failure, Groups, Isolation, Lifetime, Limit, Limits, Mechanism, Mode, NetworkFence, Requirement,
    Workspace, WorkspaceFiles, WorkspaceMechanism,
};
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

/// Taken before the command runs. Dropping it gives everything back, so nothing of the sandbox may run any more then.
pub(crate) struct Ground {
    pub(crate) slot: Slot,
    /// The workspace's directory on the host; one in memory is init's to make.
    pub(crate) workspace: Option<OwnedFd>,
    pub(crate) cgroups: Cgroups,
    pub(crate) isolation: Isolation,
    /// Has measured the workspace already: what is there before the command starts doesn't count.
    pub(crate) disk: Option<Disk>,
    /// The disks on which limits on input and output hold.
    disks: Vec<String>,
    is_cleared: bool,
}

/// How many numbers are tried before a taken cgroup is an error.
const ATTEMPTS: u32 = 20;

impl Ground {
    /// Lays it, or leaves nothing behind.
    pub(crate) fn lay(plan: &Plan<'_>, state: &State) -> Result<Self, Failure> {
        let mut attempts = 0;
        let (slot, workspace, tmp, cgroups, disks) = loop {
            let slot = state.take_slot()?;
            let made = open_workspace(plan, &slot).and_then(|workspace| {
                let tmp = open_tmp(plan, state, &slot)?;
                let limits = &plan.job.limits;
                let disks = match cgroup::limits_io(limits) {
                    true => block_device::under_view(plan, workspace.as_ref(), tmp.as_ref())?,
                    false => Vec::new(),
                };
                let cgroups = Cgroups::create(&slot, limits, &disks, plan.held.is_some())?;
                Ok((workspace, tmp, cgroups, disks))
            });
            attempts += 1;
            match made {
                Ok((workspace, tmp, cgroups, disks)) => break (slot, workspace, tmp, cgroups, disks),
                Err(error) => {
                    let _swept_next_time = slot.remove();
                    // A group of that number belongs to somebody who has another state directory: not ours to touch.
                    let is_taken = error.step == Step::MakeCgroup && error.errno == Errno(libc::EEXIST);
                    if !is_taken || attempts == ATTEMPTS {
                        return Err(error.into());
                    }
                }
            }
        };
        // A private TMPDIR counts along, which no quota of the workspace's would hold.
        let has_quota = plan.privileged
            && !plan.is_landlocked()
            && plan.job.workspace == Workspace::Temp
            && workspace.as_ref().is_some_and(|workspace| quota::hold(workspace.as_fd(), slot.number, plan.room));
        let isolation = isolation(plan, &cgroups, has_quota);
        let watched = workspace.as_ref().filter(|_| !has_quota);
        let disk = match disk_watch(plan, watched, tmp) {
            Ok(disk) => disk,
            Err(error) => {
                // Nothing runs in them yet.
                let _swept_next_time = cgroups.destroy() && slot.remove().is_ok();
                return Err(error.into());
            }
        };
        let ground = Self { slot, workspace, cgroups, isolation, disk, disks, is_cleared: false };
        check_requirements(plan, &ground.isolation, &ground.cgroups)?;
        Ok(ground)
    }

    /// Makes what of a held sandbox's groups has to wait for init.
    pub(crate) fn hold(&mut self, plan: &Plan<'_>) -> Result<(), StepError> {
        let init = plan.privileged.then(|| plan.host_ids(self.slot.number).uid);
        self.cgroups.hold(&plan.job.limits, &self.disks, init)
    }

    /// Whether the runner looks after memory.
    pub(crate) fn watches_memory(&self) -> bool {
        self.isolation.memory == Mechanism::Watched
    }

    /// Removes all but the slot itself, whose lock holds the number until nothing runs under it any more.
    pub(crate) fn clear(&mut self) {
        if std::mem::replace(&mut self.is_cleared, true) {
            return;
        }
        if self.isolation.mode == Mode::Landlock {
            self.slot.take_back();
        }
        // What can't be removed now is swept at the next start, by the slot and the record in it.
        if self.cgroups.destroy() {
            let _swept_next_time = self.slot.clear();
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.clear();
        let _swept_next_time = self.slot.remove();
    }
}

fn disk_watch(plan: &Plan<'_>, workspace: Option<&OwnedFd>, tmp: Option<OwnedFd>) -> Result<Option<Disk>, StepError> {
    let (Some(workspace), true) = (workspace, plan.room.is_limited()) else { return Ok(None) };
    let is_empty = plan.job.workspace == Workspace::Temp;
    let root = workspace.try_clone().map_err(Errno::from).at(Step::OpenWorkspace, "its size")?;
    let disk = Disk::new(root, plan.room, is_empty).at(Step::OpenWorkspace, "its size")?.with(tmp);
    Ok(Some(if matches!(plan.job.workspace, Workspace::Layered(_)) { disk.seen_through_overlay() } else { disk }))
}

/// Opens the workspace's directory on the host: made here when it is temporary.
fn open_workspace(plan: &Plan<'_>, slot: &Slot) -> Result<Option<OwnedFd>, StepError> {
    match &plan.job.workspace {
        Workspace::Tmpfs => Ok(None),
        Workspace::Path(path) => {
            let flags = libc::O_RDONLY | libc::O_DIRECTORY;
            file::open(path.as_str(), flags).map(Some).at(Step::OpenWorkspace, path.as_str())
        }
        Workspace::Layered(layers) => view::layers::uppermost(layers).map(Some),
        Workspace::Temp => {
            // Where its own path leads to it, nobody else may come along.
            let mode = if plan.is_landlocked() { 0o700 } else { 0o755 };
            make_directory(plan, slot, WORKSPACE, mode).at(Step::OpenWorkspace, "temp").map(Some)
        }
    }
}

/// A directory in the slot that is the command's.
fn make_directory(plan: &Plan<'_>, slot: &Slot, name: &CStr, mode: u32) -> Result<OwnedFd, Errno> {
    file::mkdirat(slot.dir.as_fd(), name, mode)?;
    let dir = file::openat(Some(slot.dir.as_fd()), name, tree::DIRECTORY, 0)?;
    if plan.privileged {
        let owner = plan.host_ids(slot.number);
        file::fchown(dir.as_fd(), owner.uid, owner.gid)?;
    }
    Ok(dir)
}

/// What stands in for /tmp where that is the host's. The command reaches it, and its workspace, by their own paths.
fn open_tmp(plan: &Plan<'_>, state: &State, slot: &Slot) -> Result<Option<OwnedFd>, StepError> {
    if !plan.is_landlocked() {
        return Ok(None);
    }
    if plan.privileged {
        state.let_through(slot)?;
    }
    let name = crate::sys::c_string(landlocked::TMP).at(Step::OpenWorkspace, landlocked::TMP)?;
    make_directory(plan, slot, &name, 0o700).at(Step::OpenWorkspace, landlocked::TMP).map(Some)
}

const WORKSPACE: &CStr = c"workspace";

fn isolation(plan: &Plan<'_>, cgroups: &Cgroups, has_quota: bool) -> Isolation {
    let limits = &plan.job.limits;
    let on_disk = if has_quota { WorkspaceMechanism::Quota } else { WorkspaceMechanism::Watched };
    // Where no cgroup holds a limit, `rlimit` sets one for each process, if the job has that limit at all: limit by limit,
    // since a host may have one controller and lack the next.
    let mechanism = |held: bool, limited: bool| match (held, limited) {
        (true, _) => Mechanism::Cgroup,
        (false, true) => Mechanism::Rlimit,
        (false, false) => Mechanism::None,
    };
    let cgroup_if = |held: bool| if held { Mechanism::Cgroup } else { Mechanism::None };
    Isolation {
        mode: plan.job.mode,
        namespaces: plan.namespaces(),
        seccomp: Some(plan.job.seccomp.name().to_owned()),
        landlock: plan.landlock,
        cgroup: cgroups.version(),
        memory: match mechanism(cgroups.memory(), limits.memory_bytes != Limit::Max) {
            Mechanism::Cgroup => Mechanism::Cgroup,
            // All processes together by looking, and beside it RLIMIT_DATA for each.
            _ if limits.memory_bytes != Limit::Max && processes::can_be_listed() => Mechanism::Watched,
            other => other,
        },
        // RLIMIT_NPROC counts the sandbox's own user, and is set beside a cgroup too.
        pids: match mechanism(cgroups.pids(), limits.pids != Limit::Max) {
            Mechanism::Rlimit if plan.others_of_user.is_none() => Mechanism::None,
            other => other,
        },
        cpu: match mechanism(cgroups.cpu(), limits.cpu_ms != Limit::Max) {
            // RLIMIT_CPU for each process, and all of them together by looking.
            Mechanism::Rlimit => Mechanism::Watched,
            other => other,
        },
        swap: cgroup_if(cgroups.swap()),
        cpuset: cgroup_if(cgroups.cpuset()),
        io: match cgroups.io() {
            true if cgroups.version() == Some(CgroupVersion::V1) && cgroup::limits_writing(limits) => Mechanism::Direct,
            held => cgroup_if(held),
        },
        workspace: match plan.job.workspace {
            Workspace::Tmpfs => WorkspaceMechanism::Tmpfs,
            _ if plan.room.bytes.is_some() => on_disk,
            _ => WorkspaceMechanism::None,
        },
        workspace_files: match plan.job.workspace {
            Workspace::Tmpfs => WorkspaceFiles::Memory,
            Workspace::Temp | Workspace::Path(_) => WorkspaceFiles::Directory,
            Workspace::Layered(_) => WorkspaceFiles::Overlay,
        },
        workspace_inodes: match plan.job.workspace {
            Workspace::Tmpfs if limits.workspace_inodes != Some(Limit::Max) => WorkspaceMechanism::Tmpfs,
            Workspace::Tmpfs => WorkspaceMechanism::None,
            _ if plan.room.inodes.is_some() => on_disk,
            _ => WorkspaceMechanism::None,
        },
        groups: if !plan.privileged && identity::has_groups() { Groups::Caller } else { Groups::None },
        network: match (plan.keeps_off_network(), plan.is_landlocked()) {
            (false, _) => NetworkFence::None,
            (true, false) if plan.job.network.list().is_some() => NetworkFence::Allowlist,
            (true, false) => NetworkFence::Namespace,
            (true, true) => NetworkFence::Seccomp,
        },
        lifetime: if plan.is_landlocked() { Lifetime::BestEffort } else { Lifetime::Kernel },
    }
}

fn check_requirements(plan: &Plan<'_>, isolation: &Isolation, cgroups: &Cgroups) -> Result<(), Failure> {
    if let Some(missing) = plan.job.require.iter().find(|requirement| !requirement.is_met(isolation)) {
        let failure = Failure::new("requirement", format!("`{}` is required and not in force here", missing.name()));
        let hint = match missing {
            Requirement::Cgroup | Requirement::Memory | Requirement::Pids | Requirement::Cpu => cgroup::hint(cgroups),
            Requirement::Landlock => {
                "the kernel has no Landlock: it must be built in and named in the boot option `lsm=`".to_owned()
            }
            Requirement::Groups => {
                "an ordinary user can't drop supplementary groups; start Pinfold as root or as a user without"
                    .to_owned()
            }
            Requirement::Workspace if plan.is_landlocked() => {
                "a workspace of an exact size needs a mount namespace".to_owned()
            }
            Requirement::Workspace => {
                "use `\"workspace\": \"tmpfs\"`, whose size is exact, or, as root, a state directory \
                                       on ext4 or XFS mounted with `prjquota`"
                    .to_owned()
            }
        };
        return Err(failure.with_hint(hint));
    }
    // Where they are killed one by one, and nothing keeps them from forking meanwhile, that takes minutes.
    if plan.is_landlocked() && !plan.privileged && plan.job.limits.pids == Limit::Max && !cgroups.pids() {
        let failure = Failure::new("mode", "`pids` can't be max in `\"mode\": \"landlock\"` here");
        return Err(failure.with_hint("give a number: without a cgroup, what forks without end could not be ended"));
    }
    unheld(&plan.job.limits, cgroups).map_or(Ok(()), Err)
}

/// What the job asks for and nothing here holds: limits for which nothing can stand in.
fn unheld(limits: &Limits, cgroups: &Cgroups) -> Option<Failure> {
    let (cpus, io) = (cgroups.divides_cpus(), cgroups.io());
    let asked = [
        ("cpus", limits.cpus != Limit::Max, cpus, "cpu"),
        ("cpu_weight", limits.cpu_weight != Limit::Max, cpus, "cpu"),
        ("cpuset", limits.cpuset.is_some(), cgroups.cpuset(), "cpuset"),
        ("io_read_bps", limits.io_read_bps != Limit::Max, io, "io"),
        ("io_write_bps", limits.io_write_bps != Limit::Max, io, "io"),
        ("io_read_iops", limits.io_read_iops != Limit::Max, io, "io"),
        ("io_write_iops", limits.io_write_iops != Limit::Max, io, "io"),
    ];
    if let Some((name, _, _, controller)) = asked.into_iter().find(|(_, is_asked, is_held, _)| *is_asked && !is_held) {
        let message = format!("`{name}` can't be held here: there is no cgroup with the {controller} controller");
        let hint = match controller {
            "cpu" => cgroup::hint(cgroups),
            _ => format!(
                "the cgroup that sandboxes' are made in must have the controller `{controller}`: see cgroup.controllers in it; under systemd that is up to Delegate= of the \
                 unit or of user@.service"
            ),
        };
        return Some(Failure::new("cgroup", message).with_hint(hint));
    }
    // No swap is the default, of which `isolation` tells what became; any other amount was asked for.
    let wants_swap = limits.swap_bytes != Limit::Max && limits.swap_bytes != Limits::default().swap_bytes;
    (wants_swap && !cgroups.swap()).then(|| {
        Failure::new("cgroup", "`swap_bytes` can't be held here").with_hint(
            "it takes a cgroup with the memory controller in a kernel that accounts swap, and on cgroup v1 a limit on \
             memory too; leave it at 0",
        )
    })
}
