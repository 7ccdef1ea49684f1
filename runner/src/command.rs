//! The command's process, from its birth to exec: the confinement, step by step, in an order that matters.
//!
//! It is born before the view is built. What needs neither the view nor the id maps it does meanwhile, and then waits
//! for init's word.

use crate::failure::{At, EXECUTING, Step, StepError};
use crate::handoff::{Handoff, Ready};
use crate::message::Departure;
use crate::plan::Plan;
use crate::spent::Spent;
use crate::sys::file::Resolve;
use crate::sys::process;
use crate::sys::{self, Errno, capability, file, network, signal, terminal};
use crate::{environment, fence, identity, rlimit};
use pinfold_runner::FileEntry;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// The command's ends of its pipes. Without a stdin it gets the sandbox's `/dev/null`; with a terminal it has no pipes.
pub(crate) struct Pipes {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
}

impl Pipes {
    /// All descriptors in it.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = RawFd> {
        [&self.stdin, &self.stdout, &self.stderr].into_iter().flatten().map(AsRawFd::as_raw_fd)
    }
}

/// Becomes the command, or says on `status` which step failed. Never returns.
pub(crate) fn run(plan: &Plan<'_>, pipes: Pipes, status: Option<OwnedFd>, handoff: &Handoff) -> ! {
    let kept = status.iter().map(AsRawFd::as_raw_fd).chain([handoff.number()]).collect::<Vec<_>>();
    let Err(error) = confine_and_execute(plan, pipes, handoff, &kept, status.as_ref());
    if let Some(status) = status {
        let _runner_is_dead = file::write_all(status.as_fd(), &error.encode());
    }
    process::exit_now(1)
}

/// The sequence. `Infallible`: it only comes back with an error.
fn confine_and_execute(
    plan: &Plan<'_>,
    pipes: Pipes,
    handoff: &Handoff,
    kept: &[RawFd],
    status: Option<&OwnedFd>,
) -> Result<std::convert::Infallible, StepError> {
    // Nothing of init's or the starter's from here on: paths of the job's are resolved by this process, and a link in
    // /proc leads to whatever a process holds open (CVE-2024-21626).
    file::close_all_but(kept.iter().copied().chain(pipes.numbers())).at(Step::ConnectStdio, "other descriptors")?;
    // While init collects the host's mounts and builds the view: first the dearest step of all.
    if plan.own_network() {
        handoff.send_network(make_network()?)?;
    }
    process::setsid().at(Step::StartSession, "setsid")?;
    signal::reset_all().at(Step::StartSession, "signal dispositions")?;

    // The id maps are written. Into the cgroup before anything of the job's is touched: it is counted and limited.
    let (tasks, held) = handoff.receive_entry()?;
    join_cgroup(&tasks)?;
    // On v2 it was born there.
    let on_entry = if tasks.is_empty() { Spent::default() } else { Spent::by_self() };
    drop(tasks);
    // Only now a cgroup namespace, so that its root is the command's own group: /proc/self/cgroup says `/`.
    process::unshare(libc::CLONE_NEWCGROUP).at(Step::HideCgroup, "")?;
    rlimit::set(plan, held)?;
    sys::resource::reset_scheduling().at(Step::StartSession, "scheduling policy")?;
    identity::become_user(plan.job.user, plan.privileged)?;
    process::set_non_dumpable().at(Step::DropPrivileges, "non-dumpable")?;
    let strings = environment::Strings::new(plan, &[]).at(Step::Execute, "")?;

    // The view is built.
    let Ready { root, terminal } = handoff.receive_ready()?;
    enter_root(&root)?;
    drop(root);
    connect(pipes, terminal)?;
    // No capability from here on. The user id is the only one that exists here, and init has it too.
    capability::drop_all().at(Step::DropPrivileges, "capabilities")?;
    process::set_no_new_privs().at(Step::DropPrivileges, "no_new_privs")?;

    // With the command's own rights, inside its limits: what it could not write itself is not written for it either.
    let place = plan.job.workspace_path();
    let workspace = file::open(place, libc::O_PATH | libc::O_DIRECTORY).at(Step::EnterDirectory, place)?;
    for entry in &plan.job.files {
        write_file(&workspace, entry).at(Step::WriteFile, entry.path.as_str())?;
    }
    let cwd = plan.job.starts_in();
    enter_directory(&workspace, cwd).at(Step::EnterDirectory, cwd)?;
    drop(workspace);

    // Exec resolves the command's path before it closes anything.
    file::close_all_but(kept.iter().copied()).at(Step::ConnectStdio, "other descriptors")?;
    file::close_on_exec_from(3).at(Step::ConnectStdio, "other descriptors")?;
    fence::restrict(plan)?;
    // The old root is gone, and init has given up its rights: the guest never meets either.
    handoff.receive_go()?;
    rlimit::set_open_files(plan.job)?;
    // Whoever dies without this word was not the command yet. It comes before the filter, which may forbid to write.
    if let Some(status) = status {
        let departure = Departure { at_us: plan.now_us(), on_entry, spent: Spent::by_self(), pid: 0 };
        let word = [&[EXECUTING], departure.encode().as_slice()].concat();
        file::write_all(status.as_fd(), &word).at(Step::Execute, "")?;
    }
    // The last thing before exec: a filter may forbid everything that was needed until here.
    plan.restrict_system_calls()?;
    Err(strings.execute()).at(Step::Execute, plan.job.command.program())
}

