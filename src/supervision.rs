//! The task that sees one sandbox through: it hands over the job, reads the answer, holds the deadlines from outside, and
//! does not end before the runner is reaped. Nothing here waits without a deadline once the wall clock has passed or
//! somebody wants the sandbox gone.

use crate::answer::{Expectation, excerpt};
use crate::lifeline::Lifeline;
use crate::runner_process::{Exit, Launcher, RunnerProcess, kill_through};
use pinfold_runner::{Failure, Outcome, Status};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::Instant;

/// How much of the runner's own stderr is kept, from its beginning, in bytes.
const DIAGNOSTICS: usize = 4096;

/// What the host wants of a running sandbox. A later one wins over those before it, and nothing takes one back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wish {
    /// That it runs to its end.
    Run,
    /// That it ends with a result; the runner has been asked.
    Cancel,
    /// That it ends; nobody waits for the result any more. The lifeline is closed.
    Abandon,
    /// That it is gone at once, runner included.
    Kill,
}

/// What the supervising task and whoever holds the sandbox have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: String,
    /// The runner's process id.
    pub(crate) pid: i32,
    pub(crate) lifeline: Lifeline,
    pub(crate) wish: watch::Sender<Wish>,
    /// Names the runner even after its process id went to somebody else.
    pub(crate) pidfd: Arc<OwnedFd>,
}

impl Shared {
    /// Wishes for `wish`, unless more was wished for before.
    pub(crate) fn wish_for(&self, wish: Wish) {
        self.wish.send_if_modified(|now| {
            let more = wish > *now;
            *now = wish.max(*now);
            more
        });
        match wish {
            Wish::Run | Wish::Cancel => {}
            Wish::Abandon => self.lifeline.close(),
            // Directly, since the task may not be polled for a while.
            Wish::Kill => kill_through(&self.pidfd),
        }
    }
}

/// The runner of one sandbox. It does not leave this guard alive: dropped before it was reaped (the tokio runtime was shut
/// down, or we panicked), the guard gives it time to end the sandbox and clean up, then kills it, on a thread of its own.
#[derive(Debug)]
pub(crate) struct Leash {
    /// Taken by whoever reaps it.
    held: Option<Held>,
    shared: Arc<Shared>,
    grace: Duration,
}

#[derive(Debug)]
struct Held {
    process: RunnerProcess,
    launcher: Arc<Launcher>,
    /// The sandbox's place among those that may run at once; free again when all is cleaned up.
    _place: OwnedSemaphorePermit,
}

impl Leash {
    pub(crate) fn new(
        process: RunnerProcess,
        launcher: Arc<Launcher>,
        place: OwnedSemaphorePermit,
        shared: Arc<Shared>,
        grace: Duration,
    ) -> Self {
        Self { held: Some(Held { process, launcher, _place: place }), shared, grace }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn kill(&self) {
        if let Some(held) = &self.held {
            held.process.kill();
        }
    }

    /// Reaps the runner if it has ended, and sweeps up after it unless it did so itself.
    async fn reap(&mut self) -> Option<Exit> {
        let exit = self.held.as_ref()?.process.reap()?;
        let held = self.held.take()?;
        self.shared.lifeline.close();
        if !exit.is_orderly() {
            let (done, swept) = oneshot::channel();
            let (launcher, grace) = (held.launcher.clone(), self.grace);
            // Should there be no thread to be had, it is swept at the next start.
            let _started = on_a_thread(move || {
                launcher.sweep(grace);
                let _nobody_waits = done.send(());
            });
            let _swept = swept.await;
        }
        Some(exit)
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.shared.lifeline.close();
        let (Some(held), grace) = (self.held.take(), self.grace) else { return };
        let held = Arc::new(held);
        let finish = {
            let held = held.clone();
            move |patience| {
                let exit = held.process.wait_or_kill(patience);
                if !exit.is_some_and(Exit::is_orderly) {
                    held.launcher.sweep(grace);
                }
            }
        };
        if on_a_thread(move || finish(grace)).is_err() {
            held.process.wait_or_kill(Duration::ZERO);
        }
    }
}

/// Runs `work` apart from the runtime's own threads for blocking work, which may be shutting down, or all be taken.
fn on_a_thread(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name("pinfold-reaper".to_owned()).spawn(work).map(drop)
}

/// One sandbox and all that is needed to see it through.
#[derive(Debug)]
pub(crate) struct Supervision {
    pub(crate) leash: Leash,
    pub(crate) wishes: watch::Receiver<Wish>,
    /// The job as JSON, and the other end of the runner's stdin.
    pub(crate) job: (UnixStream, Vec<u8>),
    /// The other end of the runner's stdout.
    pub(crate) answer: pipe::Receiver,
    /// The other end of the runner's stderr.
    pub(crate) diagnostics: pipe::Receiver,
    pub(crate) ended: AsyncFd<Arc<OwnedFd>>,
    pub(crate) expectation: Expectation,
    /// When the runner should long have ended of itself; `None` without a wall-clock limit.
    pub(crate) deadline: Option<Instant>,
    /// How long it may take to clean up and copy artifacts out when it was cancelled.
    pub(crate) cleanup: Duration,
}

/// Which way of ending the sandbox is tried, each a grace after the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// The runner is left to itself.
    Trust,
    /// The lifeline is closed.
    Closed,
    /// SIGKILL was sent.
    Killed,
    /// SIGKILL did not help: the runner hangs in the kernel.
    Stuck,
}

