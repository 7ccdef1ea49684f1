//! The warden: in init's place where there is no pid namespace. It starts the command, reaps, passes signals on, and
//! kills what is left. It has the command's uid and none of its confinement; so it is non-dumpable, holds no capability,
//! and executes nothing but our own code.

use super::{Places, command};
use crate::command::Pipes;
use crate::failure::{At, Step, StepError};
use crate::handoff::Handoff;
use crate::init::{self, Begin, Inherited, Served};
use crate::plan::Plan;
use crate::reach::Reach;
use crate::sys::process::{self, Fork};
use crate::sys::{capability, file, signal};
use crate::{identity, sys};
use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Runs as the warden. Never returns.
pub(crate) fn run(plan: &Plan<'_>, inherited: Inherited<'_>, pipes: Pipes, status: OwnedFd) -> ! {
    // As in init: nothing of the starter's stays open here.
    if file::close_all_but(inherited.numbers().chain(pipes.numbers()).chain([status.as_raw_fd()])).is_err() {
        process::exit_now(1);
    }
    let mut status = Some(status);
    let Err(error) = live(plan, inherited, pipes, &mut status);
    if let Some(status) = status {
        let _nobody_left_to_tell = file::write_all(status.as_fd(), &error.encode());
    }
    process::exit_now(1)
}

/// See `init::live`, whose steps these are where they have the same names.
fn live(
    plan: &Plan<'_>,
    inherited: Inherited<'_>,
    pipes: Pipes,
    status: &mut Option<OwnedFd>,
) -> Result<Infallible, StepError> {
    let Inherited { socket, lifeline, state, command_group, .. } = inherited;
    file::chdir(c"/").at(Step::GuardInit, "/")?;
    let Begin { slot, held, lock: _lock, tasks } = init::await_begin(socket.as_fd());
    // Before there is anybody who could lose his parent. No parent-death signal: when the runner dies, we are needed.
    process::be_subreaper().at(Step::GuardInit, "subreaper")?;
    empty_bounding_set()?;
    let places = Places::new(plan, state, slot);
    let ids = plan.host_ids(slot);

    let (handoff, theirs) = Handoff::pair()?;
    // Before our uid changes, as init does it: the kernel asks for our rights on the cgroup.
    let command = match process::clone3(0, command_group.as_ref().map(AsFd::as_fd)).at(Step::StartCommand, "")? {
        Fork::Child => {
            drop((handoff, socket));
            command::run(plan, &places, ids, pipes, status.take(), &theirs)
        }
        Fork::Parent(pid, _pidfd) => pid,
    };
    drop((pipes, theirs, command_group));
    init::hand_out_meter(plan, held, command, socket.as_fd())?;
    handoff.send_entry(&tasks, held)?;
    drop(tasks);

    if plan.privileged {
        identity::become_nobody_else(ids)?;
    }
    process::set_non_dumpable().at(Step::GuardInit, "non-dumpable")?;
    let signals = signal::signalfd(&[libc::SIGCHLD]).at(Step::GuardInit, "signalfd")?;
    capability::drop_all().at(Step::GuardInit, "capabilities")?;
    process::set_no_new_privs().at(Step::GuardInit, "no_new_privs")?;
    let gauge = init::receive_gauge(socket.as_fd());
    handoff.send_go()?;
    drop(handoff);
    *status = None;
    let reach = if plan.privileged { Reach::User(ids.uid) } else { Reach::Descendants };
    init::serve(plan, Served { command, socket, lifeline, signals, numbers: None, gauge, reach, pool: None })
}

/// Only who has CAP_SETPCAP may; with no_new_privs, exec gives the others nothing either (capabilities(7)).
fn empty_bounding_set() -> Result<(), StepError> {
    match capability::empty_bounding_set() {
        Err(sys::Errno(libc::EPERM)) => Ok(()),
        other => other.at(Step::GuardInit, "bounding set"),
    }
}
