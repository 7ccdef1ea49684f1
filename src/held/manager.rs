//! Held sandboxes in numbers: how many there may be, whose turn it is, and which nobody needs any more.

use super::client::{Held, Listed, Sandboxes};
use super::error::Error;
use super::spec::Spec;
use super::stats::Stats;
use super::stop::Stopped;
use crate::workspace::record::milliseconds;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::task::{JoinHandle, JoinSet};

/// How long a deletion waits for the operation that is at work.
const OPERATION: Duration = Duration::from_secs(5);

/// What a [`Manager`] holds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManagerSettings {
    /// How many sandboxes it has at most; 100.
    pub max_sandboxes: usize,
    /// A sandbox that nobody used for so long is ended; one hour.
    pub idle_timeout: Duration,
    /// How often it looks for such; 5 minutes.
    pub cleanup_interval: Duration,
}

impl Default for ManagerSettings {
    fn default() -> Self {
        Self { max_sandboxes: 100, idle_timeout: Duration::from_secs(3600), cleanup_interval: Duration::from_secs(300) }
    }
}

/// Looks after a number of held sandboxes, those that it started or adopted. Make one and share it: clones are cheap and
/// are the same manager. The sandboxes outlive it; [`shutdown`](Self::shutdown) ends them.
///
/// Its async methods need a tokio runtime with time enabled.
#[derive(Clone, Debug)]
pub struct Manager {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    sandboxes: Sandboxes,
    settings: watch::Sender<ManagerSettings>,
    is_shutting_down: AtomicBool,
    /// By name. Never locked while anything is waited for.
    entries: Mutex<BTreeMap<String, Entry>>,
}

#[derive(Debug)]
enum Entry {
    /// About to be there; its place is taken.
    Begun,
    Sandbox(Arc<Managed>),
}

#[derive(Debug)]
struct Managed {
    held: Held,
    /// Held by the operation that is at work, and by whoever ends the sandbox.
    turn: Arc<tokio::sync::Mutex<()>>,
    is_deleted: AtomicBool,
    used: Mutex<(Instant, SystemTime)>,
}

impl Managed {
    fn new(held: Held) -> Arc<Self> {
        let used = Mutex::new((Instant::now(), SystemTime::now()));
        Arc::new(Self { held, turn: Arc::default(), is_deleted: AtomicBool::new(false), used })
    }

    fn stamp(&self) {
        *lock(&self.used) = (Instant::now(), SystemTime::now());
    }

    fn is_active(&self) -> bool {
        self.turn.try_lock().is_err()
    }
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

/// What a manager has and does.
#[derive(Clone, Debug, Serialize)]
pub struct ManagerStats {
    /// How many sandboxes it has.
    pub total_sandboxes: usize,
    /// How many operations are at work.
    pub active_operations: usize,
    /// How many sandboxes it may have.
    pub max_sandboxes: usize,
    /// After how long without use it ends one, in milliseconds.
    pub idle_timeout_ms: u64,
    /// How often it looks, in milliseconds.
    pub cleanup_interval_ms: u64,
    /// Whether it is shutting down, or has.
    pub is_shutting_down: bool,
    /// Each sandbox, by name.
    pub sandboxes: Vec<SandboxStats>,
}

/// What a manager tells of one sandbox. What can't be measured is null.
#[derive(Clone, Debug, Serialize)]
pub struct SandboxStats {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was last used, through this manager or by anybody, in milliseconds since 1970.
    pub last_used_ms: u64,
    /// Whether an operation is at work, or a command runs.
    pub is_active: bool,
    /// When it was started, in milliseconds since 1970.
    pub created_ms: u64,
    /// Memory now, in bytes.
    pub memory_bytes: Option<u64>,
    /// CPU time since its start, in milliseconds.
    pub cpu_ms: Option<f64>,
    /// Processes and threads now.
    pub pids: Option<u64>,
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
            None => super::name::Name::try_from(super::name::fresh_id()?)?,
        };
        spec.name = Some(name.clone());
        let place = self.take_place(name.as_str()).await?;
        let sandboxes = self.state.sandboxes.clone();
        let held = blocking(move || sandboxes.start(&spec)).await?;
        if self.state.is_shutting_down.load(Ordering::Acquire) {
            let late = held.clone();
            blocking(move || late.stop()).await?;
            return Err(shutting_down(name.as_str()));
        }
        place.settle(held.clone());
        Ok(held)
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

    /// Ends the sandboxes that nobody has used for the idle timeout: their names. One that is in use, through this manager
    /// or by anybody else, is never ended.
    pub async fn reap_idle(&self) -> Vec<String> {
        let limit = self.state.settings.borrow().idle_timeout;
        let mut reaped = Vec::new();
        for managed in self.all() {
            // Whoever is at work has the turn; whoever comes now waits, and is then refused or finds it as it was.
            let Ok(_turn) = managed.turn.clone().try_lock_owned() else { continue };
            if lock(&managed.used).0.elapsed() < limit || managed.is_deleted.load(Ordering::Acquire) {
                continue;
            }
            let held = managed.held.clone();
            // The keeper has the last word: a command may have begun meanwhile.
            if let Ok(true) = blocking(move || held.stop_if_idle(limit)).await {
                managed.is_deleted.store(true, Ordering::Release);
                self.forget(managed.held.name(), &managed);
                reaped.push(managed.held.name().to_owned());
            }
        }
        reaped
    }

