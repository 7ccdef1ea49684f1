//! One command of a held sandbox, as the runner sees it: from the keeper's asking to the end of all that it started.

use super::kill;
use super::spare::{Launched, Wanted};
use crate::cgroup::gauge::Reading;
use crate::cgroup::{Freezer, Nested};
use crate::message::Report;
use crate::plan::Plan;
use crate::spent::Spent;
use crate::sys::process::End;
use crate::verdict;
use crate::wait::{Ending, SETUP, Told, judge, read_more};
use crate::watch::Cpu;
use pinfold_runner::{Failure, Isolation, Job, Lifetime, Limit, Mechanism, Outcome, Status};
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long what was killed may take to be gone: as long as a whole sandbox may.
const TEARDOWN: Duration = Duration::from_secs(20);
/// How long a command may take to be executed until it is told to go on: anybody in the sandbox may stop it before that, again
/// and again, and so it is told again and again.
const NUDGE: Duration = Duration::from_millis(5);
/// How long until the next look at what was killed.
const AGAIN: Duration = Duration::from_millis(1);

/// A command.
pub(super) struct Exec {
    pub(super) id: String,
    pub(super) job: Job,
    pub(super) asked: Instant,
    nudged: Instant,
    pub(super) groups: Nested,
    /// The number by which init knows its process.
    pub(super) process: u64,
    /// Our end of the status pipe, until its end.
    pub(super) status: Option<OwnedFd>,
    /// What it takes to start it once more, until somebody is known to have heard what is wanted.
    pub(super) again: Option<Wanted>,
    pub(super) has_terminal: bool,
    /// Whether it was executed, and its terminal has not come yet.
    pub(super) awaits_master: bool,
    pub(super) master: Option<OwnedFd>,
    /// Signals that came before it was executed.
    pub(super) held_back: Vec<i32>,
    word: Vec<u8>,
    ending: Ending,
    /// Of what its memory consisted right before it was killed.
    reading: Option<Reading>,
    /// Why there was no process.
    refused: Option<Failure>,
    cpu: Option<Cpu>,
    /// When we give up waiting for what was killed.
    patience: Option<Instant>,
    /// Where there are no groups: who was seen to belong to it, as the host numbers them.
    kin: BTreeSet<i32>,
    /// Whether all that was killed is gone.
    is_gone: bool,
    /// Whether its end was told. What it left lives on.
    pub(super) is_told: bool,
}

/// Where commands are, for who has to kill.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The host's number of init.
    pub(super) init: i32,
    /// What everybody is stopped by now, if by anything.
    pub(super) frozen: Option<&'a Freezer<'a>>,
}

/// What the status pipe brought.
pub(super) enum Turn {
    Nothing,
    Executed,
    /// Who stood ready never heard of it.
    Unheard,
}

impl Exec {
    pub(super) fn new(id: String, job: Job, groups: Nested, launched: Launched, has_terminal: bool) -> Self {
        let Launched { status, process, again } = launched;
        let cpu = job.limits.cpu_ms.value().map(Cpu::new);
        let asked = Instant::now();
        Self {
            id,
            job,
            asked,
            nudged: asked,
            groups,
            process,
            status: Some(status),
            again,
            has_terminal,
            awaits_master: false,
            master: None,
            held_back: Vec::new(),
            word: Vec::new(),
            ending: Ending::default(),
            reading: None,
            refused: None,
            cpu,
            patience: None,
            kin: BTreeSet::new(),
            is_gone: false,
            is_told: false,
        }
    }

    pub(super) fn is_started(&self) -> bool {
        self.ending.started.is_some()
    }

    /// When it was executed.
    pub(super) fn started(&self) -> Option<Instant> {
        self.ending.started
    }

    pub(super) fn has_groups(&self) -> bool {
        self.groups.groups().version().is_some()
    }

