//! What an operator settles for a program that keeps sandboxes in workspaces: one TOML file, or nothing at all.

use super::client::Sandboxes;
use super::error::Error;
use super::manager::{Manager, ManagerSettings};
use super::session::{SandboxPolicy, Session};
use super::spec::Spec;
use crate::duration::parse_duration;
use crate::workspace::Store;
use pinfold_runner::{AbsolutePath, Job, Mount};
use serde::{Deserialize, Deserializer};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The variable that names the file.
const VARIABLE: &str = "PINFOLD_CONFIG";

/// The longest file that is read.
const LONGEST: u64 = 1 << 20;

/// What an operator settles. Every field may be left out of the file, and then has the value of [`Config::default`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// The state directory, in which workspaces lie; by default that of `pinfold workspace`.
    pub state_dir: Option<PathBuf>,
    /// The runtime directory of held sandboxes; by default that of `pinfold start`.
    pub runtime_dir: Option<PathBuf>,
    /// Whether a session needs its sandbox; by default it has one if there can be one, and says why where there is none.
    pub policy: SandboxPolicy,
    /// [`ManagerSettings::max_sandboxes`].
    pub max_sandboxes: usize,
    /// [`ManagerSettings::idle_timeout`]; a text such as `"1h"`, as all times here.
    #[serde(deserialize_with = "time")]
    pub idle_timeout: Duration,
    /// [`ManagerSettings::cleanup_interval`].
    #[serde(deserialize_with = "time")]
    pub cleanup_interval: Duration,
    /// [`ManagerSettings::abandoned_after`]; `"never"` is `None`.
    #[serde(deserialize_with = "time_or_never")]
    pub abandoned_after: Option<Duration>,
    /// Where sandboxes see the folder that all workspaces share, if they do.
    pub shared: Option<Shared>,
    /// What the sandboxes are: the fields of a job, without a command.
    #[serde(deserialize_with = "job")]
    pub sandbox: Job,
}

/// How sandboxes see the folder that all workspaces share: [`Store::shared`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shared {
    /// Where.
    pub at: AbsolutePath,
    /// Whether they may write to it, and so to each other.
    #[serde(default)]
    pub writable: bool,
}

impl Default for Config {
    fn default() -> Self {
        let ManagerSettings { max_sandboxes, idle_timeout, cleanup_interval, abandoned_after } =
            ManagerSettings::default();
        Self {
            state_dir: None,
            runtime_dir: None,
            policy: SandboxPolicy::BestEffort,
            max_sandboxes,
            idle_timeout,
            cleanup_interval,
            abandoned_after,
            shared: None,
            sandbox: Spec::default().job,
        }
    }
}

impl Config {
    /// The file that `$PINFOLD_CONFIG` names, or every default where it names none.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_environment() -> Result<Self, Error> {
        std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map_or_else(|| Ok(Self::default()), Self::read)
    }

    /// Reads a TOML file.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Invalid`] with the line and the field.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        use std::io::Read;
        let path = path.as_ref();
        let what = || format!("read `{}`", path.display());
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(|error| Error::io(what(), error))?;
        file.take(LONGEST).read_to_string(&mut text).map_err(|error| Error::io(what(), error))?;
        text.parse()
            .map_err(|reason: toml::de::Error| Error::invalid(format!("`{}`", path.display()), reason.to_string()))
    }

    /// The workspaces.
    ///
    /// # Errors
    /// When there can be none at that path.
    pub fn store(&self) -> Result<Store, Error> {
        Ok(match &self.state_dir {
            Some(path) => Store::at(path)?,
            None => Store::new()?,
        })
    }

    /// The held sandboxes.
    pub fn sandboxes(&self) -> Sandboxes {
        self.runtime_dir.as_ref().map_or_else(Sandboxes::new, Sandboxes::at)
    }

    /// A manager of them, which has none yet.
    pub fn manager(&self) -> Manager {
        let Self { max_sandboxes, idle_timeout, cleanup_interval, abandoned_after, .. } = *self;
        Manager::new(
            self.sandboxes(),
            ManagerSettings { max_sandboxes, idle_timeout, cleanup_interval, abandoned_after },
        )
    }

    /// What a sandbox is to be, the shared folder included, which is made if it is absent.
    ///
    /// # Errors
    /// When that can't be made.
    pub fn spec(&self) -> Result<Spec, Error> {
        let mut job = self.sandbox.clone();
        if let Some(Shared { at, writable }) = self.shared.clone() {
            let path = self.store()?.shared()?.display().to_string();
            let source =
                AbsolutePath::try_from(path).map_err(|error| Error::invalid("`state_dir`", error.to_string()))?;
            job.mounts.push(Mount { source, target: at, writable, as_owner: false });
        }
        Ok(Spec::default().like(job))
    }

    /// [`Sandboxes::ensure_session`] as settled here.
    ///
    /// # Errors
    /// As there.
    pub fn ensure_session(&self, id: &str) -> Result<Session, Error> {
        self.sandboxes().ensure_session(&self.store()?, id, &self.spec()?, self.policy)
    }
}

impl std::str::FromStr for Config {
    type Err = toml::de::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        toml::from_str(text)
    }
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn time_or_never<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "never" => Ok(None),
        text => parse_duration(text).map(Some).map_err(serde::de::Error::custom),
    }
}

/// By way of JSON, which is what a job is written in, so that whatever is wrong is told as there.
fn job<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Job, D::Error> {
    use serde::de::Error;
    let json = serde_json::to_vec(&toml::Table::deserialize(deserializer)?).map_err(D::Error::custom)?;
    Job::held_from_json(&json).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinfold_runner::Limit;

    #[test]
    fn an_empty_file_says_every_default() {
        let config: Config = "".parse().unwrap();
        assert_eq!(config, Config::default());
        assert_eq!((config.max_sandboxes, config.policy), (100, SandboxPolicy::BestEffort));
        assert_eq!(config.spec().unwrap(), Spec::default());
    }

    #[test]
    fn every_field_is_read_and_another_is_an_error() {
        let config: Config = "
            state_dir = '/srv/state'
            runtime_dir = '/srv/run'
            policy = 'required'
            max_sandboxes = 3
            idle_timeout = '10m'
            cleanup_interval = '30s'
            abandoned_after = 'never'
            shared = { at = '/home/agent/shared', writable = true }
            [sandbox]
            workspace_at = '/home/agent/workspace'
            limits = { memory_bytes = 1073741824, cpus = 1.5, pids = 'max' }
            "
        .parse()
        .unwrap();
        assert_eq!(config.store().unwrap().state(), Path::new("/srv/state"));
        assert_eq!(config.sandboxes().path(), Path::new("/srv/run"));
        assert_eq!(config.policy, SandboxPolicy::Required);
        assert_eq!((config.idle_timeout, config.cleanup_interval), (Duration::from_secs(600), Duration::from_secs(30)));
        assert_eq!((config.max_sandboxes, config.abandoned_after), (3, None));
        assert!(config.shared.is_some_and(|shared| shared.writable));
        assert_eq!(config.sandbox.workspace_path(), "/home/agent/workspace");
        assert_eq!(config.sandbox.limits.memory_bytes, Limit::At(1 << 30));
        for (text, words) in [
            ("max_sandboxen = 3", "max_sandboxen"),
            ("idle_timeout = 'soon'", "soon"),
            ("policy = 'maybe'", "maybe"),
            ("[sandbox]\nlimits = { memory_bytes = 1 }", "memory_bytes"),
            ("[sandbox]\ncommand = ['x']", "command"),
        ] {
            let error = text.parse::<Config>().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
