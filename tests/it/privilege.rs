//! Who the command is and what it inherits: no capability, no new privilege, nothing of the caller's.

use crate::sandbox::{Job, kill, unconfined};
use crate::support::{has_program, host_cannot, is_root};
use serde_json::json;
use std::fs;
use std::process::Command;

#[test]
pub(crate) fn no_task_has_a_capability_and_every_task_is_confined() {
    let script =
        "sleep 1 & cat /proc/[0-9]*/task/*/status | grep -E '^(Name|Cap...|NoNewPrivs|Seccomp|Groups|CapBnd|CapAmb):'";
    for user in ["1000:1000", "0:0"] {
        let text = Job::sh(script).with("user", json!(user)).run().exited();
        let tasks = text.matches("Name:").count();
        assert!(tasks >= 3, "{text}");
        assert_eq!(text.matches("\t0000000000000000\n").count(), 5 * tasks, "{text}");
        assert_eq!(text.matches("NoNewPrivs:\t1\n").count(), tasks, "{text}");
        assert_eq!(text.matches("Seccomp:\t2\n").count(), tasks, "{text}");
    }
}

#[test]
pub(crate) fn set_id_programs_of_the_host_give_nothing() {
    let text = Job::sh("su -c id root </dev/null 2>&1; echo $?; mount 2>&1 >/dev/null -t tmpfs x /tmp; echo $?")
        .run()
        .exited();
    assert!(!text.contains("uid=0"), "{text}");
    assert!(text.lines().filter(|line| *line == "0").count() == 0, "{text}");
}

