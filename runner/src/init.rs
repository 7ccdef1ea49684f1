//! Pid 1 of the sandbox. It builds the view, starts the command, reaps, passes signals on, and when the command has
//! ended it kills and reaps all that is left, so that the figures are whole. It is our code from first to last and
//! never the guest's; it holds no capability and can't be traced while the guest runs.

use crate::cgroup::Entry;
use crate::command;
use crate::failure::{At, Step, StepError};
use crate::loopback::Making;
use crate::message::{News, Order, Report};
use crate::plan::Plan;
use crate::sys::process::{self, Fork};
use crate::sys::{self, capability, file, pipe, poll, seccomp, signal, socket, terminal};
use crate::view::{self, Tree, etc};
use pinfold_runner::{Workspace, seccomp as policies};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// What init inherits from the runner.
pub(crate) struct Inherited<'a> {
    /// Orders come and news go here; the runner holds the other end. End-of-file: the runner is dead, and so are we.
    pub(crate) socket: OwnedFd,
    /// The supervisor holds the other end: end-of-file ends the sandbox even while the runner is stopped.
    pub(crate) lifeline: Option<BorrowedFd<'a>>,
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
    /// Mounts that root opened on the host.
    pub(crate) trees: Option<Vec<Tree>>,
    /// Where the slots are on the host.
    pub(crate) state: &'a Path,
}

/// Runs as init. Never returns.
pub(crate) fn run(plan: &Plan<'_>, inherited: Inherited<'_>, status: OwnedFd) -> ! {
    let mut status = Some(status);
    if let Err(error) = live(plan, inherited, &mut status)
        && let Some(status) = status
    {
        let _nobody_left_to_tell = file::write_all(status.as_fd(), &error.encode());
    }
    process::exit_now(1)
}

/// `status` is where an error of ours or of the command's process goes. Every copy of it closes at exec, which is how
/// the runner learns of success; so ours is given up as soon as the command has its own.
fn live(plan: &Plan<'_>, mut inherited: Inherited<'_>, status: &mut Option<OwnedFd>) -> Result<(), StepError> {
    let network = plan.own_network().then(Making::start).transpose()?;
    // Copies of the host's mounts first: until `become_user` our rights on files are still the starter's. Meanwhile the
    // runner writes the id maps, takes the slot and makes the cgroups.
    let mut collected = view::collect(plan.job, inherited.trees.take())?;
    let (slot, entry, _lock) = await_begin(inherited.socket.as_fd());
    if plan.job.workspace == Workspace::Temp {
        collected.take_workspace(&inherited.state.join(slot.to_string()).join("workspace"))?;
    }
    become_user(plan)?;
    // After the last change of credentials, which clears both. If the runner died before this line, the socket says so.
    process::set_non_dumpable().at(Step::GuardInit, "non-dumpable")?;
    process::die_with_parent().at(Step::GuardInit, "parent-death signal")?;
    let signals = signal::signalfd(&[libc::SIGCHLD]).at(Step::GuardInit, "signalfd")?;

    view::build(plan.job, collected, plan.sizes)?;
    if let Some(network) = network {
        network.enter()?;
    }
    process::sethostname(etc::HOSTNAME).at(Step::SetHostname, etc::HOSTNAME)?;
    // While init still may; the command's process inherits it.
    capability::empty_bounding_set().at(Step::GuardInit, "bounding set")?;
    hand_out_workspace(plan, inherited.socket.as_fd())?;
    let stdio = stdio(plan, &mut inherited)?;

    let (guarded, guarding) = pipe::pipe().at(Step::MakePipe, "init's guard")?;
    let born_in = match &entry {
        Entry::Clone(group) => Some(group.as_fd()),
        _ => None,
    };
    match process::clone3(0, born_in).at(Step::StartCommand, "")? {
        Fork::Child => {
            drop(guarding);
            command::run(plan, stdio, status.take(), &entry, &guarded)
        }
        Fork::Parent(pid, _pidfd) => {
            // The guest's descriptors are its own: as long as we held a pipe's end, it would never see end-of-file.
            drop(stdio);
            let Inherited { socket, lifeline, .. } = inherited;
            guard()?;
            drop(guarding);
            *status = None;
            serve(pid, &socket, lifeline, &signals);
            Ok(())
        }
    }
}

/// Waits for the runner's word. If it has none to give, it is dead or has failed, and tells of that itself.
///
/// The slot's directory comes with it, and stays open: its lock is ours as well, so nobody sweeps while init lives.
fn await_begin(socket: BorrowedFd<'_>) -> (u32, Entry, OwnedFd) {
    let mut buffer = [0; Order::BYTES];
    if let Ok((Order::BYTES, mut descriptors)) = socket::receive(socket, &mut buffer)
        && let Some(Order::Begin { slot, entry }) = Order::decode(&buffer)
        && let Some(lock) = descriptors.pop()
        && let Some(entry) = Entry::received(entry, descriptors)
    {
        return (slot, entry, lock);
    }
    process::exit_now(1)
}

