//! Checkpoints: threads of states, and workspaces that go back to what they were, against those who die in the middle, work
//! at the same time, or attack.

mod busy; // who works in a workspace, and what that keeps others from
mod copies; // where no overlay can be had
mod crash; // SIGKILL at every step
mod hostile; // layers that a sandbox made
mod live; // while a sandbox runs
mod same; // what a job sees in layers, and in one directory
mod threads; // states without files

use crate::sandbox::Scratch;
use crate::support::finish;
use crate::workspaces::Home;
use pinfold::Workspace;
use pinfold::checkpoint::{Filter, New};
use pinfold::workspace::{Change, Difference, Mechanism, Store};
use serde_json::json;
use std::fs;

/// Runs a script in a workspace to its end: what it says, after which it must have succeeded.
fn script(home: &Home, id: &str, text: &str) -> String {
    let place = format!("ws:{id}");
    let (code, stdout, stderr) = finish(home.pinfold(&["run", "-w", &place, "--", "sh", "-ec", text]).spawn().unwrap());
    assert_eq!((code, stderr.as_str()), (0, ""), "{text}");
    stdout
}

/// What the file `f` of a workspace says now.
fn read(store: &Store, id: &str) -> String {
    let files = store.open_to_read(id).unwrap().into_files().unwrap();
    String::from_utf8(files.read("f").unwrap()).unwrap()
}

/// Writes the file `f`, as a sandbox would: into the uppermost layer, if there are layers.
fn write(store: &Store, id: &str, text: &str) {
    let workspace = store.open(id).unwrap();
    let path = match workspace.workspace().unwrap() {
        Workspace::Layered(layers) => format!("{}/files/f", layers.path),
        one => format!("{}/f", one.directory().unwrap()),
    };
    fs::write(path, text).unwrap();
}

fn save(store: &Store, id: &str, label: &str) -> String {
    let new = New { labels: [label.to_owned()].into(), state: json!({"label": label}), ..New::default() };
    let saved = store.checkpoints(id).save(&new, None).unwrap();
    assert_eq!(saved.mechanism, Mechanism::Overlay);
    saved.checkpoint.id
}

/// What the file `f` of a checkpoint says: in a fork, which is removed again.
fn read_checkpoint(store: &Store, id: &str, checkpoint: &str) -> String {
    store.checkpoints(id).fork(Some(checkpoint), "to look at").unwrap();
    let text = read(store, "to look at");
    store.remove("to look at", false).unwrap();
    text
}

/// The layers that lie in the store.
fn layers(home: &Home) -> usize {
    fs::read_dir(home.state().join("workspaces/layers")).map_or(0, |found| found.count() - 1)
}

fn lines(changes: &[Change]) -> Vec<String> {
    let letter = |difference| match difference {
        Difference::Added => "A",
        Difference::Removed => "D",
        Difference::Changed => "M",
    };
    let slash = |is_directory| if is_directory { "/" } else { "" };
    let line = |change: &Change| {
        let path = String::from_utf8_lossy(&change.path);
        format!("{} {path}{}", letter(change.difference), slash(change.is_directory))
    };
    changes.iter().map(line).collect()
}

#[test]
fn a_rollback_brings_files_and_state_back_and_loses_nothing() {
    let home = Home::new();
    home.create("ws");
    let store = home.store();
    script(&home, "ws", "echo one > f; mkdir dir; echo x > dir/x; ln -s f link");
    let first = save(&store, "ws", "first");
    script(&home, "ws", "echo two > f; rm -r dir; mkdir dir; echo y > dir/y; chmod 700 dir; ln -sf dir link");
    let second = save(&store, "ws", "second");
    script(&home, "ws", "echo three > f; echo never saved > new");
    let back = store.checkpoints("ws").rollback(&first, false).unwrap();
    assert_eq!(
        script(&home, "ws", "cat f dir/x; ls -A . dir; readlink link"),
        "one\nx\n.:\ndir\nf\nlink\n\ndir:\nx\nf\n"
    );
    let (_, state) = store.checkpoints("ws").get(&back.checkpoint.id).unwrap();
    assert_eq!(state, json!({"label": "first"}));
    assert_eq!(back.checkpoint.parent.as_ref(), Some(&first));
    // What nobody had saved is a checkpoint now, with what it went on from for its parent.
    let automatic = back.automatic.unwrap();
    assert_eq!(automatic.parent.as_ref(), Some(&second));
    assert_eq!(read_checkpoint(&store, "ws", &automatic.id), "three\n");
    assert_eq!(read_checkpoint(&store, "ws", &second), "two\n");
    // The next one goes on from the rollback, and history has the newest first.
    let next = save(&store, "ws", "next");
    let history = store.checkpoints("ws").list(Filter::default()).unwrap();
    let ids: Vec<_> = history.iter().map(|checkpoint| checkpoint.id.clone()).collect();
    assert_eq!(ids, [&next, &back.checkpoint.id, &automatic.id, &second, &first].map(Clone::clone));
    assert_eq!(history[0].parent.as_ref(), Some(&back.checkpoint.id));
    assert_eq!(history.iter().map(|checkpoint| checkpoint.step).collect::<Vec<_>>(), [2, 1, 3, 2, 1]);
    // The later branch can be reached, and nothing is saved that is saved already.
    let there = store.checkpoints("ws").rollback(&automatic.id, false).unwrap();
    assert_eq!((there.automatic, read(&store, "ws").as_str()), (None, "three\n"));
    // What is thrown away on purpose is not kept.
    write(&store, "ws", "lost");
    let thrown = store.checkpoints("ws").rollback(&second, true).unwrap();
    assert_eq!((thrown.automatic, read(&store, "ws").as_str()), (None, "two\n"));
}

