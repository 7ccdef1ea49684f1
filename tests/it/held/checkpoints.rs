//! Workspaces that are saved while sandboxes work in them: these stand still for the moment, and go on as if nothing had
//! been.

use super::wire::{client, hears};
use super::{Home, finish};
use crate::sandbox::eventually;
use rustix::net::{SendFlags, send};
use std::os::fd::OwnedFd;

/// Writes a number after the other through a descriptor that stays open, from a directory that it stays in.
const COUNTS: &str = "mkdir -p d/e; cd d/e; exec 3>> ../../log; i=0; while :; do i=$((i+1)); echo $i >&3; (:); done";

fn prepared(home: &Home, name: &str, args: &[&str]) {
    home.ok(&["workspace", "create", "ws"]);
    home.start(name, &[&["-w", "ws:ws"], args].concat());
}

fn count(home: &Home, name: &str) -> u64 {
    let files = home.sandboxes().get(name).unwrap().files().unwrap();
    files.stat("log").map_or(0, |entry| entry.size)
}

fn goes_on(home: &Home, name: &str) {
    let before = count(home, name);
    eventually("it goes on", || count(home, name) > before);
}

/// The last number; all before it are there, too.
fn whole(log: &str) -> usize {
    let numbers: Vec<usize> = log.lines().map(|line| line.parse().unwrap()).collect();
    assert!(log.is_empty() || log.ends_with('\n'), "half a line");
    assert!(numbers.iter().copied().eq(1..=numbers.len()), "a gap: {numbers:?}");
    numbers.len()
}

fn rolled_back(home: &Home, checkpoint: &str) -> usize {
    // What was not saved is kept, and told on stderr.
    assert_eq!(home.run(&["checkpoint", "rollback", "ws", checkpoint]).0, 0);
    whole(&home.ok(&["run", "--output", "max", "-w", "ws:ws", "--", "cat", "log"]))
}

#[test]
fn it_goes_on_with_its_open_files_and_directories_and_a_rollback_brings_back_what_was_then() {
    let home = Home::new();
    prepared(&home, "a", &["--checkpoints"]);
    home.ok(&["exec", "-d", "a", "--", "sh", "-c", COUNTS]);
    goes_on(&home, "a");
    let first = home.ok(&["checkpoint", "save", "ws"]);
    goes_on(&home, "a");
    let second = home.ok(&["checkpoint", "save", "ws", "--label", "second"]);
    goes_on(&home, "a");
    assert_eq!(
        home.says("a", "for p in /proc/[0-9]*; do readlink $p/cwd; done 2>/dev/null | grep -m1 d/e$"),
        "/workspace/d/e\n"
    );
    assert_eq!(home.json(&["stats", "--json", "a"])["figures"]["frozen"], false);
    home.says("a", "echo later > later");
    home.ok(&["stop", "a"]);
    let last = whole(&home.ok(&["run", "--output", "max", "-w", "ws:ws", "--", "cat", "log"]));
    let (one, two) = (rolled_back(&home, first.trim_end()), rolled_back(&home, second.trim_end()));
    assert!(0 < one && one < two && two < last, "{one} {two} {last}");
    assert_eq!(home.ok(&["run", "-w", "ws:ws", "--", "ls"]), "d\nlog\n");
}

