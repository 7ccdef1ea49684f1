//! The store in a file of SQLite, which is the default: `builds.db`. A write-ahead log lets readers read while one writes;
//! `synchronous=FULL` has what was acknowledged on disk even when the power fails.

mod builds;
mod previews;
mod queue;
mod room;
mod rows;
mod schema;
mod sweep;

use super::clock::Moment;
use super::error::{Error, Fault};
use super::record::{Active, Build, Filter, LogRow, NewRow, PhaseResult, Preview, Project};
use super::state::{Orders, Report, State};
use super::store::{BuildStore, Claim, Lost, NewBuild, QueueBounds, Running};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a call waits for other processes that write.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many statements stay prepared.
const PREPARED: usize = 64;

/// A store in one file.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Mutex<Connection>,
    has_forgotten: AtomicBool,
}

impl SqliteStore {
    /// Opens the database, and makes it if it is absent. Its directory must be closed to others.
    ///
    /// # Errors
    /// [`Error::Newer`], and when the file is no database or can't be written.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(PATIENCE)?;
        connection.set_prepared_statement_cache_capacity(PREPARED);
        let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        if mode != "wal" {
            let reason = format!("its file system has no write-ahead log (journal mode `{mode}`)");
            return Err(Error::Store(reason));
        }
        connection.pragma_update(None, "synchronous", "FULL")?;
        schema::prepare(&mut connection)?;
        Ok(Self { connection: Mutex::new(connection), has_forgotten: AtomicBool::new(false) })
    }

    /// Reads.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        work(&self.connection.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes, all at once or not at all. It has the write lock from its beginning, so that what it reads stays true.
    fn change<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }
}

impl SqliteStore {
    /// Remembers that something was forgotten.
    fn told<T>(&self, (done, has_forgotten): (T, bool)) -> T {
        self.has_forgotten.fetch_or(has_forgotten, Ordering::Relaxed);
        done
    }
}

impl BuildStore for SqliteStore {
    fn enqueue(&self, new: &NewBuild, bounds: QueueBounds, now: &Moment) -> Result<Build, Error> {
        self.change(|it| queue::enqueue(it, new, bounds, now)).map(|queued| self.told(queued))
    }

    fn get(&self, owner: &str, id: &str) -> Result<Build, Error> {
        self.read(|it| builds::get(it, owner, id))
    }

    fn list(&self, owner: &str, filter: &Filter) -> Result<Vec<Build>, Error> {
        self.read(|it| builds::list(it, owner, filter))
    }

    fn cancel(&self, owner: &str, id: &str, now: &Moment) -> Result<Build, Error> {
        self.change(|it| queue::cancel(it, owner, id, now))
    }

    fn claim(&self, worker: &str, only: Option<&str>, lease: Duration, now: &Moment) -> Result<Option<Claim>, Error> {
        // A look without the write lock, which a worker without work would otherwise take from others again and again.
        if self.read(|it| queue::next(it, only))?.is_none() {
            return Ok(None);
        }
        self.change(|it| queue::claim(it, worker, only, lease, now))
    }

    fn renew(&self, claim: &Claim, lease: Duration, now: &Moment) -> Result<Orders, Error> {
        self.change(|it| {
            queue::renew(it, claim, lease, now)?;
            queue::orders(it, claim)
        })
    }

    fn orders(&self, claim: &Claim) -> Result<Orders, Error> {
        self.read(|it| queue::orders(it, claim))
    }

    fn note_running(&self, claim: &Claim, running: &Running) -> Result<(), Error> {
        self.change(|it| queue::note_running(it, claim, running))
    }

    fn note_phase(&self, claim: &Claim, phase: &PhaseResult) -> Result<(), Error> {
        self.change(|it| queue::note_phase(it, claim, phase))
    }

    fn append(&self, claim: &Claim, rows: &[NewRow], is_cut: bool) -> Result<(), Error> {
        self.change(|it| rows::append(it, claim, rows, is_cut))
    }

    fn finish(&self, claim: &Claim, report: Report, now: &Moment) -> Result<Build, Error> {
        match self.change(|it| queue::finish(it, claim, report, now)) {
            Err(error @ Error::StoreFull { .. }) => {
                let refused = Report { fault: Some(Fault::from(&error)), ..Report::default() };
                let (build, _) = self.change(|it| queue::finish(it, claim, refused, now))?;
                // Nobody needs the artifact.
                Ok(self.told((build, true)))
            }
            other => other.map(|finished| self.told(finished)),
        }
    }

    fn release(&self, claim: &Claim) -> Result<(), Error> {
        self.change(|it| queue::release(it, claim))
    }

    fn lost(&self, is_dead: &dyn Fn(&str) -> bool, now: &Moment) -> Result<Vec<Lost>, Error> {
        self.read(|it| sweep::lost(it, is_dead, now))
    }

    fn reclaim(&self, lost: &Lost, now: &Moment) -> Result<Option<State>, Error> {
        self.change(|it| sweep::reclaim(it, lost, now))
    }

    fn expire_waiting(&self, longest: Duration, now: &Moment) -> Result<u64, Error> {
        if self.read(|it| sweep::overdue(it, longest, now))?.is_empty() {
            return Ok(0);
        }
        self.change(|it| sweep::expire_waiting(it, longest, now))
    }

    fn rows(&self, owner: &str, id: &str, after: u64, limit: u32) -> Result<Vec<LogRow>, Error> {
        self.read(|it| rows::rows(it, owner, id, after, limit))
    }

    fn projects(&self, owner: &str) -> Result<Vec<Project>, Error> {
        self.read(|it| builds::projects(it, owner))
    }

    fn add_preview(
        &self,
        owner: &str,
        preview: &Preview,
        hash: &str,
        longest: Option<Duration>,
        now: &Moment,
    ) -> Result<(), Error> {
        self.change(|it| previews::add(it, owner, (preview, hash), longest, now))
    }

    fn find_preview(&self, hash: &str, now: &Moment) -> Result<(String, String, Active), Error> {
        self.read(|it| previews::find(it, hash, now))
    }

    fn previews(&self, owner: &str, project: Option<&str>) -> Result<Vec<Preview>, Error> {
        self.read(|it| previews::list(it, owner, project))
    }

    fn revoke_preview(&self, owner: &str, id: &str, now: &Moment) -> Result<Preview, Error> {
        self.change(|it| previews::revoke(it, owner, id, now))
    }

    fn forget(&self, older_than: Duration, now: &Moment) -> Result<u64, Error> {
        self.change(|it| sweep::forget(it, older_than, now))
    }

    fn forget_project(&self, owner: &str, project: &str) -> Result<u64, Error> {
        self.change(|it| sweep::forget_project(it, owner, project)).map(|builds| self.told((builds, true)))
    }

    fn stored(&self, owner: &str) -> Result<u64, Error> {
        self.read(|it| room::stored(it, owner))
    }

    fn has_forgotten(&self) -> bool {
        self.has_forgotten.swap(false, Ordering::Relaxed)
    }

    fn snapshots(&self) -> Result<BTreeSet<String>, Error> {
        self.read(sweep::snapshots)
    }

    fn artifacts(&self) -> Result<BTreeSet<String>, Error> {
        self.read(sweep::artifacts)
    }

    fn is_idle(&self) -> Result<bool, Error> {
        self.read(queue::is_idle)
    }

    fn is_running(&self, id: &str, fence: u64) -> Result<bool, Error> {
        self.read(|it| queue::is_running(it, id, fence))
    }
}

/// A number as SQLite has it, which knows no unsigned ones.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