#[test]
fn diff_names_what_differs_between_any_two_and_now() {
    let home = Home::new();
    home.create("ws");
    let store = home.store();
    script(
        &home,
        "ws",
        "mkdir -p deep/er kept gone; echo 1 > deep/er/file; echo k > kept/k; echo g > gone/g; echo s > same; echo t > turned; ln -s a link; echo m > mode",
    );
    let first = save(&store, "ws", "first");
    assert_eq!(lines(&store.checkpoints("ws").diff(None, None).unwrap()), [""; 0]);
    script(
        &home,
        "ws",
        "echo 2 > deep/er/file; echo n > deep/new; rm -r gone; touch same; rm turned; mkdir turned; echo i > turned/in; ln -sfn b link; chmod 600 mode; mv kept moved",
    );
    let expected = [
        "M deep/er/file",
        "A deep/new",
        "D gone/",
        "D gone/g",
        "D kept/",
        "D kept/k",
        "M link",
        "M mode",
        "A moved/",
        "A moved/k",
        "M turned/",
        "A turned/in",
    ];
    assert_eq!(lines(&store.checkpoints("ws").diff(None, None).unwrap()), expected);
    let second = save(&store, "ws", "second");
    assert_eq!(lines(&store.checkpoints("ws").diff(Some(&first), Some(&second)).unwrap()), expected);
    let reversed = lines(&store.checkpoints("ws").diff(Some(&second), Some(&first)).unwrap());
    assert_eq!(reversed.iter().filter(|line| line.starts_with('A')).count(), 4, "{reversed:?}");
    assert_eq!(lines(&store.checkpoints("ws").diff(Some(&second), None).unwrap()), [""; 0]);
    // The same through the command line, and a path that is no text.
    script(&home, "ws", "printf x > \"$(printf 'odd\\377')\"");
    let (code, stdout, _) = finish(home.pinfold(&["checkpoint", "diff", "ws", "--json"]).spawn().unwrap());
    let changes: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, changes[0]["change"].as_str()), (0, Some("added")));
    assert_eq!(changes[0]["path"], json!({"base64": "b2Rk/w=="}));
}

#[test]
fn a_fork_and_its_origin_see_nothing_of_each_other_and_outlive_each_other() {
    let home = Home::new();
    home.create("ws");
    let store = home.store();
    write(&store, "ws", "one");
    let first = save(&store, "ws", "first");
    write(&store, "ws", "two");
    let forked = store.checkpoints("ws").fork(Some(&first), "old").unwrap();
    assert_eq!((forked.checkpoint.origin.as_ref(), &forked.checkpoint.parent), (Some(&first), &None));
    // Without a checkpoint it is what is there now, which is saved for that.
    let now = store.checkpoints("ws").fork(None, "now").unwrap();
    assert!(now.automatic.is_some());
    assert_eq!((read(&store, "old").as_str(), read(&store, "now").as_str()), ("one", "two"));
    write(&store, "old", "old's own");
    write(&store, "now", "now's own");
    assert_eq!(read(&store, "ws"), "two");
    assert_eq!(store.checkpoints("ws").fork(None, "now").unwrap_err().code(), "exists");
    store.remove("ws", false).unwrap();
    assert_eq!((read(&store, "old").as_str(), read(&store, "now").as_str()), ("old's own", "now's own"));
    assert_eq!(read_checkpoint(&store, "old", &forked.checkpoint.id), "one");
    store.remove("old", false).unwrap();
    store.remove("now", false).unwrap();
    assert_eq!((layers(&home), home.limbo()), (0, 0));
}

