//! SIGKILL at every step: what was acknowledged is there, with the files that it had, and what is left over is cleared up.

use super::{layers, read, read_checkpoint, save, write};
use crate::faults::can_trace;
use crate::sandbox::kill;
use crate::support::finish;
use crate::workspaces::crash::killed_at;
use crate::workspaces::{Home, ids};
use pinfold::checkpoint::Filter;
use std::fs;
use std::time::Duration;

/// The system calls after which something else is on disk, or before which something is not yet.
const STEPS: [&str; 9] =
    ["mkdirat", "write", "fsync", "renameat", "renameat2", "unlinkat", "linkat", "fchmod", "utimensat"];

/// Kills `pinfold checkpoint ARGS` at each step in turn, each time from the same beginning, and looks at what is left.
fn at_every_step(args: &[&str], begin: impl Fn(&Home), look: impl Fn(&Home, bool)) {
    if !can_trace() {
        return;
    }
    let args = [&["checkpoint"], args].concat();
    let mut kills = 0;
    for call in STEPS {
        for number in 1.. {
            let home = Home::new();
            begin(&home);
            let lived = killed_at(&home, &args, call, number);
            kills += usize::from(!lived);
            assert_eq!(ids(&home.store()).1, 0, "{args:?} {call} {number}: a broken record");
            look(&home, lived);
            // Whatever was left, the workspace works, and all of it can be removed.
            write(&home.store(), "ws", "after");
            let last = save(&home.store(), "ws", "after");
            assert_eq!(in_layers(&home, &last), "after");
            for id in ids(&home.store()).0 {
                home.store().remove(&id, false).unwrap();
            }
            home.create("next");
            assert_eq!((layers(&home), home.limbo()), (0, 0), "{args:?} {call} {number}");
            if lived {
                break;
            }
        }
    }
    assert!(kills > 5, "{args:?}: {kills}");
}

/// What the file of a checkpoint says, without a mount and without waiting for a disk: in the uppermost layer that has it.
fn in_layers(home: &Home, checkpoint: &str) -> String {
    let workspaces = home.state().join("workspaces");
    let place = home.store().show("ws").unwrap().key;
    let thread = fs::read(workspaces.join(place).join("thread/thread.json")).unwrap();
    let thread: serde_json::Value = serde_json::from_slice(&thread).unwrap();
    let entries = thread["entries"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["id"] == checkpoint).unwrap();
    let file = |layer: &serde_json::Value| workspaces.join("layers").join(layer.as_str().unwrap()).join("files/f");
    entry["layers"].as_array().unwrap().iter().find_map(|layer| fs::read_to_string(file(layer)).ok()).unwrap()
}

/// The labels of all checkpoints, the oldest first, each with what its file says.
fn contents(home: &Home) -> Vec<(String, String)> {
    let store = home.store();
    let filter = Filter { oldest_first: true, ..Filter::default() };
    let told = |c: pinfold::checkpoint::Checkpoint| {
        let label = c.labels.into_iter().next().unwrap_or_else(|| format!("{:?}", c.cause));
        (label, in_layers(home, &c.id))
    };
    store.checkpoints("ws").list(filter).unwrap().into_iter().map(told).collect()
}

fn expected(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(label, text)| ((*label).to_owned(), (*text).to_owned())).collect()
}

/// Two checkpoints, and a change that is not saved.
fn two(home: &Home) {
    home.create("ws");
    for text in ["one", "two"] {
        write(&home.store(), "ws", text);
        let new = pinfold::checkpoint::New {
            id: Some(text.to_owned()),
            labels: [text.to_owned()].into(),
            ..Default::default()
        };
        home.store().checkpoints("ws").save(&new, None).unwrap();
    }
    write(&home.store(), "ws", "three");
}

#[test]
fn the_first_save_keeps_the_files_wherever_it_ends() {
    let begin = |home: &Home| {
        home.create("ws");
        write(&home.store(), "ws", "one");
    };
    at_every_step(&["save", "ws", "--label", "first"], begin, |home, lived| {
        assert_eq!(read(&home.store(), "ws"), "one");
        let there = contents(home);
        assert!(there == expected(&[("first", "one")]) || (!lived && there.is_empty()), "{there:?}");
    });
}

#[test]
fn a_later_save_is_there_or_not_and_no_other_suffers() {
    at_every_step(&["save", "ws", "--label", "three"], two, |home, lived| {
        assert_eq!(read(&home.store(), "ws"), "three");
        let (before, after) = ([("one", "one"), ("two", "two")], [("one", "one"), ("two", "two"), ("three", "three")]);
        let there = contents(home);
        assert!(there == expected(&after) || (!lived && there == expected(&before)), "{there:?}");
    });
}

#[test]
fn a_rollback_is_done_or_not_and_what_was_not_saved_is_there_either_way() {
    at_every_step(&["rollback", "ws", "one"], two, |home, lived| {
        let (now, there) = (read(&home.store(), "ws"), contents(home));
        let before = [("one", "one"), ("two", "two")];
        let after = [("one", "one"), ("two", "two"), ("Automatic", "three"), ("Rollback", "one")];
        let is_done = now == "one" && there == expected(&after);
        assert!(is_done || (!lived && now == "three" && there == expected(&before)), "{now} {there:?}");
    });
}

#[test]
fn a_compaction_changes_nothing_that_can_be_seen() {
    let begin = |home: &Home| {
        two(home);
        save(&home.store(), "ws", "three");
        home.store().checkpoints("ws").remove("one").unwrap();
        home.store().checkpoints("ws").remove("two").unwrap();
        write(&home.store(), "ws", "four");
    };
    at_every_step(&["compact", "ws"], begin, |home, _| {
        assert_eq!(read(&home.store(), "ws"), "four");
        assert_eq!(contents(home), expected(&[("three", "three")]));
    });
}

#[test]
fn a_fork_is_whole_or_not_at_all() {
    at_every_step(&["fork", "ws", "new", "--checkpoint", "one"], two, |home, lived| {
        assert_eq!((read(&home.store(), "ws").as_str(), contents(home).len()), ("three", 2));
        match home.store().show("new") {
            Ok(_) => assert_eq!(read(&home.store(), "new"), "one"),
            Err(error) => assert!(!lived && error.code() == "not_found", "{error}"),
        }
    });
}

#[test]
fn a_removal_takes_one_and_no_other() {
    at_every_step(&["remove", "ws", "one"], two, |home, lived| {
        assert_eq!(read(&home.store(), "ws"), "three");
        let there = contents(home);
        let (before, after) = ([("one", "one"), ("two", "two")], [("two", "two")]);
        assert!(there == expected(&after) || (!lived && there == expected(&before)), "{there:?}");
    });
}

#[test]
fn who_is_killed_in_a_loop_of_saves_loses_nothing_that_was_acknowledged() {
    let home = Home::new();
    home.create("ws");
    let mut acknowledged = Vec::new();
    for round in 0..40u64 {
        write(&home.store(), "ws", &round.to_string());
        let id = format!("round {round}");
        let child = home.pinfold(&["checkpoint", "save", "ws", "--id", &id]).spawn().unwrap();
        // Anywhere between its start and its end; which moment is no matter of right or wrong.
        std::thread::sleep(Duration::from_micros(round * 997 % 25_000));
        kill(i32::try_from(child.id()).unwrap(), 9);
        if finish(child).0 == 0 {
            acknowledged.push((id, round.to_string()));
        }
        assert_eq!(read(&home.store(), "ws"), round.to_string());
    }
    for (id, text) in acknowledged {
        assert_eq!(read_checkpoint(&home.store(), "ws", &id), text);
    }
}
