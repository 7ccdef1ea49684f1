//! Somebody hostile who lives in the sandbox while commands come: he sees nothing of a command that is being set up, and
//! whatever he does, what is told of a command is true, nobody waits for ever, and the sandbox is usable when he is gone.

use crate::held::wire::{client, hears};
use crate::held::{Home, finish};
use crate::sandbox::{PATIENCE, eventually};
use crate::support::{has_program, probe, runs, skip};
use pinfold::held::{RunOptions, Shell, TerminalOptions};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Child;
use std::time::{Duration, Instant};

/// A sandbox with a resident in it, whom the end of his client ends.
struct Attacked {
    home: Home,
    resident: Option<Child>,
}

impl Attacked {
    fn by(kind: &str, more: &[&str]) -> Self {
        let home = Home::new();
        let mount = format!("{}:/probe/resident", probe("resident").display());
        home.start("box", &[&["--ro", &mount], more].concat());
        let resident = home.pinfold(&["exec", "box", "--", "/probe/resident", kind]).spawn().unwrap();
        let attacked = Self { home, resident: Some(resident) };
        // Not by a command, which he might not let in.
        let held = attacked.home.sandboxes().get("box").unwrap();
        let files = held.files().unwrap();
        eventually("the resident is at it", || files.read("ready").is_ok());
        attacked
    }

    /// Runs a command: its result.
    fn exec(&self, options: &[&str], command: &[&str]) -> Value {
        let begun = Instant::now();
        let (_, stdout, stderr) = self.home.run(&[&["exec", "--json"], options, &["box", "--"], command].concat());
        assert!(begun.elapsed() < PATIENCE, "{stdout}");
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout} {stderr}"))
    }

    /// Ends him, and looks that the sandbox is as good as new.
    fn end(mut self) {
        let mut resident = self.resident.take().unwrap();
        resident.kill().unwrap();
        resident.wait().unwrap();
        eventually("he is gone", || self.home.json(&["stats", "--json", "box"])["running"] == 0);
        // The dead ones are there until init has had time for them.
        eventually("nobody of his is left", || {
            self.home.says("box", "echo usable; grep -sal resident /proc/[0-9]*/comm | wc -l") == "usable\n0\n"
        });
        super::super::wait(async {
            let held = self.home.sandboxes().get("box").unwrap();
            let terminal = held.terminal(TerminalOptions::named("after").shell(Shell::Sh)).await.unwrap();
            let ran = terminal.run_command("echo usable", RunOptions::default()).await.unwrap();
            assert_eq!((ran.output.0, ran.exit_code), (b"usable\n".to_vec(), Some(0)));
        });
    }
}

/// What is told of a command is what happened: it ended as it wished to, or somebody killed it.
fn is_true(told: &Value, code: i32) {
    let is_killed = told["status"] == "signaled" && told["signal"] == "SIGKILL"
        || told["status"] == "failed" && told["error"]["code"] == "setup_died";
    assert!(is_killed || told["status"] == "exited" && told["exit_code"] == code, "{told}");
}

