//! A command that reads nothing of ours and whose output fits where it goes: one loop over poll(2). A runtime would take as
//! long as a short command does. Where something has to be waited for but the command, one is made and goes on.

use super::{ExecOptions, job, on_runtime, or_failed, see_through};
use crate::cli::exit::Exit;
use crate::cli::message;
use crate::cli::run::failure_of;
use crate::cli::run::relay::{write_all, write_now};
use crate::cli::run::signal::{HeldBack, SIGINT, SIGTERM, Signals};
use crate::cli::run::verdict::{self, Ended};
use crate::cli::value::reason;
use pinfold::held::{Begun, Error, Sandboxes};
use pinfold::{Failure, Job, Outcome};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How much is read at once, in bytes.
const CHUNK: usize = 4 << 10;

/// How far we came.
enum Turn {
    /// It has ended. What of its last words could not be written at once comes along.
    Ended(Box<Outcome>, [Vec<u8>; 2]),
    /// Somebody has to be waited for: who reads us, or who sent a signal.
    Wait([Vec<u8>; 2]),
}

pub(super) fn run(options: &ExecOptions) -> Result<Exit, Failure> {
    let job = job(options).map_err(|reason| Failure::new("invalid", reason))?;
    // Before anything runs, so that no signal is lost and none ends us alone.
    let signals = HeldBack::new().map_err(failure_of("catch signals"))?;
    let begun = Sandboxes::new().begin(&options.name, job.clone()).map_err(Error::into_failure)?;
    match follow(&begun, &signals)? {
        Turn::Ended(outcome, unwritten) => {
            let ended = drain(unwritten, &signals).map_err(failure_of("pass stdio on"))?;
            Ok(verdict::tell(&outcome, &job, ended))
        }
        Turn::Wait(unwritten) => Ok(on_runtime(go_on(begun, &job, signals, unwritten))),
    }
}

/// Passes on what is written, for as long as that takes no waiting.
fn follow(begun: &Begun, signals: &HeldBack) -> Result<Turn, Failure> {
    let mut open = [true; 2];
    loop {
        let streams = [begun.stdout(), begun.stderr()];
        let [keeper, signal, ready @ ..] =
            wait(begun.as_fd(), signals.as_fd(), streams, open).map_err(failure_of("wait for the command"))?;
        if signal {
            return Ok(Turn::Wait(Default::default()));
        }
        for index in (0..2).filter(|index| ready[*index]) {
            let mut chunk = [0; CHUNK];
            let length = rustix::io::read(streams[index], &mut chunk).unwrap_or(0);
            open[index] = length > 0;
            let unwritten = pass(index, &chunk[..length]);
            if !unwritten.is_empty() {
                return Ok(Turn::Wait(place(index, unwritten)));
            }
        }
        if keeper && let Some(outcome) = begun.outcome().map_err(Error::into_failure)? {
            let mut unwritten: [Vec<u8>; 2] = Default::default();
            for index in 0..2 {
                unwritten[index] = rest(index, streams[index]);
            }
            return Ok(Turn::Ended(Box::new(outcome), unwritten));
        }
    }
}

/// Who is ready: the keeper, a signal, stdout, stderr.
fn wait(
    keeper: BorrowedFd<'_>,
    signals: BorrowedFd<'_>,
    streams: [BorrowedFd<'_>; 2],
    open: [bool; 2],
) -> io::Result<[bool; 4]> {
    let mut fds =
        vec![PollFd::from_borrowed_fd(keeper, PollFlags::IN), PollFd::from_borrowed_fd(signals, PollFlags::IN)];
    fds.extend(
        (0..2).filter(|index| open[*index]).map(|index| PollFd::from_borrowed_fd(streams[index], PollFlags::IN)),
    );
    while let Err(errno) = poll(&mut fds, None) {
        if errno != Errno::INTR {
            return Err(errno.into());
        }
    }
    let mut told = fds.iter().map(|fd| !fd.revents().is_empty());
    let mut next = || told.next().unwrap_or(false);
    Ok([next(), next(), open[0] && next(), open[1] && next()])
}

/// Writes to our stdout, or stderr, what can be written at once; the rest.
fn pass(index: usize, bytes: &[u8]) -> Vec<u8> {
    let written = match index {
        _ if bytes.is_empty() => 0,
        0 => write_now(io::stdout(), bytes),
        _ => write_now(io::stderr(), bytes),
    };
    bytes[written..].to_vec()
}

fn place(index: usize, bytes: Vec<u8>) -> [Vec<u8>; 2] {
    let mut both: [Vec<u8>; 2] = Default::default();
    both[index] = bytes;
    both
}

/// Passes on what the pipe holds now that the command has ended, and no more: a background process may fill it as fast as we
/// read. What can't be written at once comes back.
fn rest(index: usize, stream: BorrowedFd<'_>) -> Vec<u8> {
    let mut left = rustix::io::ioctl_fionread(stream).unwrap_or(0);
    let mut unwritten = Vec::new();
    let mut chunk = [0; CHUNK];
    while left > 0 {
        let Ok(length @ 1..) = rustix::io::read(stream, &mut chunk) else { break };
        left = left.saturating_sub(length as u64);
        match unwritten.is_empty() {
            true => unwritten = pass(index, &chunk[..length]),
            false => unwritten.extend_from_slice(&chunk[..length]),
        }
    }
    unwritten
}

/// Writes the last words to somebody who reads slowly, or never: SIGINT and SIGTERM end that, as the command has ended.
fn drain(unwritten: [Vec<u8>; 2], signals: &HeldBack) -> io::Result<Ended> {
    if unwritten.iter().all(Vec::is_empty) {
        return Ok(Ended::Itself);
    }
    let (done, work): (OwnedFd, OwnedFd) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let writer = std::thread::Builder::new().name("output".to_owned()).spawn(move || {
        let [stdout, stderr] = unwritten;
        let write = |target: BorrowedFd<'_>, bytes| write_all(&mut target.try_clone_to_owned()?.into(), bytes);
        let written = write(io::stdout().as_fd(), &stdout);
        // What of stderr can't be written, nobody misses: there is no place to say so.
        let _missed = write(io::stderr().as_fd(), &stderr);
        drop(work);
        written
    })?;
    loop {
        let mut fds = [PollFd::new(&done, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        if poll(&mut fds, None).is_ok() && !fds[0].revents().is_empty() {
            break;
        }
        if matches!(signals.take(), Some(SIGINT | SIGTERM)) {
            return Ok(Ended::Itself);
        }
    }
    Ok(match writer.join() {
        Ok(Err(error)) if error.kind() == ErrorKind::BrokenPipe => Ended::ClosedOutput,
        Ok(Err(error)) => {
            message::error(&format!("failed to write to stdout: {}", reason(&error)), None);
            Ended::FailedOutput
        }
        _ => Ended::Itself,
    })
}

/// Goes on where somebody has to be waited for.
async fn go_on(begun: Begun, job: &Job, held_back: HeldBack, unwritten: [Vec<u8>; 2]) -> Exit {
    let through = async {
        let mut signals = Signals::new().map_err(failure_of("catch signals"))?;
        held_back.release().map_err(failure_of("catch signals"))?;
        let running = begun.running().map_err(Error::into_failure)?;
        see_through(running, job, &mut signals, unwritten).await
    };
    or_failed(through.await)
}
