//! The runner's loop over a held sandbox: one wait for everything that can happen to it and to its commands. When nothing
//! runs in it, nothing is looked at.

use super::exec::{Exec, Place, Turn};
use super::freeze::Stopped;
use super::message::{LONGEST_ORDER, News, Order};
use super::outbox::Outbox;
use super::spare::{SHORT, Spare};
use crate::failure::{At, Step, StepError};
use crate::ground::Ground;
use crate::leash::Leash;
use crate::message;
use crate::owners::Owners;
use crate::plan::Plan;
use crate::stream::{Output, Sink};
use crate::sys::{Errno, file, poll, signal, socket};
use crate::wait::{Ending, SETUP, Streams, Told, judge, read_more};
use crate::watch::{Places, Watch};
use pinfold_runner::{ControlMessage, Notice, Status};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// A held sandbox, its keeper and its commands.
pub(crate) struct Held<'a> {
    pub(super) plan: &'a Plan<'a>,
    pub(super) id: String,
    pub(super) init: &'a Leash,
    pub(super) ground: &'a Ground,
    owners: Owners,
    pub(super) outbox: Outbox,
    pub(super) buffer: Vec<u8>,
    /// Where init says which step failed before it served.
    status: Option<OwnedFd>,
    word: Vec<u8>,
    watch: Watch,
    /// Since when there is a command, and whether somebody ran since the last look.
    busy_since: Option<Instant>,
    is_unseen: bool,
    pub(super) execs: BTreeMap<u64, Exec>,
    pub(super) spare: Option<Spare>,
    /// Whether it is to be made yet.
    pub(super) wants_spare: bool,
    /// Where the number of the sandbox's processes can be read, for those who have to look themselves.
    pub(super) counter: Option<OwnedFd>,
    /// The device of all pipes.
    pub(super) pipes: libc::dev_t,
    /// Of groups, and of processes as init knows them.
    pub(super) last_number: u64,
    pub(super) workspace: Option<OwnedFd>,
    pub(super) is_ready: bool,
    pub(super) is_frozen: bool,
    /// Whom SIGSTOP stopped, where nothing better can.
    pub(super) stopped: Vec<Stopped>,
    pub(super) begun: Instant,
    ending: Ending,
}

/// The places in the array for poll(2); from the last on, one for each command.
const SIGNALS: usize = 0;
const INIT: usize = 1;
const STATUS: usize = 2;
const ANSWER: usize = 3;
const LIFELINE: usize = 4;
const KEEPER: usize = 5;
const COMMANDS: usize = 6;

/// How long a keeper who doesn't read may keep the last words.
const FAREWELL: Duration = Duration::from_millis(200);

impl<'a> Held<'a> {
    pub(crate) fn new(
        plan: &'a Plan<'a>,
        id: String,
        (init, ground): (&'a Leash, &'a Ground),
        owners: Owners,
        keeper: OwnedFd,
        status: OwnedFd,
        watch: Watch,
    ) -> Result<Self, StepError> {
        let pipes = file::fstat(status.as_fd()).at(Step::MakePipe, "status")?.st_dev;
        file::set_nonblocking(status.as_fd()).at(Step::MakePipe, "status")?;
        file::set_nonblocking(keeper.as_fd()).at(Step::MakePipe, "the keeper")?;
        Ok(Self {
            plan,
            id,
            init,
            ground,
            owners,
            outbox: Outbox::new(keeper),
            buffer: Vec::with_capacity(LONGEST_ORDER),
            status: Some(status),
            word: Vec::new(),
            watch,
            busy_since: None,
            is_unseen: false,
            execs: BTreeMap::new(),
            spare: None,
            wants_spare: true,
            counter: ground.cgroups.counter(),
            pipes,
            last_number: 0,
            workspace: None,
            is_ready: false,
            is_frozen: false,
            stopped: Vec::new(),
            begun: Instant::now(),
            ending: Ending::default(),
        })
    }

