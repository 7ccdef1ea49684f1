//! Threads of states, in memory and on disk: the same promises of both.

use crate::sandbox::Scratch;
use pinfold::checkpoint::{Disk, Filter, Memory, New, Retention, Storage, Threads};
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;

fn new(state: Value) -> New {
    New { state, ..New::default() }
}

/// Does it with both.
fn with_each(look: impl Fn(Threads<Arc<dyn Storage>>)) {
    look(Threads::new(Arc::new(Memory::default())));
    let scratch = Scratch::new();
    look(Threads::new(Arc::new(Disk::at(scratch.path("threads")).unwrap())));
}

#[test]
fn each_has_its_parent_and_history_begins_with_the_newest() {
    with_each(|threads| {
        let ids: Vec<_> = (0..4).map(|turn| threads.save("a", &new(json!({"turn": turn}))).unwrap()).collect();
        for pair in ids.windows(2) {
            assert_eq!(pair[1].parent.as_ref(), Some(&pair[0].id));
            assert!(pair[1].sequence > pair[0].sequence && pair[1].step == pair[0].step + 1);
        }
        let newest: Vec<_> = threads.list("a", Filter { limit: 2, ..Filter::default() }).unwrap();
        assert_eq!(newest.iter().map(|c| &c.id).collect::<Vec<_>>(), [&ids[3].id, &ids[2].id]);
        assert!(newest[0].is_head && !newest[1].is_head);
        let oldest = threads.list("a", Filter { limit: 1, oldest_first: true, ..Filter::default() }).unwrap();
        assert_eq!(oldest[0].id, ids[0].id);
        assert_eq!(threads.latest("a").unwrap().1, json!({"turn": 3}));
        assert!(threads.list("other", Filter::default()).unwrap().is_empty());
        assert_eq!(threads.latest("other").unwrap_err().code(), "no_checkpoint");
        assert_eq!(threads.get("a", "x").unwrap_err().code(), "checkpoint_not_found");
        assert_eq!(threads.save("", &New::default()).unwrap_err().code(), "invalid_thread");
        let twice = New { id: Some(ids[0].id.clone()), ..New::default() };
        assert_eq!(threads.save("a", &twice).unwrap_err().code(), "checkpoint_exists");
    });
}

#[test]
fn after_a_rollback_the_next_goes_on_from_it_and_the_branch_stays() {
    with_each(|threads| {
        let first = threads.save("a", &new(json!(1))).unwrap();
        let second = threads.save("a", &new(json!(2))).unwrap();
        let back = threads.rollback("a", &first.id).unwrap();
        assert_eq!((back.parent.as_ref(), back.origin.as_ref()), (Some(&first.id), Some(&first.id)));
        assert_eq!(threads.latest("a").unwrap().1, json!(1));
        assert_eq!(threads.save("a", &new(json!(3))).unwrap().parent, Some(back.id));
        assert_eq!(threads.get("a", &second.id).unwrap().1, json!(2));
        assert_eq!(threads.rollback("a", "x").unwrap_err().code(), "checkpoint_not_found");
    });
}

#[test]
fn what_is_handed_out_is_a_copy() {
    with_each(|threads| {
        let mut given = new(json!({"list": [1]}));
        let id = threads.save("a", &given).unwrap().id;
        given.state["list"][0] = json!("changed");
        let (_, mut taken) = threads.get("a", &id).unwrap();
        taken["list"][0] = json!("changed too");
        assert_eq!(threads.get("a", &id).unwrap().1, json!({"list": [1]}));
    });
}

#[test]
fn the_oldest_go_first_and_children_keep_their_parents_names() {
    with_each(|threads| {
        let threads = threads.with_retention(Retention { most: Some(2), ..Retention::default() });
        let ids: Vec<_> = (0..4).map(|turn| threads.save("a", &new(json!(turn))).unwrap().id).collect();
        let left = threads.list("a", Filter { oldest_first: true, ..Filter::default() }).unwrap();
        assert_eq!(left.iter().map(|c| &c.id).collect::<Vec<_>>(), [&ids[2], &ids[3]]);
        assert_eq!((left[0].parent.as_ref(), left[0].parent_evicted), (Some(&ids[1]), true));
        assert_eq!((left[1].parent.as_ref(), left[1].parent_evicted), (Some(&ids[2]), false));
        threads.remove("a", &ids[3]).unwrap();
        assert_eq!(threads.remove("a", &ids[3]).unwrap_err().code(), "checkpoint_not_found");
        assert_eq!(threads.latest("a").unwrap().1, json!(2));
        threads.remove_thread("a").unwrap();
        threads.remove_thread("a").unwrap();
        assert!(threads.list("a", Filter::default()).unwrap().is_empty());
    });
}

