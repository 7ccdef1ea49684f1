//! The store as any number of workers see it.

use super::{BOUNDS, LEASE, Shelf, later, new, plan};
use pinfold::build::{
    BuildStore, Claim, Fault, Filter, Lost, Moment, NewBuild, NewRow, QueueBounds, Report, SqliteStore, State, Stream,
};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

fn made() -> Report {
    Report { artifact: Some("artifact".to_owned()), ..Report::default() }
}

fn failed() -> Report {
    Report {
        fault: Some(Fault { code: "phase_failed".into(), message: "it failed".into(), hint: None }),
        ..Report::default()
    }
}

fn state(store: &SqliteStore, id: &str) -> State {
    store.get("a", id).unwrap().state
}

/// What a sweep finds lost when no worker is known to be dead.
fn lost(store: &SqliteStore, now: &Moment) -> Vec<Lost> {
    store.lost(&|_| false, now).unwrap()
}

fn row(text: &str) -> NewRow {
    NewRow { time_us: 1, phase: Some("build".into()), stream: Stream::Stdout, text: text.into(), truncated: false }
}

#[test]
fn of_many_workers_that_claim_each_build_has_one() {
    let shelf = Shelf::new();
    for number in 0..100 {
        shelf.put(&format!("{number}"), &format!("project {number}"));
    }
    let claimed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let (store, claimed) = (shelf.again(), &claimed);
            scope.spawn(move || {
                let worker = format!("worker {worker}");
                while let Some(claim) = store.claim(&worker, None, LEASE, &Moment::now()).unwrap() {
                    claimed.lock().unwrap().push(claim.build.id);
                }
            });
        }
    });
    let claimed = claimed.into_inner().unwrap();
    assert_eq!((claimed.len(), claimed.iter().collect::<BTreeSet<_>>().len()), (100, 100));
    assert_eq!(shelf.store.list("a", &Filter { state: Some(State::Queued), ..Filter::default() }).unwrap(), []);
}