    /// Serves until the sandbox is to end, and ends it.
    pub(crate) fn until_end(mut self) -> (Ending, Streams) {
        while self.ending.ended.is_none() {
            let mut fds = self.entries();
            let timeout = self.next_event().map(|at| at.saturating_duration_since(Instant::now()));
            if poll::poll(&mut fds, timeout).is_err() {
                break;
            }
            self.turn(&fds);
        }
        self.end_all();
        let none = || Output::new(None, Sink::Keep(Vec::new()), None);
        let (Ok(stdout), Ok(stderr)) = (none(), none()) else {
            unreachable!("an output without a source makes no call")
        };
        (self.ending, Streams { stdout, stderr, workspace: None, owners: self.owners })
    }

    fn entries(&self) -> Vec<libc::pollfd> {
        let raw = |fd: RawFd, events| libc::pollfd { fd, events, revents: 0 };
        let optional = |fd: Option<&OwnedFd>, events| raw(fd.map_or(-1, AsRawFd::as_raw_fd), events);
        let to_keeper = if self.outbox.is_empty() { 0 } else { libc::POLLOUT };
        let mut fds = vec![
            poll::entry(self.owners.signals.as_fd(), libc::POLLIN),
            poll::entry(self.init.socket.as_fd(), libc::POLLIN),
            optional(self.status.as_ref(), 0),
            raw(libc::STDOUT_FILENO, 0),
            optional(self.owners.lifeline.as_ref(), libc::POLLIN | libc::POLLRDHUP),
            poll::entry(self.outbox.keeper(), libc::POLLIN | to_keeper),
        ];
        debug_assert_eq!(fds.len(), COMMANDS);
        fds.extend(self.execs.values().map(|exec| optional(exec.status.as_ref(), 0)));
        fds
    }

    fn next_event(&self) -> Option<Instant> {
        let watched = self.next_look();
        let commands = self.execs.values().filter_map(Exec::next);
        commands.chain(watched).chain(self.deadline()).chain(self.next_leisure()).min()
    }

    fn deadline(&self) -> Option<Instant> {
        match self.ending.started {
            Some(started) => {
                let wall = self.plan.job.limits.wall_ms.value()?;
                started.checked_add(Duration::from_millis(wall))
            }
            None => Some(self.begun + SETUP),
        }
    }

    fn turn(&mut self, fds: &[libc::pollfd]) {
        // Before anything is added to them.
        let told: Vec<u64> = self
            .execs
            .keys()
            .zip(&fds[COMMANDS..])
            .filter(|(_, fd)| fd.revents != 0)
            .map(|(number, _)| *number)
            .collect();
        told.into_iter().for_each(|number| self.read_status_of(number));
        if fds[STATUS].revents != 0 {
            self.read_status();
        }
        if fds[INIT].revents != 0 {
            self.read_news();
        }
        self.tell_ends();
        if fds[KEEPER].revents & libc::POLLOUT != 0 {
            self.outbox.flush();
        }
        if fds[KEEPER].revents & !libc::POLLOUT != 0 && !self.read_ask() {
            self.end_for(Status::Cancelled);
        }
        let is_told = fds[SIGNALS].revents != 0 && signal::next_signal(self.owners.signals.as_fd()).is_some();
        if is_told || fds[ANSWER].revents & (libc::POLLERR | libc::POLLHUP) != 0 {
            self.end_for(Status::Cancelled);
        }
        if fds[LIFELINE].revents != 0 {
            self.read_lifeline();
        }
        self.look_at_the_clock();
        self.tell_ends();
        self.tidy();
    }

    fn read_status(&mut self) {
        match &self.status {
            Some(status) if read_more(status, &mut self.word) => self.status = None,
            _ => return,
        }
        if let Told::Failed(error) = judge(&self.word) {
            self.ending.step_error = Some(error);
        }
    }

