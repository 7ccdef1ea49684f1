//! `exec`: stdio, exit codes, limits, signals, and what it leaves behind.

use super::{Home, finish, wait};
use crate::sandbox::{eventually, kill};
use crate::support;
use pinfold::held::command;
use pinfold::{ByteSize, Limit, Status, Stdin, Stdio as ExecStdio};
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn the_exit_codes_are_those_of_run() {
    let home = Home::new();
    home.start("a", &[]);
    for code in [0, 1, 7, 125, 255] {
        assert_eq!(home.shell("a", &format!("exit {code}")), (code, String::new(), String::new()));
    }
    for (signal, code) in [("SEGV", 139), ("KILL", 137), ("USR2", 140)] {
        let (exit, _, words) = home.shell("a", &format!("kill -{signal} $$"));
        assert_eq!((exit, words), (code, format!("pinfold: the command died of SIG{signal}\n")));
    }
    let (code, _, words) = home.run(&["exec", "a", "--", "no-such-command"]);
    assert!(code == 127 && words.contains("`no-such-command`"), "{words}");
    let (code, _, words) = home.run(&["exec", "a", "--", "/etc/passwd"]);
    assert_eq!(code, 126, "{words}");
    let start = Instant::now();
    let (code, _, words) = home.run(&["exec", "--time", "300ms", "a", "--", "sleep", "100"]);
    assert_eq!((code, words.as_str()), (124, "pinfold: killed: ran longer than 300ms (--time)\n"));
    assert!(start.elapsed() < Duration::from_secs(30));
    // The sandbox is as it was.
    assert_eq!(home.says("a", "echo still"), "still\n");
}

#[test]
fn a_command_that_times_out_is_gone_with_all_that_it_started_and_nothing_else_is() {
    let home = Home::new();
    home.start("a", &["-w", "tmpfs"]);
    // A service that another command started lives on, though this one's end is by force.
    home.says("a", "while :; do date +%N > /workspace/beat; sleep 0.05; done >/dev/null 2>&1 &");
    let script = "for i in 1 2 3; do (setsid sh -c 'exec -a victim sleep 1000' >/dev/null 2>&1 &) ; done; sleep 1000";
    let start = Instant::now();
    let (code, ..) = home.run(&["exec", "--time", "1s", "a", "--", "bash", "-c", script]);
    assert_eq!(code, 124);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    let count = "grep -a -l victim /proc/[0-9]*/cmdline 2>/dev/null | grep -v $$ | wc -l";
    assert_eq!(home.says("a", &count.replace("victim", "vic[t]im")), "0\n");
    let beat = home.says("a", "cat /workspace/beat");
    eventually("the service goes on", || home.says("a", "cat /workspace/beat") != beat);
}

#[test]
fn output_comes_live_and_stdin_only_with_i() {
    let home = Home::new();
    home.start("a", &[]);
    let mut child =
        home.pinfold(&["exec", "-i", "a", "--", "sh", "-c", "echo ready; read line; echo got $line >&2; cat"]);
    let mut child = child.stdin(Stdio::piped()).spawn().unwrap();
    let mut seen = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"ready\n");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one\nrest").unwrap();
    drop(stdin);
    assert_eq!(finish(child), (0, "rest".to_owned(), "got one\n".to_owned()));
    let mut deaf = home.pinfold(&["exec", "a", "--", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let _may_be_closed = deaf.stdin.take().unwrap().write_all(b"nobody reads this");
    assert_eq!(finish(deaf), (0, String::new(), String::new()));
}

#[test]
fn a_result_as_json_has_the_output_up_to_its_limit_and_counts_the_rest() {
    let home = Home::new();
    home.start("a", &[]);
    let args = [
        "exec",
        "--json",
        "--output",
        "10",
        "a",
        "--",
        "sh",
        "-c",
        "head -c 100000 /dev/zero | tr '\\0' x; echo e >&2; exit 3",
    ];
    let result = home.json(&args);
    assert_eq!((&result["status"], &result["exit_code"]), (&"exited".into(), &3.into()), "{result}");
    assert_eq!((&result["stdout"], &result["stderr"]), (&"xxxxxxxxxx".into(), &"e\n".into()));
    assert_eq!((&result["stdout_bytes"], &result["stdout_truncated"]), (&100_000.into(), &true.into()));
    assert_eq!((&result["stderr_bytes"], &result["stderr_truncated"]), (&2.into(), &false.into()));
    let (code, stdout, _) = home.run(&["exec", "--json", "a", "--", "no-such-command"]);
    let result: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &result["error"]["code"]), (125, &"exec_not_found".into()));
    let (code, stdout, _) = home.run(&["exec", "--json", "nobody", "--", "true"]);
    let result: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &result["error"]["code"]), (125, &"not_found".into()));
    let (code, stdout, words) = home.run(&["exec", "--output", "3", "a", "--", "echo", "hello"]);
    assert_eq!((code, stdout.as_str()), (0, "hel"));
    assert!(words.contains("cut off"), "{words}");
}

