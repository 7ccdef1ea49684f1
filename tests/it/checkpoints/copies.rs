//! Where overlays can't be had, checkpoints are copies, and say so.

use super::{layers, lines, read, read_checkpoint, script, write};
use crate::workspaces::Home;
use pinfold::checkpoint::{Error, New};
use pinfold::workspace::{Mechanism, Store};
use std::os::unix::fs::PermissionsExt;

/// A store with a runner that is refused to mount anything.
fn denied(home: &Home) -> Store {
    let answer =
        serde_json::to_string(&pinfold::Outcome::failed("", pinfold::Failure::new("mount", "denied"))).unwrap();
    let text = format!("#!/bin/sh\n/bin/cat > /dev/null\necho '{answer}'\nexit 125\n");
    let runner = home.scratch.file("denied", text);
    std::fs::set_permissions(&runner, std::fs::Permissions::from_mode(0o755)).unwrap();
    home.store().with_runner(runner)
}

#[test]
fn a_copy_promises_the_same_and_says_what_it_is() {
    let home = Home::new();
    home.create("ws");
    let store = denied(&home);
    script(
        &home,
        "ws",
        "echo one > f; mkdir d; echo x > d/x; ln f hard; ln -s nowhere link; chmod 500 d; truncate -s 1M holes; mkfifo p",
    );
    let first = store.checkpoints("ws").save(&New::default(), None).unwrap();
    assert_eq!(first.mechanism, Mechanism::Copy);
    let first = first.checkpoint.id;
    let look = "ls -lR . | grep -v total; cat f d/x; readlink link";
    let before = script(&home, "ws", look);
    script(&home, "ws", "echo two > f; chmod 700 d; rm -r d holes p; cat hard > copy");
    assert_eq!(
        lines(&store.checkpoints("ws").diff(None, None).unwrap()),
        ["A copy", "D d/", "D d/x", "M f", "M hard", "D holes", "D p"]
    );
    let back = store.checkpoints("ws").rollback(&first, false).unwrap();
    assert_eq!((back.mechanism, script(&home, "ws", look)), (Mechanism::Copy, before));
    assert_eq!(read_checkpoint(&store, "ws", &back.automatic.unwrap().id), "two\n");
    // Several may work in it at once, as in any directory.
    let one = store.open("ws").unwrap();
    write(&store, "ws", "three");
    drop(one);
    store.checkpoints("ws").fork(None, "fork").unwrap();
    write(&store, "fork", "fork");
    assert_eq!((read(&store, "ws").as_str(), read(&store, "fork").as_str()), ("three", "fork"));
    store.remove("ws", false).unwrap();
    store.remove("fork", false).unwrap();
    assert_eq!((layers(&home), home.limbo()), (0, 0));
}

#[test]
fn a_runner_that_is_not_there_is_no_reason_to_copy() {
    let home = Home::new();
    home.create("ws");
    let store = home.store().with_runner("/nonexistent");
    let refused = store.checkpoints("ws").save(&New::default(), None).unwrap_err();
    assert!(matches!(&refused, Error::Workspace(error) if error.code() == "overlay"), "{refused}");
    assert!(!store.show("ws").unwrap().has_layers);
    assert_eq!(layers(&home), 0, "what was made to try is gone");
}

#[test]
fn without_namespaces_layers_are_refused() {
    let home = Home::new();
    home.create("ws");
    home.store().checkpoints("ws").save(&New::default(), None).unwrap();
    let job = home.pinfold(&["run", "-w", "ws:ws", "--mode", "landlock", "--", "true"]).spawn().unwrap();
    let (code, _, words) = crate::support::finish(job);
    let is_told = words.contains("`workspace` can't be in layers") || words.contains("andlock");
    assert!(code == 125 && is_told, "{words}");
}
