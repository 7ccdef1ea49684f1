//! The executor: what a request must be, which backend it goes to, and what is counted.

use super::backend::{Backend, Task};
use super::config::{CodeConfig, ExecutionMode};
use super::error::CodeError;
use super::language::Language;
use super::languages::Languages;
use super::namespace::NamespaceBackend;
use super::process::ProcessBackend;
use super::request::CodeRequest;
use super::result::CodeResult;
use super::stats::{Counter, Ended, Stats};
use super::toolchain::{Host, Located};
use super::validator::{Finding, Validator};
use crate::pinfold::Pinfold;
use pinfold_runner::{Content, WorkspacePath};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Runs code within the bounds of a configuration. Make one and share it: clones are cheap and count together.
#[derive(Clone, Debug)]
pub struct Executor {
    config: Arc<CodeConfig>,
    languages: Languages,
    /// None for a mode that no backend is there for.
    backend: Option<Arc<dyn Backend>>,
    counter: Counter,
    validator: Validator,
    /// As many pieces of code are looked at at once as there are CPUs.
    looking: Arc<Semaphore>,
    /// The toolchains that were found.
    located: Arc<Mutex<HashMap<String, Arc<Located>>>>,
    /// Where else somebody can write whom nobody trusts.
    distrusted: Vec<PathBuf>,
}

impl Executor {
    /// An executor with the backend that the configuration names.
    ///
    /// # Errors
    /// When the configuration asks for what can't be.
    pub fn new(config: CodeConfig, languages: Languages, pinfold: Pinfold) -> Result<Self, CodeError> {
        let backend: Option<Arc<dyn Backend>> = match config.mode {
            ExecutionMode::Namespace => Some(Arc::new(NamespaceBackend::new(pinfold))),
            ExecutionMode::Process if config.enable_process_backend => Some(Arc::new(ProcessBackend::new())),
            ExecutionMode::Process | ExecutionMode::Wasm => None,
        };
        Self::checked(config, languages, backend)
    }

    /// An executor with a backend of the caller's own, whatever mode the configuration names.
    ///
    /// # Errors
    /// As of [`new`](Self::new).
    pub fn with_backend(
        config: CodeConfig,
        languages: Languages,
        backend: Arc<dyn Backend>,
    ) -> Result<Self, CodeError> {
        Self::checked(config, languages, Some(backend))
    }

