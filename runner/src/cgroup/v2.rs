//! cgroup v2: one hierarchy for all controllers. A sandbox has one group without processes of its own, and in it two
//! leaves: `init`, outside of every limit, and `command`, where the limits are.

use super::{Directory, Figures, base, file, gauge, group_name, io, recorded, set_cpus, wants_cpu};
use crate::failure::{At, Step, StepError};
use crate::state::Slot;
use crate::sys::{self, Errno};
use pinfold_runner::Limits;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The sandbox's three groups; or the one of a command in a held sandbox, which is all three.
pub(crate) struct Groups {
    sandbox: Directory,
    init: Directory,
    /// In a held sandbox it is `sandbox` itself until [`Groups::hold`].
    command: Directory,
    controllers: Vec<&'static str>,
    needs_cpu: bool,
    holds_swap: bool,
}

/// The period of `cpu.max` in microseconds: the kernel's default.
const PERIOD_US: u64 = 100_000;

/// The leaves' names.
const INIT: &str = "init";
const COMMAND: &str = "command";

impl Groups {
    /// `None` when there is no group below which we may make ours, or none that has a controller for us.
    pub(super) fn create(
        slot: &Slot,
        limits: &Limits,
        disks: &[String],
        is_held: bool,
    ) -> Result<Option<Self>, StepError> {
        let Some(base) = base::find() else { return Ok(None) };
        let path = format!("{}/{}", base.path, group_name(slot.number));
        let paths = [format!("{path}/{INIT}"), format!("{path}/{COMMAND}"), path];
        recorded(slot, &paths, || {
            let made = Self::make(&base, slot.number, limits, disks, is_held);
            // Only a group that was there before us is left alone.
            if !matches!(&made, Ok(Some(_)) | Err(StepError { errno: Errno(libc::EEXIST), .. })) {
                paths.iter().for_each(|path| _ = super::remove(path));
            }
            made
        })
    }

    fn make(
        base: &Directory,
        number: u32,
        limits: &Limits,
        disks: &[String],
        is_held: bool,
    ) -> Result<Option<Self>, StepError> {
        let sandbox = match make(base, &group_name(number)) {
            Err(Errno(libc::EACCES | libc::EPERM | libc::EROFS)) => return Ok(None),
            other => other.at(Step::MakeCgroup, format!("{}/{}", base.path, group_name(number)))?,
        };
        let needs_cpu = wants_cpu(limits);
        // What measures CPU time is there without its controller, which is only for dividing CPUs. Each controller costs
        // whoever shares the base, so none is enabled that nobody asked for; a command in a held sandbox may yet ask.
        let wanted = ["memory", "pids"].into_iter().chain((needs_cpu || is_held).then_some("cpu"));
        let wanted = wanted.chain(limits.cpuset.as_ref().map(|_| "cpuset"));
        let wanted: Vec<_> = wanted.chain(io::is_asked(limits).then_some("io")).collect();
        base::hand_down(base, &wanted);
        let handed = file::read(sandbox.fd.as_fd(), c"cgroup.controllers").at(Step::MakeCgroup, &sandbox.path)?;
        let controllers: Vec<_> = wanted.into_iter().filter(|name| base::has_word(&handed, name)).collect();
        if controllers.is_empty() {
            return Ok(None);
        }
        if is_held {
            let init = make(&sandbox, INIT).at(Step::MakeCgroup, &sandbox.path)?;
            let command = sandbox.try_clone().at(Step::MakeCgroup, &sandbox.path)?;
            let has_swap = sys::file::openat(Some(sandbox.fd.as_fd()), c"memory.swap.max", libc::O_WRONLY, 0).is_ok();
            let holds_swap = has_swap && limits.swap_bytes.value().is_some();
            return Ok(Some(Self { sandbox, init, command, controllers, needs_cpu, holds_swap }));
        }
        match base::enable(sandbox.fd.as_fd(), &controllers) {
            // The base is a group of threads (cgroup.type), where no limit on memory can be.
            Err(Errno(libc::EOPNOTSUPP)) => return Ok(None),
            other => other.at(Step::MakeCgroup, &sandbox.path)?,
        }
        let init = make(&sandbox, INIT).at(Step::MakeCgroup, &sandbox.path)?;
        let command = make(&sandbox, COMMAND).at(Step::MakeCgroup, &sandbox.path)?;
        let mut groups = Self { sandbox, init, command, controllers, needs_cpu, holds_swap: false };
        groups.set_limits(limits, disks)?;
        Ok(Some(groups))
    }

