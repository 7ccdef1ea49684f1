//! Pid 1 of a held sandbox: it starts commands when it is told to, and is their parent. What it forks is inside of every
//! fence that it is in itself, so it enters them all before it serves: the namespaces, Landlock, and a filter of system
//! calls that is the job's policy widened by what init needs. It never executes anything itself.

use super::message::{Exec, LONGEST_ORDER, News, Order};
use super::roster::{Ended, Roster};
use super::{command, ready};
use crate::command::write_file;
use crate::failure::{At, Step, StepError};
use crate::handoff::Handoff;
use crate::init::{Begin, Inherited, await_begin, hand_out_places, receive_gauge};
use crate::network::{self, Pool};
use crate::plan::Plan;
use crate::spent::Spent;
use crate::sys::network::loopback_up;
use crate::sys::process::{self, Fork};
use crate::sys::{Errno, capability, file, poll, resource, seccomp, signal, socket, terminal};
use crate::view::{self, etc};
use crate::{fence, identity, rlimit};
use pinfold_runner::{Limit, WORKSPACE, Workspace};
use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Builds the sandbox and serves in it. See `init::live`, of which this is the sequence where no command is given.
pub(crate) fn live(
    plan: &Plan<'_>,
    inherited: Inherited<'_>,
    status: &mut Option<OwnedFd>,
) -> Result<Infallible, StepError> {
    let Inherited { socket, lifeline, trees, state, command_group, network: supervisor } = inherited;
    file::chdir(c"/").at(Step::EnterRoot, "/")?;
    capability::empty_bounding_set().at(Step::GuardInit, "bounding set")?;
    // What commands inherit of a process's own, once for all of them.
    signal::reset_all().at(Step::StartSession, "signal dispositions")?;
    resource::reset_scheduling().at(Step::StartSession, "scheduling policy")?;
    let (handoff, theirs) = Handoff::pair()?;
    // On v2: then the groups of commands are made only when the scout is no more where they are to be.
    let is_born_in_group = command_group.is_some();
    let scout = match process::clone3(0, command_group.as_ref().map(AsFd::as_fd)).at(Step::StartCommand, "")? {
        Fork::Child => {
            drop((handoff, socket, trees, supervisor));
            scout(status.take(), &theirs, is_born_in_group)
        }
        Fork::Parent(pid, _pidfd) => pid,
    };
    drop((theirs, command_group));

    let mut collected = view::collect(plan.job, trees)?;
    if is_born_in_group {
        hide_cgroup(&handoff, scout)?;
        socket::send(socket.as_fd(), &News::Hidden.encode(), &[]).at(Step::HideCgroup, "")?;
    }
    let Begin { slot, held, lock: _lock, tasks } = await_begin(socket.as_fd());
    if !is_born_in_group {
        handoff.send_entry(&tasks, held)?;
    }
    drop(tasks);
    if plan.job.workspace == Workspace::Temp {
        collected.take_workspace(&state.join(slot.to_string()).join("workspace"))?;
    }
    identity::become_user(plan.job.user, plan.privileged)?;
    process::set_non_dumpable().at(Step::GuardInit, "non-dumpable")?;
    process::die_with_parent().at(Step::GuardInit, "parent-death signal")?;
    let signals = signal::signalfd(&[libc::SIGCHLD]).at(Step::GuardInit, "signalfd")?;

    let view::Built { root, in_memory } = view::build(plan.job, collected, plan.sizes)?;
    drop(root);
    if !is_born_in_group {
        hide_cgroup(&handoff, scout)?;
    }
    drop(handoff);
    if plan.own_network() {
        process::unshare(libc::CLONE_NEWNET).at(Step::MakeNamespaces, "net")?;
        loopback_up().at(Step::RaiseLoopback, "lo")?;
    }
    let pool = network::prepare(plan, supervisor)?;
    process::sethostname(etc::HOSTNAME).at(Step::SetHostname, etc::HOSTNAME)?;
    let workspace = file::open(WORKSPACE, libc::O_RDONLY | libc::O_DIRECTORY).at(Step::OpenWorkspace, WORKSPACE)?;
    if plan.job.limits.memory_bytes != Limit::Max && !held.memory {
        hand_out_places(&in_memory, socket.as_fd())?;
    }
    drop((in_memory, receive_gauge(socket.as_fd())));
    view::root::leave_old()?;
    // The kernel counts when somebody forks, and that is us.
    rlimit::set_processes(plan, held)?;
    let roster = Roster::new().at(Step::GuardInit, "shared memory")?;
    guard(plan, &workspace)?;
    let serving = socket::send(socket.as_fd(), &News::Serving.encode(), &[workspace.as_fd()]);
    serving.at(Step::OpenWorkspace, WORKSPACE)?;
    drop(workspace);
    *status = None;
    let server = Server { plan, socket, signals, roster, pool, sample: ready::sample() };
    server.serve(lifeline)
}

