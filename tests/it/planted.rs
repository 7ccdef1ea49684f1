//! What an earlier job left behind, and what a job may hide: no link of it is followed, no descriptor of ours is met.

use crate::lifetime::with_lifeline;
use crate::sandbox::{Job, Scratch, eventually, kill};
use crate::support::{is_root, runs};
use pinfold_runner::Status;
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;

const MIB: u64 = 1 << 20;

#[test]
pub(crate) fn no_directory_to_start_in_leads_to_what_we_hold_open() {
    let scratch = Scratch::new();
    let work = scratch.dir("work");
    for number in 0..40 {
        // A link that a job left in the workspace, and the same by its path.
        let link = scratch.path(&format!("work/{number}"));
        symlink(format!("/proc/self/fd/{number}"), &link).unwrap();
        for cwd in [number.to_string(), format!("/proc/self/fd/{number}")] {
            let job = Job::new(&["true"]).with("workspace", json!({"path": work})).with("cwd", json!(cwd));
            assert_eq!(job.failure().code, "cwd", "{cwd}");
        }
    }
    // Its twin: an honest directory, and an honest link to one.
    fs::create_dir(scratch.path("work/real")).unwrap();
    symlink("real", scratch.path("work/link")).unwrap();
    for cwd in ["real", "link", "/workspace/real"] {
        let job = Job::new(&["pwd", "-P"]).with("workspace", json!({"path": work})).with("cwd", json!(cwd));
        assert_eq!(job.run().exited(), "/workspace/real\n");
    }
}

#[test]
fn init_holds_nothing_of_the_starter_s() {
    if !is_root() {
        return crate::support::host_cannot("init's descriptors are closed to an ordinary user");
    }
    let scratch = Scratch::new();
    let out = scratch.dir("out");
    let job = Job::sh("sleep 50").with("artifacts", json!({"paths": ["x"], "directory": out}));
    let running = job.with("workspace", json!({"path": scratch.dir("work")})).spawn();
    let init = running.init();
    let held = || {
        let entries = fs::read_dir(format!("/proc/{init}/fd")).unwrap().flatten();
        entries.filter_map(|entry| fs::read_link(entry.path()).ok()).map(|path| path.display().to_string()).collect()
    };
    // Sockets to the runner, a signalfd, `/dev/null`, the slot, whose lock is init's too, and what it reads figures from.
    let figures = ["/loadavg", "/memory.stat", "/memory.kmem.usage_in_bytes", "/memory.swap.current"];
    let is_ours = |path: &String| {
        path.starts_with("socket:")
            || path.starts_with("anon_inode:")
            || path.ends_with("/null")
            || path.contains("/state/")
            || figures.iter().any(|name| path.ends_with(name))
    };
    eventually("init holds only its own", || {
        let held: Vec<String> = held();
        assert!(!held.is_empty(), "it has ended");
        held.iter().all(is_ours)
    });
    kill(running.pid(), libc::SIGTERM);
    running.answer().is(Status::Cancelled);
}

#[test]
fn a_source_below_a_writable_directory_is_not_reached_through_a_link() {
    let scratch = Scratch::new();
    let (work, secret) = (scratch.dir("work"), scratch.dir("secret"));
    scratch.file("secret/canary", "secret");
    symlink(&secret, scratch.path("work/data")).unwrap();
    let job = |source: &str| {
        let job = Job::new(&["ls", "/data"]).with("workspace", json!({"path": work}));
        job.mount(source, "/data", true)
    };
    let failure = job(&format!("{work}/data")).failure();
    assert_eq!((failure.code.as_str(), failure.message.contains("ELOOP")), ("mount", true), "{failure:?}");
    for spelling in [format!("/{work}/data"), format!("{work}/./data"), format!("{work}//data/")] {
        assert_eq!(job(&spelling).failure().code, "mount", "{spelling}");
    }
    // Its twin: a real directory in the same place, and the target of the link by its own name.
    fs::create_dir(scratch.path("work/real")).unwrap();
    assert_eq!(job(&format!("{work}/real")).run().exited(), "");
    assert_eq!(job(&secret).run().exited(), "canary\n");
}

