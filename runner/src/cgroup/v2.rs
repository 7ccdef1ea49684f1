//! cgroup v2: one hierarchy for all controllers. A sandbox has one group without processes of its own, and in it two
//! leaves: `init`, outside of every limit, and `command`, where the limits are.

use super::{Directory, Figures, file, group_name, own_groups, own_path};
use crate::failure::{At, Step, StepError};
use crate::sys::{self, Errno};
use pinfold_runner::Limits;
use std::os::fd::{AsFd, BorrowedFd};

/// The sandbox's three groups.
pub(crate) struct Groups {
    sandbox: Directory,
    init: Directory,
    command: Directory,
    controllers: Vec<String>,
}

const ROOT: &str = "/sys/fs/cgroup";
const WANTED: [&str; 3] = ["memory", "pids", "cpu"];

/// The period of `cpu.max` in microseconds: the kernel's default.
const PERIOD_US: u64 = 100_000;

/// Where processes go that stand in the way: a group that hands controllers down may have none of its own.
const ASIDE: &str = "pinfold-aside";

impl Groups {
    /// `None` when there is no group below which we may make ours.
    pub(super) fn create(number: u32, limits: &Limits, owner: Option<u32>) -> Result<Option<Self>, StepError> {
        let Some((base, base_path)) = base() else { return Ok(None) };
        let controllers = hand_down(base.as_fd(), &base_path)?;
        let name = group_name(number);
        let sandbox = match make(base.as_fd(), &base_path, &name) {
            Err(Errno(libc::EACCES | libc::EPERM | libc::EROFS)) => return Ok(None),
            other => other.at(Step::MakeCgroup, format!("{base_path}/{name}"))?,
        };
        let (fd, path) = (sandbox.fd.as_fd(), sandbox.path.clone());
        let made = hand_down(fd, &path).and_then(|_| {
            let init = make(fd, &path, "init").at(Step::MakeCgroup, format!("{path}/init"))?;
            let command = make(fd, &path, "command").at(Step::MakeCgroup, format!("{path}/command"))?;
            Ok((init, command))
        });
        let groups = match made {
            Ok((init, command)) => Self { sandbox, init, command, controllers },
            Err(error) => {
                for leaf in ["init", "command"] {
                    super::remove(&format!("{path}/{leaf}"));
                }
                super::remove(&path);
                return Err(error);
            }
        };
        match groups.set_limits(limits).and_then(|()| groups.hand_over(owner)) {
            Ok(()) => Ok(Some(groups)),
            Err(error) => {
                groups.paths().iter().for_each(|path| super::remove(path));
                Err(error)
            }
        }
    }

    fn set_limits(&self, limits: &Limits) -> Result<(), StepError> {
        let dir = self.command.fd.as_fd();
        if let (true, Some(bytes)) = (self.holds("memory"), limits.memory_bytes.value()) {
            file::limit(dir, c"memory.max", &bytes.to_string())?;
            // Absent where the kernel does not account swap.
            match file::write(dir, c"memory.swap.max", "0") {
                Ok(()) | Err(Errno(libc::ENOENT)) => {}
                Err(errno) => return Err(errno).at(Step::SetCgroupLimit, "memory.swap.max = 0"),
            }
        }
        if let (true, Some(count)) = (self.holds("pids"), limits.pids.value()) {
            file::limit(dir, c"pids.max", &count.to_string())?;
        }
        if let (true, Some(cpus)) = (self.holds("cpu"), limits.cpus.value()) {
            let quota = (cpus * PERIOD_US as f64).round() as u64;
            file::limit(dir, c"cpu.max", &format!("{quota} {PERIOD_US}"))?;
        }
        Ok(())
    }

    /// CLONE_INTO_CGROUP asks whether the parent, init, may write to `cgroup.procs` of the new group and of the common
    /// ancestor (cgroups(7)). Init runs as the sandbox's own uid, so those two files are its. No process of the sandbox
    /// can reach them: no cgroup file system is mounted there and none can be.
    fn hand_over(&self, owner: Option<u32>) -> Result<(), StepError> {
        let Some(uid) = owner else { return Ok(()) };
        for directory in [&self.sandbox, &self.command] {
            sys::file::fchownat(directory.fd.as_fd(), c"cgroup.procs", uid, uid)
                .at(Step::MakeCgroup, &directory.path)?;
        }
        Ok(())
    }

    pub(super) fn holds(&self, controller: &str) -> bool {
        self.controllers.iter().any(|held| held == controller)
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

fn make(parent: BorrowedFd<'_>, parent_path: &str, name: &str) -> Result<Directory, Errno> {
    let c_name = sys::c_string(name)?;
    sys::file::mkdirat(parent, &c_name, 0o755)?;
    let fd = sys::file::openat(Some(parent), &c_name, crate::tree::DIRECTORY, 0)?;
    Ok(Directory { path: format!("{parent_path}/{name}"), fd })
}

/// The group below which sandboxes are made. Root takes the hierarchy's root, as Docker's cgroupfs driver does, so that
/// the caller's session need not be rearranged; a user takes the group he is in, when it was delegated to him.
fn base() -> Option<(std::os::fd::OwnedFd, String)> {
    let open = |path: &str| sys::file::open(path, crate::tree::DIRECTORY).ok().map(|fd| (fd, path.to_owned()));
    if sys::process::effective_uid() == 0 {
        return open(ROOT);
    }
    let path = format!("{ROOT}{}", own_path(&own_groups(), None)?.trim_end_matches('/'));
    open(&path).filter(|(fd, _)| file::write(fd.as_fd(), c"cgroup.subtree_control", "").is_ok())
}

/// Makes the wanted controllers available to the children of a group; returns those that are. What stands in the way
/// is moved aside: the processes of a group that was delegated to us are ours to move.
fn hand_down(group: BorrowedFd<'_>, path: &str) -> Result<Vec<String>, StepError> {
    let available = file::read(group, c"cgroup.controllers").at(Step::MakeCgroup, path)?;
    let wanted: Vec<_> =
        WANTED.into_iter().filter(|name| available.split_whitespace().any(|word| word == *name)).collect();
    let already = file::read(group, c"cgroup.subtree_control").at(Step::MakeCgroup, path)?;
    let missing: Vec<_> = wanted
        .iter()
        .filter(|name| !already.split_whitespace().any(|word| word == **name))
        .map(|name| format!("+{name}"))
        .collect();
    if !missing.is_empty() {
        let request = missing.join(" ");
        let operand = format!("{path}/cgroup.subtree_control = {request}");
        match file::write(group, c"cgroup.subtree_control", &request) {
            Err(Errno(libc::EBUSY)) => {
                move_aside(group, path).at(Step::MakeCgroup, format!("{path}/{ASIDE}"))?;
                file::write(group, c"cgroup.subtree_control", &request).at(Step::SetCgroupLimit, operand)?;
            }
            other => other.at(Step::SetCgroupLimit, operand)?,
        }
    }
    Ok(wanted.into_iter().map(str::to_owned).collect())
}

fn move_aside(group: BorrowedFd<'_>, path: &str) -> Result<(), Errno> {
    let aside = match make(group, path, ASIDE) {
        Err(Errno(libc::EEXIST)) => {
            let name = sys::c_string(ASIDE)?;
            sys::file::openat(Some(group), &name, crate::tree::DIRECTORY, 0)?
        }
        other => other?.fd,
    };
    for pid in file::read(group, c"cgroup.procs")?.lines() {
        match file::write(aside.as_fd(), c"cgroup.procs", pid) {
            Ok(()) | Err(Errno(libc::ESRCH)) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
