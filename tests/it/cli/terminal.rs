//! `-t`: the command has a terminal of its own, and ours is raw meanwhile and as before afterwards.

use super::{PATIENCE, end, pinfold};
use crate::emulator::Emulator;
use rustix::process::{Pid, Signal, kill_process};
use std::time::Instant;

#[test]
fn the_command_has_a_terminal_of_the_same_size() {
    let mut terminal = Emulator::new(33, 101);
    let script =
        "test -t 0 && test -t 1 && test -t 2 && stty size && tty && echo $TERM ready; read line; echo got $line";
    let mut child = terminal.start(pinfold(["run", "-t", "--", "sh", "-c", script]));
    let text = terminal.sees("xterm ready");
    assert!(text.contains("33 101"), "{text:?}");
    assert!(text.contains("/dev/pts/"), "{text:?}");
    terminal.types("hello\r");
    terminal.sees("got hello");
    assert_eq!(end(&mut child).code(), Some(0));
}

#[test]
fn our_terminal_is_raw_meanwhile_and_as_before_afterwards() {
    let mut terminal = Emulator::new(24, 80);
    assert!(!terminal.is_raw());
    let mut child = terminal.start(pinfold(["run", "-t", "--", "sh", "-c", "echo ready; read line"]));
    terminal.sees("ready");
    let start = Instant::now();
    while !terminal.is_raw() {
        assert!(start.elapsed() < PATIENCE, "the terminal does not become raw");
    }
    terminal.types("\r");
    assert_eq!(end(&mut child).code(), Some(0));
    assert!(!terminal.is_raw());
}

#[test]
fn our_terminal_is_as_before_after_a_kill_too() {
    let mut terminal = Emulator::new(24, 80);
    let mut child =
        terminal.start(pinfold(["run", "-t", "--", "sh", "-c", "trap '' TERM HUP; echo ready; sleep 100; sleep 100"]));
    terminal.sees("ready");
    for _ in 0..2 {
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert_eq!(end(&mut child).code(), Some(143));
    assert!(!terminal.is_raw());
}

#[test]
fn control_c_is_a_key_of_the_commands_terminal() {
    let mut terminal = Emulator::new(24, 80);
    let mut child = terminal.start(pinfold([
        "run",
        "-t",
        "--",
        "sh",
        "-c",
        "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done",
    ]));
    terminal.sees("ready");
    terminal.types("\x03");
    terminal.sees("caught");
    assert_eq!(end(&mut child).code(), Some(5));
}

#[test]
fn the_commands_terminal_follows_the_size_of_ours() {
    let mut terminal = Emulator::new(24, 80);
    let script = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.05; done";
    let mut child = terminal.start(pinfold(["run", "-t", "--", "sh", "-c", script]));
    terminal.sees("ready");
    terminal.resize(50, 132);
    // A terminal emulator's child would get this by itself; ours has no controlling terminal.
    kill_process(Pid::from_child(&child), Signal::WINCH).unwrap();
    terminal.sees("50 132");
    assert_eq!(end(&mut child).code(), Some(0));
}

#[test]
fn without_the_option_a_terminal_works_line_by_line() {
    let mut terminal = Emulator::new(24, 80);
    let script = "test -t 0 || test -t 1 || test -t 2 || echo ready; read line; echo got $line";
    let mut child = terminal.start(pinfold(["run", "--", "sh", "-c", script]));
    terminal.sees("ready");
    assert!(!terminal.is_raw());
    terminal.types("hello\r");
    terminal.sees("got hello");
    assert_eq!(end(&mut child).code(), Some(0));
}

#[test]
fn the_keys_of_a_plain_terminal_interrupt_and_the_second_time_kill() {
    let mut terminal = Emulator::new(24, 80);
    let script = "trap 'echo caught' INT; echo ready; while :; do sleep 0.05; done";
    let stdio = || terminal.terminal();
    // A session of its own, with this terminal: what a shell in a terminal emulator has.
    let mut child = std::process::Command::new("setsid")
        .args(["--ctty", "--wait", crate::support::pinfold().to_str().unwrap(), "run", "--", "sh", "-c", script])
        .stdin(stdio())
        .stdout(stdio())
        .stderr(stdio())
        .spawn()
        .unwrap();
    terminal.sees("ready");
    terminal.types("\x03");
    terminal.sees("caught");
    terminal.types("\x03");
    terminal.sees("cancelled by a second SIGINT");
    assert_eq!(end(&mut child).code(), Some(130));
}

#[test]
fn words_on_a_terminal_have_colour_unless_it_is_not_wanted() {
    let mut terminal = Emulator::new(24, 80);
    let mut child = terminal.start(pinfold(["run", "--", "no-such-command"]));
    let text = terminal.sees("error:");
    assert!(text.contains("\x1b[1;31merror:"), "{text:?}");
    assert_eq!(end(&mut child).code(), Some(127));
}
