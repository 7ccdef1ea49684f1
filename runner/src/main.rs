//! `pinfold-runner`: reads one JSON job on stdin, runs it in a sandbox of its own, writes one JSON result on stdout.
//!
//! It is freshly exec'd for each job and has one thread from beginning to end, so after a fork it may allocate and use
//! ordinary code; that is checked when it starts. Three kinds of process come from this program, and each says in its
//! file what it is there for: the runner (`run`), the sandbox's init (`init`), and the command's process until exec
//! (`command`).
#![no_main]

mod artifact;
mod block_device;
mod cgroup;
mod command;
mod descriptors;
mod environment;
mod failure;
mod fence;
mod ground;
mod handoff;
mod held;
mod identity;
mod init;
mod landlocked;
mod leash;
mod message;
mod network;
mod numbers;
mod owners;
mod plan;
mod processes;
mod quota;
mod reach;
mod reexec;
mod rlimit;
mod run;
mod spent;
mod state;
mod stream;
mod sys;
mod tree;
mod verdict;
mod view;
mod wait;
mod watch;

use crate::spent::Start;
use pinfold_runner::{Failure, Job, MAX_JOB_BYTES, Outcome, RunnerOptions, Status};

/// What the runner exits with when Pinfold could not do what the job asked.
const FAILED: u8 = 125;

/// Called by `sys::entry`. The answer is the exit code: 0, or 125 when `status` is `failed`.
fn main() -> u8 {
    let start = Start::now();
    if let Err(failure) = descriptors::fill_standard() {
        return answer(&Outcome::failed("", failure));
    }
    if sys::process::has_threads() {
        return answer(&Outcome::failed("", Failure::new("threads", "the runner must be started with one thread")));
    }
    sys::signal::ignore_sigpipe();
    sys::resource::reset_nice();
    // What is made on the host has the modes that are written here, whatever the starter's umask is.
    sys::file::umask(0o022);
    let options = match RunnerOptions::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => return answer(&Outcome::failed("", Failure::new("usage", message))),
    };
    if options.sweep {
        return sweep();
    }
    if options.view {
        return view();
    }
    match run_job(&options, &start) {
        Ok(outcome) => answer(&outcome),
        Err((id, failure)) => answer(&Outcome::failed(id, failure)),
    }
}

/// Clears what crashed runners left; every start does this too, but waits for nobody. Says nothing when all went well.
fn sweep() -> u8 {
    match state::State::open().and_then(|state| state.sweep_after_a_death()) {
        Ok(()) => 0,
        Err(error) => answer(&Outcome::failed("", error.into())),
    }
}

/// Hands out a detached mount of layers. What is on stdout then is an error.
fn view() -> u8 {
    let shown = plan::check_kernel().and_then(|()| {
        let json = read_job()?;
        let wanted = serde_json::from_slice(&json).map_err(|error| Failure::new("bad_job", error.to_string()))?;
        Ok(view::detached::hand_out(&wanted)?)
    });
    match shown {
        Ok(()) => 0,
        Err(failure) => answer(&Outcome::failed("", failure)),
    }
}

/// Everything from the job to its result. An error is paired with the id to answer under.
fn run_job(options: &RunnerOptions, start: &Start) -> Result<Outcome, (String, Failure)> {
    let unnamed = |failure| (String::new(), failure);
    plan::check_kernel().map_err(unnamed)?;
    let landlock = reexec::ensure().map_err(unnamed)?;
    let descriptors = descriptors::adopt(options).map_err(unnamed)?;
    let json = read_job().map_err(unnamed)?;
    let parse = if options.held.is_some() { Job::held_from_json } else { Job::from_json };
    let job = parse(&json).map_err(|error| unnamed(Failure::new("bad_job", error.to_string())))?;
    drop(json);
    let id = match &job.id {
        Some(id) => id.as_str().to_owned(),
        None => state::random_id().map_err(|error| unnamed(error.into()))?,
    };
    run::run(&job, id.clone(), descriptors, options.terminal, landlock, start).map_err(|failure| (id, failure))
}

/// Reads stdin to its end. Nothing starts before: half a job must never run.
fn read_job() -> Result<Vec<u8>, Failure> {
    let mut json = Vec::new();
    match sys::file::read_standard_in(&mut json, MAX_JOB_BYTES + 1) {
        Err(errno) => Err(Failure::new("bad_job", format!("failed to read the job from stdin: {errno}"))),
        Ok(()) if json.len() > MAX_JOB_BYTES => {
            Err(Failure::new("bad_job", format!("the job is longer than {MAX_JOB_BYTES} bytes")))
        }
        Ok(()) if json.is_empty() => Err(Failure::new("bad_job", "there is no job on stdin")
            .with_hint("pinfold-runner reads one JSON job to end-of-file; people want `pinfold run`")),
        Ok(()) => Ok(json),
    }
}

/// Writes the one line.
fn answer(outcome: &Outcome) -> u8 {
    let mut line = match serde_json::to_vec(outcome) {
        Ok(line) => line,
        Err(_a_result_is_always_json) => return FAILED,
    };
    line.push(b'\n');
    // From here on nothing is left to be undone: a signal may end us while we wait for a reader. Those that came before
    // have cancelled the job, and its result is still written.
    sys::signal::forget_pending(&[libc::SIGTERM, libc::SIGINT]);
    let _stays_blocked = sys::signal::unblock_all();
    match sys::file::write_standard_out(&line) {
        // Where nobody reads it any more there is nobody to tell that either.
        Ok(()) | Err(sys::Errno(libc::EPIPE)) if outcome.status != Status::Failed => 0,
        _ => FAILED,
    }
}
