//! Where this mode is for: inside a container that denies namespaces. Here that is a sandbox of our own.

use super::stands;
use crate::sandbox::{Answer, Job};
use crate::support::{host_cannot, pinfold, runner};
use serde_json::json;

/// Whether a sandbox of our own can be that container. In one that denies namespaces itself, the other modules are enough.
fn stands_contained() -> bool {
    if !stands() {
        return false;
    }
    let error = contained("true").outcome.error;
    let is_denied = error.is_some_and(|error| ["namespaces", "mount"].contains(&error.code.as_str()));
    if is_denied {
        host_cannot("needs the other mode too, and programs of the caller's mounted in it");
    }
    !is_denied
}

/// Runs a script in a sandbox that has Pinfold in it.
fn contained(script: &str) -> Answer {
    let mount = |program: &std::path::Path| {
        let name = program.file_name().unwrap().to_str().unwrap().to_owned();
        json!([{ "source": program.to_str().unwrap(), "target": format!("/opt/{name}") }])
    };
    let job = Job::sh(script).with("mounts", mount(pinfold())).with("mounts", mount(runner()));
    job.with("env", json!({"PATH": "/opt:/usr/bin:/bin"})).limit("wall_ms", 60_000).run()
}

#[test]
fn a_job_runs_where_namespaces_are_denied_if_it_says_so() {
    if !stands_contained() {
        return;
    }
    let text =
        contained("pinfold run --mode landlock -- sh -c 'cat; id -u; touch /tmp/x; echo $?' <<e\nhello\ne\n").exited();
    assert_eq!(text, "hello\n1000\n1\n");
    let text = contained("pinfold run --mode landlock --report /tmp/r -- true; cat /tmp/r").exited();
    assert!(text.contains(r#""mode":"landlock""#) && text.contains(r#""status":"exited""#), "{text}");
}

#[test]
fn nothing_falls_to_it_by_itself() {
    if !stands_contained() {
        return;
    }
    let answer = contained("pinfold run -- echo ran; echo $?");
    assert_eq!(answer.exited(), "125\n");
    let words = answer.outcome.stderr.to_text().into_owned();
    assert!(words.contains("namespaces") && words.contains("\"mode\": \"landlock\""), "{words}");
}

#[test]
fn what_it_leaves_behind_is_nothing() {
    if !stands_contained() {
        return;
    }
    let script = "pinfold run --mode landlock -- sh -c 'setsid sleep 1000 & (setsid sleep 1000 &) ; echo x > y; echo z > $TMPDIR/z'; \
                  ls -A /var/tmp/pinfold-1000; ls /proc | grep -c '^[0-9]'";
    // Init, the shell, ls and grep.
    assert_eq!(contained(script).exited(), "4\n");
}

#[test]
fn doctor_says_that_it_is_what_is_left() {
    if !stands_contained() {
        return;
    }
    let report = contained("pinfold doctor --json 2>/dev/null; true").exited();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["fit"], false, "{report}");
    let features = report["features"].as_array().unwrap();
    assert!(features.iter().any(|it| it["name"] == "landlock-mode" && it["state"] == "enforced"), "{report}");
}
