//! The runner as a process: started, watched through a pidfd, killed, reaped. What it is told and what it answers is none
//! of this file's business.
//!
//! posix_spawn(3) starts it, since it does not copy the page tables of a large host as fork(2) does, and hands over
//! descriptors without a moment in which another thread's child could inherit them.

use crate::error::Error;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal as NixSignal};
use pinfold_runner::RunnerOptions;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group, pidfd_open, pidfd_send_signal,
    waitid, waitpid,
};
use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The variables of the host that the runner gets, beside all of `PINFOLD_*`: where temporary files go, and how to reach
/// the user's systemd for a cgroup.
const INHERITED: [&str; 3] = ["TMPDIR", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"];

/// The runner gets descriptors from 0 on; ours are moved to this number or above first, so that none is overwritten
/// before it was handed over.
const ABOVE_HANDED_OVER: RawFd = 16;

/// How to start runners: the program and its environment.
#[derive(Debug)]
pub(crate) struct Launcher {
    runner: PathBuf,
    program: CString,
    environment: Vec<CString>,
}

impl Launcher {
    /// Starts `runner`, an absolute path, in the few variables of this process's environment that it needs.
    pub(crate) fn new(runner: PathBuf) -> Result<Self, Error> {
        let program = CString::new(runner.as_os_str().as_bytes())
            .map_err(|e| Error::UnusableRunner { path: runner.clone(), source: e.into() })?;
        let environment = std::env::vars_os()
            .filter(|(name, _)| {
                INHERITED.iter().any(|inherited| name == inherited) || name.as_bytes().starts_with(b"PINFOLD_")
            })
            .filter_map(|(mut variable, value)| {
                variable.push("=");
                variable.push(value);
                CString::new(variable.into_vec()).ok()
            })
            .collect();
        Ok(Self { runner, program, environment })
    }

    pub(crate) fn runner(&self) -> &Path {
        &self.runner
    }

    /// `source` as an error that says in which step the start failed.
    pub(crate) fn failed_to(&self, step: &'static str, source: io::Error) -> Error {
        Error::Start { step, runner: self.runner.clone(), source }
    }

    /// Starts a runner whose descriptors are `descriptors`, numbered from 0.
    pub(crate) fn start(&self, options: &RunnerOptions, descriptors: Vec<OwnedFd>) -> Result<RunnerProcess, Error> {
        self.start_with(&options.to_args(), descriptors)
    }

    /// Starts the program with arguments.
    pub(crate) fn start_with(&self, arguments: &[String], descriptors: Vec<OwnedFd>) -> Result<RunnerProcess, Error> {
        let pid = self.spawn(arguments, descriptors).map_err(|e| self.failed_to("start a process", e))?;
        // The process can't have been reaped, and its number not reused, since only this code waits for it.
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(RunnerProcess { pid, pidfd: Arc::new(pidfd) }),
            Err(errno) => {
                // It has got no job yet. Nothing better can be done if these fail than to report the first failure.
                let _gone = kill_process_group(pid, Signal::KILL);
                let _reaped = waitpid(Some(pid), WaitOptions::empty());
                Err(self.failed_to("open a pidfd", errno.into()))
            }
        }
    }

    fn spawn(&self, more: &[String], descriptors: Vec<OwnedFd>) -> io::Result<Pid> {
        let descriptors = descriptors.into_iter().map(move_up).collect::<io::Result<Vec<_>>>()?;
        let mut actions = PosixSpawnFileActions::init()?;
        for (number, descriptor) in (0..).zip(&descriptors) {
            actions.add_dup2(descriptor.as_raw_fd(), number)?;
        }
        // A process group of its own: Ctrl-C on the host's terminal is for the host to handle, not for the runner.
        // Whatever signals the host ignores or blocks, SIGCHLD and SIGTERM above all, the runner starts afresh.
        let mut attributes = PosixSpawnAttr::init()?;
        let mut resettable = SigSet::all();
        resettable.remove(NixSignal::SIGKILL);
        resettable.remove(NixSignal::SIGSTOP);
        attributes.set_pgroup(nix::unistd::Pid::from_raw(0))?;
        attributes.set_sigdefault(&resettable)?;
        attributes.set_sigmask(&SigSet::empty())?;
        attributes.set_flags(
            PosixSpawnFlags::POSIX_SPAWN_SETPGROUP
                | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF
                | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK,
        )?;
        let name = self.runner.file_name().unwrap_or(self.runner.as_os_str());
        let mut arguments = vec![CString::new(name.as_bytes())?];
        for argument in more {
            arguments.push(CString::new(argument.as_str())?);
        }
        let pid = posix_spawn(self.program.as_c_str(), &actions, &attributes, &arguments, &self.environment)?;
        Pid::from_raw(pid.as_raw()).ok_or_else(|| io::Error::from(Errno::SRCH))
    }

    /// Removes what runners that were killed left on disk; at most `patience` long, after which the sweeper is killed.
    /// Blocks. What it can't remove now is swept at the next start.
    pub(crate) fn sweep(&self, patience: Duration) {
        let null = || std::fs::File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
        let Ok(descriptors) = (0..3).map(|_| null()).collect::<io::Result<Vec<_>>>() else { return };
        let options = RunnerOptions { sweep: true, ..RunnerOptions::default() };
        if let Ok(sweeper) = self.start(&options, descriptors) {
            sweeper.wait_or_kill(patience);
        }
    }
}

