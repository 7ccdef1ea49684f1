//! SIGKILL of workers at many moments, and workers that are stopped.

use super::{project, script};
use crate::sandbox::{eventually, kill};
use crate::support;
use crate::workspaces::Home;
use pinfold::Content;
use pinfold::build::{Builds, Filter, Input, InputFile, LogRow, Policy, State, Submission};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn pid(child: &std::process::Child) -> i32 {
    i32::try_from(child.id()).unwrap()
}

/// Where a build's phase runs: the process id on this host of a `sleep` of this many seconds.
pub(crate) fn sleeping(mark: &str) -> Option<i32> {
    fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let is_it = line == [b"sleep\0", mark.as_bytes(), b"\0"].concat();
        is_it.then(|| entry.file_name().to_str()?.parse().ok()).flatten()
    })
}

pub(crate) fn mark(number: u32) -> String {
    format!("{}.{number}", 200_000 + std::process::id())
}

#[test]
fn when_a_worker_is_killed_its_sandbox_dies_and_another_worker_goes_on() {
    let home = Home::new();
    let sleep = mark(1);
    let id = home.queue(&project(&home, "p", &script(&format!("echo begun; sleep {sleep}"))), &[]);
    for attempt in 1..=2 {
        let mut worker = home.worker(&["--until-idle"]);
        let begun = || home.told(&["jobs", "logs", &id]).matches("begun").count();
        eventually("the build runs", || sleeping(&sleep).is_some() && begun() == attempt);
        kill(pid(&worker), libc::SIGKILL);
        worker.wait().unwrap();
        eventually("nothing of it runs", || sleeping(&sleep).is_none());
        assert_eq!((home.state_of(&id).as_str(), begun()), ("running", attempt), "nobody has looked yet");
    }
    // Twice is enough. Nobody had to wait for the lease of 30 seconds.
    home.told(&["jobs", "work", "--until-idle"]);
    assert_eq!(home.state_of(&id), "expired");
    assert_eq!(fs::read_dir(home.state().join("builds/workspaces")).unwrap().count(), 1);
}

#[test]
fn what_a_stopped_worker_still_runs_is_ended_before_another_has_the_build() {
    let home = Home::new();
    let sleep = mark(2);
    // The first attempt hangs, the second makes something.
    let file = script(&format!("if mkdir /tmp/c/first; then sleep {sleep}; else echo made > out; fi"))
        .replace("name =", "caches = [{ name = 'c', path = '/tmp/c' }]\nname =");
    let id = home.queue(&project(&home, "p", &file), &[]);
    let mut stopped = home.worker(&["--until-idle", "--lease", "1s"]);
    // It is written down by then what runs.
    eventually("the build runs", || sleeping(&sleep).is_some() && !home.builds()[0]["sandbox"].is_null());
    stop_between_writes(pid(&stopped), &home.state());
    let other = home.worker(&["--lease", "1s"]);
    eventually("another has built it", || home.state_of(&id) == "succeeded");
    assert!(sleeping(&sleep).is_none());
    // The first wakes up, is told that it has lost the build, and changes nothing.
    kill(pid(&stopped), libc::SIGCONT);
    assert!(stopped.wait().unwrap().success());
    assert_eq!(home.state_of(&id), "succeeded");
    kill(pid(&other), libc::SIGTERM);
    assert!({ other }.wait().unwrap().success());
    assert_eq!(fs::read_dir(home.state().join("builds/workers")).unwrap().count(), 0);
}

#[test]
fn a_worker_that_ends_gives_back_what_it_does_not_finish() {
    let home = Home::new();
    let sleep = mark(3);
    let id = home.queue(&project(&home, "p", &script(&format!("sleep {sleep}"))), &[]);
    let mut worker = home.worker(&["--drain", "100ms"]);
    eventually("the build runs", || sleeping(&sleep).is_some());
    kill(pid(&worker), libc::SIGTERM);
    assert!(worker.wait().unwrap().success());
    assert!(sleeping(&sleep).is_none());
    assert_eq!(home.state_of(&id), "queued");
    assert_eq!(home.builds()[0]["attempt"], 0);
}

#[test]
fn archives_whose_unpacking_somebody_died_in_are_cleared_up() {
    let home = Home::new();
    // The worker has a store to clear up then.
    home.queue(&project(&home, "p", &script("true")), &[]);
    let unpacked = pinfold::workspace::Store::at(home.state().join("builds")).unwrap();
    for id in ["input old", "input young", "another"] {
        let files = unpacked.create(id, None).unwrap();
        let use_file = fs::File::options().write(true).open(files.parent().unwrap().join("use")).unwrap();
        let age = Duration::from_secs(if id == "input young" { 3600 } else { 100_000 });
        use_file.set_modified(std::time::SystemTime::now() - age).unwrap();
    }
    assert!({ home.worker(&["--until-idle"]) }.wait().unwrap().success());
    for (id, is_there) in [("input old", false), ("input young", true), ("another", true)] {
        assert_eq!(unpacked.path(id).is_ok(), is_there, "{id}");
    }
}

/// Stops a worker, but not while it writes: what it has locked then nobody else gets before it goes on.
pub(crate) fn stop_between_writes(pid: i32, state: &Path) {
    let store = rusqlite::Connection::open(state.join("builds/builds.db")).unwrap();
    store.busy_timeout(Duration::from_millis(500)).unwrap();
    eventually("it is stopped while it writes nothing", || {
        kill(pid, libc::SIGSTOP);
        // One of its threads has to run before the others are told, and those go on until then (signal(7)).
        eventually("all of it is stopped", || threads(pid).iter().all(|state| *state == 'T'));
        let is_free = store.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok();
        if !is_free {
            kill(pid, libc::SIGCONT);
        }
        is_free
    });
}

