//! Faults: processes killed at any moment, system calls that fail, all while a sandbox is set up. Nothing may run
//! unconfined, the answer is clean or there is none, and after the next sweep nothing is left.

use crate::sandbox::{Job, Running, children, kill};
use crate::support::{has_program, is_slow, skip};
use pinfold_runner::{Outcome, Status};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Calls that can't be made to fail: they end or replace the very process, and there is nothing to be told any more.
const LEFT_OUT: &[&str] = &["execve", "exit", "exit_group", "rt_sigreturn", "restart_syscall"];

/// Calls whose failure leaves no way to answer: no memory for the program itself, or no stdin and stdout.
const MUTE: &[&str] = &[
    "mmap",
    "brk",
    "write",
    "read",
    "arch_prctl",
    "set_tid_address",
    "mprotect",
    "sigaltstack",
    "poll",
    "rt_sigaction",
    "munmap",
    "mremap",
];

fn confined() -> Job {
    let job = Job::probe("confined", &[]).with("user", json!("0:0")).files(&[("a/b", "text")]);
    job.limit("wall_ms", 20_000).limit("cpus", 1.5)
}

pub(crate) fn can_trace() -> bool {
    if !has_program("strace") {
        return false;
    }
    let traced = std::process::Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    let works = traced.is_ok_and(|status| status.success());
    if !works {
        skip("needs ptrace, for strace");
    }
    works
}

/// Which system calls the runner, init and the command make until the probe runs, and how often one process makes each.
fn calls() -> BTreeMap<String, usize> {
    let job = cgroupless_if_needed(confined());
    let trace =
        std::env::temp_dir().join(format!("pinfold-it-trace-{}-{:?}", std::process::id(), std::thread::current().id()));
    let path = trace.to_str().unwrap().to_owned();
    job.started_by(&["strace", "-ff", "-qq", "-o", &path], &[]).run().exited();
    let mut calls = BTreeMap::new();
    for entry in fs::read_dir(trace.parent().unwrap()).unwrap().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(trace.file_name().unwrap().to_str().unwrap()) {
            continue;
        }
        let text = fs::read_to_string(entry.path()).unwrap();
        // What the guest does after its execve is not ours. The first line is the runner's own execve.
        let first = usize::from(text.starts_with("execve"));
        let mut mine: BTreeMap<String, usize> = BTreeMap::new();
        for line in text.lines().skip(first).take_while(|line| !line.starts_with("execve")) {
            if let Some((name, _)) = line.split_once('(')
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            {
                *mine.entry(name.to_owned()).or_default() += 1;
            }
        }
        for (name, count) in mine {
            let most = calls.entry(name).or_default();
            *most = count.max(*most);
        }
        fs::remove_file(entry.path()).unwrap();
    }
    calls.retain(|name, _| !LEFT_OUT.contains(&name.as_str()));
    assert!(calls.len() > 30, "{calls:?}");
    calls
}

/// Throttling needs a cgroup; where there is none, the job goes without.
fn cgroupless_if_needed(job: Job) -> Job {
    if crate::support::has_cgroups() { job } else { job.limit("cpus", "max") }
}

/// The answer, if there is one. Far below the minute that the runner itself gives set-up.
fn end(running: &mut Running) -> Result<Option<Outcome>, String> {
    let mut stdout = running.child.stdout.take().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let _may_be_cut = stdout.read_to_string(&mut text);
        sender.send(text)
    });
    match receiver.recv_timeout(Duration::from_secs(40)) {
        Ok(text) => Ok(serde_json::from_str(&text).ok()),
        Err(_too_late) => {
            // A tracer's death sets its tracees free, so they go first.
            children(running.pid()).into_iter().chain([running.pid()]).for_each(|pid| kill(pid, libc::SIGKILL));
            Err("it did not end".to_owned())
        }
    }
}

