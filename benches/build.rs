//! How many builds a second go through the durable queue, beside the same job run by the bare library: `cargo bench --bench
//! build`.
//!
//! The job writes an empty file. A build of it is more than the job: its snapshot, its workspace, its log and its artifact are on
//! disk when they are told of. So the store is measured by itself, too. What a machine's disk takes to flush is the most of it:
//! that is measured first.
#![allow(clippy::unwrap_used, reason = "a benchmark that can't run has nothing to say")]

use pinfold::build::{
    BuildStore, Builds, Input, InputFile, Moment, NewBuild, Plan, Policy, ProjectFile, QueueBounds, Report,
    SqliteStore, State, Submission, Worker, WorkerSettings,
};
use pinfold::{Content, Pinfold, Status};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const COUNT: usize = if cfg!(debug_assertions) { 20 } else { 200 };
const AT_ONCE: [usize; 3] = [1, 2, 4];
const SCRIPT: &str = ": > out";
const OWNER: &str = "bench";

/// A state directory, gone at the end.
struct Home(PathBuf);

impl Drop for Home {
    fn drop(&mut self) {
        let _nothing_to_be_done = fs::remove_dir_all(&self.0);
    }
}

fn main() {
    let pinfold = Path::new(env!("CARGO_BIN_EXE_pinfold"));
    assert!(pinfold.with_file_name("pinfold-runner").exists(), "build it first: cargo build --release --workspace");
    // In the build's directory, which is on a disk; /tmp may be in memory, where nothing is ever flushed.
    let home = Home(pinfold.with_file_name(format!("bench-{}", std::process::id())));
    fs::create_dir(&home.0).unwrap();
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("{COUNT} of each, `{SCRIPT}`, load average {}", load());
    row("flushes of the disk", None, flushes(&home.0));
    row("the store alone: in, claimed, ended", None, store(&home.0));
    for at_once in AT_ONCE {
        row("the bare library", Some(at_once), bare(&tokio, at_once));
        let (handed_in, built) = queue(&tokio, &home.0.join(at_once.to_string()), at_once);
        row("builds, handed in", None, handed_in);
        row("builds, from the queue to their end", Some(at_once), built);
    }
}

fn row(what: &str, at_once: Option<usize>, took: Duration) {
    let at_once = at_once.map(|count| format!("{count} at once")).unwrap_or_default();
    let each = took.as_secs_f64() / COUNT as f64;
    println!("  {what:<38} {at_once:<10} {:>9.1} a second {:>9.3} ms each", 1.0 / each, each * 1e3);
}

/// What an acknowledged step costs at least.
fn flushes(directory: &Path) -> Duration {
    let mut file = fs::File::create(directory.join("flushed")).unwrap();
    let start = Instant::now();
    for _ in 0..COUNT {
        file.write_all(&[0; 4096]).unwrap();
        file.sync_data().unwrap();
    }
    start.elapsed()
}

/// The queue without anything that is done: three steps, each on disk before the next.
fn store(directory: &Path) -> Duration {
    let store = SqliteStore::open(&directory.join("alone.db")).unwrap();
    let file = ProjectFile::parse(project_file().as_bytes()).unwrap();
    let plan = Plan::new(&file, &BTreeSet::new(), &Policy::default()).unwrap();
    let start = Instant::now();
    for number in 0..COUNT {
        let new = NewBuild {
            id: format!("{number:032x}"),
            owner: OWNER.to_owned(),
            project: format!("p{number}"),
            snapshot: String::new(),
            snapshot_bytes: 0,
            plan: plan.clone(),
            retry_of: None,
            attempts: 2,
        };
        store.enqueue(&new, QueueBounds { waiting: u64::MAX, stored: None }, &Moment::now()).unwrap();
        let claim = store.claim("worker", None, Duration::from_secs(30), &Moment::now()).unwrap().unwrap();
        store
            .finish(&claim, Report { artifact: Some("made".to_owned()), ..Report::default() }, &Moment::now())
            .unwrap();
    }
    start.elapsed()
}

/// The same job, with nothing around it.
fn bare(tokio: &Runtime, at_once: usize) -> Duration {
    let pinfold = Pinfold::builder().max_sandboxes(at_once).build().unwrap();
    let run = |pinfold: Pinfold| async move {
        let job = pinfold::job(["sh", "-c", SCRIPT]).build().unwrap();
        let outcome = pinfold.run(job).await.unwrap();
        assert_eq!((outcome.status, outcome.exit_code), (Status::Exited, Some(0)), "{outcome:?}");
    };
    let start = Instant::now();
    tokio.block_on(async {
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..COUNT {
            all.spawn(run(pinfold.clone()));
        }
        while let Some(ran) = all.join_next().await {
            ran.unwrap();
        }
    });
    start.elapsed()
}

/// Builds of as many projects: until all are in the queue, and from then until all have ended.
fn queue(tokio: &Runtime, state: &Path, at_once: usize) -> (Duration, Duration) {
    let (builds, policy) = (Builds::at(state).unwrap(), Policy::default());
    let start = Instant::now();
    let hand_in = |number: usize| {
        let content = Content(project_file().into_bytes());
        let files = vec![InputFile { path: "pinfold.toml".try_into().unwrap(), content, executable: false }];
        let submission = Submission::new(Input::Files(files), &policy);
        builds.submit(OWNER, &format!("p{number}"), submission).unwrap().id
    };
    let ids: Vec<_> = (0..COUNT).map(hand_in).collect();
    let handed_in = start.elapsed();
    let pinfold = Pinfold::builder().max_sandboxes(at_once).build().unwrap();
    let mut settings = WorkerSettings::default();
    settings.at_once = at_once;
    let start = Instant::now();
    tokio.block_on(async {
        Worker::new(builds.clone(), pinfold, settings).unwrap().run_until_idle().await.unwrap();
    });
    let built = start.elapsed();
    for id in ids {
        let build = builds.get(OWNER, &id).unwrap();
        assert_eq!(build.state, State::Succeeded, "{:?}", build.error);
    }
    (handed_in, built)
}

fn project_file() -> String {
    format!("artifact = 'out'\n[[phase]]\nname = 'build'\nrun = '{SCRIPT}'\n")
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
