//! Builds: a queue that loses nothing and does nothing twice, what a build may do, and what it leaves.

pub(crate) mod crash; // SIGKILL of workers, stopped workers
mod granted; // time, size, networks and caches
mod owners; // nothing of one owner's is in reach of another
mod previews; // what a project shows, and the secrets by which it can be seen
pub(crate) mod projects; // real projects from an empty checkout
mod queue; // the store: claims, leases, clocks, ends
mod room; // what an owner's builds may hold
mod run; // what a build does, through the command line
mod snapshots; // what comes in

use crate::support::finish;
use crate::workspaces::Home;
use pinfold::build::{BuildStore, Claim, Moment, NewBuild, Plan, Policy, ProjectFile, QueueBounds, SqliteStore};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(30);
const BOUNDS: QueueBounds = QueueBounds { waiting: 1_000_000, stored: None };

/// A store of one test's own.
struct Shelf {
    home: Home,
    store: SqliteStore,
}

impl Shelf {
    fn new() -> Self {
        let home = Home::new();
        fs::create_dir(home.state()).unwrap();
        let store = SqliteStore::open(&home.state().join("builds.db")).unwrap();
        Self { home, store }
    }

    /// Another connection, as another process has it.
    fn again(&self) -> SqliteStore {
        SqliteStore::open(&self.home.state().join("builds.db")).unwrap()
    }

    fn put(&self, id: &str, project: &str) -> Moment {
        let now = Moment::now();
        self.store.enqueue(&new("a", id, project), BOUNDS, &now).unwrap();
        now
    }

    fn claim(&self, now: &Moment) -> Option<Claim> {
        self.store.claim("worker", None, LEASE, now).unwrap()
    }
}

fn plan() -> Plan {
    let file = ProjectFile::parse(b"artifact = 'out'\n[[phase]]\nname = 'build'\nrun = 'true'").unwrap();
    Plan::new(&file, &BTreeSet::new(), &Policy::default()).unwrap()
}

fn new(owner: &str, id: &str, project: &str) -> NewBuild {
    NewBuild {
        id: id.to_owned(),
        owner: owner.to_owned(),
        project: project.to_owned(),
        snapshot: format!("snapshot of {id}"),
        snapshot_bytes: 0,
        plan: plan(),
        retry_of: None,
        attempts: 2,
    }
}

/// So much later by the monotonic clock, and by the wall clock as well.
fn later(moment: &Moment, by: Duration) -> Moment {
    let (us, ms) = (i64::try_from(by.as_micros()).unwrap(), i64::try_from(by.as_millis()).unwrap());
    Moment { wall_us: moment.wall_us + us, uptime_ms: moment.uptime_ms + ms, boot: moment.boot.clone() }
}

/// A project's directory, with this `pinfold.toml`.
fn project(home: &Home, name: &str, file: &str) -> PathBuf {
    let directory = PathBuf::from(home.scratch.dir(name));
    fs::write(directory.join("pinfold.toml"), file).unwrap();
    directory
}

/// One phase that runs this script, and an artifact `out`.
fn script(script: &str) -> String {
    format!("artifact = 'out'\n[[phase]]\nname = 'build'\nrun = '''\n{script}\n'''\n")
}

impl Home {
    /// Builds a directory: exit code, stdout, stderr.
    fn build(&self, directory: &std::path::Path, more: &[&str]) -> (i32, String, String) {
        let directory = directory.to_str().unwrap();
        finish(self.pinfold(&[&["build", directory], more].concat()).spawn().unwrap())
    }

    /// `pinfold ARGS`, which must succeed: its stdout.
    fn told(&self, args: &[&str]) -> String {
        let (code, stdout, stderr) = finish(self.pinfold(args).spawn().unwrap());
        assert_eq!(code, 0, "{args:?}: {stdout}{stderr}");
        stdout
    }

    /// All builds, the newest first.
    fn builds(&self) -> Vec<Value> {
        serde_json::from_str(&self.told(&["jobs", "list", "--limit", "1000", "--json"])).unwrap()
    }

    /// Queues a build of a directory, and tells its id.
    fn queue(&self, directory: &std::path::Path, more: &[&str]) -> String {
        let directory = directory.to_str().unwrap();
        self.told(&[&["build", directory, "--detach"], more].concat()).trim().to_owned()
    }

    fn state_of(&self, id: &str) -> String {
        let build: Value = serde_json::from_str(&self.told(&["jobs", "show", id, "--json"])).unwrap();
        build["state"].as_str().unwrap().to_owned()
    }

    fn worker(&self, more: &[&str]) -> std::process::Child {
        let mut command = self.pinfold(&[&["jobs", "work"], more].concat());
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }
}