/// Runs the job once for each of `injections`, two at a time, and gives each end to `judge`.
fn inject(injections: &[(String, String)], judge: impl Fn(&str, &str, Option<Outcome>) -> Result<(), String> + Sync) {
    let next = AtomicUsize::new(0);
    let wrong = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some((name, injection)) = injections.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let job = cgroupless_if_needed(confined());
                    let trace = format!("trace={name}");
                    let option = format!("inject={injection}");
                    let words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &option];
                    let mut running = job.started_by(&words, &[]).spawn();
                    let outcome = end(&mut running);
                    let swept = running.try_sweep();
                    let judged = outcome.and_then(|outcome| swept.and_then(|()| judge(name, injection, outcome)));
                    if let Err(text) = judged {
                        wrong.lock().unwrap().push(format!("{injection}: {text}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), injections.len(), wrong.join("\n"));
}

/// Whatever ran must have been confined, and what the result claims must be so.
fn truthful(outcome: &Outcome) -> Result<(), String> {
    let text = outcome.stdout.to_text();
    if text.contains("unconfined") {
        return Err(text.into_owned());
    }
    let claims = outcome.isolation.landlock.is_some_and(|abi| abi >= 6);
    if text.starts_with("confined") && claims != text.contains("landlock") {
        return Err(format!(
            "landlock is told as {:?} and {}",
            outcome.isolation.landlock,
            if claims { "missing" } else { "there" }
        ));
    }
    Ok(())
}

/// At most so many occurrences of each call, in each process: setting up makes some calls hundreds of times.
const MOST: usize = 4;

fn each_call(what: &str) -> Vec<(String, String)> {
    let calls = calls();
    let each = calls.iter().flat_map(|(name, count)| (1..=MOST.min(*count)).map(move |when| (name, when)));
    let injections = each.map(|(name, when)| (name.clone(), format!("{name}:{what}:when={when}")));
    injections.step_by(if is_slow() { 8 } else { 1 }).collect()
}

/// Moments of set-up, so far apart; where it takes long, fewer and farther apart.
fn moments(number: u32, apart: Duration) -> impl Iterator<Item = Duration> {
    let (number, apart) = if is_slow() { (number / 4, apart * 200) } else { (number, apart) };
    (0..number).map(move |step| apart * step)
}

#[test]
fn each_system_call_of_set_up_may_fail() {
    if !can_trace() {
        return;
    }
    // close(2) closes whatever it says; made to fail by the tracer it would not, which no kernel does. Nor does one refuse
    // to tell the time, which it is asked for by a call where the clock can't be read otherwise. And the probe takes a
    // kill(2) that fails for Landlock's doing.
    let mut injections = each_call("error=ENOMEM");
    injections.retain(|(name, _)| !["close", "clock_gettime", "kill"].contains(&name.as_str()));
    inject(&injections, |name, _, outcome| match outcome {
        None if MUTE.contains(&name) => Ok(()),
        None => Err("no answer".to_owned()),
        Some(outcome) => {
            truthful(&outcome)?;
            match (outcome.status, &outcome.error) {
                (Status::Failed, Some(error)) => {
                    let names_it = error.message.contains("failed to ") || error.code != "internal";
                    if names_it && !error.code.is_empty() { Ok(()) } else { Err(format!("{error:?}")) }
                }
                _ => Ok(()),
            }
        }
    });
}

#[test]
fn each_process_may_be_killed_at_each_system_call_of_set_up() {
    if !can_trace() {
        return;
    }
    inject(&each_call("signal=SIGKILL"), |_, _, outcome| outcome.map_or(Ok(()), |outcome| truthful(&outcome)));
}

#[test]
fn a_runner_killed_at_any_moment_leaves_nothing() {
    for moment in moments(40, Duration::from_micros(400)) {
        let job = Job::sh("sleep 100 & sleep 100").files(&[("a", "b")]);
        let mut running = job.spawn();
        std::thread::sleep(moment);
        kill(running.pid(), libc::SIGKILL);
        assert!(end(&mut running).unwrap().is_none());
        running.sweep();
    }
}

#[test]
fn an_init_killed_at_any_moment_is_told_and_leaves_nothing() {
    for moment in moments(20, Duration::from_micros(500)) {
        let running = Job::probe("process", &["sleep"]).limit("wall_ms", 60_000).spawn();
        let mut init = None;
        running.until("init is there", || {
            init = children(running.pid()).into_iter().next();
            init.is_some()
        });
        std::thread::sleep(moment);
        kill(init.unwrap(), libc::SIGKILL);
        let answer = running.answer();
        let outcome = &answer.outcome;
        // A helper of set-up may have been hit instead; either way it is told, and is no success.
        assert_eq!(outcome.status, Status::Failed, "{}", answer.json);
        assert!(outcome.error.is_some(), "{}", answer.json);
    }
}

#[test]
fn starting_on_top_of_ruins_works_and_clears_them() {
    let mut running = Job::new(&["sleep", "100"]).spawn();
    let init = running.init();
    // The slot is taken while the view is built.
    let sleeps = |pid: &i32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"sleep"));
    running.until("the command runs", || children(init).iter().any(sleeps));
    kill(running.pid(), libc::SIGKILL);
    assert!(end(&mut running).unwrap().is_none());
    let _reaped = running.child.wait();
    let state = running.state.path("state");
    running.until("init is gone", || !fs::exists(format!("/proc/{init}")).unwrap());
    let slots = || fs::read_dir(&state).unwrap().map(|slot| slot.unwrap().file_name()).collect::<Vec<_>>();
    let ruin = slots();
    assert_eq!(ruin.len(), 1, "{ruin:?}");
    let next = Job::new(&["true"]).spawn_as(|command| {
        command.env("PINFOLD_STATE_DIR", &state);
    });
    next.answer().exited();
    assert!(slots().is_empty(), "{:?} of {ruin:?}", slots());
    running.sweep();
}

