//! How long things live: everything dies with the job, nothing delays it, and nothing outlives a deadline.

use crate::sandbox::{Job, Running, Scratch, children, kill};
use crate::support::runs;
use pinfold_runner::{ControlMessage, Status};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::process::Command;
use std::time::{Duration, Instant};

/// Far below how long what is being waited for would take by itself.
const SOON: Duration = Duration::from_secs(20);

#[test]
pub(crate) fn the_deadline_holds_against_every_trick() {
    for kind in ["sleep", "stop", "ignore", "exit-0", "bomb", "spinners", "kill-init"] {
        let answer = Job::probe("process", &[kind, "3"]).limit("wall_ms", 400).limit("pids", 64).run();
        if kind == "kill-init" {
            // It ends by itself; pid 1 takes no harm from inside.
            let text = answer.exited();
            assert!(["init: 0\n", "init: 1\n"].contains(&text.as_str()), "{text}");
            continue;
        }
        answer.is(Status::TimedOut);
        assert!(answer.took < SOON, "{kind} took {:?}", answer.took);
        let wall = answer.outcome.usage.wall_ms.unwrap();
        assert!((400.0..10_000.0).contains(&wall), "{kind}: {wall}");
    }
}

#[test]
fn daemons_die_with_the_job() {
    // That none is left is looked at after every job of this suite.
    for _ in 0..runs(5) {
        let answer = Job::probe("process", &["daemon"]).limit("wall_ms", 60_000).run();
        assert_eq!(answer.exited(), "daemon made\n");
        assert!(answer.took < SOON);
    }
}

#[test]
pub(crate) fn a_background_process_that_holds_stdout_delays_nothing() {
    let answer = Job::probe("process", &["hold-stdout"]).limit("wall_ms", 60_000).run();
    assert_eq!(answer.exited(), "parent ends\n");
    assert!(answer.took < SOON && answer.outcome.usage.wall_ms.unwrap() < 20_000.0, "{:?}", answer.took);
    let answer = Job::sh("sleep 100 & sleep 100 >/dev/null 2>&1 & echo done").limit("wall_ms", 60_000).run();
    assert_eq!(answer.exited(), "done\n");
    assert!(answer.took < SOON);
}

#[test]
pub(crate) fn all_that_was_written_before_the_end_is_kept() {
    for _ in 0..runs(10) {
        let answer = Job::sh("head -c 60000 /dev/zero; printf late >&2").run();
        answer.exited();
        assert_eq!((answer.outcome.stdout_bytes, answer.outcome.stderr_bytes), (60_000, 4));
    }
}

#[test]
pub(crate) fn a_program_that_kills_everything_kills_itself_and_no_one_else() {
    // kill(-1) spares the caller and reaches neither init nor anybody outside.
    let answer = Job::probe("process", &["kill-all"]).run();
    assert_eq!(answer.exited(), "kill: 0\nalive\n");
    Job::new(&["true"]).run().exited();
}

#[test]
pub(crate) fn orphans_are_reaped_and_zombies_cost_nothing() {
    // What is left in /proc is init and the command; the grandchildren went to init, which reaped them. In a sandbox that
    // stays, one may stand ready for the next command.
    let left = Job::probe("process", &["orphans", "100"]).run().exited();
    assert!(left == "2 processes\n" || crate::sandbox::is_by_another_way() && left == "3 processes\n", "{left}");
    let answer = Job::probe("process", &["zombies", "200"]).run();
    assert_eq!(answer.exited(), "zombies made\n");
    assert!(answer.took < SOON);
    let refused = Job::probe("process", &["zombies", "2000"]).limit("pids", 50).run();
    assert_eq!(refused.exited(), "zombies made\n");
}

#[test]
pub(crate) fn the_command_is_not_pid_1_and_has_a_session_of_its_own() {
    let stat = Job::new(&["cat", "/proc/self/stat"]).run().exited();
    let words: Vec<&str> = stat.split(' ').collect();
    let (pid, parent, group, session, terminal) = (words[0], words[3], words[4], words[5], words[6]);
    assert_ne!(pid, "1");
    assert_eq!((parent, group, session, terminal), ("1", pid, pid, "0"));
}

#[test]
fn sigterm_and_sigint_to_the_runner_cancel_and_the_result_is_written() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let running = Job::sh("echo begun; exec sleep 100").limit("wall_ms", 90_000).spawn();
        let init = running.init();
        running
            .until("the command sleeps", || crate::sandbox::children(init).iter().any(|pid| is_called(*pid, "sleep")));
        kill(running.pid(), signal);
        let answer = running.answer();
        assert_eq!(answer.is(Status::Cancelled).stdout(), "begun\n");
        assert!(answer.took < SOON);
    }
}

fn is_called(pid: i32, name: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|found| found.trim_end() == name)
}

