//! Signals that the caller sends: the first is the command's, the second SIGINT or SIGTERM kills everything.

use super::{drain, end, read_until, shell};
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, ChildStdout};

/// Starts a script and waits until it has said that it is ready.
fn started(script: &str) -> (Child, ChildStdout) {
    let mut child = shell(&[], script).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    read_until(&mut stdout, "ready");
    (child, stdout)
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn every_signal_that_is_meant_for_the_command_reaches_it() {
    let signals = [
        ("INT", Signal::INT),
        ("TERM", Signal::TERM),
        ("HUP", Signal::HUP),
        ("QUIT", Signal::QUIT),
        ("USR1", Signal::USR1),
    ];
    for (name, signal) in signals {
        let script = format!("trap 'echo caught {name}; exit 9' {name}; echo ready; while :; do sleep 0.05; done");
        let (mut child, mut stdout) = started(&script);
        send(&child, signal);
        read_until(&mut stdout, &format!("caught {name}"));
        assert_eq!(end(&mut child).code(), Some(9), "{name}");
    }
}

#[test]
fn a_command_that_an_interrupt_ends_exits_with_130_without_a_word() {
    let (mut child, _stdout) = started("echo ready; exec sleep 100");
    let stderr = drain(child.stderr.take());
    send(&child, Signal::INT);
    assert_eq!(end(&mut child).code(), Some(130));
    assert_eq!(String::from_utf8_lossy(&stderr.join().unwrap()), "");
}

#[test]
fn a_second_interrupt_kills_a_command_that_ignores_the_first() {
    for (signal, name, code) in [(Signal::INT, "SIGINT", 130), (Signal::TERM, "SIGTERM", 143)] {
        let (mut child, mut stdout) = started("trap '' INT TERM; echo ready; while :; do echo alive; sleep 0.05; done");
        let stderr = drain(child.stderr.take());
        send(&child, signal);
        // The first one has been passed on and ignored when this comes.
        std::thread::sleep(std::time::Duration::from_millis(200));
        read_until(&mut stdout, "alive");
        let stdout = drain(Some(stdout));
        send(&child, signal);
        assert_eq!(end(&mut child).code(), Some(code));
        stdout.join().unwrap();
        let words = String::from_utf8(stderr.join().unwrap()).unwrap();
        assert_eq!(words, format!("pinfold: cancelled by a second {name}\n"));
    }
}

#[test]
fn a_signal_that_we_were_started_to_ignore_stays_ignored() {
    let program = crate::support::pinfold().to_str().unwrap();
    let mut command = std::process::Command::new("sh");
    let script = format!("trap '' HUP; exec '{program}' run -- sh -c 'echo ready; sleep 1; echo survived'");
    let mut child = command.args(["-c", &script]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    read_until(&mut stdout, "ready");
    send(&child, Signal::HUP);
    read_until(&mut stdout, "survived");
    assert_eq!(end(&mut child).code(), Some(0));
}

#[test]
fn a_cancelled_json_job_still_gives_its_result() {
    use std::io::Read;
    let scratch = super::Scratch::new();
    let work = scratch.path("work");
    std::fs::create_dir(&work).unwrap();
    let command = serde_json::json!(["sh", "-c", "echo out; echo begun > begun; sleep 100"]);
    let text = serde_json::json!({ "command": command, "workspace": { "path": work } }).to_string();
    let job = scratch.write("job.json", &text);
    let mut child = super::pinfold(["run", "--json", job.to_str().unwrap()]).spawn().unwrap();
    crate::sandbox::eventually("the command has begun", || work.join("begun").exists());
    send(&child, Signal::TERM);
    assert_eq!(end(&mut child).code(), Some(0));
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    let result = super::json(&stdout);
    assert_eq!((&result["status"], &result["stdout"]), (&"cancelled".into(), &"out\n".into()));
}