impl Supervision {
    /// Sees the sandbox through to its outcome.
    pub(crate) async fn run(mut self) -> Outcome {
        let (stream, json) = self.job;
        let mut handover = pin!(hand_over(stream, json));
        let mut handed_over = false;
        let mut answer = Capture::new(self.answer, usize::try_from(self.expectation.longest()).unwrap_or(usize::MAX));
        let mut diagnostics = Capture::new(self.diagnostics, DIAGNOSTICS);
        let mut escalation = Escalation::new(self.leash, self.deadline, self.cleanup);
        let (grace, mut cause) = (escalation.leash.grace, None);

        while escalation.stage < Stage::Stuck {
            tokio::select! {
                _ended = self.ended.readable() => break,
                () = &mut handover, if !handed_over => handed_over = true,
                more = answer.read(), if answer.is_open() => {
                    if answer.is_too_long() {
                        // What follows can't make it right: the runner is writing into the void from here on.
                        answer.close();
                        escalation.go_to(Stage::Closed);
                    } else if !more {
                        // It has said what it had to say: it has a grace left to end.
                        escalation.hasten(grace);
                    }
                }
                _more = diagnostics.read(), if diagnostics.is_open() => diagnostics.drop_the_rest(),
                Ok(()) = self.wishes.changed() => {
                    let wish = *self.wishes.borrow_and_update();
                    if matches!(wish, Wish::Cancel | Wish::Kill) {
                        cause.get_or_insert(Status::Cancelled);
                    }
                    escalation.heed(wish);
                }
                () = sleep_until(escalation.deadline) => {
                    if escalation.stage == Stage::Trust && !escalation.hastened {
                        cause.get_or_insert(Status::TimedOut);
                    }
                    escalation.advance();
                }
            }
        }

        let exit = escalation.leash.reap().await;
        answer.read_what_is_there();
        diagnostics.read_what_is_there();
        if matches!(*self.wishes.borrow(), Wish::Cancel | Wish::Kill) {
            // The runner's end may have been noticed before the wish for it.
            cause.get_or_insert(Status::Cancelled);
        }
        let fault = match exit {
            _ if answer.is_too_long() => bad_answer(format!("it is longer than {} bytes", answer.cap)),
            Some(exit) if exit.is_orderly() || exit == Exit::Unknown => match self.expectation.judge(&answer.bytes) {
                Ok(outcome) if exit.fits(outcome.status == Status::Failed) => return with_first_cause(outcome, cause),
                Ok(outcome) => bad_answer(format!("it says {:?}, and the runner {exit}", outcome.status)),
                Err(wrong) => bad_answer(wrong),
            },
            Some(exit) => Failure::new("runner_died", format!("the runner {exit} and left no answer")),
            None => Failure::new("runner_stuck", "the runner hangs in the kernel and can't be killed"),
        };
        conclude(self.expectation.id(), cause, fault, &diagnostics.bytes)
    }
}

/// A runner whose lifeline was closed since the wall clock had passed takes that for a cancellation; what came first decides.
fn with_first_cause(mut outcome: Outcome, cause: Option<Status>) -> Outcome {
    if outcome.status == Status::Cancelled && cause == Some(Status::TimedOut) {
        outcome.status = Status::TimedOut;
    }
    outcome
}

fn bad_answer(wrong: impl std::fmt::Display) -> Failure {
    Failure::new("bad_answer", format!("the runner's answer can't be believed: {wrong}"))
}