    /// Makes the group of a held sandbox's commands, in which each has its own. Until now a process could be in the group
    /// above them all and make a cgroup namespace of it: its root must hold both init and where init's children are born
    /// (cgroups(7), `nsdelegate`), and where controllers are handed down nobody can be.
    ///
    /// `init` is the uid of init on the host where that is not ours. It makes its children, and the kernel asks whether it may
    /// write to `cgroup.procs` of where they go and of the group above both.
    pub(super) fn hold(&mut self, limits: &Limits, disks: &[String], init: Option<u32>) -> Result<(), StepError> {
        base::enable(self.sandbox.fd.as_fd(), &self.controllers).at(Step::MakeCgroup, &self.sandbox.path)?;
        self.command = make(&self.sandbox, COMMAND).at(Step::MakeCgroup, &self.sandbox.path)?;
        self.set_limits(limits, disks)?;
        base::enable(self.command.fd.as_fd(), &self.of_each()).at(Step::MakeCgroup, &self.command.path)?;
        self.sandbox.hand_to(init)
    }

    fn of_each(&self) -> Vec<&'static str> {
        self.controllers.iter().copied().filter(|name| ["memory", "pids", "cpu"].contains(name)).collect()
    }

    /// A group for one command, without limits of its own.
    pub(super) fn nested(&self, name: &str, init: Option<u32>) -> Result<Self, StepError> {
        let operand = format!("{}/{name}", self.command.path);
        let command = make(&self.command, name).at(Step::MakeCgroup, &operand)?;
        let twice = || command.try_clone().at(Step::MakeCgroup, &operand);
        let handed = command.hand_to(init).and_then(|()| Ok((twice()?, twice()?)));
        match handed {
            Ok((sandbox, init)) => {
                let controllers = self.of_each();
                Ok(Self { sandbox, init, command, controllers, needs_cpu: false, holds_swap: false })
            }
            Err(error) => {
                super::remove(&operand);
                Err(error)
            }
        }
    }

    /// Sets the limits that a command has of its own.
    pub(super) fn limit_nested(&mut self, limits: &Limits) -> Result<(), StepError> {
        self.needs_cpu = wants_cpu(limits);
        if limits.memory_bytes.value().is_none() {
            // Swap is held by the sandbox's.
            let limits = Limits { swap_bytes: pinfold_runner::Limit::Max, ..limits.clone() };
            return self.set_limits(&limits, &[]);
        }
        self.set_limits(limits, &[])
    }

    /// Kills everybody in it, and who is being forked: Linux 5.14.
    pub(super) fn kill(&self) -> bool {
        file::write(self.command(), c"cgroup.kill", "1").is_ok()
    }

    fn set_limits(&mut self, limits: &Limits, disks: &[String]) -> Result<(), StepError> {
        self.holds_swap = self.set_swap(limits)?;
        let dir = self.command.fd.as_fd();
        if let (true, Some(bytes)) = (self.has("memory"), limits.memory_bytes.value()) {
            file::limit(dir, c"memory.max", &bytes.to_string())?;
        }
        if let (true, Some(count)) = (self.has("pids"), limits.pids.value()) {
            file::limit(dir, c"pids.max", &count.to_string())?;
        }
        if let (true, Some(cpus)) = (self.has("cpu"), limits.cpus.value()) {
            let quota = (cpus * PERIOD_US as f64).round() as u64;
            file::limit(dir, c"cpu.max", &format!("{quota} {PERIOD_US}"))?;
        }
        if let (true, Some(weight)) = (self.has("cpu"), limits.cpu_weight.value()) {
            // Among the groups beside the sandbox's: those in it have only each other to weigh against.
            file::limit(self.sandbox.fd.as_fd(), c"cpu.weight", &weight.to_string())?;
        }
        if let (true, Some(cpus)) = (self.has("cpuset"), &limits.cpuset) {
            set_cpus(dir, cpus, c"cpuset.cpus.effective")?;
        }
        if self.has("io") { io::set_v2(dir, limits, disks) } else { Ok(()) }
    }

    /// Swap, which has a limit of its own here: whether it is held.
    fn set_swap(&self, limits: &Limits) -> Result<bool, StepError> {
        let (true, Some(swap)) = (self.has("memory"), limits.swap_bytes.value()) else { return Ok(false) };
        match file::write(self.command.fd.as_fd(), c"memory.swap.max", &swap.to_string()) {
            Ok(()) => Ok(true),
            // Absent where the kernel does not account swap.
            Err(Errno(libc::ENOENT)) => Ok(false),
            Err(errno) => Err(errno).at(Step::SetCgroupLimit, format!("memory.swap.max = {swap}")),
        }
    }

    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.contains(&controller)
    }

    pub(super) fn holds(&self, controller: &str) -> bool {
        match controller {
            "cpu" => !self.needs_cpu || self.has("cpu"),
            "swap" => self.holds_swap,
            other => self.has(other),
        }
    }

    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths: Vec<_> =
            [&self.init, &self.command, &self.sandbox].map(|directory| directory.path.clone()).into();
        paths.dedup();
        paths
    }

    pub(super) fn init(&self) -> BorrowedFd<'_> {
        self.init.fd.as_fd()
    }

    pub(super) fn command(&self) -> BorrowedFd<'_> {
        self.command.fd.as_fd()
    }

    /// Where everybody of the commands' is, or below.
    pub(super) fn command_path(&self) -> &str {
        &self.command.path
    }

    pub(super) fn cpu_ms(&self) -> Option<f64> {
        let text = file::read(self.command(), c"cpu.stat").ok()?;
        milliseconds(&text, "usage_usec")
    }

    /// See [`super::gauge`].
    pub(super) fn gauge(&self) -> Vec<OwnedFd> {
        if self.has("memory") { gauge::open(self.command(), c"memory.swap.current") } else { Vec::new() }
    }

    pub(super) fn cpu_split_ms(&self) -> Option<(f64, f64)> {
        let cpu = file::read(self.command(), c"cpu.stat").ok()?;
        milliseconds(&cpu, "user_usec").zip(milliseconds(&cpu, "system_usec"))
    }

    /// Where processes are counted, if they are.
    pub(super) fn pids(&self) -> Option<BorrowedFd<'_>> {
        self.has("pids").then(|| self.command())
    }

    pub(super) fn figures(&self) -> Figures {
        let dir = self.command();
        let cpu = file::read(dir, c"cpu.stat").unwrap_or_default();
        let events = file::read(dir, c"memory.events").unwrap_or_default();
        Figures {
            cpu_ms: milliseconds(&cpu, "usage_usec"),
            throttled_ms: milliseconds(&cpu, "throttled_usec"),
            throttled_periods: file::keyed(&cpu, "nr_throttled"),
            peak_memory_bytes: file::number(dir, c"memory.peak"),
            peak_pids: file::number(dir, c"pids.peak"),
            oom_kills: file::keyed(&events, "oom_kill"),
        }
    }
}

fn milliseconds(text: &str, key: &str) -> Option<f64> {
    file::keyed(text, key).map(|us| us as f64 / 1e3)
}

impl Directory {
    fn try_clone(&self) -> Result<Self, Errno> {
        Ok(Self { path: self.path.clone(), fd: self.fd.try_clone()? })
    }

    /// Lets another uid put processes here that are in a group beside or below.
    fn hand_to(&self, uid: Option<u32>) -> Result<(), StepError> {
        let Some(uid) = uid else { return Ok(()) };
        sys::file::openat(Some(self.fd.as_fd()), c"cgroup.procs", libc::O_WRONLY, 0)
            .and_then(|procs| sys::file::fchown(procs.as_fd(), uid, uid))
            .at(Step::MakeCgroup, format!("{}/cgroup.procs", self.path))
    }
}

fn make(parent: &Directory, name: &str) -> Result<Directory, Errno> {
    let c_name = sys::c_string(name)?;
    sys::file::mkdirat(parent.fd.as_fd(), &c_name, 0o755)?;
    let fd = sys::file::openat(Some(parent.fd.as_fd()), &c_name, crate::tree::DIRECTORY, 0)?;
    Ok(Directory { path: format!("{}/{name}", parent.path), fd })
}
