//! A command's process in a held sandbox, from its birth to exec. Init is in every fence already, so what is left is little;
//! `command` has the whole sequence.

use super::message::Exec;
use crate::command::{Pipes, connect, enter_directory, join_cgroup};
use crate::failure::{At, EXECUTING, Step, StepError};
use crate::message::Departure;
use crate::plan::Plan;
use crate::spent::Spent;
use crate::sys::{Errno, file, process, signal};
use crate::{environment, rlimit};
use pinfold_runner::{Ask, Cwd, Job, Limit, WORKSPACE};
use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// Our own descriptors get numbers from here on: the first ones are the command's.
const LOWEST: RawFd = 16;

/// Becomes the command that `ask` asks for, or says on the status pipe, the first of `descriptors`, what failed.
pub(super) fn run(plan: &Plan<'_>, exec: Exec, ask: &[u8], descriptors: Vec<OwnedFd>, slave: Option<OwnedFd>) -> ! {
    let moved = descriptors.into_iter().map(|fd| file::move_up(fd, LOWEST)).collect::<Result<Vec<_>, _>>();
    let Ok(mut descriptors) = moved else { process::exit_now(1) };
    if descriptors.is_empty() {
        process::exit_now(1);
    }
    let status = descriptors.remove(0);
    let Err(error) = confine_and_execute(plan, exec, ask, descriptors, slave, &status);
    let _runner_is_dead = file::write_all(status.as_fd(), &error.encode());
    process::exit_now(1)
}

fn confine_and_execute(
    plan: &Plan<'_>,
    exec: Exec,
    ask: &[u8],
    descriptors: Vec<OwnedFd>,
    slave: Option<OwnedFd>,
    status: &OwnedFd,
) -> Result<Infallible, StepError> {
    let kept = descriptors.iter().chain(slave.iter()).chain([status]).map(AsRawFd::as_raw_fd);
    // Init's socket and all else that it holds.
    file::close_all_but(kept).at(Step::ConnectStdio, "other descriptors")?;
    process::setsid().at(Step::StartSession, "setsid")?;
    signal::unblock_all().at(Step::StartSession, "signal mask")?;
    let mut descriptors = descriptors.into_iter();
    let tasks: Vec<OwnedFd> = descriptors.by_ref().take(usize::from(exec.tasks)).collect();
    join_cgroup(&tasks)?;
    let on_entry = if tasks.is_empty() { Spent::default() } else { Spent::by_self() };
    drop(tasks);
    let asked = match serde_json::from_slice(ask) {
        Ok(Ask::Exec { job, .. }) => *job,
        _ => return Err(Errno(libc::EBADMSG)).at(Step::StartCommand, ""),
    };
    let job = merged(plan.job, asked);
    let own = plan.of_command(&job, exec.terminal);
    rlimit::set(&own, exec.held)?;
    let strings = environment::Strings::new(&own, &[]).at(Step::Execute, "")?;

    let mut pipes = Pipes { stdin: None, stdout: None, stderr: None };
    if slave.is_none() {
        pipes = Pipes { stdin: descriptors.next(), stdout: descriptors.next(), stderr: descriptors.next() };
    }
    connect(pipes, slave)?;
    for (number, fd) in (3..).zip(descriptors.by_ref().take(usize::from(exec.extra))) {
        file::dup_onto(fd.as_fd(), number).at(Step::ConnectStdio, "further descriptors")?;
    }
    let workspace = file::open(WORKSPACE, libc::O_PATH | libc::O_DIRECTORY).at(Step::EnterDirectory, WORKSPACE)?;
    enter_directory(&workspace, job.cwd.as_str()).at(Step::EnterDirectory, job.cwd.as_str())?;
    drop(workspace);

    rlimit::set_open_files(&job)?;
    let pid = u64::from(std::process::id());
    let departure = Departure { at_us: plan.now_us(), on_entry, spent: Spent::by_self(), pid };
    let word = [&[EXECUTING], departure.encode().as_slice()].concat();
    file::write_all(status.as_fd(), &word).at(Step::Execute, "")?;
    plan.restrict_system_calls()?;
    Err(strings.execute()).at(Step::Execute, job.command.program())
}

/// The sandbox's job with what the command says itself: what its process is set up by.
fn merged(sandbox: &Job, asked: Job) -> Job {
    let mut job = Job::new(asked.command);
    job.user = sandbox.user;
    job.env = sandbox.env.clone();
    for (name, value) in asked.env.iter() {
        let _checked_when_it_was_read = job.env.set(name, value);
    }
    job.cwd = if asked.cwd == Cwd::default() { sandbox.cwd.clone() } else { asked.cwd };
    job.limits = sandbox.limits.clone();
    // The sandbox's stays where nothing is asked for. `pids` is counted over all of the sandbox's user, by init's fork.
    let own = asked.limits;
    let or = |own: Limit<u64>, sandbox: Limit<u64>| if own == Limit::Max { sandbox } else { own };
    job.limits.stack_bytes = or(own.stack_bytes, sandbox.limits.stack_bytes);
    job.limits.open_files = or(own.open_files, sandbox.limits.open_files);
    job.limits.cpu_ms = or(own.cpu_ms, sandbox.limits.cpu_ms);
    job.limits.memory_bytes = or(own.memory_bytes, sandbox.limits.memory_bytes);
    job
}