fn become_user(plan: &Plan<'_>) -> Result<(), StepError> {
    let user = plan.job.user;
    process::keep_capabilities().at(Step::BecomeUser, "")?;
    process::setresgid(user.gid).at(Step::BecomeUser, format!("gid {}", user.gid))?;
    if plan.privileged {
        process::drop_groups().at(Step::BecomeUser, "supplementary groups")?;
    }
    process::setresuid(user.uid).at(Step::BecomeUser, format!("uid {}", user.uid))
}

/// Artifacts of a workspace in memory can only be read through a descriptor that outlives the mount namespace.
fn hand_out_workspace(plan: &Plan<'_>, socket: BorrowedFd<'_>) -> Result<(), StepError> {
    if plan.job.artifacts.is_none() || plan.job.workspace != Workspace::Tmpfs {
        return Ok(());
    }
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    let directory = file::open(pinfold_runner::WORKSPACE, flags).at(Step::OpenWorkspace, "/workspace")?;
    socket::send(socket, &News::Workspace.encode(), &[directory.as_fd()]).at(Step::OpenWorkspace, "/workspace")
}

fn stdio(plan: &Plan<'_>, inherited: &mut Inherited<'_>) -> Result<command::Stdio, StepError> {
    if let Some((rows, columns)) = plan.terminal {
        // The sandbox's own devpts: the terminal is none of the host's, and the caller's is never seen inside.
        let master =
            file::open("/dev/pts/ptmx", libc::O_RDWR | libc::O_NOCTTY).at(Step::OpenTerminal, "/dev/pts/ptmx")?;
        let slave = terminal::open_peer(&master).at(Step::OpenTerminal, "its other side")?;
        terminal::set_size(&master, rows, columns).at(Step::OpenTerminal, "its size")?;
        socket::send(inherited.socket.as_fd(), &News::Terminal.encode(), &[master.as_fd()])
            .at(Step::OpenTerminal, "")?;
        return Ok(command::Stdio::Terminal(slave));
    }
    let missing = || sys::Errno(libc::EBADF);
    let stdin = match inherited.stdin.take() {
        Some(stdin) => stdin,
        None => file::open("/dev/null", libc::O_RDONLY).at(Step::ConnectStdio, "stdin")?,
    };
    Ok(command::Stdio::Pipes {
        stdin,
        stdout: inherited.stdout.take().ok_or_else(missing).at(Step::ConnectStdio, "stdout")?,
        stderr: inherited.stderr.take().ok_or_else(missing).at(Step::ConnectStdio, "stderr")?,
    })
}

/// From here on init needs to wait, kill, read and write, and can do nothing else. The command is being set up in its
/// own process at the same time, and waits for this before it is executed: the guest never meets an init that can more.
fn guard() -> Result<(), StepError> {
    capability::drop_all().at(Step::GuardInit, "capabilities")?;
    process::set_no_new_privs().at(Step::GuardInit, "no_new_privs")?;
    seccomp::set_mode_filter(policies::init().instructions()).at(Step::GuardInit, "seccomp")
}

/// Waits for the command's end, for orders, and for the death of those who own the sandbox. Whichever comes, all that
/// is left is killed at its end.
fn serve(command: i32, socket: &OwnedFd, lifeline: Option<BorrowedFd<'_>>, signals: &OwnedFd) {
    let mut fds = vec![poll::entry(signals.as_fd(), libc::POLLIN), poll::entry(socket.as_fd(), libc::POLLIN)];
    if let Some(lifeline) = lifeline {
        // The runner reads the lifeline; we only want to know that the other end is closed.
        fds.push(poll::entry(lifeline, libc::POLLRDHUP));
    }
    let mut end = None;
    while end.is_none() {
        if poll::poll(&mut fds, None).is_err() {
            return;
        }
        if fds[1].revents != 0 && !obey(command, socket) {
            break;
        }
        if fds.get(2).is_some_and(|fd| fd.revents & (libc::POLLHUP | libc::POLLRDHUP | libc::POLLERR) != 0) {
            break;
        }
        while signal::next_signal(signals.as_fd()).is_some() {}
        while let Ok(Some((pid, how, _))) = process::wait(-1, false) {
            if pid == command {
                end = Some(how);
            }
        }
    }
    // Kills every process but this one; the kernel lets no fork slip through between (kill(2), -1).
    let _none_left = signal::kill(-1, libc::SIGKILL);
    while let Ok(Some((pid, how, _))) = process::wait(-1, true) {
        if pid == command {
            end = Some(how);
        }
    }
    if let Some(end) = end {
        let report = Report::new(end, &process::usage_of_children());
        let _runner_is_dead = socket::send(socket.as_fd(), &News::Ended(report).encode(), &[]);
    }
    process::exit_now(0)
}

/// Carries out one order. False when everything is to end.
fn obey(command: i32, socket: &OwnedFd) -> bool {
    let mut buffer = [0; Order::BYTES];
    match socket::receive(socket.as_fd(), &mut buffer) {
        Ok((Order::BYTES, _)) => match Order::decode(&buffer) {
            Some(Order::Signal(number)) => {
                let _ended_meanwhile = signal::kill(-command, number);
                true
            }
            Some(Order::KillAll | Order::Begin { .. }) | None => false,
        },
        _ => false,
    }
}
