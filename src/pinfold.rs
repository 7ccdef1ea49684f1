//! The front door: where the runner is, how many sandboxes may run at once, and how one is started.

use crate::answer::Expectation;
use crate::error::Error;
use crate::lifeline::Lifeline;
use crate::locate;
use crate::network::{Gate, Gatekeeper, Hooks, Observer, Resolver};
use crate::runner_process::Launcher;
use crate::sandbox::Sandbox;
use crate::stdio::{SandboxStderr, SandboxStdin, SandboxStdout, Stdio};
use crate::supervision::{Leash, Shared, Supervision, Wish};
use crate::sys::watch_pidfd;
use pinfold_runner::{Job, MAX_JOB_BYTES, Outcome, RunnerOptions, SandboxId};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::Instant;

/// By default, how long a runner may take beyond the wall clock.
const GRACE: Duration = Duration::from_secs(10);
/// The longest grace; a longer one would be none.
const LONGEST_GRACE: Duration = Duration::from_secs(3600);
/// How much longer it may take to copy artifacts out.
const ARTIFACTS_GRACE: Duration = Duration::from_secs(60);
/// By default, at least so many sandboxes may run at once, however few CPUs there are.
const LEAST_SANDBOXES: usize = 4;
/// A job with more content than this, in bytes, is written as JSON off the runtime's threads.
const LARGE_JOB: usize = 256 << 10;

/// Runs jobs in sandboxes, a bounded number at once. Make one and share it: clones are cheap and count together.
///
/// Its methods need a tokio runtime with I/O and time enabled (`enable_all`), of either flavour. The deadlines are only
/// held from outside while that runtime is polled; the runner holds all limits itself in any case.
#[derive(Clone, Debug)]
pub struct Pinfold {
    shared: Arc<Settings>,
}

#[derive(Debug)]
struct Settings {
    launcher: Arc<Launcher>,
    /// First come, first served.
    places: Arc<Semaphore>,
    grace: Duration,
    hooks: Hooks,
}

/// Says what is to be different from [`Pinfold::new`].
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct PinfoldBuilder {
    runner: Option<PathBuf>,
    max_sandboxes: Option<usize>,
    grace: Option<Duration>,
    hooks: Hooks,
}

impl PinfoldBuilder {
    /// Names the program `pinfold-runner`, instead of looking for it.
    pub fn runner(mut self, path: impl Into<PathBuf>) -> Self {
        self.runner = Some(path.into());
        self
    }

    /// How many sandboxes may run at once, at least 1; the others wait their turn, first come, first served. By default
    /// twice the CPUs that this process may use, and at least 4.
    pub fn max_sandboxes(mut self, count: usize) -> Self {
        self.max_sandboxes = Some(count);
        self
    }

    /// How long a runner may take beyond the job's wall clock to set the sandbox up and to clean up after it, at most an hour;
    /// by default 10 seconds. Copying artifacts out has 60 seconds more. A runner that takes longer has its lifeline closed,
    /// and after as long again it is killed. So a runner that stops answering is gone two graces after the wall clock.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Resolves the names that sandboxes with a list of allowed hosts connect to, instead of the system's getaddrinfo(3).
    pub fn resolver(mut self, resolver: impl Resolver + 'static) -> Self {
        self.hooks.resolver = Arc::new(resolver);
        self
    }

    /// Decides about names that are not on a sandbox's list, while the job waits. Without one they are refused.
    pub fn gatekeeper(mut self, gatekeeper: impl Gatekeeper + 'static) -> Self {
        self.hooks.gatekeeper = Some(Arc::new(gatekeeper));
        self
    }

    /// Hears of the connections of sandboxes with a list while they live.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.hooks.observer = Some(Arc::new(observer));
        self
    }

    /// Finds the runner, and is done. Starts nothing.
    ///
    /// # Errors
    /// [`Error::RunnerNotFound`] and [`Error::UnusableRunner`].
    pub fn build(self) -> Result<Pinfold, Error> {
        let runner = self.runner.as_deref().map_or_else(locate::find, locate::named)?;
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let count = self.max_sandboxes.unwrap_or(2 * cpus.max(LEAST_SANDBOXES / 2)).clamp(1, Semaphore::MAX_PERMITS);
        let settings = Settings {
            launcher: Arc::new(Launcher::new(runner)?),
            places: Arc::new(Semaphore::new(count)),
            grace: self.grace.unwrap_or(GRACE).min(LONGEST_GRACE),
            hooks: self.hooks,
        };
        Ok(Pinfold { shared: Arc::new(settings) })
    }
}

impl Pinfold {
    /// Finds the runner: `pinfold-runner` in the directory of this program (or above it, for the tests and examples that
    /// cargo puts one deeper), or else in one of `PATH`.
    ///
    /// # Errors
    /// [`Error::RunnerNotFound`].
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// For those who want something different from [`new`](Self::new).
    pub fn builder() -> PinfoldBuilder {
        PinfoldBuilder::default()
    }

    /// The runner's file, an absolute path.
    pub fn runner(&self) -> &Path {
        self.shared.launcher.runner()
    }

