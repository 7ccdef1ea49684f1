//! The process that stands ready for the next command: nobody gains or loses anything by it.

use super::Held;
use crate::support;
use pinfold_runner::{Ask, Notice, Status};
use serde_json::json;
use std::io::Read;
use std::time::Duration;

/// Who stands ready, as its neighbours see it: every process but init and the one that looks.
const OTHERS: &str = "for p in /proc/[0-9]*; do p=${p#/proc/}; [ $p = 1 ] || [ $p = $$ ] || echo $p; done";

/// Far less than the minute that setting up may take, and far more than it does.
const MOMENT: Duration = Duration::from_secs(20);

fn is_v2() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Waits for somebody who stands ready, and says who it is.
fn ready(held: &Held) -> String {
    let mut ready = String::new();
    // While a command runs that is over at once nobody is made for the next.
    crate::sandbox::eventually("somebody stands ready", || {
        ready = held.sh(&format!("sleep 0.05; {OTHERS}"));
        !ready.is_empty()
    });
    ready
}

#[test]
fn the_next_command_is_who_stood_ready() {
    if !support::has_cgroups() || is_v2() {
        return support::host_cannot("has no cgroup v1, where a process can enter its groups late");
    }
    let held = Held::start(json!({}));
    let ready = ready(&held);
    assert_eq!(held.sh("echo $$"), ready);
    held.close();
}

#[test]
fn the_next_command_comes_after_who_stood_ready() {
    if !support::has_cgroups() || !is_v2() {
        return support::host_cannot("has no cgroup v2, where a process is born in its group");
    }
    let held = Held::start(json!({}));
    for _ in 0..support::runs(10) {
        let ready = ready(&held);
        // Were it another's successor, it would wait for ever.
        let gone = format!("while [ -e /proc/{} ]; do sleep 0.01; done", ready.trim());
        let after = held.sh(&format!("echo $$; cut -d' ' -f5,6 /proc/$$/stat; {gone}"));
        let (own, session) = after.split_once('\n').unwrap();
        assert_ne!(own, ready.trim());
        assert_eq!(session, format!("{own} {own}\n"), "it leads a session of its own");
    }
    held.close();
}

/// Each of those who are made at the same time, by whoever stands ready and by init, has its own number and its own end.
#[test]
fn each_command_s_end_is_its_own() {
    let held = Held::start(json!({}));
    for round in 0..support::runs(20) {
        let codes = [1, 2, 3, 4].map(|code| code + 4 * (round % 8) as i32);
        let begun = codes.map(|code| held.begin(&["sh", "-c", &format!("exit {code}")], json!({})));
        for (code, begun) in codes.into_iter().zip(begun) {
            let outcome = held.outcome(begun).0;
            assert_eq!((outcome.status, outcome.exit_code), (Status::Exited, Some(code)), "{outcome:?}");
        }
    }
    held.close();
}

#[test]
fn who_kills_or_stops_it_keeps_nobody_from_the_next_command() {
    let held = Held::start(json!({}));
    for signal in ["KILL", "STOP", "TERM", "HUP"].repeat(support::runs(10)) {
        held.sh(&format!("kill -{signal} -1; true"));
        assert_eq!(held.sh("echo there"), "there\n", "{signal}");
    }
    held.close();
}

#[test]
fn who_stops_it_holds_up_the_next_command_for_a_moment_at_most() {
    let held = Held::start(json!({}));
    let stop = format!("sleep 0.05; kill -STOP -1; grep -sh '^State:.T' $({OTHERS} | sed 's,.*,/proc/&/status,')");
    if support::has_cgroups() {
        crate::sandbox::eventually("somebody who stood ready is stopped", || {
            !held.sh(&format!("{stop}; true")).is_empty()
        });
    }
    held.has_patience(MOMENT);
    for _ in 0..support::runs(10) {
        held.sh(&format!("{stop}; true"));
        assert_eq!(held.sh("echo there"), "there\n");
    }
    held.close();
}

#[test]
fn who_stops_everybody_for_ever_holds_up_no_set_up_for_long() {
    let held = Held::start(json!({}));
    let stopper = held.begin(&["sh", "-c", "while :; do kill -STOP -1; done"], json!({}));
    held.has_patience(MOMENT);
    for _ in 0..3 {
        let asked = held.begin(&["sleep", "300"], json!({}));
        held.ask(&Ask::Cancel { number: asked.number });
        assert_eq!(held.outcome(asked).0.status, Status::Cancelled);
    }
    held.ask(&Ask::Cancel { number: stopper.number });
    assert_eq!(held.outcome(stopper).0.status, Status::Cancelled);
    assert_eq!(held.sh("echo there"), "there\n");
    held.close();
}

#[test]
fn the_limit_on_processes_is_the_sandbox_s_to_the_last_one() {
    let crowd = |more: usize| format!("for i in $(seq {more}); do sleep 300 >/dev/null 2>&1 & done; echo all; wait");
    let held = Held::start(json!({ "limits": { "pids": 6 } }));
    // Who was killed counts until it is reaped, and without groups nobody tells when that is.
    for _ in 0..if support::has_cgroups() { 5 } else { 1 } {
        nobody_is_counted(&held);
        // `seq` has ended by then.
        let mut six = held.begin(&["sh", "-c", &crowd(5)], json!({}));
        let mut all = [0; 4];
        six.stdout.read_exact(&mut all).unwrap();
        assert_eq!(&all, b"all\n");
        held.ask(&Ask::Figures);
        match held.notice().0 {
            Notice::Figures(figures) => assert!(figures.pids.is_none_or(|pids| pids == 6), "{figures:?}"),
            other => panic!("{other:?}"),
        }
        let seventh = held.run(&["true"], json!({})).outcome;
        assert_eq!(seventh.status, Status::Failed, "{seventh:?}");
        held.ask(&Ask::Cancel { number: six.number });
        assert_eq!(held.outcome(six).0.status, Status::Cancelled);
        // Somebody who was killed may still be there for a moment.
        crate::sandbox::eventually("there is room again", || {
            held.run(&["true"], json!({})).outcome.status == Status::Exited
        });
        let too_many = held.run(&["sh", "-c", &crowd(6)], json!({ "limits": { "wall_ms": 60_000 } }));
        assert!(too_many.stderr.contains("fork"), "{:?} {}", too_many.outcome, too_many.stderr);
        held.sh("kill -9 -1; true");
    }
    held.close();
}

#[test]
fn whoever_stands_ready_uses_nothing_of_the_sandbox_s() {
    let held = Held::start(json!({}));
    held.sh("true");
    nobody_is_counted(&held);
    held.close();
}

fn nobody_is_counted(held: &Held) {
    crate::sandbox::eventually("nobody is counted", || {
        held.ask(&Ask::Figures);
        match held.notice().0 {
            Notice::Figures(figures) => figures.pids.is_none_or(|pids| pids == 0),
            other => panic!("{other:?}"),
        }
    });
}
