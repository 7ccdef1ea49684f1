//! A running sandbox, as the host holds it. What happens behind it is in `supervision.rs`.

use crate::error::Error;
use crate::stdio::{SandboxStderr, SandboxStdin, SandboxStdout};
use crate::supervision::{Shared, Wish};
use pinfold_runner::{ControlMessage, Outcome};
use std::io;
use std::sync::Arc;
use tokio::io::AsyncRead;
use tokio::task::JoinHandle;

/// A sandbox that runs. Dropping it ends it: the runner kills its processes at once and cleans up in the background, without
/// anyone waiting. A runner that does not react is killed when the grace is over
/// ([`PinfoldBuilder::grace`](crate::PinfoldBuilder::grace)).
#[derive(Debug)]
#[must_use = "a sandbox that is dropped ends"]
pub struct Sandbox {
    controller: Controller,
    /// Goes on when this is dropped, until the runner is reaped.
    supervision: JoinHandle<Outcome>,
    stdin: Option<SandboxStdin>,
    stdout: Option<SandboxStdout>,
    stderr: Option<SandboxStderr>,
}

impl Sandbox {
    pub(crate) fn new(
        shared: Arc<Shared>,
        supervision: JoinHandle<Outcome>,
        (stdin, stdout, stderr): (Option<SandboxStdin>, Option<SandboxStdout>, Option<SandboxStderr>),
    ) -> Self {
        Self { controller: Controller { shared }, supervision, stdin, stdout, stderr }
    }

    /// The sandbox's name: the job's `id`, or the one that was generated.
    pub fn id(&self) -> &str {
        self.controller.id()
    }

    /// The runner's process id, which it keeps until it is reaped.
    pub(crate) fn runner(&self) -> i32 {
        self.controller.shared.pid
    }

    /// The command's stdin, once, if it is streamed.
    pub fn take_stdin(&mut self) -> Option<SandboxStdin> {
        self.stdin.take()
    }

    /// The command's stdout or terminal, once, if it is streamed. While nobody reads it, the command waits when it writes.
    pub fn take_stdout(&mut self) -> Option<SandboxStdout> {
        self.stdout.take()
    }

    /// The command's stderr, once, if it is streamed. While nobody reads it, the command waits when it writes.
    pub fn take_stderr(&mut self) -> Option<SandboxStderr> {
        self.stderr.take()
    }

    /// Something to control the sandbox with from elsewhere: a signal handler, another task.
    pub fn controller(&self) -> Controller {
        self.controller.clone()
    }

    /// Sends a signal: [`Controller::signal`].
    ///
    /// # Errors
    /// As there.
    pub fn signal(&self, number: i32) -> Result<(), Error> {
        self.controller.signal(number)
    }

    /// Changes the terminal's size: [`Controller::resize`].
    ///
    /// # Errors
    /// As there.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<(), Error> {
        self.controller.resize(rows, columns)
    }

    /// Ends the sandbox: [`Controller::cancel`].
    pub fn cancel(&self) {
        self.controller.cancel();
    }

    /// Ends the sandbox at once, runner included: [`Controller::kill`].
    pub fn kill(&self) {
        self.controller.kill();
    }

    /// Waits for the end, and for everything to be cleaned up. Streams that nobody took are closed (stdin) or read and
    /// dropped (stdout, stderr), so that they hold nothing up; those that were taken are to be read to their end meanwhile.
    ///
    /// # Errors
    /// [`Error::RuntimeShutDown`]. However the job ended is an outcome: see [`Pinfold::run`](crate::Pinfold::run).
    pub async fn wait(mut self) -> Result<Outcome, Error> {
        drop(self.stdin.take());
        let untaken = discard_both(self.stdout.take(), self.stderr.take());
        let ended = tokio::select! {
            ended = &mut self.supervision => ended,
            never = untaken => match never {},
        };
        ended.map_err(|error| match error.try_into_panic() {
            // A bug of ours is not the host's to handle as an outcome.
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Error::RuntimeShutDown { id: self.id().to_owned() },
        })
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.controller.shared.wish_for(Wish::Abandon);
    }
}

/// Reads both to their ends, and then waits for ever: what ends the wait is the sandbox's end.
pub(crate) async fn discard_both(
    stdout: Option<SandboxStdout>,
    stderr: Option<SandboxStderr>,
) -> std::convert::Infallible {
    tokio::join!(discard(stdout), discard(stderr));
    std::future::pending().await
}

async fn discard(stream: Option<impl AsyncRead + Unpin>) {
    if let Some(mut stream) = stream {
        // An error is an end too.
        let _dropped = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
}

/// Controls a sandbox from anywhere: cheap to clone, never waits, needs no tokio runtime. It keeps nothing alive: dropping
/// the [`Sandbox`] ends the sandbox all the same.
#[derive(Clone, Debug)]
pub struct Controller {
    shared: Arc<Shared>,
}

impl Controller {
    /// The sandbox's name.
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// Sends the signal `number` (signal(7): 1 to 64) to the command and its process group, as Ctrl-C on a terminal does.
    ///
    /// # Errors
    /// [`Error::Ended`] when the sandbox has ended, [`Error::UnknownSignal`], and [`Error::Unreachable`] when the runner
    /// does not read what it is sent.
    pub fn signal(&self, number: i32) -> Result<(), Error> {
        match u16::try_from(number) {
            Ok(signal @ 1..=64) => self.send(ControlMessage::Signal(signal)),
            _ => Err(Error::UnknownSignal { number }),
        }
    }

    /// Tells the command's terminal its new size. Without a terminal nothing happens.
    ///
    /// # Errors
    /// [`Error::Ended`] when the sandbox has ended, and [`Error::Unreachable`] when the runner does not read what it is sent.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<(), Error> {
        self.send(ControlMessage::Resize { rows, columns })
    }

    /// Ends the sandbox: everything in it is killed, and the outcome says `cancelled`, unless it had ended before. A runner
    /// that does not obey within the grace ([`PinfoldBuilder::grace`](crate::PinfoldBuilder::grace)) is killed.
    pub fn cancel(&self) {
        if self.send(ControlMessage::Cancel).is_err() {
            // It does not read, or has ended: closing says the same and always arrives.
            self.shared.lifeline.close();
        }
        self.shared.wish_for(Wish::Cancel);
    }

    /// Ends the sandbox at once with SIGKILL, runner included, for when there is no time or no trust left. The outcome says
    /// `cancelled` and has neither output nor usage. What the runner would have cleaned up is swept afterwards.
    pub fn kill(&self) {
        self.shared.wish_for(Wish::Kill);
    }

    fn send(&self, message: ControlMessage) -> Result<(), Error> {
        let id = || self.shared.id.clone();
        self.shared.lifeline.send(message).map_err(|source| match source.kind() {
            io::ErrorKind::NotConnected => Error::Ended { id: id() },
            _ => Error::Unreachable { id: id(), source },
        })
    }
}
