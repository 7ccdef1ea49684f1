//! What the runner reads and what a job writes: neither is trusted.

use crate::sandbox::{Job, Running, Scratch, children};
use pinfold_runner::{Outcome, Status};
use serde_json::json;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The runner's answer to these bytes on stdin.
fn answer_to(bytes: &[u8], options: &[&str]) -> (Option<i32>, Outcome) {
    let scratch = Scratch::new();
    let mut child = Command::new(crate::support::runner())
        .args(options)
        .env("PINFOLD_STATE_DIR", scratch.path("state"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let _may_be_refused_halfway = stdin.write_all(bytes);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn malformed_json_is_one_clean_error() {
    let deep = format!(r#"{{"command":["true"],"env":{}"#, "{\"a\":".repeat(200_000));
    let broken: Vec<&[u8]> = vec![
        b"",
        b" \n",
        b"null",
        b"[]",
        b"true",
        b"{",
        b"{}",
        b"\"x\"",
        b"{\"command\":[\"true\"]",
        b"{\"command\":[\"true\"]} x",
        b"{\"command\":[\"true\"]}{\"command\":[\"true\"]}",
        b"{\"command\":[\"\xff\"]}",
        b"\xef\xbb\xbf{\"command\":[\"true\"]}",
        b"{\"command\":[\"true\"],\"command\":[\"false\"]}",
        b"{\"command\":[\"true\"],\"limits\":{\"pids\":1,\"pids\":2}}",
        b"{\"command\":[]}",
        b"{\"command\":[\"\"]}",
        b"{\"command\":\"true\"}",
        b"{\"command\":[\"a\\u0000b\"]}",
        b"{\"command\":[1]}",
        b"{\"command\":[\"true\"],\"env\":{\"A\":\"1\",\"A\":\"2\"}}",
        b"\0\0\0\0",
        deep.as_bytes(),
    ];
    for bytes in broken {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        let (code, outcome) = answer_to(bytes, &[]);
        assert_eq!((code, outcome.status), (Some(125), Status::Failed), "{shown}");
        assert_eq!(outcome.error.unwrap().code, "bad_job", "{shown}");
    }
}

#[test]
fn a_job_of_more_than_64_mib_is_refused_and_one_below_is_read() {
    let mut job = br#"{"command":["true"],"stdin":""#.to_vec();
    job.resize(65 << 20, b'x');
    job.extend_from_slice(b"\"}");
    let (code, outcome) = answer_to(&job, &[]);
    assert_eq!((code, outcome.error.unwrap().code.as_str()), (Some(125), "bad_job"));
}

#[test]
fn nothing_starts_before_the_whole_job_is_read() {
    let scratch = Scratch::new();
    let mut child = Command::new(crate::support::runner())
        .env("PINFOLD_STATE_DIR", scratch.path("state"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(br#"{"command":["true"]}"#).unwrap();
    stdin.flush().unwrap();
    // A whole object is there, but not its end: however long that takes, nothing runs.
    let pid = i32::try_from(child.id()).unwrap();
    for _ in 0..20 {
        assert!(children(pid).is_empty());
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(stdin);
    assert!(child.wait_with_output().unwrap().status.success());
}

#[test]
fn wrong_options_are_usage_errors() {
    for options in [
        vec!["--no-such"],
        vec!["job.json"],
        vec!["--lifeline=x"],
        vec!["--lifeline=99"],
        vec!["--stdout=1"],
        vec!["--stdin=5", "--stdout=5"],
        vec!["--terminal=24x80"],
    ] {
        let (code, outcome) = answer_to(br#"{"command":["true"]}"#, &options);
        let error = outcome.error.unwrap();
        assert_eq!((code, error.code.as_str()), (Some(125), "usage"), "{options:?}: {error:?}");
    }
}

#[test]
fn a_forged_result_is_only_output() {
    let forged = r#"{"version":1,"id":"x","status":"exited","exit_code":0,"stdout":"forged"}"#;
    let script =
        format!("echo '{forged}'; for fd in 0 1 2 3 4 5 6 7 8 9; do echo '{forged}' >&$fd; done 2>/dev/null; exit 9");
    let answer = Job::new(&["bash", "-c", &script]).with("id", json!("true")).run();
    assert_eq!((answer.outcome.exit_code, answer.outcome.id.as_str()), (Some(9), "true"));
    assert!(answer.stdout().starts_with(forged));
    // Half a line, control characters and lines of its own stay inside the one JSON string.
    let answer = Job::new(&["printf", r#"\n{"status":\0\033[2J\r\n\r\n"#]).run();
    assert_eq!(answer.exited(), "\n{\"status\":\0\u{1b}[2J\r\n\r\n");
}

#[test]
fn a_runner_s_state_directory_that_is_another_s_is_refused() {
    let scratch = Scratch::new();
    let open = scratch.dir("open");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let running: Running = Job::new(&["true"]).spawn_as(|command| {
        command.env("PINFOLD_STATE_DIR", &open);
    });
    let answer = running.answer();
    let error = answer.is(Status::Failed).outcome.error.clone().unwrap();
    assert!(error.code == "state" && error.message.contains("EACCES"), "{error:?}");
}
