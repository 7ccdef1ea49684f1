//! The command's process, from its birth to exec: the confinement, step by step, in an order that matters.

use crate::cgroup::Entry;
use crate::failure::{At, Step, StepError};
use crate::plan::Plan;
use crate::sys::file::Resolve;
use crate::sys::process;
use crate::sys::{self, Errno, capability, file, seccomp, signal, terminal};
use crate::{environment, fence, rlimit};
use pinfold_runner::{FileEntry, seccomp as policies};
use std::os::fd::{AsFd, OwnedFd};

/// What becomes descriptors 0, 1 and 2.
pub(crate) enum Stdio {
    Pipes {
        stdin: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    /// All three are this terminal, which also becomes the controlling one.
    Terminal(OwnedFd),
}

/// Becomes the command, or says on `status` which step failed. Never returns.
pub(crate) fn run(plan: &Plan<'_>, stdio: Stdio, status: Option<OwnedFd>, entry: &Entry, guarded: &OwnedFd) -> ! {
    let Err(error) = confine_and_execute(plan, stdio, entry, guarded);
    if let Some(status) = status {
        let _runner_is_dead = file::write_all(status.as_fd(), &error.encode());
    }
    process::exit_now(1)
}

/// The sequence. `Infallible`: it only comes back with an error.
fn confine_and_execute(
    plan: &Plan<'_>,
    stdio: Stdio,
    entry: &Entry,
    guarded: &OwnedFd,
) -> Result<std::convert::Infallible, StepError> {
    // Into the cgroup first: whatever this process does from here on is counted and limited.
    join_cgroup(entry)?;
    // Only now a cgroup namespace, so that its root is the command's own group: /proc/self/cgroup says `/`.
    process::unshare(libc::CLONE_NEWCGROUP).at(Step::HideCgroup, "")?;
    process::setsid().at(Step::StartSession, "setsid")?;
    signal::reset_all().at(Step::StartSession, "signal dispositions")?;
    connect(stdio)?;
    rlimit::set(plan.job, matches!(entry, Entry::None))?;
    sys::resource::reset_nice();
    // The files of the job may not be masked by the umask of whoever started us.
    file::umask(0o022);

    // No capability from here on. The user id is the only one that exists here, and init has it too.
    capability::drop_all().at(Step::DropPrivileges, "capabilities")?;
    process::set_no_new_privs().at(Step::DropPrivileges, "no_new_privs")?;

    // With the command's own rights, inside its limits: what it could not write itself is not written for it either.
    let workspace = file::open(pinfold_runner::WORKSPACE, libc::O_PATH | libc::O_DIRECTORY)
        .at(Step::EnterDirectory, pinfold_runner::WORKSPACE)?;
    for entry in &plan.job.files {
        write_file(&workspace, entry).at(Step::WriteFile, entry.path.as_str())?;
    }
    file::fchdir(workspace.as_fd()).at(Step::EnterDirectory, pinfold_runner::WORKSPACE)?;
    let cwd = plan.job.cwd.as_str();
    let directory = sys::c_string(cwd).at(Step::EnterDirectory, cwd)?;
    file::chdir(&directory).at(Step::EnterDirectory, cwd)?;

    let strings = environment::Strings::new(plan).at(Step::Execute, "")?;
    // Every descriptor but 0, 1 and 2 closes at exec, whoever opened it.
    file::close_on_exec_from(3).at(Step::ConnectStdio, "other descriptors")?;
    fence::restrict(plan)?;
    // End-of-file says that init has given up its own rights.
    file::read(guarded.as_fd(), &mut [0]).at(Step::GuardInit, "")?;
    // The last thing before exec: a filter may forbid everything that was needed until here.
    if plan.forbids_set_id {
        let filter = policies::restrict_suid_sgid();
        seccomp::set_mode_filter(filter.instructions()).at(Step::RestrictSystemCalls, "set-id files")?;
    }
    seccomp::set_mode_filter(plan.policy.instructions()).at(Step::RestrictSystemCalls, plan.job.seccomp.name())?;
    Err(strings.execute()).at(Step::Execute, plan.job.command.program())
}

fn join_cgroup(entry: &Entry) -> Result<(), StepError> {
    if let Entry::Tasks(files) = entry {
        for tasks in files {
            // `0` is the writing thread itself, and this process has one thread. `cgroup.procs` would take a global
            // lock and wait for a grace period: some 5 ms on an idle machine, where this takes 30 µs.
            file::write_all(tasks.as_fd(), b"0").at(Step::JoinCgroup, "tasks")?;
        }
    }
    Ok(())
}

fn connect(stdio: Stdio) -> Result<(), StepError> {
    match stdio {
        Stdio::Pipes { stdin, stdout, stderr } => {
            for (fd, standard, name) in [(stdin, 0, "stdin"), (stdout, 1, "stdout"), (stderr, 2, "stderr")] {
                file::dup_onto(fd.as_fd(), standard).at(Step::ConnectStdio, name)?;
            }
        }
        Stdio::Terminal(slave) => {
            terminal::set_controlling(&slave).at(Step::ConnectStdio, "the terminal")?;
            for standard in 0..=2 {
                file::dup_onto(slave.as_fd(), standard).at(Step::ConnectStdio, "the terminal")?;
            }
        }
    }
    Ok(())
}

/// Writes one file below the workspace, where an earlier job may have left links: none is followed, and nothing is
/// overwritten through one.
fn write_file(workspace: &OwnedFd, entry: &FileEntry) -> Result<(), Errno> {
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
