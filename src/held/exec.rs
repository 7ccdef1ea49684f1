//! Commands in a held sandbox: fresh pipes, whose other ends go through the keeper to the runner with the request, so that
//! nobody stands between the command and whoever reads it.

use super::client::Held;
use super::connect::{connection, refused};
use super::error::Error;
use super::output::{Capture, Ending, Meter};
use super::wire::{Connection, Reply, Request, encode};
use crate::job_builder::JobBuilder;
use crate::sandbox::discard_both;
use crate::stdio::{SandboxStderr, SandboxStdin, SandboxStdout, Stdio};
use pinfold_runner::{Content, Job, Limit, Limits, Outcome, no_limits_of_its_own};
use rustix::pipe::{PipeFlags, pipe_with};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

/// Begins the job of a command in a held sandbox: with no limits of its own but for 30 seconds of the wall clock and 1 MiB
/// of each of stdout and stderr, as every job has. What is the sandbox's (view, fences, user) can't be set.
pub fn command<S: Into<String>>(command: impl IntoIterator<Item = S>) -> JobBuilder {
    let Limits { wall_ms, output_bytes, .. } = Limits::default();
    crate::job(command).with(|job| job.limits = Limits { wall_ms, output_bytes, ..no_limits_of_its_own() })
}

impl Held {
    /// Runs a command to its result, with what it wrote to stdout and stderr. The sandbox's other commands go on meanwhile,
    /// and what this one leaves running in the background lives on and delays nothing.
    ///
    /// However the command ends is an outcome. Dropping the future ends the command with all that it started.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Error::Gone`] when the sandbox has ended, [`Error::Invalid`] for what only the sandbox can
    /// have. Nothing of the command ran, unless the sandbox ended meanwhile.
    pub async fn exec(&self, job: Job) -> Result<Outcome, Error> {
        let (asked, _none) = self.ask(job, Stdio::captured()).await?;
        asked.finish().await
    }

    /// Starts a command and leaves its stdio to the caller: [`Stdio::live`] streams all three with backpressure.
    ///
    /// # Errors
    /// As [`exec`](Self::exec).
    pub async fn spawn(&self, job: Job, stdio: Stdio) -> Result<Running, Error> {
        let (asked, streams) = self.ask(job, stdio).await?;
        Ok(asked.run(streams))
    }

    /// Starts a command that nobody waits for: its number, by which the log has its output.
    ///
    /// # Errors
    /// As [`exec`](Self::exec), and [`Error::Failed`] when it can't be executed.
    pub async fn detach(&self, job: Job) -> Result<u64, Error> {
        let connection = self.connect()?;
        let request = Request::Exec { job: Box::new(job), detach: true };
        send(&connection, &request, &[], self.name()).await?;
        match receive(&connection, self.name()).await? {
            Reply::Executed { number } => Ok(number),
            Reply::Ended { number, outcome } => outcome.error.map_or(Ok(number), |failure| Err(Error::Failed(failure))),
            reply => Err(unexpected(reply, self.name())),
        }
    }

    pub(super) fn connect(&self) -> Result<Connection, Error> {
        connection(&self.shared.runtime, &self.shared.key, self.name())
    }

    /// Asks for a command, with fresh pipes.
    async fn ask(&self, mut job: Job, stdio: Stdio) -> Result<(Asked, Streams), Error> {
        let failed = |error: io::Error| Error::io("make a pipe", error);
        if stdio.terminal_size().is_some() {
            return Err(Error::invalid("a command's stdio", "a terminal is made by other means"));
        }
        let input = std::mem::take(&mut job.stdin).0;
        if stdio.streams_stdin() && !input.is_empty() {
            return Err(crate::Error::TwoStdins.into());
        }
        let limit = job.limits.output_bytes;
        let cap = limit.value().unwrap_or(u64::MAX);
        let connection = Arc::new(self.connect()?);
        let ending = Arc::new(Ending::default());
        let meter = Meter::default();
        let mut pipes = Pipes::default();
        let (mut streams, mut captures) = ((None, None, None), None);
        let mut sender = None;
        let writes = stdio.streams_stdin() || !input.is_empty();
        if let Some(pipe) = pipes.input(writes).map_err(failed)? {
            match stdio.streams_stdin() {
                true => streams.0 = Some(SandboxStdin::of_command(pipe)),
                false => sender = Some((pipe, input)),
            }
        }
        let (stdout, stderr) = (pipes.output().map_err(failed)?, pipes.output().map_err(failed)?);
        if stdio.streams_stdout() {
            let (live_stdout, live_stderr) = meter.streams(&ending, cap);
            streams.1 = Some(SandboxStdout::of_command(stdout, live_stdout));
            streams.2 = Some(SandboxStderr::of_command(stderr, live_stderr));
        } else {
            captures = Some((Capture::new(stdout, cap), Capture::new(stderr, cap)));
        }
        let request = Request::Exec { job: Box::new(job), detach: false };
        send(&connection, &request, &pipes.theirs, self.name()).await?;
        Ok((Asked { name: self.name().to_owned(), connection, ending, captures, meter, limit, sender }, streams))
    }
}

