//! Each limit of this mode attacked, by whatever holds it here.

use super::{probe, sh, stands};
use crate::sandbox::Scratch;
use crate::support::is_root;
use pinfold_runner::{Mechanism, Status};
use serde_json::json;

#[test]
fn processes_are_counted() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    let answer = probe(&scratch, "process", &["forks"]).limit("pids", 20).run();
    let text = answer.exited();
    let made: u64 = text.split(' ').next().unwrap().parse().unwrap();
    assert!(text.ends_with(&format!("errno {}\n", libc::EAGAIN)), "{text}");
    if is_root() {
        assert!(made < 20, "{text}");
    } else {
        // The same user's other processes come and go meanwhile: the tests that run beside this one.
        assert!(made < 500, "{text}");
    }
    // Nor is the limit the command's to lift.
    let calls = [format!("{}:6,s/aaaaaaaabbbbbbbb", libc::SYS_setrlimit)];
    assert_eq!(probe(&scratch, "syscall", &[&calls[0]]).run().lines(), ["1"]);
}

#[test]
fn memory_is_limited_and_the_result_says_by_what() {
    if !stands() {
        return;
    }
    let script = "import sys\nblocks = []\ntry:\n for i in range(64): blocks.append(b'x' * (16 << 20))\n\
                  except MemoryError: sys.exit(7)\nprint('all')";
    if !crate::support::has_program("python3") {
        return;
    }
    let answer = super::job(&["/usr/bin/python3", "-c", script]).limit("memory_bytes", 128 << 20).run();
    let outcome = &answer.outcome;
    match outcome.isolation.memory {
        Mechanism::Cgroup => _ = answer.is(Status::OutOfMemory),
        _ => assert!(outcome.exit_code == Some(7) || outcome.status == Status::OutOfMemory, "{}", answer.json),
    }
}

#[test]
fn cpu_time_is_limited_over_all_processes() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    for kind in ["spinners", "short-spinners"] {
        let answer = probe(&scratch, "process", &[kind, "4"]).limit("cpu_ms", 500).limit("wall_ms", 60_000).run();
        answer.is(Status::CpuExceeded);
    }
}

#[test]
fn the_workspace_and_the_temporary_directory_are_limited_together() {
    if !stands() {
        return;
    }
    for place in [".", "$TMPDIR"] {
        let script = format!("i=0; while :; do head -c 4000000 /dev/zero > {place}/f$i; i=$((i+1)); done");
        let answer = sh(&script).limit("workspace_bytes", 32 << 20).limit("wall_ms", 60_000).run();
        answer.is(Status::WorkspaceExceeded);
    }
    let both = "head -c 20000000 /dev/zero > a; head -c 20000000 /dev/zero > $TMPDIR/b; sleep 60";
    sh(both).limit("workspace_bytes", 32 << 20).limit("wall_ms", 90_000).run().is(Status::WorkspaceExceeded);
    // Open, and without a name.
    let hidden = "exec 3>$TMPDIR/x; rm $TMPDIR/x; head -c 60000000 /dev/zero >&3; sleep 60";
    sh(hidden).limit("workspace_bytes", 32 << 20).limit("wall_ms", 90_000).run().is(Status::WorkspaceExceeded);
    sh("head -c 1000000 /dev/zero > a").limit("workspace_bytes", 32 << 20).run().exited();
}

#[test]
fn open_files_are_limited() {
    if !stands() {
        return;
    }
    assert_eq!(sh("ulimit -n; ulimit -c").limit("open_files", 77).run().exited(), "77\n0\n");
}

#[test]
fn cgroups_hold_here_too_where_there_are_any() {
    if !stands() {
        return;
    }
    if !crate::support::has_cgroups() {
        return;
    }
    let answer = sh("cat /proc/self/cgroup").with("require", json!(["cgroup"])).run();
    assert!(answer.exited().contains("pinfold-"), "{}", answer.json);
    assert!(answer.outcome.usage.peak_memory_bytes.is_some_and(|bytes| bytes > 0));
    assert!(answer.outcome.usage.peak_pids.is_some_and(|count| count > 0));
}
