//! Held sandboxes in numbers: how many there may be, whose turn it is, and which nobody needs any more.

mod cleanup;
mod figures;
mod place;

pub use self::cleanup::Cleanup;
pub use self::figures::{ManagerStats, SandboxStats};

use self::place::{Entry, Managed, State};
use super::client::{Held, Listed, Sandboxes};
use super::error::Error;
use super::name::{Name, fresh_id};
use super::spec::Spec;
use super::stop::Stopped;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::task::JoinSet;

/// How long a deletion waits for the operation that is at work.
const OPERATION: Duration = Duration::from_secs(5);

/// How long until the next look for sandboxes that are just being started, at a shutdown.
const PAUSE: Duration = Duration::from_millis(10);

/// What a [`Manager`] holds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManagerSettings {
    /// How many sandboxes it has at most; 100.
    pub max_sandboxes: usize,
    /// A sandbox that nobody used for so long is ended; one hour.
    pub idle_timeout: Duration,
    /// How often it looks for such; 5 minutes.
    pub cleanup_interval: Duration,
    /// What it starts without an idle limit or a time to live of its own ends by itself when nothing ran in it and nobody was
    /// attached for so long, whether this program still lives or not; 24 hours, and never less than `idle_timeout`. Without
    /// it, what a crash of this program leaves lives until somebody ends it.
    pub abandoned_after: Option<Duration>,
}

impl Default for ManagerSettings {
    fn default() -> Self {
        Self {
            max_sandboxes: 100,
            idle_timeout: Duration::from_secs(3600),
            cleanup_interval: Duration::from_secs(300),
            abandoned_after: Some(Duration::from_secs(24 * 3600)),
        }
    }
}

/// Looks after a number of held sandboxes, those that it started or adopted. Make one and share it: clones are cheap and
/// are the same manager. The sandboxes outlive it, for as long as [`ManagerSettings::abandoned_after`] says;
/// [`shutdown`](Self::shutdown) ends them.
///
/// Its async methods need a tokio runtime with time enabled.
#[derive(Clone, Debug)]
pub struct Manager {
    state: Arc<State>,
}

/// An operation on a sandbox, which has it alone until this is dropped.
#[derive(Debug)]
pub struct Operation {
    managed: Arc<Managed>,
    _turn: OwnedMutexGuard<()>,
}

impl Deref for Operation {
    type Target = Held;
    fn deref(&self) -> &Held {
        &self.managed.held
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.managed.stamp();
    }
}

/// What became of a sandbox that was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// It was ended.
    Ended,
    /// It was ended while an operation was at work, which had been waited for.
    Interrupted,
    /// Its keeper did not react and was killed.
    Killed,
    /// There was none.
    AlreadyGone,
}

impl Manager {
    /// A manager of sandboxes in a runtime directory. It has none yet, and cleans up only when it is told to:
    /// [`start_cleanup`](Self::start_cleanup).
    pub fn new(sandboxes: Sandboxes, settings: ManagerSettings) -> Self {
        let entries = Mutex::new(BTreeMap::new());
        let settings = watch::Sender::new(settings);
        Self { state: Arc::new(State { sandboxes, settings, is_shutting_down: AtomicBool::new(false), entries }) }
    }

    /// The sandbox of the spec's name, got or created. Calls at once for one name get the same sandbox; for different
    /// names they don't wait for one another.
    ///
    /// # Errors
    /// [`Error::Limit`], and those of [`Sandboxes::start`]; [`Error::Busy`] when it is shutting down.
    pub async fn create(&self, spec: Spec) -> Result<Held, Error> {
        let mut spec = spec;
        let name = match &spec.name {
            Some(name) => name.clone(),
            None => Name::try_from(fresh_id()?)?,
        };
        spec.name = Some(name.clone());
        let place = self.take_place(name.as_str()).await?;
        let sandboxes = self.state.sandboxes.clone();
        let abandoned = self.abandoned_after();
        let held = blocking(move || sandboxes.start_within(&spec, abandoned)).await?;
        if !place.settle(held.clone()) {
            blocking(move || held.stop()).await?;
            return Err(shutting_down(name.as_str()));
        }
        Ok(held)
    }

    fn abandoned_after(&self) -> Option<Duration> {
        let settings = self.state.settings.borrow();
        settings.abandoned_after.map(|limit| limit.max(settings.idle_timeout))
    }

