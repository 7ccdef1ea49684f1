//! How long things live where no pid namespace ends with its first process: what the warden and the runner do by hand.

use super::{job, probe, sh, stands};
use crate::lifetime::with_lifeline;
use crate::sandbox::{Running, Scratch, children, eventually, kill};
use crate::support::{has_cgroups, is_root, runs};
use pinfold_runner::Status;
use serde_json::json;
use std::fs;
use std::time::Duration;

/// Far below how long what is being waited for would take by itself.
const SOON: Duration = Duration::from_secs(20);

/// The host's pid of the command, once it is called `name`.
pub(super) fn command(running: &Running, name: &str) -> i32 {
    let mut found = None;
    eventually("the command runs", || {
        // The warden's first child; orphans that it took on come after.
        let mut first = children(running.pid()).into_iter().filter_map(|warden| children(warden).first().copied());
        found = first.find(|pid| is_called(*pid, name));
        found.is_some()
    });
    found.unwrap()
}

fn is_called(pid: i32, name: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|found| found.trim_end() == name)
}

fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[test]
fn whoever_leaves_the_process_group_dies_with_the_job() {
    if !stands() {
        return;
    }
    // That none is left is looked at after every job of this suite.
    let scratch = Scratch::new();
    for _ in 0..runs(50) {
        assert_eq!(probe(&scratch, "process", &["daemon"]).run().exited(), "daemon made\n");
    }
    let script =
        "setsid sh -c 'setsid sleep 1000 & sleep 1000' >/dev/null 2>&1 & nohup sleep 1000 >/dev/null 2>&1 & echo end";
    assert_eq!(sh(script).run().exited(), "end\n");
}

#[test]
fn whoever_forks_for_ever_dies_with_the_job() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    // A user's are refused without a limit, where no cgroup stops their forks.
    let many = if crate::support::is_root() { json!("max") } else { json!(4000) };
    for run in 0..runs(50) {
        // Its first process ends at once, and its children go on; every other time no limit ends that soon.
        let pids = if run % 2 == 0 { json!(50) } else { many.clone() };
        let answer = probe(&scratch, "process", &["chain"]).limit("pids", pids).limit("wall_ms", 60_000).run();
        assert!(answer.took < SOON, "{:?}", answer.took);
    }
    for kind in ["bomb", "short-spinners", "spinners", "zombies", "orphans"] {
        for _ in 0..runs(10) {
            let answer = probe(&scratch, "process", &[kind, "3"]).limit("pids", 50).limit("wall_ms", 300).run();
            assert!([Status::TimedOut, Status::Exited].contains(&answer.outcome.status), "{kind}: {}", answer.json);
            assert!(answer.took < SOON, "{kind} took {:?}", answer.took);
        }
    }
}

#[test]
fn the_deadline_holds_against_every_trick() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    for kind in ["sleep", "stop", "ignore", "exit-0"] {
        let answer = probe(&scratch, "process", &[kind]).limit("wall_ms", 400).run();
        answer.is(Status::TimedOut);
        assert!(answer.took < SOON, "{kind} took {:?}", answer.took);
    }
}

#[test]
fn a_background_process_that_holds_stdout_delays_nothing() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    let answer = probe(&scratch, "process", &["hold-stdout"]).limit("wall_ms", 60_000).run();
    assert_eq!(answer.exited(), "parent ends\n");
    assert!(answer.took < SOON);
}

#[test]
fn a_cancelled_job_is_told_as_such() {
    if !stands() {
        return;
    }
    let running = sh("echo begun; exec sleep 1000").limit("wall_ms", 90_000).spawn();
    command(&running, "sleep");
    kill(running.pid(), libc::SIGTERM);
    assert_eq!(running.answer().is(Status::Cancelled).stdout(), "begun\n");

    let scratch = Scratch::new();
    let (running, lifeline) = with_lifeline(job(&["sleep", "1000"]).limit("wall_ms", 90_000), &scratch);
    command(&running, "sleep");
    drop(lifeline);
    running.answer().is(Status::Cancelled);
}

/// A command that has left its process group and session behind in every way, and its daemons.
const SCATTERED: &str =
    "setsid sleep 1000 & (setsid setsid sleep 1000 &); setsid sh -c 'sleep 1000 & sleep 1000' & exec sleep 1000";

#[test]
fn when_the_runner_is_killed_the_warden_ends_everything() {
    if !stands() {
        return;
    }
    for _ in 0..10 {
        let running = sh(SCATTERED).limit("wall_ms", 90_000).spawn();
        command(&running, "sleep");
        kill(running.pid(), libc::SIGKILL);
        running.sweep();
    }
}

#[test]
fn when_the_warden_is_killed_the_runner_ends_everything() {
    if !stands() {
        return;
    }
    for signal in [libc::SIGKILL, libc::SIGSTOP] {
        let running = sh(SCATTERED).limit("wall_ms", 3000).spawn();
        command(&running, "sleep");
        kill(children(running.pid())[0], signal);
        let answer = running.answer();
        if signal == libc::SIGKILL {
            assert_eq!(
                answer.outcome.error.as_ref().map(|error| error.code.as_str()),
                Some("init_died"),
                "{}",
                answer.json
            );
        } else {
            // It hears nothing any more, so the runner does without it.
            answer.is(Status::TimedOut);
        }
        assert!(answer.took < SOON);
    }
}

#[test]
fn when_both_are_killed_the_command_dies_and_a_sweep_ends_the_rest() {
    if !stands() {
        return;
    }
    let running = sh(SCATTERED).limit("wall_ms", 90_000).spawn();
    let first = command(&running, "sleep");
    let warden = children(running.pid())[0];
    let daemons: Vec<i32> = children(first).into_iter().chain(children(warden)).collect();
    // Neither may see the other die.
    kill(running.pid(), libc::SIGSTOP);
    kill(warden, libc::SIGKILL);
    kill(running.pid(), libc::SIGKILL);
    eventually("the command's first process is dead", || !is_alive(first));
    // By the uid, or by the group.
    if is_root() || has_cgroups() {
        return running.sweep();
    }
    // The documented gap: what left the first process's side lives on, confined, until somebody ends it.
    daemons.into_iter().filter(|pid| is_called(*pid, "sleep")).for_each(|pid| kill(pid, libc::SIGKILL));
    // Who is just being replaced by another program shows no variables for a moment.
    for _ in 0..3 {
        eventually("nothing is left to end", || !end_by_environment(&running));
    }
    running.sweep();
}

/// Ends what is left of a job by the variable that tells its workspace, and tells whether anything was.
fn end_by_environment(running: &Running) -> bool {
    let marker = running.state.text("state");
    let mut found = false;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.windows(marker.len()).any(|window| window == marker.as_bytes())
            && let Ok(pid) = entry.file_name().to_string_lossy().parse()
        {
            kill(pid, libc::SIGKILL);
            found = true;
        }
    }
    found
}
