//! Pid 1 of the sandbox. It builds the view, reaps, passes signals on, and when the command has ended it kills and reaps
//! all that is left, so that the figures are whole. It is our code from first to last and never the guest's; when the
//! command is executed it holds no capability and can't be traced.
//!
//! The command's process is the first thing that init makes, long before the command runs in it: what both do then goes
//! on at the same time where there is a second CPU. The kernel takes long to make the network namespace, which is the
//! command's process's part, and to mount the view, which is init's.

use crate::cgroup::gauge;
use crate::command::{self, Pipes};
use crate::failure::{At, Step, StepError};
use crate::handoff::{Handoff, Ready};
use crate::message::{News, Order, Report};
use crate::network::{self, Pool};
use crate::numbers::Numbers;
use crate::plan::Plan;
use crate::reach::Reach;
use crate::rlimit::Held;
use crate::spent::Spent;
use crate::sys::process::{self, Fork};
use crate::sys::{capability, entry, file, perf, poll, seccomp, signal, socket, terminal};
use crate::view::{self, Tree, etc};
use crate::{held, identity};
use pinfold_runner::{Limit, Workspace, seccomp as policies};
use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// What init inherits from the runner.
pub(crate) struct Inherited<'a> {
    /// Orders come and news go here; the runner holds the other end. End-of-file: the runner is dead, and so are we.
    pub(crate) socket: OwnedFd,
    /// The supervisor holds the other end: end-of-file ends the sandbox even while the runner is stopped.
    pub(crate) lifeline: Option<BorrowedFd<'a>>,
    /// Mounts that root opened on the host.
    pub(crate) trees: Option<Vec<Tree>>,
    /// Where the slots are on the host.
    pub(crate) state: &'a Path,
    /// The cgroup that the command is born in, on v2; given up then.
    pub(crate) command_group: Option<OwnedFd>,
    /// The supervisor of a sandbox with a list of allowed hosts holds the other end.
    pub(crate) network: Option<OwnedFd>,
}

impl Inherited<'_> {
    /// All descriptors in it.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = RawFd> {
        let trees = self.trees.iter().flatten().map(|tree| tree.mount.as_raw_fd());
        let lifeline = self.lifeline.map(|fd| fd.as_raw_fd());
        let group = self.command_group.as_ref().map(OwnedFd::as_raw_fd);
        let network = self.network.as_ref().map(OwnedFd::as_raw_fd);
        trees.chain(lifeline).chain(group).chain(network).chain([self.socket.as_raw_fd()])
    }
}

/// Runs as init. Never returns.
pub(crate) fn run(plan: &Plan<'_>, inherited: Inherited<'_>, pipes: Pipes, status: OwnedFd) -> ! {
    entry::hide_arguments();
    // Whatever else the runner had open is closed, whoever owns it in its frames, which never end here: the sandbox
    // holds nothing of the starter's, and keeps nobody waiting for an end-of-file.
    if file::close_all_but(inherited.numbers().chain(pipes.numbers()).chain([status.as_raw_fd()])).is_err() {
        process::exit_now(1);
    }
    let mut status = Some(status);
    let Err(error) = match plan.held.is_some() {
        true => held::init::live(plan, inherited, &mut status),
        false => live(plan, inherited, pipes, &mut status),
    };
    if let Some(status) = status {
        let _nobody_left_to_tell = file::write_all(status.as_fd(), &error.encode());
    }
    process::exit_now(1)
}

