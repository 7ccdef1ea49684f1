//! `pinfold doctor`: what it says against what jobs then do, on whatever host this runs.

use crate::support;
use serde_json::Value;
use std::process::{Command, Output};

fn doctor(args: &[&str]) -> Output {
    Command::new(support::pinfold()).arg("doctor").args(args).output().unwrap()
}

fn report() -> Value {
    serde_json::from_slice(&doctor(&["--json"]).stdout).unwrap()
}

fn run(options: &[&str]) -> Output {
    Command::new(support::pinfold()).arg("run").args(options).args(["--", "true"]).output().unwrap()
}

#[test]
fn it_succeeds_exactly_when_the_default_job_can_be_confined() {
    let output = doctor(&["--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let fit = run(&[]).status.code() == Some(0);
    assert_eq!(report["fit"], fit);
    assert_eq!(output.status.code(), Some(if fit { 0 } else { 1 }));
    assert_eq!(report["failure"].is_null(), fit);
}

#[test]
fn a_feature_is_enforced_exactly_when_a_job_that_requires_it_runs() {
    let report = report();
    let features = report["features"].as_array().unwrap();
    assert_eq!(features.len(), if report["fit"] == true { 15 } else { 1 }, "{report}");
    for feature in features {
        let name = feature["name"].as_str().unwrap();
        if matches!(name, "namespaces" | "seccomp") {
            assert_eq!(feature["state"], "enforced");
            continue;
        }
        let cpu = own_cpu();
        let required = match name {
            "cpus" => run(&["--cpus", "1"]),
            "cpu-weight" => run(&["--cpu-weight", "100"]),
            "cpuset" => run(&["--cpuset", &cpu]),
            "swap" => run(&["--swap", "1M"]),
            "io" => run(&["--io-read-bps", "1T"]),
            "landlock-mode" => run(&["--mode", "landlock"]),
            required => run(&["--require", required]),
        };
        let required = required.status.code();
        let enforced = feature["state"] == "enforced";
        assert_eq!(required, Some(if enforced { 0 } else { 125 }), "{feature}");
        assert!(!feature["how"].as_str().unwrap().is_empty(), "{feature}");
    }
}

#[test]
fn it_names_the_mechanism_that_results_name() {
    let report = report();
    let result = std::env::temp_dir().join(format!("pinfold-doctor-{}.json", std::process::id()));
    let options = ["--report", result.to_str().unwrap()];
    assert_eq!(run(&options).status.success(), report["fit"] == true);
    let result_text = std::fs::read_to_string(&result).unwrap();
    std::fs::remove_file(&result).unwrap();
    let result: Value = serde_json::from_str(&result_text).unwrap();
    for feature in report["features"].as_array().unwrap() {
        let (name, how) = (feature["name"].as_str().unwrap(), feature["how"].as_str().unwrap());
        let mechanism = &result["isolation"][name];
        match mechanism.as_str() {
            Some("none") | None => {}
            Some("caller") => assert!(how.contains("caller"), "{feature}"),
            Some(mechanism) => assert!(how.contains(mechanism), "{feature}: {mechanism}"),
        }
    }
}

#[test]
fn whatever_is_missing_comes_with_advice() {
    let report = report();
    let about: Vec<_> = report["advice"].as_array().unwrap().iter().map(|advice| advice["about"].clone()).collect();
    for feature in report["features"].as_array().unwrap() {
        let name = &feature["name"];
        // That a temporary workspace on disk is watched is said in the table itself.
        if feature["state"] == "enforced" || name == "workspace" {
            continue;
        }
        let covered = about.contains(name) || about.contains(&"cgroup".into());
        assert!(covered, "{feature}: {report}");
    }
    assert!(report["fit"] == true || about.contains(&"sandbox".into()), "{report}");
}

#[test]
fn the_table_says_the_same_to_people() {
    let (report, output) = (report(), doctor(&[]));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(!table.contains('\x1b'), "{table:?}");
    assert!(output.stderr.is_empty());
    assert!(table.contains(if report["fit"] == true { "can be confined" } else { "can't be confined" }), "{table}");
    for feature in report["features"].as_array().unwrap() {
        let (name, how) = (feature["name"].as_str().unwrap(), feature["how"].as_str().unwrap());
        assert!(table.lines().any(|line| line.starts_with(name) && line.ends_with(how)), "{feature}: {table}");
    }
}

#[test]
fn a_host_without_user_namespaces_is_told_which_setting_brings_them() {
    // A host within the host: the limits of a user namespace are its own root's to set.
    let state = std::env::temp_dir().join(format!("pinfold-doctor-{}", std::process::id()));
    let script = r#"echo 0 > /proc/sys/user/max_user_namespaces && exec "$0" doctor --json"#;
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", script]).arg(support::pinfold());
    let output = match command.env("PINFOLD_STATE_DIR", &state).output() {
        Ok(output) if !output.stdout.is_empty() => output,
        _refused => return support::host_cannot("unshare(1) can't make a user namespace and set its limits here"),
    };
    // What a failed run made of it is not what this is about.
    let _ = std::fs::remove_dir_all(&state);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["fit"]), (Some(1), &false.into()));
    assert!(!report["failure"]["message"].as_str().unwrap().is_empty());
    let advice = report["advice"].as_array().unwrap();
    let names_it = |advice: &Value| advice["commands"].to_string().contains("sysctl -w user.max_user_namespaces=");
    assert!(advice.iter().any(names_it), "{report}");
}

/// A CPU that we may run on: not every host gives us number 0.
fn own_cpu() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned();
    allowed.split([',', '-']).next().unwrap().to_owned()
}
