//! A command that is being run in a terminal, from the wish to the answer.

use crate::held::terminal::RunOutput;
use crate::keeper::activity::Busy;
use pinfold_runner::{Content, Failure};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// What comes of it.
pub(super) type Reply = oneshot::Sender<Result<RunOutput, Failure>>;

/// What is to be run.
pub(super) struct Wish {
    pub(super) text: Vec<u8>,
    pub(super) timeout: Option<Duration>,
    pub(super) most: usize,
    pub(super) reply: Reply,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The shell does not listen yet.
    Coming,
    /// The shell has been told, and waits for its turn when it has understood.
    Told,
    /// It runs.
    Going,
    /// It was broken off: the shell shows a prompt, and has not said how it ended.
    Broken,
}

/// How it is brought to an end, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Interrupt,
    Terminate,
    Kill,
    Replace,
}

/// One command.
pub(super) struct Run {
    pub(super) wish: Wish,
    pub(super) phase: Phase,
    pub(super) deadline: Option<Instant>,
    pub(super) next: Step,
    output: Vec<u8>,
    is_truncated: bool,
    pub(super) began: Instant,
    _busy: Busy,
}

impl Run {
    /// A command whose shell has so long to listen.
    pub(super) fn new(wish: Wish, patience: Duration, busy: Busy) -> Self {
        let began = Instant::now();
        Self {
            wish,
            phase: Phase::Coming,
            deadline: began.checked_add(patience),
            next: Step::Interrupt,
            output: Vec::new(),
            is_truncated: false,
            began,
            _busy: busy,
        }
    }

    /// Its time begins.
    pub(super) fn go(&mut self) {
        self.phase = Phase::Going;
        self.began = Instant::now();
        self.deadline = self.wish.timeout.and_then(|timeout| self.began.checked_add(timeout));
    }

    /// Keeps output, as much of it as was asked for.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        let room = self.wish.most - self.output.len();
        self.is_truncated |= bytes.len() > room;
        self.output.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The answer, when the shell said so or can't say any more.
    pub(super) fn finish(self, exit_code: Option<i32>, replaced: bool, ended: bool) {
        let answer = RunOutput {
            output: Content(self.output),
            truncated: self.is_truncated,
            exit_code,
            timed_out: self.next != Step::Interrupt,
            replaced,
            ended,
            duration_ms: self.began.elapsed().as_secs_f64() * 1000.0,
        };
        let _nobody_waits = self.wish.reply.send(Ok(answer));
    }

    /// The answer when it did not come to run.
    pub(super) fn refuse(self, failure: Failure) {
        let _nobody_waits = self.wish.reply.send(Err(failure));
    }
}
