//! Processes of the host: they are seen, and neither touched nor looked into. The caller's have the command's uid when he
//! is an ordinary user.

use super::{EACCES, EPERM, probe, sh, stands};
use crate::sandbox::{Scratch, unconfined};
use crate::support::is_root;
use serde_json::json;

/// A process of the caller's, which this test is.
fn own() -> u32 {
    std::process::id()
}

#[test]
fn nobody_outside_can_be_signalled() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    let calls = [
        format!("{}:{},0", libc::SYS_kill, own()),
        format!("{}:{},0", libc::SYS_tkill, own()),
        format!("{}:{},{},0", libc::SYS_tgkill, own(), own()),
        format!("{}:{},0,z/128", libc::SYS_rt_sigqueueinfo, own()),
    ];
    let words: Vec<&str> = calls.iter().map(String::as_str).collect();
    let lines = probe(&scratch, "syscall", &words).run().lines();
    assert_eq!(lines[..3], [EPERM; 3]);
    assert_ne!(lines[3], "ok");
    assert_eq!(unconfined("syscall", &words[..3]), ["ok"; 3]);
}

#[test]
fn a_command_that_kills_everything_kills_itself_alone() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    // Had it killed the warden or the runner, there would be no whole answer; and had it killed us, no test.
    assert_eq!(probe(&scratch, "process", &["kill-all"]).run().exited(), "kill: 0\nalive\n");
    assert_eq!(sh("kill -9 $PPID 2>/dev/null; kill -STOP $PPID 2>/dev/null; echo on").run().exited(), "on\n");
}

#[test]
fn nobody_outside_can_be_changed() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    let calls = [
        // RLIMIT_CPU (0), and the limits would be read from zeroes: 0 seconds.
        format!("{}:{},0,0,z/16", libc::SYS_prlimit64, own()),
        format!("{}:{},128,z/128", libc::SYS_sched_setaffinity, own()),
        format!("{}:{},5,z/4", libc::SYS_sched_setscheduler, own()),
        format!("{}:{},z/4", libc::SYS_sched_setparam, own()),
        format!("{}:{},z/48,0", libc::SYS_sched_setattr, own()),
        format!("{}:0,{},19", libc::SYS_setpriority, own()),
        format!("{}:2,0,19", libc::SYS_setpriority),
        format!("{}:1,{},0", libc::SYS_ioprio_set, own()),
        format!("{}:3,0,0", libc::SYS_ioprio_set),
    ];
    let words: Vec<&str> = calls.iter().map(String::as_str).collect();
    let lines = probe(&scratch, "syscall", &words).run().lines();
    assert!(lines.iter().all(|line| line == EPERM), "{lines:?}");
    // Its own it may.
    let own = [format!("{}:0,7,0,z/16", libc::SYS_prlimit64), format!("{}:0,0,19", libc::SYS_setpriority)];
    let words: Vec<&str> = own.iter().map(String::as_str).collect();
    assert_eq!(probe(&scratch, "syscall", &words).run().lines(), ["ok", "ok"]);
}

#[test]
fn nobody_outside_can_be_looked_into() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    let of =
        |pid: &str| ["environ", "mem", "fd/0", "maps", "root", "cwd", "exe"].map(|name| format!("/proc/{pid}/{name}"));
    let mut asked: Vec<String> = of(&own().to_string()).iter().map(|path| format!("read {path}")).collect();
    asked.push(format!("open-write /proc/{}/oom_score_adj", own()));
    let words: Vec<&str> = asked.iter().map(String::as_str).collect();
    let lines = probe(&scratch, "file", &words).run().lines();
    assert!(lines.iter().all(|line| line == EACCES || line == EPERM), "{asked:?}: {lines:?}");
    let twin = unconfined("file", &[&asked[0], &asked[3], &asked[7]]);
    assert_eq!(twin, ["ok"; 3]);
    // The warden, its parent.
    let script = "for name in environ mem maps fd/0 fd/3 root/etc/shadow cwd/root; do cat /proc/$PPID/$name && echo open; \
                  echo x >/proc/$PPID/$name; done 2>/dev/null; true";
    assert_eq!(sh(script).run().exited(), "");
}

#[test]
fn nobody_outside_can_be_traced_under_any_policy() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    // PTRACE_SEIZE, and KCMP_FILE of its first two descriptors.
    let calls = [
        format!("{}:{},{},0,0", libc::SYS_ptrace, 0x4206, own()),
        format!("{}:{},{},0,0,0", libc::SYS_kcmp, own(), own()),
    ];
    let words: Vec<&str> = calls.iter().map(String::as_str).collect();
    let lines = probe(&scratch, "syscall", &words).with("seccomp", json!("debug")).run().lines();
    assert_eq!(lines, [EPERM, EPERM]);
    assert_eq!(unconfined("syscall", &words), ["ok", "ok"]);
}

#[test]
fn nothing_is_left_in_the_host_s_ipc() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    let calls = [
        format!("{}:0,4096,950", libc::SYS_shmget),
        format!("{}:0,0,0", libc::SYS_shmat),
        format!("{}:0,1,950", libc::SYS_semget),
        format!("{}:0,950", libc::SYS_msgget),
        format!("{}:s/pinfold,66,384,0", libc::SYS_mq_open),
    ];
    let words: Vec<&str> = calls.iter().map(String::as_str).collect();
    let lines = probe(&scratch, "syscall", &words).run().lines();
    assert!(lines.iter().all(|line| line == "38"), "{lines:?}");
}

#[test]
fn two_sandboxes_don_t_reach_each_other() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    let first = sh("echo $$ > pid; cat pid; exec sleep 1000").limit("wall_ms", 60_000).spawn();
    let pid = super::lifetime::command(&first, "sleep");
    let slot = std::fs::read_dir(first.state.path("state")).unwrap().next().unwrap().unwrap().path();
    let words = [format!("{}:{pid},0", libc::SYS_kill), format!("{}:{pid},0,0,z/16", libc::SYS_prlimit64)];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_eq!(probe(&scratch, "syscall", &words).run().lines(), [EPERM, EPERM]);
    let words = [
        format!("read {}/workspace/pid", slot.display()),
        format!("create {}/tmp/x", slot.display()),
        format!("list {}", slot.display()),
        format!("read /proc/{pid}/environ"),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let lines = probe(&scratch, "file", &words).run().lines();
    assert!(lines.iter().all(|line| line == EACCES || line == EPERM), "{lines:?}");
    if is_root() {
        // Nor does anybody else of the host.
        let mut other = std::process::Command::new("setpriv");
        let other =
            other.args(["--reuid", "65534", "--clear-groups", "ls"]).arg(slot.join("workspace")).output().unwrap();
        assert!(!other.status.success() && other.stdout.is_empty(), "{other:?}");
    }
    crate::sandbox::kill(first.pid(), libc::SIGTERM);
    first.answer().is(pinfold_runner::Status::Cancelled);
}