    fn read_status_of(&mut self, number: u64) {
        let Some(exec) = self.execs.get_mut(&number) else { return };
        match exec.read_status() {
            Turn::Executed => {
                // The command may be quicker than init's word, which brings its terminal.
                exec.awaits_master = exec.has_terminal && exec.master.is_none();
                if !exec.awaits_master {
                    self.tell_executed(number);
                }
            }
            Turn::Unheard => self.launch_again(number),
            Turn::Nothing => {}
        }
    }

    fn tell_executed(&mut self, number: u64) {
        if let Some(exec) = self.execs.get_mut(&number) {
            let pid = if exec.has_terminal { exec.main(self.init.pid) } else { None };
            let (master, signals) = (exec.master.take(), std::mem::take(&mut exec.held_back));
            let process = exec.process;
            self.outbox.tell(&Notice::Executed { number, pid }, master);
            for signal in signals {
                self.tell_init(&Order::Signal { number: process, signal });
            }
        }
    }

    pub(super) fn tell_init(&self, order: &Order) {
        let _dead = socket::send(self.init.socket.as_fd(), &order.encode(), &[]);
    }

    fn read_news(&mut self) {
        let mut buffer = [0u8; 2048];
        let (length, mut descriptors) = socket::receive(self.init.socket.as_fd(), &mut buffer).unwrap_or_default();
        match News::decode(&buffer[..length]) {
            Some(News::Serving) => {
                self.workspace = descriptors.pop();
                self.is_ready = true;
                self.ending.started = Some(Instant::now());
                let isolation = Box::new(self.ground.isolation.clone());
                self.outbox.tell(&Notice::Ready { isolation, init: self.init.pid }, None);
            }
            Some(News::Terminal { number }) => {
                if let Some((number, exec)) = self.exec_of(number) {
                    exec.master = descriptors.pop();
                    if std::mem::take(&mut exec.awaits_master) {
                        self.tell_executed(number);
                    }
                }
            }
            Some(News::Refused { number, error }) => match self.exec_of(number) {
                Some((_, exec)) => exec.refuse(error.into()),
                None => self.forget_ready(number),
            },
            Some(News::Ended { number: process, end, ended_us, spent }) => match self.exec_of(process) {
                Some((number, _)) => {
                    // The status may just not have been looked at.
                    self.read_status_of(number);
                    match self.execs.get_mut(&number).filter(|exec| exec.process == process) {
                        Some(exec) if exec.was_unheard() => self.launch_again(number),
                        Some(exec) => exec.end(self.plan, end, ended_us, spent),
                        None => {}
                    }
                }
                None => self.forget_ready(process),
            },
            Some(News::Hidden) => {}
            None => self.read_other_news(&buffer[..length], descriptors),
        }
    }

    /// The command whose process init knows by that number.
    fn exec_of(&mut self, process: u64) -> Option<(u64, &mut Exec)> {
        let found = self.execs.iter_mut().find(|(_, exec)| exec.process == process);
        found.map(|(number, exec)| (*number, exec))
    }

    fn read_other_news(&mut self, bytes: &[u8], descriptors: Vec<OwnedFd>) {
        match message::News::decode(bytes) {
            Some(message::News::Places { has_segments }) => {
                self.watch.set_places(Places::new(descriptors, has_segments));
            }
            // End-of-file: init is dead.
            _ => {
                self.read_status();
                // It watches the lifeline too, and may have seen its end first.
                if self.owners.say_stop() {
                    self.end_for(Status::Cancelled);
                }
                self.ending.ended = Some(Instant::now());
            }
        }
    }

    fn read_lifeline(&mut self) {
        let Some(lifeline) = &self.owners.lifeline else { return };
        let mut buffer = [0u8; 512];
        let length = file::read(lifeline.as_fd(), &mut buffer).unwrap_or(0);
        let cancel = ControlMessage::Cancel.encode();
        if length == 0 || buffer[..length].chunks(ControlMessage::BYTES).any(|message| message == cancel) {
            self.end_for(Status::Cancelled);
        }
    }