/// `status` is where an error of ours or of the command's process goes. Every copy of it closes at exec, which is how
/// the runner learns of success; so ours is given up as soon as nothing of ours can fail any more.
fn live(
    plan: &Plan<'_>,
    inherited: Inherited<'_>,
    pipes: Pipes,
    status: &mut Option<OwnedFd>,
) -> Result<Infallible, StepError> {
    let Inherited { socket, lifeline, trees, state, command_group, network: supervisor } = inherited;
    // Where init is and everything that it forks, so that pivot_root takes both along to the new root.
    file::chdir(c"/").at(Step::EnterRoot, "/")?;
    // What no exec may ever give; whatever is held now stays. The command's process inherits it.
    capability::empty_bounding_set().at(Step::GuardInit, "bounding set")?;
    let (handoff, theirs) = Handoff::pair()?;
    let command = match process::clone3(0, command_group.as_ref().map(AsFd::as_fd)).at(Step::StartCommand, "")? {
        Fork::Child => {
            drop((handoff, socket, trees, supervisor));
            command::run(plan, pipes, status.take(), &theirs)
        }
        Fork::Parent(pid, _pidfd) => pid,
    };
    // The guest's descriptors are its own: as long as we held a pipe's end, its reader would never see end-of-file.
    drop((pipes, theirs, command_group));

    // Copies of the host's mounts: until `become_user` our rights on files are still the starter's. Meanwhile the runner
    // takes the slot, makes the cgroups and writes the id maps.
    let mut collected = view::collect(plan.job, trees)?;
    let Begin { slot, held, lock: _lock, tasks } = await_begin(socket.as_fd());
    hand_out_meter(plan, held, command, socket.as_fd())?;
    handoff.send_entry(&tasks, held)?;
    drop(tasks);
    if plan.job.workspace == Workspace::Temp {
        collected.take_workspace(&state.join(slot.to_string()).join("workspace"))?;
    }
    identity::become_user(plan.job.user, plan.privileged)?;
    // After the last change of credentials, which clears both. If the runner died before this line, the socket says so.
    process::set_non_dumpable().at(Step::GuardInit, "non-dumpable")?;
    process::die_with_parent().at(Step::GuardInit, "parent-death signal")?;
    let signals = signal::signalfd(&[libc::SIGCHLD]).at(Step::GuardInit, "signalfd")?;

    let view::Built { root, in_memory } = view::build(plan.job, collected, plan.sizes)?;
    if plan.own_network() {
        // Made by the command's process. `/proc/1/net` shows the same as its own, and nothing of the host's.
        let network = handoff.receive_network()?;
        process::setns(network.as_fd(), libc::CLONE_NEWNET).at(Step::MakeNamespaces, "net")?;
    }
    let pool = network::prepare(plan, supervisor)?;
    process::sethostname(etc::HOSTNAME).at(Step::SetHostname, etc::HOSTNAME)?;
    hand_out_workspace(plan, socket.as_fd())?;
    if plan.job.limits.memory_bytes != Limit::Max && !held.memory {
        hand_out_places(&in_memory, socket.as_fd())?;
    }
    drop(in_memory);
    let terminal = open_terminal(plan, socket.as_fd())?;

    handoff.send_ready(&Ready { root, terminal })?;
    // From here on the command's process has more to do than we.
    let numbers = Numbers::open()?;
    let gauge = receive_gauge(socket.as_fd());
    view::root::leave_old()?;
    guard()?;
    // The last word: nothing of the old root is left, and init can do no more than serve.
    handoff.send_go()?;
    drop(handoff);
    *status = None;
    let reach = Reach::Namespace;
    serve(plan, Served { command, socket, lifeline, signals, numbers: Some(numbers), gauge, reach, pool })
}

/// The runner's word that the ground is laid.
pub(crate) struct Begin {
    pub(crate) slot: u32,
    pub(crate) held: Held,
    /// The slot's directory. It stays open: its lock is ours as well, so nobody sweeps while init lives.
    pub(crate) lock: OwnedFd,
    pub(crate) tasks: Vec<OwnedFd>,
}

