//! Fake runners that die, hang and lie: each is noticed in time, never believed, and leaves nothing.

use super::{GRACE, PATIENCE, Scratch, anything, fake, is_gone, until};
use pinfold::{ByteSize, Error, Limit, Outcome, Pinfold, Sandbox, Status, Stdio, job};
use std::time::{Duration, Instant};

fn code(outcome: &Outcome) -> &str {
    outcome.error.as_ref().map_or("", |error| &error.code)
}

fn message(outcome: &Outcome) -> &str {
    outcome.error.as_ref().map_or("", |error| &error.message)
}

#[tokio::test]
async fn an_answer_that_can_not_be_is_never_believed() {
    for lie in [
        "read_job",
        "read_job; echo rubbish",
        "read_job; echo null",
        "read_job; answer exited; answer exited",
        "read_job; id=another; answer exited",
        "read_job; answer exited | head -c 100",
        "read_job; answer exited | sed 's/\"version\":1/\"version\":2/'",
        "read_job; answer exited '\"exit_code\":null,\"error\":null'",
        "read_job; answer exited '\"exit_code\":256,\"error\":null'",
        "read_job; answer signaled '\"exit_code\":null,\"error\":null'",
        "read_job; answer failed '\"exit_code\":null,\"error\":null'",
        "read_job; answer failed '\"exit_code\":null,\"error\":{\"code\":\"x\",\"message\":\"x\",\"hint\":null}'",
        "read_job; answer exited; exit 125",
        "read_job; answer excited",
        "read_job; stdout=12345; bytes=5; answer exited",
        "read_job; stdout=123; bytes=2; answer exited",
        "id=; answer exited",
    ] {
        let scratch = Scratch::new();
        let job = job(["true"]).output(ByteSize::new(4)).build().unwrap();
        let outcome = fake(&scratch, lie).run(job).await.unwrap();
        assert_eq!((outcome.status, code(&outcome)), (Status::Failed, "bad_answer"), "{lie}: {}", message(&outcome));
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let scratch = Scratch::new();
    let outcome = fake(&scratch, "read_job; exec cat /dev/zero").run(anything()).await.unwrap();
    assert_eq!((outcome.status, code(&outcome)), (Status::Failed, "bad_answer"));
    assert!(message(&outcome).contains("longer than"), "{}", message(&outcome));
}

#[tokio::test]
async fn endless_complaints_of_a_runner_are_read_and_mostly_dropped() {
    let scratch = Scratch::new();
    let pinfold = fake(&scratch, "read_job; head -c 50000000 /dev/zero >&2; answer exited");
    assert_eq!(pinfold.run(anything()).await.unwrap().status, Status::Exited);
}

#[tokio::test]
async fn a_runner_that_dies_is_noticed_and_its_last_words_are_passed_on() {
    for (script, words) in [
        ("read_job; kill -9 $$", "was killed by SIGKILL"),
        ("read_job; answer exited; kill -9 $$", "was killed by SIGKILL"),
        (
            "echo 'out of \x1b[31mluck' >&2; exit 3",
            r"ended with code 3 and left no answer; it said: out of \u{1b}[31mluck",
        ),
    ] {
        let scratch = Scratch::new();
        let job = job(["true"]).stdin(vec![b'x'; 8 << 20]).build().unwrap();
        let outcome = fake(&scratch, script).run(job).await.unwrap();
        assert_eq!((outcome.status, code(&outcome)), (Status::Failed, "runner_died"), "{script}");
        assert!(message(&outcome).contains(words), "{}", message(&outcome));
        assert!(scratch.read("started").contains("--sweep"), "{script}");
        assert!(scratch.started().iter().all(|pid| is_gone(pid)));
    }
}

#[tokio::test]
async fn a_mute_or_stopped_runner_ends_after_the_wall_clock() {
    for script in
        ["sleep 1000", "read_job; exec sleep 1000", "kill -STOP $$", "trap '' TERM INT HUP; sleep 1000; sleep 1000"]
    {
        let scratch = Scratch::new();
        let job = job(["true"]).wall(Duration::from_millis(100)).build().unwrap();
        let start = Instant::now();
        let outcome = fake(&scratch, script).run(job).await.unwrap();
        assert_eq!(outcome.status, Status::TimedOut, "{script}");
        assert!(start.elapsed() < PATIENCE && start.elapsed() > GRACE, "{script}");
        assert!(scratch.read("started").contains("--sweep"), "{script}");
        assert!(scratch.started().iter().all(|pid| is_gone(pid)), "{script}");
    }
}

#[tokio::test]
async fn a_late_runner_that_calls_the_end_of_the_wall_clock_a_cancellation_is_corrected() {
    let scratch = Scratch::new();
    let script = r#"read_job; cat <&3 > /dev/null; answer cancelled '"exit_code":null,"error":null'"#;
    let job = job(["true"]).wall(Duration::from_millis(100)).build().unwrap();
    let outcome = fake(&scratch, script).run(job).await.unwrap();
    assert_eq!((outcome.status, outcome.usage.wall_ms), (Status::TimedOut, Some(1.0)), "the rest of it is believed");
}

#[tokio::test]
async fn a_runner_that_has_answered_and_does_not_end_is_not_believed() {
    let scratch = Scratch::new();
    let pinfold = fake(&scratch, "read_job; answer exited; exec sleep 1000 >&- 2>&-");
    let outcome = pinfold.run(job(["true"]).wall(Limit::Max).build().unwrap()).await.unwrap();
    assert_eq!((outcome.status, code(&outcome)), (Status::Failed, "runner_died"));
}

#[tokio::test]
async fn whoever_else_holds_the_runners_stdout_delays_nothing() {
    let scratch = Scratch::new();
    let pinfold = fake(&scratch, r#"read_job; sleep 1000 & echo $! > "$scratch/background"; answer exited"#);
    let start = Instant::now();
    assert_eq!(pinfold.run(anything()).await.unwrap().status, Status::Exited);
    assert!(start.elapsed() < PATIENCE);
    // Whoever is in the runner's process group dies with it; init reaps.
    let background = scratch.read("background").trim().to_owned();
    until("its end", || is_gone(&background)).await;
}

#[tokio::test]
async fn a_stopped_runner_can_be_cancelled_and_killed() {
    for end in [Sandbox::cancel, Sandbox::kill] {
        let scratch = Scratch::new();
        let pinfold = fake(&scratch, "kill -STOP $$");
        let job = job(["true"]).wall(Limit::Max).build().unwrap();
        let sandbox = pinfold.spawn(job, Stdio::captured()).await.unwrap();
        end(&sandbox);
        assert_eq!(sandbox.wait().await.unwrap().status, Status::Cancelled);
        assert!(scratch.started().iter().all(|pid| is_gone(pid)));
    }
}

#[tokio::test]
async fn a_dropped_sandbox_has_time_to_clean_up() {
    let scratch = Scratch::new();
    let pinfold = fake(
        &scratch,
        r#"read_job; : > "$scratch/running"; cat <&3 > /dev/null; : > "$scratch/cleaned"; answer cancelled '"exit_code":null,"error":null'"#,
    );
    let sandbox = pinfold.spawn(anything(), Stdio::captured()).await.unwrap();
    until("the runner", || scratch.path("running").exists()).await;
    drop(sandbox);
    until("the clean-up", || scratch.path("cleaned").exists()).await;
    let pid = scratch.started().remove(0);
    until("the end of the runner", || is_gone(&pid)).await;
}

#[tokio::test]
async fn a_dropped_future_leaves_no_runner_that_ignores_its_lifeline() {
    let scratch = Scratch::new();
    let pinfold = fake(&scratch, "read_job; exec sleep 1000");
    let run = pinfold.run(job(["true"]).wall(Limit::Max).build().unwrap());
    tokio::select! {
        _ = run => panic!("it can't end"),
        () = until("the runner", || !scratch.started().is_empty()) => {}
    }
    until("the sweep", || scratch.read("started").contains("--sweep")).await;
    until("the end of the runner", || scratch.started().iter().all(|pid| is_gone(pid))).await;
}

#[test]
fn a_runtime_that_shuts_down_leaves_no_runner_and_no_zombie() {
    let scratch = Scratch::new();
    let pinfold = fake(&scratch, "read_job; exec sleep 1000");
    let start = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let runtime = start();
    let sandbox = runtime.block_on(async {
        let sandbox = pinfold.spawn(anything(), Stdio::captured()).await.unwrap();
        until("the runner", || !scratch.started().is_empty()).await;
        sandbox
    });
    drop(runtime);
    let runtime = start();
    assert!(matches!(runtime.block_on(sandbox.wait()), Err(Error::RuntimeShutDown { .. })));
    runtime.block_on(until("the sweep", || scratch.read("started").contains("--sweep")));
    runtime.block_on(until("the end of the runner", || scratch.started().iter().all(|pid| is_gone(pid))));
}

#[tokio::test]
async fn no_more_sandboxes_run_at_once_than_may() {
    let scratch = Scratch::new();
    // The first three wait for each other, so that three do run at once. Each keeps its job in a file of its own.
    let script = r#"
        cat > "$scratch/job$$"; id=$(sed -n 's/.*"id":"\([^"]*\)".*/\1/p' "$scratch/job$$")
        echo + >> "$scratch/log"
        until [ $(grep -c + "$scratch/log") -ge 3 ]; do sleep 0.01; done
        echo - >> "$scratch/log"
        answer exited"#;
    let pinfold = scratch.runner(script).max_sandboxes(3).grace(PATIENCE).build().unwrap();
    let runs: Vec<_> = (0..12)
        .map(|_| {
            let pinfold = pinfold.clone();
            tokio::spawn(async move { pinfold.run(anything()).await.unwrap().status })
        })
        .collect();
    for run in runs {
        assert_eq!(run.await.unwrap(), Status::Exited);
    }
    let (mut running, mut most) = (0, 0);
    for line in scratch.read("log").lines() {
        running += if line == "+" { 1 } else { -1 };
        most = most.max(running);
    }
    assert_eq!((running, most), (0, 3));
}

#[test]
fn a_runner_that_is_none_is_refused_before_anything_starts() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path("plain"), "").unwrap();
    let refused = Pinfold::builder().runner(scratch.path("plain")).build().unwrap_err();
    assert!(matches!(refused, Error::UnusableRunner { .. }) && refused.hint().is_some());
    assert!(matches!(Pinfold::builder().runner("/none").build(), Err(Error::UnusableRunner { .. })));
}

#[tokio::test]
async fn a_runner_that_can_not_be_executed_is_an_error_and_frees_its_place() {
    let scratch = Scratch::new();
    let pinfold = scratch.runner("").max_sandboxes(1).build().unwrap();
    std::fs::remove_file(pinfold.runner()).unwrap();
    for _ in 0..2 {
        assert!(matches!(pinfold.run(anything()).await, Err(Error::Start { step: "start a process", .. })));
    }
}