    /// Takes over all sandboxes that live in the runtime directory, as after a restart; their names.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub async fn adopt(&self) -> Result<Vec<String>, Error> {
        let sandboxes = self.state.sandboxes.clone();
        let found = blocking(move || {
            let living = sandboxes.list()?.into_iter().filter_map(|listed| match listed {
                Listed::Sandbox(record, _) => sandboxes.get(record.name.as_str()).ok(),
                Listed::Broken(_) => None,
            });
            Ok(living.collect::<Vec<_>>())
        });
        let mut names = Vec::new();
        for held in found.await? {
            names.push(held.name().to_owned());
            let mut entries = lock(&self.state.entries);
            entries.entry(held.name().to_owned()).or_insert_with(|| Entry::Sandbox(Managed::new(held)));
        }
        Ok(names)
    }

    /// Waits for one's turn with a sandbox, and has it alone until the guard is dropped. Other sandboxes are not held up.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Busy`] when it is shutting down.
    pub async fn operation(&self, name: &str) -> Result<Operation, Error> {
        let managed = self.managed(name)?;
        let turn = managed.turn.clone().lock_owned().await;
        if managed.is_deleted.load(Ordering::Acquire) {
            return Err(Error::not_found(name));
        }
        managed.stamp();
        Ok(Operation { managed, _turn: turn })
    }

    /// Ends a sandbox, when the operation that is at work has ended, or after 5 seconds in spite of it. That there is none is
    /// no error.
    ///
    /// # Errors
    /// [`Error::Timeout`] when not even the kernel can end it. It stays in the manager then.
    pub async fn delete(&self, name: &str) -> Result<Deleted, Error> {
        self.delete_within(name, OPERATION).await
    }

    async fn delete_within(&self, name: &str, patience: Duration) -> Result<Deleted, Error> {
        let managed = match lock(&self.state.entries).get(name) {
            Some(Entry::Sandbox(managed)) => managed.clone(),
            _ => return Ok(Deleted::AlreadyGone),
        };
        // Whoever waits for a turn is refused when it comes.
        managed.is_deleted.store(true, Ordering::Release);
        let turn = tokio::time::timeout(patience, managed.turn.clone().lock_owned()).await;
        let held = managed.held.clone();
        let stopped = blocking(move || held.stop()).await.inspect_err(|_lives| {
            managed.is_deleted.store(false, Ordering::Release);
        })?;
        self.forget(name, &managed);
        Ok(match (stopped, turn) {
            (Stopped::AlreadyGone, _) => Deleted::AlreadyGone,
            (Stopped::Killed, _) => Deleted::Killed,
            (Stopped::Orderly, Ok(_)) => Deleted::Ended,
            (Stopped::Orderly, Err(_still_at_work)) => Deleted::Interrupted,
        })
    }

    /// Changes the settings, which hold from now on.
    pub fn set(&self, settings: ManagerSettings) {
        self.state.settings.send_replace(settings);
    }

    /// Ends all sandboxes at once, within the deadline, and starts no more. The names of those that still live then.
    pub async fn shutdown(&self, deadline: Duration) -> Vec<String> {
        self.state.is_shutting_down.store(true, Ordering::Release);
        let mut deletions = JoinSet::new();
        for managed in self.all() {
            let (manager, name) = (self.clone(), managed.held.name().to_owned());
            deletions.spawn(async move { manager.delete_within(&name, OPERATION.min(deadline / 2)).await });
        }
        let all = async {
            while deletions.join_next().await.is_some() {}
            // Those that are just being started end as soon as they are there.
            while lock(&self.state.entries).values().any(|entry| matches!(entry, Entry::Begun)) {
                tokio::time::sleep(PAUSE).await;
            }
        };
        let _all_or_not = tokio::time::timeout(deadline, all).await;
        // What is still at it goes on: to give up now would leave more.
        deletions.detach_all();
        lock(&self.state.entries).keys().cloned().collect()
    }

    fn all(&self) -> Vec<Arc<Managed>> {
        let entries = lock(&self.state.entries);
        let managed = entries.values().filter_map(|entry| match entry {
            Entry::Sandbox(managed) => Some(managed.clone()),
            Entry::Begun => None,
        });
        managed.collect()
    }

    fn managed(&self, name: &str) -> Result<Arc<Managed>, Error> {
        if self.state.is_shutting_down.load(Ordering::Acquire) {
            return Err(shutting_down(name));
        }
        match lock(&self.state.entries).get(name) {
            Some(Entry::Sandbox(managed)) => Ok(managed.clone()),
            _ => Err(Error::not_found(name)),
        }
    }

    /// Takes a sandbox out, unless another one has its name by now.
    fn forget(&self, name: &str, managed: &Arc<Managed>) {
        let mut entries = lock(&self.state.entries);
        if matches!(entries.get(name), Some(Entry::Sandbox(there)) if Arc::ptr_eq(there, managed)) {
            entries.remove(name);
        }
    }
}

fn shutting_down(name: &str) -> Error {
    Error::Busy { name: name.to_owned(), why: "its manager is shutting down".to_owned() }
}

/// Runs what blocks where that holds nobody up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Err(crate::Error::RuntimeShutDown { id: "a manager's".to_owned() }.into()),
        },
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