    /// Reads the status pipe, whose end says that the command was executed, or not.
    pub(super) fn read_status(&mut self) -> Turn {
        match &self.status {
            Some(status) if read_more(status, &mut self.word) => self.status = None,
            _ => return Turn::Nothing,
        }
        let told = judge(&self.word);
        if matches!(told, Told::Nothing) && self.again.is_some() && self.patience.is_none() {
            return Turn::Unheard;
        }
        self.again = None;
        match told {
            Told::Executed(departure) => {
                self.ending.departure = Some(departure);
                self.ending.started = Some(Instant::now());
                Turn::Executed
            }
            Told::Failed(error) => {
                self.ending.step_error = Some(error);
                Turn::Nothing
            }
            Told::Nothing => Turn::Nothing,
        }
    }

    /// Whether a process that has ended never got what it was to become the command with: until its predecessor is gone too, those
    /// descriptors are on their way.
    pub(super) fn was_unheard(&self) -> bool {
        self.status.is_some() && self.again.is_some() && self.patience.is_none()
    }

    /// There is no process, and there will be none.
    pub(super) fn refuse(&mut self, failure: Failure) {
        self.refused = Some(failure);
        self.ending.ended = Some(Instant::now());
    }

    /// Its first process has ended.
    pub(super) fn end(&mut self, plan: &Plan<'_>, end: End, ended_us: u64, spent: Spent) {
        let ended = plan.moment(ended_us);
        if let (Some(started), Some(departure)) = (&mut self.ending.started, self.ending.departure)
            && *started > ended
        {
            *started = plan.moment(departure.at_us);
        }
        let reading = self.reading.or_else(|| self.groups.reading());
        let report = Report { end, is_orphaned: false, ended_us, spent, last_number: None, reading };
        self.ending.report = Some(report);
        self.ending.ended = Some(ended);
    }

    /// The sandbox's number of its process, once it was executed.
    fn inside(&self) -> Option<u64> {
        self.ending.departure.as_ref().map(|departure| departure.pid)
    }

    /// The host's number of its process, while it lives.
    pub(super) fn main(&self, init: i32) -> Option<i32> {
        kill::host_number(init, self.inside()?)
    }

    /// When it is to be looked at next.
    pub(super) fn next(&self) -> Option<Instant> {
        if self.patience.is_some() {
            return Some(Instant::now() + AGAIN);
        }
        let look = self.cpu.as_ref().filter(|_| self.is_started()).map(Cpu::next);
        let nudge = self.is_on_its_way().then(|| self.nudged + NUDGE);
        [look, nudge, self.deadline()].into_iter().flatten().min()
    }

    fn is_on_its_way(&self) -> bool {
        !self.is_started() && self.ending.ended.is_none() && self.patience.is_none()
    }

    /// The number by which init knows its process, when that is to be told to go on, should somebody have stopped it; or to end,
    /// when it is killed and may be in no group yet.
    pub(super) fn nudge(&mut self, now: Instant) -> Option<(u64, i32)> {
        if self.is_started() || self.ending.ended.is_some() || now < self.nudged + NUDGE {
            return None;
        }
        self.nudged = now;
        Some((self.process, if self.patience.is_some() { libc::SIGKILL } else { libc::SIGCONT }))
    }

    fn deadline(&self) -> Option<Instant> {
        match self.ending.started {
            _ if self.ending.ended.is_some() => None,
            Some(started) => {
                self.job.limits.wall_ms.value().and_then(|ms| started.checked_add(Duration::from_millis(ms)))
            }
            None => Some(self.asked + SETUP),
        }
    }

    /// Looks at the clock and at what it uses, and goes on killing.
    pub(super) fn look(&mut self, at: Place<'_>) {
        let now = Instant::now();
        if self.patience.is_some() {
            self.go_on_killing(at);
            return;
        }
        if self.deadline().is_some_and(|deadline| now >= deadline) {
            self.kill_for(Status::TimedOut, at);
        }
        let groups = self.groups.groups();
        let cpu = self.cpu.as_mut().filter(|cpu| now >= cpu.next() && self.ending.started.is_some());
        if cpu.is_some_and(|cpu| cpu.is_exceeded(groups.cpu_ms(), || None)) {
            self.kill_for(Status::CpuExceeded, at);
        }
    }

