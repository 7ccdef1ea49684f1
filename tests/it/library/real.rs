//! The library and the real runner together. What a sandbox confines is not tested here.

use super::{GRACE, PATIENCE, Scratch, is_gone, until};
use crate::support::{is_slow, pinfold, runner, runs};
use pinfold::{ByteSize, Job, Limit, Pinfold, Sandbox, Status, Stdin, Stdio, job};
use std::process::{Command, Stdio as ProcessStdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn real() -> Pinfold {
    Pinfold::builder().runner(runner()).build().unwrap()
}

fn shell(script: &str) -> Job {
    job(["sh", "-c", script]).build().unwrap()
}

/// The processes whose command line has `marker` in it, on the whole machine.
fn processes_with(marker: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(marker)
    })
    .collect()
}

/// The runner above the process `pid`: the ancestor that is this process's child.
fn runner_above(mut pid: u32) -> u32 {
    loop {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
        if parent == std::process::id() {
            return pid;
        }
        pid = parent;
    }
}

/// A command that nobody else runs: it sleeps for so many seconds, which also names it.
fn marker() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("7{:09}{:03}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

async fn sleeping(pinfold: &Pinfold, marker: &str, stdio: Stdio) -> (Sandbox, u32) {
    let sandbox = pinfold.spawn(job(["sleep", marker]).wall(Limit::Max).build().unwrap(), stdio).await.unwrap();
    until("the command", || !processes_with(marker).is_empty()).await;
    let pid = processes_with(marker)[0];
    (sandbox, pid)
}

fn send(signal: &str, pid: u32) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

#[tokio::test]
async fn a_command_runs_and_its_end_is_told() {
    let outcome = real().run(shell("echo out; echo err >&2; exit 3")).await.unwrap();
    assert_eq!((outcome.status, outcome.exit_code), (Status::Exited, Some(3)), "{:?}", outcome.error);
    assert_eq!((outcome.stdout.to_text(), outcome.stderr.to_text()), ("out\n".into(), "err\n".into()));
}

#[tokio::test]
async fn five_mebibytes_of_output_are_counted_and_kept_up_to_the_cap() {
    let job = job(["head", "-c", "5242880", "/dev/zero"]).output(ByteSize::mebibytes(1)).build().unwrap();
    let outcome = real().run(job).await.unwrap();
    assert_eq!((outcome.stdout_bytes, outcome.stdout.as_bytes().len()), (5 << 20, 1 << 20), "{:?}", outcome.error);
    assert!(outcome.stdout_truncated && outcome.exit_code == Some(0));
}

#[tokio::test]
async fn a_real_command_streams_both_ways() {
    let mut sandbox = real().spawn(job(["cat"]).build().unwrap(), Stdio::live()).await.unwrap();
    let (mut stdin, mut stdout) = (sandbox.take_stdin().unwrap(), sandbox.take_stdout().unwrap());
    for word in ["one\n", "two\n"] {
        stdin.write_all(word.as_bytes()).await.unwrap();
        let mut echoed = vec![0; word.len()];
        stdout.read_exact(&mut echoed).await.unwrap();
        assert_eq!(echoed, word.as_bytes());
    }
    stdin.shutdown().await.unwrap();
    let outcome = sandbox.wait().await.unwrap();
    assert_eq!((outcome.status, outcome.stdout_bytes), (Status::Exited, 8), "{:?}", outcome.error);
}

#[tokio::test]
async fn a_stream_that_is_not_read_holds_the_command_up_and_loses_nothing() {
    let size = 8 << 20;
    let job = job(["head", "-c", &size.to_string(), "/dev/zero"]).output(Limit::Max).build().unwrap();
    let mut sandbox = real().spawn(job, Stdio::live()).await.unwrap();
    let mut stdout = sandbox.take_stdout().unwrap();
    let reader = tokio::spawn(async move {
        let (mut total, mut buffer) = (0, vec![0; 10_000]);
        loop {
            match stdout.read(&mut buffer).await.unwrap() {
                0 => return total,
                count => total += count,
            }
            tokio::task::yield_now().await;
        }
    });
    let outcome = sandbox.wait().await.unwrap();
    assert_eq!((reader.await.unwrap(), outcome.exit_code), (size, Some(0)), "{:?}", outcome.error);
}

#[tokio::test]
async fn stdin_may_come_late_and_output_be_captured_all_the_same() {
    let stdio = Stdio::Captured { stdin: Stdin::Live };
    let mut sandbox = real().spawn(job(["sort"]).build().unwrap(), stdio).await.unwrap();
    let mut stdin = sandbox.take_stdin().unwrap();
    stdin.write_all(b"b\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    stdin.write_all(b"a\n").await.unwrap();
    drop(stdin);
    let outcome = sandbox.wait().await.unwrap();
    assert_eq!(outcome.stdout.to_text(), "a\nb\n", "{:?}", outcome.error);
}

#[tokio::test]
async fn a_large_file_reaches_the_real_sandbox() {
    let size = 30 << 20;
    let job = job(["wc", "-c", "big"]).file("big", vec![b'x'; size]).wall(PATIENCE).build().unwrap();
    let outcome = real().run(job).await.unwrap();
    assert_eq!(outcome.stdout.to_text(), format!("{size} big\n"), "{:?}", outcome.error);
}

#[tokio::test]
async fn a_signal_reaches_the_command() {
    let job = shell("trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.01; done");
    let mut sandbox = real().spawn(job, Stdio::live()).await.unwrap();
    let mut stdout = sandbox.take_stdout().unwrap();
    stdout.read_exact(&mut [0; 6]).await.unwrap();
    sandbox.signal(15).unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).await.unwrap();
    assert_eq!((rest.as_str(), sandbox.wait().await.unwrap().exit_code), ("caught\n", Some(7)));
}

#[tokio::test]
async fn cancelling_ends_the_command_and_says_so() {
    let (pinfold, marker) = (real(), marker());
    let (sandbox, _) = sleeping(&pinfold, &marker, Stdio::captured()).await;
    sandbox.cancel();
    let outcome = sandbox.wait().await.unwrap();
    assert_eq!(outcome.status, Status::Cancelled, "{:?}", outcome.error);
    assert!(processes_with(&marker).is_empty());
}

#[tokio::test]
async fn dropping_the_sandbox_leaves_no_process() {
    let (pinfold, marker) = (real(), marker());
    let (sandbox, pid) = sleeping(&pinfold, &marker, Stdio::captured()).await;
    let runner = runner_above(pid).to_string();
    drop(sandbox);
    until("the command's end", || processes_with(&marker).is_empty()).await;
    until("the runner's end", || is_gone(&runner)).await;
}

#[tokio::test]
async fn dropping_the_future_leaves_no_process() {
    let (pinfold, marker) = (real(), marker());
    let run = pinfold.run(job(["sleep", &marker]).build().unwrap());
    tokio::select! {
        _ = run => panic!("it can't end"),
        () = until("the command", || !processes_with(&marker).is_empty()) => {}
    }
    until("the command's end", || processes_with(&marker).is_empty()).await;
}

#[tokio::test]
async fn killing_takes_the_runner_and_the_command_with_it() {
    let (pinfold, marker) = (real(), marker());
    let (sandbox, pid) = sleeping(&pinfold, &marker, Stdio::live()).await;
    let runner = runner_above(pid).to_string();
    sandbox.kill();
    assert_eq!(sandbox.wait().await.unwrap().status, Status::Cancelled);
    assert!(is_gone(&runner));
    until("the command's end", || processes_with(&marker).is_empty()).await;
}

#[tokio::test]
async fn a_real_runner_that_is_killed_or_stopped_takes_the_command_with_it() {
    for (signal, status, wall) in [
        ("-KILL", Status::Failed, PATIENCE),
        ("-STOP", Status::TimedOut, Duration::from_secs(if is_slow() { 15 } else { 1 })),
    ] {
        let marker = marker();
        let pinfold = Pinfold::builder().runner(runner()).grace(GRACE).build().unwrap();
        let job = job(["sleep", &marker]).wall(wall).build().unwrap();
        let sandbox = pinfold.spawn(job, Stdio::captured()).await.unwrap();
        until("the command", || !processes_with(&marker).is_empty()).await;
        send(signal, runner_above(processes_with(&marker)[0]));
        let outcome = sandbox.wait().await.unwrap();
        assert_eq!(outcome.status, status, "{signal}");
        until("the command's end", || processes_with(&marker).is_empty()).await;
    }
}

#[tokio::test]
async fn nothing_is_left_on_disk_when_the_runner_was_killed() {
    let (scratch, marker) = (Scratch::new(), marker());
    // The real runner, with slots and uids of its own, so that other tests' sandboxes are not among them.
    let uids = 0x7100_0000 + std::process::id() % 0x10000;
    let script = format!(
        r#"mkdir -p "$scratch/state"; chmod 700 "$scratch/state"
        PINFOLD_UIDS={uids}-{} PINFOLD_STATE_DIR="$scratch/state" exec '{}' "$@""#,
        uids + 3,
        runner().display()
    );
    let pinfold = scratch.runner_that_sweeps(&script, ":").grace(PATIENCE).build().unwrap();
    let slots = || std::fs::read_dir(scratch.path("state")).map_or(0, Iterator::count);
    let (sandbox, _) = sleeping(&pinfold, &marker, Stdio::captured()).await;
    assert_eq!(slots(), 1, "what could be left");
    sandbox.kill();
    assert_eq!(sandbox.wait().await.unwrap().status, Status::Cancelled);
    assert_eq!(slots(), 0);
}

#[tokio::test]
async fn the_end_of_the_host_is_the_end_of_its_sandboxes() {
    // A program that links the library, killed so that no code of its own runs any more.
    let marker = marker();
    let mut host =
        Command::new(pinfold()).args(["run", "--", "sleep", &marker]).stdin(ProcessStdio::null()).spawn().unwrap();
    // The host's own arguments have the marker in them too; the command is its runner's child.
    let command = || processes_with(&marker).into_iter().any(|pid| pid != host.id());
    until("the command", command).await;
    host.kill().unwrap();
    host.wait().unwrap();
    until("the command's end", || processes_with(&marker).is_empty()).await;
}

#[tokio::test]
async fn a_hundred_jobs_at_once_have_a_hundred_right_answers() {
    let pinfold = real();
    let runs: Vec<_> = (0..i32::try_from(runs(100)).unwrap())
        .map(|number| {
            let pinfold = pinfold.clone();
            tokio::spawn(async move { pinfold.run(shell(&format!("echo {number}; exit {number}"))).await.unwrap() })
        })
        .collect();
    for (number, run) in (0..).zip(runs) {
        let outcome = run.await.unwrap();
        assert_eq!(outcome.exit_code, Some(number), "{:?}", outcome.error);
        assert_eq!(outcome.stdout.to_text(), format!("{number}\n"));
    }
}
