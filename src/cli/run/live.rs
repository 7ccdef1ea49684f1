//! `pinfold run -- COMMAND`: a sandbox for one command, its stdio joined with ours. What the end means is `verdict`'s.

use super::join::{self, Streams};
use super::options::RunOptions;
use super::report::Report;
use super::signal::Signals;
use super::terminal::{self, RawMode};
use super::verdict::{self, Ended};
use super::{failure, failure_of, job};
use crate::cli::exit::Exit;
use crate::cli::message;
use crate::cli::sandbox::stored;
use pinfold::{Failure, Job, Outcome, Pinfold, Stdio};
use std::io::IsTerminal;

pub(super) async fn run(options: &RunOptions) -> Exit {
    let refused = |reason: String| {
        message::error(&reason, None);
        Exit::Failed
    };
    if options.tty && !std::io::stdin().is_terminal() {
        return refused("`--tty` needs a terminal on stdin".to_owned());
    }
    // Held until the command has ended: nobody removes the workspace meanwhile.
    let stored = match stored::open(options.sandbox.workspace.as_deref()) {
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
    let pinfold = Pinfold::new().map_err(|error| failure("host_error", &error))?;
    // Before anything runs, so that no signal is lost and none ends us alone.
    let mut signals = Signals::new().map_err(failure_of("catch signals"))?;
    let stdio = if tty {
        let (rows, columns) = terminal::size();
        Stdio::terminal(rows, columns)
    } else {
        Stdio::live()
    };
    let mut sandbox = pinfold.spawn(job, stdio).await.map_err(|error| failure("host_error", &error))?;
    let _raw = match tty {
        true => Some(RawMode::enter().map_err(failure_of("make the terminal raw"))?),
        false => None,
    };
    if tty {
        let controller = sandbox.controller();
        // A command that has ended needs no size.
        terminal::follow_size(move |rows, columns| drop(controller.resize(rows, columns)))
            .map_err(failure_of("follow the terminal's size"))?;
    }
    let (stdin, stdout, stderr) = (sandbox.take_stdin(), sandbox.take_stdout(), sandbox.take_stderr());
    let streams = Streams { stdin, stdout, stderr, unwritten: Default::default() };
    let controller = sandbox.controller();
    let joined = join::join(streams, controller, &mut signals, sandbox.wait()).await;
    let (outcome, ended) = joined.map_err(failure_of("pass stdio on"))?;
    Ok((outcome.map_err(|error| failure("host_error", &error))?, ended))
}