#[test]
pub(crate) fn nobody_else_can_be_become() {
    let calls = [
        (libc::SYS_setuid, "0"),
        (libc::SYS_setgid, "0"),
        (libc::SYS_setresuid, "0,0,0"),
        (libc::SYS_setuid, "1234"),
        (libc::SYS_setgroups, "0,0"),
        (libc::SYS_setgroups, "1,z/4"),
    ];
    let words: Vec<String> = calls.iter().map(|(number, arguments)| format!("{number}:{arguments}")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let lines = Job::probe("syscall", &words).run().lines();
    assert!(lines.iter().all(|line| line == "1" || line == "22"), "{lines:?}");
    if is_root() {
        assert!(unconfined("syscall", &words).iter().all(|line| line == "ok"));
    } else {
        host_cannot("the twin needs root");
    }
    let lines = Job::new(&["chown", "0:0", "/workspace"]).run();
    assert_ne!(lines.outcome.exit_code, Some(0));
}

#[test]
fn nothing_of_the_caller_s_process_is_inherited() {
    let script = "umask; nice; ulimit -c; ulimit -n; ulimit -s; cat /proc/self/oom_score_adj; grep -E '^(SigIgn|SigBlk)' /proc/self/status; tty";
    let job = Job::sh(script).started_by(
        &[
            "sh",
            "-c",
            r#"umask 077; ulimit -c unlimited; ulimit -n 2000; trap '' HUP TERM USR1; exec nice -n 5 "$0" "$@""#,
        ],
        &[],
    );
    let expected = "0022\n0\n0\n1024\n8192\n0\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nnot a tty\n";
    let answer = job.run();
    let text = answer.stdout();
    // An ordinary user can't take his nice value back.
    let expected = if is_root() { expected.to_owned() } else { expected.replacen("0022\n0\n", "0022\n5\n", 1) };
    assert_eq!(text, expected);
}

#[test]
fn descriptors_of_the_caller_never_reach_the_command() {
    let script = r#"exec 3</etc/passwd 4</ 7<>/dev/null 9</proc; exec "$0" "$@""#;
    let job = Job::sh("ls /proc/self/fd | tr '\\n' ' '").started_by(&["sh", "-c", script], &[]);
    assert_eq!(job.run().exited(), "0 1 2 3 ");
}

#[test]
pub(crate) fn env_of_the_job_never_reaches_our_own_code() {
    let env = json!({"LD_PRELOAD": "/workspace/evil.so", "GCONV_PATH": "/workspace", "PINFOLD_STATE_DIR": "/workspace", "RUST_BACKTRACE": "full", "PATH": "/workspace"});
    let answer = Job::new(&["/usr/bin/env"]).with("env", env).run();
    // The loader of the command itself complains; our code is static and reads the job's variables nowhere.
    assert!(answer.exited().contains("PINFOLD_STATE_DIR=/workspace\n"));
}

#[test]
fn standard_descriptors_that_are_closed_do_no_harm() {
    for closed in ["2>&-", "2>/dev/full"] {
        let script = format!(r#"exec "$0" "$@" {closed}"#);
        let job = Job::sh("echo out; echo error >&2").started_by(&["sh", "-c", &script], &[]);
        let answer = job.run();
        assert_eq!(
            (answer.exited(), answer.outcome.stderr.to_text().into_owned()),
            ("out\n".to_owned(), "error\n".to_owned())
        );
    }
}

#[test]
fn the_host_s_terminal_is_out_of_reach() {
    if !has_program("script") {
        return;
    }
    // The runner is started on a terminal; its sandbox has none.
    let job = Job::sh("tty; (: < /dev/tty) 2>&1; ps -o tty= -p $$ 2>/dev/null; true");
    let text = job.started_by(&["setsid", "--wait"], &[]).run().exited();
    assert!(text.starts_with("not a tty\n"), "{text}");
    assert!(text.contains("No such device or address") || text.contains("ENXIO"), "{text}");
}

#[test]
fn the_job_shares_no_open_file_description_with_the_caller() {
    // O_NONBLOCK, set by the command on its own streams, must not be seen on the caller's.
    if !has_program("python3") {
        return;
    }
    let script = "import fcntl, os\nfor fd in 0, 1, 2: fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)";
    let running = Job::new(&["/usr/bin/python3", "-c", script]).spawn();
    // Only the flags: the position moves too where the tests' own output goes to a file.
    let flags = |number: i32| {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
        info.lines().find(|line| line.starts_with("flags:")).unwrap().to_owned()
    };
    let before: Vec<String> = (0..3).map(flags).collect();
    running.answer().exited();
    assert_eq!((0..3).map(flags).collect::<Vec<_>>(), before);
}

#[test]
fn a_sandbox_can_t_be_looked_into_by_another_user_and_init_by_nobody_inside() {
    let running = Job::new(&["sleep", "100"]).spawn();
    let init = running.init();
    running.until("the command runs", || !crate::sandbox::children(init).is_empty());
    running.until("init is guarded", || {
        fs::read_to_string(format!("/proc/{init}/status")).is_ok_and(|status| status.contains("Seccomp:\t2"))
    });
    if is_root() {
        let read = Command::new("runuser")
            .args(["-u", "nobody", "--", "cat", &format!("/proc/{init}/environ")])
            .output()
            .unwrap();
        assert!(!read.status.success() && read.stdout.is_empty());
    }
    let status = fs::read_to_string(format!("/proc/{init}/status")).unwrap();
    assert!(status.contains("NoNewPrivs:\t1") && status.contains("CapEff:\t0000000000000000"), "{status}");
    kill(running.pid(), libc::SIGTERM);
    running.answer();
}

#[test]
fn what_a_sandbox_does_changes_nothing_of_the_host_s() {
    let state = || {
        let files = ["/proc/sys/kernel/hostname", "/proc/self/mounts", "/proc/sys/kernel/core_pattern", "/proc/swaps"];
        files.map(|file| fs::read_to_string(file).unwrap())
    };
    let before = state();
    let script = "hostname evil; mount -t tmpfs x /tmp; date -s 2001-01-01; ipcmk -M 1000; swapoff -a; renice -5 $$; kill -9 -1; true";
    Job::sh(script).with("user", json!("0:0")).run();
    let inside = state();
    assert_eq!(before, inside);
}