    fn checked(config: CodeConfig, languages: Languages, backend: Option<Arc<dyn Backend>>) -> Result<Self, CodeError> {
        config.mounts().map_err(CodeError::InvalidValue)?;
        let network = config.network().map_err(CodeError::InvalidValue)?;
        if network.list().is_some() && backend.as_ref().is_some_and(|backend| !backend.isolates()) {
            return Err(CodeError::Unsupported(
                "allowed_hosts without isolation: only a sandbox holds them".to_owned(),
            ));
        }
        if let Some(unknown) = config.allowed_languages.iter().find(|name| languages.get(name).is_none()) {
            return Err(CodeError::UnknownLanguage(unknown.clone()));
        }
        let (counter, validator, located) = (Counter::default(), Validator::default(), Arc::default());
        let (config, distrusted) = (Arc::new(config), Vec::new());
        let looking = Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)));
        Ok(Self { config, languages, backend, counter, validator, looking, located, distrusted })
    }

    /// Looks for no toolchain in these directories either, nor runs one from there: those of the host in which other
    /// sandboxes can write. The writable mounts of the configuration are known.
    #[must_use]
    pub fn distrusting(mut self, directories: impl IntoIterator<Item = PathBuf>) -> Self {
        self.distrusted.extend(directories);
        self
    }

    /// Runs a piece of code. A program that fails, is ended, or doesn't compile is a result.
    ///
    /// Dropping the future ends what runs.
    ///
    /// # Errors
    /// When nothing ran: the request is refused, or no sandbox could be had. Those of the latter kind are counted as failed.
    pub async fn execute(&self, request: CodeRequest) -> Result<CodeResult, CodeError> {
        let language = self.check(&request)?;
        let backend = self.backend()?.clone();
        let located = self.locate(&language).await?;
        let task = self.task(request, language, located)?;
        let may_block = !backend.isolates() || self.config.validation.may_block();
        let (told, looking) = if may_block {
            (self.validated(&task, backend.isolates()).await?, None)
        } else {
            // Advice alone need not be waited for before the code runs.
            (Vec::new(), Some(self.look(&task)))
        };
        let counted = self.counter.begin();
        let mut result = backend.execute(task).await;
        if let Ok(result) = &mut result {
            result.findings = match looking {
                Some(looking) => self.config.validation.judge(looking.await?).0,
                None => told,
            };
        }
        counted.end(match &result {
            Ok(result) if result.success => Ended::Success,
            Ok(result) if result.timed_out => Ended::Timeout,
            _ => Ended::Failure,
        });
        result
    }

    /// How many executions there were and how they ended.
    pub fn stats(&self) -> Stats {
        self.counter.stats()
    }

    /// Ends everything that runs and waits for it; those who wait for results get them. It may be repeated.
    pub async fn cleanup(&self) {
        if let Some(backend) = &self.backend {
            backend.cleanup().await;
        }
    }

    /// The configuration.
    pub fn config(&self) -> &CodeConfig {
        &self.config
    }

    /// The languages that are known, allowed or not.
    pub fn languages(&self) -> &Languages {
        &self.languages
    }

    fn backend(&self) -> Result<&Arc<dyn Backend>, CodeError> {
        match (&self.backend, self.config.mode) {
            (Some(backend), _) => Ok(backend),
            (None, ExecutionMode::Process) => Err(CodeError::ProcessBackendDisabled),
            (None, _) => Err(CodeError::Unsupported("there is no wasm backend".to_owned())),
        }
    }

    /// What a request must be, in the order in which callers expect to be told.
    fn check(&self, request: &CodeRequest) -> Result<Arc<Language>, CodeError> {
        if request.code.trim().is_empty() {
            return Err(CodeError::CodeRequired);
        }
        let allowed = &self.config.allowed_languages;
        let language = self.languages.get(&request.language).cloned();
        let is_allowed = |language: &Arc<Language>| {
            allowed.is_empty()
                || allowed.iter().any(|name| self.languages.get(name).is_some_and(|it| it.name == language.name))
        };
        match language {
            Some(language) if is_allowed(&language) => Ok(language),
            None if allowed.is_empty() => Err(CodeError::UnknownLanguage(request.language.clone())),
            _ => Err(CodeError::LanguageNotAllowed(request.language.clone())),
        }
    }

    fn task(&self, request: CodeRequest, language: Arc<Language>, located: Arc<Located>) -> Result<Task, CodeError> {
        if !language.arguments && !request.args.is_empty() {
            return Err(CodeError::InvalidValue(format!("a program in {} takes no arguments", language.name)));
        }
        let file = language.file_name(&request.code);
        let mut files: BTreeMap<String, Content> = BTreeMap::new();
        for (name, content) in request.files {
            let path = WorkspacePath::try_from(name.as_str());
            if path.is_err() || name.starts_with(".pinfold/") || name == ".pinfold" {
                return Err(CodeError::InvalidFileName(name));
            }
            if name == file {
                return Err(CodeError::TakenFileName(name));
            }
            files.insert(name, content);
        }
        files.insert(file.clone(), Content::from(request.code));
        Ok(Task {
            id: request.id,
            language,
            located,
            file,
            files,
            stdin: request.stdin,
            args: request.args,
            env: request.env_vars,
            timeout: self.config.effective_timeout(request.timeout),
            config: self.config.clone(),
        })
    }

    /// What the validator finds that is to be told, unless it keeps the code from running. Where nothing isolates, anything
    /// does, and so does a language that the validator can't read.
    async fn validated(&self, task: &Task, isolates: bool) -> Result<Vec<Finding>, CodeError> {
        if !isolates && task.language.grammar.is_none() {
            let name = &task.language.name;
            return Err(CodeError::Unsupported(format!("{name} without isolation: the validator doesn't know it")));
        }
        let findings = self.look(task).await?;
        if !isolates && !findings.is_empty() {
            return Err(CodeError::Blocked(findings));
        }
        match self.config.validation.judge(findings) {
            (told, blocking) if blocking.is_empty() => Ok(told),
            (_, blocking) => Err(CodeError::Blocked(blocking)),
        }
    }

    /// Starts to look at the code, off the runtime's threads: a large file takes its time.
    fn look(&self, task: &Task) -> impl Future<Output = Result<Vec<Finding>, CodeError>> + use<> {
        let is_wanted = !self.config.validation.is_off() || !self.isolates();
        let (validator, language, files) = (self.validator.clone(), task.language.clone(), task.files.clone());
        let places = self.looking.clone();
        let looking = is_wanted.then(|| {
            tokio::spawn(async move {
                let _place = places.acquire().await;
                tokio::task::spawn_blocking(move || validator.findings(&language, &files)).await
            })
        });
        async move {
            let Some(looking) = looking else { return Ok(Vec::new()) };
            let failed = |error: tokio::task::JoinError| CodeError::system("look at the code")(error.into());
            looking.await.map_err(failed)?.map_err(failed)?.map_err(CodeError::InvalidValue)
        }
    }

    fn isolates(&self) -> bool {
        self.backend.as_ref().is_none_or(|backend| backend.isolates())
    }

    /// The first of the language's toolchains that is there. Looked for once, and again when it has moved.
    async fn locate(&self, language: &Arc<Language>) -> Result<Arc<Located>, CodeError> {
        let known = self.located.lock().unwrap_or_else(PoisonError::into_inner).get(&language.name).cloned();
        if let Some(known) = known.filter(|known| known.is_still_there()) {
            return Ok(known);
        }
        let (wanted, mut distrusted) = (language.clone(), writable(&self.config));
        distrusted.extend_from_slice(&self.distrusted);
        let asked = tokio::task::spawn_blocking(move || locate(&wanted, &distrusted)).await;
        let found = Arc::new(asked.map_err(|error| CodeError::system("look for a toolchain")(error.into()))??);
        self.located.lock().unwrap_or_else(PoisonError::into_inner).insert(language.name.clone(), found.clone());
        Ok(found)
    }
}