/// A copy of `descriptor` out of the way of the numbers that the runner gets; closed on exec, as all of ours are.
fn move_up(descriptor: OwnedFd) -> io::Result<OwnedFd> {
    if descriptor.as_raw_fd() >= ABOVE_HANDED_OVER {
        return Ok(descriptor);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&descriptor, ABOVE_HANDED_OVER)?)
}

/// How the runner ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
    /// The host ignores SIGCHLD or reaps what is not its own: the kernel forgot.
    Unknown,
}

impl Exit {
    /// Whether the runner certainly came to its own end and cleaned up: 0, or 125 for `failed`.
    pub(crate) fn is_orderly(self) -> bool {
        matches!(self, Self::Code(0 | 125))
    }

    /// Whether a runner that answers that the job failed, or did not, may end like this.
    pub(crate) fn fits(self, failed: bool) -> bool {
        self == Self::Unknown || self == Self::Code(if failed { 125 } else { 0 })
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with code {code}"),
            Self::Signal(number) => match NixSignal::try_from(*number) {
                Ok(signal) => write!(f, "was killed by {signal}"),
                Err(_unnamed) => write!(f, "was killed by signal {number}"),
            },
            Self::Unknown => f.write_str("ended, and this process was not told how"),
        }
    }
}

/// A runner that runs, or has ended and is not reaped yet.
#[derive(Debug)]
pub(crate) struct RunnerProcess {
    /// Also its process group. Valid until it is reaped, which only `reap` does.
    pid: Pid,
    /// Readable when it has ended.
    pidfd: Arc<OwnedFd>,
}

impl RunnerProcess {
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    pub(crate) fn pidfd(&self) -> &Arc<OwnedFd> {
        &self.pidfd
    }

    /// Kills it and whatever is in its process group.
    pub(crate) fn kill(&self) {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // While it runs, or is a zombie of ours, its number is nobody else's. An error: somebody reaped it in our stead.
        if waitid(WaitId::PidFd(self.pidfd.as_fd()), look).is_ok() {
            // ESRCH: all are gone, which is what was wanted.
            let _gone = kill_process_group(self.pid, Signal::KILL);
        }
    }

    /// Waits without blocking; `None` while it runs. What is left of its process group is killed first, while the dead
    /// runner still holds the group's number, so that it can be no stranger's.
    pub(crate) fn reap(&self) -> Option<Exit> {
        if !self.has_ended(Duration::ZERO) {
            return None;
        }
        self.kill();
        let status = match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
            Ok(Some(status)) => status,
            Ok(None) | Err(_) => return Some(Exit::Unknown),
        };
        Some(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(number)) => Exit::Signal(number),
            (None, None) => Exit::Unknown,
        })
    }

    /// Blocks until it has ended, kills it when `patience` is over, and reaps it. `None` if even the kernel can't end it
    /// (uninterruptible sleep): init will reap it one day.
    pub(crate) fn wait_or_kill(&self, patience: Duration) -> Option<Exit> {
        if !self.has_ended(patience) {
            self.kill();
            self.has_ended(patience.max(Duration::from_secs(1)));
        }
        self.reap()
    }

    /// Blocks until it has ended or `patience` is over.
    fn has_ended(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok();
            match poll(&mut [PollFd::new(&*self.pidfd, PollFlags::IN)], left.as_ref()) {
                Ok(ready) => return ready > 0,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }
}

/// Kills the runner behind `pidfd`; nothing happens if it has ended, whoever has its number now.
pub(crate) fn kill_through(pidfd: &OwnedFd) {
    let _gone = pidfd_send_signal(pidfd, Signal::KILL);
}
