//! A command as it was asked for, for who waits with poll(2): without a tokio runtime, or before there is one.

use super::client::Sandboxes;
use super::connect::open;
use super::error::Error;
use super::exec::{Asked, Running, closed, unexpected};
use super::find;
use super::name::Name;
use super::output::{Ending, Meter};
use super::runtime::Runtime;
use super::wire::{Connection, Reply, Request, encode, receive_now, send_now};
use crate::stdio::{SandboxStderr, SandboxStdout};
use pinfold_runner::{Job, Limit, Outcome};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::unix::pipe;

/// How long a keeper may have a queue of clients.
const PATIENCE: Duration = Duration::from_millis(200);

/// A command that was asked for, and may have ended by now. Its descriptor is readable as soon as its end is told. Dropping
/// it ends the command with all that it started.
#[derive(Debug)]
#[must_use = "a command that is dropped ends"]
pub struct Begun {
    name: String,
    keeper: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
    limit: Limit<u64>,
}

impl Sandboxes {
    /// Starts a command, whose stdin is empty, in the sandbox of this name or id. Needs no tokio runtime and no thread.
    ///
    /// # Errors
    /// As [`get`](Self::get), and as [`Held::exec`](super::Held::exec).
    pub fn begin(&self, name: &str, job: Job) -> Result<Begun, Error> {
        let key = Name::try_from(name)?.key()?;
        let Some(runtime) = Runtime::open(self.path(), false)? else { return Err(Error::not_found(name)) };
        // Who listens lives: there is nothing that its record could add. Only an id has to be looked up.
        if let Some(keeper) = open(&runtime, &key, PATIENCE)? {
            return Begun::ask(keeper, name, job);
        }
        let found = find::find(&runtime, name)?;
        let keeper = open(&runtime, &found.key, PATIENCE)?.ok_or_else(|| Error::not_found(name))?;
        Begun::ask(keeper, found.record.name.as_str(), job)
    }
}

impl Begun {
    fn ask(keeper: OwnedFd, name: &str, job: Job) -> Result<Self, Error> {
        if !job.stdin.0.is_empty() {
            return Err(Error::invalid("the command", "it has an empty stdin where nobody writes to it"));
        }
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|errno| Error::io("make a pipe", errno));
        let ((stdin, _closed), (stdout, their_stdout), (stderr, their_stderr)) = (pipe()?, pipe()?, pipe()?);
        let limit = job.limits.output_bytes;
        let request = Request::Exec { job: Box::new(job), detach: false };
        let bytes = encode(&request).map_err(|error| Error::invalid("the command", error.to_string()))?;
        let begun = Self { name: name.to_owned(), keeper, stdout, stderr, limit };
        // A new connection has room for a message.
        match send_now(begun.keeper.as_fd(), &bytes, &[stdin.as_fd(), their_stdout.as_fd(), their_stderr.as_fd()]) {
            // Who closes before he was asked has said why.
            Err(Errno::PIPE) => Err(begun.refused()),
            sent => sent.map(|()| begun).map_err(|errno| closed(errno.into(), name)),
        }
    }

    fn refused(&self) -> Error {
        match receive_now(self.keeper.as_fd()).map(|received| received.map(|received| received.read())) {
            Ok(Some(Ok(reply))) => unexpected(reply, &self.name),
            _ => Error::gone(&self.name),
        }
    }

    /// How it ended, if it has; does not wait. What it wrote is in the pipes.
    ///
    /// # Errors
    /// As [`Held::exec`](super::Held::exec).
    pub fn outcome(&self) -> Result<Option<Outcome>, Error> {
        let received = match receive_now(self.keeper.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            received => received.map_err(|error| closed(error, &self.name))?,
        };
        let received = received.ok_or_else(|| Error::gone(&self.name))?;
        match received.read().map_err(|error| closed(error, &self.name))? {
            Reply::Ended { outcome, .. } => Ok(Some(*outcome)),
            reply => Err(unexpected(reply, &self.name)),
        }
    }

    /// What it writes to stdout. Other processes may have the pipe when it has ended.
    pub fn stdout(&self) -> BorrowedFd<'_> {
        self.stdout.as_fd()
    }

    /// What it writes to stderr.
    pub fn stderr(&self) -> BorrowedFd<'_> {
        self.stderr.as_fd()
    }

    /// Hands it over to the current tokio runtime, where its end was not told yet.
    ///
    /// # Errors
    /// When the runtime takes no descriptors.
    pub fn running(self) -> Result<Running, Error> {
        let failed = |error: io::Error| Error::io("wait for the command", error);
        let Self { name, keeper, stdout, stderr, limit } = self;
        let (ending, meter) = (Arc::new(Ending::default()), Meter::default());
        let (live_stdout, live_stderr) = meter.streams(&ending, limit.value().unwrap_or(u64::MAX));
        let receiver = |end| pipe::Receiver::from_owned_fd(end).map_err(failed);
        let stdout = SandboxStdout::of_command(receiver(stdout)?, live_stdout);
        let stderr = SandboxStderr::of_command(receiver(stderr)?, live_stderr);
        let connection = Arc::new(Connection::new(keeper).map_err(failed)?);
        let asked = Asked { name, connection, ending, captures: None, meter, limit, sender: None };
        Ok(asked.run((None, Some(stdout), Some(stderr))))
    }
}

impl AsFd for Begun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.keeper.as_fd()
    }
}
