//! A shell that lives, with its terminal and the pipes to and from it.

use super::pty::Pty;
use super::screen::bounded;
use super::status::Ear;
use crate::held::terminal::Shell;
use crate::keeper::pace::Pace;
use pinfold_runner::Failure;
use rustix::fs::{Mode, fchmod};
use rustix::pipe::{PipeFlags, pipe_with};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;

/// How much is read at once of what a shell says.
const CHUNK: usize = 4096;

/// How a shell ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Its exit code, or 128 and the number of the signal that killed it.
    pub(crate) exit_code: Option<i32>,
    /// In words.
    pub(crate) how: String,
}

/// A shell that was started with four descriptors, which it finds from number 3 on.
pub(crate) struct Started {
    /// Its terminal.
    pub(crate) master: OwnedFd,
    /// Its process, which leads the terminal's session, as our pid namespace numbers it.
    pub(crate) pid: i32,
    /// Its end.
    pub(crate) end: Pin<Box<dyn Future<Output = End>>>,
    /// Ends it, with what it started.
    pub(crate) kill: Box<dyn Fn()>,
}

/// What comes back when a shell is being started.
pub(crate) type Starting = Pin<Box<dyn Future<Output = Result<Started, Failure>>>>;

/// Starts a shell on a terminal of this size.
pub(crate) type Starter = Box<dyn Fn((u16, u16), [OwnedFd; 4]) -> Starting>;

/// What happened to a shell.
pub(super) enum Event {
    Output(Vec<u8>),
    Said(Vec<u8>),
    /// Nobody can say anything any more: the process that held the pipes is gone.
    Lost,
    /// So much of what it is to hear, or of its input, has been taken.
    Told(usize),
    Taken(usize),
    Ended(End),
}

/// See above.
pub(super) struct Living {
    pub(super) pty: Pty,
    pub(super) pid: i32,
    pub(super) ear: Ear,
    pub(super) kill: Box<dyn Fn()>,
    tell: pipe::Sender,
    hear: pipe::Receiver,
    /// Closed with us; then the process that holds the pipes inside ends.
    _hold: OwnedFd,
    untold: VecDeque<u8>,
    end: Pin<Box<dyn Future<Output = End>>>,
    is_deaf: bool,
}

impl Living {
    pub(super) async fn start(starter: &Starter, shell: Shell, size: (u16, u16)) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::new("io", format!("failed to make a pipe: {error}"));
        let (commands, tell) = pipe().map_err(failed)?;
        let (hear, status) = pipe().map_err(failed)?;
        let (held, hold) = pipe().map_err(failed)?;
        let (init, text) = pipe().map_err(failed)?;
        // A pipe has room for it: pipe(7).
        rustix::io::write(&text, shell.init().as_bytes()).map_err(|errno| failed(errno.into()))?;
        drop(text);
        let tell = pipe::Sender::from_owned_fd(tell).map_err(failed)?;
        let hear = pipe::Receiver::from_owned_fd(hear).map_err(failed)?;
        let Started { master, pid, end, kill } = starter(bounded(size), [commands, status, held, init]).await?;
        let pty = Pty::new(master).map_err(|error| Failure::new("io", format!("failed to use a terminal: {error}")))?;
        pty.input_now(shell.first_line());
        let untold = VecDeque::new();
        Ok(Self { pty, pid, ear: Ear::new(), kill, tell, hear, _hold: hold, untold, end, is_deaf: false })
    }

    /// Says something to the shell, as soon as it listens.
    pub(super) fn say(&mut self, bytes: &[u8]) {
        self.untold.extend(bytes);
    }

    /// What was said has arrived so far.
    pub(super) fn told(&mut self, length: usize) {
        self.untold.drain(..length);
    }

    /// Waits until something happens. Loses nothing when dropped halfway. Output is read when the pace allows it.
    pub(super) async fn next(&mut self, input: &[u8], pace: &Pace) -> Event {
        let mut said = vec![0; CHUNK];
        let untold = self.untold.as_slices().0;
        tokio::select! {
            output = async { pace.wait().await; self.pty.output().await } => match output {
                Ok(bytes) => Event::Output(bytes),
                Err(_hung_up) => Event::Ended((&mut self.end).await),
            },
            length = self.hear.read(&mut said), if !self.is_deaf => match length {
                Ok(length @ 1..) => {
                    said.truncate(length);
                    Event::Said(said)
                }
                _ => {
                    self.is_deaf = true;
                    Event::Lost
                }
            },
            length = self.tell.write(untold), if !untold.is_empty() => match length {
                Ok(length) => Event::Told(length),
                Err(_nobody_listens) => Event::Told(untold.len()),
            },
            length = self.pty.input(input), if !input.is_empty() => match length {
                Ok(length) => Event::Taken(length),
                Err(_hung_up) => Event::Taken(input.len()),
            },
            end = &mut self.end => Event::Ended(end),
        }
    }
}

/// A pipe whose ends its holders may open anew by way of `/proc`, whoever they are: a sandbox has another user than we.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    fchmod(&read, Mode::from_raw_mode(0o666))?;
    Ok((read, write))
}
