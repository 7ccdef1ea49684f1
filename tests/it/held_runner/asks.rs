//! What can be asked for, and what is refused without harm.

use super::{Held, command, sandbox};
use pinfold_runner::{Ask, Notice, Status};
use serde_json::json;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

#[test]
fn commands_share_files_and_processes_and_nothing_is_left_in_the_end() {
    let held = Held::start(json!({ "env": { "OF": "sandbox", "BOTH": "sandbox" } }));
    held.sh("echo kept > file; mkdir -p /tmp/dir; (exec sleep 300 >/dev/null 2>&1) & echo $! > pid");
    assert_eq!(
        held.sh("cat file; kill -0 $(cat pid) && echo alive; kill $(cat pid); ls -d /tmp/dir"),
        "kept\nalive\n/tmp/dir\n"
    );
    let done = held.run(
        &["sh", "-c", "echo $OF $BOTH $OWN; pwd; exit 7"],
        json!({ "env": { "BOTH": "own", "OWN": "own" }, "cwd": "/tmp/dir" }),
    );
    assert_eq!((done.outcome.exit_code, done.stdout.as_str()), (Some(7), "sandbox own own\n/tmp/dir\n"));
    held.close();
}

#[test]
fn a_command_that_can_t_be_executed_is_told_as_for_a_job() {
    let held = Held::start(json!({}));
    let codes = [(vec!["nonexistent"], "exec_not_found"), (vec!["/etc/passwd"], "exec_not_executable")];
    for (words, code) in codes {
        assert_eq!(held.run(&words, json!({})).outcome.error.unwrap().code, code);
    }
    assert_eq!(held.run(&["true"], json!({ "cwd": "/nowhere" })).outcome.error.unwrap().code, "cwd");
    held.close();
}

#[test]
fn many_at_once_are_served() {
    let held = Held::start(json!({}));
    let asked: Vec<_> =
        (0..50).map(|number| held.exec(&["sh", "-c", &format!("read x; echo {number}")], json!({}))).collect();
    for (number, asked) in asked.into_iter().enumerate() {
        assert_eq!(held.end(asked).stdout, format!("{number}\n"));
    }
    held.close();
}

#[test]
fn a_terminal_is_the_sandbox_s_own() {
    let held = Held::start(json!({}));
    let number = held.next_number();
    let script =
        "test -t 0 && test -t 1 && test -t 2 && stty size && tty && ls /proc/self/fd | tr '\\n' ' ' && echo $TERM";
    let job = Box::new(command(&["sh", "-c", script], json!({})));
    held.ask(&Ask::Exec { number, job, terminal: Some((33, 77)), extra: 0 });
    let (notice, mut descriptors) = held.notice_of(number);
    assert!(matches!(notice, Notice::Executed { pid: Some(_), .. }), "{notice:?}");
    let mut master = File::from(descriptors.pop().unwrap());
    let mut text = Vec::new();
    let _hung_up = master.read_to_end(&mut text);
    assert_eq!(String::from_utf8(text).unwrap(), "33 77\r\n/dev/pts/0\r\n0 1 2 3 xterm\r\n");
    assert!(matches!(held.notice_of(number).0, Notice::Ended { outcome, .. } if outcome.exit_code == Some(0)));
    held.close();
}

#[test]
fn further_descriptors_are_found_from_3_on_and_no_others() {
    let held = Held::start(json!({}));
    let pipes: Vec<_> = (0..4).map(|_| rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()).collect();
    let (reads, writes): (Vec<_>, Vec<OwnedFd>) = pipes.into_iter().unzip();
    let script = "for n in 3 4 5 6; do echo $n >&$n; done; ls /proc/self/fd | tr '\\n' ' '; echo again > /dev/stdout";
    let done = held.end(held.exec_with(command(&["sh", "-c", script], json!({})), writes));
    assert_eq!(done.stdout, "0 1 2 3 4 5 6 7 again\n", "{:?}", done.outcome);
    for (number, read) in (3..).zip(reads) {
        let mut text = String::new();
        File::from(read).read_to_string(&mut text).unwrap();
        assert_eq!(text, format!("{number}\n"));
    }
    held.close();
}