#[test]
fn what_a_command_leaves_in_the_background_delays_nothing_and_lives_on() {
    let home = Home::new();
    home.start("a", &["-w", "tmpfs"]);
    let start = Instant::now();
    // It keeps stdout and stderr open, and goes on writing to the former.
    let script = "(trap '' PIPE; while :; do echo more; sleep 0.01; done 2>/dev/null) & echo $! > pid; echo begun";
    let (code, stdout, _) = home.shell("a", script);
    assert_eq!((code, stdout.starts_with("begun\n") || stdout.starts_with("more\n")), (0, true), "{stdout}");
    let result = home.json(&["exec", "--json", "a", "--", "sh", "-c", "sleep 100 & yes & echo kept >&2"]);
    assert_eq!(result["stderr"], "kept\n");
    assert!(start.elapsed() < Duration::from_secs(50));
    assert_eq!(home.says("a", "kill -0 $(cat pid) && echo lives"), "lives\n");
}

#[test]
fn signals_reach_the_command_and_the_second_ends_it() {
    let home = Home::new();
    home.start("a", &[]);
    for (signal, script, code) in [
        (libc::SIGTERM, "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.05; done", 9),
        (libc::SIGINT, "echo ready; exec sleep 1000", 130),
    ] {
        let mut child = home.pinfold(&["exec", "a", "--", "sh", "-c", script]).spawn().unwrap();
        let mut seen = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut seen).unwrap();
        kill(child.id().cast_signed(), signal);
        assert_eq!(finish(child).0, code, "{script}");
    }
    let deaf = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child = home.pinfold(&["exec", "a", "--", "sh", "-c", deaf]).spawn().unwrap();
    let mut seen = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut seen).unwrap();
    for _ in 0..2 {
        kill(child.id().cast_signed(), libc::SIGTERM);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(finish(child).0, 143);
    assert_eq!(home.says("a", "echo still"), "still\n");
}

#[test]
fn a_command_ends_with_its_client_unless_it_is_detached() {
    let home = Home::new();
    home.start("a", &["-w", "tmpfs"]);
    let script = "touch begun; while :; do date +%N > beat; sleep 0.05; done";
    let mut child = home.pinfold(&["exec", "a", "--", "sh", "-c", script]).spawn().unwrap();
    eventually("it runs", || home.shell("a", "test -e begun").0 == 0);
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("it is gone", || home.json(&["stats", "--json", "a"])["running"] == 0);
    let beat = home.says("a", "cat beat");
    assert_eq!(home.says("a", "sleep 0.3; cat beat"), beat);
    let number = home.ok(&["exec", "-d", "a", "--", "sh", "-c", script]);
    eventually("it runs without a client", || home.says("a", "cat beat") != beat);
    assert!(number.trim_end().parse::<u64>().is_ok(), "{number}");
    assert_eq!(home.json(&["stats", "--json", "a"])["running"], 1);
    let (code, stdout, words) = home.run(&["exec", "-d", "a", "--", "no-such-command"]);
    assert_eq!((code, stdout.as_str()), (127, ""), "{words}");
}

#[test]
fn the_environment_and_the_directory_are_the_sandboxs_and_the_commands() {
    let home = Home::new();
    home.start("a", &["--env", "A=1", "--env", "B=1", "-w", "tmpfs"]);
    let args =
        ["exec", "--env", "B=2", "--cwd", "/tmp", "a", "--", "sh", "-c", "echo $A $B; pwd; mkdir -p /workspace/x"];
    assert_eq!(home.ok(&args), "1 2\n/tmp\n");
    assert_eq!(home.ok(&["exec", "--cwd", "x", "a", "--", "pwd"]), "/workspace/x\n");
    assert_eq!(
        home.says("a", "pwd; echo $B $HOME $PINFOLD_RUNTIME_DIR$PINFOLD_STATE_DIR"),
        "/workspace\n1 /workspace\n"
    );
}

#[test]
fn commands_start_where_the_sandbox_says_unless_they_say_themselves() {
    let home = Home::new();
    home.start("a", &["--cwd", "/tmp", "-w", "tmpfs"]);
    assert_eq!(home.says("a", "pwd"), "/tmp\n");
    assert_eq!(home.ok(&["exec", "--cwd", "/workspace", "a", "--", "pwd"]), "/workspace\n");
    home.start("b", &["--cwd", "src", "-w", "tmpfs"]);
    let (code, _, words) = home.shell("b", "pwd");
    assert!(code == 125 && words.contains("src"), "{words}");
    home.ok(&["exec", "--cwd", ".", "b", "--", "mkdir", "src"]);
    assert_eq!(home.says("b", "pwd"), "/workspace/src\n");
}

#[test]
fn the_cpu_time_of_a_sandbox_is_that_of_all_its_commands() {
    let home = Home::new();
    home.start("a", &["--cpu-time", "1s"]);
    home.says("a", "echo has some left");
    let (code, _, words) = home.shell("a", "while :; do :; done");
    assert_ne!(code, 0, "{words}");
    eventually("the sandbox has ended", || home.ok(&["ps"]).is_empty());
    home.next_command_cleans();
}

