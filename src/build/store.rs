//! What a store of builds promises. Builds and all that belongs to them are kept by it; files are not: where those are is
//! the state directory's business. Every transition is one compare-and-set, and what a call has acknowledged survives a crash.

use super::clock::Moment;
use super::error::{Error, Fault};
use super::plan::Plan;
use super::record::{Active, Build, Filter, LogRow, NewRow, PhaseResult, Preview, Project};
use super::state::{Orders, Report, State};
use crate::held::Process;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// A build to be.
#[derive(Clone, Debug)]
pub struct NewBuild {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub owner: String,
    /// The project.
    pub project: String,
    /// Its snapshot.
    pub snapshot: String,
    /// The snapshot's bytes.
    pub snapshot_bytes: u64,
    /// What is to be done.
    pub plan: Plan,
    /// The build that this is a retry of, whose snapshot's number it takes.
    pub retry_of: Option<String>,
    /// How often workers may try.
    pub attempts: u32,
}

/// A build that a worker has, until its lease ends or somebody else has it.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The build as it was when it was claimed.
    pub build: Build,
    /// Whose it is: greater with every claim, so that what a former worker says is told from what this one does.
    pub fence: u64,
}

/// A sandbox of a running build, to find it again when its worker is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The phase.
    pub phase: String,
    /// The sandbox's name.
    pub sandbox: String,
    /// Its runner.
    pub runner: Process,
}

/// A build whose lease has ended, or whose worker is known to be dead.
#[derive(Clone, Debug)]
pub struct Lost {
    /// The build.
    pub build: Build,
    /// As it was claimed.
    pub fence: u64,
    /// The sandbox that may still run, if this boot of the machine started one.
    pub running: Option<Running>,
}

/// Bounds of a queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueBounds {
    /// How many builds of one owner may wait.
    pub waiting: u64,
    /// How many bytes all builds of one owner may hold: snapshots, artifacts, logs. Where there is a bound, the oldest that
    /// have ended are forgotten to make room, but for those that projects show.
    pub stored: Option<u64>,
}

/// A store of builds. Any number of threads and processes may use one at a time. Calls block.
pub trait BuildStore: Send + Sync + fmt::Debug {
    /// Takes a build into the queue. Older ones of its project become stale: at once where they wait; one that runs is
    /// told so.
    ///
    /// # Errors
    /// [`Error::QueueFull`], [`Error::StoreFull`]; of a retry [`Error::NotFound`], [`Error::NotEnded`], [`Error::Superseded`].
    fn enqueue(&self, new: &NewBuild, bounds: QueueBounds, now: &Moment) -> Result<Build, Error>;

    /// One build.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    fn get(&self, owner: &str, id: &str) -> Result<Build, Error>;

    /// Builds, the newest first.
    ///
    /// # Errors
    /// When it can't be read.
    fn list(&self, owner: &str, filter: &Filter) -> Result<Vec<Build>, Error>;

    /// Cancels a build: at once if it waits; if it runs, its worker is told. Of one that has ended nothing changes.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    fn cancel(&self, owner: &str, id: &str, now: &Moment) -> Result<Build, Error>;

    /// Takes the oldest build that waits, of a project of which none runs; or this one, if it is one of those.
    ///
    /// # Errors
    /// When it can't be read.
    fn claim(&self, worker: &str, only: Option<&str>, lease: Duration, now: &Moment) -> Result<Option<Claim>, Error>;

    /// Renews the lease.
    ///
    /// # Errors
    /// [`Error::LeaseLost`].
    fn renew(&self, claim: &Claim, lease: Duration, now: &Moment) -> Result<Orders, Error>;

    /// What the worker is to know.
    ///
    /// # Errors
    /// [`Error::LeaseLost`].
    fn orders(&self, claim: &Claim) -> Result<Orders, Error>;

    /// Writes down which sandbox runs, before anything else is done with it.
    ///
    /// # Errors
    /// [`Error::LeaseLost`].
    fn note_running(&self, claim: &Claim, running: &Running) -> Result<(), Error>;

    /// Writes down how a phase ended.
    ///
    /// # Errors
    /// [`Error::LeaseLost`].
    fn note_phase(&self, claim: &Claim, phase: &PhaseResult) -> Result<(), Error>;

    /// Adds rows to the log.
    ///
    /// # Errors
    /// [`Error::LeaseLost`].
    fn append(&self, claim: &Claim, rows: &[NewRow], is_cut: bool) -> Result<(), Error>;

