//! The held sandboxes of this user, and one of them as a program holds it.

use super::connect::{Line, PATIENCE};
use super::error::Error;
use super::find::{self, Found};
use super::logs::LogReader;
use super::name::Name;
use super::record::Record;
use super::runtime::{self, Runtime};
use super::scoped::Scoped;
use super::spec::Spec;
use super::start;
use super::stats::Stats;
use super::stop::{self, Stopped};
use super::wire::{Reply, Request};
use crate::workspace::key::Key;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a keeper may take to tell what its sandbox does, before it is told without.
const SHORT: Duration = Duration::from_secs(2);

/// The held sandboxes of this user. Nothing is kept in memory: any number of these in any number of processes may be at
/// work at once.
///
/// The methods that are not `async` block for as long as the disk and the keeper take; in an async program call them where
/// blocking is allowed, or through [`Manager`](super::Manager).
#[derive(Clone, Debug)]
pub struct Sandboxes {
    path: PathBuf,
}

/// One line of a list.
#[derive(Debug)]
pub enum Listed {
    /// A sandbox that lives. What it does is missing where its keeper does not answer in time.
    Sandbox(Box<Record>, Option<Box<Stats>>),
    /// Something lives there, and what is written down of it can't be read: the name of its files.
    Broken(String),
}

impl Default for Sandboxes {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandboxes {
    /// Those in `$PINFOLD_RUNTIME_DIR`, else `$XDG_RUNTIME_DIR/pinfold`, else `/run/pinfold` for root and `/tmp/pinfold-UID`
    /// for everybody else. Nothing is made before something is started.
    pub fn new() -> Self {
        Self::at(runtime::from_environment())
    }

    /// Those in a runtime directory, an absolute path. It must belong to this user alone or be absent.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The runtime directory, which need not be there yet.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The sandbox of the spec's name: the one that lives, or a new one. Safe when many ask at once: they all get the same.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when one lives that is not as asked for; what is left at its default was not asked for.
    /// [`Error::Failed`] when the sandbox can't be made.
    pub fn start(&self, spec: &Spec) -> Result<Held, Error> {
        self.get_or_create(spec).map(|(held, _)| held)
    }

    /// As [`start`](Self::start), and whether it is new.
    ///
    /// # Errors
    /// As there.
    pub fn get_or_create(&self, spec: &Spec) -> Result<(Held, bool), Error> {
        let runtime = self.runtime()?;
        let (record, is_new) = start::get_or_create(&runtime, spec, None)?;
        Held::new(runtime, record).map(|held| (held, is_new))
    }

    /// As [`start`](Self::start); a new one that is given no end ends when it was idle for so long.
    pub(crate) fn start_within(&self, spec: &Spec, idle: Option<Duration>) -> Result<Held, Error> {
        let runtime = self.runtime()?;
        let (record, _) = start::get_or_create(&runtime, spec, idle)?;
        Held::new(runtime, record)
    }