/// A process that makes a cgroup namespace for init to enter, whose root is the group of whoever makes it: init is in none of
/// the commands' itself.
fn scout(status: Option<OwnedFd>, handoff: &Handoff, is_born_in_group: bool) -> ! {
    let make = || -> Result<(), StepError> {
        if !is_born_in_group {
            crate::command::join_cgroup(&handoff.receive_entry()?.0)?;
        }
        process::unshare(libc::CLONE_NEWCGROUP).at(Step::HideCgroup, "")?;
        handoff.send_cgroup(file::open("/proc/self/ns/cgroup", libc::O_RDONLY).at(Step::HideCgroup, "")?)
    };
    let made = make();
    if let (Err(error), Some(status)) = (&made, status) {
        let _runner_is_dead = file::write_all(status.as_fd(), &error.encode());
    }
    process::exit_now(i32::from(made.is_err()))
}

/// Enters the scout's cgroup namespace, and waits for its end.
fn hide_cgroup(handoff: &Handoff, scout: i32) -> Result<(), StepError> {
    let cgroup = handoff.receive_cgroup()?;
    process::setns(cgroup.as_fd(), libc::CLONE_NEWCGROUP).at(Step::HideCgroup, "")?;
    process::wait(scout, true).at(Step::StartCommand, "").map(drop)
}

/// From here on init can do no more than a command could, but for starting them.
fn guard(plan: &Plan<'_>, workspace: &OwnedFd) -> Result<(), StepError> {
    capability::drop_all().at(Step::GuardInit, "capabilities")?;
    process::set_no_new_privs().at(Step::GuardInit, "no_new_privs")?;
    // One domain for all: a command may signal what another left running.
    fence::restrict(plan)?;
    for entry in &plan.job.files {
        write_file(workspace, entry).at(Step::WriteFile, entry.path.as_str())?;
    }
    let filter = plan.held.as_ref().ok_or(Errno(libc::EINVAL)).at(Step::GuardInit, "seccomp")?;
    seccomp::set_mode_filter(filter.instructions()).at(Step::GuardInit, "seccomp")
}

struct Server<'a> {
    plan: &'a Plan<'a>,
    socket: OwnedFd,
    signals: OwnedFd,
    roster: Roster,
    pool: Option<Pool>,
    /// What those rehearse with who stand ready.
    sample: Vec<u8>,
}