    /// Runs a job to its result, with what it wrote to stdout and stderr.
    ///
    /// The rule for errors: `Err` means that nothing of the job ran. Once a runner has the job, whatever happens is an
    /// `Outcome`: a command that ends badly, a runner that dies (`failed`, code `runner_died`) or says what can't be
    /// (`bad_answer`). When the runner had to be killed after the wall clock or a cancellation, the outcome says `timed_out`
    /// or `cancelled`, without output and usage.
    ///
    /// Dropping the future ends the sandbox: its processes are killed at once, the clean-up goes on in the background.
    ///
    /// # Errors
    /// When no sandbox could be started: [`Error`] says why.
    pub async fn run(&self, job: Job) -> Result<Outcome, Error> {
        self.spawn(job, Stdio::captured()).await?.wait().await
    }

    /// Starts a job, waiting for its turn if as many sandboxes run as may at once. Whoever holds some and starts another
    /// should mind that it may wait for those.
    ///
    /// # Errors
    /// When no sandbox could be started: [`Error`] says why.
    pub async fn spawn(&self, job: Job, stdio: Stdio) -> Result<Sandbox, Error> {
        self.launch(job, stdio, (None, None)).await
    }

    /// The same, but the runner gets its job only when that is said: by then it can be written down who runs it. If it is never
    /// said, nothing of the job runs.
    pub(crate) async fn spawn_held_back(
        &self,
        job: Job,
        stdio: Stdio,
    ) -> Result<(Sandbox, oneshot::Sender<()>), Error> {
        let (go, waits) = oneshot::channel();
        Ok((self.launch(job, stdio, (None, Some(waits))).await?, go))
    }

    /// Starts a sandbox that is held: its job has no command, and `held` is the runner's end of the keeper's socket.
    pub(crate) async fn hold(&self, job: Job, held: OwnedFd) -> Result<Sandbox, Error> {
        self.launch(job, Stdio::captured(), (Some(held), None)).await
    }

    async fn launch(
        &self,
        job: Job,
        stdio: Stdio,
        (held, waits): (Option<OwnedFd>, Option<oneshot::Receiver<()>>),
    ) -> Result<Sandbox, Error> {
        let runtime = Handle::try_current().map_err(Error::NoRuntime)?;
        if stdio.streams_stdin() && !job.stdin.as_bytes().is_empty() {
            return Err(Error::TwoStdins);
        }
        let place = match self.shared.places.clone().acquire_owned().await {
            Ok(place) => place,
            Err(_closed) => unreachable!("nobody closes this semaphore"),
        };
        // Only now: of a thousand jobs in the queue, those that run are there twice.
        let (job, id) = self.named(job)?;
        let (job, json) = encode(job).await?;
        if json.len() > MAX_JOB_BYTES {
            return Err(Error::JobTooBig { bytes: json.len(), limit: MAX_JOB_BYTES });
        }
        let (gate, network) = self.open_gate(&job, &id)?;
        let expectation = Expectation::new(id, &job, stdio);
        let wall = job.limits.wall_ms.value().map(Duration::from_millis);
        let sockets = Sockets { held, network };
        let (mut supervision, streams) =
            self.start(place, (json, sockets), stdio, expectation, (wall, self.cleanup(&job)))?;
        let shared = supervision.leash.shared().clone();
        let whole = async move {
            if let Some(waits) = waits
                && waits.await.is_err()
            {
                // A runner that is handed nothing ends at once.
                supervision.job.1.clear();
            }
            let mut outcome = supervision.run().await;
            if let Some(gate) = gate {
                gate.close(&mut outcome).await;
            }
            outcome
        };
        Ok(Sandbox::new(shared, runtime.spawn(whole), streams))
    }

