//! The places of a manager: who has one, and for how long.

use super::super::client::{Held, Sandboxes};
use super::super::error::Error;
use super::{Manager, ManagerSettings, blocking, lock, shutting_down};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};
use tokio::sync::watch;

#[derive(Debug)]
pub(super) struct State {
    pub(super) sandboxes: Sandboxes,
    pub(super) settings: watch::Sender<ManagerSettings>,
    pub(super) is_shutting_down: AtomicBool,
    /// By name. Never locked while anything is waited for.
    pub(super) entries: Mutex<BTreeMap<String, Entry>>,
}

#[derive(Debug)]
pub(super) enum Entry {
    /// About to be there; its place is taken.
    Begun,
    Sandbox(Arc<Managed>),
}

#[derive(Debug)]
pub(super) struct Managed {
    pub(super) held: Held,
    /// Held by the operation that is at work, and by whoever ends the sandbox.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
    pub(super) is_deleted: AtomicBool,
    pub(super) used: Mutex<(Instant, SystemTime)>,
}

impl Managed {
    pub(super) fn new(held: Held) -> Arc<Self> {
        let used = Mutex::new((Instant::now(), SystemTime::now()));
        Arc::new(Self { held, turn: Arc::default(), is_deleted: AtomicBool::new(false), used })
    }

    pub(super) fn stamp(&self) {
        *lock(&self.used) = (Instant::now(), SystemTime::now());
    }

    pub(super) fn is_active(&self) -> bool {
        self.turn.try_lock().is_err()
    }
}

/// A place for a sandbox, given back if none comes.
#[derive(Debug)]
pub(super) struct Place {
    state: Arc<State>,
    name: String,
    /// Nobody had it before.
    is_new: bool,
}

impl Place {
    /// Puts the sandbox there. False if none is wanted any more: whoever shuts down says so before he looks.
    pub(super) fn settle(&self, held: Held) -> bool {
        let mut entries = lock(&self.state.entries);
        if self.state.is_shutting_down.load(Ordering::Acquire) {
            return false;
        }
        match entries.get(&self.name) {
            // Somebody asked for the same one, and was faster.
            Some(Entry::Sandbox(there)) if there.held.id() == held.id() => there.stamp(),
            _ => drop(entries.insert(self.name.clone(), Entry::Sandbox(Managed::new(held)))),
        }
        true
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

impl Manager {
    /// A place for a sandbox of that name, if there is one. Sandboxes that have ended by themselves give theirs back.
    pub(super) async fn take_place(&self, name: &str) -> Result<Place, Error> {
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
