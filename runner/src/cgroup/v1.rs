//! cgroup v1: one hierarchy a controller. Groups are made below our own, so that a limit on us holds for the sandbox.

use super::{
    Directory, Entry, Figures, file, gauge, group_name, io, own_groups, own_path, recorded, set_cpus, wants_cpu,
};
use crate::failure::{At, Step, StepError};
use crate::state::Slot;
use crate::sys::{self, Errno};
use pinfold_runner::Limits;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The sandbox's groups, one a controller.
pub(crate) struct Groups {
    groups: Vec<Group>,
    needs_cpu: bool,
    holds_swap: bool,
}

struct Group {
    controller: &'static str,
    directory: Directory,
    /// Opened by us, written by the command's process: writing `0` moves the writer. The kernel checks the rights of
    /// the opener (since 5.16 and in stable trees; before, a process may always move itself).
    tasks: OwnedFd,
    /// The memory nodes of the group above, for a set of CPUs.
    nodes: String,
}

/// Stops processes where they are; a group of it holds no limit.
const FREEZER: &str = "freezer";

/// What each command of a held sandbox has a group of: what its figures and its end rest on.
const OF_EACH: [&str; 3] = ["memory", "pids", "cpuacct"];

/// The CFS period in microseconds: the kernel's default, and what Docker uses.
const PERIOD_US: u64 = 100_000;

/// `cpu.shares` of a group with the weight 100, which is every group's that asks for none; systemd and runc go by it too.
const SHARES: u64 = 1024;

impl Groups {
    /// `None` when not one controller's hierarchy lets us make a group.
    pub(super) fn create(
        slot: &Slot,
        limits: &Limits,
        disks: &[String],
        is_held: bool,
    ) -> Result<Option<Self>, StepError> {
        let needs_cpu = wants_cpu(limits);
        // A group costs some 40 µs, so most are made only when they are asked for; cpuacct is what `usage` rests on.
        let wanted = ["memory", "pids", "cpuacct"].into_iter();
        let wanted =
            wanted.chain((needs_cpu || is_held).then_some("cpu")).chain(limits.cpuset.as_ref().map(|_| "cpuset"));
        let wanted = wanted.chain(io::is_asked(limits).then_some("blkio"));
        // Nobody is in it until everything is to be stopped at once. The first, for who is stopped there can't die before the
        // sweep lets him, and keeps the others from being removed.
        let wanted = is_held.then_some(FREEZER).into_iter().chain(wanted);
        let table = own_groups();
        let parents: Vec<_> = wanted.filter_map(|controller| Some((controller, parent(&table, controller)?))).collect();
        if parents.is_empty() {
            return Ok(None);
        }
        let name = group_name(slot.number);
        let paths: Vec<_> = parents.iter().map(|(_, parent)| format!("{}/{name}", parent.path)).collect();
        recorded(slot, &paths, || {
            let mut groups = Self { groups: Vec::new(), needs_cpu, holds_swap: false };
            let made = groups.make(parents, &name).and_then(|()| groups.set_limits(limits, disks));
            if let Err(error) = made {
                groups.paths().iter().for_each(|path| _ = super::remove(path));
                return Err(error);
            }
            Ok((!groups.groups.is_empty()).then_some(groups))
        })
    }

