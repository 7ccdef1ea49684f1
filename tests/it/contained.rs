//! In a container such as Docker makes: what the default job comes to under each of its conditions, and that `pinfold
//! doctor` says no different. `tests/vm/container.py` makes the containers and names the condition in `PINFOLD_TESTS_HOST`.

use crate::sandbox::{Job, Scratch};
use crate::support::{host_cannot, is_root, pinfold};
use pinfold_runner::{Mechanism, Status};
use serde_json::{Value, json};
use std::process::Command;

/// What the default job comes to: that it runs, or the code of its error with words of the message and of the hint.
enum Expected {
    Runs,
    Fails(&'static str, &'static str, &'static str),
}

/// The condition that this host is in, if it is one of ours, and what is to be expected.
fn condition() -> Option<Expected> {
    let name = std::env::var("PINFOLD_TESTS_HOST").unwrap_or_default();
    Some(match name.as_str() {
        // Docker's filter answers clone3(2) with ENOSYS, and its substitute with EPERM if it asks for namespaces.
        "docker-root" | "docker-user" => Expected::Fails("namespaces", "EPERM", "pinfold doctor"),
        "unfiltered-root" | "unfiltered-user" => Expected::Fails("mount", "`proc`: EPERM", "systempaths=unconfined"),
        "unmasked-root" => Expected::Runs,
        "unmasked-user" => Expected::Runs,
        "without-userns-root" | "without-userns-user" => {
            Expected::Fails("namespaces", "ENOSPC", "user.max_user_namespaces")
        }
        "forbidden-userns-user" => Expected::Fails("namespaces", "EPERM", "pinfold doctor"),
        _ => {
            host_cannot("is about containers, which tests/vm/run makes");
            return None;
        }
    })
}

fn doctor() -> Value {
    let output = Command::new(pinfold()).args(["doctor", "--json"]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_default_job_runs_or_says_what_the_container_withholds() {
    let Some(expected) = condition() else { return };
    let answer = Job::new(&["echo", "ran"]).run();
    match expected {
        Expected::Runs => assert_eq!(answer.exited(), "ran\n"),
        Expected::Fails(code, message, hint) => {
            let error = answer.is(Status::Failed).outcome.error.clone().unwrap();
            assert_eq!(error.code, code, "{error:?}");
            assert!(error.message.contains(message), "{error:?}");
            assert!(error.hint.as_ref().is_some_and(|text| text.contains(hint)), "{error:?}");
        }
    }
}

#[test]
fn doctor_says_what_the_default_job_comes_to() {
    let Some(expected) = condition() else { return };
    let report = doctor();
    match expected {
        Expected::Runs => assert_eq!(report["fit"], true, "{report}"),
        Expected::Fails(code, message, _) => {
            assert_eq!((&report["fit"], &report["failure"]["code"]), (&false.into(), &code.into()), "{report}");
            assert!(report["failure"]["message"].as_str().unwrap().contains(message), "{report}");
            let advice = report["advice"].as_array().unwrap();
            assert!(advice.iter().any(|advice| advice["about"] == "sandbox"), "{report}");
        }
    }
}

/// What doctor's `conditions` say of a container, by their words: each of these is there in some and absent in others.
const COVERED: &str = "parts of /proc are covered";
const FILTERED: &str = "our own system calls are filtered (seccomp)";
const SWITCHED_OFF: &str = "namespaces are switched off (user.max_user_namespaces)";
const KEPT_FROM_USERS: &str = "user namespaces are kept from users (kernel.unprivileged_userns_clone)";

#[test]
fn doctor_names_the_conditions_that_the_container_consists_of_and_no_others() {
    if condition().is_none() {
        return;
    }
    let name = std::env::var("PINFOLD_TESTS_HOST").unwrap();
    let (kind, _who) = name.rsplit_once('-').unwrap();
    let holding: &[&str] = match kind {
        "docker" => &[FILTERED, COVERED],
        "unfiltered" => &[COVERED],
        "unmasked" => &[],
        "without-userns" => &[SWITCHED_OFF],
        "forbidden-userns" => &[KEPT_FROM_USERS],
        _ => panic!("{name} has no row in this table"),
    };
    let report = doctor();
    let said: Vec<&str> = report["conditions"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    // True of all of them: a read-only view of their own cgroup.
    assert!(said[0].starts_with("cgroups: v2") && said[0].contains("is read-only"), "{said:?}");
    for words in [COVERED, FILTERED, SWITCHED_OFF, KEPT_FROM_USERS] {
        let is_said = said.iter().any(|line| line.contains(words));
        assert_eq!(is_said, holding.contains(&words), "{name}, {words:?}: {said:?}");
    }
}

#[test]
fn nothing_is_said_to_be_held_by_cgroups_that_are_read_only() {
    let Some(expected) = condition() else { return };
    let answer = Job::new(&["true"]).run();
    if matches!(expected, Expected::Runs) {
        let isolation = &answer.outcome.isolation;
        assert_eq!((isolation.cgroup, isolation.memory, isolation.pids), (None, Mechanism::Watched, Mechanism::Rlimit));
    }
    let failure = Job::new(&["true"]).with("require", json!(["cgroup"])).failure();
    assert!(failure.hint.is_some(), "{failure:?}");
}

#[test]
fn a_directory_of_the_caller_s_is_given_or_its_refusal_is_explained() {
    let Some(Expected::Runs) = condition() else { return };
    let scratch = Scratch::new();
    let work = scratch.dir("work");
    let answer = Job::sh("echo new > file").with("workspace", json!({ "path": work })).run();
    match &answer.outcome.error {
        // open_tree(2) needs CAP_SYS_ADMIN, which Docker's root lacks; others take the copy in their own namespaces.
        Some(error) => {
            let is_explained = error.hint.as_ref().is_some_and(|hint| hint.contains("CAP_SYS_ADMIN"));
            assert!(is_root() && error.code == "workspace" && is_explained, "{error:?}");
        }
        None => assert_eq!(std::fs::read_to_string(scratch.path("work/file")).unwrap(), "new\n"),
    }
    let warnings = doctor()["warnings"].to_string();
    assert_eq!(warnings.contains("CAP_SYS_ADMIN"), answer.outcome.error.is_some(), "{warnings}");
}
