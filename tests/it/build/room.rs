//! What an owner's builds may hold: the oldest make room, what projects show never does, and what has no room is refused.

use super::{Shelf, new};
use pinfold::build::{Build, BuildStore, Error, NewBuild, NewRow, QueueBounds, Report, State, Stream};

const MIB: u64 = 1 << 20;

/// What a build takes beside its files: less than this.
const SMALL: u64 = 20 << 10;

fn hand_in(shelf: &Shelf, owner: &str, id: &str, project: &str, mib: u64, most: u64) -> Result<Build, Error> {
    let new = NewBuild { snapshot_bytes: mib * MIB, ..new(owner, id, project) };
    let bounds = QueueBounds { waiting: 1000, stored: Some(most * MIB) };
    shelf.store.enqueue(&new, bounds, &pinfold::build::Moment::now())
}

/// Runs what waits to its end; with an artifact of this many MiB, or else it fails.
fn end(shelf: &Shelf, artifact: Option<u64>) -> Build {
    let now = pinfold::build::Moment::now();
    let claim = shelf.claim(&now).unwrap();
    let made = artifact.map(|_| format!("artifact of {}", claim.build.id));
    let report = Report { artifact: made, artifact_bytes: artifact.unwrap_or(0) * MIB, ..Report::default() };
    shelf.store.finish(&claim, report, &now).unwrap()
}

fn is_there(shelf: &Shelf, id: &str) -> bool {
    shelf.store.get("a", id).is_ok()
}

fn stored_mib(shelf: &Shelf, owner: &str) -> u64 {
    shelf.store.stored(owner).unwrap() / MIB
}

#[test]
fn the_oldest_builds_make_room_but_for_what_projects_show() {
    let shelf = Shelf::new();
    hand_in(&shelf, "a", "shown", "p", 1, 10).unwrap();
    assert_eq!(end(&shelf, Some(2)).state, State::Succeeded);
    for id in ["1", "2", "3"] {
        hand_in(&shelf, "a", id, "q", 2, 10).unwrap();
        assert_eq!(end(&shelf, None).state, State::Failed);
    }
    assert!(stored_mib(&shelf, "a") == 9 && !shelf.store.has_forgotten());
    // One more takes the place of the oldest, and of no more than it needs.
    hand_in(&shelf, "a", "4", "q", 2, 10).unwrap();
    assert_eq!(["shown", "1", "2", "3", "4"].map(|id| is_there(&shelf, id)), [true, false, true, true, true]);
    assert!(shelf.store.has_forgotten() && !shelf.store.has_forgotten());
    assert!(!shelf.store.snapshots().unwrap().contains("snapshot of 1"));
    assert!(shelf.store.artifacts().unwrap().contains("artifact of shown"));
    // What has no room, whatever is forgotten, is refused, and nothing is forgotten for it.
    let refused = hand_in(&shelf, "a", "big", "q", 8, 10).unwrap_err();
    assert!(refused.code() == "store_full" && refused.hint().is_some() && refused.to_string().contains("10 MiB"));
    assert_eq!(["shown", "2", "3", "4", "big"].map(|id| is_there(&shelf, id)), [true, true, true, true, false]);
    assert_eq!(shelf.store.get("a", "4").unwrap().state, State::Queued, "it did not come, so nothing is stale");
    // Nobody else has to make room, or finds less of it.
    hand_in(&shelf, "b", "b", "q", 9, 10).unwrap();
    assert_eq!(stored_mib(&shelf, "b"), 9);
    // Where there is no bound, nothing is forgotten.
    let without = NewBuild { snapshot_bytes: 100 * MIB, ..new("a", "whatever", "r") };
    shelf.store.enqueue(&without, super::BOUNDS, &pinfold::build::Moment::now()).unwrap();
    assert!(is_there(&shelf, "2") && !shelf.store.has_forgotten());
}

#[test]
fn an_artifact_without_room_fails_its_build_and_what_the_project_shows_stays() {
    let shelf = Shelf::new();
    hand_in(&shelf, "a", "1", "p", 1, 10).unwrap();
    end(&shelf, Some(4));
    hand_in(&shelf, "a", "2", "p", 1, 10).unwrap();
    // Where it takes the place of what is shown, that may go for it.
    assert_eq!(end(&shelf, Some(8)).state, State::Succeeded);
    assert!(!is_there(&shelf, "1") && stored_mib(&shelf, "a") == 9);
    let active = || shelf.store.projects("a").unwrap()[0].active.clone().unwrap().build;
    assert_eq!(active(), "2");
    // With its own snapshot, this one is too much all by itself.
    assert_eq!(hand_in(&shelf, "a", "3", "p", 1, 10).unwrap_err().code(), "store_full");
    hand_in(&shelf, "a", "3", "p", 0, 10).unwrap();
    let ended = end(&shelf, Some(11));
    assert_eq!((ended.state, ended.artifact, ended.error.unwrap().code.as_str()), (State::Failed, None, "store_full"));
    assert!(active() == "2" && is_there(&shelf, "2") && shelf.store.has_forgotten());
    assert_eq!(stored_mib(&shelf, "a"), 9);
}

