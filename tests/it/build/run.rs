//! What a build does, through the command line.

use super::{project, script};
use crate::sandbox::eventually;
use crate::support::{self, finish};
use crate::workspaces::Home;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// Whether a process with this in its command line lives, zombies aside.
fn lives(mark: &str) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.windows(mark.len()).any(|window| window == mark.as_bytes())
    })
}

/// A time to sleep for that no other process sleeps, to find a process by.
fn mark(number: u32) -> String {
    format!("{}.{number}", 100_000 + std::process::id())
}

#[test]
fn a_build_runs_its_phases_and_publishes_what_they_made() {
    let home = Home::new();
    let file = "
        artifact = 'out'
        env = { GREETING = 'hello' }
        [[phase]]
        name = 'one'
        run = 'mkdir -p out/deep && echo $GREETING $MINE > out/deep/a && echo seen; echo told >&2; touch /tmp/gone'
        env = { MINE = 'phase' }
        [[phase]]
        name = 'two'
        run = ['sh', '-c', 'test ! -e /tmp/gone && test -z \"$MINE\" && cp \"$0\" out/b && chmod 755 out/b', 'pinfold.toml']
    ";
    let directory = project(&home, "p", file);
    let (code, stdout, stderr) = home.build(&directory, &[]);
    assert_eq!(code, 0, "{stderr}");
    for line in ["seen", "told", "pinfold: phase `one` succeeded", "pinfold: phase `two` succeeded"] {
        assert!(stderr.lines().any(|shown| shown == line), "{line}: {stderr}");
    }
    let made = Path::new(stdout.trim());
    assert_eq!(fs::read_to_string(made.join("deep/a")).unwrap(), "hello phase\n");
    let mode = |path: &str| fs::metadata(made.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode("deep/a"), mode("b"), mode("deep"), mode("")], [0o444, 0o555, 0o555, 0o555]);
    assert_eq!(fs::metadata(made).unwrap().uid(), fs::metadata(home.state()).unwrap().uid());
    let build = &home.builds()[0];
    assert_eq!((&build["state"], &build["attempt"], &build["error"]), (&"succeeded".into(), &1.into(), &Value::Null));
    assert_eq!(build["phases"].as_array().unwrap().len(), 2);
    // What is kept of the log is what was shown.
    let id = build["id"].as_str().unwrap();
    let log = home.told(&["jobs", "logs", &id[..8]]);
    assert!(stderr.ends_with(&log), "{stderr}\n{log}");
    let rows: Vec<Value> =
        home.told(&["jobs", "logs", id, "--json"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<_> = rows.iter().map(|row| row["sequence"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=rows.len() as u64).collect::<Vec<_>>());
    assert!(rows.iter().any(|row| row["text"] == "told" && row["stream"] == "stderr" && row["phase"] == "one"));
    // The same again is the same artifact, and nothing is left beside it.
    assert_eq!(home.build(&directory, &[]).1, stdout);
    let count = |name: &str| fs::read_dir(home.state().join("builds").join(name)).unwrap().count();
    assert_eq!([count("artifacts"), count("snapshots"), count("limbo"), count("workers")], [1, 1, 0, 0]);
    // The workspaces' own limbo alone.
    assert_eq!(count("workspaces"), 1);
    let out = home.scratch.path("copied");
    assert_eq!(home.build(&directory, &["--artifact-dir", out.to_str().unwrap()]).0, 0);
    assert_eq!(fs::read_to_string(out.join("deep/a")).unwrap(), "hello phase\n");
}

#[test]
fn a_build_that_fails_says_why_with_its_exit_code() {
    let home = Home::new();
    let more = |more: &str, run: &str| script(run).replace("name = 'build'", &format!("name = 'build'\n{more}"));
    for (file, code, fault) in [
        (script("echo before; exit 7"), 7, "phase_failed"),
        (script("kill -SEGV $$"), 125, "phase_failed"),
        (more("limits = { time = '200ms' }", "sleep 1000"), 124, "timed_out"),
        (script("true"), 125, "artifact_missing"),
        (script("mkdir out"), 125, "artifact_missing"),
        (script("mkdir out; ln -s /etc/passwd out/link"), 125, "artifact_refused"),
        (script("ln -s /etc out"), 125, "artifact_refused"),
        (script("mkdir -p real/a; ln -s real out"), 125, "artifact_refused"),
        (script("mkdir out; mkfifo out/fifo"), 125, "artifact_refused"),
        (more("limits = { disk = '1M' }", "head -c 40M /dev/zero > big; sleep 1000"), 153, "workspace_exceeded"),
        (script("true").replace("artifact = 'out'", "artifact = 'out'\ntoolchains = ['cobol']"), 125, "toolchain"),
    ] {
        let directory = project(&home, "p", &file);
        let (ended, stdout, stderr) = home.build(&directory, &[]);
        let build = &home.builds()[0];
        assert_eq!((ended, stdout.as_str()), (code, ""), "{file}{stderr}");
        assert_eq!((&build["state"], &build["error"]["code"]), (&"failed".into(), &fault.into()), "{file}{stderr}");
        assert!(stderr.contains(build["error"]["message"].as_str().unwrap()), "{stderr}");
    }
    assert_eq!(fs::read_dir(home.state().join("builds/artifacts")).unwrap().count(), 0);
    // What is refused at once is no build.
    let before = home.builds().len();
    for (file, words) in [("artefact = 'x'", "artefact"), ("artifact = 'out'", "kind"), ("", "kind")] {
        let directory = project(&home, "p", file);
        let (ended, _, stderr) = home.build(&directory, &[]);
        assert!(ended == 125 && stderr.contains(words), "{stderr}");
    }
    assert_eq!(home.builds().len(), before);
}

#[test]
fn what_a_build_leaves_running_dies_with_its_phase_and_holds_up_nothing() {
    let home = Home::new();
    let sleep = mark(1);
    let daemon = format!("mkdir out; echo made > out/a; setsid sh -c 'exec sleep {sleep}' & echo begun");
    let directory = project(&home, "p", &script(&daemon));
    let begun = Instant::now();
    let (code, _, stderr) = home.build(&directory, &[]);
    assert!(code == 0 && stderr.contains("begun"), "{stderr}");
    assert!(begun.elapsed() < Duration::from_secs(60) && !lives(&sleep));
    // Where the phase itself goes on, it ends at its deadline, with what it holds.
    let limited = script(&format!("{daemon}; sleep {sleep}")).replace("name =", "limits = { time = '500ms' }\nname =");
    let directory = project(&home, "q", &limited);
    assert_eq!(home.build(&directory, &[]).0, 124);
    assert!(!lives(&sleep));
}

#[test]
fn a_running_build_is_cancelled_within_a_second_and_a_waiting_one_at_once() {
    let home = Home::new();
    let sleep = mark(2);
    let directory = project(&home, "p", &script(&format!("setsid sleep {sleep} & exec sleep {sleep}")));
    let waits = home.queue(&project(&home, "q", &script("true")), &[]);
    assert_eq!(home.told(&["jobs", "cancel", &waits]), "cancelled\n");
    // It takes a fifth of that, but any machine may hold a process up for once.
    let mut took = Vec::new();
    while took.len() < 3 && took.last().is_none_or(|last| *last >= Duration::from_secs(1)) {
        took.push(cancelled(&home, &directory, &sleep));
    }
    let is_in_time = took.last().is_some_and(|last| *last < Duration::from_secs(1));
    assert!(is_in_time || support::is_slow(), "{took:?}");
    // Ctrl-C does the same.
    let child = home.pinfold(&["build", directory.to_str().unwrap()]).spawn().unwrap();
    eventually("the build runs", || lives(&sleep));
    crate::sandbox::kill(i32::try_from(child.id()).unwrap(), libc::SIGINT);
    assert_eq!(finish(child).0, 130);
    assert!(!lives(&sleep));
}

/// Cancels a build that runs, and tells how long it was until nothing of it lived.
fn cancelled(home: &Home, directory: &Path, sleep: &str) -> Duration {
    let child = home.pinfold(&["build", directory.to_str().unwrap()]).spawn().unwrap();
    eventually("the build runs", || lives(sleep));
    let id = home.builds()[0]["id"].as_str().unwrap().to_owned();
    let begun = Instant::now();
    assert_eq!(home.told(&["jobs", "cancel", &id]), "running\n");
    eventually("all of it is killed", || !lives(sleep));
    let took = begun.elapsed();
    eventually("it is cancelled", || home.state_of(&id) == "cancelled");
    let (code, stdout, stderr) = finish(child);
    assert_eq!((code, stdout.as_str()), (130, ""), "{stderr}");
    assert_eq!(home.told(&["jobs", "cancel", &id]), "cancelled\n");
    took
}

#[test]
fn a_newer_snapshot_ends_the_build_that_runs() {
    let home = Home::new();
    let sleep = mark(3);
    let directory = project(&home, "p", &script(&format!("sleep {sleep}")));
    let old = home.queue(&directory, &[]);
    let mut worker = home.worker(&[]);
    eventually("the build runs", || lives(&sleep));
    let directory = project(&home, "p", &script("mkdir out; echo new > out/a"));
    let (code, _, stderr) = home.build(&directory, &[]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(home.state_of(&old), "stale");
    assert!(!lives(&sleep));
    // It was the worker that ran both.
    crate::sandbox::kill(i32::try_from(worker.id()).unwrap(), libc::SIGTERM);
    assert!(worker.wait().unwrap().success());
    let (code, _, stderr) = finish(home.pinfold(&["jobs", "retry", &old]).spawn().unwrap());
    assert!(code == 125 && stderr.contains("newer snapshot"), "{stderr}");
    let new = home.builds()[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(finish(home.pinfold(&["jobs", "retry", &new, "--attempts", "7"]).spawn().unwrap()).0, 0);
    let again = home.builds()[0].clone();
    assert_eq!((&again["retry_of"], &again["attempt"], &again["attempts"]), (&new.into(), &1.into(), &7.into()));
    // As often as before, where nobody says.
    assert_eq!(finish(home.pinfold(&["jobs", "retry", again["id"].as_str().unwrap()]).spawn().unwrap()).0, 0);
    assert_eq!(home.builds()[0]["attempts"], 7);
}

#[test]
fn a_log_is_bounded_and_says_so_and_the_build_goes_on() {
    let home = Home::new();
    let flood = "head -c 20000 /dev/zero | tr '\\0' x; echo; yes abcdefghijklmnop | head -c 30000000
        printf 'unended \\377'; echo made > out";
    let directory = project(&home, "p", &script(flood));
    let (code, _, stderr) = home.build(&directory, &[]);
    assert_eq!(code, 0, "{}", stderr.lines().last().unwrap_or_default());
    assert!(stderr.len() < 9 << 20, "{}", stderr.len());
    let long = stderr.lines().find(|line| line.starts_with("xxx")).unwrap();
    assert!(long.ends_with("… (cut)") && long.len() < 9000, "{}", long.len());
    assert_eq!(stderr.matches("the log is cut here").count(), 1);
    let build = &home.builds()[0];
    assert_eq!((&build["state"], &build["log_truncated"]), (&"succeeded".into(), &true.into()));
}

#[test]
fn a_project_gets_no_network_and_no_path_that_nobody_granted() {
    let home = Home::new();
    let network = |network: &str| script("true").replace("name =", &format!("network = {network}\nname ="));
    for denied in ["'host'", "['127.0.0.1:22']"] {
        let directory = project(&home, "p", &network(denied));
        let (code, _, stderr) = home.build(&directory, &[]);
        assert!(code == 125 && stderr.contains("not allowed"), "{stderr}");
    }
    let look = "ls /sys/class/net > out; cat /proc/net/route >> out 2>/dev/null; test ! -e /root/.bashrc; true";
    let directory = project(&home, "p", &script(look));
    let (_, stdout, stderr) = home.build(&directory, &[]);
    let interfaces = fs::read_to_string(Path::new(stdout.trim()).join("out")).expect(&stderr);
    assert!(!interfaces.contains("eth") && !interfaces.contains("00000000"), "{interfaces}");
    // The state directory is nobody's to show.
    let state = home.state();
    let (code, _, stderr) = home.build(&directory, &["--ro", &format!("{}:/tmp/x", state.display())]);
    assert!(code == 125 && stderr.contains("state directory"), "{stderr}");
}

#[test]
fn a_file_system_that_is_full_fails_the_build_and_loses_no_other() {
    if !support::is_root() {
        return support::host_cannot("only root can mount a small file system");
    }
    let home = Home::new();
    fs::create_dir(home.state()).unwrap();
    let state = home.state();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=6m,mode=0700", "tmpfs"])
        .arg(&state)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        return support::host_cannot("no tmpfs can be mounted here");
    }
    let unmounted = Unmount(state);
    let good = project(&home, "good", &script("echo kept > out"));
    let (code, kept, stderr) = home.build(&good, &[]);
    assert_eq!(code, 0, "{stderr}");
    let big = project(&home, "big", &script("head -c 60M /dev/zero > out"));
    let (code, _, stderr) = home.build(&big, &[]);
    assert!(code != 0, "{stderr}");
    // What was there is whole, and the next build is built.
    assert_eq!(fs::read_to_string(Path::new(kept.trim()).join("out")).unwrap(), "kept\n");
    let (code, _, stderr) = home.build(&good, &[]);
    assert_eq!(code, 0, "{stderr}");
    drop(unmounted);
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _gone = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
