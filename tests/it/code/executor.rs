//! The executor's rules: what a request must be, in which words it is refused, and figures that always add up.

use super::{execute, executor, file, generous, wait};
use crate::support::{is_slow, runs};
use pinfold::code::{CodeConfig, CodeError, CodeRequest, ExecutionMode, Stats};
use std::time::Duration;

fn bash(code: &str) -> CodeRequest {
    CodeRequest::new("bash", code)
}

fn refusal(config: CodeConfig, request: CodeRequest) -> String {
    execute(config, request).unwrap_err().to_string()
}

#[test]
fn what_is_no_request_is_refused_in_the_words_that_callers_know() {
    let config = CodeConfig::default;
    for code in ["", " \n\t"] {
        assert_eq!(refusal(config(), CodeRequest::new("python", code)), "code is required");
    }
    assert_eq!(refusal(config(), bash("true")), "language bash is not allowed");
    assert_eq!(refusal(config(), CodeRequest::new("cobol", "x")), "language cobol is not allowed");
    assert_eq!(refusal(generous(), CodeRequest::new("cobol", "x")), "unsupported language: cobol");
    assert_eq!(
        refusal(generous(), CodeRequest { args: vec!["x".into()], ..CodeRequest::new("sqlite", "x") }),
        "a program in sqlite takes no arguments"
    );
    for name in ["../x", "/etc/x", "a/../../x", "", "a//b", "./a", ".pinfold/program"] {
        let request = CodeRequest { files: [file(name, "x")].into(), ..bash("true") };
        assert_eq!(refusal(generous(), request), format!("invalid filename: {name} (path traversal not allowed)"));
    }
    let request = CodeRequest { files: [file("script.sh", "x")].into(), ..bash("true") };
    assert!(refusal(generous(), request).starts_with("invalid filename: script.sh"));
}

#[test]
fn a_name_with_two_dots_in_it_is_a_name() {
    let request = CodeRequest { files: [file("a..b/c...d", "inside")].into(), ..bash("cat a..b/c...d") };
    assert_eq!(execute(generous(), request).unwrap().stdout, "inside");
}

#[test]
fn no_mode_runs_code_in_another_mode() {
    for (mode, words) in [(ExecutionMode::Process, "process backend disabled"), (ExecutionMode::Wasm, "unsupported")] {
        let refused = refusal(CodeConfig { mode, ..generous() }, bash("echo ran"));
        assert!(refused.starts_with(words), "{refused}");
    }
}

#[test]
fn a_toolchain_that_is_missing_is_told_with_what_to_install() {
    let text = "name = 'nowhere'\nfile = 'main.x'\ninstall = 'the package `nowhere`'\n[[toolchain]]\nname = 'Nowhere'\n\
        programs = { it = ['no-such-program-anywhere'] }\nversion = ['{it}']\nrun = { command = ['{it}', '{file}'] }\n";
    let mut languages = pinfold::code::Languages::embedded();
    languages.add(pinfold::code::Language::from_toml(text).unwrap()).unwrap();
    let pinfold = pinfold::Pinfold::builder().runner(crate::support::runner()).build().unwrap();
    let executor = pinfold::code::Executor::new(generous(), languages, pinfold).unwrap();
    let error = wait(executor.execute(CodeRequest::new("nowhere", "x"))).unwrap_err();
    assert!(matches!(error, CodeError::ToolchainMissing { .. }), "{error}");
    assert_eq!(error.to_string(), "no toolchain for nowhere: Nowhere: `no-such-program-anywhere` is not on `PATH`");
    assert_eq!(error.hint().as_deref(), Some("install the package `nowhere`"));
}

#[test]
fn an_id_may_be_anything_and_comes_back() {
    for id in ["", "plain", "../../etc", "ein Name mit ä", &"x".repeat(500)] {
        let result = execute(generous(), CodeRequest { id: id.to_owned(), ..bash("true") }).unwrap();
        assert!(result.success && result.id == id);
    }
}

#[test]
fn a_signal_is_told_by_its_name_and_in_the_exit_code() {
    let result = execute(generous(), bash("kill -SEGV $$")).unwrap();
    assert_eq!((result.success, result.exit_code, result.signal.as_deref()), (false, 139, Some("SIGSEGV")));
}

/// Runs so many at once, of which each fourth fails and each tenth takes too long, and tells the figures.
fn at_once(count: u64, most: usize) -> Stats {
    let pinfold = pinfold::Pinfold::builder().runner(crate::support::runner()).max_sandboxes(most).build().unwrap();
    let executor = pinfold::code::Executor::new(generous(), pinfold::code::Languages::embedded(), pinfold).unwrap();
    wait(async {
        let runs = (0..count).map(|number| {
            let executor = executor.clone();
            tokio::spawn(async move {
                let late = number % 10 == 9;
                let code =
                    if late { "sleep 1000".to_owned() } else { format!("echo {number}; exit $(({number} % 4 == 3))") };
                let timeout = late.then_some(Duration::from_millis(if is_slow() { 3000 } else { 300 }));
                let result = executor.execute(CodeRequest { timeout, ..bash(&code) }).await.unwrap();
                match late {
                    true => assert_eq!((result.exit_code, result.error.as_deref()), (-1, Some("execution timeout"))),
                    false => assert_eq!((result.stdout, result.success), (format!("{number}\n"), number % 4 != 3)),
                }
            })
        });
        for run in runs.collect::<Vec<_>>() {
            run.await.unwrap();
        }
        // Refused before anything runs: no execution.
        assert!(executor.execute(bash("")).await.is_err());
    });
    executor.stats()
}

fn check(stats: Stats, count: u64) {
    let late = count / 10;
    let wrong = (0..count).filter(|number| number % 10 != 9 && number % 4 == 3).count() as u64;
    assert_eq!((stats.total_executions, stats.timeout_executions), (count, late));
    assert_eq!((stats.successful_executions, stats.failed_executions), (count - late - wrong, late + wrong));
    assert!(stats.total_duration > Duration::from_millis(300) * u32::try_from(late).unwrap());
}

#[test]
fn fifty_at_once_are_counted_exactly() {
    check(at_once(50, 50), 50);
}

#[test]
fn five_hundred_at_once_are_counted_exactly() {
    let count = runs(500) as u64;
    check(at_once(count, 16), count);
}

#[test]
fn cleanup_ends_what_runs_gives_results_and_may_be_repeated() {
    let executor = executor(generous());
    wait(async {
        executor.cleanup().await;
        let runs: Vec<_> = (0..3)
            .map(|_| {
                let executor = executor.clone();
                tokio::spawn(async move { executor.execute(bash("echo began; exec sleep 1000")).await })
            })
            .collect();
        // Only what has begun can be ended; which it has when its first lines were polled.
        while executor.stats().total_executions < 3 {
            tokio::task::yield_now().await;
            executor.cleanup().await;
        }
        for run in runs {
            let result = run.await.unwrap().unwrap();
            assert_eq!((result.exit_code, result.error.as_deref()), (-1, Some("execution cancelled")));
        }
        executor.cleanup().await;
        assert!(executor.execute(bash("true")).await.unwrap().success);
    });
    assert_eq!((executor.stats().total_executions, executor.stats().failed_executions), (4, 3));
}

#[test]
fn a_run_that_is_dropped_counts_as_failed() {
    let executor = executor(generous());
    wait(async {
        let dropped = tokio::time::timeout(Duration::from_millis(200), executor.execute(bash("sleep 1000"))).await;
        assert!(dropped.is_err());
    });
    assert_eq!((executor.stats().total_executions, executor.stats().failed_executions), (1, 1));
}
