//! The front door: handing builds in, looking at them, and what they made. What runs them is a [`Worker`](super::Worker).

use super::artifact::{self, Artifact};
use super::clock::Moment;
use super::error::{Doing, Error};
use super::place::Place;
use super::plan::{Plan, Policy};
use super::project::check_name;
use super::record::{Build, Filter, LogRow, Project};
use super::snapshot::{self, Input, SnapshotBounds};
use super::sqlite::SqliteStore;
use super::store::{BuildStore, NewBuild, QueueBounds};
use crate::workspace::fresh_name;
use crate::workspace::lock::Lock;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// How often somebody who waits for rows of a log looks for those that other processes wrote.
const LOOK: Duration = Duration::from_millis(100);

/// How many rows are read at once.
const ROWS: u32 = 1000;

/// All builds of one state directory. Clones are cheap and are the same. Any number of processes may be at work on it.
///
/// Calls block for as long as the disk takes, but for those that are `async`: in an async program, make them where blocking
/// is allowed. Every call names the owner for whom it is made, and meets nothing of other owners.
#[derive(Clone, Debug)]
pub struct Builds {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    place: Place,
    store: Arc<dyn BuildStore>,
    /// Told when this process has changed something.
    changed: Notify,
    /// Whether files may lie there that nobody needs, since builds were forgotten to make room.
    untidy: AtomicBool,
}

/// A build that is handed in.
pub struct Submission<'a> {
    /// What is to be built.
    pub input: Input<'a>,
    /// What is granted.
    pub policy: Policy,
    /// How much the input may have.
    pub bounds: SnapshotBounds,
    /// How many builds of one owner may wait; 10,000.
    pub waiting: u64,
    /// How many bytes all builds of one owner may hold; no bound. See [`QueueBounds::stored`].
    pub stored: Option<u64>,
}

impl<'a> Submission<'a> {
    /// How many builds of one owner may wait where nobody says.
    pub const WAITING: u64 = 10_000;

    /// With the usual bounds.
    pub fn new(input: Input<'a>, policy: &Policy) -> Self {
        Self { input, policy: policy.clone(), bounds: SnapshotBounds::default(), waiting: Self::WAITING, stored: None }
    }
}

/// How a build is done again.
#[derive(Clone, Copy, Debug)]
pub struct Again {
    /// How often workers may try; none is as often as before.
    pub attempts: Option<u32>,
    /// As of [`Submission::waiting`].
    pub waiting: u64,
    /// As of [`Submission::stored`].
    pub stored: Option<u64>,
}

impl Default for Again {
    fn default() -> Self {
        Self { attempts: None, waiting: Submission::WAITING, stored: None }
    }
}

/// New rows of a log, and the build as it is after them.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The rows.
    pub rows: Vec<LogRow>,
    /// The build.
    pub build: Build,
    /// Whether no more rows will come: the build has ended, and these are the last.
    pub is_end: bool,
}

/// What was cleared up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Cleared {
    /// Builds that are forgotten.
    pub builds: u64,
    /// Snapshots removed.
    pub snapshots: u64,
    /// Artifacts removed.
    pub artifacts: u64,
}

impl Builds {
    /// Opens the builds of a state directory, which must belong to this user alone or be absent.
    ///
    /// # Errors
    /// When it can't be opened, or was written by a newer version.
    pub fn at(state: impl AsRef<Path>) -> Result<Self, Error> {
        let place = Place::open(state.as_ref())?;
        let store = Arc::new(SqliteStore::open(&place.database())?);
        Ok(Self::of(place, store))
    }