#[test]
fn limits_of_a_command_are_its_own() {
    if !support::has_cgroups() {
        return support::host_cannot("needs cgroups for limits of a command's own");
    }
    let home = Home::new();
    home.start("a", &["--pids", "100"]);
    let (code, _, words) = home.run(&["exec", "--memory", "32M", "a", "--", "tail", "/dev/zero"]);
    assert_eq!((code, words.as_str()), (137, "pinfold: killed: used more than 32 MiB of memory (--memory)\n"));
    let fork = "i=0; while [ $i -lt 20 ]; do sleep 5 & i=$((i+1)); done 2>/dev/null; echo done";
    let (code, _, words) = home.run(&["exec", "--pids", "5", "a", "--", "sh", "-c", fork]);
    assert_ne!(code, 0, "{words}");
    assert_eq!(home.ok(&["exec", "--open-files", "16", "a", "--", "sh", "-c", "ulimit -n"]), "16\n");
    assert_eq!(home.ok(&["exec", "--stack", "1M", "--cpu-weight", "10", "a", "--", "sh", "-c", "ulimit -s"]), "1024\n");
    assert_eq!(home.says("a", "echo still"), "still\n");
}

#[test]
fn what_only_the_sandbox_can_have_is_refused_for_a_command() {
    let home = Home::new();
    home.start("a", &[]);
    let held = home.sandboxes().get("a").unwrap();
    let refused = wait(held.exec(command(["true"]).workspace("/tmp").build().unwrap())).unwrap_err();
    assert!(refused.code() == "invalid" && refused.to_string().contains("workspace"), "{refused}");
    let refused = wait(held.exec(pinfold::job(["true"]).build().unwrap())).unwrap_err();
    assert!(refused.to_string().contains("swap_bytes"), "{refused}");
    let long = "x".repeat(200 << 10);
    let refused = wait(held.exec(command(["echo", &long]).build().unwrap())).unwrap_err();
    assert_eq!(refused.code(), "invalid", "{refused}");
    assert_eq!(home.says("a", "echo still"), "still\n");
}

#[test]
fn the_library_runs_commands_with_input_streams_and_signals() {
    let home = Home::new();
    home.start("a", &[]);
    let held = home.sandboxes().get("a").unwrap();
    wait(async {
        let job = command(["sh", "-c", "cat; echo err >&2; exit 4"]).stdin("in").build().unwrap();
        let outcome = held.exec(job).await.unwrap();
        assert_eq!((outcome.status, outcome.exit_code), (Status::Exited, Some(4)));
        assert_eq!((outcome.stdout.to_text(), outcome.stderr.to_text()), ("in".into(), "err\n".into()));
        // More input than the pipe holds, for a command that reads none of it, and for one that reads all.
        for (script, read) in [("true", 0), ("wc -c", 300_000)] {
            let job = command(["sh", "-c", script]).stdin(vec![b'x'; 300_000]).build().unwrap();
            let outcome = held.exec(job).await.unwrap();
            assert_eq!(outcome.stdout.to_text().trim().parse().unwrap_or(0), read);
        }
        let big = command(["head", "-c", "3000000", "/dev/zero"]).output(ByteSize::new(1000)).build().unwrap();
        let outcome = held.exec(big).await.unwrap();
        assert_eq!((outcome.stdout_bytes, outcome.stdout.as_bytes().len()), (3_000_000, 1000));
        let job = command(["cat"]).wall(Limit::Max).build().unwrap();
        let mut running = held.spawn(job, ExecStdio::Live { stdin: Stdin::Live }).await.unwrap();
        let (mut stdin, mut stdout) = (running.take_stdin().unwrap(), running.take_stdout().unwrap());
        stdin.write_all(b"hello").await.unwrap();
        let mut seen = [0; 5];
        stdout.read_exact(&mut seen).await.unwrap();
        running.controller().signal(libc::SIGKILL).unwrap();
        let outcome = running.wait().await.unwrap();
        assert_eq!((outcome.status, outcome.signal.as_deref()), (Status::Signaled, Some("SIGKILL")));
        assert_eq!((&seen, outcome.stdout_bytes), (b"hello", 5));
        let running = held.spawn(command(["sleep", "1000"]).build().unwrap(), ExecStdio::captured()).await.unwrap();
        running.controller().cancel().unwrap();
        assert_eq!(running.wait().await.unwrap().status, Status::Cancelled);
        // Two at once, and one that is dropped.
        let (one, two) = (command(["echo", "1"]).build().unwrap(), command(["echo", "2"]).build().unwrap());
        let (one, two) = tokio::join!(held.exec(one), held.exec(two));
        assert_eq!(one.unwrap().stdout.to_text().into_owned() + &two.unwrap().stdout.to_text(), "1\n2\n");
        let dropped = held.exec(command(["sleep", "1000"]).build().unwrap());
        assert!(tokio::time::timeout(Duration::from_millis(200), dropped).await.is_err());
    });
    eventually("the dropped command is gone", || held.stats().unwrap().running == 0);
}