#[test]
fn a_living_sandbox_is_never_swept() {
    let running = Job::sh("until [ -e done ]; do sleep 0.05; [ -e gone ] && exit 9; done; echo intact")
        .files(&[("kept", "x")])
        .spawn();
    let init = running.init();
    running.until("the command runs", || !children(init).is_empty());
    let slot = fs::read_dir(running.state.path("state")).unwrap().flatten().next().unwrap().path();
    running.until("its files are there", || slot.join("workspace/kept").exists());
    for _ in 0..5 {
        let swept = std::process::Command::new(crate::support::runner())
            .arg("--sweep")
            .env("PINFOLD_STATE_DIR", running.state.path("state"))
            .status();
        assert!(swept.unwrap().success());
    }
    assert!(slot.join("workspace/kept").exists());
    fs::write(slot.join("workspace/done"), "").unwrap();
    assert_eq!(running.answer().exited(), "intact\n");
}

#[test]
fn a_stopped_runner_s_sandbox_ends_with_it() {
    let mut running = Job::new(&["sleep", "100"]).spawn();
    let init = running.init();
    running.until("the command runs", || !children(init).is_empty());
    kill(running.pid(), libc::SIGSTOP);
    kill(running.pid(), libc::SIGKILL);
    assert!(end(&mut running).unwrap().is_none());
    running.sweep();
}

#[test]
fn too_few_descriptors_and_processes_are_clean_errors() {
    for limit in ["-n 6", "-n 10", "-n 16", "-n 24", "-f 0"] {
        let script = format!(r#"ulimit {limit}; exec "$0" "$@""#);
        let mut running = confined().limit("cpus", "max").started_by(&["sh", "-c", &script], &[]).spawn();
        let outcome = end(&mut running).unwrap().unwrap_or_else(|| panic!("no answer with ulimit {limit}"));
        running.sweep();
        truthful(&outcome).unwrap();
        assert!(
            outcome.status == Status::Failed || outcome.stdout.to_text().starts_with("confined"),
            "{limit}: {outcome:?}"
        );
    }
}

#[test]
fn a_full_disk_is_a_clean_error_as_root() {
    if !crate::support::is_root() {
        return crate::support::host_cannot("needs root, to mount a small file system");
    }
    // The state directory lies on a file system with next to no room, which goes when the runner does.
    let small = r#"mount -t tmpfs -o size=256k small "${PINFOLD_STATE_DIR%/*}" && exec "$0" "$@""#;
    let text = "x".repeat(1 << 20);
    let job = Job::new(&["true"]).files(&[("big", &text)]);
    let failure = job.started_by(&["unshare", "--mount", "sh", "-c", small], &[]).failure();
    assert!(failure.code == "files" && failure.message.contains("ENOSPC") && failure.hint.is_some(), "{failure:?}");
    let full = r#"mount -t tmpfs -o size=4k,nr_inodes=2 full "${PINFOLD_STATE_DIR%/*}" && exec "$0" "$@""#;
    let failure = Job::new(&["true"]).started_by(&["unshare", "--mount", "sh", "-c", full], &[]).failure();
    assert!(
        ["state", "workspace"].contains(&failure.code.as_str()) && failure.message.contains("ENOSPC"),
        "{failure:?}"
    );
}
