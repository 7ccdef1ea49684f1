//! Saved while a sandbox works in it: its processes stand still, and go on as if nothing had been.

use super::{layers, read, read_checkpoint, write};
use crate::sandbox::eventually;
use crate::support::finish;
use crate::workspaces::Home;
use pinfold::checkpoint::New;
use pinfold::workspace::Freezer;
use std::cell::RefCell;
use std::io::Write;
use std::process::Stdio;

/// Notes what it is asked, and looks at the store in between.
struct Notes<'a> {
    home: &'a Home,
    notes: RefCell<Vec<(&'static str, usize)>>,
    fails: bool,
}

impl Freezer for Notes<'_> {
    fn freeze(&mut self) -> std::io::Result<()> {
        self.notes.borrow_mut().push(("freeze", layers(self.home)));
        if self.fails { Err(std::io::Error::other("no")) } else { Ok(()) }
    }

    fn thaw(&mut self) -> std::io::Result<()> {
        self.notes.borrow_mut().push(("thaw", layers(self.home)));
        Ok(())
    }
}

#[test]
fn a_sandbox_goes_on_with_its_open_files_and_directories_and_the_checkpoint_is_of_then() {
    let home = Home::new();
    home.create("ws");
    let store = home.store();
    write(&store, "ws", "old");
    store.checkpoints("ws").prepare().unwrap();
    let text = "mkdir -p d/e; rm f; mkdir f.d; echo one > f; cd d/e; exec 3> ../../log; echo before >&3; touch ../../ready; \
                read line; echo after >&3; echo here > here; read line; cat ../../log; pwd";
    let mut job = home.pinfold(&["run", "-w", "ws:ws", "--", "sh", "-ec", text]);
    let mut job = job.stdin(Stdio::piped()).spawn().unwrap();
    eventually("the job works", || {
        store.open_to_read("ws").is_ok_and(|ws| ws.into_files().is_ok_and(|files| files.read("ready").is_ok()))
    });
    let mut freezer = Notes { home: &home, notes: RefCell::default(), fails: false };
    let first = store.checkpoints("ws").save_live(&New::default(), None, &mut freezer).unwrap().checkpoint;
    let notes = freezer.notes.take();
    assert!(notes[0].0 == "freeze" && notes[1].0 == "thaw" && notes[1].1 == notes[0].1 + 1, "{notes:?}");
    job.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    eventually("the job went on", || {
        store.open_to_read("ws").is_ok_and(|ws| ws.into_files().is_ok_and(|files| files.read("d/e/here").is_ok()))
    });
    let second = store.checkpoints("ws").save_live(&New::default(), None, &mut freezer).unwrap().checkpoint;
    assert_eq!(second.parent.as_ref(), Some(&first.id));
    let diff = store.checkpoints("ws").diff(Some(&first.id), Some(&second.id)).unwrap();
    assert_eq!(super::lines(&diff), ["A d/e/here", "M log"]);
    job.stdin.as_mut().unwrap().write_all(b"end\n").unwrap();
    assert_eq!(finish(job), (0, "before\nafter\n/workspace/d/e\n".to_owned(), String::new()));
    assert_eq!(read_checkpoint(&store, "ws", &first.id), "one\n");
    store.checkpoints("ws").rollback(&first.id, false).unwrap();
    assert_eq!(super::script(&home, "ws", "cat log; ls -A . d/e"), "before\n.:\nd\nf\nf.d\nlog\nready\n\nd/e:\n");
}

#[test]
fn what_can_not_be_frozen_or_was_not_prepared_is_not_saved() {
    let home = Home::new();
    home.create("ws");
    let store = home.store();
    write(&store, "ws", "old");
    let mut freezer = Notes { home: &home, notes: RefCell::default(), fails: true };
    let in_use = store.open("ws").unwrap();
    let refused = store.checkpoints("ws").save_live(&New::default(), None, &mut freezer).unwrap_err();
    assert_eq!(refused.code(), "busy");
    drop(in_use);
    store.checkpoints("ws").prepare().unwrap();
    let refused = store.checkpoints("ws").save_live(&New::default(), None, &mut freezer).unwrap_err();
    assert_eq!(refused.code(), "freeze");
    assert!(store.checkpoints("ws").list(Default::default()).unwrap().is_empty());
    assert_eq!(read(&store, "ws"), "old");
}