#[test]
fn what_is_wrong_is_refused_and_harms_nobody() {
    let held = Held::start(json!({}));
    let service = held.begin(&["sleep", "300"], json!({}));
    let ended = |number: u64| match held.notice_of(number).0 {
        Notice::Ended { outcome, .. } => outcome.error.unwrap().code,
        other => panic!("{other:?}"),
    };
    // No JSON, no ask, a field that is the sandbox's, a number that was there, descriptors that are no fresh pipes.
    held.send(b"\xff", &[]);
    held.send(br#"{"dance":{}}"#, &[]);
    held.send(br#"{"exec":{"number":900,"job":{"command":["true"],"network":"host"},"terminal":[1,1]}}"#, &[]);
    assert_eq!(ended(900), "bad_job");
    held.send(br#"{"exec":{"number":901,"job":{"command":[]},"terminal":[1,1]}}"#, &[]);
    assert_eq!(ended(901), "bad_job");
    let number = held.next_number();
    let job = Box::new(command(&["true"], json!({})));
    let ask = serde_json::to_vec(&Ask::Exec { number, job, terminal: None, extra: 0 }).unwrap();
    held.send(&ask, &[]);
    assert_eq!(ended(number), "bad_job");
    let file = || OwnedFd::from(File::open("/dev/null").unwrap());
    held.send(&ask, &[file(), file(), file()]);
    assert_eq!(ended(number), "bad_job");
    let huge = "x".repeat(pinfold_runner::MAX_HELD_MESSAGE);
    held.send(format!(r#"{{"exec":{{"number":902,"job":{{"command":["{huge}"]}}}}}}"#).as_bytes(), &[]);
    assert_eq!(ended(902), "bad_job");
    held.ask(&Ask::Cancel { number: 77 });
    held.ask(&Ask::Signal { number: 77, signal: 9 });
    held.ask(&Ask::Signal { number: service.number, signal: 200 });
    held.ask(&Ask::Signal { number: service.number, signal: libc::SIGTERM });
    let done = held.end(service);
    assert_eq!((done.outcome.status, done.outcome.signal.as_deref()), (Status::Signaled, Some("SIGTERM")));
    held.close();
}

#[test]
fn jobs_that_can_t_be_held_are_refused() {
    for (fields, code) in [(json!({ "command": ["true"] }), "bad_job"), (json!({ "mode": "landlock" }), "mode")] {
        let held = Held::spawn(sandbox(fields));
        assert_eq!(held.running.answer().outcome.error.unwrap().code, code);
    }
}

#[test]
fn everything_stops_and_goes_on() {
    let held = Held::start(json!({}));
    held.ask(&Ask::Workspace);
    let (notice, mut directory) = held.notice();
    assert_eq!(notice, Notice::Workspace);
    let directory = directory.pop().unwrap();
    let script = "while :; do echo >> one; done & while :; do echo >> two; done";
    let spinner = held.begin(&["sh", "-c", script], json!({}));
    let sizes = || {
        ["one", "two"].map(|name| {
            rustix::fs::statat(&directory, name, rustix::fs::AtFlags::empty()).map_or(0, |stat| stat.st_size)
        })
    };
    crate::sandbox::eventually("they run", || sizes().iter().all(|size| *size > 0));
    for _ in 0..3 {
        held.ask(&Ask::Freeze);
        assert_eq!(held.notice().0, Notice::Frozen(None));
        let stopped = sizes();
        held.ask(&Ask::Figures);
        assert!(matches!(held.notice().0, Notice::Figures(figures) if figures.frozen));
        assert_eq!(held.run(&["true"], json!({})).outcome.error.unwrap().code, "frozen");
        assert_eq!(sizes(), stopped);
        held.ask(&Ask::Thaw);
        assert_eq!(held.notice().0, Notice::Thawed);
        crate::sandbox::eventually("they go on", || sizes().iter().zip(stopped).all(|(now, then)| *now > then));
    }
    // Who is stopped can be killed, and who is not stays stopped.
    let other = held.begin(&["sleep", "300"], json!({}));
    held.ask(&Ask::Freeze);
    assert_eq!(held.notice().0, Notice::Frozen(None));
    held.ask(&Ask::Cancel { number: other.number });
    assert_eq!(held.end(other).outcome.status, Status::Cancelled);
    let stopped = sizes();
    held.ask(&Ask::Figures);
    assert!(matches!(held.notice().0, Notice::Figures(figures) if figures.frozen));
    assert_eq!(sizes(), stopped);
    drop(spinner);
    held.close();
}
