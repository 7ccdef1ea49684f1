//! Terminals of held sandboxes: real ones, each with a shell that keeps its state from one command to the next.

pub(crate) mod ask;
mod command;
mod types;

use self::ask::{TerminalAnswer, TerminalAsk, What, unwrap, wrap};
pub use self::command::OnTerminal;
pub use self::types::{RunOptions, RunOutput, Shell, TerminalInfo, TerminalOptions, TerminalState};
use super::client::Held;
use super::connect::refused;
use super::error::Error;
use super::wire::{Reply, Request};
use pinfold_runner::Content;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

/// More than any screen with its scrollback has, in bytes.
const LONGEST_SCREEN: usize = 64 << 20;

impl Held {
    /// The terminal of the options' name: the one that is there, or a new one. What a terminal that is there was made with
    /// stays as it is.
    ///
    /// # Errors
    /// [`Error::Failed`] when the sandbox does not have the shell.
    pub async fn terminal(&self, options: TerminalOptions) -> Result<Terminal, Error> {
        let name = options.name.clone();
        match ask_terminal(self, &TerminalAsk::Open(Box::new(options)), None).await? {
            (TerminalAnswer::Info(_), _) => Ok(Terminal { held: self.clone(), name }),
            _ => Err(unexpected(self)),
        }
    }

    /// The terminal of that name if there is one, also one whose shell has ended. None is made.
    ///
    /// # Errors
    /// When the sandbox has ended.
    pub async fn find_terminal(&self, name: &str) -> Result<Option<Terminal>, Error> {
        let is_there = self.terminals().await?.iter().any(|info| info.name == name);
        Ok(is_there.then(|| Terminal { held: self.clone(), name: name.to_owned() }))
    }

    /// The terminals that were started and not closed, by name.
    ///
    /// # Errors
    /// When the sandbox has ended.
    pub async fn terminals(&self) -> Result<Vec<TerminalInfo>, Error> {
        match ask_terminal(self, &TerminalAsk::List, None).await? {
            (TerminalAnswer::List(list), _) => Ok(list),
            _ => Err(unexpected(self)),
        }
    }
}

/// A terminal. It stays when this is dropped, until it is closed or the sandbox ends.
#[derive(Clone, Debug)]
pub struct Terminal {
    held: Held,
    name: String,
}

impl Terminal {
    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a text in the shell, as if it had been typed, and waits for its end. What it writes comes back byte by byte,
    /// with the shell's `$?`, which no output can forge.
    ///
    /// What somebody else writes to the terminal meanwhile, such as a job in the background, is in the output too.
    ///
    /// # Errors
    /// [`Error::Busy`] when something runs in the terminal already; [`Error::Failed`] with the code `ended` when its shell
    /// has.
    pub async fn run_command(&self, text: impl AsRef<[u8]>, options: RunOptions) -> Result<RunOutput, Error> {
        let failed = |error: io::Error| Error::io("pass a text to a terminal", error);
        let timeout_ms = options.timeout.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        let what = What::Run { timeout_ms, output_bytes: options.output_bytes };
        let text = wrap(text.as_ref()).map_err(failed)?;
        let (answer, output) = self.ask(what, Some(text)).await?;
        match (answer, output) {
            (TerminalAnswer::Ran(ran), Some(output)) => {
                let most = usize::try_from(options.output_bytes).unwrap_or(usize::MAX);
                let output = unwrap(output, most).map_err(|error| Error::io("read what a terminal wrote", error))?;
                Ok(RunOutput { output: Content(output), ..*ran })
            }
            _ => Err(unexpected(&self.held)),
        }
    }

    /// Types something, at most 64 KiB at once.
    ///
    /// # Errors
    /// [`Error::Busy`] when nobody has read what was typed before.
    pub async fn write(&self, bytes: impl Into<Vec<u8>>) -> Result<(), Error> {
        self.done(What::Write { bytes: Content(bytes.into()) }).await
    }

    /// Gives it another size. The one that was set last holds for every client.
    ///
    /// # Errors
    /// When there is no such terminal any more.
    pub async fn resize(&self, rows: u16, columns: u16) -> Result<(), Error> {
        self.done(What::Resize { rows, columns }).await
    }