    /// The same with a store of the caller's. Files are in the state directory all the same.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn with_store(state: impl AsRef<Path>, store: Arc<dyn BuildStore>) -> Result<Self, Error> {
        Ok(Self::of(Place::open(state.as_ref())?, store))
    }

    fn of(place: Place, store: Arc<dyn BuildStore>) -> Self {
        let (changed, untidy) = (Notify::new(), AtomicBool::new(false));
        Self { shared: Arc::new(Shared { place, store, changed, untidy }) }
    }

    /// The owner of what somebody builds on this host for himself, as the command line does: `uid-1000`.
    pub fn own_owner() -> String {
        format!("uid-{}", rustix::process::geteuid().as_raw())
    }

    pub(crate) fn store(&self) -> &dyn BuildStore {
        &*self.shared.store
    }

    pub(crate) fn place(&self) -> &Place {
        &self.shared.place
    }

    /// Tells those who wait in this process that something has changed.
    pub(crate) fn wake(&self) {
        self.shared.changed.notify_waiters();
    }

    /// Waits until something has changed in this process, and not for longer than this.
    pub(crate) async fn changed_within(&self, longest: Duration) {
        tokio::select! {
            () = self.shared.changed.notified() => {}
            () = tokio::time::sleep(longest) => {}
        }
    }

    /// Does what blocks where that holds nobody up.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let this = self.clone();
        match tokio::task::spawn_blocking(move || work(&this)).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_cancelled) => Err(Error::Busy("the tokio runtime was shut down")),
            },
        }
    }

    /// Hands a build in: takes a snapshot of the input, grants what its project asks for, and queues it. When this returns,
    /// it is on disk. Older builds of the project are stale from then on.
    ///
    /// # Errors
    /// [`Error::ProjectFile`], [`Error::Denied`], [`Error::TooBig`], [`Error::QueueFull`], [`Error::Invalid`].
    pub fn submit(&self, owner: &str, project: &str, submission: Submission<'_>) -> Result<Build, Error> {
        for (what, name) in [("project", project), ("owner", owner)] {
            check_name(what, name).map_err(|reason| Error::invalid(format!("the {what}"), reason))?;
        }
        let snapshot = snapshot::take(self.place(), submission.input, submission.bounds)?;
        let plan = Plan::new(&snapshot.file, &snapshot.names, &submission.policy)?;
        let new = NewBuild {
            id: fresh_id()?,
            owner: owner.to_owned(),
            project: project.to_owned(),
            snapshot: snapshot.id.clone(),
            snapshot_bytes: snapshot.bytes,
            plan,
            retry_of: None,
            attempts: submission.policy.attempts.max(1),
        };
        let kept = self.place().keep()?;
        snapshot.place(self.place())?;
        self.enqueue(kept, &new, QueueBounds { waiting: submission.waiting, stored: submission.stored })
    }

    /// Builds the same again: a new build of the same snapshot by the same plan, which names the old one and none of whose
    /// attempts is used up.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotEnded`]; [`Error::Superseded`]; [`Error::QueueFull`]; [`Error::StoreFull`].
    pub fn retry(&self, owner: &str, id: &str, again: Again) -> Result<Build, Error> {
        let kept = self.place().keep()?;
        let old = self.get(owner, id)?;
        let archive = snapshot::open(self.place(), &old.snapshot)?;
        let new = NewBuild {
            id: fresh_id()?,
            owner: old.owner,
            project: old.project,
            snapshot: old.snapshot,
            snapshot_bytes: archive.metadata().doing(|| "look at a snapshot".to_owned())?.len(),
            plan: old.plan,
            retry_of: Some(old.id),
            attempts: again.attempts.unwrap_or(old.attempts).max(1),
        };
        self.enqueue(kept, &new, QueueBounds { waiting: again.waiting, stored: again.stored })
    }

    /// `kept` keeps others from clearing up what the build needs, until it is written down.
    fn enqueue(&self, kept: Lock, new: &NewBuild, bounds: QueueBounds) -> Result<Build, Error> {
        let queued = self.store().enqueue(new, bounds, &Moment::now());
        drop(kept);
        if matches!(queued, Err(Error::StoreFull { .. })) {
            self.shared.untidy.store(true, Ordering::Relaxed);
        }
        // What can't be removed now is, when somebody comes by here or a worker looks.
        let _next_time = self.tidy();
        self.wake();
        queued
    }

    /// One build.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn get(&self, owner: &str, id: &str) -> Result<Build, Error> {
        self.store().get(owner, id)
    }

    /// Builds, the newest first.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn list(&self, owner: &str, filter: &Filter) -> Result<Vec<Build>, Error> {
        self.store().list(owner, filter)
    }

    /// Cancels a build: at once if it waits; if it runs, all that runs of it is killed within a moment. Of one that has ended
    /// nothing changes. Tells the build as it is then.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn cancel(&self, owner: &str, id: &str) -> Result<Build, Error> {
        let build = self.store().cancel(owner, id, &Moment::now())?;
        self.wake();
        Ok(build)
    }

    /// The rows of a log that come after this one, at most so many; 0 is before the first. They may be read again and again.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn rows(&self, owner: &str, id: &str, after: u64, limit: u32) -> Result<Vec<LogRow>, Error> {
        self.store().rows(owner, id, after, limit)
    }

    /// Waits for rows after this one, or for the build's end, or for a change of its state or phase from `seen`, and not for
    /// longer than `longest`. Whoever asks again with the last row that he got loses none and gets none twice.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn next_rows(
        &self,
        owner: &str,
        id: &str,
        after: u64,
        seen: Option<&Build>,
        longest: Duration,
    ) -> Result<Batch, Error> {
        let deadline = tokio::time::Instant::now() + longest;
        loop {
            let (owner, id) = (owner.to_owned(), id.to_owned());
            // The build first: rows that were written before its end are read after it.
            let batch = self.blocking(move |builds| {
                let build = builds.get(&owner, &id)?;
                let rows = builds.rows(&owner, &id, after, ROWS)?;
                let is_end = build.state.is_terminal() && after + rows.len() as u64 >= build.log_rows;
                Ok(Batch { rows, build, is_end })
            });
            let batch = batch.await?;
            let build = &batch.build;
            let is_news = seen.is_some_and(|seen| (seen.state, &seen.phase) != (build.state, &build.phase));
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            if batch.is_end || is_news || !batch.rows.is_empty() || left.is_zero() {
                return Ok(batch);
            }
            self.changed_within(LOOK.min(left)).await;
        }
    }

    /// The projects of an owner, and what each shows.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn projects(&self, owner: &str) -> Result<Vec<Project>, Error> {
        self.store().projects(owner)
    }

    /// Forgets a project: its builds with their logs and artifacts, what it shows, and its previews. Says how many builds.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotEnded`] while a build of it waits or runs.
    pub fn forget_project(&self, owner: &str, project: &str) -> Result<u64, Error> {
        let builds = self.store().forget_project(owner, project)?;
        let _next_time = self.tidy();
        Ok(builds)
    }

    /// How many bytes an owner's builds hold: snapshots and artifacts once each, and logs.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn stored(&self, owner: &str) -> Result<u64, Error> {
        self.store().stored(owner)
    }

    /// What a build made.
    ///
    /// # Errors
    /// [`Error::NotFound`], also when it has not succeeded.
    pub fn artifact(&self, owner: &str, build: &str) -> Result<Artifact, Error> {
        let build = self.get(owner, build)?;
        let id = build.artifact.ok_or_else(|| Error::not_found("artifact", &build.id))?;
        artifact::open(self.place(), &id)
    }

    /// How many workers live, in all processes.
    pub fn workers(&self) -> usize {
        self.place().workers().len()
    }

    /// Forgets builds of all owners that ended longer ago than this, but for those that projects show, and removes the files
    /// that nobody needs any more.
    ///
    /// # Errors
    /// [`Error::Busy`] when somebody hands in a build in this moment, or publishes what one made.
    pub fn clear(&self, older_than: Duration) -> Result<Cleared, Error> {
        let _alone = self.place().clear()?;
        let builds = self.store().forget(older_than, &Moment::now())?;
        let cleared = Cleared { builds, ..self.remove_unneeded()? };
        self.place().limbo()?.sweep();
        self.place().sweep_workers();
        Ok(cleared)
    }

    /// Removes the files of no build. Nobody else puts any there meanwhile.
    fn remove_unneeded(&self) -> Result<Cleared, Error> {
        let (snapshots, artifacts) = (self.store().snapshots()?, self.store().artifacts()?);
        let place = self.place();
        Ok(Cleared {
            builds: 0,
            snapshots: place.remove_others(&place.snapshots, |name| snapshots.contains(name))?,
            artifacts: place.remove_others(&place.artifacts, |name| artifacts.contains(name))?,
        })
    }

    /// Removes the files of builds that were forgotten to make room, if some were.
    ///
    /// # Errors
    /// As of [`clear`](Self::clear). Then the next call does it.
    pub(crate) fn tidy(&self) -> Result<(), Error> {
        let untidy = &self.shared.untidy;
        untidy.fetch_or(self.store().has_forgotten(), Ordering::Relaxed);
        if !untidy.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let removed = self.place().clear().and_then(|_alone| self.remove_unneeded());
        untidy.fetch_or(removed.is_err(), Ordering::Relaxed);
        removed.map(drop)
    }
}

/// 128 random bits.
pub(crate) fn fresh_id() -> Result<String, Error> {
    fresh_name().doing(|| "make up a name".to_owned())
}
