//! The runner: it stands outside of the sandbox, makes what init needs, waits for the end (`wait`), takes everything
//! away again and tells the result.

use crate::artifact::{self, Destination};
use crate::cgroup::{Cgroups, Figures};
use crate::descriptors::{self, Descriptors};
use crate::failure::{At, Step, StepError};
use crate::init::{self, Inherited};
use crate::message::{Order, Report};
use crate::plan::Plan;
use crate::state::{Slot, State};
use crate::stream::{Input, Output, Sink};
use crate::sys::process::{self, End, Fork};
use crate::sys::{self, file, pipe, poll, signal, socket};
use crate::view::caller_trees;
use crate::wait::{self, Ending, Watched};
use crate::watch::{Cpu, Disk};
use crate::{fence, identity, tree};
use pinfold_runner::{
    Content, Failure, Groups, Isolation, Job, Limit, Mechanism, Outcome, Status, Usage, Workspace, WorkspaceMechanism,
};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

/// Runs one job from beginning to end.
pub(crate) fn run(
    job: &Job,
    id: String,
    descriptors: Descriptors,
    terminal: Option<(u16, u16)>,
    start: Instant,
) -> Result<Outcome, Failure> {
    let state = State::open()?;
    state.sweep()?;
    let slot = state.take_slot(random())?;
    let outcome = in_slot(job, id, &slot, descriptors, terminal, start);
    // The result is known; a slot that can't be cleared is the next start's to sweep.
    let _swept_next_time = slot.remove_files();
    outcome
}

fn in_slot(
    job: &Job,
    id: String,
    slot: &Slot,
    descriptors: Descriptors,
    terminal: Option<(u16, u16)>,
    start: Instant,
) -> Result<Outcome, Failure> {
    let plan = Plan::new(job, slot.number, terminal)?;
    let destination = job.artifacts.as_ref().map(|artifacts| Destination::open(job, artifacts)).transpose()?;
    let workspace = open_workspace(&plan, slot)?;
    let trees = plan.privileged.then(|| caller_trees(job, Some(slot.number))).transpose()?;
    let cgroups = Cgroups::create(slot, &job.limits, plan.privileged.then_some(slot.number))?;
    let isolation = isolation(&plan, &cgroups);
    let outcome = check_requirements(&plan, &isolation, &cgroups).and_then(|()| {
        let sandbox = Sandbox { plan: &plan, slot, cgroups: &cgroups, workspace: workspace.as_ref(), start };
        sandbox.run(id, isolation, trees, descriptors, destination)
    });
    cgroups.destroy();
    outcome
}

/// Opens the workspace's directory on the host: made here when it is temporary. One in memory is init's to make.
fn open_workspace(plan: &Plan<'_>, slot: &Slot) -> Result<Option<OwnedFd>, StepError> {
    match &plan.job.workspace {
        Workspace::Tmpfs => Ok(None),
        Workspace::Path(path) => {
            let flags = libc::O_RDONLY | libc::O_DIRECTORY;
            file::open(path.as_str(), flags).map(Some).at(Step::OpenWorkspace, path.as_str())
        }
        Workspace::Temp => {
            file::mkdirat(slot.dir.as_fd(), WORKSPACE, 0o755).at(Step::OpenWorkspace, "temp")?;
            let dir = file::openat(Some(slot.dir.as_fd()), WORKSPACE, tree::DIRECTORY, 0)
                .at(Step::OpenWorkspace, "temp")?;
            if plan.privileged {
                file::fchown(dir.as_fd(), plan.host.uid, plan.host.gid).at(Step::OpenWorkspace, "temp")?;
            }
            Ok(Some(dir))
        }
    }
}

const WORKSPACE: &std::ffi::CStr = c"workspace";

