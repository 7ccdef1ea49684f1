//! The options that bound what code may do, and the executor that they make: the same for `pinfold code` and `pinfold tool`.

use crate::cli::value;
use clap::Args;
use pinfold::code::{CodeConfig, CodeError, Executor, Languages, Level};
use pinfold::{AllowList, Limit, Limits, Network, Pinfold};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What an executor may do where no option says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defaults {
    /// Every language, and as much CPU as there is.
    ForPeople,
    /// Those of the library.
    ForPrograms,
}

/// The operator's options.
#[derive(Debug, Args)]
pub(crate) struct ExecutorOptions {
    /// Read the configuration, JSON, from FILE
    ///
    /// What it doesn't name has the library's default; docs/code.md has the fields. Options go before it.
    #[arg(long, value_name = "FILE", help_heading = "Bounds")]
    config: Option<PathBuf>,

    /// Wall-clock time of the program (default: 30s)
    #[arg(long, value_name = "TIME", help_heading = "Bounds", value_parser = time)]
    time: Option<Limit<u64>>,

    /// Memory of the program (default: 512M)
    #[arg(long, value_name = "SIZE", help_heading = "Bounds", value_parser = memory)]
    memory: Option<Limit<u64>>,

    /// CPUs, may be fractional (default: max)
    #[arg(long, value_name = "COUNT", help_heading = "Bounds", value_parser = cpus)]
    cpus: Option<Limit<f64>>,

    /// Processes and threads (default: 100)
    #[arg(long, value_name = "COUNT", help_heading = "Bounds")]
    pids: Option<u64>,

    /// What is kept of each output stream (default: 1M)
    #[arg(long, value_name = "SIZE", help_heading = "Bounds", value_parser = output)]
    output: Option<Limit<u64>>,

    /// Network: none, host or allow=HOST,… (default: none)
    ///
    /// As of `pinfold run`: with `allow=` only the hosts that follow can be connected to.
    #[arg(long, value_name = "NET", help_heading = "Bounds", value_parser = value::network)]
    net: Option<Network>,

    /// Show a path of the host, read-only (repeatable)
    #[arg(long, value_name = "SRC[:DST]", help_heading = "Bounds", value_parser = |text: &str| value::mount(text, false))]
    ro: Vec<pinfold::Mount>,

    /// Allow only this language (repeatable)
    #[arg(long, value_name = "LANGUAGE", help_heading = "Bounds")]
    allow: Vec<String>,

    /// Findings: off, warn or block (default: warn)
    ///
    /// The validator reads the code and tells what to look at twice. It is advice: the sandbox is the fence.
    #[arg(long, value_name = "LEVEL", help_heading = "Bounds", hide_possible_values = true,
        value_parser = clap::builder::PossibleValuesParser::new(["off", "warn", "block"]))]
    findings: Option<String>,

    /// Add the languages of a folder of TOML files
    ///
    /// Instead of the user's own, `pinfold/languages` in `$XDG_CONFIG_HOME` or `~/.config`.
    #[arg(long, value_name = "DIR", help_heading = "Bounds")]
    languages: Option<PathBuf>,
}

impl ExecutorOptions {
    /// The executor that these options make.
    ///
    /// # Errors
    /// When what they ask for can't be.
    pub(crate) fn executor(&self, defaults: Defaults) -> Result<Executor, CodeError> {
        let config = self.configuration(defaults)?;
        let languages = languages(self.languages.as_deref()).map_err(CodeError::InvalidValue)?;
        let pinfold = Pinfold::new().map_err(CodeError::Sandbox)?;
        Executor::new(config, languages, pinfold)
    }