#[test]
fn one_that_was_started_after_the_first_checkpoint_is_ready_and_one_before_it_is_told_how() {
    let home = Home::new();
    prepared(&home, "plain", &[]);
    home.fails(&["checkpoint", "save", "ws"], "--checkpoints");
    // Nothing has changed for anybody: it is shared as before.
    assert_eq!(home.ok(&["run", "-w", "ws:ws", "--", "echo", "shared"]), "shared\n");
    home.start("other", &["-w", "ws:ws"]);
    home.fails(&["start", "--name", "plain", "-w", "ws:ws", "--checkpoints"], "differs in `checkpoints`");
    home.fails(&["start", "--name", "third", "-w", "ws:ws", "--checkpoints"], "busy");
    home.fails(&["start", "--checkpoints"], "--workspace");
    home.fails(&["start", "--checkpoints", "-w", "tmpfs"], "ws:ID");
    home.ok(&["stop", "plain", "other"]);
    home.ok(&["checkpoint", "save", "ws"]);
    home.start("after", &["-w", "ws:ws"]);
    home.says("after", "echo x > x");
    let saved = home.ok(&["checkpoint", "save", "ws"]);
    home.says("after", "rm x");
    home.fails(&["checkpoint", "rollback", "ws", saved.trim_end()], "stop the sandbox");
    home.ok(&["stop", "after"]);
    let rolled = home.json(&["checkpoint", "rollback", "ws", saved.trim_end(), "--json"]);
    assert_eq!(home.ok(&["run", "-w", "ws:ws", "--", "cat", "x"]), "x\n");
    // That it was removed, after which nothing is left of what was written, was not saved, and is now.
    let removed = rolled["automatic"]["id"].as_str().unwrap().to_owned();
    home.ok(&["checkpoint", "rollback", "ws", &removed]);
    assert_eq!(home.ok(&["run", "-w", "ws:ws", "--", "ls"]), "");
}

fn freeze(home: &Home) -> OwnedFd {
    let client = client(home);
    send(&client, b"\"freeze\"", SendFlags::NOSIGNAL).unwrap();
    assert_eq!(hears(&client), "\"frozen\"");
    client
}

#[test]
fn who_stands_still_goes_on_when_whoever_asked_is_gone_and_commands_wait() {
    let home = Home::new();
    home.start("a", &[]);
    home.ok(&["exec", "-d", "a", "--", "sh", "-c", COUNTS]);
    goes_on(&home, "a");
    let still = freeze(&home);
    let before = count(&home, "a");
    assert_eq!(home.json(&["stats", "--json", "a"])["figures"]["frozen"], true);
    let waits = home.pinfold(&["exec", "a", "--", "echo", "late"]).spawn().unwrap();
    eventually("it is asked for", || home.json(&["stats", "--json", "a"])["running"] == 2);
    assert_eq!(count(&home, "a"), before);
    drop(still);
    assert_eq!(finish(waits), (0, "late\n".to_owned(), String::new()));
    goes_on(&home, "a");
    // Told, it goes on as well; nonsense ends it like a hang-up.
    let still = freeze(&home);
    send(&still, b"\"thaw\"", SendFlags::NOSIGNAL).unwrap();
    assert_eq!(hears(&still), "\"thawed\"");
    goes_on(&home, "a");
    let still = freeze(&home);
    send(&still, b"nonsense", SendFlags::NOSIGNAL).unwrap();
    assert_eq!(hears(&still), "");
    goes_on(&home, "a");
}

#[test]
fn who_stands_still_can_be_stopped_and_dies_with_his_keeper() {
    let home = Home::new();
    home.start("a", &[]);
    home.ok(&["exec", "-d", "a", "--", "sh", "-c", COUNTS]);
    goes_on(&home, "a");
    let _still = freeze(&home);
    home.ok(&["stop", "a"]);
    home.is_clean();
    home.start("b", &[]);
    let _still = freeze(&home);
    let (keeper, _) = home.processes("b");
    let keeper = rustix::process::Pid::from_raw(keeper).unwrap();
    rustix::process::kill_process(keeper, rustix::process::Signal::KILL).unwrap();
    home.next_command_cleans();
}

#[test]
fn what_was_not_acknowledged_is_not_saved() {
    let home = Home::new();
    prepared(&home, "a", &["--checkpoints"]);
    home.says("a", "head -c 30000000 /dev/zero > big; echo x > x");
    // Killed at some moment of it: the sandbox works on, and the next save is whole.
    for _ in 0..5 {
        let mut save = home.pinfold(&["checkpoint", "save", "ws"]).spawn().unwrap();
        save.kill().unwrap();
        save.wait().unwrap();
        assert_eq!(home.says("a", "cat x"), "x\n");
    }
    home.ok(&["checkpoint", "save", "ws", "--id", "whole"]);
    let listed = home.json(&["checkpoint", "list", "ws", "--json"]);
    assert_eq!(listed[0]["id"], "whole");
}