fn isolation(plan: &Plan<'_>, cgroups: &Cgroups) -> Isolation {
    let limits = &plan.job.limits;
    // Where no cgroup holds a limit, `rlimit` sets one for each process, if the job has that limit at all.
    let mechanism = |held: bool, limited: bool| match (held, limited) {
        (true, _) => Mechanism::Cgroup,
        (false, true) if cgroups.version().is_none() => Mechanism::Rlimit,
        (false, _) => Mechanism::None,
    };
    Isolation {
        namespaces: plan.namespaces(),
        seccomp: Some(plan.job.seccomp.name().to_owned()),
        landlock: fence::abi(),
        cgroup: cgroups.version(),
        memory: mechanism(cgroups.memory(), limits.memory_bytes != Limit::Max),
        pids: mechanism(cgroups.pids(), limits.pids != Limit::Max),
        cpu: mechanism(cgroups.cpu(), limits.cpu_ms != Limit::Max),
        workspace: match plan.job.workspace {
            Workspace::Tmpfs => WorkspaceMechanism::Tmpfs,
            _ if plan.watched_bytes.is_some() => WorkspaceMechanism::Watched,
            _ => WorkspaceMechanism::None,
        },
        groups: if !plan.privileged && identity::has_groups() { Groups::Caller } else { Groups::None },
    }
}

const CGROUP_HINT: &str = "no cgroup of this host lets this user make groups with the controllers memory, pids and cpu; \
                           `pinfold doctor` says how to get one";

fn check_requirements(plan: &Plan<'_>, isolation: &Isolation, cgroups: &Cgroups) -> Result<(), Failure> {
    if let Some(missing) = plan.job.require.iter().find(|requirement| !requirement.is_met(isolation)) {
        let failure = Failure::new("requirement", format!("`{}` is required and not in force here", missing.name()));
        let hint = match missing.name() {
            "landlock" => "the kernel has no Landlock: it must be built in and named in the boot option `lsm=`",
            "groups" => "an ordinary user can't drop supplementary groups; start Pinfold as root or as a user without",
            "workspace" => "use `\"workspace\": \"tmpfs\"`, whose size is exact",
            _ => CGROUP_HINT,
        };
        return Err(failure.with_hint(hint));
    }
    if plan.job.limits.cpus != Limit::Max && !cgroups.cpu() {
        return Err(Failure::new("cgroup", "`cpus` can't be limited here: there is no cgroup with the cpu controller")
            .with_hint(CGROUP_HINT));
    }
    Ok(())
}

/// One sandbox in the making, and what it rests on.
struct Sandbox<'a> {
    plan: &'a Plan<'a>,
    slot: &'a Slot,
    cgroups: &'a Cgroups,
    workspace: Option<&'a OwnedFd>,
    start: Instant,
}

/// Init, and what we hold of it.
pub(crate) struct Init {
    pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) socket: OwnedFd,
}

impl Init {
    /// Tells init something. When it is dead already, the event loop learns that from its socket.
    pub(crate) fn tell(&self, order: Order) {
        let _dead = socket::send(self.socket.as_fd(), &order.encode(), None);
    }

    /// Kills init, and with it, by the kernel's rule for pid 1, whatever is left in the sandbox; waits until all is gone.
    fn end(&self) -> Result<(), StepError> {
        let _dead = signal::pidfd_send_signal(&self.pidfd, libc::SIGKILL);
        let deadline = Instant::now() + TEARDOWN;
        loop {
            if process::wait(self.pid, false).at(Step::StartCommand, "wait for init")?.is_some() {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(sys::Errno(libc::ETIMEDOUT)).at(Step::StartCommand, "wait for init");
            }
            let mut fds = [poll::entry(self.pidfd.as_fd(), libc::POLLIN)];
            poll::poll(&mut fds, Some(left)).at(Step::StartCommand, "wait for init")?;
        }
    }
}

/// How long the kernel may take to tear everything down: a process can be stuck in a write to a slow disk.
const TEARDOWN: Duration = Duration::from_secs(20);

