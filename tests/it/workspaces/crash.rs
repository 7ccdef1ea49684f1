//! SIGKILL at every step: what was acknowledged is there, every record can be read, and the next command clears up.

use super::{Home, finish, ids};
use crate::faults::can_trace;
use crate::sandbox::kill;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// The system calls after which something else is on disk, or before which something is not yet.
const STEPS: [&str; 9] =
    ["mkdirat", "openat", "flock", "write", "fsync", "renameat", "renameat2", "unlinkat", "futimens"];

/// Kills `pinfold ARGS` as it enters a system call for the nth time: true when it lived to its end, which it
/// does when it makes fewer of them.
pub(crate) fn killed_at(home: &Home, args: &[&str], call: &str, number: usize) -> bool {
    let call = if call == "futimens" { "utimensat" } else { call };
    let plain = home.pinfold(args);
    let mut traced = Command::new("strace");
    traced.args(["-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    traced
        .args(["-e", &format!("inject={call}:signal=KILL:when={number}")])
        .arg(plain.get_program())
        .args(plain.get_args());
    for (name, value) in plain.get_envs() {
        traced.env(name, value.unwrap_or_default());
    }
    let output = traced.output().unwrap();
    if output.status.success() {
        return true;
    }
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(
        output.status.signal(),
        Some(9),
        "{args:?} {call} {number}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

/// Kills the command at each step in turn, each time from the same beginning, and looks at what is left.
fn at_every_step(args: &[&str], begin: impl Fn(&Home), look: impl Fn(&Home, bool)) {
    if !can_trace() {
        return;
    }
    let mut kills = 0;
    for call in STEPS {
        for number in 1.. {
            let home = Home::new();
            begin(&home);
            let lived = killed_at(&home, &[&["workspace"], args].concat(), call, number);
            kills += usize::from(!lived);
            let (_, broken) = ids(&home.store());
            assert_eq!(broken, 0, "{args:?} {call} {number}");
            look(&home, lived);
            // The same again, which is no error for any of them but `remove`, brings about what was wanted.
            let (code, _, words) = home.run(args);
            let is_done = code == 0 || (args[0] == "remove" && words.contains("there is no workspace"));
            assert!(is_done, "{args:?} {call} {number}: {words}");
            look(&home, true);
            // Every command that changes the store clears up.
            home.create("next");
            assert_eq!(home.limbo(), 0, "{args:?} {call} {number}");
            if lived {
                break;
            }
        }
    }
    assert!(kills > 10, "{args:?}: {kills}");
}

#[test]
fn a_creation_is_whole_or_not_at_all() {
    at_every_step(
        &["create", "ws", "--disk", "1M"],
        |home| drop(home.create("other")),
        |home, lived| match home.store().show("ws") {
            Ok(info) => {
                assert_eq!(info.quota.bytes, Some(1 << 20));
                assert!(info.path.is_dir());
            }
            Err(error) => assert!(!lived && error.code() == "not_found", "{error}"),
        },
    );
}

#[test]
fn a_reference_is_there_or_not_and_no_other_suffers() {
    let begin = |home: &Home| {
        home.create("ws");
        home.create("other");
        home.store().add_reference("ws", "a").unwrap();
    };
    at_every_step(&["ref", "ws", "b"], begin, |home, lived| {
        let holders = home.holders("ws");
        assert!(holders == ["a", "b"] || (!lived && holders == ["a"]), "{holders:?}");
        let found = home.store().workspace_of("b").unwrap();
        assert_eq!(found.is_some(), holders.len() == 2);
        assert_eq!(home.store().workspace_of("a").unwrap().as_deref(), Some("ws"));
    });
    at_every_step(&["unref", "ws", "a"], begin, |home, lived| {
        let holders = home.holders("ws");
        assert!(holders.is_empty() || (!lived && holders == ["a"]), "{holders:?}");
        assert_eq!(home.store().workspace_of("a").unwrap().is_some(), holders.len() == 1);
        // Whatever the index still says, a holder that holds nothing may hold another.
        if holders.is_empty() {
            home.store().add_reference("other", "a").unwrap();
            home.store().remove_reference("other", "a").unwrap();
        }
    });
}

#[test]
fn a_removal_leaves_the_whole_workspace_or_none() {
    let begin = |home: &Home| {
        let data = home.create("ws");
        home.store().add_reference("ws", "a").unwrap();
        for number in 0..3 {
            fs::create_dir_all(data.join(format!("{number}/inner"))).unwrap();
            fs::write(data.join(format!("{number}/inner/file")), "x").unwrap();
        }
    };
    at_every_step(&["remove", "ws", "--force"], begin, |home, lived| match home.store().show("ws") {
        Ok(info) => {
            assert!(!lived && info.holders.len() == 1);
            assert_eq!(home.store().usage("ws").unwrap().inodes, 9);
        }
        Err(error) => assert_eq!(error.code(), "not_found"),
    });
}

#[test]
fn an_import_brings_all_files_or_keeps_all() {
    let source = Home::new();
    let data = source.create("source");
    for number in 0..3 {
        fs::create_dir(data.join(format!("new {number}"))).unwrap();
        fs::write(data.join(format!("new {number}/file")), "new").unwrap();
    }
    let archive = source.scratch.text("new.tar");
    source.ok(&["export", "source", &archive]);
    let begin = |home: &Home| fs::write(home.create("ws").join("old"), "old").unwrap();
    at_every_step(&["import", "ws", &archive, "--replace"], begin, |home, lived| {
        let path = home.store().path("ws").unwrap();
        let mut names: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        if names != ["new 0", "new 1", "new 2"] {
            assert!(!lived && names == ["old"], "{names:?}");
        }
    });
}

#[test]
fn what_is_killed_in_a_loop_of_writes_loses_nothing_that_was_acknowledged() {
    let home = Home::new();
    home.create("ws");
    let mut acknowledged = Vec::new();
    for round in 0..60u64 {
        let holder = format!("holder {round:02}");
        let child = home.workspace(&["ref", "ws", &holder]).spawn().unwrap();
        // Anywhere between its start and its end; which moment is no matter of right or wrong.
        std::thread::sleep(Duration::from_micros(round * 397 % 12_000));
        kill(i32::try_from(child.id()).unwrap(), 9);
        if finish(child).0 == 0 {
            acknowledged.push(holder);
        }
        let holders = home.holders("ws");
        assert!(acknowledged.iter().all(|holder| holders.contains(holder)), "{acknowledged:?} {holders:?}");
    }
    for holder in home.holders("ws") {
        assert_eq!(home.store().workspace_of(&holder).unwrap().as_deref(), Some("ws"));
    }
}
