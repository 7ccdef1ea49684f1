//! What the program that parses is left with: what the kernel says of it before it has read anything, and what becomes of it when
//! it calls for more.

use super::support;
use crate::sandbox::{Job, Scratch};
use pinfold_runner::Outcome;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longer than it takes on any machine.
const PATIENCE: Duration = Duration::from_secs(100);

fn program() -> PathBuf {
    support::pinfold().with_file_name("pinfold-validator")
}

/// It when its filter stands. Nothing has been sent, and its stdin stays open: it can't have got beyond its first read.
fn confined() -> Child {
    let (stdio, begin) = (Stdio::piped, Instant::now());
    let child = Command::new(program()).env_clear().stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap();
    while filters(child.id()) == filters(std::process::id()) {
        assert!(begin.elapsed() < PATIENCE, "no filter");
        std::thread::yield_now();
    }
    child
}

/// Has it look at a file of Python.
fn asked(code: &str) -> String {
    json!({ "grammar": "python", "rules": "", "files": { "main.py": code } }).to_string()
}

fn ended(mut child: Child, request: &str) -> Output {
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(request.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// A field of a process's status.
fn field(pid: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name}: {status}")).trim().to_owned()
}

fn filters(pid: u32) -> u32 {
    field(pid, "Seccomp_filters").parse().unwrap()
}

#[test]
fn it_is_confined_before_it_has_read_a_byte() {
    let child = confined();
    let pid = child.id();
    assert_eq!(filters(pid), filters(std::process::id()) + 1);
    for (name, wanted) in [("Seccomp", "2"), ("NoNewPrivs", "1"), ("Threads", "1")] {
        assert_eq!(field(pid, name), wanted, "{name}");
    }
    for name in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(field(pid, name), "0000000000000000", "{name}");
    }
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    for name in ["Max open files", "Max processes", "Max core file size"] {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        assert_eq!(line.split_whitespace().take(2).collect::<Vec<_>>(), ["0", "0"], "{name}");
    }
    if !support::is_root() {
        // Who may not be traced hides what he holds open, also from his own user.
        fs::read_dir(format!("/proc/{}/fd", std::process::id())).unwrap();
        fs::read_dir(format!("/proc/{pid}/fd")).unwrap_err();
    }
    let output = ended(child, &asked("import os\n"));
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("import:os"));
}

#[test]
fn a_call_beyond_what_it_needs_ends_it() {
    let child = confined();
    // With hardly any memory left nothing can be read or compiled, and libc aborts: a signal to oneself is a call too many.
    let (id, used) = (child.id(), field(child.id(), "VmSize"));
    let used: u64 = used.strip_suffix(" kB").unwrap().parse().unwrap();
    let most = Some((used << 10) + (64 << 10));
    let pid = Pid::from_raw(i32::try_from(id).unwrap());
    prlimit(pid, Resource::As, Rlimit { current: most, maximum: most }).unwrap();
    let output = ended(child, &asked("import os\n"));
    assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("allocat"), "{output:?}");
    assert!(output.stdout.is_empty());
}

/// What it comes to in a sandbox whose policy answers one of its calls so.
fn where_a_call_is(name: &str, mut answer: serde_json::Value) -> Outcome {
    let (scratch, inside) = (Scratch::new(), "/probe/pinfold-validator");
    answer["names"] = json!([name]);
    let policy = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [answer] });
    let path = scratch.file("policy.json", policy.to_string());
    let job = Job::new(&[inside]).mount(program().to_str().unwrap(), inside, false);
    job.with("seccomp", json!({ "path": path })).with("stdin", json!(asked("import os\n"))).run().outcome
}

#[test]
fn where_it_can_t_be_confined_nothing_is_read() {
    let refused = |name: &str, errno: i32| {
        let outcome = where_a_call_is(name, json!({ "action": "SCMP_ACT_ERRNO", "errnoRet": errno }));
        assert_eq!(outcome.exit_code, Some(0), "{outcome:?}");
        (outcome.stdout.to_text().into_owned(), outcome.isolation.landlock)
    };
    let finds = |told: &str| told.contains("import:os");
    let (told, landlock) = refused("getppid", libc::EPERM);
    assert!(finds(&told), "{told}");
    let needed =
        if landlock.is_some() { &["seccomp", "capset", "landlock_restrict_self"][..] } else { &["seccomp", "capset"] };
    for call in needed {
        let (told, _) = refused(call, libc::EPERM);
        assert!(told.starts_with(r#"{"Err":"`pinfold-validator` can't confine itself here"#), "{call}: {told}");
    }
    // A kernel without Landlock: the filter stands alone.
    let (told, _) = refused("landlock_create_ruleset", libc::ENOSYS);
    assert!(finds(&told), "{told}");
}