/// Looks for a language's toolchain on this host.
fn locate(language: &Language, distrusted: &[PathBuf]) -> Result<Located, CodeError> {
    on_this_host(distrusted, |host| {
        let mut missing = Vec::new();
        for toolchain in &language.toolchains {
            match toolchain.locate(host) {
                Ok(located) => return Ok(located),
                Err(reason) => missing.push(format!("{}: {reason}", toolchain.name)),
            }
        }
        Err(CodeError::ToolchainMissing {
            language: language.name.clone(),
            reason: missing.join("; "),
            install: language.install.clone(),
        })
    })
}

/// Does something with the host as it is, where nothing in `writable` is trusted.
pub(super) fn on_this_host<T>(writable: &[PathBuf], work: impl FnOnce(Host<'_>) -> T) -> T {
    let path: OsString = std::env::var_os("PATH").unwrap_or_default();
    let home = std::env::home_dir();
    let trusted = |program: &Path| {
        let real = program.canonicalize().unwrap_or_else(|_gone| program.to_owned());
        match writable.iter().find(|place| program.starts_with(place) || real.starts_with(place)) {
            Some(place) => {
                Err(format!("`{}` lies in `{}`, where programs can write", program.display(), place.display()))
            }
            None => Ok(()),
        }
    };
    work(Host { path: &path, home: home.as_deref(), trusted: &trusted })
}

/// The directories in which programs of earlier requests could write.
fn writable(config: &CodeConfig) -> Vec<PathBuf> {
    let mounts = config.mounts().unwrap_or_default().into_iter().filter(|mount| mount.writable);
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_absent| path.to_owned());
    mounts.map(|mount| real(Path::new(mount.source.as_str()))).collect()
}
