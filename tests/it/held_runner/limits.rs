//! Limits and ends of single commands: what hits one hits nobody else.

use super::Held;
use crate::support::{has_cgroups, host_cannot};
use pinfold_runner::{Ask, Mechanism, Status};
use serde_json::json;
use std::io::Read;

/// A service that must outlive all else; whether it does.
fn lives(held: &Held) -> bool {
    held.sh("kill -0 $(cat service) && echo lives || echo dead") == "lives\n"
}

fn with_service() -> Held {
    let held = Held::start(json!({}));
    held.sh("(exec sleep 300 >/dev/null 2>&1) & echo $! > service");
    held
}

#[test]
fn each_limit_of_a_command_s_own_ends_that_command_alone() {
    let held = with_service();
    let spin = "sleep 200 & while :; do :; done";
    let done = held.run(&["sh", "-c", spin], json!({ "limits": { "wall_ms": 200 } }));
    assert_eq!(done.outcome.status, Status::TimedOut);
    let done = held.run(&["sh", "-c", "while :; do :; done"], json!({ "limits": { "cpu_ms": 100 } }));
    assert_eq!(done.outcome.status, Status::CpuExceeded);
    let grow = "x=x; while :; do x=$x$x; done";
    let done = held.run(&["sh", "-c", grow], json!({ "limits": { "memory_bytes": 32 << 20 } }));
    if has_cgroups() {
        assert_eq!(done.outcome.status, Status::OutOfMemory);
        let peak = done.outcome.usage.peak_memory_bytes.unwrap();
        assert!(peak > 16 << 20 && peak <= 32 << 20, "{peak}");
        assert_eq!(done.outcome.isolation.memory, Mechanism::Cgroup);
    } else {
        assert_ne!(done.outcome.exit_code, Some(0));
        assert_eq!(done.outcome.isolation.memory, Mechanism::Rlimit);
    }
    let crowd = "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; wait";
    let done = held.run(&["sh", "-c", crowd], json!({ "limits": { "pids": 5, "wall_ms": 60_000 } }));
    if has_cgroups() {
        assert!(done.stderr.contains("fork"), "{:?} {}", done.outcome, done.stderr);
        assert!(done.outcome.usage.peak_pids.unwrap() <= 5);
    } else {
        assert_eq!(done.outcome.error.unwrap().code, "cgroup");
    }
    assert!(lives(&held));
    assert_eq!(held.sh("ps ax | grep -c '[s]leep 200'; true"), "0\n");
    held.close();
}

#[test]
fn a_cancelled_command_takes_all_along_that_it_started_and_nobody_else() {
    let held = with_service();
    // Without groups a process that left its session and its parents can't be told from others'.
    let script = match has_cgroups() {
        true => "(setsid sleep 201 &) & sleep 202 & setsid sleep 203 & sleep 204",
        false => "sleep 202 & (sleep 203 &) ; sleep 204",
    };
    let asked = held.begin(&["sh", "-c", script], json!({}));
    crate::sandbox::eventually("they run", || {
        held.sh("ps ax | grep -c '[s]leep 20'; true").trim().parse::<u32>().unwrap() >= 3
    });
    held.ask(&Ask::Cancel { number: asked.number });
    assert_eq!(held.end(asked).outcome.status, Status::Cancelled);
    assert_eq!(held.sh("ps ax | grep -c '[s]leep 20'; true"), "0\n");
    assert!(lives(&held));
    held.close();
}

#[test]
fn what_a_command_left_can_still_be_cancelled() {
    let held = with_service();
    let asked = held.exec(&["sh", "-c", "sleep 205 >/dev/null 2>&1 & sleep 206 >/dev/null 2>&1 & true"], json!({}));
    let number = asked.number;
    assert_eq!(held.end(asked).outcome.exit_code, Some(0));
    // Who is just executing something has no command line.
    crate::sandbox::eventually("both are seen", || held.sh("ps ax | grep -c '[s]leep 20'; true") == "2\n");
    held.ask(&Ask::Cancel { number });
    crate::sandbox::eventually("they end", || held.sh("ps ax | grep -c '[s]leep 20'; true") == "0\n");
    assert!(lives(&held));
    held.close();
}

