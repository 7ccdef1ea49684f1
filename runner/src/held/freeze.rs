//! Stopping everything in the sandbox where it is, and letting it go on: by a freezer, which processes can't tell, else by
//! SIGSTOP, of which a parent can hear.

use super::kill::Stat;
use super::serve::Held;
use crate::cgroup::Freezer;
use crate::processes;
use crate::sys::{poll, process, signal};
use pinfold_runner::Failure;
use std::time::{Duration, Instant};

/// How long it may take: a process that waits for a disk stops when it has its answer.
const STOPPING: Duration = Duration::from_secs(10);
/// How long until the next look.
const AGAIN: Duration = Duration::from_micros(200);

/// A process that was stopped by us: its number and when it was started.
pub(super) type Stopped = (i32, String);

impl Held<'_> {
    /// Stops everybody, or nobody and says why. No command starts meanwhile.
    pub(super) fn freeze(&mut self) -> Result<(), Failure> {
        if self.is_frozen {
            return Ok(());
        }
        if self.execs.values().any(|exec| !exec.is_started()) {
            return Err(Failure::new("freeze", "a command is just being started").with_hint("ask again"));
        }
        self.is_frozen = true;
        let is_done = match self.ground.cgroups.freezer() {
            Some(freezer) => freezer.set(true).is_ok() && until(|| self.has_stopped(&freezer)),
            None => self.stop_all(),
        };
        if is_done {
            return Ok(());
        }
        self.thaw();
        Err(Failure::new("freeze", "not everything in the sandbox could be stopped")
            .with_hint("a process may wait for a disk or a file system that doesn't answer"))
    }

    fn has_stopped(&self, freezer: &Freezer<'_>) -> bool {
        // Who forks while it is put there may have a child that is not: then there is somebody new at the next look.
        let is_whole = !freezer.is_v1() || freezer.take_in(&self.ground.cgroups.processes()) == 0;
        is_whole && freezer.is_frozen()
    }

    fn stop_all(&mut self) -> bool {
        let init = self.init.pid;
        let (mut stopped, mut was_whole): (Vec<Stopped>, _) = (Vec::new(), false);
        let is_done = until(|| {
            let all = processes::below(init).into_iter().filter_map(|pid| Some((pid, Stat::of(pid)?)));
            let all: Vec<_> = all.filter(|(_, stat)| !stat.is_zombie).collect();
            for (pid, stat) in &all {
                // Who waits in vfork(2) for its child to be executed stops after that, so the child goes on until then.
                let is_waited_for = all.iter().any(|(pid, parent)| *pid == stat.parent && parent.is_waiting);
                let name = (*pid, stat.start.clone());
                let signal = match (stat.is_stopped, is_waited_for) {
                    (false, false) => libc::SIGSTOP,
                    (true, true) if stopped.contains(&name) => libc::SIGCONT,
                    _ => continue,
                };
                if send(&name, signal) && !stopped.contains(&name) {
                    stopped.push(name);
                }
            }
            // Who forked and then stopped while we looked has a child that we didn't see: the next look sees it.
            let is_whole = all.iter().all(|(_, stat)| stat.is_stopped);
            std::mem::replace(&mut was_whole, is_whole) && is_whole
        });
        self.stopped = stopped;
        is_done
    }

    /// Lets go on whom we stopped, and nobody else.
    pub(super) fn thaw(&mut self) {
        if !std::mem::replace(&mut self.is_frozen, false) {
            return;
        }
        if let Some(freezer) = self.ground.cgroups.freezer() {
            let _gone = freezer.set(false);
        }
        for name in std::mem::take(&mut self.stopped) {
            let _ended_meanwhile = send(&name, libc::SIGCONT);
        }
    }
}

/// Sends a signal to that very process.
fn send((pid, start): &Stopped, signal: i32) -> bool {
    let Ok(descriptor) = process::pidfd_open(*pid) else { return false };
    let is_same = Stat::of(*pid).is_some_and(|now| now.start == *start);
    is_same && signal::pidfd_send_signal(&descriptor, signal).is_ok()
}

/// Looks until the condition holds. False when it doesn't in time.
fn until(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + STOPPING;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        let _nothing_to_wait_for = poll::poll(&mut [], Some(AGAIN));
    }
    true
}