    /// The sandbox of this name or id, or whose id begins so.
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::Invalid`] for what can't be a name, or begins several ids.
    pub fn get(&self, name: &str) -> Result<Held, Error> {
        let Some(runtime) = Runtime::open(&self.path, false)? else {
            Name::try_from(name)?;
            return Err(Error::not_found(name));
        };
        let Found { record, .. } = find::find(&runtime, name)?;
        Held::new(runtime, record)
    }

    /// All that live, by name, and after them those of which nobody can read more than that they live.
    ///
    /// # Errors
    /// When the runtime directory can't be read.
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        let Some(runtime) = Runtime::open(&self.path, false)? else { return Ok(Vec::new()) };
        runtime.sweep()?;
        let (whole, broken) = find::living(&runtime)?;
        let mut list = Vec::new();
        for Found { key, record } in whole {
            match stats(&runtime, &key, record.name.as_str(), SHORT) {
                // It has ended meanwhile.
                Err(Error::NotFound { .. } | Error::Gone { .. }) => {}
                told => list.push(Listed::Sandbox(Box::new(record), told.ok().map(Box::new))),
            }
        }
        list.extend(broken.into_iter().map(|key| Listed::Broken(key.as_str().to_owned())));
        Ok(list)
    }

    /// Ends the sandbox of this name or id. That there is none is no error.
    ///
    /// # Errors
    /// [`Error::Timeout`] when not even the kernel can end it.
    pub fn stop(&self, name: &str) -> Result<Stopped, Error> {
        match self.get(name) {
            Ok(held) => held.stop(),
            Err(Error::NotFound { .. }) => {
                if let Some(runtime) = Runtime::open(&self.path, false)? {
                    runtime.sweep()?;
                }
                Ok(Stopped::AlreadyGone)
            }
            Err(error) => Err(error),
        }
    }

    /// The log of a sandbox that lives, or ended less than an hour ago.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn logs(&self, name: &str) -> Result<LogReader, Error> {
        let Some(runtime) = Runtime::open(&self.path, false)? else { return Err(Error::not_found(name)) };
        runtime.sweep()?;
        let record = find::remembered(&runtime, name)?;
        LogReader::new(runtime, &record)
    }

    fn runtime(&self) -> Result<Runtime, Error> {
        Runtime::open(&self.path, true)?.ok_or_else(|| Error::not_found(&self.path.to_string_lossy()))
    }
}

/// A held sandbox. It does not end when this is dropped.
#[derive(Clone, Debug)]
pub struct Held {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) runtime: Runtime,
    pub(super) key: Key,
    pub(super) record: Record,
}

impl Held {
    fn new(runtime: Runtime, record: Record) -> Result<Self, Error> {
        let key = record.name.key()?;
        Ok(Self { shared: Arc::new(Shared { runtime, key, record }) })
    }

    /// Its id, which no other sandbox ever had.
    pub fn id(&self) -> &str {
        &self.shared.record.id
    }

    /// Its name, which is its id where it was given none.
    pub fn name(&self) -> &str {
        self.shared.record.name.as_str()
    }

    /// The id of its workspace, if that is one of a store.
    pub fn workspace(&self) -> Option<&str> {
        self.shared.record.workspace()
    }

    /// What is written down of it.
    pub fn record(&self) -> &Record {
        &self.shared.record
    }

    /// What it does and uses now.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Error::Gone`] when it has ended; [`Error::Timeout`].
    pub fn stats(&self) -> Result<Stats, Error> {
        let Shared { runtime, key, .. } = &*self.shared;
        let stats = stats(runtime, key, self.name(), PATIENCE)?;
        // One of its name may have been started since.
        if stats.id == self.id() { Ok(stats) } else { Err(Error::gone(self.name())) }
    }

    /// Ends it. Nothing of it is left when this returns; that it had ended is no error.
    ///
    /// # Errors
    /// [`Error::Timeout`] when not even the kernel can end it.
    pub fn stop(&self) -> Result<Stopped, Error> {
        match self.stats() {
            Err(Error::Gone { .. }) => Ok(Stopped::AlreadyGone),
            _ => stop::ask(&self.shared.runtime, &self.shared.key, self.name(), &Request::Stop),
        }
    }

    /// Ends it if for so long no command ran and nobody was attached; whether it did. The keeper decides, so that nobody
    /// comes between.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub fn stop_if_idle(&self, idle: Duration) -> Result<bool, Error> {
        let Shared { runtime, key, .. } = &*self.shared;
        match self.stats() {
            Err(Error::Gone { .. } | Error::NotFound { .. }) => return Ok(true),
            told => told?,
        };
        let idle_ms = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        match stop::ask(runtime, key, self.name(), &Request::StopIdle { idle_ms }) {
            Err(Error::Busy { .. }) => Ok(false),
            stopped => stopped.map(|_| true),
        }
    }

    /// Makes it end when the guard is dropped.
    pub fn scoped(self) -> Scoped {
        Scoped::new(self)
    }

    /// Its log.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn logs(&self) -> Result<LogReader, Error> {
        let runtime = self.shared.runtime.again()?;
        LogReader::new(runtime, &self.shared.record)
    }
}

fn stats(runtime: &Runtime, key: &Key, name: &str, patience: Duration) -> Result<Stats, Error> {
    let line = Line::open(runtime, key, patience)?.ok_or_else(|| Error::not_found(name))?;
    match line.ask(&Request::Stats, name, patience)? {
        Reply::Stats(stats) => Ok(*stats),
        _ => Err(Error::invalid(format!("the keeper of sandbox `{name}`"), "it answers something else")),
    }
}