    /// Ends the build, as [`ending`](super::state::ending) says, and makes it what its project shows if it is to be; all at
    /// once. Where its artifact has no room it fails for that.
    ///
    /// # Errors
    /// [`Error::LeaseLost`].
    fn finish(&self, claim: &Claim, report: Report, now: &Moment) -> Result<Build, Error>;

    /// Gives the build back to the queue, as if it had not been claimed.
    ///
    /// # Errors
    /// [`Error::LeaseLost`].
    fn release(&self, claim: &Claim) -> Result<(), Error>;

    /// Builds that run and whose lease has ended, or whose worker is one for which `is_dead` holds.
    ///
    /// # Errors
    /// When it can't be read.
    fn lost(&self, is_dead: &dyn Fn(&str) -> bool, now: &Moment) -> Result<Vec<Lost>, Error>;

    /// Takes a lost build from its worker, whose sandbox is known to run no more, and tells what became of it; nothing if
    /// it is no longer as it was.
    ///
    /// # Errors
    /// When it can't be written.
    fn reclaim(&self, lost: &Lost, now: &Moment) -> Result<Option<State>, Error>;

    /// Lets builds expire that have waited for longer than this, and says how many.
    ///
    /// # Errors
    /// When it can't be written.
    fn expire_waiting(&self, longest: Duration, now: &Moment) -> Result<u64, Error>;

    /// Rows of a log after this one.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    fn rows(&self, owner: &str, id: &str, after: u64, limit: u32) -> Result<Vec<LogRow>, Error>;

    /// The projects of an owner, by name.
    ///
    /// # Errors
    /// When it can't be read.
    fn projects(&self, owner: &str) -> Result<Vec<Project>, Error>;

    /// Keeps a new preview, whose secret has this hash.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such project or build; [`Error::Invalid`] when the build has no artifact.
    fn add_preview(
        &self,
        owner: &str,
        preview: &Preview,
        hash: &str,
        longest: Option<Duration>,
        now: &Moment,
    ) -> Result<(), Error>;

    /// What the preview of this hash shows now: its owner and project, and the build and artifact.
    ///
    /// # Errors
    /// [`Error::NotFound`], also when nothing of the project can be shown yet; [`Error::Gone`].
    fn find_preview(&self, hash: &str, now: &Moment) -> Result<(String, String, Active), Error>;

    /// The previews of an owner, of a project if one is named, the newest first.
    ///
    /// # Errors
    /// When it can't be read.
    fn previews(&self, owner: &str, project: Option<&str>) -> Result<Vec<Preview>, Error>;

    /// Ends a preview for ever. One that has ended stays so.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    fn revoke_preview(&self, owner: &str, id: &str, now: &Moment) -> Result<Preview, Error>;

    /// Forgets builds that ended longer ago than this, with their logs, but for those that projects show; and previews
    /// that ended. Says how many builds.
    ///
    /// # Errors
    /// When it can't be written.
    fn forget(&self, older_than: Duration, now: &Moment) -> Result<u64, Error>;

    /// Forgets a project with all its builds and previews, and says how many builds.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotEnded`] while one of them waits or runs.
    fn forget_project(&self, owner: &str, project: &str) -> Result<u64, Error>;

    /// How many bytes an owner's builds hold: snapshots and artifacts once each, and logs.
    ///
    /// # Errors
    /// When it can't be read.
    fn stored(&self, owner: &str) -> Result<u64, Error>;

    /// Whether this store has, since it was asked last, forgotten what files may lie there for.
    fn has_forgotten(&self) -> bool;

    /// The snapshots that are needed still.
    ///
    /// # Errors
    /// When it can't be read.
    fn snapshots(&self) -> Result<BTreeSet<String>, Error>;

    /// The artifacts that are needed still: what projects show, and of every build that is remembered.
    ///
    /// # Errors
    /// When it can't be read.
    fn artifacts(&self) -> Result<BTreeSet<String>, Error>;

    /// Whether no build of anybody waits.
    ///
    /// # Errors
    /// When it can't be read.
    fn is_idle(&self) -> Result<bool, Error>;

    /// Whether this build of this fence still runs, whoever's it is: what lies in the state directory for it is in use.
    ///
    /// # Errors
    /// When it can't be read.
    fn is_running(&self, id: &str, fence: u64) -> Result<bool, Error>;
}

/// What was said of a build that could not begin.
pub(crate) fn expired() -> Fault {
    Fault::new("queue_timeout", "it waited too long for a worker")
}