impl Sandbox<'_> {
    fn run(
        &self,
        id: String,
        isolation: Isolation,
        trees: Option<Vec<crate::view::Tree>>,
        descriptors: Descriptors,
        destination: Option<Destination>,
    ) -> Result<Outcome, Failure> {
        let signals = signal::signalfd(&[libc::SIGTERM, libc::SIGINT]).at(Step::MakePipe, "signals")?;
        let Descriptors { lifeline, stdin: live_stdin, stdout: live_stdout, stderr: live_stderr } = descriptors;
        let job = self.plan.job;
        let has_stdin = live_stdin.is_some() || !job.stdin.as_bytes().is_empty();

        let (ours, theirs) = socket::socketpair().at(Step::MakePipe, "init")?;
        let (status, status_theirs) = pipe::pipe().at(Step::MakePipe, "status")?;
        let uses_pipes = self.plan.terminal.is_none();
        let (stdin_theirs, stdin) = pair(uses_pipes && has_stdin).at(Step::MakePipe, "stdin")?;
        let (stdout, stdout_theirs) = pair(uses_pipes).at(Step::MakePipe, "stdout")?;
        let (stderr, stderr_theirs) = pair(uses_pipes).at(Step::MakePipe, "stderr")?;
        if self.plan.privileged {
            // A pipe belongs to its maker. /dev/stdout is opened anew by its inode's owner: the sandbox's user.
            for fd in [&stdin_theirs, &stdout_theirs, &stderr_theirs].into_iter().flatten() {
                file::fchown(fd.as_fd(), self.plan.host.uid, self.plan.host.gid).at(Step::MakePipe, "owner")?;
            }
        }
        let temporary = CString::new(self.slot.path().join("workspace").as_os_str().as_bytes()).unwrap_or_default();

        let flags = self.plan.clone_flags();
        let (pid, pidfd) = match process::clone3(flags, self.cgroups.init()).at(Step::MakeNamespaces, "")? {
            Fork::Child => {
                // Ends that stayed open here would keep init from noticing the runner's death, and the reader of the
                // runner's answer from seeing its end.
                drop((ours, status, stdin, stdout, stderr, live_stdin, live_stdout, live_stderr, signals));
                let _none_left_open = descriptors::forget_standard();
                init::run(
                    self.plan,
                    Inherited {
                        socket: theirs,
                        lifeline: lifeline.as_ref().map(AsFd::as_fd),
                        stdin: stdin_theirs,
                        stdout: stdout_theirs,
                        stderr: stderr_theirs,
                        trees,
                        entry: self.cgroups.entry(),
                        temporary: &temporary,
                    },
                    status_theirs,
                )
            }
            Fork::Parent(pid, pidfd) => (pid, pidfd),
        };
        drop((theirs, status_theirs, stdin_theirs, stdout_theirs, stderr_theirs, trees));
        let init = Init { pid, pidfd, socket: ours };
        if let Err(error) = identity::write_maps(pid, job.user, self.plan.host, self.plan.privileged) {
            init.end()?;
            return Err(error.into());
        }
        init.tell(Order::Mapped);

        let cap = job.limits.output_bytes.value();
        let sink = |live: Option<OwnedFd>| live.map_or(Sink::Keep(Vec::new()), |live| Sink::Live(Some(live)));
        let watched = Watched {
            init: &init,
            signals,
            lifeline,
            status: Some(status),
            stdin: Input::new(stdin, live_stdin, job.stdin.as_bytes().to_vec()).at(Step::MakePipe, "stdin")?,
            stdout: Output::new(stdout, sink(live_stdout), cap).at(Step::MakePipe, "stdout")?,
            stderr: Output::new(stderr, sink(live_stderr), cap).at(Step::MakePipe, "stderr")?,
            wall: job.limits.wall_ms.value().map(Duration::from_millis),
            cpu: job.limits.cpu_ms.value().map(Cpu::new),
            disk: self.disk_watch(),
            cgroups: self.cgroups,
        };
        let (ending, streams) = watched.until_end();
        let gone = init.end();
        let outcome = self.outcome(id, isolation, ending, streams)?;
        gone?;
        Ok(self.with_artifacts(outcome, destination))
    }

    fn disk_watch(&self) -> Option<Disk> {
        let limit = self.plan.watched_bytes?;
        let root = self.workspace?.try_clone().ok()?;
        Some(Disk::new(root, limit, self.plan.job.workspace == Workspace::Temp))
    }

    fn outcome(
        &self,
        id: String,
        isolation: Isolation,
        ending: Ending,
        streams: wait::Streams,
    ) -> Result<(Outcome, Option<OwnedFd>), Failure> {
        if let Some(error) = ending.step_error {
            return Err(error.into());
        }
        let figures = self.cgroups.figures(self.plan.job.limits.cpus != Limit::Max);
        let report = ending.report;
        let Some((status, exit_code, signal)) = judge(&ending, figures.oom_kills, self.plan.job) else {
            return Err(Failure::new("init_died", "the sandbox's init ended before the command did")
                .with_hint("something on the host killed it, or the machine is out of memory"));
        };
        let elapsed = |from: Option<Instant>, to: Option<Instant>| {
            Some(to?.saturating_duration_since(from?).as_secs_f64() * 1e3)
        };
        let (user_ms, system_ms) = cpu_time(&figures, report);
        let usage = Usage {
            wall_ms: elapsed(ending.started, ending.ended),
            user_ms,
            system_ms,
            throttled_ms: figures.throttled_ms,
            peak_memory_bytes: figures.peak_memory_bytes,
            peak_pids: figures.peak_pids,
            oom_kills: figures.oom_kills,
            read_bytes: report.map(|report| report.read_bytes),
            written_bytes: report.map(|report| report.written_bytes),
            setup_ms: elapsed(Some(self.start), ending.started),
            teardown_ms: elapsed(ending.ended, Some(Instant::now())),
        };
        let (stdout, stderr) = (streams.stdout, streams.stderr);
        let outcome = Outcome {
            version: pinfold_runner::CONTRACT_VERSION,
            id,
            status,
            exit_code,
            signal,
            stdout_bytes: stdout.bytes,
            stderr_bytes: stderr.bytes,
            stdout_truncated: stdout.truncated,
            stderr_truncated: stderr.truncated,
            stdout: Content(stdout.into_kept()),
            stderr: Content(stderr.into_kept()),
            usage,
            isolation,
            artifacts: Vec::new(),
            artifact_errors: Vec::new(),
            error: None,
        };
        Ok((outcome, streams.workspace))
    }

    fn with_artifacts(
        &self,
        (mut outcome, in_memory): (Outcome, Option<OwnedFd>),
        destination: Option<Destination>,
    ) -> Outcome {
        let workspace = in_memory.as_ref().or(self.workspace);
        if let (Some(artifacts), Some(workspace), Some(destination)) =
            (&self.plan.job.artifacts, workspace, destination)
        {
            let collected = artifact::collect(artifacts, workspace.as_fd(), &destination);
            outcome.artifacts = collected.files;
            outcome.artifact_errors = collected.errors;
        }
        outcome
    }
}

