//! What came of each connection, for the result.

use super::hooks::Observer;
use super::relay::Bytes;
use pinfold_runner::{Connection, RefusalReason};
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// The most connections and refused names that a result tells of.
pub(super) const MOST_TOLD: usize = 1000;

/// The connections of one sandbox, in the order in which they began.
#[derive(Debug)]
pub(super) struct Log {
    sandbox: String,
    observer: Option<Arc<dyn Observer>>,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    told: Vec<Entry>,
    omitted: u64,
    /// The names that were refused and are told of: a resolver asks for each more than once.
    refused: HashSet<String>,
}

/// A connection as it is now.
#[derive(Clone, Debug)]
struct Entry {
    connection: Connection,
    bytes: Arc<Bytes>,
}

/// A connection that goes on. When this is dropped, it has ended.
#[derive(Debug)]
pub(super) struct Ongoing {
    log: Arc<Log>,
    entry: Entry,
    /// Its place among those that are told.
    place: Option<usize>,
}

impl Log {
    pub(super) fn new(sandbox: String, observer: Option<Arc<dyn Observer>>) -> Arc<Self> {
        Arc::new(Self { sandbox, observer, entries: Mutex::default() })
    }

    /// A connection that has begun. Until it is settled nobody has taken it.
    pub(super) fn begin(self: &Arc<Self>, host: String, port: u16) -> Ongoing {
        let entry = Entry::refused(host, Some(port), RefusalReason::Unreachable);
        let place = self.with(|entries| entries.add(entry.clone()));
        Ongoing { log: self.clone(), entry, place }
    }

    /// A name that was refused when it was asked for.
    pub(super) fn refuse(&self, name: &str, reason: RefusalReason) {
        let entry = Entry::refused(name.to_owned(), None, reason);
        let is_told = self.with(|entries| {
            if entries.refused.contains(name) {
                return false;
            }
            let is_told = entries.add(entry.clone()).is_some();
            if is_told {
                entries.refused.insert(name.to_owned());
            }
            is_told
        });
        // No more often than in the result: names can be made up without end.
        if is_told {
            self.observe(&entry);
        }
    }

    /// All that happened so far, and how much more there was.
    pub(super) fn tell(&self) -> (Vec<Connection>, u64) {
        self.with(|entries| (entries.told.iter().map(Entry::now).collect(), entries.omitted))
    }

    fn observe(&self, entry: &Entry) {
        if let Some(observer) = &self.observer {
            observer.ended(&self.sandbox, &entry.now());
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Entries) -> T) -> T {
        work(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Entries {
    fn add(&mut self, entry: Entry) -> Option<usize> {
        if self.told.len() == MOST_TOLD {
            self.omitted += 1;
            return None;
        }
        self.told.push(entry);
        Some(self.told.len() - 1)
    }
}

impl Entry {
    fn refused(host: String, port: Option<u16>, reason: RefusalReason) -> Self {
        let connection = Connection { host, port, allowed: false, bytes_in: 0, bytes_out: 0, reason: Some(reason) };
        Self { connection, bytes: Arc::default() }
    }

    fn now(&self) -> Connection {
        let (bytes_in, bytes_out) = (&self.bytes.inward, &self.bytes.outward);
        Connection {
            bytes_in: bytes_in.load(Ordering::Relaxed),
            bytes_out: bytes_out.load(Ordering::Relaxed),
            ..self.connection.clone()
        }
    }
}

impl Ongoing {
    /// What goes through it.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.entry.bytes
    }

    /// It was made, or why not.
    pub(super) fn settle(&mut self, reason: Option<RefusalReason>) {
        self.entry.connection.allowed = reason.is_none();
        self.entry.connection.reason = reason;
        self.log.with(|entries| {
            if let Some(entry) = self.place.and_then(|place| entries.told.get_mut(place)) {
                entry.connection = self.entry.connection.clone();
            }
        });
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.log.observe(&self.entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Heard(Mutex<Vec<Connection>>);

    impl Observer for Heard {
        fn ended(&self, sandbox: &str, connection: &Connection) {
            assert_eq!(sandbox, "box");
            self.0.lock().unwrap().push(connection.clone());
        }
    }

    #[test]
    fn a_refused_name_is_told_once_and_a_connection_each_time() {
        let heard = Arc::<Heard>::default();
        let log = Log::new("box".to_owned(), Some(heard.clone()));
        for _ in 0..3 {
            log.refuse("evil.example", RefusalReason::NotListed);
            let mut ongoing = log.begin("good.example".to_owned(), 443);
            ongoing.settle(None);
            ongoing.bytes().outward.fetch_add(5, Ordering::Relaxed);
        }
        let (told, omitted) = log.tell();
        assert_eq!((told.len(), omitted), (4, 0));
        assert_eq!((told[0].host.as_str(), told[0].port, told[0].allowed), ("evil.example", None, false));
        assert_eq!((told[3].allowed, told[3].bytes_out, told[3].bytes_in), (true, 5, 0));
        assert_eq!(*heard.0.lock().unwrap(), told, "in the order in which they ended");
    }

    #[test]
    fn what_is_beyond_the_bound_is_counted() {
        let heard = Arc::<Heard>::default();
        let log = Log::new("box".to_owned(), Some(heard.clone()));
        for index in 0..MOST_TOLD + 7 {
            log.refuse(&format!("a{index}.example"), RefusalReason::NotListed);
        }
        log.begin("late.example".to_owned(), 1).settle(None);
        let (told, omitted) = log.tell();
        assert_eq!((told.len(), omitted), (MOST_TOLD, 8));
        assert!(told.iter().all(|connection| !connection.allowed));
        // Of a connection that was made, somebody who listens hears all the same.
        assert_eq!(heard.0.lock().unwrap().len(), MOST_TOLD + 1);
    }
}