    fn configuration(&self, defaults: Defaults) -> Result<CodeConfig, CodeError> {
        let mut config = match (&self.config, defaults) {
            (Some(file), _) => configured(file).map_err(CodeError::InvalidValue)?,
            (None, Defaults::ForPeople) => {
                CodeConfig { allowed_languages: Vec::new(), max_cpu_percent: Some(0.0), ..CodeConfig::default() }
            }
            (None, Defaults::ForPrograms) => CodeConfig::default(),
        };
        match self.time {
            Some(Limit::At(ms)) => config.timeout = Some(Duration::from_millis(ms)),
            Some(Limit::Max) => config.timeout = None,
            None => {}
        }
        if let Some(memory) = self.memory {
            // A limit is never rounded up.
            config.max_memory_mb = memory.value().map_or(0, |bytes| (bytes >> 20).max(1));
        }
        if let Some(cpus) = self.cpus {
            config.max_cpu_percent = Some(cpus.value().unwrap_or(0.0) * 100.0);
        }
        config.max_processes = self.pids.unwrap_or(config.max_processes);
        if let Some(output) = self.output {
            config.max_output_bytes = output.value().unwrap_or(1 << 30);
        }
        if let Some(net) = &self.net {
            config.network_enabled = *net == Network::Host;
            let rules = net.list().map(AllowList::rules).unwrap_or_default();
            config.allowed_hosts = rules.iter().map(ToString::to_string).collect();
        }
        for mount in &self.ro {
            config.mount_paths.insert(mount.source.as_str().to_owned(), mount.target.as_str().to_owned());
        }
        config.validation = match self.findings.as_deref() {
            Some("off") => Level::Off.into(),
            Some("warn") => Level::Warn.into(),
            Some(_block) => Level::Block.into(),
            None => config.validation,
        };
        if !self.allow.is_empty() {
            config.allowed_languages.clone_from(&self.allow);
        }
        Ok(config)
    }
}

fn configured(file: &Path) -> Result<CodeConfig, String> {
    let told = |reason: String| format!("`--config`: `{}`: {reason}", file.display());
    let json = std::fs::read(file).map_err(|error| told(value::reason(&error)))?;
    serde_json::from_slice(&json).map_err(|error| told(error.to_string()))
}

/// The languages that Pinfold brings, with those of a folder or else of the user's own.
///
/// # Errors
/// The first file that can't be used.
pub(crate) fn languages(folder: Option<&Path>) -> Result<Languages, String> {
    let mut languages = Languages::embedded();
    let added = match folder {
        Some(folder) => languages.add_folder(folder),
        None => languages.add_users_own(),
    };
    added.map(|()| languages).map_err(|error| error.to_string())
}

/// What is printed where a result would be.
pub(crate) fn refusal(error: &CodeError) -> Value {
    let mut refusal = json!({"success": false, "error": error.to_string(), "code": error.code()});
    if let CodeError::Blocked(findings) = error {
        refusal["findings"] = json!(findings);
    }
    if let Some(hint) = error.hint() {
        refusal["hint"] = hint.into();
    }
    refusal
}

/// Runs a future to its end on a runtime of its own.
///
/// # Errors
/// When there can be no runtime.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("failed to start: {error}"))?;
    let value = runtime.block_on(future);
    // Not a drop, which would wait for whatever still reads for us.
    runtime.shutdown_background();
    Ok(value)
}

fn time(text: &str) -> Result<Limit<u64>, String> {
    value::in_range(value::time(text)?, "wall_ms", |limits: &mut Limits, limit| limits.wall_ms = limit)
}

fn memory(text: &str) -> Result<Limit<u64>, String> {
    value::in_range(value::size(text)?, "memory_bytes", |limits: &mut Limits, limit| limits.memory_bytes = limit)
}

fn cpus(text: &str) -> Result<Limit<f64>, String> {
    value::in_range(value::cpus(text)?, "cpus", |limits: &mut Limits, limit| limits.cpus = limit)
}

fn output(text: &str) -> Result<Limit<u64>, String> {
    value::in_range(value::size(text)?, "output_bytes", |limits: &mut Limits, limit| limits.output_bytes = limit)
}
