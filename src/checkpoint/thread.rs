//! A thread of checkpoints as it is written down: what it keeps, in which order, and what it lets go of. Order is by a
//! number that only grows; clocks only say how old something is.

use super::error::Error;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

/// The version of threads that this build writes, and the newest that it reads.
pub(crate) const VERSION: u32 = 1;

/// How long a thread keeps what. `None` is without limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Checkpoints; above, the oldest are evicted.
    pub most: Option<u64>,
    /// Milliseconds from its making until a checkpoint expires.
    pub ttl_ms: Option<u64>,
    /// Bytes that all states take as JSON; above, nothing is saved.
    pub state_bytes: Option<u64>,
}

impl Default for Retention {
    /// A hundred checkpoints, for a day, with 64 MiB of states.
    fn default() -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        Self { most: Some(100), ttl_ms: u64::try_from(day.as_millis()).ok(), state_bytes: Some(64 << 20) }
    }
}

/// Why a checkpoint was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// Somebody saved it.
    #[default]
    Save,
    /// A rollback or a fork saved what was not saved yet.
    Automatic,
    /// A rollback: it has what `origin` has.
    Rollback,
    /// The first of a workspace that was forked: it has what `origin` has, in the workspace that it came from.
    Fork,
}

/// A checkpoint, as it is told.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Checkpoint {
    /// Unique in its thread.
    pub id: String,
    /// Its place in the order: larger than that of all that were made before.
    pub sequence: u64,
    /// The checkpoint that it goes on from. It stays named when that one is gone.
    pub parent: Option<String>,
    /// Whether the parent is gone.
    pub parent_evicted: bool,
    /// The caller's number; by default the parent's and one.
    pub step: u64,
    /// The caller's words.
    pub labels: BTreeSet<String>,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// Why it was made.
    pub cause: Cause,
    /// For a rollback or a fork, the checkpoint whose state and files it has.
    pub origin: Option<String>,
    /// Whether the next one goes on from it.
    pub is_head: bool,
}

/// What a caller gives a new checkpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct New {
    /// Its id; random by default.
    pub id: Option<String>,
    /// The caller's number; by default the parent's and one.
    pub step: Option<u64>,
    /// The caller's words.
    pub labels: BTreeSet<String>,
    /// The caller's state; null by default.
    pub state: Value,
}

/// A checkpoint as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) sequence: u64,
    pub(crate) parent: Option<String>,
    pub(crate) step: u64,
    pub(crate) labels: BTreeSet<String>,
    pub(crate) created_ms: u64,
    pub(crate) cause: Cause,
    pub(crate) origin: Option<String>,
    pub(crate) state_bytes: u64,
    /// The layers of its files, the uppermost first; none in a thread without files.
    pub(crate) layers: Vec<String>,
}

/// The files of a workspace with checkpoints, as they are now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Files {
    /// The layer that takes what is written.
    pub(crate) upper: String,
    /// What lies below, the uppermost first. With nothing below, `upper` has all files, and every checkpoint is a copy.
    pub(crate) lower: Vec<String>,
    /// The checkpoint that they go on from.
    pub(crate) base: Option<String>,
    /// The layer that takes the directory of the workspace's first files, if that is still in its old place.
    pub(crate) adopts: Option<String>,
}

/// A thread, for a [`Storage`](super::Storage) to keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thread {
    pub(crate) version: u32,
    pub(crate) name: String,
    pub(crate) next: u64,
    pub(crate) retention: Retention,
    /// In the order of their numbers.
    pub(crate) entries: Vec<Entry>,
    pub(crate) files: Option<Files>,
}

impl Thread {
    /// An empty one.
    pub fn new(name: &str, retention: Retention) -> Self {
        Self { version: VERSION, name: name.to_owned(), next: 1, retention, entries: Vec::new(), files: None }
    }

