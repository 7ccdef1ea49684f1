//! One command on a terminal of its own, which ends with it.

use super::Attached;
use super::ask::TerminalAsk;
use crate::held::connect::refused;
use crate::held::wire::{Connection, Reply, Request};
use crate::held::{Error, Held};
use crate::keeper::terminal::Pty;
use pinfold_runner::{Job, Outcome};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

/// How much is read at once of what is typed.
const CHUNK: usize = 16 << 10;

impl Held {
    /// Starts a command on a terminal of its own.
    ///
    /// # Errors
    /// As [`exec`](Held::exec).
    pub async fn exec_on_terminal(&self, job: Job, rows: u16, columns: u16) -> Result<OnTerminal, Error> {
        let failed = |error: io::Error| Error::io(format!("speak to the keeper of sandbox `{}`", self.name()), error);
        let connection = self.connect()?;
        let request = Request::Terminal(TerminalAsk::Exec { job: Box::new(job), rows, columns });
        connection.send(&request, &[]).await.map_err(failed)?;
        let mut received = connection.receive().await.map_err(failed)?.ok_or_else(|| Error::gone(self.name()))?;
        let master = received.descriptors.pop();
        let master = match (received.read().map_err(failed)?, master) {
            (Reply::Terminal(_), Some(master)) => master,
            (Reply::Refused(failure), _) => return Err(refused(failure, self.name())),
            // It could not be executed, and that is its end.
            (Reply::Ended { outcome, .. }, _) => {
                return Ok(OnTerminal { attached: None, pty: None, end: tokio::spawn(async { Ok(*outcome) }) });
            }
            _ => return Err(super::unexpected(self)),
        };
        let pty = Arc::new(Pty::new(master).map_err(failed)?);
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let end = tokio::spawn(relay(pty.clone(), ours, connection, self.name().to_owned()));
        Ok(OnTerminal { attached: Some(Attached(theirs)), pty: Some(pty), end })
    }
}

/// A command on a terminal of its own. Dropping it ends the command with all that it started.
#[derive(Debug)]
#[must_use = "a command that is dropped ends"]
pub struct OnTerminal {
    attached: Option<Attached>,
    pty: Option<Arc<Pty>>,
    end: JoinHandle<Result<Outcome, Error>>,
}

impl OnTerminal {
    /// What the terminal shows and takes, once; end-of-file when the command has ended.
    pub fn take_terminal(&mut self) -> Option<Attached> {
        self.attached.take()
    }

    /// Something to tell the terminal another size with.
    pub fn resizer(&self) -> impl Fn(u16, u16) + Send + 'static {
        let pty = self.pty.clone();
        move |rows, columns| {
            if let Some(pty) = &pty {
                pty.resize((rows, columns));
            }
        }
    }

    /// Waits for the command's end.
    ///
    /// # Errors
    /// [`Error::Gone`] when the sandbox has ended.
    pub async fn wait(&mut self) -> Result<Outcome, Error> {
        match (&mut self.end).await {
            Ok(ended) => ended,
            Err(error) => Err(Error::io("wait for the command", io::Error::other(error))),
        }
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        // With it the connection closes.
        self.end.abort();
    }
}

async fn relay(pty: Arc<Pty>, mut client: UnixStream, connection: Connection, name: String) -> Result<Outcome, Error> {
    let mut typed = vec![0; CHUNK];
    let (mut reads, mut shows) = (true, true);
    let ended = loop {
        tokio::select! {
            output = pty.output(), if shows => match output {
                Ok(bytes) => shows = client.write_all(&bytes).await.is_ok(),
                Err(_hung_up) => shows = false,
            },
            length = client.read(&mut typed), if reads => match length {
                Ok(length @ 1..) => {
                    let mut rest = &typed[..length];
                    while !rest.is_empty() && let Ok(taken) = pty.input(rest).await {
                        rest = &rest[taken..];
                    }
                }
                _ => reads = false,
            },
            received = connection.receive() => break received,
        }
    };
    while shows && let Some(bytes) = pty.output_now() {
        shows = client.write_all(&bytes).await.is_ok();
    }
    match ended.ok().flatten().map(|received| received.read()) {
        Some(Ok(Reply::Ended { outcome, .. })) => Ok(*outcome),
        Some(Ok(Reply::Refused(failure))) => Err(refused(failure, &name)),
        _ => Err(Error::gone(&name)),
    }
}
