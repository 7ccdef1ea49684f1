//! Killing all that belongs to one command, and nothing else.

use crate::cgroup::{Cgroups, Freezer, Nested};
use crate::processes;
use crate::sys::{process, signal};
use std::collections::BTreeSet;
use std::fs;

/// Kills who is in the command's groups. True when nobody is. Somebody may fork meanwhile, where no limit could be set on
/// that, so it is done again until then.
pub(super) fn group(nested: &Nested, frozen: Option<&Freezer<'_>>) -> bool {
    let groups: &Cgroups = nested.groups();
    let members = groups.processes();
    if members.is_empty() {
        return true;
    }
    if nested.kill() {
        return false;
    }
    groups.stop_forks();
    let held: Vec<_> = members.iter().filter_map(|pid| Some((*pid, process::pidfd_open(*pid).ok()?))).collect();
    // Who is in there still, now that its number can't become another's: the descriptor is that process and no other.
    let still: BTreeSet<i32> = groups.processes().into_iter().collect();
    for (pid, process) in held.iter().filter(|(pid, _)| still.contains(pid)) {
        let _ended_meanwhile = signal::pidfd_send_signal(process, libc::SIGKILL);
        if let Some(freezer) = frozen {
            freezer.let_die(*pid);
        }
    }
    false
}

/// Without groups: kills who can be told to belong to the command that is `main` in the sandbox: it, its descendants, and
/// those of its session and its process group. `known` are those who were seen. True when none of them is left.
pub(super) fn kin(init: i32, main: u64, known: &mut BTreeSet<i32>) -> bool {
    // Who becomes init's child while we look is missed when its parent has been looked for in vain and init's children
    // were read before. The next look finds it.
    (0..2).all(|_| {
        let stats = look(init, main, known);
        let living: Vec<_> = stats.iter().filter(|(pid, stat)| known.contains(pid) && !stat.is_zombie).collect();
        for (pid, stat) in &living {
            let Ok(process) = process::pidfd_open(*pid) else { continue };
            // As with groups: what was read is of this very process.
            if Stat::of(*pid).is_some_and(|now| stat.start == now.start) {
                let _ended_meanwhile = signal::pidfd_send_signal(&process, libc::SIGKILL);
            }
        }
        living.is_empty()
    })
}

/// Whether somebody is left who can be told to belong to the command.
pub(super) fn has_kin(init: i32, main: u64) -> bool {
    let mut known = BTreeSet::new();
    // Twice, as above.
    (0..2).any(|_| {
        let stats = look(init, main, &mut known);
        stats.iter().any(|(pid, stat)| known.contains(pid) && !stat.is_zombie)
    })
}

/// Looks at everybody in the sandbox, and adds to `known` who belongs to the command. Its number is the sandbox's, which a
/// command told itself: the host's would have to be looked for while it lives.
fn look(init: i32, main: u64, known: &mut BTreeSet<i32>) -> Vec<(i32, Stat)> {
    let all = processes::below(init);
    let stats: Vec<_> = all.iter().filter_map(|pid| Some((*pid, Stat::of(*pid)?))).collect();
    known.retain(|pid| all.contains(pid));
    for (pid, _) in &stats {
        if names_inside(*pid).contains(&Some(main)) {
            known.insert(*pid);
        }
    }
    loop {
        let before = known.len();
        for (pid, stat) in &stats {
            if known.contains(&stat.parent) {
                known.insert(*pid);
            }
        }
        if known.len() == before {
            return stats;
        }
    }
}

/// The numbers in the sandbox of a process, its group and its session: the last of each line, proc_pid_status(5).
fn names_inside(pid: i32) -> [Option<u64>; 3] {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    ["NSpid:", "NSpgid:", "NSsid:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().last()?.parse().ok()
    })
}

/// The host's number of init's child that is `inside` in the sandbox.
pub(super) fn host_number(init: i32, inside: u64) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{init}/task/{init}/children")).ok()?;
    let mut children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    children.find(|pid: &i32| names_inside(*pid)[0] == Some(inside))
}

/// What `/proc/PID/stat` says, proc_pid_stat(5).
pub(super) struct Stat {
    pub(super) is_zombie: bool,
    pub(super) is_stopped: bool,
    /// Whether it waits for what no signal but SIGKILL ends: a disk, or its child after vfork(2).
    pub(super) is_waiting: bool,
    pub(super) parent: i32,
    /// When it was started: with the number, the name of a process.
    pub(super) start: String,
}

impl Stat {
    pub(super) fn of(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let state = *fields.first()?;
        Some(Self {
            is_zombie: matches!(state, "Z" | "X"),
            is_stopped: matches!(state, "T" | "t"),
            is_waiting: state == "D",
            parent: fields.get(1)?.parse().ok()?,
            start: (*fields.get(19)?).to_owned(),
        })
    }
}
