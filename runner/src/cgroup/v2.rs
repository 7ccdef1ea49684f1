//! cgroup v2: one hierarchy for all controllers. A sandbox has one group without processes of its own, and in it two
//! leaves: `init`, outside of every limit, and `command`, where the limits are.

use super::{Directory, Figures, base, file, group_name, recorded};
use crate::failure::{At, Step, StepError};
use crate::state::Slot;
use crate::sys::{self, Errno};
use pinfold_runner::Limits;
use std::os::fd::{AsFd, BorrowedFd};

/// The sandbox's three groups.
pub(crate) struct Groups {
    sandbox: Directory,
    init: Directory,
    command: Directory,
    controllers: Vec<&'static str>,
    throttles: bool,
}

/// The period of `cpu.max` in microseconds: the kernel's default.
const PERIOD_US: u64 = 100_000;

/// The leaves' names.
const INIT: &str = "init";
const COMMAND: &str = "command";

impl Groups {
    /// `None` when there is no group below which we may make ours, or none that has a controller for us.
    pub(super) fn create(slot: &Slot, limits: &Limits) -> Result<Option<Self>, StepError> {
        let Some(base) = base::find() else { return Ok(None) };
        let path = format!("{}/{}", base.path, group_name(slot.number));
        let paths = [format!("{path}/{INIT}"), format!("{path}/{COMMAND}"), path];
        recorded(slot, &paths, || {
            let made = Self::make(&base, slot.number, limits);
            // Only a group that was there before us is left alone.
            if !matches!(&made, Ok(Some(_)) | Err(StepError { errno: Errno(libc::EEXIST), .. })) {
                paths.iter().for_each(|path| _ = super::remove(path));
            }
            made
        })
    }

    fn make(base: &Directory, number: u32, limits: &Limits) -> Result<Option<Self>, StepError> {
        let sandbox = match make(base, &group_name(number)) {
            Err(Errno(libc::EACCES | libc::EPERM | libc::EROFS)) => return Ok(None),
            other => other.at(Step::MakeCgroup, format!("{}/{}", base.path, group_name(number)))?,
        };
        let throttles = limits.cpus.value().is_some();
        // What measures CPU time is there without its controller, which is only for throttling.
        let wanted: Vec<_> = ["memory", "pids"].into_iter().chain(throttles.then_some("cpu")).collect();
        base::hand_down(base, &wanted);
        let handed = file::read(sandbox.fd.as_fd(), c"cgroup.controllers").at(Step::MakeCgroup, &sandbox.path)?;
        let controllers: Vec<_> = wanted.into_iter().filter(|name| base::has_word(&handed, name)).collect();
        if controllers.is_empty() {
            return Ok(None);
        }
        match base::enable(sandbox.fd.as_fd(), &controllers) {
            // The base is a group of threads (cgroup.type), where no limit on memory can be.
            Err(Errno(libc::EOPNOTSUPP)) => return Ok(None),
            other => other.at(Step::MakeCgroup, &sandbox.path)?,
        }
        let init = make(&sandbox, INIT).at(Step::MakeCgroup, &sandbox.path)?;
        let command = make(&sandbox, COMMAND).at(Step::MakeCgroup, &sandbox.path)?;
        let groups = Self { sandbox, init, command, controllers, throttles };
        groups.set_limits(limits)?;
        Ok(Some(groups))
    }

    fn set_limits(&self, limits: &Limits) -> Result<(), StepError> {
        let dir = self.command.fd.as_fd();
        if let (true, Some(bytes)) = (self.has("memory"), limits.memory_bytes.value()) {
            file::limit(dir, c"memory.max", &bytes.to_string())?;
            // Absent where the kernel does not account swap.
            match file::write(dir, c"memory.swap.max", "0") {
                Ok(()) | Err(Errno(libc::ENOENT)) => {}
                Err(errno) => return Err(errno).at(Step::SetCgroupLimit, "memory.swap.max = 0"),
            }
        }
        if let (true, Some(count)) = (self.has("pids"), limits.pids.value()) {
            file::limit(dir, c"pids.max", &count.to_string())?;
        }
        if let (true, Some(cpus)) = (self.has("cpu"), limits.cpus.value()) {
            let quota = (cpus * PERIOD_US as f64).round() as u64;
            file::limit(dir, c"cpu.max", &format!("{quota} {PERIOD_US}"))?;
        }
        Ok(())
    }

    fn has(&self, controller: &str) -> bool {
        self.controllers.contains(&controller)
    }

    pub(super) fn holds(&self, controller: &str) -> bool {
        match controller {
            "cpu" => !self.throttles || self.has("cpu"),
            other => self.has(other),
        }
    }

    pub(super) fn paths(&self) -> Vec<String> {
        [&self.init, &self.command, &self.sandbox].iter().map(|directory| directory.path.clone()).collect()
    }

    pub(super) fn init(&self) -> BorrowedFd<'_> {
        self.init.fd.as_fd()
    }

    pub(super) fn command(&self) -> BorrowedFd<'_> {
        self.command.fd.as_fd()
    }

    pub(super) fn cpu_ms(&self) -> Option<f64> {
        let text = file::read(self.command(), c"cpu.stat").ok()?;
        milliseconds(&text, "usage_usec")
    }

    pub(super) fn figures(&self) -> Figures {
        let dir = self.command();
        let cpu = file::read(dir, c"cpu.stat").unwrap_or_default();
        let events = file::read(dir, c"memory.events").unwrap_or_default();
        Figures {
            cpu_ms: self.cpu_ms(),
            user_ms: milliseconds(&cpu, "user_usec"),
            system_ms: milliseconds(&cpu, "system_usec"),
            throttled_ms: milliseconds(&cpu, "throttled_usec"),
            peak_memory_bytes: file::number(dir, c"memory.peak"),
            peak_pids: file::number(dir, c"pids.peak"),
            oom_kills: file::keyed(&events, "oom_kill"),
        }
    }
}

fn milliseconds(text: &str, key: &str) -> Option<f64> {
    file::keyed(text, key).map(|us| us as f64 / 1e3)
}

fn make(parent: &Directory, name: &str) -> Result<Directory, Errno> {
    let c_name = sys::c_string(name)?;
    sys::file::mkdirat(parent.fd.as_fd(), &c_name, 0o755)?;
    let fd = sys::file::openat(Some(parent.fd.as_fd()), &c_name, crate::tree::DIRECTORY, 0)?;
    Ok(Directory { path: format!("{}/{name}", parent.path), fd })
}
