//! Groups below a held sandbox's, one for each of its commands: limits of its own, true figures of what it used, and the
//! list of who belongs to it however it was started.

use super::{Cgroups, gauge};
use crate::failure::StepError;
use crate::sys::Errno;
use pinfold_runner::Limits;
use std::os::fd::OwnedFd;

/// The groups of one command. Dropping it removes nothing: what the command left may still be in there.
pub(crate) struct Nested {
    number: u64,
    groups: Cgroups,
    /// See [`gauge`]: opened while nobody waits.
    gauge: Vec<OwnedFd>,
}

/// When a command's process enters a group, where it can stand ready before there is a command for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Into those that only measure, and what they measured on entry can be told from the command's.
    Early,
    /// Into those in which who waits would count as one of the sandbox's.
    Late,
}

impl Nested {
    /// Makes them below the sandbox's, which know of no others of this number. `init` is the uid of init on the host, where
    /// that is not ours.
    pub(crate) fn create(above: &Cgroups, number: u64, init: Option<u32>) -> Result<Self, StepError> {
        let name = number.to_string();
        let groups = match above {
            Cgroups::V1(groups) => Cgroups::V1(groups.nested(&name)?),
            Cgroups::V2(groups) => Cgroups::V2(groups.nested(&name, init)?),
            Cgroups::None => Cgroups::None,
        };
        let gauge = groups.gauge();
        Ok(Self { number, groups, gauge })
    }

    /// The number that they are called by.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Sets the limits that the command has of its own.
    pub(crate) fn limit(&mut self, above: &Cgroups, limits: &Limits) -> Result<(), StepError> {
        match (&mut self.groups, above) {
            (Cgroups::V1(groups), Cgroups::V1(above)) => groups.limit_nested(above, &self.number.to_string(), limits),
            (Cgroups::V2(groups), _) => groups.limit_nested(limits),
            _ => Ok(()),
        }
    }

    /// Kills everybody in them at once, where the kernel can do that.
    pub(crate) fn kill(&self) -> bool {
        matches!(&self.groups, Cgroups::V2(groups) if groups.kill())
    }

    /// Where the command's process writes `0`.
    pub(crate) fn tasks(&self, above: &Cgroups, entry: Entry) -> Vec<OwnedFd> {
        match (&self.groups, above) {
            (Cgroups::V1(groups), Cgroups::V1(above)) => groups.tasks_below(above, entry),
            _ => Vec::new(),
        }
    }

    /// The group that its process is born in: v2.
    pub(crate) fn born_in(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.groups.command()
    }

    /// Of what their memory consists now.
    pub(crate) fn reading(&self) -> Option<gauge::Reading> {
        gauge::read(&self.gauge)
    }

    /// What they hold and measure.
    pub(crate) fn groups(&self) -> &Cgroups {
        &self.groups
    }

    /// Removes them if nobody is in them any more, without waiting. False when one is left.
    pub(crate) fn try_remove(&self) -> bool {
        let remove =
            |path: &String| matches!(std::fs::remove_dir(path).map_err(Errno::from), Ok(()) | Err(Errno(libc::ENOENT)));
        self.groups.paths().iter().filter(|path| !remove(path)).count() == 0
    }
}

/// The groups right below one.
pub(super) fn children(path: &str) -> impl Iterator<Item = std::path::PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path())
}

/// The host's pids of everybody in a group and right below it.
pub(super) fn processes_below(path: &str, found: &mut Vec<i32>) {
    for group in std::iter::once(path.into()).chain(children(path)) {
        let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    }
}
