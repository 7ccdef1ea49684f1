//! What a client and a keeper say to each other about terminals. Text and output, which may be long, go through memory that
//! is passed along (memfd_create(2)).

use super::types::{TerminalInfo, TerminalOptions};
use pinfold_runner::{Content, Job};
use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// The longest text of a command, in bytes.
pub(crate) const LONGEST_TEXT: usize = 1 << 20;

/// The most that a client may type in one request, in bytes.
pub(crate) const LONGEST_INPUT: usize = 64 << 10;

/// What a client asks of one terminal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum TerminalAsk {
    /// Start it unless it is there: [`TerminalAnswer::Info`].
    Open(Box<TerminalOptions>),
    /// Which there are: [`TerminalAnswer::List`].
    List,
    /// Run one command on a terminal of its own: [`TerminalAnswer::Attached`], which brings its master, then
    /// [`Reply::Ended`](crate::held::wire::Reply::Ended). It is signalled and ended as one without a terminal.
    Exec { job: Box<Job>, rows: u16, columns: u16 },
    /// Something about this one.
    Of { terminal: String, what: What },
}

/// What is to be done with a terminal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum What {
    /// Tell how it is: [`TerminalAnswer::Info`].
    Info,
    /// Run a text, which comes along: [`TerminalAnswer::Ran`].
    Run { timeout_ms: Option<u64>, output_bytes: u64 },
    /// Type this: [`TerminalAnswer::Done`].
    Write { bytes: Content },
    /// Be of this size.
    Resize { rows: u16, columns: u16 },
    /// Interrupt what is in the foreground.
    Interrupt,
    /// What is on the screen: [`TerminalAnswer::Screen`], which brings it.
    Screen { scrollback: bool },
    /// Show everything, and take what is typed: [`TerminalAnswer::Attached`], which brings a socket for both. It begins
    /// with the screen as it is.
    Attach { size: Option<(u16, u16)> },
    /// End the shell and forget the terminal.
    Close,
}

/// What a keeper answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum TerminalAnswer {
    Info(Box<TerminalInfo>),
    List(Vec<TerminalInfo>),
    /// A command has ended. Its output comes along and is left out of this.
    Ran(Box<super::types::RunOutput>),
    Screen,
    Attached,
    Done,
}

/// Puts bytes into memory that can be passed along.
pub(crate) fn wrap(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("pinfold-terminal", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file.into())
}

/// The bytes in such memory. From its beginning, wherever its writer has left off.
pub(crate) fn unwrap(memory: OwnedFd, most: usize) -> io::Result<Vec<u8>> {
    // Nothing but a memfd or a file has seals, and a pipe could keep us waiting.
    rustix::fs::fcntl_get_seals(&memory)?;
    let file = File::from(memory);
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if length > most {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is longer than {most} bytes")));
    }
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
