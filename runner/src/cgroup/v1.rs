//! cgroup v1: one hierarchy a controller. Groups are made below our own, so that a limit on us holds for the sandbox.

use super::{Directory, Figures, file, group_name, own_groups, own_path, recorded};
use crate::failure::{At, Step, StepError};
use crate::state::Slot;
use crate::sys::{self, Errno};
use pinfold_runner::Limits;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The sandbox's groups, one a controller.
pub(crate) struct Groups {
    groups: Vec<Group>,
    throttles: bool,
}

struct Group {
    controller: &'static str,
    directory: Directory,
    /// Opened by us, written by the command's process: writing `0` moves the writer. The kernel checks the rights of
    /// the opener (since 5.16 and in stable trees; before, a process may always move itself).
    tasks: OwnedFd,
}

/// The CFS period in microseconds: the kernel's default, and what Docker uses.
const PERIOD_US: u64 = 100_000;

impl Groups {
    /// `None` when not one controller's hierarchy lets us make a group.
    pub(super) fn create(slot: &Slot, limits: &Limits) -> Result<Option<Self>, StepError> {
        let throttles = limits.cpus.value().is_some();
        // A group costs some 40 µs, so throttling has one only when it is asked for; cpuacct is what `usage` rests on.
        let wanted = ["memory", "pids", "cpuacct"].into_iter().chain(throttles.then_some("cpu"));
        let table = own_groups();
        let parents: Vec<_> = wanted.filter_map(|controller| Some((controller, parent(&table, controller)?))).collect();
        if parents.is_empty() {
            return Ok(None);
        }
        let name = group_name(slot.number);
        let paths: Vec<_> = parents.iter().map(|(_, parent)| format!("{}/{name}", parent.path)).collect();
        recorded(slot, &paths, || {
            let mut groups = Self { groups: Vec::new(), throttles };
            let made = groups.make(parents, &name).and_then(|()| groups.set_limits(limits));
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

    fn set_limits(&self, limits: &Limits) -> Result<(), StepError> {
        if let (Some(dir), Some(bytes)) = (self.get("memory"), limits.memory_bytes.value()) {
            file::limit(dir, c"memory.limit_in_bytes", &bytes.to_string())?;
            // Memory and swap together: no swap. Absent where the kernel does not account swap.
            match file::write(dir, c"memory.memsw.limit_in_bytes", &bytes.to_string()) {
                Ok(()) | Err(Errno(libc::ENOENT)) => {}
                Err(errno) => return Err(errno).at(Step::SetCgroupLimit, "memory.memsw.limit_in_bytes"),
            }
        }
        if let (Some(dir), Some(count)) = (self.get("pids"), limits.pids.value()) {
            file::limit(dir, c"pids.max", &count.to_string())?;
        }
        if let (Some(dir), Some(cpus)) = (self.get("cpu"), limits.cpus.value()) {
            file::limit(dir, c"cpu.cfs_period_us", &PERIOD_US.to_string())?;
            let quota = (cpus * PERIOD_US as f64).round() as u64;
            file::limit(dir, c"cpu.cfs_quota_us", &quota.to_string())?;
        }
        Ok(())
    }

    fn get(&self, controller: &str) -> Option<BorrowedFd<'_>> {
        self.groups.iter().find(|group| group.controller == controller).map(|group| group.directory.fd.as_fd())
    }

    pub(super) fn any(&self) -> Option<BorrowedFd<'_>> {
        self.groups.first().map(|group| group.directory.fd.as_fd())
    }

    pub(super) fn holds(&self, controller: &str) -> bool {
        match controller {
            "cpu" => self.get("cpuacct").is_some() && (!self.throttles || self.get("cpu").is_some()),
            other => self.get(other).is_some(),
        }
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.groups.iter().map(|group| group.directory.path.clone()).collect()
    }

    pub(super) fn tasks(&self) -> Vec<BorrowedFd<'_>> {
        self.groups.iter().map(|group| group.tasks.as_fd()).collect()
    }

    pub(super) fn cpu_ms(&self) -> Option<f64> {
        nanoseconds(self.get("cpuacct")?, c"cpuacct.usage")
    }

    pub(super) fn figures(&self) -> Figures {
        let memory = self.get("memory");
        let accounting = self.get("cpuacct");
        let cpu_stat = self.get("cpu").and_then(|dir| file::read(dir, c"cpu.stat").ok());
        let oom_control = memory.and_then(|dir| file::read(dir, c"memory.oom_control").ok());
        Figures {
            cpu_ms: self.cpu_ms(),
            user_ms: accounting.and_then(|dir| nanoseconds(dir, c"cpuacct.usage_user")),
            system_ms: accounting.and_then(|dir| nanoseconds(dir, c"cpuacct.usage_sys")),
            throttled_ms: cpu_stat.and_then(|text| file::keyed(&text, "throttled_time")).map(|ns| ns as f64 / 1e6),
            peak_memory_bytes: memory.and_then(|dir| file::number(dir, c"memory.max_usage_in_bytes")),
            peak_pids: self.get("pids").and_then(|dir| file::number(dir, c"pids.peak")),
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
        Ok((tasks, fd)) => Ok(Group { controller, directory: Directory { path, fd }, tasks }),
        Err(errno) => {
            super::remove(&path);
            Err(errno)
        }
    }
}