/// The outcome of a sandbox whose runner did not tell it. The first cause for which it was to end decides, if there was one.
fn conclude(id: &str, cause: Option<Status>, fault: Failure, diagnostics: &[u8]) -> Outcome {
    let said = excerpt(String::from_utf8_lossy(diagnostics).trim());
    let message = if said.is_empty() { fault.message } else { format!("{}; it said: {said}", fault.message) };
    let failed = Outcome::failed(id, Failure { message, ..fault });
    match cause {
        Some(status) => Outcome { status, error: None, ..failed },
        None => failed,
    }
}

/// Writes the job and then end-of-file. A runner that does not read it to its end has its reasons, which its answer or its
/// end will tell: that writing failed says nothing.
async fn hand_over(mut stream: UnixStream, json: Vec<u8>) {
    let _reasons = stream.write_all(&json).await;
    let _closed = stream.shutdown().await;
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// From trusting the runner to killing it, one step at each deadline.
struct Escalation {
    leash: Leash,
    stage: Stage,
    deadline: Option<Instant>,
    /// How long the runner may take to clean up by itself when it was cancelled.
    cleanup: Duration,
    /// The deadline is no longer that of the wall clock.
    hastened: bool,
}

impl Escalation {
    fn new(leash: Leash, deadline: Option<Instant>, cleanup: Duration) -> Self {
        Self { leash, stage: Stage::Trust, deadline, cleanup, hastened: false }
    }

    fn heed(&mut self, wish: Wish) {
        match wish {
            Wish::Run => {}
            Wish::Cancel => self.hasten(self.cleanup),
            Wish::Abandon => self.go_to(Stage::Closed),
            Wish::Kill => self.go_to(Stage::Killed),
        }
    }

    /// Brings the deadline to so long from now, unless it is nearer.
    fn hasten(&mut self, patience: Duration) {
        let soon = Instant::now() + patience;
        if self.deadline.is_none_or(|deadline| deadline > soon) {
            self.deadline = Some(soon);
            self.hastened = true;
        }
    }

    fn advance(&mut self) {
        self.go_to(match self.stage {
            Stage::Trust => Stage::Closed,
            Stage::Closed => Stage::Killed,
            Stage::Killed | Stage::Stuck => Stage::Stuck,
        });
    }

    fn go_to(&mut self, stage: Stage) {
        if stage <= self.stage {
            return;
        }
        self.stage = stage;
        self.deadline = Some(Instant::now() + self.leash.grace);
        match stage {
            Stage::Trust | Stage::Stuck => {}
            Stage::Closed => self.leash.shared.lifeline.close(),
            Stage::Killed => self.leash.kill(),
        }
    }
}

/// What came through a pipe, up to a cap.
struct Capture {
    /// `None` at its end, or when no more is wanted.
    pipe: Option<pipe::Receiver>,
    bytes: Vec<u8>,
    cap: usize,
}

impl Capture {
    fn new(pipe: pipe::Receiver, cap: usize) -> Self {
        Self { pipe: Some(pipe), bytes: Vec::new(), cap }
    }

    fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    fn is_too_long(&self) -> bool {
        self.bytes.len() > self.cap
    }

    fn close(&mut self) {
        self.pipe = None;
    }

    /// Reads once; false at the end of the stream. Loses nothing when dropped halfway.
    async fn read(&mut self) -> bool {
        let Some(pipe) = &mut self.pipe else { return std::future::pending().await };
        // The buffer grows as its content does, so that what one read takes in is in proportion to what came before.
        self.bytes.reserve(READ);
        let read = pipe.read_buf(&mut self.bytes).await;
        self.note(read)
    }

    fn note(&mut self, read: io::Result<usize>) -> bool {
        // A pipe that can't be read is at its end for us: what is missing will be missed.
        let open = matches!(read, Ok(count) if count > 0);
        if !open {
            self.close();
        }
        open
    }

    /// Keeps the pipe open and flowing, and forgets what passes the cap.
    fn drop_the_rest(&mut self) {
        self.bytes.truncate(self.cap);
    }

    /// Reads what the pipe holds now that its writer has ended. Whoever else holds the other end delays nothing.
    fn read_what_is_there(&mut self) {
        while !self.is_too_long() {
            let Some(pipe) = &self.pipe else { return };
            self.bytes.reserve(READ);
            let read = pipe.try_read_buf(&mut self.bytes);
            self.note(read);
        }
    }
}

/// The least room for one read, in bytes: most answers are shorter.
const READ: usize = 4096;
