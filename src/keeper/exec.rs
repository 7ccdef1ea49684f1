//! Commands: with descriptors of the client's, which go to the runner unread, or detached, with output into the log.

use super::activity::Work;
use super::link::{Asked, Event, gone};
use super::serve::Keeper;
use crate::held::LogEvent;
use crate::held::terminal::ask::TerminalAnswer;
use crate::held::wire::{Connection, Reply, Request};
use pinfold_runner::{Ask, Failure, Job, Outcome, SandboxId, check_exec};
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

/// How much of a stream is read at once, in bytes.
const CHUNK: usize = 16 << 10;

/// How long a detached command may take until it is executed; the sandbox may be short of everything.
const PATIENCE: Duration = Duration::from_secs(60);

impl Keeper {
    /// The job of a command as the runner gets it: checked, and under a name that says which it is.
    pub(crate) fn complete(&self, mut job: Box<Job>, number: u64) -> Result<Box<Job>, Failure> {
        let invalid = |error: &dyn std::fmt::Display| Failure::new("invalid", error.to_string());
        check_exec(&job).map_err(|error| invalid(&error))?;
        if job.command.is_none() {
            return Err(invalid(&"there is no command"));
        }
        if job.id.is_none() {
            job.id = SandboxId::try_from(format!("{}.{number}", self.record.id)).ok();
        }
        Ok(job)
    }

    /// Asks the runner for a command and notes it.
    pub(crate) async fn begin(
        &self,
        job: Box<Job>,
        terminal: Option<(u16, u16)>,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Asked, Failure> {
        if self.is_stopping() {
            return Err(gone());
        }
        let number = self.link.number();
        let job = self.complete(job, number)?;
        let words = job.command.as_slice().join(" ");
        let asked = self.link.exec(number, job, terminal, descriptors).await?;
        self.log.note(Some(number), LogEvent::Begun, &words);
        Ok(asked)
    }
}

/// Runs a command for as long as its client stays, and tells him how it ended.
pub(super) async fn attached(
    keeper: &Rc<Keeper>,
    client: &Connection,
    job: Box<Job>,
    descriptors: Vec<OwnedFd>,
) -> Reply {
    see_through(keeper, client, job, None, descriptors).await
}

/// The same on a terminal of its own, which the client gets.
pub(super) async fn on_terminal(keeper: &Rc<Keeper>, client: &Connection, job: Box<Job>, size: (u16, u16)) -> Reply {
    see_through(keeper, client, job, Some(size), Vec::new()).await
}

async fn see_through(
    keeper: &Rc<Keeper>,
    client: &Connection,
    job: Box<Job>,
    terminal: Option<(u16, u16)>,
    descriptors: Vec<OwnedFd>,
) -> Reply {
    let _busy = keeper.activity.begin(Work::Command);
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut asked = match keeper.begin(job, terminal, &borrowed).await {
        Ok(asked) => asked,
        Err(failure) => return Reply::Refused(failure),
    };
    // The command's ends are the runner's now; a copy of ours would keep the client from seeing their end.
    drop(borrowed);
    drop(descriptors);
    let number = asked.number;
    let mut listens = true;
    loop {
        tokio::select! {
            event = asked.events.recv() => match event {
                Some(Event::Executed { terminal: Some(master) }) => {
                    let told = Reply::Terminal(TerminalAnswer::Attached);
                    // Whoever does not take it is gone, which is seen below.
                    let _gone = client.send(&told, &[master.as_fd()]).await;
                }
                Some(Event::Executed { .. }) => {}
                Some(Event::Ended(outcome)) => return ended(keeper, number, outcome),
                None => return Reply::Refused(gone()),
            },
            received = client.receive(), if listens => {
                let ask = match received.ok().flatten().map(|received| received.read()) {
                    Some(Ok(Request::Signal { signal })) if (1..=64).contains(&signal) => Ask::Signal { number, signal },
                    // Whoever is gone, or talks nonsense, does not get to see the end.
                    _ => {
                        listens = false;
                        Ask::Cancel { number }
                    }
                };
                if let Err(failure) = keeper.link.send(&ask, &[]).await {
                    return Reply::Refused(failure);
                }
            }
        }
    }
}

fn ended(keeper: &Keeper, number: u64, outcome: Box<Outcome>) -> Reply {
    keeper.log.ended(number, &outcome);
    Reply::Ended { number, outcome }
}

/// Starts a command that nobody waits for. Its output goes into the log, also of what it leaves running.
pub(super) async fn detached(keeper: &Rc<Keeper>, job: Box<Job>) -> Reply {
    let busy = keeper.activity.begin(Work::Command);
    let (theirs, ours) = match pipes() {
        Ok(pipes) => pipes,
        Err(error) => return Reply::Refused(Failure::new("io", format!("failed to make a pipe: {error}"))),
    };
    let borrowed: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
    let mut asked = match keeper.begin(job, None, &borrowed).await {
        Ok(asked) => asked,
        Err(failure) => return Reply::Refused(failure),
    };
    drop(borrowed);
    drop(theirs);
    let number = asked.number;
    for (pipe, event) in ours.into_iter().zip([LogEvent::Stdout, LogEvent::Stderr]) {
        tokio::task::spawn_local(write_down(keeper.clone(), number, event, pipe));
    }
    let early = tokio::time::timeout(PATIENCE, asked.events.recv()).await;
    match early {
        Ok(Some(Event::Executed { .. })) => {}
        Ok(Some(Event::Ended(outcome))) => return ended(keeper, number, outcome),
        Ok(None) => return Reply::Refused(gone()),
        Err(_late) => return Reply::Refused(Failure::new("timeout", "the command has not been executed in time")),
    }
    let keeper = keeper.clone();
    tokio::task::spawn_local(async move {
        while let Some(event) = asked.events.recv().await {
            if let Event::Ended(outcome) = event {
                keeper.log.ended(number, &outcome);
            }
        }
        drop(busy);
    });
    Reply::Executed { number }
}

/// Fresh pipes: the command's ends of an empty stdin, stdout and stderr, and our ends of the latter two.
fn pipes() -> std::io::Result<([OwnedFd; 3], [pipe::Receiver; 2])> {
    let (stdin, _closed) = pipe_with(PipeFlags::CLOEXEC)?;
    let (our_stdout, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (our_stderr, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    let receivers = [pipe::Receiver::from_owned_fd(our_stdout)?, pipe::Receiver::from_owned_fd(our_stderr)?];
    Ok(([stdin, stdout, stderr], receivers))
}

/// Writes down what comes through a pipe, until nobody holds its other end.
async fn write_down(keeper: Rc<Keeper>, number: u64, event: LogEvent, mut pipe: pipe::Receiver) {
    let mut lines = keeper.log.stream(number, event);
    let mut chunk = vec![0; CHUNK];
    while let Ok(length @ 1..) = pipe.read(&mut chunk).await {
        keeper.pace.counted(|| lines.take(&chunk[..length]));
        keeper.pace.wait().await;
    }
    lines.finish();
}
