//! Where threads are kept. Two places are here, the memory of this process and a directory; a caller may bring a third.

use super::error::Error;
use super::thread::{Retention, Thread};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// The states of new checkpoints, by their ids.
pub type States = Vec<(String, Value)>;

/// Keeps threads by name. What it hands out is a copy, and so is what it keeps.
pub trait Storage: Send + Sync + fmt::Debug {
    /// A thread, if there is one of that name.
    ///
    /// # Errors
    /// When that can't be told.
    fn read(&self, thread: &str) -> Result<Option<Thread>, Error>;

    /// The state of a checkpoint, if it is there.
    ///
    /// # Errors
    /// When that can't be told.
    fn state(&self, thread: &str, id: &str) -> Result<Option<Value>, Error>;

    /// Changes a thread while nobody else does, an absent one from an empty one of this retention. All of the change is kept
    /// when this returns, with the states that `change` answers, or nothing of it when it fails; states whose checkpoint is
    /// not in the thread any more go.
    ///
    /// # Errors
    /// Those of `change`, and when it can't be kept.
    fn change(
        &self,
        thread: &str,
        retention: Retention,
        change: &mut dyn FnMut(&mut Thread) -> Result<States, Error>,
    ) -> Result<(), Error>;

    /// Removes a thread; one that is not there is removed already.
    ///
    /// # Errors
    /// When it can't be removed.
    fn delete(&self, thread: &str) -> Result<(), Error>;

    /// The names of all threads, in order.
    ///
    /// # Errors
    /// When they can't be told.
    fn names(&self) -> Result<Vec<String>, Error>;
}

impl<S: Storage + ?Sized> Storage for std::sync::Arc<S> {
    fn read(&self, thread: &str) -> Result<Option<Thread>, Error> {
        (**self).read(thread)
    }

    fn state(&self, thread: &str, id: &str) -> Result<Option<Value>, Error> {
        (**self).state(thread, id)
    }

    fn change(
        &self,
        thread: &str,
        retention: Retention,
        change: &mut dyn FnMut(&mut Thread) -> Result<States, Error>,
    ) -> Result<(), Error> {
        (**self).change(thread, retention, change)
    }

    fn delete(&self, thread: &str) -> Result<(), Error> {
        (**self).delete(thread)
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        (**self).names()
    }
}

/// Each thread by its name, with its states by their checkpoints' ids.
type Kept = BTreeMap<String, (Thread, BTreeMap<String, Value>)>;

/// Threads in the memory of this process.
#[derive(Debug, Default)]
pub struct Memory {
    threads: Mutex<Kept>,
}

impl Memory {
    fn with<T>(&self, look: impl FnOnce(&mut Kept) -> T) -> T {
        // Each change is made on a copy and put in as a whole, so what a panic left is whole too.
        look(&mut self.threads.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Storage for Memory {
    fn read(&self, thread: &str) -> Result<Option<Thread>, Error> {
        Ok(self.with(|threads| threads.get(thread).map(|(thread, _)| thread.clone())))
    }

    fn state(&self, thread: &str, id: &str) -> Result<Option<Value>, Error> {
        Ok(self.with(|threads| threads.get(thread).and_then(|(_, states)| states.get(id).cloned())))
    }

    fn change(
        &self,
        thread: &str,
        retention: Retention,
        change: &mut dyn FnMut(&mut Thread) -> Result<States, Error>,
    ) -> Result<(), Error> {
        self.with(|threads| {
            let kept = threads.get(thread).cloned();
            let (mut changed, mut states) = kept.unwrap_or_else(|| (Thread::new(thread, retention), BTreeMap::new()));
            states.extend(change(&mut changed)?);
            states.retain(|id, _| changed.get(id).is_some());
            threads.insert(thread.to_owned(), (changed, states));
            Ok(())
        })
    }

    fn delete(&self, thread: &str) -> Result<(), Error> {
        self.with(|threads| threads.remove(thread));
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        Ok(self.with(|threads| threads.keys().cloned().collect()))
    }
}
