//! The backend that isolates nothing: that nobody gets it by accident, and that it ends what it started.

use super::{execute, executor, generous, wait};
use pinfold::code::{CodeConfig, CodeError, CodeRequest, ExecutionMode, Level};
use pinfold_runner::Content;
use std::time::{Duration, Instant};

fn trusting() -> CodeConfig {
    CodeConfig { mode: ExecutionMode::Process, enable_process_backend: true, ..generous() }
}

fn bash(code: &str) -> CodeRequest {
    CodeRequest::new("bash", code)
}

#[test]
fn it_is_off_unless_switched_on_in_so_many_words() {
    let config = CodeConfig { enable_process_backend: false, ..trusting() };
    let error = execute(config, bash("true")).unwrap_err();
    assert!(matches!(error, CodeError::ProcessBackendDisabled) && error.hint().is_some(), "{error}");
}

#[test]
fn its_results_say_what_it_is_and_the_input_goes_in() {
    let request = CodeRequest {
        args: vec!["an argument".to_owned()],
        stdin: Content::from("input"),
        files: [super::file("a/b", "nested")].into(),
        env_vars: [("V".to_owned(), "v".to_owned())].into(),
        ..bash("echo \"$1 $(cat) $(cat a/b) $V ${CARGO_MANIFEST_DIR-none}\"; exit 3")
    };
    let result = execute(trusting(), request).unwrap();
    assert_eq!((result.backend, result.isolated, result.outcome.is_none()), ("process", false, true));
    assert_eq!((result.stdout.as_str(), result.exit_code), ("an argument input nested v none\n", 3));
}

#[test]
fn nothing_that_has_findings_runs_whatever_the_policy_says() {
    let witness = crate::sandbox::Scratch::new();
    let code = format!("echo > {}; sudo true", witness.text("ran"));
    let config = CodeConfig { validation: Level::Off.into(), ..trusting() };
    let error = execute(config, bash(&code)).unwrap_err().to_string();
    assert!(error.starts_with("code validation failed: [potentially dangerous pattern: command:sudo"), "{error}");
    assert!(!witness.path("ran").exists());
    let error = execute(trusting(), CodeRequest::new("perl", "print 1")).unwrap_err();
    assert!(matches!(error, CodeError::Unsupported(_)), "{error}");
}

#[test]
fn its_output_is_bounded_and_its_time_ends_the_whole_group() {
    let config = CodeConfig { max_output_bytes: 1000, ..trusting() };
    let start = Instant::now();
    // The child in the background holds stdout open.
    let code = "yes € | head -c 1000000; sleep 1234 & sleep 1234";
    let request = CodeRequest { timeout: Some(Duration::from_secs(2)), ..bash(code) };
    let result = execute(config, request).unwrap();
    assert_eq!((result.exit_code, result.error.as_deref()), (-1, Some("execution timeout")));
    assert!(result.truncated && result.timed_out && result.stdout.len() > 990 && !result.stdout.contains('\u{fffd}'));
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_child_that_holds_the_output_open_delays_nothing() {
    let start = Instant::now();
    let result = execute(trusting(), bash("echo done; sleep 1234 &")).unwrap();
    assert_eq!((result.stdout.as_str(), result.success), ("done\n", true));
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn cleanup_ends_its_processes_too() {
    let executor = executor(trusting());
    wait(async {
        let run = tokio::spawn({
            let executor = executor.clone();
            async move { executor.execute(bash("exec sleep 1234")).await }
        });
        while executor.stats().total_executions == 0 {
            tokio::task::yield_now().await;
            executor.cleanup().await;
        }
        assert_eq!(run.await.unwrap().unwrap().error.as_deref(), Some("execution cancelled"));
    });
}