#[test]
fn nothing_of_a_command_that_is_being_set_up_is_given_away() {
    let attacked = Attacked::by("look", &[]);
    let seen = || -> BTreeSet<String> {
        let bytes = attacked.home.ok(&["exec", "box", "--", "cat", "seen"]);
        bytes.lines().map(str::to_owned).collect()
    };
    let mut child = attacked.home.pinfold(&["exec", "box", "--", "sleep", "1000"]).spawn().unwrap();
    let begun = Instant::now();
    // So many that he met some at the right moment.
    let mut ran = 0;
    while ran < runs(300) || !seen().iter().any(|line| line.starts_with("setup")) && begun.elapsed() < PATIENCE {
        attacked.home.says("box", "true");
        ran += 1;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let seen = seen();
    // The twin: into others he can look.
    assert!(seen.contains("other exe /usr/bin/sleep") && seen.contains("other fd pipe:["), "{seen:#?}");
    for open in ["other mem opened", "other environ opened", "other maps read"] {
        assert!(seen.contains(open), "{seen:#?}");
    }
    if !seen.iter().any(|line| line.starts_with("setup")) {
        return skip("the resident met nobody in set-up here");
    }
    let closed = |line: &&String| {
        let is_closed = ["closed", "cmdline", "status", "mountinfo", "cgroup", "wchan"];
        let words: Vec<_> = line.split(' ').collect();
        !is_closed.contains(&words[1]) && words[0] != "other"
    };
    assert_eq!(seen.iter().filter(closed).collect::<Vec<_>>(), Vec::<&String>::new());
    let is_ours = |line: &&String| {
        let rest = line.replace("/pinfold-runner", "").replace("pinfold-runner", "");
        // What a directory of the host is called shows wherever it is mounted.
        !line.contains("mountinfo") && rest.contains("pinfold") || line.contains("socket:") || line.contains("--held")
    };
    assert_eq!(seen.iter().filter(is_ours).collect::<Vec<_>>(), Vec::<&String>::new());
    attacked.end();
}

#[test]
fn who_kills_everybody_is_seen_for_what_he_does() {
    let attacked = Attacked::by("kill", &[]);
    for _ in 0..runs(40) {
        is_true(&attacked.exec(&["--time", "20s"], &["sh", "-c", "echo ran; exit 7"]), 7);
    }
    attacked.end();
}

#[test]
fn who_stops_everybody_holds_up_no_client_for_longer_than_he_waits() {
    let attacked = Attacked::by("stop", &[]);
    for _ in 0..3 {
        let mut client = attacked.home.pinfold(&["exec", "box", "--", "sleep", "1000"]).spawn().unwrap();
        eventually("it is begun", || attacked.home.json(&["stats", "--json", "box"])["running"] == 2);
        client.kill().unwrap();
        client.wait().unwrap();
        eventually("it is gone, stopped or not", || attacked.home.json(&["stats", "--json", "box"])["running"] == 1);
    }
    attacked.end();
}

#[test]
fn who_swaps_the_directory_leads_nobody_out() {
    let attacked = Attacked::by("swap", &[]);
    let canary = attacked.home.scratch.file("canary", "secret");
    let script = format!(
        "pwd -P; cat {canary} ../../../..{canary} /proc/self/cwd/{canary} 2>/dev/null; ls -A /proc/self/cwd/ /proc/self/cwd/.."
    );
    for _ in 0..runs(60) {
        let told = attacked.exec(&["--cwd", "here"], &["sh", "-c", &script]);
        let stdout = told["stdout"].as_str().unwrap_or_default();
        assert!(!stdout.contains("secret") && !stdout.contains("canary"), "{told}");
        let place = stdout.lines().next().unwrap_or_default();
        let is_refused = told["status"] == "failed" && told["error"]["code"] == "cwd";
        assert!(is_refused || ["/workspace/real", "/workspace", "/"].contains(&place), "{told}");
    }
    attacked.end();
}

#[test]
fn who_takes_every_process_gets_others_refused_and_no_more() {
    let attacked = Attacked::by("pids", &["--pids", "40"]);
    for _ in 0..runs(20) {
        let told = attacked.exec(&["--time", "20s"], &["sh", "-c", "echo ran; exit 7"]);
        assert!(told["status"] == "failed" || told["exit_code"] == 7, "{told}");
    }
    attacked.end();
}

#[test]
fn who_takes_all_memory_harms_neither_init_nor_the_next() {
    if !crate::support::has_cgroups() {
        return crate::support::host_cannot("needs cgroups");
    }
    let attacked = Attacked::by("memory", &["--memory", "64M", "--swap", "0"]);
    for _ in 0..runs(20) {
        let told = attacked.exec(&["--time", "20s"], &["sh", "-c", "echo ran; exit 7"]);
        assert!(told["status"] == "out_of_memory" || told["status"] == "failed" || told["exit_code"] == 7, "{told}");
    }
    attacked.end();
}

#[test]
fn who_takes_every_terminal_leaves_commands_alone() {
    let attacked = Attacked::by("terminals", &[]);
    super::super::wait(async {
        let held = attacked.home.sandboxes().get("box").unwrap();
        let refused = held.terminal(TerminalOptions::named("more").shell(Shell::Sh)).await.unwrap_err();
        assert!(refused.to_string().contains("terminal"), "{refused}");
    });
    assert_eq!(attacked.exec(&[], &["sh", "-c", "exit 7"])["exit_code"], 7);
    attacked.end();
}

#[test]
fn who_tampers_with_the_pipes_of_others_forges_text_and_nothing_else() {
    let attacked = Attacked::by("tamper", &[]);
    for _ in 0..runs(20) {
        // It reads what it is not given, writes more than a pipe holds, and ends.
        let script = "head -c 300000 /dev/zero; timeout 0.05 cat; exit 7";
        let told = attacked.exec(&["--time", "20s", "--output", "1000"], &["sh", "-c", script]);
        assert!(told["status"] == "exited" && told["exit_code"] == 7, "{told}");
        assert!(told["stdout"].as_str().unwrap().len() <= 1000, "{told}");
    }
    let begun = Instant::now();
    let child = attacked.home.pinfold(&["exec", "box", "--", "sh", "-c", "head -c 300000 /dev/zero; exit 7"]);
    let (code, ..) = finish({ child }.spawn().unwrap());
    assert!(code == 7 && begun.elapsed() < PATIENCE, "{code}");
    attacked.end();
}

#[test]
fn who_keeps_init_busy_keeps_nobody_out() {
    for kind in ["orphans", "knock"] {
        let attacked = Attacked::by(kind, &["--pids", "2000"]);
        for _ in 0..runs(20) {
            let begun = Instant::now();
            let told = attacked.exec(&["--time", "20s"], &["sh", "-c", "echo ran; exit 7"]);
            // Dead ones count as processes until init has had time for them.
            let is_full = kind == "orphans" && told["error"]["code"] == "process";
            assert!(is_full || told["status"] == "exited" && told["exit_code"] == 7, "{kind}: {told}");
            assert!(begun.elapsed() < Duration::from_secs(20), "{kind}: {:?}", begun.elapsed());
        }
        // Who forks without end is stopped or not; then all go on.
        let frozen = client(&attacked.home);
        rustix::net::send(&frozen, b"\"freeze\"", rustix::net::SendFlags::NOSIGNAL).unwrap();
        let answer = hears(&frozen);
        assert!(answer == "\"frozen\"" || answer.contains("freeze"), "{answer}");
        drop(frozen);
        attacked.end();
    }
}

#[test]
fn a_shell_under_attack_ends_and_never_hangs() {
    let _bash_is_everywhere = has_program("bash");
    for kind in ["tamper", "kill"] {
        let attacked = Attacked::by(kind, &[]);
        super::super::wait(async {
            let held = attacked.home.sandboxes().get("box").unwrap();
            for name in ["one", "two"] {
                let options = TerminalOptions::named(name).shell(Shell::Bash);
                let Ok(terminal) = held.terminal(options).await else { continue };
                for _ in 0..3 {
                    let options = RunOptions { timeout: Some(Duration::from_secs(1)), ..RunOptions::default() };
                    // What comes of it is his to say; that something comes is ours.
                    let ran = terminal.run_command("echo ran; (exit 7)", options);
                    let _told = tokio::time::timeout(PATIENCE, ran).await.expect("it hangs");
                }
                let _gone = terminal.close().await;
            }
        });
        attacked.end();
    }
}
