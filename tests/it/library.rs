//! What the library promises to its hosts: with the real runner, and with fake ones that die, hang and lie. What a sandbox
//! confines is not tested here.

use crate::support::{pinfold, runner};
use pinfold::{ByteSize, Error, Job, Limit, Outcome, Pinfold, PinfoldBuilder, Sandbox, Status, Stdin, Stdio, job};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio as ProcessStdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Long enough for any machine, and short enough not to wait for one that hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Far below what the fake runners sleep.
const GRACE: Duration = Duration::from_millis(300);

/// A directory of one test's own, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pinfold-library-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// A runner that is a shell script. `$scratch` is this directory, `read_job` reads the job and
    /// sets `$id`, and `answer STATUS [MORE]` prints a result.
    fn runner(&self, script: &str) -> PinfoldBuilder {
        self.runner_that_sweeps(script, "exit 0")
    }

    /// The same, and what it does for `--sweep` before the rest of it runs.
    fn runner_that_sweeps(&self, script: &str, sweep: &str) -> PinfoldBuilder {
        let text = format!(
            r#"#!/bin/sh
scratch='{}'
echo "$$ $*" >> "$scratch/started"
case "$*" in *--sweep*) {sweep} ;; esac
read_job() {{ cat > "$scratch/job"; id=$(sed -n 's/.*"id":"\([^"]*\)".*/\1/p' "$scratch/job"); }}
isolation='{{"namespaces":[],"seccomp":null,"landlock":null,"cgroup":null,"memory":"none","pids":"none","cpu":"none","workspace":"none","groups":"none"}}'
usage='{{"wall_ms":1,"user_ms":null,"system_ms":null,"throttled_ms":null,"peak_memory_bytes":null,"peak_pids":null,"oom_kills":null,"read_bytes":null,"written_bytes":null,"setup_ms":null,"teardown_ms":null}}'
answer() {{
    echo "{{\"version\":1,\"id\":\"$id\",\"signal\":null,\"stdout\":\"${{stdout:-}}\",\"stderr\":\"\",\"stdout_bytes\":${{bytes:-0}},\"stderr_bytes\":0,\"stdout_truncated\":false,\"stderr_truncated\":false,\"usage\":$usage,\"isolation\":$isolation,\"status\":\"$1\",${{2:-\"exit_code\":0,\"error\":null}}}}"
}}
{script}
"#,
            self.0.display()
        );
        // Written by another process: had this one the script open for writing while another test's thread starts a runner,
        // the copy of the descriptor would make execve(2) fail with ETXTBSY.
        let path = self.path("runner");
        let mut shell = Command::new("sh")
            .args(["-c", r#"cat > "$0" && chmod 755 "$0""#])
            .arg(&path)
            .stdin(ProcessStdio::piped())
            .spawn()
            .unwrap();
        shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
        Pinfold::builder().runner(path).grace(GRACE)
    }

    /// The process ids of the runners that were started, sweeps included.
    fn started(&self) -> Vec<String> {
        self.read("started").lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn fake(scratch: &Scratch, script: &str) -> Pinfold {
    scratch.runner(script).build().unwrap()
}

fn real() -> Pinfold {
    Pinfold::builder().runner(runner()).build().unwrap()
}

fn anything() -> Job {
    job(["true"]).build().unwrap()
}

fn shell(script: &str) -> Job {
    job(["sh", "-c", script]).build().unwrap()
}

fn code(outcome: &Outcome) -> &str {
    outcome.error.as_ref().map_or("", |error| &error.code)
}

fn message(outcome: &Outcome) -> &str {
    outcome.error.as_ref().map_or("", |error| &error.message)
}

/// Waits until `condition` holds; the test fails if it never does.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Not even a zombie is left of a process.
fn is_gone(pid: &str) -> bool {
    !Path::new("/proc").join(pid).exists()
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

// Fake runners that do their work.

#[tokio::test]
async fn the_answer_of_a_runner_is_the_outcome() {
    let scratch = Scratch::new();
    let pinfold = fake(&scratch, "read_job; stdout=hello; bytes=5; answer exited");
    let outcome = pinfold.run(anything()).await.unwrap();
    assert_eq!(
        (outcome.status, outcome.exit_code, outcome.stdout.as_bytes()),
        (Status::Exited, Some(0), &b"hello"[..])
    );
    let pids = scratch.started();
    assert!(pids.len() == 1 && is_gone(&pids[0]), "nothing to sweep, and no zombie");
}

#[tokio::test]
async fn the_id_of_the_job_names_the_sandbox_and_one_is_made_up_where_there_is_none() {
    let scratch = Scratch::new();
    let pinfold = fake(&scratch, "read_job; answer exited");
    let named = pinfold.run(job(["true"]).id("mine").build().unwrap()).await.unwrap();
    let (first, second) = (pinfold.run(anything()).await.unwrap(), pinfold.run(anything()).await.unwrap());
    assert_eq!(named.id, "mine");
    assert!(first.id.len() == 32 && first.id != second.id);
}

#[tokio::test]
async fn a_runner_gets_nothing_of_the_hosts_environment_but_what_it_needs() {
    let scratch = Scratch::new();
    let pinfold =
        fake(&scratch, r#"read_job; tr '\0' '\n' < /proc/$$/environ > "$scratch/environment"; answer exited"#);
    pinfold.run(anything()).await.unwrap();
    let environment = scratch.read("environment");
    let allowed = ["TMPDIR", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"];
    let foreign = environment.lines().find(|line| {
        let name = line.split('=').next().unwrap();
        !allowed.contains(&name) && !name.starts_with("PINFOLD_")
    });
    assert_eq!(foreign, None);
    assert!(std::env::var_os("PATH").is_some(), "the host has one to leak");
}

#[tokio::test]
async fn a_runner_leads_a_process_group_of_its_own() {
    let scratch = Scratch::new();
    let pinfold = fake(
        &scratch,
        r#"read_job; read -r pid name state parent group rest < /proc/$$/stat; echo $pid $group > "$scratch/group"; answer exited"#,
    );
    pinfold.run(anything()).await.unwrap();
    let line = scratch.read("group");
    let (pid, group) = line.trim().split_once(' ').unwrap();
    assert_eq!(pid, group);
}

#[tokio::test]
async fn a_job_of_tens_of_mebibytes_arrives_whole() {
    let scratch = Scratch::new();
    let pinfold = fake(&scratch, r#"read_job; answer exited"#);
    let size = 20 << 20;
    let job = job(["true"]).stdin(vec![b'x'; size]).wall(PATIENCE).build().unwrap();
    assert_eq!(pinfold.run(job).await.unwrap().status, Status::Exited);
    let sent = Job::from_json(&std::fs::read(scratch.path("job")).unwrap()).unwrap();
    assert_eq!(sent.stdin.as_bytes().len(), size);
}

#[tokio::test]
async fn a_job_that_no_runner_would_read_starts_none() {
    let scratch = Scratch::new();
    let pinfold = fake(&scratch, "read_job; answer exited");
    let refused = pinfold.run(job(["true"]).stdin(vec![b'x'; 64 << 20]).build().unwrap()).await.unwrap_err();
    assert!(matches!(refused, Error::JobTooBig { bytes, limit } if bytes > limit), "{refused}");
    assert!(scratch.started().is_empty());
}

#[tokio::test]
async fn streams_run_both_ways() {
    let scratch = Scratch::new();
    // Descriptors: 3 lifeline, 4 stdin, 5 stdout, 6 stderr.
    let script = r#"read_job; while read -r line <&4; do echo "got $line" >&5; done; echo end >&6; exec 5>&- 6>&-; answer exited"#;
    let pinfold = fake(&scratch, script);
    let mut sandbox = pinfold.spawn(anything(), Stdio::live()).await.unwrap();
    let (mut stdin, mut stdout) = (sandbox.take_stdin().unwrap(), sandbox.take_stdout().unwrap());
    let mut stderr = sandbox.take_stderr().unwrap();
    for word in ["one", "two"] {
        stdin.write_all(format!("{word}\n").as_bytes()).await.unwrap();
        let mut echoed = vec![0; "got one\n".len()];
        stdout.read_exact(&mut echoed).await.unwrap();
        assert_eq!(echoed, format!("got {word}\n").as_bytes());
    }
    drop(stdin);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "end\n");
    assert_eq!(sandbox.wait().await.unwrap().status, Status::Exited);
    assert!(scratch.read("started").contains("--lifeline=3 --stdin=4 --stdout=5 --stderr=6"));
}

#[tokio::test]
async fn streams_that_nobody_took_hold_nothing_up() {
    let scratch = Scratch::new();
    let pinfold = fake(
        &scratch,
        "read_job; cat <&4; head -c 3000000 /dev/zero >&5; head -c 3000000 /dev/zero >&6; answer exited",
    );
    let sandbox = pinfold.spawn(anything(), Stdio::live()).await.unwrap();
    assert_eq!(sandbox.wait().await.unwrap().status, Status::Exited);
}

#[tokio::test]
async fn signals_and_sizes_go_over_the_lifeline() {
    let scratch = Scratch::new();
    let pinfold = fake(
        &scratch,
        r#"read_job; stdout=$(head -c 10 <&3 | od -An -tu1 | tr -s ' \n' ' '); bytes=${#stdout}; exec 5>&-; echo "$stdout" > "$scratch/messages"; stdout=; bytes=0; answer exited"#,
    );
    let sandbox = pinfold.spawn(anything(), Stdio::terminal(24, 80)).await.unwrap();
    sandbox.signal(15).unwrap();
    sandbox.controller().resize(50, 300).unwrap();
    assert!(matches!(sandbox.signal(0), Err(Error::UnknownSignal { number: 0 })));
    assert!(matches!(sandbox.signal(65), Err(Error::UnknownSignal { .. })));
    let controller = sandbox.controller();
    assert_eq!(sandbox.wait().await.unwrap().status, Status::Exited);
    assert_eq!(scratch.read("messages").trim(), "115 15 0 0 0 114 50 0 44 1");
    assert!(scratch.read("started").contains("--terminal=24x80"));
    assert!(matches!(controller.signal(15), Err(Error::Ended { .. })));
}

#[tokio::test]
async fn a_job_with_a_stdin_has_no_live_one() {
    let scratch = Scratch::new();
    let pinfold = fake(&scratch, "read_job; answer exited");
    let refused = pinfold.spawn(job(["cat"]).stdin("x").build().unwrap(), Stdio::live()).await.unwrap_err();
    assert!(matches!(refused, Error::TwoStdins));
}

// Fake runners that die, hang and lie.

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

// The real runner.

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
    for (signal, status, wall) in
        [("-KILL", Status::Failed, PATIENCE), ("-STOP", Status::TimedOut, Duration::from_secs(1))]
    {
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
    let runs: Vec<_> = (0..100)
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
