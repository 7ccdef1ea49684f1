//! The backend that isolates: each command of a task in a sandbox of its own.
//!
//! Code that is compiled needs two. The compiler's sandbox has a temporary workspace, from which the runner copies what the
//! compiler made to a place of this request's alone; the program's sandbox sees that, read-only. So neither it nor any
//! other program can alter what a compiler made, and nothing that either left lies in the other's way.

use super::backend::{Backend, BackendFuture, Bounded, PROGRAM, Task};
use super::error::CodeError;
use super::executions::Executions;
use super::result::{CodeResult, Phased};
use super::scratch::{Place, Scratch};
use crate::pinfold::Pinfold;
use crate::stdio::Stdio;
use pinfold_runner::{
    AbsolutePath, Argv, Artifacts, Cwd, FileEntry, InvalidValue, Job, Limit, Mount, Network, Outcome, SandboxId,
    Status, Workspace, WorkspacePath,
};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Where a compiler leaves what it makes, in the workspace.
const OUTPUT: &str = ".pinfold";
/// How much of a caller's id is in the name of a sandbox.
const LONGEST_ID: usize = 32;

/// The backend `namespace`.
#[derive(Debug)]
pub struct NamespaceBackend {
    pinfold: Pinfold,
    /// What every sandbox is like, but for its command and what the configuration says.
    base: Job,
    /// Made when the first compiler runs.
    scratch: Mutex<Option<std::sync::Arc<Scratch>>>,
    executions: Executions,
    /// Whether this host was found not to hold a share of a CPU.
    shares_no_cpu: AtomicBool,
    next: AtomicU64,
}

impl NamespaceBackend {
    /// A backend whose sandboxes count with all others of this `Pinfold`.
    pub fn new(pinfold: Pinfold) -> Self {
        Self {
            pinfold,
            base: unbounded(),
            scratch: Mutex::default(),
            executions: Executions::new(),
            shares_no_cpu: AtomicBool::new(false),
            next: AtomicU64::new(0),
        }
    }

    /// Takes view, fences, environment and limits from a job, as [`job`](crate::job) builds it. The workspace stays a
    /// temporary one, and compilers have no network. Of two limits, the job's and the configuration's, the smaller holds,
    /// for compilers too.
    #[must_use]
    pub fn like(mut self, job: Job) -> Self {
        self.base = Job { command: Argv::none(), id: None, workspace: Workspace::Temp, cwd: Cwd::default(), ..job };
        self
    }

    async fn run(&self, task: Task) -> Result<CodeResult, CodeError> {
        let start = Instant::now();
        let mut ended = self.executions.end();
        let mut compiled = None;
        let mut place = None;
        if let Some(compiler) = task.compile(&format!("{}/{OUTPUT}", pinfold_runner::WORKSPACE)) {
            let made = self.place()?;
            let phased = self.compile(&task, compiler, &made, &mut ended).await?;
            let is_done = phased.success;
            compiled = Some(phased);
            if !is_done {
                return task.result(self, start, compiled, None);
            }
            place = Some(made);
        }
        let run = self.run_program(&task, place.as_ref(), &mut ended).await?;
        task.result(self, start, compiled, Some(run))
    }

    async fn compile(
        &self,
        task: &Task,
        compiler: Bounded,
        place: &Place,
        ended: &mut watch::Receiver<u64>,
    ) -> Result<Phased, CodeError> {
        let (start, mut job) = (Instant::now(), self.job(task, compiler)?);
        // The folder must be there for compilers that don't make it.
        job.files.push(FileEntry { path: path(&format!("{OUTPUT}/.keep"))?, content: "".into(), executable: false });
        let directory = utf8(place.path())?.try_into().map_err(|error| invalid("artifacts", &error))?;
        job.artifacts = Some(Artifacts { paths: vec![path(OUTPUT)?], directory });
        let outcome = self.supervise(job, ended).await?;
        if let Some(error) = outcome.artifact_errors.first() {
            let reason = format!("{}: {:?}", error.path.to_text(), error.code);
            return Err(CodeError::System { step: "keep what the compiler made", source: io::Error::other(reason) });
        }
        Ok(Phased::of(outcome, start.elapsed()))
    }

    async fn run_program(
        &self,
        task: &Task,
        place: Option<&Place>,
        ended: &mut watch::Receiver<u64>,
    ) -> Result<Phased, CodeError> {
        let (start, mut job) = (Instant::now(), self.job(task, task.run(PROGRAM))?);
        job.stdin = task.stdin.clone();
        job.network = match task.config.network().map_err(CodeError::InvalidValue)? {
            Network::None => self.base.network.clone(),
            network => network,
        };
        if let Some(place) = place {
            let (source, target) = (utf8(&place.path().join(OUTPUT))?, PROGRAM.to_owned());
            job.mounts.push(mount(source, target)?);
        }
        job.mounts.extend(task.config.mounts().map_err(CodeError::InvalidValue)?);
        let asked = task.config.max_cpu_percent;
        let percent = asked.or((!self.shares_no_cpu.load(Ordering::Relaxed)).then_some(super::CodeConfig::CPU_PERCENT));
        job.limits.cpus =
            percent.filter(|percent| *percent > 0.0).map_or(Limit::Max, |percent| Limit::At(percent / 100.0));
        job.limits.check().map_err(CodeError::InvalidValue)?;
        let without = (asked.is_none() && percent.is_some()).then(|| {
            let mut job = job.clone();
            job.limits.cpus = Limit::Max;
            job
        });
        let outcome = match (self.supervise(job, ended).await, without) {
            // Nothing ran yet: a job that asks for what the host can't hold fails before its command.
            (Err(CodeError::Failed(failure)), Some(job))
                if failure.code == "cgroup" || failure.code == "requirement" =>
            {
                self.shares_no_cpu.store(true, Ordering::Relaxed);
                self.supervise(job, ended).await?
            }
            (outcome, _) => outcome?,
        };
        Ok(Phased::of(outcome, start.elapsed()))
    }