#[test]
fn what_is_removed_or_evicted_breaks_no_child_and_its_place_is_freed() {
    let home = Home::new();
    home.create("ws");
    let store = home.store();
    let mut ids = Vec::new();
    for number in 0..6 {
        write(&store, "ws", &number.to_string());
        script(&home, "ws", &format!("echo {number} > only-{number}; rm -f only-{}", number - 3));
        ids.push(save(&store, "ws", &number.to_string()));
    }
    store.checkpoints("ws").remove(&ids[1]).unwrap();
    assert_eq!(store.checkpoints("ws").remove(&ids[1]).unwrap_err().code(), "checkpoint_not_found");
    let (child, _) = store.checkpoints("ws").get(&ids[2]).unwrap();
    assert_eq!((child.parent.as_ref(), child.parent_evicted), (Some(&ids[1]), true));
    // From now on two: the newest stay.
    let keep = pinfold::checkpoint::Retention { most: Some(2), ..Default::default() };
    write(&store, "ws", "6");
    let last = store.checkpoints("ws").save(&New::default(), Some(keep)).unwrap().checkpoint;
    let left: Vec<_> = store.checkpoints("ws").list(Filter::default()).unwrap().into_iter().map(|c| c.id).collect();
    assert_eq!(left, [last.id, ids[5].clone()]);
    let before = layers(&home);
    assert_eq!(store.checkpoints("ws").compact().unwrap(), 5);
    assert_eq!(layers(&home), before - 5);
    assert_eq!((read(&store, "ws").as_str(), read_checkpoint(&store, "ws", &ids[5]).as_str()), ("6", "5"));
    assert_eq!(script(&home, "ws", "ls"), "f\nonly-3\nonly-4\nonly-5\n");
    store.checkpoints("ws").rollback(&ids[5], false).unwrap();
    assert_eq!(script(&home, "ws", "cat f; echo; ls"), "5\nf\nonly-3\nonly-4\nonly-5\n");
}

#[test]
fn a_thread_of_any_length_stays_within_what_the_kernel_mounts() {
    let home = Home::new();
    home.create("ws");
    let store = home.store();
    let mut first = None;
    for number in 0..150 {
        let Workspace::Layered(now) = store.open("ws").unwrap().workspace().unwrap() else {
            write(&store, "ws", "0");
            first = Some(save(&store, "ws", "0"));
            continue;
        };
        fs::write(format!("{}/files/f", now.path), number.to_string()).unwrap();
        fs::write(format!("{}/files/f{}", now.path, number % 7), number.to_string()).unwrap();
        save(&store, "ws", &number.to_string());
        assert!(now.lower.len() <= pinfold::MAX_LAYERS, "{number}");
    }
    assert_eq!(script(&home, "ws", "cat f; ls | wc -l"), "1498\n");
    let kept = store.checkpoints("ws").list(Filter::default()).unwrap();
    assert_eq!(kept.len(), 100);
    assert_eq!(store.checkpoints("ws").get(&first.unwrap()).unwrap_err().code(), "checkpoint_not_found");
    for (back, checkpoint) in kept.iter().enumerate().step_by(33) {
        assert_eq!(read_checkpoint(&store, "ws", &checkpoint.id), (149 - back).to_string());
    }
}

#[test]
fn what_is_imported_replaces_the_files_and_leaves_the_checkpoints() {
    let home = Home::new();
    home.create("ws");
    home.create("source");
    let store = home.store();
    write(&store, "source", "imported");
    let archive = home.scratch.text("a.tar");
    home.ok(&["export", "source", &archive]);
    write(&store, "ws", "one");
    let first = save(&store, "ws", "first");
    home.fails(&["import", "ws", &archive], "is not empty");
    home.ok(&["import", "ws", &archive, "--replace"]);
    assert_eq!(script(&home, "ws", "cat f; rm f; ls -A"), "imported");
    // Empty as it is to look at, though the layers below are not.
    home.ok(&["import", "ws", &archive]);
    assert_eq!(read_checkpoint(&store, "ws", &first), "one");
    home.ok(&["export", "ws", &home.scratch.text("b.tar")]);
    let usage = store.usage("ws").unwrap();
    assert!(usage.inodes >= 2 && !usage.incomplete, "{usage:?}");
    let scratch = Scratch::new();
    let to = scratch.text("out");
    let copied = finish(home.pinfold(&["cp", "ws:ws:f", &to]).spawn().unwrap());
    assert_eq!((copied.0, fs::read_to_string(to).unwrap().as_str()), (0, "imported"), "{}", copied.2);
}

#[test]
fn what_is_not_there_is_said_and_nothing_is_made_of_it() {
    let home = Home::new();
    home.create("ws");
    let store = home.store();
    assert_eq!(store.checkpoints("none").save(&New::default(), None).unwrap_err().code(), "not_found");
    assert!(store.checkpoints("ws").list(Filter::default()).unwrap().is_empty());
    assert_eq!(store.checkpoints("ws").rollback("x", false).unwrap_err().code(), "checkpoint_not_found");
    assert_eq!(store.checkpoints("ws").fork(Some("x"), "y").unwrap_err().code(), "no_checkpoint");
    assert_eq!(store.checkpoints("ws").diff(None, None).unwrap_err().code(), "no_checkpoint");
    assert!(!store.show("ws").unwrap().has_layers, "to ask makes no layers");
    let saved = store.checkpoints("ws").save(&New { id: Some("../x/\0".into()), ..New::default() }, None).unwrap();
    assert_eq!(saved.checkpoint.id, "../x/\0");
    let again = store.checkpoints("ws").save(&New { id: Some("../x/\0".into()), ..New::default() }, None);
    assert_eq!(again.unwrap_err().code(), "checkpoint_exists");
    for args in [&["checkpoint", "show", "ws", "x"][..], &["checkpoint", "rollback", "ws", "x"]] {
        let (code, _, words) = finish(home.pinfold(args).spawn().unwrap());
        assert!(code == 125 && words.contains("there is no checkpoint `x`"), "{words}");
    }
}