    fn look_at_the_clock(&mut self) {
        let now = Instant::now();
        if self.deadline().is_some_and(|deadline| now >= deadline) {
            self.end_for(Status::TimedOut);
        }
        let freezer = self.ground.cgroups.freezer().filter(|_| self.is_frozen);
        let place = Place { init: self.init.pid, frozen: freezer.as_ref() };
        self.execs.values_mut().for_each(|exec| exec.look(place));
        self.nudge_all(now);
        if self.next_look().is_some_and(|at| now >= at) {
            self.is_unseen = !self.execs.is_empty();
            if let Some(passed) = self.watch.look(now, self.init.pid, &self.ground.cgroups) {
                self.end_for(passed);
            }
        }
    }

    /// When to look at what is watched. Nothing comes to be while nobody runs, so a look is mostly overdue when a command
    /// comes; it takes as long as there are files, and a short command has not to wait for it but is looked after.
    fn next_look(&self) -> Option<Instant> {
        if !self.is_ready || !self.is_unseen {
            return None;
        }
        let next = self.watch.next()?;
        Some(self.busy_since.and_then(|since| since.checked_add(SHORT)).map_or(next, |leisure| leisure.max(next)))
    }

    /// The first cause is the one that is told.
    fn end_for(&mut self, cause: Status) {
        if self.ending.ended.is_none() {
            self.ending.cause = Some(cause);
            self.ending.ended = Some(Instant::now());
        }
    }

    /// Tells the keeper of those that are over.
    fn tell_ends(&mut self) {
        for (number, exec) in self.execs.iter_mut().filter(|(_, exec)| exec.is_over()) {
            exec.is_told = true;
            let outcome = Box::new(exec.outcome(&self.ground.isolation));
            self.outbox.tell(&Notice::Ended { number: *number, outcome }, None);
        }
    }

    /// While nobody waits: makes what the next command needs, and forgets commands of which nothing is left.
    fn tidy(&mut self) {
        if self.next_leisure().is_some_and(|at| at <= Instant::now()) && self.ending.ended.is_none() {
            self.prepare();
        }
        let init = self.init.pid;
        self.execs.retain(|_, exec| !exec.is_told || !exec.try_forget(init));
        self.busy_since = if self.execs.is_empty() { None } else { self.busy_since.or_else(|| Some(Instant::now())) };
        self.is_unseen |= !self.execs.is_empty();
    }

    /// Kills everything, and tells of the commands that end so.
    fn end_all(&mut self) {
        // Who is stopped by v1's freezer can't die.
        self.thaw();
        self.ground.cgroups.release_io();
        self.init.kill();
        let _told_when_the_ground_is_given_back = self.init.end();
        let cause = self.ending.cause;
        for exec in self.execs.values_mut().filter(|exec| !exec.is_told) {
            exec.end_with(cause);
        }
        self.tell_ends();
        let deadline = Instant::now() + FAREWELL;
        while !self.outbox.is_empty() && Instant::now() < deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            let _full = poll::poll(&mut [poll::entry(self.outbox.keeper(), libc::POLLOUT)], Some(left));
            self.outbox.flush();
        }
    }
}

/// Waits until init is in its cgroup namespace, and makes the groups of the commands.
pub(crate) fn settle(plan: &Plan<'_>, init: &Leash, ground: &mut Ground) -> Result<(), StepError> {
    if ground.cgroups.version().is_none() {
        return Ok(());
    }
    let mut buffer = [0u8; 64];
    let ready = poll::poll(&mut [poll::entry(init.socket.as_fd(), libc::POLLIN)], Some(SETUP));
    let received = ready.and_then(|_| socket::receive(init.socket.as_fd(), &mut buffer));
    match received.at(Step::HideCgroup, "")? {
        (length, _) if News::decode(&buffer[..length]) == Some(News::Hidden) => ground.hold(plan),
        _ => Err(Errno(libc::ECHILD)).at(Step::HideCgroup, ""),
    }
}