    /// The gate of a job with a list of allowed hosts, and the runner's end of the socket to it.
    fn open_gate(&self, job: &Job, id: &str) -> Result<(Option<Gate>, Option<OwnedFd>), Error> {
        let Some(list) = job.network.list() else { return Ok((None, None)) };
        let failed = |source| self.shared.launcher.failed_to("make a socket", source);
        let (ours, runners) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|errno| failed(errno.into()))?;
        let gate = Gate::open(ours, id, list.clone(), self.shared.hooks.clone()).map_err(failed)?;
        Ok((Some(gate), Some(runners)))
    }

    /// The job with a name, so that the answer to it can be told from others.
    fn named(&self, mut job: Job) -> Result<(Job, String), Error> {
        let id = match job.id.take() {
            Some(id) => id,
            None => self.random_id().map_err(|e| self.shared.launcher.failed_to("make up a name", e))?,
        };
        let text = id.as_str().to_owned();
        job.id = Some(id);
        Ok((job, text))
    }

    fn random_id(&self) -> io::Result<SandboxId> {
        let mut random = [0; 16];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        SandboxId::try_from(format!("{:032x}", u128::from_ne_bytes(random))).map_err(io::Error::other)
    }

    /// How long a runner may take beyond the wall clock.
    fn cleanup(&self, job: &Job) -> Duration {
        let artifacts = if job.artifacts.is_some() { ARTIFACTS_GRACE } else { Duration::ZERO };
        self.shared.grace + artifacts
    }

    /// Starts the runner. The job is not handed over yet: if this fails, nothing of it ran.
    fn start(
        &self,
        place: OwnedSemaphorePermit,
        (json, sockets): (Vec<u8>, Sockets),
        stdio: Stdio,
        expectation: Expectation,
        (wall, cleanup): (Option<Duration>, Duration),
    ) -> Result<(Supervision, Streams), Error> {
        let launcher = &self.shared.launcher;
        let failed_to = |step| move |source| launcher.failed_to(step, source);
        let mut descriptors = Descriptors::default();
        let job = descriptors.socket().map_err(failed_to("make a socket"))?;
        let answer = descriptors.pipe().map_err(failed_to("make a pipe"))?;
        let diagnostics = descriptors.pipe().map_err(failed_to("make a pipe"))?;
        let (lifeline, runners_end) = Lifeline::new().map_err(failed_to("make a lifeline"))?;
        let mut options = RunnerOptions {
            lifeline: Some(descriptors.add(runners_end)),
            terminal: stdio.terminal_size(),
            ..RunnerOptions::default()
        };
        options.held = sockets.held.map(|held| descriptors.add(held));
        options.network = sockets.network.map(|network| descriptors.add(network));
        let mut streams = (None, None, None);
        if stdio.streams_stdin() {
            options.stdin = Some(descriptors.next());
            streams.0 = Some(SandboxStdin::new(descriptors.socket().map_err(failed_to("make a socket"))?));
        }
        if stdio.streams_stdout() {
            options.stdout = Some(descriptors.next());
            streams.1 = Some(SandboxStdout::new(descriptors.pipe().map_err(failed_to("make a pipe"))?));
        }
        if stdio.streams_stderr() {
            options.stderr = Some(descriptors.next());
            streams.2 = Some(SandboxStderr::new(descriptors.pipe().map_err(failed_to("make a pipe"))?));
        }

        let process = launcher.start(&options, descriptors.0)?;
        let pidfd = process.pidfd().clone();
        let (wish, wishes) = watch::channel(Wish::Run);
        let shared = Arc::new(Shared {
            id: expectation.id().to_owned(),
            pid: process.pid(),
            lifeline,
            wish,
            pidfd: pidfd.clone(),
        });
        let leash = Leash::new(process, launcher.clone(), place, shared, self.shared.grace);
        let ended = watch_pidfd(pidfd).map_err(failed_to("watch a pidfd"))?;
        let deadline = wall.and_then(|wall| Instant::now().checked_add(wall.saturating_add(cleanup)));
        let job = (job, json);
        Ok((Supervision { leash, wishes, job, answer, diagnostics, ended, expectation, deadline, cleanup }, streams))
    }
}

/// The runner's ends of sockets that only some sandboxes have.
struct Sockets {
    /// A keeper speaks here.
    held: Option<OwnedFd>,
    /// The gate of a sandbox with a list of allowed hosts speaks here.
    network: Option<OwnedFd>,
}

type Streams = (Option<SandboxStdin>, Option<SandboxStdout>, Option<SandboxStderr>);

/// The runner's descriptors, numbered from 0. Everything is close-on-exec from the start, so that no child of another
/// thread gets a copy.
#[derive(Default)]
struct Descriptors(Vec<OwnedFd>);

impl Descriptors {
    /// The number that the next one gets.
    fn next(&self) -> RawFd {
        // There are eight at most.
        self.0.len() as RawFd
    }

    fn add(&mut self, descriptor: OwnedFd) -> RawFd {
        let number = self.next();
        self.0.push(descriptor);
        number
    }

    /// Adds one end of a new socket that the runner reads from, and returns our end. A socket rather than a pipe: writing to
    /// a pipe that nobody reads raises SIGPIPE, which a host may not ignore.
    fn socket(&mut self) -> io::Result<UnixStream> {
        let (ours, runners) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        self.add(runners.into());
        UnixStream::from_std(ours)
    }

    /// Adds the writing end of a new pipe, and returns the reading end.
    fn pipe(&mut self) -> io::Result<pipe::Receiver> {
        let (ours, runners) = pipe_with(PipeFlags::CLOEXEC)?;
        self.add(runners);
        pipe::Receiver::from_owned_fd(ours)
    }
}

/// Writes the job as JSON; a large one on a thread where that holds nobody up.
async fn encode(job: Job) -> Result<(Job, Vec<u8>), Error> {
    let content =
        job.files.iter().map(|file| file.content.as_bytes().len()).sum::<usize>() + job.stdin.as_bytes().len();
    let write = move |job: Job| match serde_json::to_vec(&job) {
        Ok(json) => Ok((job, json)),
        Err(error) => Err(Error::InvalidJob(error)),
    };
    if content <= LARGE_JOB {
        return write(job);
    }
    let id = job.id.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default();
    match tokio::task::spawn_blocking(move || write(job)).await {
        Ok(written) => written,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Err(Error::RuntimeShutDown { id }),
        },
    }
}