    fn make(&mut self, parents: Vec<(&'static str, Directory)>, name: &str) -> Result<(), StepError> {
        for (controller, parent) in parents {
            match make(&parent, controller, name) {
                Ok(group) => self.groups.push(group),
                // Not there, not ours, or read-only: this controller holds nothing, and `isolation` will say so.
                Err(Errno(libc::ENOENT | libc::EACCES | libc::EPERM | libc::EROFS)) => {}
                Err(errno) => return Err(errno).at(Step::MakeCgroup, format!("{controller}/{name}")),
            }
        }
        Ok(())
    }

    fn set_limits(&mut self, limits: &Limits, disks: &[String]) -> Result<(), StepError> {
        self.holds_swap = self.set_memory(limits)?;
        if let (Some(dir), Some(count)) = (self.get("pids"), limits.pids.value()) {
            file::limit(dir, c"pids.max", &count.to_string())?;
        }
        if let (Some(dir), Some(cpus)) = (self.get("cpu"), limits.cpus.value()) {
            file::limit(dir, c"cpu.cfs_period_us", &PERIOD_US.to_string())?;
            let quota = (cpus * PERIOD_US as f64).round() as u64;
            file::limit(dir, c"cpu.cfs_quota_us", &quota.to_string())?;
        }
        if let (Some(dir), Some(weight)) = (self.get("cpu"), limits.cpu_weight.value()) {
            file::limit(dir, c"cpu.shares", &(weight * SHARES / 100).to_string())?;
        }
        if let (Some(group), Some(cpus)) = (self.group("cpuset"), &limits.cpuset) {
            let dir = group.directory.fd.as_fd();
            // A new group has neither CPUs nor memory nodes, and nobody can join it before it has both.
            file::limit(dir, c"cpuset.mems", &group.nodes)?;
            set_cpus(dir, cpus, c"cpuset.effective_cpus")?;
        }
        match self.get("blkio") {
            Some(dir) => io::set_v1(dir, limits, disks),
            None => Ok(()),
        }
    }

    /// Memory, and swap with it: whether swap is held.
    fn set_memory(&self, limits: &Limits) -> Result<bool, StepError> {
        let (Some(dir), Some(bytes)) = (self.get("memory"), limits.memory_bytes.value()) else { return Ok(false) };
        file::limit(dir, c"memory.limit_in_bytes", &bytes.to_string())?;
        // The limit is on the sum of both; where memory has none there is no sum to limit.
        let Some(swap) = limits.swap_bytes.value() else { return Ok(false) };
        match file::write(dir, c"memory.memsw.limit_in_bytes", &(bytes + swap).to_string()) {
            Ok(()) => Ok(true),
            // Absent where the kernel does not account swap.
            Err(Errno(libc::ENOENT)) => Ok(false),
            Err(errno) => Err(errno).at(Step::SetCgroupLimit, "memory.memsw.limit_in_bytes"),
        }
    }

    fn group(&self, controller: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.controller == controller)
    }

    pub(super) fn has(&self, controller: &str) -> bool {
        self.group(controller).is_some()
    }

