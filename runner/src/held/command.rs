//! A command's process in a held sandbox, from its birth to exec. Init is in every fence already, so what is left is little;
//! `command` has the whole sequence.

use super::message::{Exec, LONGEST_ORDER, Order};
use crate::command::{Pipes, connect, enter_directory, join_cgroup};
use crate::failure::{At, EXECUTING, Step, StepError};
use crate::message::Departure;
use crate::plan::Plan;
use crate::spent::Spent;
use crate::sys::{Errno, file, process, signal, socket};
use crate::{environment, rlimit};
use pinfold_runner::{Argv, Ask, Cwd, Job, Limit, Seccomp};
use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// Our own descriptors get numbers from here on: the first ones are the command's.
const LOWEST: RawFd = 16;

/// The policies that allow what is left to do when the order comes; `seccomp/tests/builtin.rs` sees to it. Under another the
/// filter comes last.
const EARLY: [&str; 2] = ["default", "debug"];

/// Becomes the command that `ask` asks for, or says on the status pipe, the first of `descriptors`, what failed.
pub(super) fn run(plan: &Plan<'_>, exec: Exec, ask: &[u8], descriptors: Vec<OwnedFd>, slave: Option<OwnedFd>) -> ! {
    let Some((descriptors, status)) = taken(descriptors) else { process::exit_now(1) };
    fail(&status, start(plan, exec, ask, descriptors, slave, &status))
}

/// Does all that needs no command, and waits for one to become. It is in no group in which it would count as somebody, and
/// holds nothing but the status pipe and the socket on which the order comes. Who kills it takes nothing from anybody.
pub(super) fn stand_ready(plan: &Plan<'_>, tasks: usize, sample: &[u8], descriptors: Vec<OwnedFd>) -> ! {
    let Some((descriptors, status)) = taken(descriptors) else { process::exit_now(1) };
    rehearse(plan, sample);
    fail(&status, await_order(plan, tasks, descriptors, &status))
}

/// Something to rehearse with: a command as it is asked for.
pub(super) fn sample() -> Vec<u8> {
    let command = vec!["/bin/true".to_owned(), "rehearse".to_owned()].try_into().unwrap_or_else(|_| Argv::none());
    let ask = Ask::Exec { number: 0, job: Box::new(Job::new(command)), terminal: None, extra: 0 };
    serde_json::to_vec(&ask).unwrap_or_default()
}

/// Does with an ask what is done with each and changes nothing, so that it has been done once when a command comes: after a
/// fork the first touch of each page is a fault, also of code, and twenty of them take as long as all else in here.
fn rehearse(plan: &Plan<'_>, sample: &[u8]) {
    if let Some(job) = job_in(sample, plan) {
        let own = plan.of_command(&job, None);
        let strings = environment::Strings::new(&own, &[]);
        let departure =
            Departure { spent: Spent::by_self(), pid: u64::from(std::process::id()), ..Departure::default() };
        std::hint::black_box((strings.is_ok(), departure.encode()));
    }
}

/// The job of a command that is asked for.
fn job_in(ask: &[u8], plan: &Plan<'_>) -> Option<Job> {
    match serde_json::from_slice(ask) {
        Ok(Ask::Exec { job, .. }) => Some(merged(plan.job, *job)),
        _ => None,
    }
}

/// The status pipe apart from the others, all with numbers that are not the command's.
fn taken(descriptors: Vec<OwnedFd>) -> Option<(Vec<OwnedFd>, OwnedFd)> {
    let mut moved = move_up(descriptors).ok()?;
    if moved.is_empty() {
        return None;
    }
    let status = moved.remove(0);
    Some((moved, status))
}

fn move_up(descriptors: Vec<OwnedFd>) -> Result<Vec<OwnedFd>, Errno> {
    descriptors.into_iter().map(|fd| file::move_up(fd, LOWEST)).collect()
}

fn fail(status: &OwnedFd, result: Result<Infallible, StepError>) -> ! {
    let Err(error) = result;
    let _runner_is_dead = file::write_all(status.as_fd(), &error.encode());
    process::exit_now(1)
}

/// How far a process has come when it hears what it is to become.
struct Begun {
    /// What it had used when it came into the groups that measure.
    on_entry: Spent,
    /// Whether the policy holds already.
    is_filtered: bool,
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
    confine_and_execute(plan, exec, ask, descriptors, slave, status, None)
}

fn await_order(
    plan: &Plan<'_>,
    tasks: usize,
    mut descriptors: Vec<OwnedFd>,
    status: &OwnedFd,
) -> Result<Infallible, StepError> {
    part(descriptors.iter().chain([status]))?;
    let early = descriptors.split_off(descriptors.len().min(1));
    let orders = descriptors.pop().ok_or(Errno(libc::EBADF)).at(Step::StartCommand, "")?;
    join_cgroup(&early[..tasks.min(early.len())])?;
    drop(early);
    let on_entry = Spent::by_self();
    let is_filtered = matches!(&plan.job.seccomp, Seccomp::Builtin(name) if EARLY.contains(&name.as_str()));
    if is_filtered {
        plan.restrict_by_policy()?;
    }
    let mut buffer = vec![0; LONGEST_ORDER];
    let (length, descriptors) = socket::receive(orders.as_fd(), &mut buffer).at(Step::StartCommand, "")?;
    drop(orders);
    let Some((Order::Exec(exec), ask)) = Order::decode(&buffer[..length]) else {
        // The runner is gone, or has no use for us.
        process::exit_now(0)
    };
    let descriptors = move_up(descriptors).at(Step::ConnectStdio, "descriptors")?;
    confine_and_execute(plan, exec, ask, descriptors, None, status, Some(Begun { on_entry, is_filtered }))
}

/// Leaves init: its socket and all else that it holds, its session, what it keeps blocked.
fn part<'a>(kept: impl Iterator<Item = &'a OwnedFd>) -> Result<(), StepError> {
    file::close_all_but(kept.map(AsRawFd::as_raw_fd)).at(Step::ConnectStdio, "other descriptors")?;
    process::setsid().at(Step::StartSession, "setsid")?;
    signal::unblock_all().at(Step::StartSession, "signal mask")
}

fn confine_and_execute(
    plan: &Plan<'_>,
    exec: Exec,
    ask: &[u8],
    descriptors: Vec<OwnedFd>,
    slave: Option<OwnedFd>,
    status: &OwnedFd,
    begun: Option<Begun>,
) -> Result<Infallible, StepError> {
    let mut descriptors = descriptors.into_iter();
    let tasks: Vec<OwnedFd> = descriptors.by_ref().take(usize::from(exec.tasks)).collect();
    join_cgroup(&tasks)?;
    let Begun { on_entry, is_filtered } = begun.unwrap_or_else(|| {
        // On v2 it was born there.
        let on_entry = if tasks.is_empty() { Spent::default() } else { Spent::by_self() };
        Begun { on_entry, is_filtered: false }
    });
    drop(tasks);
    if exec.is_counted {
        find_room(plan, descriptors.next())?;
    }
    let job = job_in(ask, plan).ok_or(Errno(libc::EBADMSG)).at(Step::StartCommand, "")?;
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
    let (place, cwd) = (job.workspace_path(), job.starts_in());
    let workspace = file::open(place, libc::O_PATH | libc::O_DIRECTORY).at(Step::EnterDirectory, place)?;
    enter_directory(&workspace, cwd).at(Step::EnterDirectory, cwd)?;
    drop(workspace);

    rlimit::set_open_files(&job)?;
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
