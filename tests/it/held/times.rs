//! Idle, ttl, figures, and what counts as use.

use super::Home;
use crate::sandbox::eventually;
use crate::support::{self, is_slow};
use std::time::Duration;

#[test]
fn an_idle_sandbox_ends_and_one_in_use_does_not() {
    let home = Home::new();
    // The next command must come in time, which it does late on an emulated machine.
    let (idle, longer) = if is_slow() { ("10s", 40) } else { ("2s", 5) };
    home.start("a", &["--idle", idle]);
    home.start("b", &["--idle", idle]);
    // What a command leaves in the background is no use.
    home.says("a", "sleep 1000 >/dev/null 2>&1 &");
    assert_eq!(home.says("b", &format!("sleep {longer}; echo done")), "done\n");
    eventually("both are idle and end", || home.ok(&["ps"]).is_empty());
    for name in ["a", "b"] {
        assert!(home.ok(&["logs", name]).trim_end().ends_with("idle"));
    }
    home.is_clean();
}

#[test]
fn a_detached_command_is_use_until_it_ends() {
    let home = Home::new();
    let (idle, longer) = if is_slow() { ("10s", 40) } else { ("2s", 5) };
    home.start("a", &["--idle", idle]);
    home.ok(&["exec", "-d", "a", "--", "sh", "-c", &format!("sleep {longer}; echo done")]);
    eventually("it ends by itself", || home.ok(&["ps"]).is_empty());
    assert!(home.ok(&["logs", "a"]).contains("done"));
}

#[test]
fn a_sandbox_lives_no_longer_than_its_time() {
    let home = Home::new();
    home.start("a", &["--ttl", "1s"]);
    let (code, _, words) = home.shell("a", "sleep 1000");
    assert!(code == 125 || code == 143 || code == 124, "{code} {words}");
    eventually("it is gone", || home.ok(&["ps"]).is_empty());
    assert!(home.ok(&["logs", "a"]).contains("as long as it may"));
    home.is_clean();
}

#[test]
fn stop_ends_everything_and_may_be_repeated() {
    let home = Home::new();
    home.start("a", &[]);
    home.start("b", &[]);
    home.says("a", "trap '' TERM INT HUP; sleep 1000 >/dev/null 2>&1 & setsid sleep 1000 >/dev/null 2>&1 &");
    let child = home.pinfold(&["exec", "a", "--", "sleep", "1000"]).spawn().unwrap();
    eventually("the command runs", || home.json(&["stats", "--json", "a"])["running"] == 1);
    assert_eq!(home.ok(&["stop", "a", "b"]), "");
    assert_ne!(super::finish(child).0, 0);
    home.is_clean();
    let (code, stdout, words) = home.run(&["stop", "a"]);
    assert_eq!((code, stdout.as_str(), words.as_str()), (0, "", "pinfold: there is no sandbox `a` any more\n"));
    assert_eq!(home.run(&["stop", "--all"]), (0, String::new(), String::new()));
}

#[test]
fn figures_are_those_of_the_sandbox() {
    let home = Home::new();
    home.start("a", &["-w", "tmpfs", "--idle", "1h", "--ttl", "8h"]);
    let before = home.json(&["stats", "--json", "a"]);
    assert_eq!(
        (&before["is_active"], &before["started"], &before["idle_limit_ms"]),
        (&false.into(), &0.into(), &3_600_000.into())
    );
    home.says("a", "head -c 20M /dev/zero > /tmp/x; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; sleep 1000 >/dev/null 2>&1 &");
    let after = home.json(&["stats", "--json", "a"]);
    assert_eq!((&after["started"], &after["running"]), (&1.into(), &0.into()));
    assert!(after["last_used_ms"].as_u64() > before["last_used_ms"].as_u64(), "{after}");
    assert!(after["figures"]["pids"].as_u64().unwrap() >= 1, "{after}");
    assert_eq!(after["limits"]["memory_bytes"], 512 << 20, "{after}");
    if !support::has_cgroups() {
        return support::host_cannot("needs cgroups for figures of the whole sandbox");
    }
    let figures = &after["figures"];
    assert!(figures["memory_bytes"].as_u64().unwrap() >= 20 << 20, "{after}");
    assert_eq!(figures["workspace_bytes"].as_u64(), Some(0), "{after}");
    home.says("a", "head -c 3M /dev/zero > x");
    assert_eq!(home.json(&["stats", "--json", "a"])["figures"]["workspace_bytes"].as_u64(), Some(3 << 20));
    let text = home.ok(&["stats", "a"]);
    assert!(text.contains(" of 512.0 MiB") && text.contains("1h0m"), "{text}");
}

#[test]
fn what_a_workspace_on_disk_takes_is_looked_up_when_it_is_asked_for() {
    let home = Home::new();
    home.ok(&["workspace", "create", "notes"]);
    home.ok(&["workspace", "create", "layers"]);
    home.start("stored", &["-w", "ws:notes"]);
    home.start("layered", &["-w", "ws:layers", "--checkpoints"]);
    for name in ["stored", "layered"] {
        home.says(name, "head -c 3M /dev/zero > x");
        let takes = home.json(&["stats", "--json", name])["figures"]["workspace_bytes"].as_u64().unwrap();
        assert!((3 << 20..4 << 20).contains(&takes), "{name}: {takes}");
        assert!(home.json(&["stats", "--json", "--no-size", name])["figures"]["workspace_bytes"].is_null());
    }
}

#[test]
fn a_keeper_that_has_nothing_to_do_does_nothing() {
    let home = Home::new();
    home.start("a", &["--idle", "1h"]);
    home.says("a", "true");
    let (keeper, _) = home.processes("a");
    let time = || {
        let stat = std::fs::read_to_string(format!("/proc/{keeper}/schedstat")).unwrap();
        stat.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    // Its last work may still be under way.
    eventually("it rests", || {
        let before = time();
        std::thread::sleep(Duration::from_millis(500));
        time() == before
    });
}
