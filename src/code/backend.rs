//! What every backend is: something that executes a task, cleans up, and has a name.

use super::config::CodeConfig;
use super::error::CodeError;
use super::language::{Language, Step};
use super::result::{CodeResult, Phase, Phased};
use super::template::Values;
use super::toolchain::{DEFAULT_PATH, Located};
use pinfold_runner::Content;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where a compiled program lies in the sandbox that runs it, read-only.
pub(super) const PROGRAM: &str = "/program";
/// How long a compiler may take when its language doesn't say.
const COMPILE_TIME: Duration = Duration::from_secs(60);

/// What a backend's methods return.
pub type BackendFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Something that runs code. It must never tell of a success where nothing ran.
pub trait Backend: Debug + Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Whether it keeps what it runs from the rest of the host.
    fn isolates(&self) -> bool;

    /// Runs a task to its end. Dropping the future ends what runs.
    fn execute(&self, task: Task) -> BackendFuture<'_, Result<CodeResult, CodeError>>;

    /// Ends everything that runs and waits for it. It may be repeated, and used again afterwards.
    fn cleanup(&self) -> BackendFuture<'_, ()>;
}

/// A request that was found to be in order, with everything that is needed to run it.
#[derive(Clone, Debug)]
pub struct Task {
    pub(super) id: String,
    pub(super) language: Arc<Language>,
    pub(super) located: Arc<Located>,
    /// The code's file, and all files with it.
    pub(super) file: String,
    pub(super) files: BTreeMap<String, Content>,
    pub(super) stdin: Content,
    pub(super) args: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) timeout: Duration,
    pub(super) config: Arc<CodeConfig>,
}

/// One command of a task, with its bounds.
pub(super) struct Bounded {
    pub(super) command: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) timeout: Duration,
    /// In bytes; `None` is no limit.
    pub(super) memory: Option<u64>,
    pub(super) pids: u64,
}

impl Task {
    /// The request's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The language.
    pub fn language(&self) -> &Language {
        &self.language
    }

    /// The code, its file's name, and the files beside it.
    pub fn files(&self) -> (&str, &BTreeMap<String, Content>) {
        (&self.file, &self.files)
    }

    /// How long the program may run.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The compiler, if there is one, that leaves its output in `output`.
    pub(super) fn compile(&self, output: &str) -> Option<Bounded> {
        let step = self.located.toolchain.compile.as_ref()?;
        let memory = step.memory.or(self.memory());
        let timeout = step.timeout.unwrap_or(COMPILE_TIME);
        let pids = step.pids.unwrap_or(self.config.max_processes);
        let command = self.fill(step, output, memory);
        Some(Bounded { command, env: self.environment(step), timeout, memory, pids })
    }

    /// The program, whose compiled form lies in `output`.
    pub(super) fn run(&self, output: &str) -> Bounded {
        let step = &self.located.toolchain.run;
        let memory = [self.memory(), step.memory].into_iter().flatten().min();
        let timeout = step.timeout.map_or(self.timeout, |own| own.min(self.timeout));
        let pids = step.pids.map_or(self.config.max_processes, |own| own.min(self.config.max_processes));
        let mut command = self.fill(step, output, memory);
        command.extend(self.args.iter().cloned());
        Bounded { command, env: self.environment(step), timeout, memory, pids }
    }

    fn memory(&self) -> Option<u64> {
        Some(self.config.max_memory_mb.saturating_mul(1 << 20)).filter(|bytes| *bytes > 0)
    }

    fn fill(&self, step: &Step, output: &str, memory: Option<u64>) -> Vec<String> {
        // What programs that size themselves by the machine are told where there is no limit.
        let memory = memory.unwrap_or(4 << 30);
        let stem = Path::new(&self.file).file_stem().unwrap_or_default().to_string_lossy();
        let values = Values::default()
            .with("file", &self.file)
            .with("stem", stem)
            .with("output", output)
            .with("memory_bytes", memory.to_string())
            // A heap is not all that a process has.
            .with("heap_mib", (memory / (1 << 20) * 3 / 4).max(16).to_string());
        let programs = self.located.programs.iter();
        programs.fold(values, |values, (key, name)| values.with(key, name)).fill(&step.command)
    }

    /// The toolchain's, then the configuration's, then the request's, which has the last word.
    fn environment(&self, step: &Step) -> BTreeMap<String, String> {
        let mut env = self.located.view.env.clone();
        env.extend(step.env.clone());
        let directories = self.located.view.path.iter().map(|path| path.to_string_lossy());
        let path: Vec<_> = directories.chain([DEFAULT_PATH.into()]).collect();
        env.insert("PATH".to_owned(), path.join(":"));
        env.extend(self.config.env_vars.clone());
        env.extend(self.env.clone());
        env
    }

    /// What this task came to, by the phase that decided.
    pub(super) fn result(
        self,
        backend: &dyn Backend,
        start: Instant,
        compiled: Option<Phased>,
        run: Option<Phased>,
    ) -> Result<CodeResult, CodeError> {
        let (phase, told, compile) = match (run, compiled) {
            (Some(run), compiled) => (Phase::Run, run, compiled),
            (None, Some(compiled)) => (Phase::Compile, compiled.clone(), Some(compiled)),
            (None, None) => return Err(CodeError::Unsupported(format!("{} ran nothing", backend.name()))),
        };
        let error = match (phase, told.error) {
            (Phase::Compile, None) => Some("compilation failed".to_owned()),
            (Phase::Compile, Some(error)) => Some(format!("compilation failed: {error}")),
            (Phase::Run, error) => error,
        };
        let outcome = told.outcome.filter(|_| phase == Phase::Run);
        Ok(CodeResult {
            id: self.id,
            success: told.success && phase == Phase::Run,
            exit_code: told.exit_code,
            stdout: told.stdout,
            stderr: told.stderr,
            error,
            duration: start.elapsed(),
            memory_used_bytes: outcome.as_ref().and_then(|outcome| outcome.usage.peak_memory_bytes),
            truncated: told.truncated,
            signal: told.signal,
            timed_out: told.timed_out,
            language: self.language.name.clone(),
            toolchain: self.located.toolchain.name.clone(),
            backend: backend.name(),
            isolated: backend.isolates(),
            phase,
            findings: Vec::new(),
            compile: compile.map(Box::new),
            outcome,
        })
    }
}
