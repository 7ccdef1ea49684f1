//! The end of a sandbox from outside, which is not over before nothing of it is left.

use super::connect::{Line, PATIENCE, is_readable};
use super::error::Error;
use super::runtime::Runtime;
use super::wire::{Reply, Request};
use crate::workspace::key::Key;
use rustix::process::{Signal, pidfd_send_signal};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long a keeper may take to end its sandbox: its own patience with a runner that does not end, thrice, and some more.
const LONGEST: Duration = Duration::from_secs(20);

/// What became of a sandbox that was to be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It ended as it should.
    Orderly,
    /// Its keeper did not react, and was killed. The sandbox ended with it.
    Killed,
    /// There was none.
    AlreadyGone,
}

/// Ends the sandbox of that key. Nothing of it is left when this returns.
///
/// # Errors
/// [`Error::Busy`] when it does not wish to.
pub(crate) fn ask(runtime: &Runtime, key: &Key, name: &str, request: &Request) -> Result<Stopped, Error> {
    let start = Instant::now();
    let Some(line) = Line::open(runtime, key, PATIENCE)? else {
        runtime.sweep()?;
        return Ok(Stopped::AlreadyGone);
    };
    let keeper = line.keeper();
    let asked = line.ask(request, name, PATIENCE);
    let mut ended = match asked {
        Ok(Reply::Stopping) => waits_for_end(&line, LONGEST.saturating_sub(start.elapsed())),
        Ok(_) | Err(Error::Gone { .. }) => true,
        Err(busy @ Error::Busy { .. }) => return Err(busy),
        Err(_silent) => false,
    };
    if let Some(keeper) = keeper {
        // Closed sockets are seen a moment before the process is gone.
        ended = ended && is_readable(keeper.as_fd(), PATIENCE);
        if !ended {
            let _gone = pidfd_send_signal(&keeper, Signal::KILL);
            is_readable(keeper.as_fd(), PATIENCE);
        }
    }
    if ended {
        return Ok(Stopped::Orderly);
    }
    runtime.sweep()?;
    match runtime.lives(key) {
        true => Err(Error::Timeout { what: format!("end sandbox `{name}`") }),
        false => Ok(Stopped::Killed),
    }
}

/// Waits until the keeper has closed the connection, which it does when it has ended.
fn waits_for_end(line: &Line, patience: Duration) -> bool {
    let start = Instant::now();
    loop {
        match line.receive(patience.saturating_sub(start.elapsed())) {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(error) => return error.kind() != std::io::ErrorKind::TimedOut,
        }
    }
}