/// Starts the job with a lifeline as descriptor 3, a FIFO whose only writer is what comes back.
pub(crate) fn with_lifeline(job: Job, scratch: &Scratch) -> (Running, File) {
    let path = scratch.text("lifeline");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    // Opened both ways, which waits for nobody.
    let lifeline = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let job = job.started_by(&["sh", "-c", r#"path="$0"; exec "$@" 3<"$path""#, &path], &["--lifeline=3"]);
    (job.spawn(), lifeline)
}

fn sleeps(running: &Running) -> i32 {
    let mut found = None;
    running.until("the command sleeps", || {
        found = children(running.pid()).into_iter().find(|init| {
            let below = children(*init).into_iter();
            below.flat_map(|pid| children(pid).into_iter().chain([pid])).any(|pid| is_called(pid, "sleep"))
        });
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn a_closed_lifeline_ends_everything() {
    let scratch = Scratch::new();
    let (running, lifeline) = with_lifeline(Job::new(&["sleep", "100"]).limit("wall_ms", 90_000), &scratch);
    sleeps(&running);
    drop(lifeline);
    let answer = running.answer();
    assert!(answer.is(Status::Cancelled).took < SOON);
}

#[test]
fn a_closed_lifeline_ends_the_sandbox_of_a_stopped_runner() {
    let scratch = Scratch::new();
    let (running, lifeline) = with_lifeline(Job::new(&["sleep", "100"]).limit("wall_ms", 90_000), &scratch);
    let init = sleeps(&running);
    kill(running.pid(), libc::SIGSTOP);
    drop(lifeline);
    running.until("init is dead", || {
        let state = fs::read_to_string(format!("/proc/{init}/stat")).unwrap_or_default();
        state.is_empty() || state.contains(") Z ")
    });
    // The stopped runner is nobody's victim: it goes on where it was and answers.
    kill(running.pid(), libc::SIGCONT);
    running.answer().is(Status::Cancelled);
}

#[test]
fn control_messages_signal_and_cancel() {
    let scratch = Scratch::new();
    let script = "trap 'echo got it; exit 5' TERM; sleep 100 & wait";
    let (running, mut lifeline) = with_lifeline(Job::sh(script), &scratch);
    sleeps(&running);
    lifeline.write_all(&ControlMessage::Signal(15).encode()).unwrap();
    let answer = running.answer();
    assert_eq!((answer.outcome.exit_code, answer.stdout()), (Some(5), "got it\n".to_owned()));

    let scratch = Scratch::new();
    let (running, mut lifeline) = with_lifeline(Job::new(&["sleep", "100"]), &scratch);
    sleeps(&running);
    lifeline.write_all(&ControlMessage::Cancel.encode()).unwrap();
    running.answer().is(Status::Cancelled);

    let scratch = Scratch::new();
    let (running, mut lifeline) = with_lifeline(Job::new(&["sleep", "100"]), &scratch);
    sleeps(&running);
    lifeline.write_all(b"nonsense that nobody sends").unwrap();
    running.answer().is(Status::Cancelled);
}

#[test]
fn a_reader_that_goes_away_ends_the_job() {
    let mut running = Job::new(&["sleep", "100"]).limit("wall_ms", 90_000).spawn();
    sleeps(&running);
    let start = Instant::now();
    drop(running.child.stdout.take());
    running.until("the runner ends", || running_state(running.pid()).is_none_or(|state| state == 'Z'));
    assert!(start.elapsed() < SOON);
    running.sweep();
}

fn running_state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[test]
fn live_output_comes_at_once_and_is_not_in_the_result() {
    let scratch = Scratch::new();
    let path = scratch.text("live");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let mut live = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let job = Job::sh("echo first; sleep 100").limit("wall_ms", 90_000);
    let running = job.started_by(&["sh", "-c", r#"path="$0"; exec "$@" 3>"$path""#, &path], &["--stdout=3"]).spawn();
    let mut line = [0; 6];
    live.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"first\n");
    assert!(running_state(running.pid()).is_some_and(|state| state != 'Z'), "it came before the end");
    kill(running.pid(), libc::SIGTERM);
    let answer = running.answer();
    assert_eq!((answer.is(Status::Cancelled).stdout(), answer.outcome.stdout_bytes), (String::new(), 6));
}

#[test]
fn a_terminal_is_the_sandbox_s_own() {
    let scratch = Scratch::new();
    let out = scratch.text("out");
    let job = Job::sh("tty; stty size; echo $TERM; ls /dev/pts");
    let shell = r#"path="$0"; exec "$@" 3</dev/null 4>"$path""#;
    let job = job.started_by(&["sh", "-c", shell, &out], &["--stdin=3", "--stdout=4", "--terminal=33x77"]);
    job.run().exited();
    assert_eq!(fs::read_to_string(out).unwrap(), "/dev/pts/0\r\n33 77\r\nxterm\r\n0  ptmx\r\n");
}

#[test]
fn trees_that_are_deep_closed_and_odd_are_removed_with_the_job() {
    // That nothing is left is looked at after the job.
    let script = "import os\nfor i in range(3000):\n os.mkdir('d' * 100); os.chdir('d' * 100)\nopen('f', 'w')\n\
                  os.chdir('/workspace')\nos.makedirs('a/b/c')\nopen('a/b/c/f', 'w')\nos.utime('a', (2**40, -2**30))\n\
                  [os.chmod(p, 0) for p in ('a/b/c/f', 'a/b/c', 'a/b', 'a')]\n[open(b'n%d\\xff\\n' % i, 'w') for i in range(300)]\n\
                  os.chmod('.', 0)";
    if !crate::support::has_program("python3") {
        return;
    }
    for _ in 0..2 {
        let answer = Job::new(&["/usr/bin/python3", "-c", script]).limit("wall_ms", 60_000).run();
        assert!([Status::Exited, Status::WorkspaceExceeded].contains(&answer.outcome.status), "{}", answer.json);
        assert_eq!(answer.outcome.stderr.to_text(), "");
    }
}
