//! A workspace with layers takes one who writes at a time. Others may look.

use super::{read, save, script, write};
use crate::sandbox::eventually;
use crate::support::finish;
use crate::workspaces::Home;
use std::io::Write;
use std::process::{Child, Stdio};

/// A job that works in the workspace until it is told to end, and its standard input.
fn working(home: &Home) -> Child {
    let place = ["run", "-w", "ws:ws", "--", "sh", "-c", "echo begun > begun; read line; echo done > f"];
    let job = home.pinfold(&place).stdin(Stdio::piped()).spawn().unwrap();
    eventually("the job works", || {
        home.store().open_to_read("ws").is_ok_and(|ws| ws.into_files().is_ok_and(|files| files.read("begun").is_ok()))
    });
    job
}

fn end(mut job: Child) {
    job.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert_eq!(finish(job).0, 0);
}

#[test]
fn nobody_saves_rolls_back_or_writes_under_a_job_and_anybody_may_look() {
    let home = Home::new();
    home.create("ws");
    let store = home.store();
    write(&store, "ws", "one");
    let first = save(&store, "ws", "first");
    let job = working(&home);
    let busy = |args: &[&str]| {
        let (code, _, words) = finish(home.pinfold(args).spawn().unwrap());
        assert!(code == 125 && words.contains("is busy"), "{args:?}: {words}");
    };
    busy(&["checkpoint", "save", "ws"]);
    busy(&["checkpoint", "rollback", "ws", &first]);
    busy(&["checkpoint", "compact", "ws"]);
    busy(&["checkpoint", "fork", "ws", "new"]);
    busy(&["run", "-w", "ws:ws", "--", "true"]);
    busy(&["cp", "/etc/passwd", "ws:ws:x"]);
    busy(&["workspace", "remove", "ws", "--force"]);
    busy(&["workspace", "import", "ws", "/dev/null", "--replace"]);
    // What does not touch the files.
    for args in [
        &["checkpoint", "list", "ws"][..],
        &["checkpoint", "diff", "ws"],
        &["checkpoint", "fork", "ws", "old", "--checkpoint", &first],
        &["ls", "ws:ws"],
        &["cp", "ws:ws:begun", "-"],
        &["workspace", "export", "ws", "-"],
        &["workspace", "show", "ws"],
    ] {
        assert_eq!(finish(home.pinfold(args).spawn().unwrap()).0, 0, "{args:?}");
    }
    assert_eq!((read(&store, "ws").as_str(), read(&store, "old").as_str()), ("one", "one"));
    end(job);
    assert_eq!(read(&store, "ws"), "done\n");
    assert_eq!(script(&home, "ws", "cat f"), "done\n");
    save(&store, "ws", "second");
}

#[test]
fn a_workspace_without_checkpoints_stays_as_it_is_for_any_number_of_jobs() {
    let home = Home::new();
    let data = home.create("ws");
    let job = working(&home);
    assert_eq!(script(&home, "ws", "cat begun"), "begun\n");
    assert_eq!(store_code(&home), "busy");
    end(job);
    assert!(data.join("f").exists() && !home.store().show("ws").unwrap().has_layers);
    let saved = home.store().checkpoints("ws").save(&Default::default(), None).unwrap();
    assert!(saved.checkpoint.parent.is_none() && !data.exists());
}

fn store_code(home: &Home) -> &'static str {
    home.store().checkpoints("ws").save(&Default::default(), None).unwrap_err().code()
}

#[test]
fn of_many_who_save_at_once_each_does_or_is_told_and_the_chain_is_whole() {
    let home = Home::new();
    home.create("ws");
    write(&home.store(), "ws", "one");
    let children: Vec<_> = (0..12).map(|_| home.pinfold(&["checkpoint", "save", "ws"]).spawn().unwrap()).collect();
    let ends: Vec<_> = children.into_iter().map(finish).collect();
    let saved: Vec<_> = ends.iter().filter(|end| end.0 == 0).map(|end| end.1.trim_end().to_owned()).collect();
    assert!(!saved.is_empty() && ends.iter().all(|end| end.0 == 0 || end.2.contains("is busy")), "{ends:?}");
    let filter = pinfold::checkpoint::Filter { oldest_first: true, ..Default::default() };
    let all = home.store().checkpoints("ws").list(filter).unwrap();
    assert_eq!(all.len(), saved.len());
    assert!(all.windows(2).all(|pair| pair[1].parent.as_ref() == Some(&pair[0].id)), "{all:?}");
    assert_eq!(read(&home.store(), "ws"), "one");
}

#[test]
fn removers_forkers_and_savers_at_once_lose_no_layer_that_is_needed() {
    let home = Home::new();
    home.create("ws");
    let store = home.store();
    write(&store, "ws", "one");
    let base = save(&store, "ws", "base");
    std::thread::scope(|scope| {
        let worker = |number: usize| {
            let (home, base) = (&home, &base);
            move || {
                for round in 0..4 {
                    let id = format!("fork {number} {round}");
                    let store = home.store();
                    store.checkpoints("ws").fork(Some(base), &id).unwrap();
                    write(&store, &id, &id);
                    store.checkpoints(&id).save(&Default::default(), None).unwrap();
                    assert_eq!(read(&store, &id), id);
                    if round % 2 == 0 {
                        store.remove(&id, false).unwrap();
                    } else {
                        store.checkpoints(&id).compact().unwrap();
                    }
                }
            }
        };
        (0..3).for_each(|number| drop(scope.spawn(worker(number))));
    });
    for number in 0..3 {
        assert_eq!(read(&store, &format!("fork {number} 3")), format!("fork {number} 3"));
    }
    assert_eq!(read(&store, "ws"), "one");
}
