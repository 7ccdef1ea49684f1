//! Jobs in a stored workspace: what they leave stays, what they may hold is limited, and nobody takes it away under them.

use super::{Home, finish};
use crate::sandbox::eventually;
use std::fs;
use std::io::Write;
use std::process::Stdio;

#[test]
fn what_a_job_leaves_the_next_one_finds_and_no_neighbour_sees() {
    let home = Home::new();
    home.create("alice");
    home.create("bob");
    let run = |id: &str, script: &str| {
        let place = format!("ws:{id}");
        finish(home.pinfold(&["run", "-w", &place, "--", "sh", "-c", script]).spawn().unwrap())
    };
    for id in ["alice", "bob"] {
        assert_eq!(run(id, &format!("echo {id} > same-name")), (0, String::new(), String::new()));
    }
    assert_eq!(run("alice", "cat same-name; rm -rf ./*").1, "alice\n");
    assert_eq!(run("bob", "cat same-name; ls -A").1, "bob\nsame-name\n");
    // It is a place to work in, not a way to what lies above it.
    assert_eq!(run("bob", "cat /workspace/../record.json 2>/dev/null || echo none").1, "none\n");
}

#[test]
fn a_name_that_is_no_stored_workspace_is_refused_and_a_directory_is_never_meant_by_chance() {
    let home = Home::new();
    let here = home.scratch.dir("here/ws:odd");
    let run = |name: &str| {
        let mut command = home.pinfold(&["run", "-w", name, "--", "pwd"]);
        finish(command.current_dir(home.scratch.path("here")).spawn().unwrap())
    };
    let (code, _, words) = run("ws:none");
    assert!(code == 125 && words.contains("there is no workspace `none`"), "{words}");
    let (code, _, words) = run("ws:odd");
    assert!(code == 125 && words.contains("`./ws:odd`"), "{words}");
    assert_eq!(run("./ws:odd").0, 0);
    fs::remove_dir(here).unwrap();
    home.create("odd");
    assert_eq!(run("ws:odd").0, 0);
}

#[test]
fn what_a_job_works_in_is_not_removed_not_replaced_and_not_pruned() {
    let home = Home::new();
    let data = home.create("ws");
    let mut job = home.pinfold(&["run", "-w", "ws:ws", "--", "sh", "-c", "touch begun; read line; touch done"]);
    let mut job = job.stdin(Stdio::piped()).spawn().unwrap();
    eventually("the job works", || data.join("begun").exists());
    home.fails(&["remove", "ws"], "busy");
    home.fails(&["remove", "ws", "--force"], "busy");
    home.fails(&["import", "ws", "/dev/null", "--replace"], "busy");
    assert_eq!(home.ok(&["prune", "--older-than", "0"]), "");
    // What is written down may change, and others may work in it too.
    home.ok(&["ref", "ws", "a"]);
    home.ok(&["unref", "ws", "a"]);
    let second = home.pinfold(&["run", "-w", "ws:ws", "--", "ls"]).spawn().unwrap();
    assert_eq!(finish(second).1, "begun\n");
    job.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert_eq!(finish(job).0, 0);
    assert!(data.join("done").exists());
    home.ok(&["remove", "ws"]);
}

#[test]
fn a_quota_is_what_a_job_may_still_add() {
    let home = Home::new();
    home.ok(&["create", "ws", "--disk", "4M"]);
    let fill = |size: &str, more: &[&str]| {
        let script = format!("head -c {size} /dev/zero > $$.fill; sleep 5");
        let args = [&["run", "-w", "ws:ws"], more, &["--", "sh", "-c", &script]].concat();
        finish(home.pinfold(&args).spawn().unwrap())
    };
    let small =
        finish(home.pinfold(&["run", "-w", "ws:ws", "--", "sh", "-c", "head -c 2M /dev/zero > a"]).spawn().unwrap());
    assert_eq!(small.0, 0, "{}", small.2);
    // 2 MiB are left, though the job alone would stay below the quota.
    let (code, _, words) = fill("3M", &[]);
    assert_eq!(code, 153, "{words}");
    // Full as it is now, a job can still make room.
    let room = finish(home.pinfold(&["run", "-w", "ws:ws", "--", "sh", "-c", "rm -f *"]).spawn().unwrap());
    assert_eq!(room, (0, String::new(), String::new()));
    // A limit that is given counts instead.
    let (code, _, words) = fill("3M", &["--disk", "1M"]);
    assert_eq!(
        (code, words.lines().last()),
        (153, Some("pinfold: killed: wrote more than 1 MiB in the workspace (--disk)"))
    );
}

#[test]
fn the_sweep_of_dead_sandboxes_leaves_workspaces_alone_and_the_other_way_round() {
    let home = Home::new();
    let data = home.create("ws");
    fs::write(data.join("kept"), "kept").unwrap();
    // A slot that a dead runner left: a directory named by a number.
    let slot = home.state().join("1610612736");
    fs::create_dir(&slot).unwrap();
    home.create("another");
    home.ok(&["remove", "another"]);
    assert!(slot.exists(), "slots are the runner's to sweep");
    let run = finish(home.pinfold(&["run", "--", "true"]).spawn().unwrap());
    assert_eq!(run, (0, String::new(), String::new()));
    assert!(!slot.exists());
    assert_eq!(fs::read_to_string(data.join("kept")).unwrap(), "kept");
    assert_eq!(home.holders("ws").len(), 0);
}

#[test]
fn files_go_in_and_out_of_a_workspace_by_its_id() {
    let home = Home::new();
    home.create("alice/notes");
    fs::write(home.scratch.path("question"), "6 x 7").unwrap();
    let run = |args: &[&str]| finish(home.pinfold(args).current_dir(home.scratch.path(".")).spawn().unwrap());
    let done = (0, String::new(), String::new());
    assert_eq!(run(&["cp", "question", "ws:alice/notes:asked"]), done);
    assert_eq!(run(&["run", "-w", "ws:alice/notes", "--", "sh", "-c", "cp asked answer; echo = 42 >> answer"]), done);
    assert_eq!(run(&["cp", "ws:alice/notes:answer", "."]), done);
    assert_eq!(fs::read_to_string(home.scratch.path("answer")).unwrap(), "6 x 7= 42\n");
    let (code, listed, _) = run(&["ls", "ws:alice/notes"]);
    assert!(code == 0 && listed.contains("answer") && listed.contains("asked"), "{listed}");
    let (code, _, words) = run(&["ls", "ws:none"]);
    assert!(code == 125 && words.contains("there is no workspace `none`"), "{words}");
}

#[test]
fn a_workspace_whose_files_are_copied_is_not_removed() {
    let home = Home::new();
    let data = home.create("ws");
    // It waits for the archive.
    let mut copy = home.pinfold(&["cp", "-", "ws:ws:"]).stdin(Stdio::piped()).spawn().unwrap();
    let input = copy.stdin.take().unwrap();
    let open = format!("/proc/{}/fd", copy.id());
    let holds = |entry: fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|link| link == data);
    eventually("the workspace is open", || fs::read_dir(&open).unwrap().flatten().any(holds));
    home.fails(&["remove", "ws", "--force"], "busy");
    drop(input);
    finish(copy);
    home.ok(&["remove", "ws"]);
}
