//! Stopping processes where they are, which they can't tell: `cgroup.freeze` of v2, and v1's freezer.

use super::file;
use crate::sys::Errno;
use std::os::fd::BorrowedFd;

/// A group that can be stopped.
pub(crate) struct Freezer<'a> {
    pub(super) group: BorrowedFd<'a>,
    pub(super) is_v1: bool,
}

impl Freezer<'_> {
    /// Whether processes have to be put into it first, and can't be killed while they are stopped there.
    pub(crate) fn is_v1(&self) -> bool {
        self.is_v1
    }

    /// Begins to stop everybody in it, or lets them go on.
    pub(crate) fn set(&self, is_frozen: bool) -> Result<(), Errno> {
        match (self.is_v1, is_frozen) {
            (false, _) => file::write(self.group, c"cgroup.freeze", if is_frozen { "1" } else { "0" }),
            (true, true) => file::write(self.group, c"freezer.state", "FROZEN"),
            (true, false) => file::write(self.group, c"freezer.state", "THAWED"),
        }
    }

    /// Whether everybody in it has stopped.
    pub(crate) fn is_frozen(&self) -> bool {
        if self.is_v1 {
            return file::read(self.group, c"freezer.state").is_ok_and(|state| state.trim() == "FROZEN");
        }
        file::read(self.group, c"cgroup.events").is_ok_and(|events| file::keyed(&events, "frozen") == Some(1))
    }

    /// Lets a process that was killed die, while the others stay stopped.
    pub(crate) fn let_die(&self, pid: i32) {
        if self.is_v1 {
            let _gone = file::write(self.group, c"../cgroup.procs", &pid.to_string());
        }
    }

    /// Puts processes of the host's numbers into it that are not there yet. How many that were. Who enters stops at once.
    pub(crate) fn take_in(&self, processes: &[i32]) -> usize {
        let text = file::read(self.group, c"cgroup.procs").unwrap_or_default();
        let there: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        let others = processes.iter().filter(|pid| !there.contains(pid));
        others.filter(|pid| file::write(self.group, c"cgroup.procs", &pid.to_string()).is_ok()).count()
    }
}
