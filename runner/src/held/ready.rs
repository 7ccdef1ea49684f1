//! Who stands ready for the next command: a process that has done all that needs no command, and waits for one. It is in no
//! group in which it would count as somebody. Who kills it takes nothing from anybody.

use super::command::{Begun, Prepared, enter, execute, fail, first_apart, job_in, let_go, move_up, part, taken};
use super::message::{Exec, LONGEST_ORDER, Order};
use crate::command::join_cgroup;
use crate::environment;
use crate::failure::{At, Step, StepError};
use crate::message::Departure;
use crate::plan::Plan;
use crate::spent::Spent;
use crate::sys::{Errno, process, socket, successor};
use pinfold_runner::{Argv, Ask, Job, Seccomp};
use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicI32;

/// The policies that allow what is left to do when the order comes; `seccomp/tests/builtin.rs` sees to it. Under another the
/// filter comes last.
const EARLY: [&str; 2] = ["default", "debug"];

/// Enters the groups that only measure, and those in which it counts when the order comes, and becomes the command: v1. Of
/// `descriptors` the first is the status pipe, and the second where the order comes.
pub(super) fn stand_ready(plan: &Plan<'_>, tasks: usize, sample: &[u8], descriptors: Vec<OwnedFd>) -> ! {
    let Some((descriptors, status)) = taken(descriptors) else { process::exit_now(1) };
    rehearse(plan, sample);
    fail(&status, enter_and_execute(plan, tasks, descriptors, &status))
}

fn enter_and_execute(
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
    let (exec, ask, descriptors) = await_order(&orders, &mut buffer).at(Step::StartCommand, "")?;
    drop(orders);
    let mut descriptors = move_up(descriptors).at(Step::ConnectStdio, "descriptors")?.into_iter();
    enter(plan, exec, &mut descriptors)?;
    let prepared = Prepared::new(plan, exec, ask)?;
    execute(plan, exec, &prepared, descriptors, None, status, &Begun { on_entry, is_filtered })
}

/// Does all for the command but what takes its descriptors, and goes on as another process, born in the command's group: v2.
/// Of `descriptors` the first is where the order comes, and the second that group; `place` is where init reads who that process is.
///
/// The descriptors come after the order, so that only that process ever holds them. This one may be slow to end.
pub(super) fn stand_in(plan: &Plan<'_>, sample: &[u8], descriptors: Vec<OwnedFd>, place: &AtomicI32) -> ! {
    let Some((mut groups, orders)) = taken(descriptors) else { process::exit_now(1) };
    let Some(group) = groups.pop() else { process::exit_now(1) };
    rehearse(plan, sample);
    // A session is the successor's own, and where the kernel shares out CPUs by session it would be in the way of this one's.
    if let_go([&orders, &group].into_iter()).is_err() {
        process::exit_now(1)
    }
    let mut buffer = vec![0; LONGEST_ORDER];
    // There is nobody to tell before the order: it is then given to somebody else.
    let Ok((exec, ask, _)) = await_order(&orders, &mut buffer) else { process::exit_now(1) };
    let prepared = Prepared::new(plan, exec, ask).and_then(|prepared| {
        successor::go_on_in(group.as_fd(), place).at(Step::StartCommand, "")?;
        Ok(prepared)
    });
    let received = socket::receive(orders.as_fd(), &mut [0]).and_then(|(_, descriptors)| move_up(descriptors));
    let Some((descriptors, status)) = received.ok().and_then(first_apart) else { process::exit_now(1) };
    drop((orders, group));
    fail(&status, prepared.and_then(|prepared| follow(plan, exec, &prepared, descriptors, &status)))
}

/// What the process does that was born in the group.
fn follow(
    plan: &Plan<'_>,
    exec: Exec,
    prepared: &Prepared,
    descriptors: Vec<OwnedFd>,
    status: &OwnedFd,
) -> Result<Infallible, StepError> {
    process::setsid().at(Step::StartSession, "setsid")?;
    let begun = Begun { on_entry: Spent::default(), is_filtered: false };
    execute(plan, exec, prepared, descriptors.into_iter(), None, status, &begun)
}

fn await_order<'a>(orders: &OwnedFd, buffer: &'a mut [u8]) -> Result<(Exec, &'a [u8], Vec<OwnedFd>), Errno> {
    let (length, descriptors) = socket::receive(orders.as_fd(), buffer)?;
    match Order::decode(&buffer[..length]) {
        Some((Order::Exec(exec), ask)) => Ok((exec, ask, descriptors)),
        // The runner is gone, or has no use for us.
        _ => process::exit_now(0),
    }
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
