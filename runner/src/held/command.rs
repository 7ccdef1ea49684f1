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
use pinfold_runner::{Ask, Cwd, Job, Limit};
use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// Our own descriptors get numbers from here on: the first ones are the command's.
const LOWEST: RawFd = 16;

/// Becomes the command that `ask` asks for, or says on the status pipe, the first of `descriptors`, what failed.
pub(super) fn run(plan: &Plan<'_>, exec: Exec, ask: &[u8], descriptors: Vec<OwnedFd>, slave: Option<OwnedFd>) -> ! {
    let Some((descriptors, status)) = taken(descriptors) else { process::exit_now(1) };
    fail(&status, start(plan, exec, ask, descriptors, slave, &status))
}

/// The job of a command that is asked for.
pub(super) fn job_in(ask: &[u8], plan: &Plan<'_>) -> Option<Job> {
    match serde_json::from_slice(ask) {
        Ok(Ask::Exec { job, .. }) => Some(merged(plan.job, *job)),
        _ => None,
    }
}

/// The first, mostly the status pipe, apart from the others, all with numbers that are not the command's.
pub(super) fn taken(descriptors: Vec<OwnedFd>) -> Option<(Vec<OwnedFd>, OwnedFd)> {
    first_apart(move_up(descriptors).ok()?)
}

pub(super) fn first_apart(mut descriptors: Vec<OwnedFd>) -> Option<(Vec<OwnedFd>, OwnedFd)> {
    if descriptors.is_empty() {
        return None;
    }
    let first = descriptors.remove(0);
    Some((descriptors, first))
}

pub(super) fn move_up(descriptors: Vec<OwnedFd>) -> Result<Vec<OwnedFd>, Errno> {
    descriptors.into_iter().map(|fd| file::move_up(fd, LOWEST)).collect()
}

pub(super) fn fail(status: &OwnedFd, result: Result<Infallible, StepError>) -> ! {
    let Err(error) = result;
    let _runner_is_dead = file::write_all(status.as_fd(), &error.encode());
    process::exit_now(1)
}

fn start(
    plan: &Plan<'_>,
    exec: Exec,
    ask: &[u8],
    descriptors: Vec<OwnedFd>,
    slave: Option<OwnedFd>,
    status: &OwnedFd,
) -> Result<Infallible, StepError> {
    part(descriptors.iter().chain(slave.iter()).chain([status]))?;
    let mut descriptors = descriptors.into_iter();
    let is_born_there = exec.tasks == 0;
    enter(plan, exec, &mut descriptors)?;
    let on_entry = if is_born_there { Spent::default() } else { Spent::by_self() };
    let begun = Begun { on_entry, is_filtered: false };
    execute(plan, exec, &Prepared::new(plan, exec, ask)?, descriptors, slave, status, &begun)
}

/// Leaves init: its socket and all else that it holds, its session, what it keeps blocked.
pub(super) fn part<'a>(kept: impl Iterator<Item = &'a OwnedFd>) -> Result<(), StepError> {
    let_go(kept)?;
    process::setsid().at(Step::StartSession, "setsid")
}

/// The same but for the session.
pub(super) fn let_go<'a>(kept: impl Iterator<Item = &'a OwnedFd>) -> Result<(), StepError> {
    file::close_all_but(kept.map(AsRawFd::as_raw_fd)).at(Step::ConnectStdio, "other descriptors")?;
    signal::unblock_all().at(Step::StartSession, "signal mask")
}

/// Enters the groups that are left to enter, and looks whether there is room.
pub(super) fn enter(
    plan: &Plan<'_>,
    exec: Exec,
    descriptors: &mut impl Iterator<Item = OwnedFd>,
) -> Result<(), StepError> {
    let tasks: Vec<OwnedFd> = descriptors.by_ref().take(usize::from(exec.tasks)).collect();
    join_cgroup(&tasks)?;
    if exec.is_counted { find_room(plan, descriptors.next()) } else { Ok(()) }
}

/// How far a process has come when it knows what it is to become.
pub(super) struct Begun {
    /// What it had used when it came into the groups that measure.
    pub(super) on_entry: Spent,
    /// Whether the policy holds already.
    pub(super) is_filtered: bool,
}

/// A command whose process has all of it but its descriptors.
pub(super) struct Prepared {
    job: Job,
    strings: environment::Strings,
}

impl Prepared {
    /// Reads what is asked for, limits this process as that says and takes it where the command starts.
    pub(super) fn new(plan: &Plan<'_>, exec: Exec, ask: &[u8]) -> Result<Self, StepError> {
        let job = job_in(ask, plan).ok_or(Errno(libc::EBADMSG)).at(Step::StartCommand, "")?;
        let own = plan.of_command(&job, exec.terminal);
        rlimit::set(&own, exec.held)?;
        let strings = environment::Strings::new(&own, &[]).at(Step::Execute, "")?;
        let (place, cwd) = (job.workspace_path(), job.starts_in());
        let workspace = file::open(place, libc::O_PATH | libc::O_DIRECTORY).at(Step::EnterDirectory, place)?;
        enter_directory(&workspace, cwd).at(Step::EnterDirectory, cwd)?;
        Ok(Self { job, strings })
    }
}

/// Connects the command's descriptors, says that nothing is left to fail but exec, and becomes the command.
pub(super) fn execute(
    plan: &Plan<'_>,
    exec: Exec,
    Prepared { job, strings }: &Prepared,
    mut descriptors: impl Iterator<Item = OwnedFd>,
    slave: Option<OwnedFd>,
    status: &OwnedFd,
    &Begun { on_entry, is_filtered }: &Begun,
) -> Result<Infallible, StepError> {
    let mut pipes = Pipes { stdin: None, stdout: None, stderr: None };
    if slave.is_none() {
        pipes = Pipes { stdin: descriptors.next(), stdout: descriptors.next(), stderr: descriptors.next() };
    }
    connect(pipes, slave)?;
    for (number, fd) in (3..).zip(descriptors.by_ref().take(usize::from(exec.extra))) {
        file::dup_onto(fd.as_fd(), number).at(Step::ConnectStdio, "further descriptors")?;
    }
    rlimit::set_open_files(job)?;
    let pid = u64::from(std::process::id());
    let departure = Departure { at_us: plan.now_us(), on_entry, spent: Spent::by_self(), pid };
    let word = [&[EXECUTING], departure.encode().as_slice()].concat();
    file::write_all(status.as_fd(), &word).at(Step::Execute, "")?;
    match is_filtered {
        true => plan.restrict_set_id()?,
        false => plan.restrict_system_calls()?,
    }
    Err(strings.execute()).at(Step::Execute, job.command.program())
}

/// Whether there is room for one more process, which this one is already: the kernel asks when somebody forks, and not when
/// somebody comes into the group, as this one did. Whoever forks at the same time is refused or makes this one too many.
fn find_room(plan: &Plan<'_>, counter: Option<OwnedFd>) -> Result<(), StepError> {
    let Some((counter, most)) = counter.zip(plan.job.limits.pids.value()) else { return Ok(()) };
    let mut text = [0u8; 32];
    let length = file::read_start(counter.as_fd(), &mut text).at(Step::StartCommand, "")?;
    let count: u64 = std::str::from_utf8(&text[..length]).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    if count > most { Err(Errno(libc::EAGAIN)).at(Step::StartCommand, "") } else { Ok(()) }
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
    job.workspace_at = sandbox.workspace_at.clone();
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