/// Waits for the runner's word. If it has none to give, it is dead or has failed, and tells of that itself.
pub(crate) fn await_begin(socket: BorrowedFd<'_>) -> Begin {
    let mut buffer = [0; Order::BYTES];
    if let Ok((Order::BYTES, mut descriptors)) = socket::receive(socket, &mut buffer)
        && let Some(Order::Begin(slot, held)) = Order::decode(&buffer)
        && !descriptors.is_empty()
    {
        let lock = descriptors.remove(0);
        return Begin { slot, held, lock, tasks: descriptors };
    }
    process::exit_now(1)
}

/// The files that tell of the sandbox's memory. Without the runner there are none, and nobody to tell.
pub(crate) fn receive_gauge(socket: BorrowedFd<'_>) -> Vec<OwnedFd> {
    let mut buffer = [0; Order::BYTES];
    match socket::receive(socket, &mut buffer) {
        Ok((Order::BYTES, descriptors)) if Order::decode(&buffer) == Some(Order::Measure) => descriptors,
        _ => Vec::new(),
    }
}

/// Artifacts of a workspace in memory, or of an overlay, can only be read through a descriptor that outlives the mount
/// namespace.
fn hand_out_workspace(plan: &Plan<'_>, socket: BorrowedFd<'_>) -> Result<(), StepError> {
    if plan.job.artifacts.is_none() || !matches!(plan.job.workspace, Workspace::Tmpfs | Workspace::Layered(_)) {
        return Ok(());
    }
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    let directory = file::open(pinfold_runner::WORKSPACE, flags).at(Step::OpenWorkspace, "/workspace")?;
    socket::send(socket, &News::Workspace.encode(), &[directory.as_fd()]).at(Step::OpenWorkspace, "/workspace")
}

/// A counter of all that the command and its descendants will use. It is init's: whoever opened one can switch it off
/// (PR_TASK_PERF_EVENTS_DISABLE, prctl(2)). Many kernels and containers let no ordinary user have one; then the runner adds up
/// what it sees.
pub(crate) fn hand_out_meter(
    plan: &Plan<'_>,
    held: Held,
    command: i32,
    socket: BorrowedFd<'_>,
) -> Result<(), StepError> {
    if plan.job.limits.cpu_ms == Limit::Max || held.cpu_time {
        return Ok(());
    }
    let Ok(counter) = perf::task_clock(command) else { return Ok(()) };
    socket::send(socket, &News::Meter.encode(), &[counter.as_fd()]).at(Step::MakePipe, "the counter of CPU time")
}

/// What the sandbox has in memory, for the runner to see how full it is.
pub(crate) fn hand_out_places(in_memory: &[OwnedFd], socket: BorrowedFd<'_>) -> Result<(), StepError> {
    // Whoever opens it decides whose segments it shows; a kernel without System V's has no such file.
    let segments = file::open("/proc/sysvipc/shm", libc::O_RDONLY).ok();
    let news = News::Places { has_segments: segments.is_some() };
    let places: Vec<_> = segments.iter().chain(in_memory).map(AsFd::as_fd).collect();
    socket::send(socket, &news.encode(), &places).at(Step::MakePipe, "what is in memory")
}

/// A terminal of the sandbox's own devpts: the caller's is never seen inside. The runner gets its master.
fn open_terminal(plan: &Plan<'_>, socket: BorrowedFd<'_>) -> Result<Option<OwnedFd>, StepError> {
    let Some((rows, columns)) = plan.terminal else { return Ok(None) };
    let path = "/dev/pts/ptmx";
    let master = file::open(path, libc::O_RDWR | libc::O_NOCTTY).at(Step::OpenTerminal, path)?;
    let slave = terminal::open_peer(&master).at(Step::OpenTerminal, "its other side")?;
    terminal::set_size(&master, rows, columns).at(Step::OpenTerminal, "its size")?;
    socket::send(socket, &News::Terminal.encode(), &[master.as_fd()]).at(Step::OpenTerminal, "its master")?;
    Ok(Some(slave))
}