#[test]
fn no_artifact_is_written_through_a_link_of_the_workspace() {
    let scratch = Scratch::new();
    let (work, elsewhere) = (scratch.dir("work"), scratch.dir("elsewhere"));
    symlink(&elsewhere, scratch.path("work/out")).unwrap();
    let job = Job::sh("echo x > x").with("workspace", json!({"path": work}));
    let failure = job.with("artifacts", json!({"paths": ["x"], "directory": format!("{work}/out/deeper")})).failure();
    assert_eq!(failure.code, "artifacts");
    assert_eq!(fs::read_dir(elsewhere).unwrap().count(), 0);
}

#[test]
fn no_artifact_is_read_through_a_mount() {
    let scratch = Scratch::new();
    scratch.dir("host");
    scratch.file("host/canary", "secret");
    for workspace in ["temp", "tmpfs"] {
        let out = scratch.dir(&format!("out-{workspace}"));
        let job = Job::sh("echo mine > mine").with("workspace", json!(workspace));
        let job = job.mount(&scratch.text("host"), "/workspace/host", false);
        let answer = job.with("artifacts", json!({"paths": ["host", "mine"], "directory": out})).run();
        answer.exited();
        let copied: Vec<_> = fs::read_dir(&out).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(copied, ["mine"], "{workspace}: {}", answer.json);
    }
}

#[test]
fn nothing_can_be_mounted_over_the_workspace() {
    let scratch = Scratch::new();
    let failure = Job::new(&["true"]).mount(&scratch.dir("x"), "/workspace/", false).failure();
    assert_eq!(failure.code, "bad_job");
}

#[test]
fn what_can_t_be_looked_into_counts_by_what_the_disk_has_lost() {
    // An ordinary user's runner can't read such a directory, root's can; the limit holds for both.
    let hide = "mkdir d && chmod 300 d && head -c 80000000 /dev/zero > d/f; sleep 50";
    Job::sh(hide).limit("workspace_bytes", 8 * MIB).limit("wall_ms", 60_000).run().is(Status::WorkspaceExceeded);
    // Its twin: the directory alone is nobody's excess. Others write to this disk, too.
    Job::sh("mkdir d && chmod 300 d; sleep 0.5").limit("workspace_bytes", 1024 * MIB).run().is(Status::Exited);
}

#[test]
fn a_signal_that_comes_before_the_command_waits_for_it() {
    use std::io::Write;
    for _ in 0..runs(10) {
        let scratch = Scratch::new();
        let (running, mut lifeline) = with_lifeline(Job::new(&["sleep", "50"]), &scratch);
        lifeline.write_all(&pinfold_runner::ControlMessage::Signal(15).encode()).unwrap();
        let answer = running.answer();
        // The command was there to be ended: our own process, in its place, would have left no time between.
        answer.is(Status::Signaled);
        assert!(answer.outcome.usage.setup_ms.is_some(), "{}", answer.json);
    }
}

#[test]
fn landlock_stands_between_the_command_and_what_no_mount_hides() {
    // Until exec the process is the runner itself, whose file is on the host and in no mount of the view. Only Landlock
    // keeps it from being executed, so this also tells whether Landlock is in force where the result says so.
    let answer = Job::new(&["/proc/self/exe", "--version"]).run();
    if Job::new(&["true"]).run().outcome.isolation.landlock.is_none() {
        return crate::support::host_cannot("this kernel has no Landlock");
    }
    let failure = answer.outcome.error.unwrap();
    assert_eq!(
        (failure.code.as_str(), failure.message.contains("EACCES")),
        ("exec_not_executable", true),
        "{failure:?}"
    );
}