impl Server<'_> {
    /// Obeys until the runner or the keeper is gone. Everything in the sandbox dies with this process.
    fn serve(mut self, lifeline: Option<BorrowedFd<'_>>) -> ! {
        let signals = poll::entry(self.signals.as_fd(), libc::POLLIN);
        let mut fds = vec![signals, poll::entry(self.socket.as_fd(), libc::POLLIN)];
        // A number of -1 is skipped.
        let none = libc::pollfd { fd: -1, events: 0, revents: 0 };
        fds.push(lifeline.map_or(none, |lifeline| poll::entry(lifeline, libc::POLLRDHUP)));
        fds.push(self.pool.as_ref().map_or(none, Pool::entry));
        let mut buffer = vec![0; LONGEST_ORDER];
        loop {
            if poll::poll(&mut fds, None).is_err() {
                break;
            }
            let is_gone = |fd: &libc::pollfd| fd.revents & (libc::POLLHUP | libc::POLLRDHUP | libc::POLLERR) != 0;
            if is_gone(&fds[2]) || fds[1].revents != 0 && !self.obey(&mut buffer) {
                break;
            }
            if fds[0].revents != 0 {
                self.reap();
            }
            if fds[3].revents != 0 && self.pool.as_mut().is_some_and(|pool| !pool.turn()) {
                fds[3] = none;
            }
        }
        process::exit_now(0)
    }

    fn reap(&mut self) {
        while signal::next_signal(self.signals.as_fd()).is_some() {}
        while let Ok(Some((pid, end, usage))) = process::wait(-1, false) {
            let ended = Ended { end, ended_us: self.plan.now_us(), spent: Spent::of(&usage) };
            if let Some((number, Ended { end, ended_us, spent })) = self.roster.reap(pid, ended) {
                let news = News::Ended { number, end, ended_us, spent };
                let _runner_is_dead = socket::send(self.socket.as_fd(), &news.encode(), &[]);
            }
        }
    }

    /// Carries out one order. False when the runner is gone.
    fn obey(&mut self, buffer: &mut [u8]) -> bool {
        let Ok((length, descriptors)) = socket::receive(self.socket.as_fd(), buffer) else { return false };
        match Order::decode(&buffer[..length]) {
            Some((Order::Exec(exec), ask)) => {
                if let Err(error) = self.start(exec, ask, descriptors) {
                    let news = News::Refused { number: exec.number, error };
                    let _runner_is_dead = socket::send(self.socket.as_fd(), &news.encode(), &[]);
                }
                true
            }
            Some((Order::Prepare { number, tasks, goes_on_in_group }, _)) => {
                if let Err(error) = self.prepare(number, usize::from(tasks), goes_on_in_group, descriptors) {
                    let news = News::Refused { number, error };
                    let _runner_is_dead = socket::send(self.socket.as_fd(), &news.encode(), &[]);
                }
                true
            }
            Some((Order::Signal { number, signal }, _)) => {
                for pid in self.roster.processes_of(number) {
                    if signal::kill(-pid, signal).is_err() {
                        // It leads no group yet, or has ended meanwhile.
                        let _ended_meanwhile = signal::kill(pid, signal);
                    }
                }
                true
            }
            None => false,
        }
    }

    /// Makes a process that waits for a command to become, or to be succeeded by. It is reaped as any other.
    fn prepare(
        &mut self,
        number: u64,
        tasks: usize,
        goes_on_in_group: bool,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), StepError> {
        for pid in self.roster.succeeded() {
            // Somebody in the sandbox may have stopped it before it could end.
            let _ended_meanwhile = signal::kill(pid, libc::SIGKILL);
        }
        let place = if goes_on_in_group { Some(self.roster.free_place().at(Step::StartCommand, "")?) } else { None };
        match process::clone3(0, None).at(Step::StartCommand, "")? {
            Fork::Child => match place.and_then(|place| self.roster.successor(place)) {
                Some(place) => ready::stand_in(self.plan, &self.sample, descriptors, place),
                None => ready::stand_ready(self.plan, tasks, &self.sample, descriptors),
            },
            Fork::Parent(pid, _pidfd) => self.roster.add(pid, number, place),
        }
        Ok(())
    }

    fn start(&mut self, exec: Exec, ask: &[u8], mut descriptors: Vec<OwnedFd>) -> Result<(), StepError> {
        let slave = match exec.terminal {
            Some((rows, columns)) => Some(self.open_terminal(exec.number, rows, columns)?),
            None => None,
        };
        let group = if exec.is_born_in_group { Some(descriptors.remove(0)) } else { None };
        match process::clone3(0, group.as_ref().map(AsFd::as_fd)).at(Step::StartCommand, "")? {
            Fork::Child => command::run(self.plan, exec, ask, descriptors, slave),
            Fork::Parent(pid, _pidfd) => self.roster.add(pid, exec.number, None),
        }
        Ok(())
    }

    /// A terminal of the sandbox's own devpts. The runner gets its master, and passes it on.
    fn open_terminal(&self, number: u64, rows: u16, columns: u16) -> Result<OwnedFd, StepError> {
        let path = "/dev/pts/ptmx";
        let master = file::open(path, libc::O_RDWR | libc::O_NOCTTY).at(Step::OpenTerminal, path)?;
        let slave = terminal::open_peer(&master).at(Step::OpenTerminal, "its other side")?;
        terminal::set_size(&master, rows, columns).at(Step::OpenTerminal, "its size")?;
        let news = News::Terminal { number }.encode();
        socket::send(self.socket.as_fd(), &news, &[master.as_fd()]).at(Step::OpenTerminal, "its master")?;
        Ok(slave)
    }
}