/// From here on init needs to wait, kill, read and write, and can do nothing else. The command is executed only
/// afterwards: the guest never meets an init that can more.
fn guard() -> Result<(), StepError> {
    capability::drop_all().at(Step::GuardInit, "capabilities")?;
    process::set_no_new_privs().at(Step::GuardInit, "no_new_privs")?;
    seccomp::set_mode_filter(policies::init().instructions()).at(Step::GuardInit, "seccomp")
}

/// How long what was killed may take to be gone, so that it is counted. Whoever is stuck longer, the kernel ends with
/// init: nothing in the sandbox may keep init from ending, least of all when the runner is dead.
const REAPING: Duration = Duration::from_secs(1);
/// The same where no pid namespace ends with us: as long as the runner would take.
const REAPING_BY_HAND: Duration = Duration::from_secs(20);

/// What init has while the command runs.
pub(crate) struct Served<'a> {
    pub(crate) command: i32,
    pub(crate) socket: OwnedFd,
    pub(crate) lifeline: Option<BorrowedFd<'a>>,
    pub(crate) signals: OwnedFd,
    /// Only a pid namespace has numbers of its own.
    pub(crate) numbers: Option<Numbers>,
    pub(crate) gauge: Vec<OwnedFd>,
    pub(crate) reach: Reach,
    pub(crate) pool: Option<Pool>,
}

/// Waits for the command's end, for orders, and for the death of those who own the sandbox. Whichever comes, all that
/// is left is killed at its end.
pub(crate) fn serve(plan: &Plan<'_>, served: Served<'_>) -> ! {
    let Served { command, socket, lifeline, signals, mut numbers, gauge, reach, mut pool } = served;
    let mut fds = vec![poll::entry(signals.as_fd(), libc::POLLIN), poll::entry(socket.as_fd(), libc::POLLIN)];
    // The runner reads the lifeline; we only want to know that the other end is closed. A number of -1 is skipped.
    let none = libc::pollfd { fd: -1, events: 0, revents: 0 };
    fds.push(lifeline.map_or(none, |lifeline| poll::entry(lifeline, libc::POLLRDHUP)));
    fds.push(pool.as_ref().map_or(none, Pool::entry));
    let mut end = None;
    let mut is_orphaned = false;
    loop {
        // Before the first wait too: a child that ended before its signal was blocked sent none that we could read.
        while signal::next_signal(signals.as_fd()).is_some() {}
        while let Ok(Some((pid, how, _))) = process::wait(-1, false) {
            if pid == command {
                end = Some((how, plan.now_us()));
            }
        }
        if end.is_some() {
            break;
        }
        if poll::poll(&mut fds, numbers.as_ref().and_then(Numbers::pause)).is_err() {
            break;
        }
        if let Some(numbers) = &mut numbers {
            numbers.keep_up();
        }
        if fds[1].revents != 0 && !obey(command, &socket) {
            break;
        }
        if fds[2].revents & (libc::POLLHUP | libc::POLLRDHUP | libc::POLLERR) != 0 {
            is_orphaned = true;
            break;
        }
        if fds[3].revents != 0 && pool.as_mut().is_some_and(|pool| !pool.turn()) {
            fds[3] = none;
        }
    }
    let reading = gauge::read(&gauge);
    let patience = if reach == Reach::Namespace { REAPING } else { REAPING_BY_HAND };
    let deadline = Instant::now() + patience;
    let _the_rest_is_not_ours = reach.end_all(Some(signals.as_fd()), deadline, |pid, how| {
        if pid == command {
            end = Some((how, plan.now_us()));
        }
    });
    if let Some((end, ended_us)) = end {
        let (spent, last_number) = (Spent::by_children(), numbers.as_mut().and_then(Numbers::last));
        let report = Report { end, is_orphaned, ended_us, spent, last_number, reading };
        let _runner_is_dead = socket::send(socket.as_fd(), &News::Ended(Box::new(report)).encode(), &[]);
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
            Some(Order::KillAll | Order::Begin(..) | Order::Measure) | None => false,
        },
        _ => false,
    }
}
