//! The command's process until exec, in this mode. The order is that of `command::confine_and_execute`, without the steps
//! that need a namespace, and with the filters that stand in for them.

use super::{Places, VARIABLE, rules};
use crate::command::{Pipes, connect, enter_directory, join_cgroup, write_file};
use crate::failure::{At, EXECUTING, Step, StepError};
use crate::handoff::Handoff;
use crate::identity::{self, HostIds};
use crate::message::Departure;
use crate::plan::Plan;
use crate::spent::Spent;
use crate::sys::{self, capability, file, process, seccomp, signal};
use crate::view::etc;
use crate::{environment, rlimit};
use pinfold_runner::{WORKSPACE, seccomp as policies};
use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// Becomes the command, or says on `status` which step failed. Never returns.
pub(super) fn run(
    plan: &Plan<'_>,
    places: &Places,
    ids: HostIds,
    pipes: Pipes,
    status: Option<OwnedFd>,
    handoff: &Handoff,
) -> ! {
    let kept: Vec<_> = status.iter().map(AsRawFd::as_raw_fd).chain([handoff.number()]).collect();
    let Err(error) = confine_and_execute(plan, places, ids, pipes, handoff, (&kept, status.as_ref()));
    if let Some(status) = status {
        let _runner_is_dead = file::write_all(status.as_fd(), &error.encode());
    }
    process::exit_now(1)
}

fn confine_and_execute(
    plan: &Plan<'_>,
    places: &Places,
    ids: HostIds,
    pipes: Pipes,
    handoff: &Handoff,
    (kept, status): (&[RawFd], Option<&OwnedFd>),
) -> Result<Infallible, StepError> {
    file::close_all_but(kept.iter().copied().chain(pipes.numbers())).at(Step::ConnectStdio, "other descriptors")?;
    process::setsid().at(Step::StartSession, "setsid")?;
    signal::reset_all().at(Step::StartSession, "signal dispositions")?;
    let (tasks, held) = handoff.receive_entry()?;
    join_cgroup(&tasks)?;
    let on_entry = if tasks.is_empty() { Spent::default() } else { Spent::by_self() };
    drop(tasks);
    sys::resource::reset_scheduling().at(Step::StartSession, "scheduling policy")?;
    // No capability from here on, and no way to another uid.
    if plan.privileged {
        identity::become_nobody_else(ids)?;
    }
    capability::drop_all().at(Step::DropPrivileges, "capabilities")?;
    process::set_no_new_privs().at(Step::DropPrivileges, "no_new_privs")?;
    process::set_non_dumpable().at(Step::DropPrivileges, "non-dumpable")?;
    // After the last change of credentials. Where the warden died before, the handoff ends us.
    process::die_with_parent().at(Step::DropPrivileges, "parent-death signal")?;
    rlimit::set(plan, held)?;
    let strings = strings(plan, places, ids).at(Step::Execute, "")?;
    connect(pipes, None)?;

    let workspace =
        file::open(&places.workspace, libc::O_PATH | libc::O_DIRECTORY).at(Step::EnterDirectory, &places.workspace)?;
    for entry in &plan.job.files {
        write_file(&workspace, entry).at(Step::WriteFile, entry.path.as_str())?;
    }
    let cwd = if plan.job.cwd.as_str() == WORKSPACE { "." } else { plan.job.cwd.as_str() };
    enter_directory(&workspace, cwd).at(Step::EnterDirectory, cwd)?;
    drop(workspace);

    file::close_all_but(kept.iter().copied()).at(Step::ConnectStdio, "other descriptors")?;
    file::close_on_exec_from(3).at(Step::ConnectStdio, "other descriptors")?;
    rules::restrict(plan, places)?;
    // The warden has given up its rights: the guest never meets one that can more.
    handoff.receive_go()?;
    rlimit::set_open_files(plan.job)?;
    if let Some(status) = status {
        let departure = Departure { at_us: plan.now_us(), on_entry, spent: Spent::by_self(), pid: 0 };
        let word = [&[EXECUTING], departure.encode().as_slice()].concat();
        file::write_all(status.as_fd(), &word).at(Step::Execute, "")?;
    }
    restrict_system_calls(plan)?;
    Err(strings.execute()).at(Step::Execute, plan.job.command.program())
}

fn strings(plan: &Plan<'_>, places: &Places, ids: HostIds) -> Result<environment::Strings, sys::Errno> {
    let own = [
        ("HOME", places.workspace.as_str()),
        ("TMPDIR", places.tmp.as_str()),
        ("USER", etc::user_name(ids.uid)),
        (VARIABLE, places.workspace.as_str()),
    ];
    environment::Strings::new(plan, &own)
}

/// The job's policy is the last: it may forbid to install another.
fn restrict_system_calls(plan: &Plan<'_>) -> Result<(), StepError> {
    let sockets = if plan.keeps_off_network() { policies::no_network() } else { policies::no_unix_sockets() };
    let files = (!plan.privileged).then(|| (policies::callers_files(), "the caller's files"));
    let filters = [
        (policies::restrict_suid_sgid(), "set-id files"),
        (policies::shared_host(), "what processes of one user share"),
        (sockets, "sockets"),
        (plan.policy.clone(), plan.job.seccomp.name()),
    ];
    for (filter, shown) in files.into_iter().chain(filters) {
        seccomp::set_mode_filter(filter.instructions()).at(Step::RestrictSystemCalls, shown)?;
    }
    Ok(())
}