    /// Sends SIGINT to what is in the foreground, as Ctrl-C does, whatever the terminal's modes are.
    ///
    /// # Errors
    /// As above.
    pub async fn interrupt(&self) -> Result<(), Error> {
        self.done(What::Interrupt).await
    }

    /// What it is doing.
    ///
    /// # Errors
    /// As above.
    pub async fn info(&self) -> Result<TerminalInfo, Error> {
        match self.ask(What::Info, None).await? {
            (TerminalAnswer::Info(info), _) => Ok(*info),
            _ => Err(unexpected(&self.held)),
        }
    }

    /// The text on its screen, behind what has scrolled off it if that is asked for.
    ///
    /// # Errors
    /// As above.
    pub async fn screen(&self, with_scrollback: bool) -> Result<String, Error> {
        let (_, text) = self.ask(What::Screen { scrollback: with_scrollback }, None).await?;
        let text = text.ok_or_else(|| unexpected(&self.held))?;
        let text = unwrap(text, LONGEST_SCREEN).map_err(|error| Error::io("read what a terminal shows", error))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Shows everything from now on, behind the screen and the scrollback as they are, and types what is written. It takes
    /// this size, if one is given. Dropping it detaches; the shell goes on.
    ///
    /// # Errors
    /// [`Error::Failed`] with the code `ended` when the shell has ended.
    pub async fn attach(&self, size: Option<(u16, u16)>) -> Result<Attached, Error> {
        let (_, socket) = self.ask(What::Attach { size }, None).await?;
        let socket = std::os::unix::net::UnixStream::from(socket.ok_or_else(|| unexpected(&self.held))?);
        let failed = |error: io::Error| Error::io("attach to a terminal", error);
        socket.set_nonblocking(true).map_err(failed)?;
        Ok(Attached(UnixStream::from_std(socket).map_err(failed)?))
    }

    /// Ends its shell with everything that was started in it, and forgets it.
    ///
    /// # Errors
    /// As above.
    pub async fn close(&self) -> Result<(), Error> {
        self.done(What::Close).await
    }

    async fn done(&self, what: What) -> Result<(), Error> {
        match self.ask(what, None).await? {
            (TerminalAnswer::Done, _) => Ok(()),
            _ => Err(unexpected(&self.held)),
        }
    }

    async fn ask(&self, what: What, along: Option<OwnedFd>) -> Result<(TerminalAnswer, Option<OwnedFd>), Error> {
        ask_terminal(&self.held, &TerminalAsk::Of { terminal: self.name.clone(), what }, along).await
    }
}

/// A client's end of a terminal: what it shows is read, what is typed is written; end-of-file when the shell has ended.
#[derive(Debug)]
pub struct Attached(UnixStream);

impl AsyncRead for Attached {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Attached {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

fn unexpected(held: &Held) -> Error {
    Error::invalid(format!("the keeper of sandbox `{}`", held.name()), "it answers something else")
}

/// Asks on a connection of its own, since a command may take as long as it likes.
async fn ask_terminal(
    held: &Held,
    ask: &TerminalAsk,
    along: Option<OwnedFd>,
) -> Result<(TerminalAnswer, Option<OwnedFd>), Error> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Error::gone(held.name()),
        _ => Error::io(format!("speak to the keeper of sandbox `{}`", held.name()), error),
    };
    let connection = held.connect()?;
    let along: Vec<_> = along.iter().map(AsFd::as_fd).collect();
    connection.send(&Request::Terminal(ask.clone()), &along).await.map_err(failed)?;
    let Some(mut received) = connection.receive().await.map_err(failed)? else { return Err(Error::gone(held.name())) };
    let descriptor = received.descriptors.pop();
    match received.read().map_err(failed)? {
        Reply::Terminal(answer) => Ok((answer, descriptor)),
        Reply::Refused(failure) if failure.code == "invalid" => Err(Error::invalid("a terminal", failure.message)),
        Reply::Refused(failure) => Err(refused(failure, held.name())),
        _ => Err(unexpected(held)),
    }
}