#[test]
fn states_have_a_limit_together_and_what_does_not_fit_changes_nothing() {
    with_each(|threads| {
        let threads = threads.with_retention(Retention { state_bytes: Some(30), ..Retention::default() });
        let first = threads.save("a", &new(json!("0123456789"))).unwrap();
        threads.save("a", &new(json!("0123456789"))).unwrap();
        assert_eq!(threads.save("a", &new(json!("0123456789"))).unwrap_err().code(), "storage_full");
        assert_eq!(threads.list("a", Filter::default()).unwrap().len(), 2);
        threads.remove("a", &first.id).unwrap();
        threads.save("a", &new(json!("0123456789"))).unwrap();
    });
}

#[test]
fn what_has_expired_is_seen_by_nobody_and_a_sweep_frees_its_place() {
    with_each(|threads| {
        let brief = threads.clone().with_retention(Retention { ttl_ms: Some(0), ..Retention::default() });
        let id = brief.save("a", &new(json!(1))).unwrap().id;
        assert_eq!(brief.get("a", &id).unwrap_err().code(), "checkpoint_not_found");
        assert!(brief.list("a", Filter::default()).unwrap().is_empty());
        brief.sweep().unwrap();
        let kept = threads.save("b", &new(json!(1))).unwrap();
        assert_eq!(threads.list("b", Filter::default()).unwrap().len(), 1);
        // Both ends belong to it.
        let at = Some(kept.created_ms);
        let within = Filter { before_ms: at, after_ms: at, ..Filter::default() };
        assert_eq!(threads.list("b", within).unwrap().len(), 1);
        let after = Filter { after_ms: at.map(|at| at + 1), ..Filter::default() };
        assert!(threads.list("b", after).unwrap().is_empty());
    });
    // On disk a file less is a file less.
    let scratch = Scratch::new();
    let threads = Threads::new(Disk::at(scratch.path("t")).unwrap());
    let brief = threads.with_retention(Retention { ttl_ms: Some(0), ..Retention::default() });
    brief.save("a", &new(json!("find me"))).unwrap();
    brief.sweep().unwrap();
    let found = std::process::Command::new("grep").args(["-r", "find me"]).arg(scratch.path("t")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

#[test]
fn many_savers_make_one_chain() {
    with_each(|threads| {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..10).for_each(|turn| drop(threads.save("a", &new(json!(turn))).unwrap())));
            }
        });
        let all = threads.list("a", Filter { oldest_first: true, ..Filter::default() }).unwrap();
        assert_eq!(all.len(), 80);
        assert!(all.windows(2).all(|pair| pair[1].parent.as_ref() == Some(&pair[0].id)));
    });
}

#[test]
fn what_is_on_disk_is_there_for_the_next_process_and_one_broken_thread_hides_no_other() {
    let scratch = Scratch::new();
    let open = || Threads::new(Disk::at(scratch.path("threads")).unwrap());
    let id = open().save("a/../b", &new(json!({"big": 1e300, "text": "ünï\0"}))).unwrap().id;
    open().save("other", &new(json!(2))).unwrap();
    assert_eq!(open().get("a/../b", &id).unwrap().1, json!({"big": 1e300, "text": "ünï\0"}));
    let mut broken = 0;
    for entry in fs::read_dir(scratch.path("threads")).unwrap().flatten() {
        let file = entry.path().join("thread.json");
        if fs::read_to_string(&file).is_ok_and(|text| text.contains("\"other\"")) {
            fs::write(&file, "{").unwrap();
            broken += 1;
        }
    }
    assert_eq!(broken, 1);
    assert_eq!(open().save("other", &new(json!(3))).unwrap_err().code(), "corrupt");
    assert_eq!(open().latest("a/../b").unwrap().0.id, id);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(scratch.path("threads")).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(Disk::at("relative").unwrap_err().code(), "invalid");
}

#[test]
fn states_are_compared_key_by_key() {
    with_each(|threads| {
        let one = threads.save("a", &new(json!({"a": {"b/c": 1, "same": [1]}, "gone": null}))).unwrap();
        let two = threads.save("a", &new(json!({"a": {"b/c": 2, "same": [1]}, "new": true}))).unwrap();
        let changes = threads.diff("a", &one.id, &two.id).unwrap();
        let pointers: Vec<_> = changes.iter().map(|change| change.pointer.as_str()).collect();
        assert_eq!(pointers, ["/a/b~1c", "/gone", "/new"]);
        assert_eq!((&changes[0].from, &changes[0].to), (&Some(json!(1)), &Some(json!(2))));
    });
}
