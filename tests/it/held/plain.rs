//! Commands without a runtime: `exec` with nothing of ours to read, and the same in the library.

use super::{Home, finish};
use crate::sandbox::{eventually, kill};
use pinfold::Status;
use pinfold::held::{Begun, command};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

/// Says that it is there, waits until it may go on, and writes more than a small pipe holds, and less than a large one.
const LATE: &str =
    "echo ready >&2; until test -e /tmp/go; do sleep 0.02; done; rm /tmp/go; head -c 20000 /dev/zero; exit 7";

/// A `pinfold` that looks at nothing until its command has written all and ended. What it writes to goes along: a pipe with
/// room for so many bytes.
fn stopped_to_the_end(home: &Home, room: usize) -> (Child, File) {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    fcntl_setpipe_size(&theirs, room).unwrap();
    let mut pinfold = home.pinfold(&["exec", "a", "--", "sh", "-c", LATE]);
    let mut child = pinfold.stdout(theirs).spawn().unwrap();
    let mut ready = [0; 6];
    child.stderr.as_mut().unwrap().read_exact(&mut ready).unwrap();
    kill(child.id().cast_signed(), libc::SIGSTOP);
    home.says("a", "touch /tmp/go");
    eventually("it has ended", || home.json(&["stats", "--json", "a"])["running"] == 0);
    (child, ours.into())
}

#[test]
fn last_words_wait_for_who_reads_slowly() {
    let home = Home::new();
    home.start("a", &[]);
    // One page is full after the first piece, two after the second.
    for room in [4096, 8192] {
        let (child, mut output) = stopped_to_the_end(&home, room);
        kill(child.id().cast_signed(), libc::SIGCONT);
        let mut seen = Vec::new();
        output.read_to_end(&mut seen).unwrap();
        assert_eq!((seen.len(), finish(child).0), (20_000, 7), "{room}");
    }
}

#[test]
fn nobody_has_to_read_the_last_words_of_a_command() {
    let home = Home::new();
    home.start("a", &[]);
    for room in [4096, 8192] {
        let (child, output) = stopped_to_the_end(&home, room);
        kill(child.id().cast_signed(), libc::SIGCONT);
        eventually("it waits for a reader", || rustix::io::ioctl_fionread(&output).unwrap() == room as u64);
        kill(child.id().cast_signed(), libc::SIGTERM);
        assert_eq!(finish(child).0, 7, "{room}");
        drop(output);
        // And who has closed its end is told as in every pipeline: the command had ended by itself.
        let (child, output) = stopped_to_the_end(&home, room);
        drop(output);
        kill(child.id().cast_signed(), libc::SIGCONT);
        assert_eq!(finish(child).0, 7, "{room}");
    }
}

#[test]
fn more_than_all_pipes_hold_comes_whole() {
    let home = Home::new();
    home.start("a", &[]);
    let script = "seq 200000; seq 200000 >&2";
    let (code, stdout, stderr) = home.shell("a", script);
    let all: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
    assert_eq!((code, stdout == all, stderr == all), (0, true, true));
}

#[test]
fn a_signal_that_pinfold_was_started_to_ignore_is_nobodys() {
    let home = Home::new();
    home.start("a", &[]);
    let script = "trap 'echo hup' HUP; trap 'echo term; exit 3' TERM; echo ready; while :; do sleep 0.02; done";
    for (ignored, code, words) in [("HUP", 3, "term\n"), ("INT", 3, "hup\nterm\n")] {
        let program = home.pinfold(&["exec", "a", "--", "sh", "-c", script]);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("trap '' {ignored}; exec \"$0\" \"$@\"")]).arg(program.get_program());
        shell.args(program.get_args()).envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let mut child = shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        let pid = child.id().cast_signed();
        kill(pid, libc::SIGHUP);
        let heard = words.strip_suffix("term\n").unwrap();
        let mut seen = vec![0; heard.len()];
        child.stdout.as_mut().unwrap().read_exact(&mut seen).unwrap();
        kill(pid, libc::SIGTERM);
        let (ended, rest, _) = finish(child);
        assert_eq!((ended, String::from_utf8(seen).unwrap() + &rest), (code, words.to_owned()), "{ignored}");
    }
}

#[test]
fn closed_descriptors_are_no_place_for_others() {
    let home = Home::new();
    home.start("a", &[]);
    let program = home.pinfold(&["exec", "a", "--", "sh", "-c", "echo out; echo err >&2; exit 4"]);
    for (closed, out, err) in
        [("<&- >&- 2>&-", "", ""), ("<&-", "out\n", "err\n"), (">&-", "", "err\n"), ("2>&-", "out\n", "")]
    {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec \"$0\" \"$@\" {closed}")]).arg(program.get_program()).args(program.get_args());
        shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (code, stdout, stderr) = finish(shell.spawn().unwrap());
        assert_eq!((code, stdout.as_str(), stderr.as_str()), (4, out, err), "{closed}");
    }
}

fn ended(begun: &Begun) -> pinfold::Outcome {
    loop {
        if let Some(outcome) = begun.outcome().unwrap() {
            return outcome;
        }
        poll(&mut [PollFd::from_borrowed_fd(begun.as_fd(), PollFlags::IN)], None).unwrap();
    }
}

#[test]
fn the_library_starts_commands_without_a_runtime() {
    let home = Home::new();
    let id = home.start("a", &[]);
    let sandboxes = home.sandboxes();
    let job = |script: &str| command(["sh", "-c", script]).build().unwrap();
    for name in ["a", id.as_str(), &id[..8]] {
        let begun = sandboxes.begin(name, job("echo out; echo err >&2; exit 5")).unwrap();
        let outcome = ended(&begun);
        assert_eq!((outcome.status, outcome.exit_code), (Status::Exited, Some(5)), "{outcome:?}");
        let read = |end: std::os::fd::BorrowedFd<'_>| {
            let mut text = String::new();
            File::from(end.try_clone_to_owned().unwrap()).read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!((read(begun.stdout()), read(begun.stderr())), ("out\n".to_owned(), "err\n".to_owned()));
    }
    for (name, code) in [("none", "not_found"), ("a b", "invalid")] {
        assert_eq!(sandboxes.begin(name, job("true")).unwrap_err().code(), code);
    }
    let with_stdin = command(["cat"]).stdin("x").build().unwrap();
    assert_eq!(sandboxes.begin("a", with_stdin).unwrap_err().code(), "invalid");
    // It ends with who began it.
    let begun = sandboxes.begin("a", job("exec sleep 1000")).unwrap();
    assert!(begun.outcome().unwrap().is_none());
    drop(begun);
    eventually("it is gone", || home.json(&["stats", "--json", "a"])["running"] == 0);
}