/// The states of a process's threads (proc_pid_stat(5)).
fn threads(pid: i32) -> Vec<char> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let stat = |task: fs::DirEntry| fs::read_to_string(task.path().join("stat")).ok();
    let state = |stat: String| stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    tasks.flatten().filter_map(stat).filter_map(state).collect()
}

/// The `pinfold.toml` of a build that holds a lock of its own while it runs, and says so in a cache where it could not.
pub(crate) fn alone(name: &str) -> String {
    let file = script(
        "exec 9> /tmp/c/$NAME; flock -n 9 || { echo TWICE AT ONCE > /tmp/c/twice; exit 9; }
        mkdir out; for i in 1 2 3 4 5; do echo line $i; head -c 50000 /dev/zero > out/$i; sleep 0.01; done; echo $NAME > out/name",
    );
    let more = format!("env = {{ NAME = '{name}' }}\ncaches = [{{ name = 'c', path = '/tmp/c' }}]\nname =");
    file.replace("name =", &more)
}

/// Hands in this many builds, each of a project of its own.
fn hand_in(builds: &Builds, count: usize) -> Vec<String> {
    let policy = Policy { attempts: 10_000, ..Policy::default() };
    let hand_in = |number: usize| {
        let content = Content(alone(&format!("n{number}")).into_bytes());
        let files = vec![InputFile { path: "pinfold.toml".try_into().unwrap(), content, executable: false }];
        let submission = Submission::new(Input::Files(files), &policy);
        builds.submit(&Builds::own_owner(), &format!("p{number}"), submission).unwrap().id
    };
    (0..count).map(hand_in).collect()
}

/// Every row that anybody has seen of any build.
fn watch(builds: &Builds, ids: &[String], is_over: &AtomicBool) -> BTreeMap<String, Vec<LogRow>> {
    let mut seen: BTreeMap<String, Vec<LogRow>> = ids.iter().map(|id| (id.clone(), Vec::new())).collect();
    while !is_over.load(Ordering::Relaxed) {
        for (id, rows) in &mut seen {
            let after = rows.last().map_or(0, |row| row.sequence);
            rows.extend(builds.rows(&Builds::own_owner(), id, after, 1000).unwrap());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    seen
}

#[test]
fn through_any_number_of_kills_no_build_is_lost_or_doubled_and_no_artifact_torn() {
    if !support::has_program("flock") {
        return;
    }
    let home = Home::new();
    let builds = Builds::at(home.state()).unwrap();
    let ids = hand_in(&builds, support::runs(100));
    let is_over = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&builds, &ids, &is_over));
        let mut random = std::process::id();
        let queued =
            || builds.list(&Builds::own_owner(), &Filter { state: Some(State::Queued), limit: 1, ..Filter::default() });
        while !queued().unwrap().is_empty() {
            // Two processes on one state directory, each of which may run two at once.
            let mut workers = [home.worker(&["--until-idle"]), home.worker(&["--until-idle"])];
            for worker in &mut workers {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                std::thread::sleep(Duration::from_millis(u64::from(random >> 16) % 700));
                kill(pid(worker), libc::SIGKILL);
                worker.wait().unwrap();
            }
        }
        home.told(&["jobs", "work", "--until-idle"]);
        // A build that ran when its worker was killed goes back to the queue; until none does.
        while ids.iter().any(|id| !builds.get(&Builds::own_owner(), id).unwrap().state.is_terminal()) {
            home.told(&["jobs", "work", "--until-idle"]);
        }
        is_over.store(true, Ordering::Relaxed);
        watching.join().unwrap()
    });
    let mut attempts = 0;
    for (number, id) in ids.iter().enumerate() {
        let build = builds.get(&Builds::own_owner(), id).unwrap();
        assert_eq!((build.state, &build.error), (State::Succeeded, &None), "{id}");
        attempts += build.attempt;
        let artifact = builds.artifact(&Builds::own_owner(), id).unwrap();
        assert_eq!(artifact.files.read("name").unwrap(), format!("n{number}\n").as_bytes());
        assert_eq!(artifact.manifest.files.len(), 6);
        for file in &artifact.manifest.files {
            assert_eq!(artifact.files.read(file.path.to_text().as_ref()).unwrap().len() as u64, file.bytes);
        }
        let rows = builds.rows(&Builds::own_owner(), id, 0, 10_000).unwrap();
        assert_eq!(rows.len() as u64, build.log_rows);
        assert!(rows.iter().enumerate().all(|(index, row)| row.sequence == index as u64 + 1), "{id}");
        // What anybody has seen once is there for ever.
        assert_eq!(seen[id], rows[..seen[id].len()], "{id}");
    }
    assert!(attempts > ids.len() as u32, "no kill met a build that ran");
    let caches = home.state().join("builds/caches");
    let caches: Vec<_> = fs::read_dir(caches).unwrap().flatten().collect();
    assert!(caches.len() == 1 && !caches[0].path().join("twice").exists());
    assert!(caches[0].path().join("n0").exists(), "the lock is where it is looked for");
    // The dead left nothing that stays.
    builds.clear(Duration::from_secs(3600)).unwrap();
    let count = |name: &str| fs::read_dir(home.state().join("builds").join(name)).unwrap().count();
    assert_eq!([count("artifacts"), count("limbo"), count("workers")], [ids.len(), 0, 0]);
}