    /// Looks for idle sandboxes again and again, until what comes back is dropped.
    pub fn start_cleanup(&self) -> Cleanup {
        let state = Arc::downgrade(&self.state);
        Cleanup(tokio::spawn(clean_up(state)))
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
        let _all_or_not =
            tokio::time::timeout(deadline, async { while deletions.join_next().await.is_some() {} }).await;
        // What is still at it goes on: to give up now would leave more.
        deletions.detach_all();
        self.all().iter().map(|managed| managed.held.name().to_owned()).collect()
    }

    /// What it has and does.
    pub async fn stats(&self) -> ManagerStats {
        let all = self.all();
        let settings = *self.state.settings.borrow();
        let mut asked = JoinSet::new();
        for (index, managed) in all.iter().enumerate() {
            let held = managed.held.clone();
            asked.spawn_blocking(move || (index, held.stats().ok()));
        }
        let mut told: Vec<Option<Stats>> = all.iter().map(|_| None).collect();
        while let Some(answer) = asked.join_next().await {
            if let Ok((index, stats)) = answer {
                told[index] = stats;
            }
        }
        let sandboxes = all.iter().zip(told).map(|(managed, stats)| sandbox_stats(managed, stats)).collect();
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        ManagerStats {
            total_sandboxes: all.len(),
            active_operations: all.iter().filter(|managed| managed.is_active()).count(),
            max_sandboxes: settings.max_sandboxes,
            idle_timeout_ms: milliseconds(settings.idle_timeout),
            cleanup_interval_ms: milliseconds(settings.cleanup_interval),
            is_shutting_down: self.state.is_shutting_down.load(Ordering::Acquire),
            sandboxes,
        }
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

    /// A place for a sandbox of that name, if there is one. Sandboxes that have ended by themselves give theirs back.
    async fn take_place(&self, name: &str) -> Result<Place, Error> {
        if let Some(place) = self.try_place(name)? {
            return Ok(place);
        }
        for managed in self.all() {
            let held = managed.held.clone();
            let ended = blocking(move || Ok(matches!(held.stats(), Err(Error::NotFound { .. } | Error::Gone { .. }))));
            if let Ok(true) = ended.await {
                self.forget(managed.held.name(), &managed);
            }
        }
        let max = self.state.settings.borrow().max_sandboxes;
        self.try_place(name)?.ok_or(Error::Limit { max })
    }

    fn try_place(&self, name: &str) -> Result<Option<Place>, Error> {
        if self.state.is_shutting_down.load(Ordering::Acquire) {
            return Err(shutting_down(name));
        }
        let mut entries = lock(&self.state.entries);
        let is_new = !entries.contains_key(name);
        if is_new {
            if entries.len() >= self.state.settings.borrow().max_sandboxes {
                return Ok(None);
            }
            entries.insert(name.to_owned(), Entry::Begun);
        }
        Ok(Some(Place { state: self.state.clone(), name: name.to_owned(), is_new }))
    }
}

/// A place for a sandbox, given back if none comes.
#[derive(Debug)]
struct Place {
    state: Arc<State>,
    name: String,
    /// Nobody had it before.
    is_new: bool,
}

impl Place {
    fn settle(self, held: Held) {
        let mut entries = lock(&self.state.entries);
        match entries.get(&self.name) {
            // Somebody asked for the same one, and was faster.
            Some(Entry::Sandbox(there)) if there.held.id() == held.id() => there.stamp(),
            _ => drop(entries.insert(self.name.clone(), Entry::Sandbox(Managed::new(held)))),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut entries = lock(&self.state.entries);
        if self.is_new && matches!(entries.get(&self.name), Some(Entry::Begun)) {
            entries.remove(&self.name);
        }
    }
}

/// Ends the search for idle sandboxes when it is dropped.
#[derive(Debug)]
#[must_use = "the search ends when this is dropped"]
pub struct Cleanup(JoinHandle<()>);

impl Drop for Cleanup {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn clean_up(state: Weak<State>) {
    let Some(mut settings) = state.upgrade().map(|state| state.settings.subscribe()) else { return };
    loop {
        let interval = settings.borrow_and_update().cleanup_interval;
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            changed = settings.changed() => match changed {
                Ok(()) => continue,
                Err(_gone) => return,
            },
        }
        let Some(state) = state.upgrade() else { return };
        Manager { state }.reap_idle().await;
    }
}

fn sandbox_stats(managed: &Managed, stats: Option<Stats>) -> SandboxStats {
    let used = milliseconds(lock(&managed.used).1);
    let figures = stats.as_ref().and_then(|stats| stats.figures.clone()).unwrap_or_default();
    SandboxStats {
        id: managed.held.id().to_owned(),
        name: managed.held.name().to_owned(),
        last_used_ms: stats.as_ref().map_or(used, |stats| stats.last_used_ms.max(used)),
        is_active: managed.is_active() || stats.is_some_and(|stats| stats.is_active),
        created_ms: managed.held.record().created_ms,
        memory_bytes: figures.memory_bytes,
        cpu_ms: figures.cpu_ms,
        pids: figures.pids,
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