    /// The name that the caller gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The ids of all checkpoints in it, in their order: whose states are to be kept.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.id.as_str())
    }

    /// The checkpoint that the next one goes on from.
    pub(crate) fn head(&self) -> Option<&str> {
        match &self.files {
            Some(files) => files.base.as_deref(),
            None => self.entries.last().map(|entry| entry.id.as_str()),
        }
    }

    pub(crate) fn find(&self, id: &str) -> Result<&Entry, Error> {
        self.get(id).ok_or_else(|| Error::NotFound { id: id.to_owned() })
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id == id)
    }

    /// Puts a checkpoint at the end and lets go of what is too old or too much.
    pub(crate) fn append(&mut self, mut entry: Entry) -> Result<Checkpoint, Error> {
        if self.get(&entry.id).is_some() {
            return Err(Error::Exists { id: entry.id });
        }
        self.expire(entry.created_ms);
        entry.sequence = self.next;
        let spared = (usize::MAX as u64).min(self.retention.most.unwrap_or(u64::MAX)).max(1) - 1;
        let spared = usize::try_from(spared).unwrap_or(usize::MAX);
        let surplus = self.entries.len().saturating_sub(spared);
        let kept: u64 = self.entries[surplus..].iter().map(|entry| entry.state_bytes).sum();
        let wanted = kept.saturating_add(entry.state_bytes);
        if let Some(limit) = self.retention.state_bytes.filter(|limit| wanted > *limit) {
            return Err(Error::StorageFull { limit, wanted });
        }
        self.next += 1;
        self.entries.drain(..surplus);
        if let Some(files) = &mut self.files {
            files.base = Some(entry.id.clone());
        }
        self.entries.push(entry.clone());
        Ok(self.tell(&entry))
    }

    /// Lets go of what is too old; but not of what the files go on from.
    pub(crate) fn expire(&mut self, now_ms: u64) {
        let Some(ttl) = self.retention.ttl_ms else { return };
        let base = self.files.as_ref().and_then(|files| files.base.clone());
        let stays = |entry: &Entry| Some(&entry.id) == base.as_ref() || now_ms.saturating_sub(entry.created_ms) < ttl;
        self.entries.retain(stays);
    }

    pub(crate) fn remove(&mut self, id: &str) -> Result<(), Error> {
        self.find(id)?;
        self.entries.retain(|entry| entry.id != id);
        Ok(())
    }

    /// A new entry that goes on from another one.
    pub(crate) fn entry(&self, new: &New, parent: Option<&str>, cause: Cause) -> Result<Entry, Error> {
        let after = parent.and_then(|id| self.get(id)).map_or(1, |parent| parent.step.saturating_add(1));
        Ok(Entry {
            id: new.id.clone().map_or_else(fresh_id, Ok)?,
            sequence: 0,
            parent: parent.map(str::to_owned),
            step: new.step.unwrap_or(after),
            labels: new.labels.clone(),
            created_ms: now_ms(),
            cause,
            origin: None,
            state_bytes: new.state.to_string().len() as u64,
            layers: Vec::new(),
        })
    }

    pub(crate) fn tell(&self, entry: &Entry) -> Checkpoint {
        Checkpoint {
            id: entry.id.clone(),
            sequence: entry.sequence,
            parent: entry.parent.clone(),
            parent_evicted: entry.parent.as_ref().is_some_and(|parent| self.get(parent).is_none()),
            step: entry.step,
            labels: entry.labels.clone(),
            created_ms: entry.created_ms,
            cause: entry.cause,
            origin: entry.origin.clone(),
            is_head: self.head() == Some(&entry.id),
        }
    }
}

/// Milliseconds since 1970, for people and for the time to live.
pub(crate) fn now_ms() -> u64 {
    crate::workspace::milliseconds(SystemTime::now())
}

/// An id that nobody has had: 64 random bits, and a time has no say in it.
fn fresh_id() -> Result<String, Error> {
    use crate::workspace::Doing;
    let name = crate::workspace::fresh_name().doing(|| "make an id".to_owned())?;
    Ok(name[..16].to_owned())
}
