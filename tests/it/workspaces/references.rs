//! Who holds what: sets that survive every restart, whoever asks, and however many at once.

use super::{Home, finish, ids};
use std::fs;

#[test]
fn references_survive_a_restart_and_one_that_goes_takes_no_other_along() {
    let home = Home::new();
    home.ok(&["create", "ws"]);
    for holder in ["c", "a", "b", "a"] {
        home.ok(&["ref", "ws", holder]);
    }
    // Each command is a new process: nothing is remembered but what is on disk.
    home.ok(&["unref", "ws", "b"]);
    home.ok(&["unref", "ws", "b"]);
    assert_eq!(home.holders("ws"), ["a", "c"]);
    home.fails(&["remove", "ws"], "workspace `ws` is held by 2 holders: `a`, `c`");
    assert_eq!(home.store().remove("ws", false).unwrap_err().code(), "references_held");
    assert_eq!(home.holders("ws"), ["a", "c"], "a refusal changes nothing");
    home.ok(&["remove", "ws", "--force"]);
    assert_eq!((ids(&home.store()), home.limbo()), ((Vec::new(), 0), 0));
    assert_eq!(home.store().workspace_of("a").unwrap(), None);
    // One that comes anew has no references of the old one.
    home.ok(&["create", "ws"]);
    assert_eq!(home.store().workspace_of("a").unwrap(), None);
    home.ok(&["remove", "ws"]);
}

#[test]
fn a_holder_holds_one_workspace_at_a_time() {
    let home = Home::new();
    home.create("one");
    home.create("other");
    home.ok(&["ref", "one", "h"]);
    home.fails(&["ref", "other", "h"], "`h` holds workspace `one` already");
    // To give up what one does not hold takes nothing from where one holds.
    home.ok(&["unref", "other", "h"]);
    assert_eq!((home.ok(&["find", "h"]).as_str(), home.holders("other").len()), ("one\n", 0));
    home.ok(&["unref", "one", "h"]);
    home.ok(&["ref", "other", "h"]);
    assert_eq!(home.ok(&["find", "h"]), "other\n");
    home.ok(&["remove", "other", "--force"]);
    home.ok(&["ref", "one", "h"]);
    assert_eq!(home.ok(&["find", "h"]), "one\n");
}

#[test]
fn the_index_of_holders_can_be_lost() {
    let home = Home::new();
    for id in ["one", "other"] {
        home.create(id);
        home.ok(&["ref", id, &format!("holder of {id}")]);
    }
    fs::remove_dir_all(home.state().join("workspaces/holders")).unwrap();
    assert_eq!(home.ok(&["find", "holder of other"]), "other\n");
    home.fails(&["ref", "one", "holder of other"], "holds workspace `other`");
    home.ok(&["unref", "other", "holder of other"]);
    home.ok(&["ref", "one", "holder of other"]);
    assert_eq!(home.holders("one"), ["holder of one", "holder of other"]);
}

#[test]
fn many_processes_refer_at_once_and_none_is_lost() {
    let home = Home::new();
    home.create("ws");
    let names: Vec<_> = (0..24).map(|number| format!("holder {number:02}")).collect();
    let all = |verb: &str| {
        let children: Vec<_> = names.iter().map(|name| home.workspace(&[verb, "ws", name]).spawn().unwrap()).collect();
        for end in children.into_iter().map(finish) {
            assert_eq!(end, (0, String::new(), String::new()));
        }
    };
    all("ref");
    assert_eq!(home.holders("ws"), names);
    all("unref");
    assert_eq!(home.holders("ws").len(), 0);
    let left = fs::read_dir(home.state().join("workspaces/holders")).unwrap().flatten();
    let left = left.filter(|entry| entry.file_name().len() == 64).count();
    assert_eq!(left, 0, "the index does not grow for ever");
}

#[test]
fn of_many_workspaces_that_one_holder_wants_at_once_it_gets_one() {
    let home = Home::new();
    let names: Vec<_> = (0..12).map(|number| format!("ws {number}")).collect();
    names.iter().for_each(|id| drop(home.create(id)));
    let children: Vec<_> = names.iter().map(|id| home.workspace(&["ref", id, "h"]).spawn().unwrap()).collect();
    let codes: Vec<_> = children.into_iter().map(|child| finish(child).0).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    let held: Vec<_> = names.iter().filter(|id| !home.holders(id).is_empty()).collect();
    assert_eq!(held.len(), 1);
    assert_eq!(home.store().workspace_of("h").unwrap().as_ref(), Some(held[0]));
}

#[test]
fn workspaces_that_come_and_go_at_once_leave_no_half_of_one() {
    let home = Home::new();
    let store = home.store();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let store = store.clone();
            scope.spawn(move || {
                for round in 0..12 {
                    let (id, holder) = (format!("ws {}", round % 2), format!("h {worker}"));
                    store.create(&id, None).unwrap();
                    match store.add_reference(&id, &holder) {
                        Ok(()) => {
                            assert_eq!(store.workspace_of(&holder).unwrap().as_ref(), Some(&id));
                            store.remove_reference(&id, &holder).unwrap();
                        }
                        Err(error) => assert_eq!(error.code(), "not_found"),
                    }
                    match store.remove(&id, false) {
                        Ok(()) => {}
                        Err(error) => assert!(["not_found", "references_held"].contains(&error.code()), "{error}"),
                    }
                    store.list().unwrap().iter().for_each(|listed| {
                        assert!(matches!(listed, pinfold::workspace::Listed::Workspace(_)), "{listed:?}");
                    });
                }
            });
        }
    });
    store.create("last", None).unwrap();
    assert_eq!((ids(&store).1, home.limbo()), (0, 0));
}