    /// Kills all that belongs to it; the first cause is the one that is told.
    pub(super) fn kill_for(&mut self, cause: Status, at: Place<'_>) {
        if self.patience.is_none() && !self.is_gone {
            if !self.is_told && self.ending.ended.is_none() {
                self.ending.cause = Some(cause);
                self.reading = self.groups.reading();
            }
            self.patience = Some(Instant::now() + TEARDOWN);
            self.go_on_killing(at);
        }
    }

    fn go_on_killing(&mut self, at: Place<'_>) {
        let is_empty = match (self.has_groups(), self.inside()) {
            (true, _) => kill::group(&self.groups, at.frozen),
            (false, Some(main)) => kill::kin(at.init, main, &mut self.kin),
            (false, None) => true,
        };
        let is_late = self.patience.is_some_and(|patience| Instant::now() >= patience);
        // Between its birth and its groups the process is in none.
        let is_reaped = self.ending.ended.is_some();
        if is_empty && is_reaped || is_late {
            self.patience = None;
            self.is_gone = is_empty;
            if is_late && !self.is_told && self.ending.ended.is_none() {
                self.refuse(Failure::new("not_killed", "what the command started could not be killed in time").with_hint(
                    "it may wait for a disk or a file system that doesn't answer; it ends with the sandbox at the latest",
                ));
            }
        }
    }

    /// Whether nothing of it is left, so that it need not be remembered.
    pub(super) fn try_forget(&mut self, init: i32) -> bool {
        if self.patience.is_some() {
            return false;
        }
        match self.inside() {
            _ if self.has_groups() => self.groups.try_remove(),
            Some(main) => !kill::has_kin(init, main),
            None => true,
        }
    }

    /// Whether its end can be told now.
    pub(super) fn is_over(&self) -> bool {
        !self.is_told && self.ending.ended.is_some() && self.patience.is_none()
    }

    /// The sandbox is at its end, and this command with it.
    pub(super) fn end_with(&mut self, cause: Option<Status>) {
        self.patience = None;
        if self.ending.ended.is_none() {
            self.ending.cause = self.ending.cause.or(cause);
            self.ending.ended = Some(Instant::now());
        }
    }

    /// What it came to.
    pub(super) fn outcome(&self, sandbox: &Isolation) -> Outcome {
        let isolation = self.isolation(sandbox);
        let failed = |failure| Outcome { isolation: isolation.clone(), ..Outcome::failed(self.id.clone(), failure) };
        if let Some(failure) = self.refused.clone().or_else(|| self.ending.step_error.clone().map(Failure::from)) {
            return failed(failure);
        }
        if self.ending.started.is_none() && self.ending.cause.is_none() {
            return failed(
                Failure::new("setup_died", "the command's process died before the command could be executed")
                    .with_hint("`memory_bytes` may be too small for it, or somebody killed it"),
            );
        }
        let groups = self.groups.groups();
        let figures = groups.figures(self.job.limits.cpus != Limit::Max);
        let Some((status, exit_code, signal)) = verdict::judge(&self.ending, figures.oom_kills, &self.job) else {
            return failed(Failure::new("init_died", "the sandbox's init ended before the command did"));
        };
        let mut usage = verdict::usage(self.asked, groups, &figures, &self.ending);
        usage.teardown_ms = None;
        Outcome { status, exit_code, signal, usage, error: None, ..failed(Failure::new("", "")) }
    }

    fn isolation(&self, sandbox: &Isolation) -> Isolation {
        let limits = &self.job.limits;
        let rlimit = |is_asked: bool, sandbox: Mechanism, has_group: bool| match (is_asked, has_group) {
            (true, false) => Mechanism::Rlimit,
            _ => sandbox,
        };
        let groups = self.groups.groups();
        let mut isolation = sandbox.clone();
        isolation.memory = rlimit(limits.memory_bytes != Limit::Max, sandbox.memory, groups.memory());
        isolation.cpu = rlimit(limits.cpu_ms != Limit::Max, sandbox.cpu, groups.cpu());
        if !self.has_groups() {
            isolation.lifetime = Lifetime::BestEffort;
        }
        isolation
    }
}
