//! Builds: a project's snapshot comes in, is built in sandboxes, its log can be followed while it grows, and what it made is
//! published whole or not at all. None of it is lost or done twice when a process dies.
//!
//! [`Builds`] takes builds in and tells of them; a [`Worker`] runs them. Both may be in one process or in many: they meet in
//! a store, [`SqliteStore`] by default, below the state directory.
//!
//! ```no_run
//! # async fn example(pinfold: pinfold::Pinfold) -> Result<(), Box<dyn std::error::Error>> {
//! use pinfold::build::{Builds, Input, Policy, State, Submission, Worker, WorkerSettings};
//! use std::time::Duration;
//!
//! let builds = Builds::at("/var/lib/pinfold")?;
//! let policy = Policy::default();
//! let build = builds.submit("alice", "site", Submission::new(Input::Directory("/srv/site".into()), &policy))?;
//! let worker = Worker::new(builds.clone(), pinfold, WorkerSettings::default())?;
//! worker.run_until_idle().await?;
//! assert_eq!(builds.get("alice", &build.id)?.state, State::Succeeded);
//! for row in builds.rows("alice", &build.id, 0, 1000)? {
//!     println!("{}", row.text);
//! }
//! let artifact = builds.artifact("alice", &build.id)?;
//! println!("{} files", artifact.manifest.files.len());
//! # Ok(())
//! # }
//! ```
//!
//! # What holds, whatever happens
//!
//! - A build that was handed in is on disk. One worker has it at a time, by a lease with a fence: what a worker says whose
//!   lease has ended counts for nothing, and what it made is garbage.
//! - A build ends once. Cancelling counts more than succeeding, if it came before.
//! - Success means that every phase ended with 0 and that the artifact is there. It is never seen half.
//! - What a project shows changes only to a build that succeeded and is not older. No failure takes it away.
//! - Builds, projects, previews and caches of one owner are out of reach for every other.

mod artifact;
mod attempt;
mod builds;
mod clock;
mod detect;
mod error;
mod guard;
mod limits;
mod lines;
mod log;
mod phase;
mod place;
mod plan;
mod previews;
mod project;
mod record;
mod runner;
mod snapshot;
mod sqlite;
mod state;
mod store;
mod toolchains;
mod worker;

pub use self::artifact::{Artifact, Manifest};
pub use self::builds::{Again, Batch, Builds, Cleared, Submission};
pub use self::clock::Moment;
pub use self::error::{Error, Fault};
pub use self::limits::{PhaseLimits, Quantity};
pub use self::plan::{PhasePlan, Plan, PlanBounds, Policy};
pub use self::previews::Shown;
pub use self::project::{CacheUse, PROJECT_FILE, Phase, PhaseNetwork, ProjectFile, Run};
pub use self::record::{Active, Build, Filter, LogRow, NewRow, PhaseResult, Preview, Project, Stream};
pub use self::snapshot::{Input, InputFile, SnapshotBounds};
pub use self::sqlite::SqliteStore;
pub use self::state::{Ending, Orders, Report, State, after_loss, becomes_active, ending};
pub use self::store::{BuildStore, Claim, Lost, NewBuild, QueueBounds, Running};
pub use self::worker::{Worker, WorkerSettings};
