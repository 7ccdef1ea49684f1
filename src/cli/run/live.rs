//! `pinfold run -- COMMAND`: the sandbox's stdio joined with ours for as long as the command lives, and the caller's
//! signals passed on. What the end means is `verdict`'s.

use super::options::RunOptions;
use super::relay::{Output, pass_stdin};
use super::report::Report;
use super::signal::{SIGINT, SIGPIPE, SIGTERM, Signals};
use super::terminal::{self, RawMode};
use super::verdict::{self, Ended};
use super::{failure, job, stored};
use crate::cli::exit::Exit;
use crate::cli::message;
use crate::cli::value::reason;
use pinfold::{Controller, Failure, Job, Outcome, Pinfold, Sandbox, Stdio};
use std::io::IsTerminal;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How long a command may take to end by itself when nobody reads its output any more.
const CLOSED_OUTPUT_GRACE: Duration = Duration::from_secs(2);

pub(super) async fn run(options: &RunOptions) -> Exit {
    let refused = |reason: String| {
        message::error(&reason, None);
        Exit::Failed
    };
    if options.tty && !std::io::stdin().is_terminal() {
        return refused("`--tty` needs a terminal on stdin".to_owned());
    }
    // Held until the command has ended: nobody removes the workspace meanwhile.
    let stored = match stored::open(options.workspace.as_deref()) {
        Ok(stored) => stored,
        Err(reason) => return refused(reason),
    };
    let job = match job::job(options, stored.as_ref()) {
        Ok(job) => job,
        Err(reason) => return refused(reason),
    };
    let report = match options.report.as_deref().map(|path| Report::open(path, &job)).transpose() {
        Ok(report) => report,
        Err(reason) => return refused(reason),
    };
    let (outcome, ended) = match live(job.clone(), options.tty).await {
        Ok(end) => end,
        Err(failure) => (Outcome::failed(job.id.clone().map(String::from).unwrap_or_default(), failure), Ended::Itself),
    };
    let exit = verdict::tell(&outcome, &job, ended);
    match report.map(|report| report.write(&outcome)) {
        Some(Err(reason)) => refused(reason),
        _ => exit,
    }
}

/// Runs the job to its end. The terminal is as it was when this returns.
async fn live(job: Job, tty: bool) -> Result<(Outcome, Ended), Failure> {
    let host_error =
        |what: &str, error: std::io::Error| Failure::new("host_error", format!("failed to {what}: {}", reason(&error)));
    let pinfold = Pinfold::new().map_err(|error| failure("host_error", &error))?;
    // Before anything runs, so that no signal is lost and none ends us alone.
    let mut signals = Signals::new().map_err(|error| host_error("catch signals", error))?;
    let stdio = if tty {
        let (rows, columns) = terminal::size();
        Stdio::terminal(rows, columns)
    } else {
        Stdio::live()
    };
    let mut sandbox = pinfold.spawn(job, stdio).await.map_err(|error| failure("host_error", &error))?;
    let _raw = match tty {
        true => Some(RawMode::enter().map_err(|error| host_error("make the terminal raw", error))?),
        false => None,
    };
    if tty {
        follow_size(sandbox.controller()).map_err(|error| host_error("follow the terminal's size", error))?;
    }
    let mut outputs = Outputs::join(&mut sandbox).map_err(|error| host_error("pass stdio on", error))?;
    let mut end = Ending::new(sandbox.controller());
    let outcome = {
        let mut wait = std::pin::pin!(sandbox.wait());
        loop {
            tokio::select! {
                outcome = &mut wait => break outcome.map_err(|error| failure("host_error", &error))?,
                number = signals.next() => end.pass_on(number),
                Err(error) = outputs.stdout.end() => end.output_failed(&error),
                () = end.grace() => end.cancel(),
            }
        }
    };
    // The command is gone; what it wrote may still be on its way to somebody who reads slowly, or never.
    let drained = tokio::select! {
        drained = outputs.drain() => drained,
        () = async { while !matches!(signals.next().await, SIGINT | SIGTERM) {} } => Ok(()),
    };
    if let Err(error) = drained {
        end.last_output_failed(&error);
    }
    Ok((outcome, end.cause))
}

/// What we have of the command's stdio.
struct Outputs {
    stdout: Output,
    stderr: Option<Output>,
}

impl Outputs {
    fn join(sandbox: &mut Sandbox) -> std::io::Result<Self> {
        let gone = || std::io::Error::other("the sandbox has no stdio");
        pass_stdin(sandbox.take_stdin().ok_or_else(gone)?)?;
        let stdout = Output::pass(sandbox.take_stdout().ok_or_else(gone)?, std::io::stdout())?;
        // With a terminal there is only one output.
        let stderr = sandbox.take_stderr().map(|stderr| Output::pass(stderr, std::io::stderr())).transpose()?;
        Ok(Self { stdout, stderr })
    }

    /// Waits until everything is written. What of stderr can't be, nobody misses: there is no place to say so.
    async fn drain(&mut self) -> std::io::Result<()> {
        let stdout = self.stdout.drain().await;
        if let Some(stderr) = &mut self.stderr {
            let _ = stderr.drain().await;
        }
        stdout
    }
}

/// How the command is brought to its end from outside.
struct Ending {
    controller: Controller,
    cause: Ended,
    /// SIGINTs and SIGTERMs so far.
    requests: u32,
    deadline: Option<tokio::time::Instant>,
}

impl Ending {
    fn new(controller: Controller) -> Self {
        Self { controller, cause: Ended::Itself, requests: 0, deadline: None }
    }

    /// The first SIGINT or SIGTERM is the command's, as every other signal is; the second ends everything; the third
    /// does not even wait for the runner.
    fn pass_on(&mut self, number: i32) {
        if matches!(number, SIGINT | SIGTERM) {
            self.requests += 1;
        }
        match self.requests {
            0 | 1 => self.send(number),
            2 => {
                self.cause = Ended::Signal(number);
                self.cancel();
            }
            _ => self.controller.kill(),
        }
    }

    /// What SIGPIPE does to a program in a pipeline: the command gets one, and some time to end by itself.
    fn output_failed(&mut self, error: &std::io::Error) {
        self.last_output_failed(error);
        if self.cause == Ended::ClosedOutput {
            self.send(SIGPIPE);
            self.deadline = Some(tokio::time::Instant::now() + CLOSED_OUTPUT_GRACE);
        } else {
            self.cancel();
        }
    }

    /// The same when the command has ended already.
    fn last_output_failed(&mut self, error: &std::io::Error) {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            self.cause = Ended::ClosedOutput;
        } else {
            message::error(&format!("failed to write to stdout: {}", reason(error)), None);
            self.cause = Ended::FailedOutput;
        }
    }

    async fn grace(&self) {
        match self.deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }

    fn send(&self, number: i32) {
        // A command that has ended needs no signal.
        let _ = self.controller.signal(number);
    }

    fn cancel(&mut self) {
        self.deadline = None;
        self.controller.cancel();
    }
}

/// Tells the command's terminal the size of ours whenever it changes.
fn follow_size(controller: Controller) -> std::io::Result<()> {
    let mut changes = signal(SignalKind::window_change())?;
    tokio::spawn(async move {
        while changes.recv().await.is_some() {
            let (rows, columns) = terminal::size();
            // A command that has ended needs no size.
            let _ = controller.resize(rows, columns);
        }
    });
    Ok(())
}
