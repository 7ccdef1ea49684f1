//! Waiting for the end of a sandbox: one loop over everything that can happen to it. The first cause for which
//! something is killed is kept; what happens after it changes nothing.

use crate::cgroup::Cgroups;
use crate::failure::{EXECUTING, Step, StepError};
use crate::leash::Leash;
use crate::message::{Departure, LONGEST_NEWS, News, Order, Report};
use crate::owners::Owners;
use crate::plan::Plan;
use crate::stream::{Input, Output};
use crate::sys::{Errno, file, poll, signal, socket};
use crate::watch::{Places, Watch};
use pinfold_runner::{ControlMessage, Status};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Everything that is waited for.
pub(crate) struct Watched<'a> {
    pub(crate) plan: &'a Plan<'a>,
    pub(crate) init: &'a Leash,
    pub(crate) owners: Owners,
    /// End-of-file: the command was executed. Anything else: a step failed.
    pub(crate) status: Option<OwnedFd>,
    pub(crate) stdin: Input,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
    pub(crate) wall: Option<Duration>,
    pub(crate) watch: Watch,
    pub(crate) cgroups: &'a Cgroups,
}

/// How it ended.
#[derive(Default)]
pub(crate) struct Ending {
    /// Why we killed it, if we did.
    pub(crate) cause: Option<Status>,
    /// What init reported: `None` if it died first.
    pub(crate) report: Option<Report>,
    /// The step that failed before the command could run.
    pub(crate) step_error: Option<StepError>,
    /// What the command's process said right before it became the command.
    pub(crate) departure: Option<Departure>,
    pub(crate) started: Option<Instant>,
    pub(crate) ended: Option<Instant>,
    /// CPU time by the kernel's counter, if one was asked for.
    pub(crate) counted_cpu_ms: Option<f64>,
}

/// What is left of the streams afterwards.
pub(crate) struct Streams {
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
    /// The directory of a workspace in memory, if artifacts are wanted of it.
    pub(crate) workspace: Option<OwnedFd>,
    /// Who may still tell us to stop.
    pub(crate) owners: Owners,
}

/// What the status pipe has told, now that nobody writes to it any more.
pub(crate) enum Told {
    /// The command was executed.
    Executed(Departure),
    /// A step failed.
    Failed(StepError),
    /// Nothing: whoever was to tell died.
    Nothing,
}

/// Reads the status pipe, whose writers are dead.
pub(crate) fn told(status: &OwnedFd) -> Told {
    let mut bytes = Vec::new();
    let _ended = read_more(status, &mut bytes);
    judge(&bytes)
}

/// Takes what the status pipe holds. True at its end.
pub(crate) fn read_more(status: &OwnedFd, bytes: &mut Vec<u8>) -> bool {
    let mut buffer = [0u8; 2048];
    loop {
        match file::read(status.as_fd(), &mut buffer) {
            Ok(length @ 1..) => bytes.extend_from_slice(&buffer[..length]),
            Err(Errno(libc::EAGAIN)) => return false,
            Ok(_) | Err(_) => return true,
        }
    }
}

/// The command's process says that it is about to execute, and then, if it comes back, why it could not.
pub(crate) fn judge(bytes: &[u8]) -> Told {
    let departure = match bytes.split_first() {
        Some((&EXECUTING, rest)) => rest.get(..Departure::BYTES).and_then(Departure::decode),
        _ => None,
    };
    let word = if departure.is_some() { 1 + Departure::BYTES } else { 0 };
    match (StepError::decode(&bytes[word..]), departure) {
        (Some(error), _) => Told::Failed(error),
        (None, Some(departure)) => Told::Executed(departure),
        (None, None) => Told::Nothing,
    }
}

/// How long everything until exec may take: writing the job's files is in it.
pub(crate) const SETUP: Duration = Duration::from_secs(60);
/// How long init may take to kill and reap everything before it is killed itself, and all with it.
const OBEDIENCE: Duration = Duration::from_secs(1);
/// What a pipe may hold at most (pipe-max-size for users, pipe(7)); nobody of the sandbox can write any more then.
const LEFT_IN_PIPE: u64 = 1 << 20;

