//! Terminals of held sandboxes: a shell that keeps its state, output that is exact, people and programs on one screen.

mod command; // `pinfold attach` and `pinfold exec -t`

use crate::held::Home;
use crate::support;
use pinfold::held::{Held, RunOptions, RunOutput, Shell, Terminal, TerminalOptions, TerminalState};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// More than anything here takes that ends.
const PATIENCE: Duration = Duration::from_secs(60);

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE * 3, work).await.expect("it hangs") })
}

/// Does something with a terminal of each shell in a sandbox.
fn each(work: impl AsyncFn(&Held, Terminal, Shell)) {
    let home = Home::new();
    home.start("box", &[]);
    let held = home.sandboxes().get("box").unwrap();
    for shell in [Shell::Bash, Shell::Sh, Shell::Zsh] {
        if shell == Shell::Sh || support::has_program(shell.name()) {
            run(async {
                let options = TerminalOptions::named(shell.name()).shell(shell);
                work(&held, held.terminal(options).await.unwrap(), shell).await;
            });
        }
    }
}

async fn within(terminal: &Terminal, text: &str, limit: Duration) -> RunOutput {
    let options = RunOptions { timeout: Some(limit), ..RunOptions::default() };
    terminal.run_command(text, options).await.unwrap()
}

/// What a text writes, and its exit code.
async fn get(terminal: &Terminal, text: &str) -> (String, i32) {
    let ran = within(terminal, text, PATIENCE).await;
    assert!(!ran.timed_out && !ran.replaced && !ran.truncated, "{text}: {ran:?}");
    (String::from_utf8(ran.output.0).unwrap(), ran.exit_code.unwrap())
}

async fn says(terminal: &Terminal, text: &str) -> String {
    get(terminal, text).await.0
}

