//! Threads of states without files: put, get, list, and the order of saving and rolling back.

use super::error::Error;
use super::storage::Storage;
use super::thread::{Cause, Checkpoint, New, Retention, Thread, now_ms};
use serde_json::Value;

/// Threads of checkpoints in some storage. Any number of these, in any number of processes, may be at work on one.
#[derive(Clone, Debug)]
pub struct Threads<S> {
    storage: S,
    retention: Retention,
}

/// Which checkpoints to list, and in which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// At most so many, from the beginning of the order; 0 is all.
    pub limit: usize,
    /// The oldest first, rather than the newest.
    pub oldest_first: bool,
    /// Made at this time or before, in milliseconds since 1970.
    pub before_ms: Option<u64>,
    /// Made at this time or after, in milliseconds since 1970.
    pub after_ms: Option<u64>,
}

impl Filter {
    pub(crate) fn apply(self, thread: &Thread) -> Vec<Checkpoint> {
        let is_in = |checkpoint: &Checkpoint| {
            self.before_ms.is_none_or(|before| checkpoint.created_ms <= before)
                && self.after_ms.is_none_or(|after| checkpoint.created_ms >= after)
        };
        let mut found: Vec<_> = thread.entries.iter().map(|entry| thread.tell(entry)).filter(is_in).collect();
        if !self.oldest_first {
            found.reverse();
        }
        if self.limit > 0 {
            found.truncate(self.limit);
        }
        found
    }
}

impl<S: Storage> Threads<S> {
    /// Threads in this storage, of the usual retention.
    pub fn new(storage: S) -> Self {
        Self { storage, retention: Retention::default() }
    }

    /// What new threads keep.
    #[must_use]
    pub fn with_retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Saves a state as the newest of a thread. What was the newest is its parent; nobody comes between.
    ///
    /// # Errors
    /// [`Error::InvalidThread`], [`Error::Exists`], [`Error::StorageFull`].
    pub fn save(&self, thread: &str, new: &New) -> Result<Checkpoint, Error> {
        self.append(thread, |thread| {
            let parent = thread.head().map(str::to_owned);
            Ok((thread.entry(new, parent.as_deref(), Cause::Save)?, new.state.clone()))
        })
    }

    /// The newest checkpoint of a thread with its state.
    ///
    /// # Errors
    /// [`Error::Empty`].
    pub fn latest(&self, thread: &str) -> Result<(Checkpoint, Value), Error> {
        let read = self.read(thread)?;
        let empty = || Error::Empty { thread: thread.to_owned() };
        let entry = read.entries.last().ok_or_else(empty)?;
        let state = self.storage.state(thread, &entry.id)?.ok_or_else(empty)?;
        Ok((read.tell(entry), state))
    }

    /// One checkpoint with its state.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn get(&self, thread: &str, id: &str) -> Result<(Checkpoint, Value), Error> {
        let read = self.read(thread)?;
        let entry = read.find(id)?;
        let state = self.storage.state(thread, id)?.ok_or_else(|| Error::NotFound { id: id.to_owned() })?;
        Ok((read.tell(entry), state))
    }

    /// The checkpoints of a thread, the newest first by default; none of one that is not there.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn list(&self, thread: &str, filter: Filter) -> Result<Vec<Checkpoint>, Error> {
        Ok(filter.apply(&self.read(thread)?))
    }

    /// Makes an earlier state the newest again: a new checkpoint with that one as parent. What came after it stays, as a
    /// branch.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn rollback(&self, thread: &str, id: &str) -> Result<Checkpoint, Error> {
        let (_, state) = self.get(thread, id)?;
        self.append(thread, |thread| {
            let new = New { state: state.clone(), ..New::default() };
            let mut entry = thread.entry(&new, Some(thread.find(id)?.id.as_str()), Cause::Rollback)?;
            entry.origin = Some(id.to_owned());
            Ok((entry, state.clone()))
        })
    }

    /// Removes one checkpoint. Its children keep its id as their parent, as of one that is gone.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn remove(&self, thread: &str, id: &str) -> Result<(), Error> {
        self.read(thread)?.find(id)?;
        self.storage.change(thread, self.retention, &mut |thread| {
            thread.remove(id)?;
            Ok(Vec::new())
        })
    }

    /// Removes a whole thread; one that is not there is removed already.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn remove_thread(&self, thread: &str) -> Result<(), Error> {
        self.storage.delete(thread)
    }

    /// Lets go of everything that has expired, in all threads. Nobody sees it any more before that; this frees its place.
    ///
    /// # Errors
    /// When a thread can't be read or changed.
    pub fn sweep(&self) -> Result<(), Error> {
        for name in self.storage.names()? {
            self.storage.change(&name, self.retention, &mut |thread| {
                thread.expire(now_ms());
                Ok(Vec::new())
            })?;
        }
        Ok(())
    }

    /// What two checkpoints' states differ in: JSON pointers (RFC 6901), each with what was there and what is.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn diff(&self, thread: &str, from: &str, to: &str) -> Result<Vec<StateChange>, Error> {
        let ((_, from), (_, to)) = (self.get(thread, from)?, self.get(thread, to)?);
        let mut changes = Vec::new();
        compare(String::new(), Some(&from), Some(&to), &mut changes);
        Ok(changes)
    }

    /// As it is for whoever looks now: without what has expired.
    fn read(&self, thread: &str) -> Result<Thread, Error> {
        let read = self.storage.read(thread)?;
        let mut read = read.unwrap_or_else(|| Thread::new(thread, self.retention));
        read.expire(now_ms());
        Ok(read)
    }

    fn append(
        &self,
        thread: &str,
        make: impl Fn(&Thread) -> Result<(super::thread::Entry, Value), Error>,
    ) -> Result<Checkpoint, Error> {
        if thread.is_empty() {
            return Err(Error::InvalidThread);
        }
        let mut saved = None;
        self.storage.change(thread, self.retention, &mut |thread| {
            thread.expire(now_ms());
            let (entry, state) = make(thread)?;
            let id = entry.id.clone();
            saved = Some(thread.append(entry)?);
            Ok(vec![(id, state)])
        })?;
        saved.ok_or(Error::InvalidThread)
    }
}

/// One difference between two states.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct StateChange {
    /// Where: a JSON pointer; the whole is the empty one.
    pub pointer: String,
    /// What was there.
    pub from: Option<Value>,
    /// What is there.
    pub to: Option<Value>,
}

/// Objects are compared key by key, everything else as a whole.
fn compare(pointer: String, from: Option<&Value>, to: Option<&Value>, changes: &mut Vec<StateChange>) {
    if from == to {
        return;
    }
    if let (Some(Value::Object(one)), Some(Value::Object(other))) = (from, to) {
        let keys: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
        for key in keys {
            let escaped = key.replace('~', "~0").replace('/', "~1");
            compare(format!("{pointer}/{escaped}"), one.get(key), other.get(key), changes);
        }
        return;
    }
    changes.push(StateChange { pointer, from: from.cloned(), to: to.cloned() });
}
