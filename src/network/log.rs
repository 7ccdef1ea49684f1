//! What came of each connection, for the result.

use super::relay::Bytes;
use pinfold_runner::{Connection, RefusalReason};
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// The most connections and refused names that a result tells of.
pub(super) const MOST_TOLD: usize = 1000;

/// The connections of one sandbox, in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct Log(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    told: Vec<Entry>,
    omitted: u64,
    /// The names that were refused and are told of: a resolver asks for each more than once.
    refused: HashSet<String>,
}

#[derive(Debug)]
struct Entry {
    connection: Connection,
    bytes: Arc<Bytes>,
}

/// A connection in the log. One that is told no more has no place there.
#[derive(Debug)]
pub(super) struct Place(Option<usize>);

impl Log {
    /// A connection that has begun.
    pub(super) fn begin(&self, host: String, port: u16, bytes: Arc<Bytes>) -> Place {
        let connection = Connection { host, port: Some(port), allowed: false, bytes_in: 0, bytes_out: 0, reason: None };
        self.with(|entries| entries.add(Entry { connection, bytes }))
    }

    /// It was made, or why not.
    pub(super) fn settle(&self, place: &Place, reason: Option<RefusalReason>) {
        self.with(|entries| {
            if let Some(entry) = place.0.and_then(|place| entries.told.get_mut(place)) {
                entry.connection.allowed = reason.is_none();
                entry.connection.reason = reason;
            }
        });
    }

    /// A name that was refused when it was asked for.
    pub(super) fn refuse(&self, name: &str, reason: RefusalReason) {
        self.with(|entries| {
            if entries.refused.contains(name) {
                return;
            }
            let connection = Connection {
                host: name.to_owned(),
                port: None,
                allowed: false,
                bytes_in: 0,
                bytes_out: 0,
                reason: Some(reason),
            };
            if entries.add(Entry { connection, bytes: Arc::default() }).0.is_some() {
                entries.refused.insert(name.to_owned());
            }
        });
    }

    /// All that happened so far, and how much more there was.
    pub(super) fn tell(&self) -> (Vec<Connection>, u64) {
        self.with(|entries| {
            let told = entries.told.iter().map(|entry| Connection {
                bytes_in: entry.bytes.inward.load(Ordering::Relaxed),
                bytes_out: entry.bytes.outward.load(Ordering::Relaxed),
                ..entry.connection.clone()
            });
            (told.collect(), entries.omitted)
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Entries) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Entries {
    fn add(&mut self, entry: Entry) -> Place {
        if self.told.len() == MOST_TOLD {
            self.omitted += 1;
            return Place(None);
        }
        self.told.push(entry);
        Place(Some(self.told.len() - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_name_is_told_once_and_a_connection_each_time() {
        let log = Log::default();
        for _ in 0..3 {
            log.refuse("evil.example", RefusalReason::NotListed);
            let bytes = Arc::<Bytes>::default();
            let place = log.begin("good.example".to_owned(), 443, bytes.clone());
            log.settle(&place, None);
            bytes.outward.fetch_add(5, Ordering::Relaxed);
        }
        let (told, omitted) = log.tell();
        assert_eq!((told.len(), omitted), (4, 0));
        assert_eq!((told[0].host.as_str(), told[0].port, told[0].allowed), ("evil.example", None, false));
        assert_eq!((told[3].allowed, told[3].bytes_out, told[3].bytes_in), (true, 5, 0));
    }

    #[test]
    fn what_is_beyond_the_bound_is_counted() {
        let log = Log::default();
        for index in 0..MOST_TOLD + 7 {
            log.refuse(&format!("a{index}.example"), RefusalReason::NotListed);
        }
        let late = log.begin("late.example".to_owned(), 1, Arc::default());
        log.settle(&late, None);
        let (told, omitted) = log.tell();
        assert_eq!((told.len(), omitted), (MOST_TOLD, 8));
        assert!(told.iter().all(|connection| !connection.allowed));
    }
}
