//! A command's stdio joined with ours for as long as the command lives, and the caller's signals passed on.

use super::relay::Output;
pub(in crate::cli) use super::relay::pass_stdin;
use super::signal::{SIGINT, SIGPIPE, SIGTERM, Signals};
use super::verdict::Ended;
use crate::cli::message;
use crate::cli::value::reason;
use pinfold::held::ExecController;
use pinfold::{Controller, SandboxStderr, SandboxStdin, SandboxStdout};
use std::io::{Cursor, Result};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// How long a command may take to end by itself when nobody reads its output any more.
const CLOSED_OUTPUT_GRACE: Duration = Duration::from_secs(2);

/// A command that may be signalled and ended.
pub(in crate::cli) trait Control {
    /// Sends a signal. A command that has ended needs none.
    fn signal(&self, number: i32);
    /// Ends it.
    fn cancel(&self);
    /// Ends it at once, if there is a quicker way.
    fn kill(&self);
}

impl Control for Controller {
    fn signal(&self, number: i32) {
        let _has_ended = Controller::signal(self, number);
    }
    fn cancel(&self) {
        Controller::cancel(self);
    }
    fn kill(&self) {
        Controller::kill(self);
    }
}

impl Control for ExecController {
    fn signal(&self, number: i32) {
        let _has_ended = ExecController::signal(self, number);
    }
    fn cancel(&self) {
        let _has_ended = ExecController::cancel(self);
    }
    fn kill(&self) {
        let _has_ended = ExecController::cancel(self);
    }
}

/// What we have of a command's stdio.
pub(in crate::cli) struct Streams {
    pub(in crate::cli) stdin: Option<SandboxStdin>,
    pub(in crate::cli) stdout: Option<SandboxStdout>,
    pub(in crate::cli) stderr: Option<SandboxStderr>,
    /// What was read of stdout and stderr already, and is still to be written.
    pub(in crate::cli) unwritten: [Vec<u8>; 2],
}

/// Passes everything on until the command has ended, and what it wrote is written; what came of it, and who ended it.
///
/// # Errors
/// When stdio can't be passed on.
pub(in crate::cli) async fn join<T>(
    streams: Streams,
    controller: impl Control,
    signals: &mut Signals,
    wait: impl Future<Output = T>,
) -> Result<(T, Ended)> {
    let mut outputs = Outputs::join(streams)?;
    let mut end = Ending { controller, cause: Ended::Itself, requests: 0, deadline: None };
    let outcome = {
        let mut wait = std::pin::pin!(wait);
        loop {
            tokio::select! {
                outcome = &mut wait => break outcome,
                number = signals.next() => end.pass_on(number),
                Err(error) = outputs.stdout.end() => end.output_failed(&error),
                () = end.grace() => end.cancel(),
            }
        }
    };
    // The command is gone; what it wrote may still be on its way to somebody who reads slowly, or never.
    let drained = tokio::select! {
        drained = outputs.drain() => drained,
        () = async { while !matches!(signals.next().await, SIGINT | SIGTERM) {} } => Ok(()),
    };
    if let Err(error) = drained {
        end.last_output_failed(&error);
    }
    Ok((outcome, end.cause))
}

/// Our outputs.
struct Outputs {
    stdout: Output,
    stderr: Option<Output>,
}

impl Outputs {
    fn join(streams: Streams) -> Result<Self> {
        let gone = || std::io::Error::other("the sandbox has no stdio");
        streams.stdin.map(pass_stdin).transpose()?;
        let [stdout, stderr] = streams.unwritten.map(Cursor::new);
        let stdout = Output::pass(stdout.chain(streams.stdout.ok_or_else(gone)?), std::io::stdout())?;
        // With a terminal there is only one output.
        let stderr = streams.stderr.map(|rest| Output::pass(stderr.chain(rest), std::io::stderr())).transpose()?;
        Ok(Self { stdout, stderr })
    }

    /// Waits until everything is written. What of stderr can't be, nobody misses: there is no place to say so.
    async fn drain(&mut self) -> Result<()> {
        let stdout = self.stdout.drain().await;
        if let Some(stderr) = &mut self.stderr {
            let _ = stderr.drain().await;
        }
        stdout
    }
}

/// How the command is brought to its end from outside.
struct Ending<C> {
    controller: C,
    cause: Ended,
    /// SIGINTs and SIGTERMs so far.
    requests: u32,
    deadline: Option<tokio::time::Instant>,
}

impl<C: Control> Ending<C> {
    /// The first SIGINT or SIGTERM is the command's, as every other signal is; the second ends everything; the third
    /// does not even wait for the runner.
    fn pass_on(&mut self, number: i32) {
        if matches!(number, SIGINT | SIGTERM) {
            self.requests += 1;
        }
        match self.requests {
            0 | 1 => self.send(number),
            2 => {
                self.cause = Ended::Signal(number);
                self.cancel();
            }
            _ => self.controller.kill(),
        }
    }

    /// What SIGPIPE does to a program in a pipeline: the command gets one, and some time to end by itself.
    fn output_failed(&mut self, error: &std::io::Error) {
        self.last_output_failed(error);
        if self.cause == Ended::ClosedOutput {
            self.send(SIGPIPE);
            self.deadline = Some(tokio::time::Instant::now() + CLOSED_OUTPUT_GRACE);
        } else {
            self.cancel();
        }
    }

    /// The same when the command has ended already.
    fn last_output_failed(&mut self, error: &std::io::Error) {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            self.cause = Ended::ClosedOutput;
        } else {
            message::error(&format!("failed to write to stdout: {}", reason(error)), None);
            self.cause = Ended::FailedOutput;
        }
    }

    async fn grace(&self) {
        match self.deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }

    fn send(&self, number: i32) {
        self.controller.signal(number);
    }

    fn cancel(&mut self) {
        self.deadline = None;
        self.controller.cancel();
    }
}