/// The sandbox's own network namespace, with nothing in it but loopback, up. Init enters it afterwards.
fn make_network() -> Result<OwnedFd, StepError> {
    process::unshare(libc::CLONE_NEWNET).at(Step::MakeNamespaces, "net")?;
    network::loopback_up().at(Step::RaiseLoopback, "lo")?;
    // The host's /proc still; it shows every process of the sandbox under its number there.
    file::open("/proc/self/ns/net", libc::O_RDONLY).at(Step::MakeNamespaces, "net")
}

/// pivot_root(2) takes along every process whose root and working directory are the old root: this one too. Should a
/// kernel ever not do so, nothing runs.
fn enter_root(root: &OwnedFd) -> Result<(), StepError> {
    let (new, own) =
        (file::fstat(root.as_fd()), file::open("/", libc::O_PATH).and_then(|own| file::fstat(own.as_fd())));
    let (new, own) = (new.at(Step::EnterRoot, "/")?, own.at(Step::EnterRoot, "/")?);
    if (new.st_dev, new.st_ino) != (own.st_dev, own.st_ino) {
        return Err(Errno(libc::EXDEV)).at(Step::EnterRoot, "/");
    }
    file::chdir(c"/").at(Step::EnterRoot, "/")
}

pub(crate) fn join_cgroup(tasks: &[OwnedFd]) -> Result<(), StepError> {
    for file in tasks {
        // `0` is the writing thread itself, and this process has one thread. `cgroup.procs` would take a global lock
        // and wait for a grace period: some 5 ms on an idle machine, where this takes 30 µs.
        file::write_all(file.as_fd(), b"0").at(Step::JoinCgroup, "tasks")?;
    }
    Ok(())
}

pub(crate) fn connect(pipes: Pipes, terminal: Option<OwnedFd>) -> Result<(), StepError> {
    if let Some(slave) = terminal {
        terminal::set_controlling(&slave).at(Step::ConnectStdio, "the terminal")?;
        return (0..=2).try_for_each(|number| file::dup_onto(slave.as_fd(), number)).at(Step::ConnectStdio, "terminal");
    }
    let stdin = match pipes.stdin {
        Some(stdin) => stdin,
        None => file::open("/dev/null", libc::O_RDONLY).at(Step::ConnectStdio, "stdin")?,
    };
    for (fd, standard, name) in [(Some(stdin), 0, "stdin"), (pipes.stdout, 1, "stdout"), (pipes.stderr, 2, "stderr")] {
        let fd = fd.ok_or(Errno(libc::EBADF)).at(Step::ConnectStdio, name)?;
        file::dup_onto(fd.as_fd(), standard).at(Step::ConnectStdio, name)?;
    }
    Ok(())
}

/// Enters the directory in which the command starts: absolute in the sandbox, or relative to the workspace. An earlier job
/// may have left links there; they lead nowhere but into the view, and none of `/proc`'s to what we hold is followed.
pub(crate) fn enter_directory(workspace: &OwnedFd, path: &str) -> Result<(), Errno> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let directory = file::openat2(workspace.as_fd(), &sys::c_string(path)?, flags, 0, Resolve::NoMagicLinks)?;
    file::fchdir(directory.as_fd())
}

/// Writes one file below the workspace, where an earlier job may have left links: none is followed, and nothing is
/// overwritten through one.
pub(crate) fn write_file(workspace: &OwnedFd, entry: &FileEntry) -> Result<(), Errno> {
    let path = entry.path.as_str();
    let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut dir = workspace.try_clone()?;
    for part in parents.split('/').filter(|part| !part.is_empty()) {
        let part = sys::c_string(part)?;
        match file::mkdirat(dir.as_fd(), &part, 0o755) {
            Ok(()) | Err(Errno(libc::EEXIST)) => {}
            Err(errno) => return Err(errno),
        }
        dir = file::openat2(dir.as_fd(), &part, libc::O_PATH | libc::O_DIRECTORY, 0, Resolve::BeneathNoSymlinks)?;
    }
    let name = sys::c_string(name)?;
    let mode = if entry.executable { 0o755 } else { 0o644 };
    // O_NONBLOCK: a FIFO that lies there must not hold us up; it has no reader, so it answers ENXIO.
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = file::openat2(dir.as_fd(), &name, flags, mode, Resolve::BeneathNoSymlinks)?;
    if file::fstat(file.as_fd())?.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(Errno(libc::EEXIST));
    }
    file::write_all(file.as_fd(), entry.content.as_bytes())?;
    // An existing file keeps its mode at open; the job says what it is to be.
    file::fchmod(file.as_fd(), mode)
}