pub(super) type Streams = (Option<SandboxStdin>, Option<SandboxStdout>, Option<SandboxStderr>);

/// The command's ends of its pipes, in order; they are closed here as soon as they are sent.
#[derive(Debug, Default)]
struct Pipes {
    theirs: Vec<OwnedFd>,
}

impl Pipes {
    /// stdin, and our end of it if somebody writes. Else it is at its end.
    fn input(&mut self, writes: bool) -> io::Result<Option<pipe::Sender>> {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        self.theirs.push(theirs);
        writes.then(|| pipe::Sender::from_owned_fd(ours)).transpose()
    }

    fn output(&mut self) -> io::Result<pipe::Receiver> {
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        self.theirs.push(theirs);
        pipe::Receiver::from_owned_fd(ours)
    }
}

async fn send(connection: &Connection, request: &Request, descriptors: &[OwnedFd], name: &str) -> Result<(), Error> {
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let invalid = |error: io::Error| Error::invalid("the command", error.to_string());
    let bytes = encode(request).map_err(invalid)?;
    match connection.send_bytes(&bytes, &borrowed).await {
        // Who closes before he was asked has said why.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            Err(unexpected(receive(connection, name).await?, name))
        }
        sent => sent.map_err(|error| closed(error, name)),
    }
}

async fn receive(connection: &Connection, name: &str) -> Result<Reply, Error> {
    match connection.receive().await.map_err(|error| closed(error, name))? {
        Some(received) => received.read().map_err(|error| closed(error, name)),
        None => Err(Error::gone(name)),
    }
}

pub(super) fn closed(error: io::Error, name: &str) -> Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Error::gone(name),
        _ => Error::io(format!("speak to the keeper of sandbox `{name}`"), error),
    }
}

pub(super) fn unexpected(reply: Reply, name: &str) -> Error {
    match reply {
        Reply::Refused(failure) => refused(failure, name),
        _ => Error::invalid(format!("the keeper of sandbox `{name}`"), "it answers something else"),
    }
}

/// A command that was asked for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) name: String,
    pub(super) connection: Arc<Connection>,
    pub(super) ending: Arc<Ending>,
    pub(super) captures: Option<(Capture, Capture)>,
    /// Counts what is streamed, of which so much is let through.
    pub(super) meter: Meter,
    pub(super) limit: Limit<u64>,
    /// What is still to be written to stdin, and then its end.
    pub(super) sender: Option<(pipe::Sender, Vec<u8>)>,
}

impl Asked {
    /// Waits for the end on a task of its own, while somebody has the streams.
    pub(super) fn run(self, (stdin, stdout, stderr): Streams) -> Running {
        let (connection, ending, meter) = (self.connection.clone(), self.ending.clone(), self.meter.clone());
        Running { connection, ending, meter, end: tokio::spawn(self.finish()), stdin, stdout, stderr }
    }

    /// Waits for the end, and takes in what the command writes meanwhile.
    async fn finish(self) -> Result<Outcome, Error> {
        let Self { name, connection, ending, mut captures, meter, limit, sender } = self;
        let mut writing = std::pin::pin!(write_all(sender));
        let mut is_written = false;
        let mut reply = std::pin::pin!(receive(&connection, &name));
        let reply = loop {
            let (stdout, stderr) = match &mut captures {
                Some((stdout, stderr)) => (Some(stdout), Some(stderr)),
                None => (None, None),
            };
            tokio::select! {
                reply = &mut reply => break reply,
                () = read(stdout) => {}
                () = read(stderr) => {}
                () = &mut writing, if !is_written => is_written = true,
            }
        };
        ending.tell();
        let mut outcome = match reply? {
            Reply::Ended { outcome, .. } => *outcome,
            reply => return Err(unexpected(reply, &name)),
        };
        if let Some((stdout, stderr)) = &mut captures {
            stdout.read_what_is_there();
            stderr.read_what_is_there();
            (outcome.stdout_bytes, outcome.stderr_bytes) = (stdout.written, stderr.written);
            (outcome.stdout_truncated, outcome.stderr_truncated) = (stdout.is_truncated(), stderr.is_truncated());
            outcome.stdout = Content(std::mem::take(&mut stdout.kept));
            outcome.stderr = Content(std::mem::take(&mut stderr.kept));
        } else {
            meter.tell(&mut outcome, limit);
        }
        Ok(outcome)
    }
}