async fn is(terminal: &Terminal, state: TerminalState) {
    let begin = Instant::now();
    loop {
        let info = terminal.info().await.unwrap();
        if info.state == state {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "{info:?}: {}", terminal.screen(true).await.unwrap());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_terminal_tells_what_was_written_and_how_it_ended() {
    each(async |_, terminal, _| {
        for (text, output, code) in [
            ("echo 42", "42\n", 0),
            ("printf '1\\n2\\n3\\n'", "1\n2\n3\n", 0),
            ("printf '\\n\\na\\n\\n'", "\n\na\n\n", 0),
            ("printf '$ '", "$ ", 0),
            ("false", "", 1),
            ("echo $?", "1\n", 0),
            ("printf x; (exit 77)", "x", 77),
            ("printf 'a\\r\\nb'", "a\r\nb", 0),
            ("tty | sed 's/[0-9]*$//'; stty size", "/dev/pts/\n24 80\n", 0),
        ] {
            assert_eq!(get(&terminal, text).await, (output.to_owned(), code), "{text}");
        }
        let ran = within(&terminal, "printf '\\377\\200\\000'", PATIENCE).await;
        assert_eq!(ran.output.0, b"\xff\x80\0");
        assert!(terminal.run_command(b"echo a\0b", RunOptions::default()).await.is_err());
    });
}

#[test]
fn a_terminal_keeps_its_state_between_commands_and_clients() {
    each(async |held, terminal, shell| {
        get(&terminal, "cd /usr; kept=1; export OUT=2; sleep 100 &").await;
        let again = held.terminal(TerminalOptions::named(shell.name()).shell(shell)).await.unwrap();
        assert_eq!(says(&again, "pwd; echo $kept; sh -c 'echo $OUT'").await, "/usr\n1\n2\n");
        assert!(says(&again, "jobs").await.contains("sleep 100"));
        says(&again, "kill $!").await;
        let names: Vec<_> = held.terminals().await.unwrap().into_iter().map(|info| info.name).collect();
        assert!(names.contains(&shell.name().to_owned()));
    });
}

#[test]
fn after_a_timeout_the_next_output_is_clean() {
    each(async |_, terminal, _| {
        let soon = Duration::from_millis(200);
        let ran = within(&terminal, "sleep 100; echo late", soon).await;
        assert!(ran.timed_out && !ran.replaced && ran.exit_code == Some(130), "{ran:?}");
        assert_eq!(says(&terminal, "echo next").await, "next\n");
        let ran = within(&terminal, "sh -c 'trap \"\" INT TERM; while :; do sleep 1; done'", soon).await;
        assert!(ran.timed_out && !ran.replaced, "{ran:?}");
        assert_eq!(says(&terminal, "echo next").await, "next\n");
        let ran = within(&terminal, "trap '' INT; while :; do :; done", soon).await;
        assert!(ran.timed_out && ran.replaced && ran.exit_code.is_none(), "{ran:?}");
        assert_eq!(says(&terminal, "echo next").await, "next\n");
    });
}

#[test]
fn a_command_in_a_terminal_is_confined_and_inherits_nothing() {
    each(async |_, terminal, _| {
        for text in ["ls /proc/self/fd | cat", "(ls /proc/self/fd) | cat"] {
            assert_eq!(says(&terminal, text).await, "0\n1\n2\n3\n", "{text}");
        }
        let status = says(&terminal, "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status").await;
        assert_eq!(
            status.split_whitespace().collect::<Vec<_>>(),
            ["CapEff:", "0000000000000000", "NoNewPrivs:", "1", "Seccomp:", "2"]
        );
        // The word that makes a status count is in no environment and on no command line.
        let found = says(
            &terminal,
            "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -c '[_]_pf_k='",
        )
        .await;
        assert_eq!(found, "0\n");
        let forged = "for f in /proc/[0-9]*/fd/4; do (printf 'start R 7\\n R 7\\nR 7\\n' >$f) 2>/dev/null; done; true";
        let ran = within(&terminal, &forged.replace("[0-9]*", "$__pf_h"), PATIENCE).await;
        assert_eq!(ran.exit_code, Some(0), "{ran:?}");
        // Who fills every pipe of the shell's has a terminal that lies or is replaced; the next command has a clean one.
        let text = forged.replace("[0-9]*", "$__pf_h").replace("fd/4", "fd/*");
        within(&terminal, &text, Duration::from_secs(2)).await;
        within(&terminal, "true", Duration::from_secs(2)).await;
        assert_eq!(says(&terminal, "echo on").await, "on\n");
    });
}

#[test]
fn a_shell_that_is_killed_or_loses_its_helper_is_told_of() {
    each(async |held, terminal, shell| {
        let ran = within(&terminal, "kill -9 $__pf_h; sleep 0.2", PATIENCE).await;
        assert!(ran.replaced && ran.exit_code.is_none(), "{ran:?}");
        assert_eq!(says(&terminal, "echo on").await, "on\n");
        let ran = within(&terminal, "echo bye; exit 3", PATIENCE).await;
        assert!(ran.ended && ran.output.0.starts_with(b"bye\n") && ran.exit_code == Some(3), "{ran:?}");
        assert_eq!(terminal.info().await.unwrap().state, TerminalState::Ended);
        assert!(terminal.run_command("true", RunOptions::default()).await.is_err());
        let again = held.terminal(TerminalOptions::named(shell.name()).shell(shell)).await.unwrap();
        assert_eq!(says(&again, "echo new").await, "new\n");
        again.close().await.unwrap();
        assert!(again.info().await.is_err());
    });
}

#[test]
fn a_client_sees_that_input_is_waited_for() {
    each(async |_, terminal, _| {
        let answer = async {
            is(&terminal, TerminalState::WaitingForInput).await;
            terminal.write("an answer\n").await.unwrap();
        };
        let (said, ()) = tokio::join!(says(&terminal, "read line; echo \"got $line\""), answer);
        assert_eq!(said, "got an answer\n");
        let (ran, ()) = tokio::join!(within(&terminal, "cat", PATIENCE), async {
            is(&terminal, TerminalState::WaitingForInput).await;
            terminal.interrupt().await.unwrap();
        });
        assert_eq!((ran.exit_code, ran.timed_out), (Some(130), false));
        is(&terminal, TerminalState::Idle).await;
    });
}

#[test]
fn clients_come_and_go_and_see_the_same() {
    each(async |_, terminal, shell| {
        says(&terminal, "for i in $(seq 60); do echo line-$i; done").await;
        let mut one = terminal.attach(Some((30, 100))).await.unwrap();
        let mut two = terminal.attach(None).await.unwrap();
        let seen = sees(&mut one, "line-60").await;
        assert!(seen.contains("line-1\r") || seen.contains("line-1\x1b"), "{seen:?}");
        sees(&mut two, "line-60").await;
        is(&terminal, TerminalState::Idle).await;
        one.write_all(b"echo typed-$((40+2))\r").await.unwrap();
        sees(&mut one, "typed-42").await;
        sees(&mut two, "typed-42").await;
        assert_eq!(terminal.info().await.unwrap().clients, 2);
        is(&terminal, TerminalState::Idle).await;
        assert_eq!(says(&terminal, "stty size").await, "30 100\n");
        let trap = says(&terminal, "trap 'echo resized' WINCH; echo").await;
        assert_eq!(trap, "\n");
        let until = "until [ \"$(stty size)\" = '40 120' ]; do sleep 0.1; done; stty size";
        let (said, ()) = tokio::join!(says(&terminal, until), terminal_resize(&terminal));
        assert!(said.ends_with("40 120\n"), "{}: {said}", shell.name());
        drop(one);
        drop(two);
        says(&terminal, "echo alone").await;
        let mut three = terminal.attach(None).await.unwrap();
        let seen = sees(&mut three, "alone").await;
        assert!(seen.contains("typed-42") && seen.contains("line-7"), "{seen:?}");
    });
}

async fn terminal_resize(terminal: &Terminal) {
    // A shell that has a trap for it and is about to read its command would not read that to its end.
    is(terminal, TerminalState::Running).await;
    terminal.resize(40, 120).await.unwrap();
}

async fn sees(client: &mut (impl AsyncReadExt + Unpin), wanted: &str) -> String {
    let mut seen = String::new();
    let mut chunk = vec![0; 65_536];
    while !seen.contains(wanted) {
        let length = tokio::time::timeout(PATIENCE, client.read(&mut chunk))
            .await
            .unwrap_or_else(|_late| panic!("no {wanted:?} in {seen:?}"));
        let length = length.unwrap();
        assert!(length > 0, "no {wanted:?} in {seen:?}");
        seen.push_str(&String::from_utf8_lossy(&chunk[..length]));
    }
    seen
}

#[test]
fn a_slow_client_and_a_flood_hold_up_nobody() {
    each(async |_, terminal, _| {
        let _never_reads = terminal.attach(None).await.unwrap();
        let options = RunOptions { output_bytes: 1000, ..RunOptions::default() };
        let ran = terminal.run_command("head -c 8000000 /dev/zero | tr '\\0' a; echo", options).await.unwrap();
        assert!(ran.truncated && ran.output.0.len() == 1000 && ran.exit_code == Some(0), "{ran:?}");
        assert_eq!(says(&terminal, "echo on").await, "on\n");
    });
}

#[test]
fn a_flood_costs_the_keeper_a_part_of_a_cpu_and_holds_up_nobody_else() {
    let home = Home::new();
    home.start("box", &[]);
    let held = home.sandboxes().get("box").unwrap();
    let keeper = held.record().keeper.pid;
    run(async {
        let flooded = held.terminal(TerminalOptions::named("flooded").shell(Shell::Sh)).await.unwrap();
        flooded.write("yes\n").await.unwrap();
        let begun = Instant::now();
        // What it may take at once.
        while cpu_time(keeper) < Duration::from_secs(2) && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (begun, used) = (Instant::now(), cpu_time(keeper));
        let other = held.terminal(TerminalOptions::named("other").shell(Shell::Sh)).await.unwrap();
        for _ in 0..5 {
            assert_eq!(says(&other, "echo on").await, "on\n");
        }
        while begun.elapsed() < Duration::from_secs(3) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let part = (cpu_time(keeper) - used).as_secs_f64() / begun.elapsed().as_secs_f64();
        assert!(part < 0.6, "{part}");
        flooded.interrupt().await.unwrap();
        assert_eq!(says(&flooded, "echo there").await, "there\n");
    });
}

/// What a process has used, in hundredths of a second: proc_pid_stat(5).
fn cpu_time(pid: i32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

#[test]
fn a_bad_name_is_refused() {
    let home = Home::new();
    home.start("box", &[]);
    let held = home.sandboxes().get("box").unwrap();
    run(async {
        for name in ["", "a/b", "a b", &"x".repeat(64)] {
            let error = held.terminal(TerminalOptions::named(name)).await.unwrap_err();
            assert_eq!(error.code(), "invalid", "{name}");
        }
        assert!(held.terminals().await.unwrap().is_empty());
    });
}