    pub(super) fn get(&self, controller: &str) -> Option<BorrowedFd<'_>> {
        self.group(controller).map(|group| group.directory.fd.as_fd())
    }

    /// One in which all are that are in any.
    pub(super) fn any(&self) -> Option<&str> {
        let joined = self.groups.iter().find(|group| group.controller != FREEZER);
        joined.map(|group| group.directory.path.as_str())
    }

    pub(super) fn holds(&self, controller: &str) -> bool {
        match controller {
            "cpu" => self.has("cpuacct") && (!self.needs_cpu || self.has("cpu")),
            "io" => self.has("blkio"),
            "swap" => self.holds_swap,
            other => self.has(other),
        }
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.groups.iter().map(|group| group.directory.path.clone()).collect()
    }

    pub(super) fn tasks(&self) -> Vec<BorrowedFd<'_>> {
        self.groups.iter().map(|group| group.tasks.as_fd()).collect()
    }

    /// Groups for one command below these, without limits of their own. Where a controller has none for it, the command
    /// is in that of the whole sandbox.
    pub(super) fn nested(&self, name: &str) -> Result<Self, StepError> {
        let mut nested = Self { groups: Vec::new(), needs_cpu: false, holds_swap: false };
        self.groups
            .iter()
            .filter(|group| OF_EACH.contains(&group.controller))
            .try_for_each(|group| nested.add(group, name))?;
        Ok(nested)
    }

    fn add(&mut self, above: &Group, name: &str) -> Result<(), StepError> {
        let made = make(&above.directory, above.controller, name)
            .at(Step::MakeCgroup, format!("{}/{name}", above.directory.path));
        if let Ok(group) = made {
            self.groups.push(group);
            return Ok(());
        }
        self.paths().iter().for_each(|path| _ = super::remove(path));
        made.map(drop)
    }

    /// Sets the limits that a command has of its own, swap as the whole sandbox has it.
    pub(super) fn limit_nested(&mut self, above: &Self, name: &str, limits: &Limits) -> Result<(), StepError> {
        self.needs_cpu = wants_cpu(limits);
        if let (true, Some(group)) = (self.needs_cpu, above.group("cpu")) {
            self.add(group, name)?;
        }
        self.set_limits(limits, &[])
    }

    /// The `tasks` files for a command in nested groups: where it has none of a controller's, the sandbox's.
    pub(super) fn tasks_below(&self, above: &Self, entry: Entry) -> Vec<OwnedFd> {
        let of_above = above.groups.iter().filter(|group| group.controller != FREEZER && !self.has(group.controller));
        let of_above = of_above.filter(|group| group.controller != "cpu" || above.needs_cpu);
        let all = self.groups.iter().chain(of_above);
        let now = all.filter(|group| (entry == Entry::Early) == (group.controller == "cpuacct"));
        now.filter_map(|group| group.tasks.try_clone().ok()).collect()
    }

    pub(super) fn cpu_ms(&self) -> Option<f64> {
        nanoseconds(self.get("cpuacct")?, c"cpuacct.usage")
    }

    pub(super) fn cpu_split_ms(&self) -> Option<(f64, f64)> {
        let dir = self.get("cpuacct")?;
        nanoseconds(dir, c"cpuacct.usage_user").zip(nanoseconds(dir, c"cpuacct.usage_sys"))
    }

    /// See [`super::gauge`].
    pub(super) fn gauge(&self) -> Vec<OwnedFd> {
        self.get("memory").map_or_else(Vec::new, |dir| gauge::open(dir, c"memory.kmem.usage_in_bytes"))
    }

    pub(super) fn figures(&self) -> Figures {
        let memory = self.get("memory");
        let cpu_stat = self.get("cpu").and_then(|dir| file::read(dir, c"cpu.stat").ok());
        let oom_control = memory.and_then(|dir| file::read(dir, c"memory.oom_control").ok());
        let pids = self.get("pids");
        Figures {
            cpu_ms: self.cpu_ms(),
            throttled_ms: cpu_stat
                .as_ref()
                .and_then(|text| file::keyed(text, "throttled_time"))
                .map(|ns| ns as f64 / 1e6),
            throttled_periods: cpu_stat.as_ref().and_then(|text| file::keyed(text, "nr_throttled")),
            peak_memory_bytes: memory.and_then(|dir| file::number(dir, c"memory.max_usage_in_bytes")),
            peak_pids: pids.and_then(|dir| file::number(dir, c"pids.peak")),
            oom_kills: oom_control.and_then(|text| file::keyed(&text, "oom_kill")),
        }
    }
}

fn nanoseconds(dir: BorrowedFd<'_>, name: &CStr) -> Option<f64> {
    file::number(dir, name).map(|ns| ns as f64 / 1e6)
}

/// Our own group in the hierarchy of `controller`.
fn parent(table: &str, controller: &str) -> Option<Directory> {
    let own = own_path(table, Some(controller))?;
    let mount = format!("/sys/fs/cgroup/{controller}");
    let path = format!("{mount}{}", own.trim_end_matches('/'));
    match sys::file::open(&path, crate::tree::DIRECTORY) {
        // In a container without a cgroup namespace the path is the host's; our own group is what is mounted.
        Err(Errno(libc::ENOENT)) if own != "/" => {
            let fd = sys::file::open(&mount, libc::O_RDONLY | libc::O_DIRECTORY).ok()?;
            Some(Directory { path: mount, fd })
        }
        other => Some(Directory { path, fd: other.ok()? }),
    }
}

fn make(parent: &Directory, controller: &'static str, name: &str) -> Result<Group, Errno> {
    let c_name = sys::c_string(name)?;
    sys::file::mkdirat(parent.fd.as_fd(), &c_name, 0o755)?;
    let path = format!("{}/{name}", parent.path);
    let opened = sys::file::openat(Some(parent.fd.as_fd()), &c_name, crate::tree::DIRECTORY, 0)
        .and_then(|fd| Ok((sys::file::openat(Some(fd.as_fd()), c"tasks", libc::O_WRONLY, 0)?, fd)));
    match opened {
        Ok((tasks, fd)) => {
            let nodes = match controller {
                "cpuset" => file::read(parent.fd.as_fd(), c"cpuset.mems").unwrap_or_default().trim().to_owned(),
                _ => String::new(),
            };
            Ok(Group { controller, directory: Directory { path, fd }, tasks, nodes })
        }
        Err(errno) => {
            super::remove(&path);
            Err(errno)
        }
    }
}