    /// A job with what both phases have.
    fn job(&self, task: &Task, bounded: Bounded) -> Result<Job, CodeError> {
        let command = Argv::try_from(bounded.command).map_err(|error| invalid("command", &error))?;
        let mut job = Job { command, network: Network::None, ..self.base.clone() };
        job.id = Some(self.name(&task.id)?);
        for (name, value) in bounded.env {
            job.env.set(name, value).map_err(|error| invalid("env_vars", &error))?;
        }
        for (name, content) in &task.files {
            job.files.push(FileEntry { path: path(name)?, content: content.clone(), executable: false });
        }
        for directory in &task.located.view.mounts {
            // By where links lead, at the path that programs know.
            let source = directory.canonicalize().map_err(CodeError::system("find the toolchain"))?;
            job.mounts.push(mount(utf8(&source)?, utf8(directory)?)?);
        }
        let limits = &mut job.limits;
        limits.wall_ms = smaller(limits.wall_ms, Limit::At(milliseconds(bounded.timeout)));
        limits.memory_bytes = smaller(limits.memory_bytes, bounded.memory.map_or(Limit::Max, Limit::At));
        limits.pids = smaller(limits.pids, Limit::At(bounded.pids));
        limits.output_bytes = smaller(limits.output_bytes, Limit::At(task.config.output_bytes()));
        job.limits.check().map_err(CodeError::InvalidValue)?;
        Ok(job)
    }

    /// A name that no other sandbox has, with the caller's in it as far as that may be.
    fn name(&self, id: &str) -> Result<SandboxId, CodeError> {
        let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let ours: String = id.chars().filter(plain).take(LONGEST_ID).collect();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| CodeError::system("make up a name")(errno.into()))?;
        let name = format!("code-{ours}-{:016x}{number:x}", u64::from_ne_bytes(random));
        SandboxId::try_from(name).map_err(|error| invalid("id", &error))
    }

    /// Runs a job to its outcome, or to its end when everything is ended.
    async fn supervise(&self, job: Job, ended: &mut watch::Receiver<u64>) -> Result<Outcome, CodeError> {
        let cancelled = || Ok(Outcome { status: Status::Cancelled, error: None, ..Outcome::failed("", nothing_ran()) });
        if ended.has_changed().unwrap_or(true) {
            return cancelled();
        }
        let sandbox = tokio::select! {
            sandbox = self.pinfold.spawn(job, Stdio::captured()) => sandbox.map_err(CodeError::Sandbox)?,
            _ = ended.changed() => { ended.mark_changed(); return cancelled() }
        };
        let controller = sandbox.controller();
        let mut wait = std::pin::pin!(sandbox.wait());
        let outcome = tokio::select! {
            outcome = &mut wait => outcome,
            _ = ended.changed() => {
                // The next phase is to see it too.
                ended.mark_changed();
                controller.cancel();
                wait.await
            }
        };
        let mut outcome = outcome.map_err(CodeError::Sandbox)?;
        match outcome.error.take() {
            Some(failure) => Err(CodeError::Failed(failure)),
            None => Ok(outcome),
        }
    }

    fn place(&self) -> Result<Place, CodeError> {
        let failed = CodeError::system("make a place for what the compiler makes");
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let scratch = match &*scratch {
            Some(scratch) => scratch.clone(),
            None => scratch.insert(std::sync::Arc::new(Scratch::open().map_err(&failed)?)).clone(),
        };
        scratch.place().map_err(failed)
    }
}

impl Backend for NamespaceBackend {
    fn name(&self) -> &'static str {
        "namespace"
    }

    fn isolates(&self) -> bool {
        true
    }

    fn execute(&self, task: Task) -> BackendFuture<'_, Result<CodeResult, CodeError>> {
        Box::pin(async move {
            let _running = self.executions.begin();
            self.run(task).await
        })
    }

    fn cleanup(&self) -> BackendFuture<'_, ()> {
        Box::pin(self.executions.end_all())
    }
}

/// A job that leaves to the configuration what that has a say in.
fn unbounded() -> Job {
    let mut job = Job::new(Argv::none());
    let limits = &mut job.limits;
    for limit in [&mut limits.wall_ms, &mut limits.memory_bytes, &mut limits.pids, &mut limits.output_bytes] {
        *limit = Limit::Max;
    }
    job
}

fn smaller(one: Limit<u64>, other: Limit<u64>) -> Limit<u64> {
    let both = [one, other].into_iter().filter_map(Limit::value);
    both.min().map_or(Limit::Max, Limit::At)
}

fn nothing_ran() -> pinfold_runner::Failure {
    pinfold_runner::Failure::new("cancelled", "nothing ran")
}

/// Rounded up, so that no limit becomes none.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn invalid(field: &str, error: &InvalidValue) -> CodeError {
    CodeError::InvalidValue(format!("{field}: {error}"))
}

fn path(name: &str) -> Result<WorkspacePath, CodeError> {
    WorkspacePath::try_from(name).map_err(|_not_below| CodeError::InvalidFileName(name.to_owned()))
}

fn utf8(path: &Path) -> Result<String, CodeError> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| CodeError::InvalidValue(format!("`{}` is not UTF-8", path.display())))
}

fn mount(source: String, target: String) -> Result<Mount, CodeError> {
    let told = |error: InvalidValue| invalid("mounts", &error);
    let (source, target) =
        (AbsolutePath::try_from(source).map_err(told)?, AbsolutePath::try_from(target).map_err(told)?);
    Ok(Mount { source, target, writable: false, as_owner: false })
}
