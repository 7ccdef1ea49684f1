//! SIGKILL of everyone at many moments: the next command leaves nothing of what died, and what lives is as it was.

use super::{Home, finish};
use crate::sandbox::{eventually, kill};
use crate::support;
use std::process::Stdio;
use std::time::Duration;

#[test]
fn when_the_keeper_is_killed_the_sandbox_dies_and_the_next_command_clears_up() {
    let home = Home::new();
    for service in [false, true] {
        home.start("a", &[]);
        if service {
            home.says("a", "sleep 1000 >/dev/null 2>&1 &");
        }
        let (keeper, runner) = home.processes("a");
        kill(keeper, libc::SIGKILL);
        eventually("the runner is gone", || !is_there(runner));
        home.fails(&["exec", "a", "--", "true"], "there is no sandbox");
        home.next_command_cleans();
        // Its log is there still.
        assert!(home.ok(&["logs", "a"]).contains("started"));
    }
    // Its name is free.
    home.start("a", &[]);
    assert_eq!(home.says("a", "echo anew"), "anew\n");
}

#[test]
fn when_the_keeper_is_killed_its_name_can_be_taken_at_once() {
    let home = Home::new();
    for _ in 0..support::runs(10) {
        home.start("a", &["-w", "tmpfs"]);
        let (keeper, _) = home.processes("a");
        kill(keeper, libc::SIGKILL);
        home.start("a", &["-w", "tmpfs"]);
        assert_eq!(home.says("a", "echo anew"), "anew\n");
    }
    home.ok(&["stop", "a"]);
}

#[test]
fn when_the_runner_is_killed_the_keeper_ends_and_says_so() {
    let home = Home::new();
    home.start("a", &[]);
    home.says("a", "sleep 1000 >/dev/null 2>&1 &");
    let (keeper, runner) = home.processes("a");
    let child = home.pinfold(&["exec", "a", "--", "sleep", "1000"]).spawn().unwrap();
    eventually("the command runs", || home.json(&["stats", "--json", "a"])["running"] == 1);
    kill(runner, libc::SIGKILL);
    let (code, _, words) = finish(child);
    assert!(code == 125 && words.contains("ended"), "{code} {words}");
    eventually("the keeper is gone", || !is_there(keeper));
    home.next_command_cleans();
    let log = home.ok(&["logs", "a"]);
    assert!(log.lines().last().unwrap().contains("stopped"), "{log}");
}

#[test]
fn when_keeper_and_runner_are_killed_at_once_nothing_is_left() {
    let home = Home::new();
    home.start("a", &[]);
    home.says("a", "sleep 1000 >/dev/null 2>&1 &");
    let (keeper, runner) = home.processes("a");
    kill(runner, libc::SIGKILL);
    kill(keeper, libc::SIGKILL);
    home.next_command_cleans();
}

#[test]
fn a_start_that_is_killed_at_any_moment_leaves_a_sandbox_or_nothing() {
    let home = Home::new();
    for step in 0..support::runs(40) {
        let mut child = home.pinfold(&["start", "--name", "a"]).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(700) * step.try_into().unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        // Whether it is there or not, this one gets one that works.
        home.start("a", &[]);
        assert_eq!(home.says("a", "echo here"), "here\n");
        home.ok(&["stop", "a"]);
        home.is_clean();
    }
}

#[test]
fn a_keeper_that_is_killed_at_any_moment_of_its_start_leaves_nothing() {
    let home = Home::new();
    for step in 0..support::runs(40) {
        let child = home.pinfold(&["start", "--name", "a"]).spawn().unwrap();
        let runtime = home.runtime();
        std::thread::sleep(Duration::from_micros(500) * step.try_into().unwrap());
        // The keeper is whoever has the lock's file open.
        for pid in pids() {
            let is_keeper =
                std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "pinfold-keeper\n");
            if is_keeper && holds(pid, runtime.to_str().unwrap()) {
                kill(pid, libc::SIGKILL);
            }
        }
        let _failed_or_not = finish(child);
        home.run(&["stop", "a"]);
        home.next_command_cleans();
    }
}

#[test]
fn clients_that_are_killed_at_any_moment_leave_no_command() {
    let home = Home::new();
    home.start("a", &[]);
    for step in 0..support::runs(40) {
        let mut command = home.pinfold(&["exec", "a", "--", "sh", "-c", "sleep 1000 & sleep 1000"]);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(300) * step.try_into().unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    eventually("no command is left", || home.json(&["stats", "--json", "a"])["running"] == 0);
    assert_eq!(home.says("a", "grep -sal sleep /proc/[0-9]*/comm | wc -l"), "0\n");
}

#[test]
fn a_stopped_keeper_is_killed_by_stop_and_hinders_nobody_else() {
    let home = Home::new();
    home.start("a", &[]);
    home.start("b", &[]);
    let (keeper, _) = home.processes("a");
    kill(keeper, libc::SIGSTOP);
    let listed = home.json(&["ps", "--json"]);
    assert_eq!((&listed[0]["answers"], &listed[1]["answers"]), (&false.into(), &true.into()), "{listed}");
    assert_eq!(home.says("b", "echo here"), "here\n");
    let (code, _, words) = home.run(&["stop", "a"]);
    assert!(code == 0 && words.contains("was killed"), "{code} {words}");
    assert_eq!(home.ok(&["ps"]).lines().count(), 2);
}

fn pids() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn holds(pid: i32, directory: &str) -> bool {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|path| path.starts_with(directory))
}

/// A zombie is gone: it is its new parent's to reap.
fn is_there(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z') && !rest.starts_with('X'))
}