#[test]
fn a_thousand_builds_wait_and_are_taken_in_order() {
    let shelf = Shelf::new();
    let now = Moment::now();
    for number in 0..1000 {
        shelf.store.enqueue(&new("a", &format!("{number}"), &format!("p{number}")), BOUNDS, &now).unwrap();
    }
    assert_eq!(shelf.store.list("a", &Filter { limit: 5000, ..Filter::default() }).unwrap().len(), 1000);
    // One more than may.
    let refused =
        shelf.store.enqueue(&new("a", "more", "more"), QueueBounds { waiting: 1000, stored: None }, &now).unwrap_err();
    assert_eq!(refused.code(), "queue_full");
    assert!(
        shelf.store.enqueue(&new("b", "of another", "more"), QueueBounds { waiting: 1000, stored: None }, &now).is_ok()
    );
    for number in 0..1000 {
        let claim = shelf.claim(&now).unwrap();
        assert_eq!(claim.build.id, format!("{number}"));
        shelf.store.finish(&claim, failed(), &now).unwrap();
    }
    // Page by page, nothing is left out and nothing comes twice.
    let (mut seen, mut filter) = (Vec::new(), Filter { limit: 300, ..Filter::default() });
    loop {
        let page = shelf.store.list("a", &filter).unwrap();
        let Some(last) = page.last() else { break };
        filter.before = Some(last.id.clone());
        seen.extend(page.into_iter().map(|build| build.id));
    }
    assert_eq!(seen, (0..1000).rev().map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn one_build_of_a_project_runs_at_a_time_and_others_need_not_wait() {
    let shelf = Shelf::new();
    let now = shelf.put("1", "p");
    let first = shelf.claim(&now).unwrap();
    shelf.put("2", "p");
    shelf.put("3", "q");
    assert_eq!(shelf.claim(&now).unwrap().build.id, "3");
    assert!(shelf.claim(&now).is_none());
    shelf.store.finish(&first, made(), &now).unwrap();
    assert_eq!(shelf.claim(&now).unwrap().build.id, "2");
}

#[test]
fn setting_the_clock_neither_ends_nor_revives_a_lease() {
    let shelf = Shelf::new();
    let now = shelf.put("1", "p");
    let claim = shelf.claim(&now).unwrap();
    for wall_us in [i64::MIN, 0, now.wall_us + 10_i64.pow(15), i64::MAX] {
        let jumped = |moment: &Moment| Moment { wall_us, ..moment.clone() };
        assert!(lost(&shelf.store, &jumped(&later(&now, LEASE - Duration::from_millis(1)))).is_empty(), "{wall_us}");
        assert_eq!(lost(&shelf.store, &jumped(&later(&now, LEASE))).len(), 1, "{wall_us}");
        // Nor does a build expire that has waited for a moment.
        assert_eq!(shelf.store.expire_waiting(Duration::from_secs(900), &jumped(&now)).unwrap(), 0);
    }
    shelf.store.renew(&claim, LEASE, &later(&now, Duration::from_secs(20))).unwrap();
    assert!(lost(&shelf.store, &later(&now, Duration::from_secs(49))).is_empty());
    assert_eq!(lost(&shelf.store, &later(&now, Duration::from_secs(50))).len(), 1);
    // After a reboot every lease is over, whatever the clocks say, and no process of then is spoken to.
    let rebooted = Moment { boot: "another".into(), uptime_ms: 5, ..now.clone() };
    let found = lost(&shelf.store, &rebooted);
    assert!(found.len() == 1 && found[0].running.is_none());
    // A dead worker's build needs not wait.
    assert_eq!(shelf.store.lost(&|worker| worker == "worker", &now).unwrap().len(), 1);
}

#[test]
fn who_has_lost_a_build_can_say_nothing_of_it() {
    let shelf = Shelf::new();
    let now = shelf.put("1", "p");
    let first = shelf.claim(&now).unwrap();
    shelf.store.append(&first, &[row("of the first")], false).unwrap();
    let over = later(&now, LEASE);
    let found = lost(&shelf.store, &over).remove(0);
    assert_eq!(shelf.store.reclaim(&found, &over).unwrap(), Some(State::Queued));
    assert_eq!(shelf.store.reclaim(&found, &over).unwrap(), None, "once only");
    let silenced = |claim: &Claim| {
        let store = &shelf.store;
        let codes = [
            store.renew(claim, LEASE, &over).unwrap_err().code(),
            store.orders(claim).unwrap_err().code(),
            store.append(claim, &[row("late")], false).unwrap_err().code(),
            store.finish(claim, made(), &over).unwrap_err().code(),
            store.release(claim).unwrap_err().code(),
        ];
        assert_eq!(codes, ["lease_lost"; 5]);
    };
    silenced(&first);
    let second = shelf.claim(&over).unwrap();
    assert!(second.fence > first.fence && second.build.attempt == 2);
    silenced(&first);
    shelf.store.append(&second, &[row("of the second")], false).unwrap();
    let ended = shelf.store.finish(&second, made(), &over).unwrap();
    assert_eq!((ended.state, ended.artifact.as_deref()), (State::Succeeded, Some("artifact")));
    silenced(&first);
    silenced(&second);
    let rows = shelf.store.rows("a", "1", 0, 100).unwrap();
    let told: Vec<_> = rows.iter().map(|row| (row.sequence, row.text.as_str())).collect();
    assert_eq!(told, [(1, "of the first"), (2, "of the second")]);
}

#[test]
fn a_build_whose_workers_are_lost_again_and_again_expires() {
    let shelf = Shelf::new();
    let mut now = shelf.put("1", "p");
    for (attempt, expected) in [(1, State::Queued), (2, State::Expired)] {
        assert_eq!(shelf.claim(&now).unwrap().build.attempt, attempt);
        now = later(&now, LEASE);
        let found = lost(&shelf.store, &now).remove(0);
        assert_eq!(shelf.store.reclaim(&found, &now).unwrap(), Some(expected));
    }
    let ended = shelf.store.get("a", "1").unwrap();
    assert_eq!(ended.error.unwrap().code, "worker_lost");
    assert!(ended.finished_us.is_some() && shelf.claim(&now).is_none());
}

#[test]
fn a_build_that_waits_too_long_expires_and_one_that_runs_does_not() {
    let shelf = Shelf::new();
    let now = shelf.put("runs", "p");
    shelf.claim(&now).unwrap();
    shelf.put("waits", "q");
    let longest = Duration::from_secs(900);
    assert_eq!(shelf.store.expire_waiting(longest, &later(&now, Duration::from_secs(890))).unwrap(), 0);
    assert_eq!(shelf.store.expire_waiting(longest, &later(&now, Duration::from_secs(1000))).unwrap(), 1);
    assert_eq!((state(&shelf.store, "waits"), state(&shelf.store, "runs")), (State::Expired, State::Running));
    assert_eq!(shelf.store.get("a", "waits").unwrap().error.unwrap().code, "queue_timeout");
}

#[test]
fn cancelling_counts_if_it_comes_before_the_end() {
    let shelf = Shelf::new();
    let now = shelf.put("waits", "p");
    assert_eq!(shelf.store.cancel("a", "waits", &now).unwrap().state, State::Cancelled);
    assert!(shelf.claim(&now).is_none());
    shelf.put("runs", "p");
    let claim = shelf.claim(&now).unwrap();
    assert!(!shelf.store.orders(&claim).unwrap().is_to_stop());
    let asked = shelf.store.cancel("a", "runs", &now).unwrap();
    assert!(asked.state == State::Running && asked.cancel_requested);
    assert!(shelf.store.orders(&claim).unwrap().cancel);
    assert_eq!(shelf.store.release(&claim).unwrap_err().code(), "lease_lost", "it does not go back to the queue");
    // It was about to succeed.
    let ended = shelf.store.finish(&claim, made(), &now).unwrap();
    assert_eq!((ended.state, ended.artifact), (State::Cancelled, None));
    // What has ended stays as it is, and that is no error.
    shelf.put("done", "q");
    let done = shelf.claim(&now).unwrap();
    let done = shelf.store.finish(&done, made(), &now).unwrap();
    for id in ["waits", "runs", "done"] {
        let before = shelf.store.get("a", id).unwrap();
        assert_eq!(shelf.store.cancel("a", id, &now).unwrap(), before);
    }
    assert_eq!(done.state, State::Succeeded);
    assert_eq!(shelf.store.cancel("a", "nobody's", &now).unwrap_err().code(), "not_found");
    // A worker that is lost takes a cancelled build with it.
    shelf.put("lost", "r");
    shelf.claim(&now).unwrap();
    shelf.store.cancel("a", "lost", &now).unwrap();
    let over = later(&now, LEASE);
    let found = lost(&shelf.store, &over).into_iter().find(|lost| lost.build.id == "lost").unwrap();
    assert_eq!(shelf.store.reclaim(&found, &over).unwrap(), Some(State::Cancelled));
}

#[test]
fn a_newer_snapshot_makes_older_builds_stale_and_none_of_another_project() {
    let shelf = Shelf::new();
    let now = shelf.put("runs", "p");
    let runs = shelf.claim(&now).unwrap();
    shelf.put("other", "q");
    shelf.put("waits", "p");
    shelf.put("newest", "p");
    let states = ["runs", "waits", "newest", "other"].map(|id| state(&shelf.store, id));
    assert_eq!(states, [State::Running, State::Stale, State::Queued, State::Queued]);
    assert!(shelf.store.orders(&runs).unwrap().superseded);
    // It had succeeded, but nobody wants it any more.
    let ended = shelf.store.finish(&runs, made(), &now).unwrap();
    assert_eq!((ended.state, ended.artifact), (State::Stale, None));
    assert_eq!(shelf.store.projects("a").unwrap()[0].active, None);
}

#[test]
fn what_a_project_shows_only_moves_forward_and_no_failure_takes_it_away() {
    let shelf = Shelf::new();
    let active = || shelf.store.projects("a").unwrap()[0].active.clone().map(|active| active.build);
    let now = shelf.put("1", "p");
    shelf.store.finish(&shelf.claim(&now).unwrap(), made(), &now).unwrap();
    assert_eq!(active().as_deref(), Some("1"));
    for (id, report) in [("2", failed()), ("3", Report::default())] {
        shelf.put(id, "p");
        let ended = shelf.store.finish(&shelf.claim(&now).unwrap(), report, &now).unwrap();
        assert_eq!((ended.state, ended.artifact), (State::Failed, None));
        assert_eq!(active().as_deref(), Some("1"));
    }
    shelf.put("4", "p");
    shelf.store.cancel("a", "4", &now).unwrap();
    shelf.put("5", "p");
    shelf.store.expire_waiting(Duration::ZERO, &later(&now, LEASE)).unwrap();
    assert_eq!(active().as_deref(), Some("1"));
    shelf.put("6", "p");
    shelf.store.finish(&shelf.claim(&now).unwrap(), made(), &now).unwrap();
    assert_eq!(active().as_deref(), Some("6"));
}

#[test]
fn a_retry_is_a_new_build_of_the_newest_snapshot_only() {
    let shelf = Shelf::new();
    let now = shelf.put("1", "p");
    let again = |id: &str, old: &str| {
        let retry = NewBuild { retry_of: Some(old.to_owned()), ..new("a", id, "p") };
        shelf.store.enqueue(&retry, BOUNDS, &now).map_err(|error| error.code())
    };
    assert_eq!(again("r", "1").unwrap_err(), "not_ended");
    let claim = shelf.claim(&now).unwrap();
    assert_eq!(again("r", "1").unwrap_err(), "not_ended");
    shelf.store.finish(&claim, failed(), &now).unwrap();
    let retried = again("r", "1").unwrap();
    assert_eq!((retried.sequence, retried.retry_of.as_deref(), retried.state), (1, Some("1"), State::Queued));
    assert_eq!((retried.attempt, shelf.store.get("a", "1").unwrap().attempt), (0, 1), "its attempts are its own");
    assert_eq!(state(&shelf.store, "1"), State::Failed, "the old one stays as it was");
    shelf.put("2", "p");
    assert_eq!(state(&shelf.store, "r"), State::Stale);
    assert_eq!(again("s", "1").unwrap_err(), "superseded");
    assert_eq!(again("s", "nothing").unwrap_err(), "not_found");
}

#[test]
fn what_is_given_back_waits_as_if_nobody_had_had_it() {
    let shelf = Shelf::new();
    let now = shelf.put("1", "p");
    let claim = shelf.claim(&now).unwrap();
    shelf.store.release(&claim).unwrap();
    let build = shelf.store.get("a", "1").unwrap();
    assert_eq!((build.state, build.attempt, build.started_us), (State::Queued, 0, None));
    let again = shelf.claim(&now).unwrap();
    assert!(again.fence > claim.fence && again.build.attempt == 1);
    assert_eq!(shelf.store.finish(&claim, made(), &now).unwrap_err().code(), "lease_lost");
}

#[test]
fn many_open_a_new_store_at_once_and_a_newer_one_is_refused() {
    let shelf = Shelf::new();
    let path = shelf.home.state().join("other.db");
    std::thread::scope(|scope| {
        let opened: Vec<_> = (0..8).map(|_| scope.spawn(|| SqliteStore::open(&path).unwrap())).collect();
        for (number, store) in opened.into_iter().enumerate() {
            let store = store.join().unwrap();
            store.enqueue(&new("a", &number.to_string(), &number.to_string()), BOUNDS, &Moment::now()).unwrap();
        }
    });
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.list("a", &Filter::default()).unwrap().len(), 8);
    assert_eq!(store.get("a", "3").unwrap().plan, plan());
    drop(store);
    // The version stands in the 60th to 63rd byte of a database: its file format, "user version".
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[60..64].copy_from_slice(&9u32.to_be_bytes());
    let newer = shelf.home.state().join("newer.db");
    std::fs::write(&newer, bytes).unwrap();
    assert_eq!(SqliteStore::open(&newer).unwrap_err().code(), "newer_store");
    std::fs::write(&newer, b"no database, but long enough to be looked at as one".repeat(100)).unwrap();
    assert_eq!(SqliteStore::open(&newer).unwrap_err().code(), "store");
}

#[test]
fn what_is_old_is_forgotten_but_for_what_projects_show() {
    let shelf = Shelf::new();
    let mut now = Moment::now();
    for id in ["shown", "failed"] {
        shelf.put(id, "p");
        let report = if id == "shown" { made() } else { failed() };
        shelf.store.finish(&shelf.claim(&now).unwrap(), report, &now).unwrap();
    }
    shelf.put("waits", "q");
    now = later(&now, Duration::from_secs(3600));
    assert_eq!(shelf.store.forget(Duration::from_secs(7200), &now).unwrap(), 0);
    // Nor does anything grow old when the clock is set, forward or back.
    for wall_us in [now.wall_us + 10_i64.pow(15), i64::MAX, 0, i64::MIN] {
        let jumped = Moment { wall_us, ..now.clone() };
        assert_eq!(shelf.store.forget(Duration::from_secs(7200), &jumped).unwrap(), 0, "{wall_us}");
    }
    assert_eq!(shelf.store.forget(Duration::from_secs(60), &now).unwrap(), 1);
    let left: Vec<_> = shelf.store.list("a", &Filter::default()).unwrap().into_iter().map(|build| build.id).collect();
    assert_eq!(left, ["waits", "shown"]);
    assert_eq!(shelf.store.snapshots().unwrap(), ["snapshot of shown", "snapshot of waits"].map(str::to_owned).into());
    assert_eq!(shelf.store.artifacts().unwrap(), ["artifact".to_owned()].into());
}
