//! How a held sandbox ends, and that nothing of it is left whoever dies.

use super::{Held, sandbox};
use crate::sandbox::{Scratch, children, kill};
use pinfold_runner::{Notice, Status};
use serde_json::json;

#[test]
fn the_keeper_s_going_ends_everything() {
    let held = Held::start(json!({}));
    held.sh("sleep 300 >/dev/null 2>&1 & setsid sleep 300 >/dev/null 2>&1 &");
    let _running = held.begin(&["sleep", "300"], json!({}));
    held.close();
}

#[test]
fn a_closed_lifeline_cancels_whoever_sees_it_first() {
    let scratch = Scratch::new();
    for number in 0..crate::support::runs(20) {
        let path = scratch.text(&format!("lifeline-{number}"));
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let lifeline = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let script = r#"path="$0"; exec "$@" 3<"$path" 4<&2 2>/dev/null"#;
        let held = Held::spawn_with(sandbox(json!({})), &["sh", "-c", script, &path], &["--lifeline=3", "--held=4"]);
        assert!(matches!(held.notice().0, Notice::Ready { .. }));
        drop(lifeline);
        assert_eq!(held.running.answer().outcome.status, Status::Cancelled);
    }
}

#[test]
fn a_signal_and_the_wall_clock_end_it_and_every_command_is_told() {
    let held = Held::start(json!({}));
    let asked = held.begin(&["sleep", "300"], json!({}));
    kill(held.running.pid(), libc::SIGTERM);
    assert_eq!(held.outcome(asked).0.status, Status::Cancelled);
    assert_eq!(held.running.answer().outcome.status, Status::Cancelled);

    let held = Held::start(json!({ "limits": { "wall_ms": 1500 } }));
    let asked = held.begin(&["sleep", "300"], json!({}));
    assert_eq!(held.outcome(asked).0.status, Status::TimedOut);
    assert_eq!(held.running.answer().outcome.status, Status::TimedOut);
}

#[test]
fn a_limit_on_the_whole_ends_it() {
    let held = Held::start(json!({ "limits": { "cpu_ms": 300 } }));
    let asked = held.begin(&["sh", "-c", "while :; do :; done"], json!({}));
    let status = held.outcome(asked).0.status;
    assert_eq!(status, Status::CpuExceeded);
    assert!(matches!(held.running.answer().outcome.status, Status::CpuExceeded | Status::Cancelled));
}

#[test]
fn whoever_is_killed_nothing_is_left() {
    for who in ["init", "runner", "runner-frozen"] {
        let held = Held::start(json!({}));
        held.sh("sleep 300 >/dev/null 2>&1 & setsid sleep 300 >/dev/null 2>&1 &");
        let asked = held.begin(&["sleep", "300"], json!({}));
        if who == "init" {
            let init = children(held.running.pid())[0];
            kill(init, libc::SIGKILL);
            assert_eq!(held.outcome(asked).0.error.unwrap().code, "init_died");
            assert_eq!(held.running.answer().outcome.error.unwrap().code, "init_died");
            continue;
        }
        if who == "runner-frozen" {
            held.ask(&pinfold_runner::Ask::Freeze);
            assert_eq!(held.notice().0, Notice::Frozen(None));
        }
        kill(held.running.pid(), libc::SIGKILL);
        held.running.sweep();
    }
}

#[test]
fn a_kill_at_any_moment_leaves_nothing() {
    for delay_us in (0..crate::support::runs(30)).map(|step| step as u64 * 700) {
        let held = Held::spawn(sandbox(json!({})));
        let start = std::time::Instant::now();
        while start.elapsed().as_micros() < u128::from(delay_us) {
            std::thread::yield_now();
        }
        kill(held.running.pid(), libc::SIGKILL);
        held.running.sweep();
    }
}

#[test]
fn an_idle_sandbox_uses_no_cpu() {
    let held = Held::start(json!({}));
    held.sh("true");
    let runner = held.running.pid();
    let init = children(runner)[0];
    let switches = || -> Vec<u64> {
        [runner, init]
            .map(|pid| {
                let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
                let count = |key: &str| {
                    status.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok()).unwrap()
                };
                count("voluntary_ctxt_switches:")
            })
            .into()
    };
    crate::sandbox::eventually("it rests", || {
        let before = switches();
        std::thread::sleep(std::time::Duration::from_millis(700));
        switches() == before
    });
    held.close();
}