/// A pipe, read end first, or nothing.
fn pair(wanted: bool) -> Result<(Option<OwnedFd>, Option<OwnedFd>), sys::Errno> {
    if !wanted {
        return Ok((None, None));
    }
    pipe::pipe().map(|(read, write)| (Some(read), Some(write)))
}

type Judgement = (Status, Option<i32>, Option<String>);

/// What the end means. The first cause for which we killed decides; else the kernel's.
fn judge(ending: &Ending, oom_kills: Option<u64>, job: &Job) -> Option<Judgement> {
    if let Some(cause) = ending.cause {
        return Some((cause, None, None));
    }
    let report = ending.report?;
    Some(match report.end {
        End::Exited(code) => (Status::Exited, Some(code), None),
        End::Signaled(libc::SIGKILL) if oom_kills.is_some_and(|count| count > 0) => (Status::OutOfMemory, None, None),
        // RLIMIT_CPU, where there is no cgroup: the kernel's SIGKILL at the hard limit.
        End::Signaled(libc::SIGKILL | libc::SIGXCPU)
            if job.limits.cpu_ms.value().is_some_and(|limit| report.user_ms + report.system_ms >= limit as f64) =>
        {
            (Status::CpuExceeded, None, None)
        }
        End::Signaled(number) => (Status::Signaled, None, Some(signal::name(number))),
    })
}

/// CPU time in user mode and in the kernel. The cgroup has the true sum, over processes that nobody reaped too; how it
/// splits is best told by init's count of reaped children, since v1 splits by timer ticks of some milliseconds.
fn cpu_time(figures: &Figures, report: Option<Report>) -> (Option<f64>, Option<f64>) {
    let reported = report.map(|report| (report.user_ms, report.system_ms));
    let counted = figures.user_ms.zip(figures.system_ms);
    let Some(total) = figures.cpu_ms else {
        return reported.or(counted).unzip();
    };
    let share = [reported, counted]
        .into_iter()
        .flatten()
        .find(|(user, system)| user + system > 0.0)
        .map_or(0.5, |(user, system)| user / (user + system));
    (Some(total * share), Some(total * (1.0 - share)))
}

fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library seeds each of these from the kernel's random numbers.
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// An id for a job that has none.
pub(crate) fn random_id() -> String {
    format!("{:016x}", random())
}