/// Reads once from what is open.
async fn read(capture: Option<&mut Capture>) {
    match capture.filter(|capture| capture.is_open()) {
        Some(capture) => capture.read().await,
        None => std::future::pending().await,
    }
}

async fn write_all(sender: Option<(pipe::Sender, Vec<u8>)>) {
    if let Some((mut sender, input)) = sender {
        // A command that does not read it all has its reasons.
        let _reasons = sender.write_all(&input).await;
    }
}

/// A command that runs in a held sandbox. Dropping it ends the command with all that it started.
#[derive(Debug)]
#[must_use = "a command that is dropped ends"]
pub struct Running {
    connection: Arc<Connection>,
    ending: Arc<Ending>,
    meter: Meter,
    end: JoinHandle<Result<Outcome, Error>>,
    stdin: Option<SandboxStdin>,
    stdout: Option<SandboxStdout>,
    stderr: Option<SandboxStderr>,
}

/// Controls a command from elsewhere: cheap to clone, never waits. It keeps nothing alive.
#[derive(Clone, Debug)]
pub struct ExecController {
    connection: std::sync::Weak<Connection>,
}

impl ExecController {
    /// Sends the signal `number` (signal(7): 1 to 64) to the command's process group. Nothing happens if it has ended.
    ///
    /// # Errors
    /// When there is no such signal, or the keeper takes no more messages.
    pub fn signal(&self, number: i32) -> Result<(), Error> {
        if !(1..=64).contains(&number) {
            return Err(crate::Error::UnknownSignal { number }.into());
        }
        self.send(&Request::Signal { signal: number })
    }

    /// Ends the command with all that it started: `cancelled`, unless it had ended before.
    ///
    /// # Errors
    /// When the keeper takes no more messages.
    pub fn cancel(&self) -> Result<(), Error> {
        self.send(&Request::Cancel)
    }

    fn send(&self, request: &Request) -> Result<(), Error> {
        let Some(connection) = self.connection.upgrade() else { return Ok(()) };
        match connection.try_send(request) {
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Ok(()),
            sent => sent.map_err(|error| Error::io("speak to the sandbox's keeper", error)),
        }
    }
}

impl Running {
    /// The command's stdin, once, if it is streamed.
    pub fn take_stdin(&mut self) -> Option<SandboxStdin> {
        self.stdin.take()
    }

    /// The command's stdout, once, if it is streamed. While nobody reads it, the command waits when it writes.
    pub fn take_stdout(&mut self) -> Option<SandboxStdout> {
        self.stdout.take()
    }

    /// The command's stderr, once, if it is streamed.
    pub fn take_stderr(&mut self) -> Option<SandboxStderr> {
        self.stderr.take()
    }

    /// Something to control the command with from elsewhere.
    pub fn controller(&self) -> ExecController {
        ExecController { connection: Arc::downgrade(&self.connection) }
    }

    /// What counts the command's live output. The outcome of [`wait`](Self::wait) has what was read by then.
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// Waits for the end. Streams that nobody took are closed (stdin) or read and dropped (stdout, stderr); those that were
    /// taken are to be read to their end meanwhile.
    ///
    /// # Errors
    /// [`Error::Gone`] when the sandbox ended, and [`crate::Error::RuntimeShutDown`].
    pub async fn wait(mut self) -> Result<Outcome, Error> {
        drop(self.stdin.take());
        let untaken = discard_both(self.stdout.take(), self.stderr.take());
        let ended = tokio::select! {
            ended = &mut self.end => ended,
            never = untaken => match never {},
        };
        match ended {
            Ok(ended) => ended,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_cancelled) => Err(crate::Error::RuntimeShutDown { id: "a command".to_owned() }.into()),
            },
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // With the task goes the connection, and with that the command.
        self.end.abort();
        self.ending.tell();
    }
}