/// The places in the array for poll(2); an absent one has the number -1, which the kernel skips.
const SIGNALS: usize = 0;
const INIT: usize = 1;
const STATUS: usize = 2;
const ANSWER: usize = 3;
const LIFELINE: usize = 4;
const STREAMS: usize = 5;

/// The loop's own state.
struct Progress {
    ending: Ending,
    begun: Instant,
    /// When init is killed because it did not obey.
    patience: Option<Instant>,
    workspace: Option<OwnedFd>,
    /// Bytes of a control message that is not whole yet.
    control: Vec<u8>,
    /// What the status pipe has said so far.
    status: Vec<u8>,
    /// Signals that came before the command was executed.
    held_back: Vec<i32>,
}

impl Watched<'_> {
    /// Waits until the command and everything around it is dead, or init is; then takes in what is left in the pipes.
    pub(crate) fn until_end(mut self) -> (Ending, Streams) {
        let mut progress = Progress {
            ending: Ending::default(),
            begun: Instant::now(),
            patience: None,
            workspace: None,
            control: Vec::new(),
            status: Vec::new(),
            held_back: Vec::new(),
        };
        while progress.ending.ended.is_none() {
            let mut fds = self.entries();
            let timeout = self.next_event(&progress).map(|at| at.saturating_duration_since(Instant::now()));
            if poll::poll(&mut fds, timeout).is_err() {
                break;
            }
            self.turn(&fds, &mut progress);
        }
        self.finish_status(&mut progress);
        self.finish_output(&progress);
        progress.ending.counted_cpu_ms = self.watch.counted_cpu_ms();
        let Self { stdout, stderr, owners, .. } = self;
        (progress.ending, Streams { stdout, stderr, workspace: progress.workspace, owners })
    }

    fn entries(&self) -> Vec<libc::pollfd> {
        let raw = |fd: RawFd, events| libc::pollfd { fd, events, revents: 0 };
        let optional = |fd: Option<&OwnedFd>, events| raw(fd.map_or(-1, AsRawFd::as_raw_fd), events);
        let mut fds = vec![
            poll::entry(self.owners.signals.as_fd(), libc::POLLIN),
            poll::entry(self.init.socket.as_fd(), libc::POLLIN),
            // No events: its end is told all the same, and only that is of use.
            optional(self.status.as_ref(), 0),
            // No events: only POLLERR and POLLHUP are told, which say that nobody reads our answer any more.
            raw(libc::STDOUT_FILENO, 0),
            optional(self.owners.lifeline.as_ref(), libc::POLLIN | libc::POLLRDHUP),
        ];
        debug_assert_eq!(fds.len(), STREAMS);
        for interest in [self.stdin.interest(), self.stdout.interest(), self.stderr.interest()] {
            fds.extend(interest.map(|(fd, events)| raw(fd, events)));
        }
        fds
    }

    fn next_event(&self, progress: &Progress) -> Option<Instant> {
        let is_running = progress.ending.cause.is_none() && progress.ending.started.is_some();
        let look = if is_running { self.watch.next() } else { None };
        let deadline = if progress.patience.is_some() { progress.patience } else { self.deadline(progress) };
        [look, deadline].into_iter().flatten().min()
    }

    fn deadline(&self, progress: &Progress) -> Option<Instant> {
        match progress.ending.started {
            Some(started) => self.wall.and_then(|wall| started.checked_add(wall)),
            None => Some(progress.begun + SETUP),
        }
    }

    /// One turn: what came first in time is looked at first, so an end that is known beats a deadline that has passed.
    fn turn(&mut self, fds: &[libc::pollfd], progress: &mut Progress) {
        if fds[STATUS].revents != 0 {
            self.read_status(progress);
        }
        if fds[INIT].revents != 0 {
            self.read_news(progress);
        }
        self.stdin.turn();
        self.stdout.turn();
        self.stderr.turn();
        if progress.ending.ended.is_some() {
            return;
        }
        if fds[SIGNALS].revents != 0 && signal::next_signal(self.owners.signals.as_fd()).is_some() {
            self.kill_for(Status::Cancelled, progress);
        }
        if fds[ANSWER].revents & (libc::POLLERR | libc::POLLHUP) != 0 {
            self.kill_for(Status::Cancelled, progress);
        }
        if fds[LIFELINE].revents != 0 {
            self.read_lifeline(progress);
        }
        self.look_at_the_clock(progress);
    }

    fn read_status(&mut self, progress: &mut Progress) {
        // At its end only: between the word and exec lies what the kernel takes to load the program.
        match &self.status {
            Some(status) if read_more(status, &mut progress.status) => self.status = None,
            _ => return,
        }
        self.judge_status(progress);
    }

    fn judge_status(&self, progress: &mut Progress) {
        match judge(&progress.status) {
            Told::Executed(departure) => {
                progress.ending.departure = Some(departure);
                progress.ending.started = Some(Instant::now());
                for number in progress.held_back.drain(..) {
                    self.init.tell(Order::Signal(number));
                }
            }
            Told::Failed(error) => progress.ending.step_error = Some(error),
            Told::Nothing => {}
        }
    }

    /// When init ends first, it may still have its last word to say there, and the command's process holds the pipe for a
    /// moment more: each ends when it sees that the other did.
    fn finish_status(&mut self, progress: &mut Progress) {
        let Some(status) = self.status.take() else { return };
        let _ended = poll::poll(&mut [poll::entry(status.as_fd(), 0)], Some(OBEDIENCE));
        let _at_its_end = read_more(&status, &mut progress.status);
        self.judge_status(progress);
    }

    fn read_news(&mut self, progress: &mut Progress) {
        let mut buffer = [0u8; LONGEST_NEWS];
        let (length, mut descriptors) = socket::receive(self.init.socket.as_fd(), &mut buffer).unwrap_or_default();
        match (News::decode(&buffer[..length]), descriptors.pop()) {
            (Some(News::Ended(report)), _) => {
                // The command can't end before it was executed; the status may just not have been looked at.
                self.read_status(progress);
                if report.is_orphaned {
                    progress.ending.cause = progress.ending.cause.or(Some(Status::Cancelled));
                }
                let ended = self.plan.moment(report.ended_us);
                // Where the command was over before we saw that it had begun, what it said itself is nearer the truth.
                if let (Some(started), Some(departure)) = (&mut progress.ending.started, progress.ending.departure)
                    && *started > ended
                {
                    *started = self.plan.moment(departure.at_us);
                }
                progress.ending.report = Some(*report);
                progress.ending.ended = Some(ended);
            }
            (Some(News::Terminal), Some(master)) => {
                let connected = master.try_clone().map_err(Errno::from).and_then(|input| {
                    self.stdin.connect_terminal(input)?;
                    self.stdout.connect(master)
                });
                if let Err(errno) = connected {
                    let operand = "its master".to_owned();
                    progress.ending.step_error = Some(StepError { step: Step::OpenTerminal, operand, errno });
                    self.kill_for(Status::Failed, progress);
                }
            }
            (Some(News::Workspace), Some(directory)) => progress.workspace = Some(directory),
            (Some(News::Meter), Some(counter)) => self.watch.set_meter(counter),
            (Some(News::Places { has_segments }), Some(last)) => {
                descriptors.push(last);
                self.watch.set_places(Places::new(descriptors, has_segments));
            }
            // End-of-file: init is dead.
            _ => {
                self.read_status(progress);
                progress.ending.ended = Some(Instant::now());
            }
        }
    }

    fn read_lifeline(&mut self, progress: &mut Progress) {
        let Some(lifeline) = &self.owners.lifeline else { return };
        let mut buffer = [0u8; 512];
        let length = file::read(lifeline.as_fd(), &mut buffer).unwrap_or(0);
        if length == 0 {
            self.owners.lifeline = None;
            self.kill_for(Status::Cancelled, progress);
            return;
        }
        progress.control.extend_from_slice(&buffer[..length]);
        while let Some((message, rest)) = progress.control.split_first_chunk::<{ ControlMessage::BYTES }>() {
            let message = ControlMessage::decode(*message);
            progress.control = rest.to_vec();
            match message {
                Some(ControlMessage::Resize { rows, columns }) => self.stdin.resize(rows, columns),
                // Before exec it would hit our own process, and be told as the command's end.
                Some(ControlMessage::Signal(number)) if progress.ending.started.is_none() => {
                    progress.held_back.push(i32::from(number));
                }
                Some(ControlMessage::Signal(number)) => self.init.tell(Order::Signal(i32::from(number))),
                // What can't be understood comes from no supervisor of ours.
                Some(ControlMessage::Cancel) | None => self.kill_for(Status::Cancelled, progress),
            }
        }
    }

    fn look_at_the_clock(&mut self, progress: &mut Progress) {
        let now = Instant::now();
        if progress.patience.is_some_and(|patience| now >= patience) {
            progress.patience = None;
            self.init.kill();
        }
        if progress.ending.cause.is_some() {
            return;
        }
        if self.deadline(progress).is_some_and(|deadline| now >= deadline) {
            self.kill_for(Status::TimedOut, progress);
        }
        if progress.ending.started.is_none() {
            return;
        }
        if let Some(passed) = self.watch.look(now, self.init.pid, self.cgroups) {
            self.kill_for(passed, progress);
        }
    }

    /// Has init kill and reap everything, so that the figures are whole. If it doesn't, it is killed itself.
    fn kill_for(&self, cause: Status, progress: &mut Progress) {
        if progress.ending.cause.is_none() {
            progress.ending.cause = Some(cause);
            progress.patience = Some(Instant::now() + OBEDIENCE);
            if !self.init.takes_all_along {
                self.cgroups.stop_forks();
            }
            self.init.tell(Order::KillAll);
            self.cgroups.release_io();
        }
    }

    /// Takes in what was written before the end. A slow reader of a live stream is waited for, as long as he is there and
    /// nobody tells us to stop.
    fn finish_output(&mut self, progress: &Progress) {
        for output in [&mut self.stdout, &mut self.stderr] {
            output.drain(LEFT_IN_PIPE);
        }
        let deadline = self.deadline(progress).filter(|_| progress.ending.cause.is_none());
        let mut quiet = 0;
        while self.stdout.is_pending() || self.stderr.is_pending() {
            let now = Instant::now();
            let is_late = deadline.is_some_and(|deadline| now >= deadline);
            if is_late || (progress.ending.cause.is_some() && quiet > 0) || self.owners.say_stop() {
                break;
            }
            let mut fds = self.output_entries();
            let timeout = deadline.map_or(FLUSH, |deadline| deadline.saturating_duration_since(now).min(FLUSH));
            let ready = poll::poll(&mut fds, Some(timeout)).unwrap_or(0);
            quiet = if ready == 0 { quiet + 1 } else { 0 };
            for output in [&mut self.stdout, &mut self.stderr] {
                output.turn();
                // Nothing more comes once the pipe is empty: every process of the sandbox is dead.
                if ready == 0 && !output.has_unpassed() {
                    output.close_source();
                }
            }
        }
    }

    fn output_entries(&self) -> Vec<libc::pollfd> {
        let interests = [self.stdout.interest(), self.stderr.interest()];
        interests.into_iter().flatten().map(|(fd, events)| libc::pollfd { fd, events, revents: 0 }).collect()
    }
}

/// How long one look for more output or for a slow reader takes.
const FLUSH: Duration = Duration::from_millis(200);