#[test]
fn kill_everybody_leaves_the_sandbox_of_use() {
    let held = Held::start(json!({}));
    for _ in 0..20 {
        held.run(&["sh", "-c", "kill -9 -1; kill -9 1"], json!({}));
    }
    assert_eq!(held.sh("echo still"), "still\n");
    held.close();
}

#[test]
fn the_sandbox_s_limits_hold_over_all_commands_together() {
    let held = Held::start(json!({ "limits": { "pids": 8, "memory_bytes": 64 << 20 } }));
    let asked: Vec<_> = (0..12).map(|_| held.exec(&["sleep", "300"], json!({}))).collect();
    // Of all of them, before the first makes room for another.
    let notices: Vec<_> = asked.iter().map(|asked| held.notice_of(asked.number).0).collect();
    let mut refused = 0;
    for (asked, notice) in asked.iter().zip(notices) {
        if let pinfold_runner::Notice::Ended { outcome, .. } = notice {
            assert_eq!(outcome.error.unwrap().code, "process");
            refused += 1;
        } else {
            held.ask(&Ask::Cancel { number: asked.number });
        }
    }
    assert!(refused >= 4, "{refused}");
    held.close();
    if has_cgroups() {
        let held = Held::start(json!({ "limits": { "memory_bytes": 64 << 20 } }));
        let done = held.run(&["sh", "-c", "x=x; while :; do x=$x$x; done"], json!({}));
        assert_eq!(done.outcome.status, Status::OutOfMemory);
        assert_eq!(held.sh("echo still"), "still\n");
        held.close();
    }
}

#[test]
fn figures_are_of_the_command_alone() {
    let held = Held::start(json!({}));
    let busy = held.run(&["sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"], json!({}));
    let idle = held.run(&["sleep", "0.2"], json!({}));
    let cpu = |usage: &pinfold_runner::Usage| usage.user_ms.unwrap() + usage.system_ms.unwrap();
    assert!(
        cpu(&busy.outcome.usage) > 2.0 * cpu(&idle.outcome.usage),
        "{:?} {:?}",
        busy.outcome.usage,
        idle.outcome.usage
    );
    // It is counted from when the runner hears of it, which has to wait for a CPU.
    assert!(idle.outcome.usage.wall_ms.unwrap() >= 100.0 && idle.outcome.usage.setup_ms.is_some());
    held.close();
}

#[test]
fn the_memory_of_a_command_is_told_by_its_kinds_when_it_ends_and_before_it_is_killed() {
    if !has_cgroups() {
        return host_cannot("needs cgroups for what a command's memory consists of");
    }
    let held = Held::start(json!({}));
    let shared = |usage: &pinfold_runner::Usage| usage.memory.unwrap().shmem_bytes.unwrap();
    let fill = "head -c 24M /dev/zero > /tmp/$0";
    let done = held.run(&["sh", "-c", fill, "one"], json!({}));
    assert!((20 << 20..40 << 20).contains(&shared(&done.outcome.usage)), "{:?}", done.outcome.usage);
    // Only what is its own: what another one left is not in it.
    let done = held.run(&["true"], json!({}));
    assert!(shared(&done.outcome.usage) < 4 << 20, "{:?}", done.outcome.usage);
    // Cancelled when it is there, however long that takes.
    let stays = "x=$(head -c 24M /dev/zero | tr '\\0' x); echo there; sleep 100; echo $x";
    let mut asked = held.begin(&["sh", "-c", stays], json!({}));
    asked.stdout.read_exact(&mut [0; 6]).unwrap();
    held.ask(&Ask::Cancel { number: asked.number });
    let done = held.end(asked);
    assert_eq!(done.outcome.status, Status::Cancelled);
    assert!(done.outcome.usage.memory.unwrap().anon_bytes.unwrap() > 20 << 20, "{:?}", done.outcome.usage);
    // Who forked is known only to the pid namespace, which all commands share.
    assert_eq!(done.outcome.usage.total_pids, None);
    held.close();
}