#[test]
fn a_file_of_several_builds_counts_once_and_logs_and_plans_count() {
    let shelf = Shelf::new();
    let now = pinfold::build::Moment::now();
    for id in ["1", "2", "3"] {
        let same = NewBuild { snapshot: "the same".into(), snapshot_bytes: 4 * MIB, ..new("a", id, id) };
        shelf.store.enqueue(&same, QueueBounds { waiting: 1000, stored: Some(5 * MIB) }, &now).unwrap();
    }
    let before = shelf.store.stored("a").unwrap();
    assert!((4 * MIB..4 * MIB + 3 * SMALL).contains(&before), "{before}");
    // Of whoever else has it, it counts as well: nobody learns from what he may that others have it.
    let theirs = NewBuild { snapshot: "the same".into(), snapshot_bytes: 4 * MIB, ..new("b", "b", "b") };
    let refused = shelf.store.enqueue(&theirs, QueueBounds { waiting: 1000, stored: Some(3 * MIB) }, &now);
    assert_eq!(refused.unwrap_err().code(), "store_full");
    let claim = shelf.claim(&now).unwrap();
    let row = |text: String| NewRow { time_us: 1, phase: None, stream: Stream::Stdout, text, truncated: false };
    shelf.store.append(&claim, &[row("x".repeat(1 << 19)), row(String::new())], false).unwrap();
    let after = shelf.store.stored("a").unwrap() - before;
    assert!((1 << 19..(1 << 19) + 1000).contains(&after), "{after}");
    shelf.store.finish(&claim, Report::default(), &now).unwrap();
    // A log that is too much makes room for itself among the ended, and stays to be read.
    let claim = shelf.claim(&now).unwrap();
    shelf.store.append(&claim, &[row("x".repeat(1 << 20))], false).unwrap();
    let id = claim.build.id.clone();
    shelf.store.finish(&claim, Report::default(), &now).unwrap();
    assert_eq!([is_there(&shelf, "1"), is_there(&shelf, &id), is_there(&shelf, "3")], [false, true, true]);
}

#[test]
fn builds_of_nothing_are_remembered_in_bounds_too() {
    let shelf = Shelf::new();
    for number in 0..200 {
        hand_in(&shelf, "a", &number.to_string(), &format!("p{}", number % 7), 0, 1).unwrap();
        end(&shelf, None);
    }
    let left = shelf.store.list("a", &pinfold::build::Filter { limit: 1000, ..Default::default() }).unwrap();
    assert!((40..65).contains(&left.len()), "{}", left.len());
    assert_eq!(left[0].id, "199");
    assert!(shelf.store.stored("a").unwrap() <= MIB);
}

#[test]
fn a_project_is_forgotten_as_a_whole_and_only_when_nothing_of_it_is_at_work() {
    let shelf = Shelf::new();
    let forget = |owner: &str, project: &str| shelf.store.forget_project(owner, project).map_err(|error| error.code());
    hand_in(&shelf, "a", "1", "p", 1, 10).unwrap();
    assert_eq!(forget("a", "p"), Err("not_ended"));
    end(&shelf, Some(3));
    hand_in(&shelf, "a", "2", "p", 1, 10).unwrap();
    hand_in(&shelf, "a", "other", "q", 1, 10).unwrap();
    assert_eq!(
        (forget("a", "p"), forget("b", "p"), forget("a", "none")),
        (Err("not_ended"), Err("not_found"), Err("not_found"))
    );
    end(&shelf, None);
    assert_eq!((forget("a", "p"), forget("a", "p")), (Ok(2), Err("not_found")));
    assert_eq!(["1", "2", "other"].map(|id| is_there(&shelf, id)), [false, false, true]);
    assert!(shelf.store.artifacts().unwrap().is_empty() && shelf.store.rows("a", "1", 0, 1).is_err());
    assert_eq!(stored_mib(&shelf, "a"), 1);
    // One of the same name begins anew.
    let again = hand_in(&shelf, "a", "3", "p", 1, 10).unwrap();
    assert_eq!((again.sequence, shelf.store.projects("a").unwrap()[0].active.is_none()), (1, true));
}
