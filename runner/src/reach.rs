//! Killing everything that belongs to a sandbox, and knowing that nothing of it is left.

use crate::failure::{At, Step, StepError};
use crate::identity::{self, HostIds};
use crate::processes;
use crate::sys::process::{self, End, Fork};
use crate::sys::{poll, signal};
use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// What this process can reach of the sandbox, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Its pid namespace, of which this process is the first: the kernel lets no fork slip through.
    Namespace,
    /// A uid that nobody on this host has but the sandbox and this process: the kernel lets no fork slip through here
    /// either.
    User(u32),
    /// Whatever descends from this process, which is their subreaper (PR_SET_CHILD_SUBREAPER): orphans become its children,
    /// so nothing that was ever started gets out of its sight. Somebody may fork while we look, so we look again.
    Descendants,
}

/// How long until the next look. Only a wait for what was killed: when there is no child left is told by the kernel.
const AGAIN: Duration = Duration::from_millis(2);

/// The most looks in a row, so that the deadline is looked at as well.
const LOOKS: usize = 1000;

impl Reach {
    /// Kills and reaps until nothing is left; `reaped` hears of each. False when the deadline came first. `signals`
    /// is where SIGCHLD is read from, if it is.
    pub(crate) fn end_all(
        self,
        signals: Option<BorrowedFd<'_>>,
        deadline: Instant,
        mut reaped: impl FnMut(i32, End),
    ) -> bool {
        self.kill_all();
        // An error says that there is no child left, and so, for a subreaper too, no descendant.
        while let Ok(found) = process::wait(-1, false) {
            if let Some((pid, end, _usage)) = found {
                reaped(pid, end);
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let pause = if self == Self::Namespace { left } else { left.min(AGAIN) };
            let mut fds: Vec<_> = signals.map(|signals| poll::entry(signals, libc::POLLIN)).into_iter().collect();
            if left.is_zero() || poll::poll(&mut fds, Some(pause)).is_err() {
                return false;
            }
            while signals.is_some_and(|signals| signal::next_signal(signals).is_some()) {}
            if self != Self::Namespace {
                self.kill_all();
            }
        }
        true
    }

    fn kill_all(self) {
        match self {
            Self::Namespace => _ = signal::kill(-1, libc::SIGKILL),
            // With any other uid this would be everybody else's end.
            Self::User(uid) if uid != 0 && process::effective_uid() == uid => _ = signal::kill(-1, libc::SIGKILL),
            // Nothing to be done for a uid that is not ours.
            Self::User(_) => {}
            Self::Descendants => kill_descendants(),
        }
    }
}

/// Kills every process of a uid that nothing else on this host has, as root: by a process that takes it on, since then
/// the kernel finds them all and none can fork in between.
pub(crate) fn kill_user(uid: u32) -> Result<(), StepError> {
    match process::clone3(0, None).at(Step::StartCommand, "")? {
        Fork::Child => {
            if identity::become_nobody_else(HostIds { uid, gid: uid }).is_ok() {
                Reach::User(uid).kill_all();
            }
            process::exit_now(0)
        }
        Fork::Parent(pid, _pidfd) => process::wait(pid, true).at(Step::StartCommand, "").map(drop),
    }
}

/// Looks until a look finds nobody new, and kills whom it sees at once. Nothing is reaped meanwhile: a zombie counts
/// against RLIMIT_NPROC and `pids.max` (both are given back when it is reaped), so whoever forks to get away soon can't
/// fork any more.
///
/// A number that was read a moment ago could have been given to somebody else only if the kernel had gone through all
/// others since.
fn kill_descendants() {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let (mut killed, mut ended) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..LOOKS {
        let before = killed.len();
        processes::each_below_but(own, |pid| {
            // There may be as many of these as the limit allows, and each look would take that long.
            if ended.contains(&pid) {
                return false;
            }
            if killed.insert(pid) {
                let _ended_meanwhile = signal::kill(pid, libc::SIGKILL);
            } else if processes::is_zombie(pid) {
                ended.insert(pid);
            }
            true
        });
        if killed.len() == before {
            return;
        }
    }
}
