//! The contract's own promises that need no kernel: what parses, what is refused and in which words.

use super::job::Job;
use super::limit::Limit;
use super::outcome::{Failure, Outcome, Status};

fn refusal(json: &str) -> String {
    Job::from_json(json.as_bytes()).expect_err("the job must be refused").to_string()
}

#[test]
fn a_command_alone_is_a_job_with_every_default() {
    let job = Job::from_json(br#"{"command": ["true"]}"#).unwrap();
    assert_eq!(job.limits.wall_ms, Limit::At(30_000));
    assert_eq!(job.limits.memory_bytes, Limit::At(536_870_912));
    assert_eq!(job.cwd.as_str(), "/workspace");
    assert_eq!(String::from(job.user), "1000:1000");
}

#[test]
fn an_unknown_field_is_named() {
    assert!(refusal(r#"{"command": ["true"], "memroy": 1}"#).contains("unknown field `memroy`"));
    let nested = refusal(r#"{"command": ["true"], "limits": {"pidz": 1}}"#);
    assert!(nested.contains("unknown field `pidz`") && nested.contains("`limits"), "{nested}");
}

#[test]
fn a_limit_out_of_range_names_the_field_and_the_range() {
    for value in ["0", "-1", "4194305", "18446744073709551616", "1e308", "\"64\"", "null", "1.5", "[]"] {
        let message = refusal(&format!(r#"{{"command": ["true"], "limits": {{"pids": {value}}}}}"#));
        assert!(message.contains("`pids` is") && message.contains("1 to 4194304"), "{value}: {message}");
    }
}

#[test]
fn a_set_of_cpus_is_read_as_the_kernel_reads_it_and_nothing_else_is() {
    for (text, read) in [("0", "0"), ("3,0-1,2", "0-3"), ("0-3,8,10-11", "0-3,8,10-11"), ("8191", "8191")] {
        let job = Job::from_json(format!(r#"{{"command": ["true"], "limits": {{"cpuset": "{text}"}}}}"#).as_bytes());
        assert_eq!(job.unwrap().limits.cpuset.unwrap().to_string(), read, "{text}");
    }
    for value in ["\"\"", "\"-\"", "\"0-\"", "\"+1\"", "\"1-0\"", "\"8192\"", "\"0 1\"", "\"max\"", "0", "null", "[0]"]
    {
        let message = refusal(&format!(r#"{{"command": ["true"], "limits": {{"cpuset": {value}}}}}"#));
        assert!(message.contains("`cpuset`") && message.contains("0 to 8191"), "{value}: {message}");
    }
}

#[test]
fn null_is_never_unlimited_and_never_absent() {
    for field in ["id", "env", "user", "cwd", "stdin", "files", "limits", "artifacts", "network", "version"] {
        assert!(Job::from_json(format!(r#"{{"command": ["true"], "{field}": null}}"#).as_bytes()).is_err(), "{field}");
    }
}

#[test]
fn a_path_that_leaves_the_workspace_is_refused_by_name() {
    for path in ["../x", "/x", "", "a/../b", "a//b", "./a", "a/", "a\\u0000b"] {
        let json = format!(r#"{{"command": ["true"], "files": [{{"path": "{path}", "content": ""}}]}}"#);
        assert!(refusal(&json).contains("files[0].path"), "{path}");
    }
}

#[test]
fn anything_after_the_object_is_an_error() {
    assert!(refusal(r#"{"command": ["true"]} {}"#).contains("follows"));
    assert!(refusal("").contains("EOF"));
}

#[test]
fn a_job_survives_the_round_trip() {
    let json = br#"{"command":["a","b"],"env":{"A":"1"},"user":"0:0","stdin":{"base64":"/w=="},
        "files":[{"path":"a/b","content":"x","executable":true}],"workspace":{"path":"/w"},"root":{"path":"/r"},
        "mounts":[{"source":"/s","target":"/t","writable":true}],"network":"host",
        "mode":"namespaces",
        "limits":{"cpus":1.5,"wall_ms":"max","tmp_bytes":4096,"cpuset":"0-1,4","swap_bytes":0,"io_read_bps":"max","workspace_inodes":5},"seccomp":"strict","require":["cgroup"],
        "artifacts":{"paths":["dist"],"directory":"/out"}}"#;
    let job = Job::from_json(json).unwrap();
    let again = Job::from_json(&serde_json::to_vec(&job).unwrap()).unwrap();
    assert_eq!(job, again);
}

#[test]
fn deep_json_is_an_error_in_bounded_memory() {
    let deep = "[".repeat(100_000);
    assert!(refusal(&format!(r#"{{"command": {deep}"#)).contains("command"));
}

#[test]
fn a_transcript_tells_all_that_was_written_and_how_it_ended() {
    let ended = |stdout: &str, stderr: &str, status| Outcome {
        status,
        error: None,
        stdout: stdout.into(),
        stderr: stderr.into(),
        ..Outcome::failed("x", Failure::new("", ""))
    };
    let exited = |stdout, stderr, code| Outcome { exit_code: Some(code), ..ended(stdout, stderr, Status::Exited) };
    assert_eq!(exited("", "", 0).transcript(), "");
    assert_eq!(exited("42", "", 0).transcript(), "42");
    assert_eq!(exited("a\n", "b\n", 0).transcript(), "a\n[STDERR]:\nb\n");
    assert_eq!(exited("a", "b", 3).transcript(), "a\n[STDERR]:\nb\n[Exit Code: 3]");
    assert_eq!(
        Outcome { stdout_truncated: true, ..ended("a", "", Status::TimedOut) }.transcript(),
        "a\n[stdout was cut]\n[Timed out]"
    );
    let signal = Outcome { signal: Some("SIGSEGV".to_owned()), ..ended("", "", Status::Signaled) };
    assert_eq!(signal.transcript(), "[Signal: SIGSEGV]");
    assert_eq!(Outcome::failed("x", Failure::new("c", "no such thing")).transcript(), "[Failed: no such thing]");
}
