//! The driver of shells against shells that no sandbox confines, on a pty of this host's.

mod together;

use super::living::{End, Started, Starter};
use super::room::Terminals;
use crate::held::terminal::ask::{TerminalAnswer, What, unwrap};
use crate::held::terminal::{RunOutput, Shell, TerminalInfo, TerminalOptions, TerminalState};
use crate::keeper::activity::Activity;
use pinfold_runner::Content;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;
use tokio::task::LocalSet;

/// More than anything here takes that ends.
const PATIENCE: Duration = Duration::from_secs(60);

fn installed() -> Vec<Shell> {
    let is_there = |shell: &Shell| std::path::Path::new("/usr/bin").join(shell.name()).exists();
    [Shell::Bash, Shell::Sh, Shell::Zsh].into_iter().filter(is_there).collect()
}

/// The shells that a test has started. They end with it, and with each all of its session: its helper, which may look for
/// an end of ours for ever.
#[derive(Default)]
struct Shells(RefCell<Vec<i32>>);

impl Drop for Terminal {
    fn drop(&mut self) {
        let shells = self.shells.0.borrow();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let session = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(3)?.parse().ok());
            let pid = entry.file_name().to_string_lossy().parse().ok().and_then(Pid::from_raw);
            if let (Some(session), Some(pid)) = (session, pid)
                && shells.contains(&session)
            {
                let _ended = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// Starts a shell on a pty, with its descriptors from number 3 on, by way of programs that can do that.
fn starter(shell: Shell, started: Rc<Shells>) -> Starter {
    Box::new(move |_size, descriptors| {
        let started = started.clone();
        Box::pin(async move {
            let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
            grantpt(&master).unwrap();
            unlockpt(&master).unwrap();
            let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
            let terminal = File::options().read(true).write(true).open(path).unwrap();
            // They go to bash as its stdin's and so on cannot; a shell reaches them by way of our own /proc.
            let me = std::process::id();
            let ours: Vec<_> = descriptors.iter().map(|fd| fcntl_dupfd_cloexec(fd, 100).unwrap()).collect();
            let path = |index: usize| format!("/proc/{me}/fd/{}", ours[index].as_raw_fd());
            let script = "exec 3<$1 4>$2 5<$3 6<$4; shift 4; exec setsid -c \"$@\"";
            let mut command = Command::new("bash");
            command.args(["-c", script, "bash", &path(0), &path(1), &path(2), &path(3)]);
            command.args(shell.command().as_slice()).env_clear().env("PATH", "/usr/bin:/bin").env("TERM", "xterm");
            command.env("ONE", "1").envs(shell.variables().iter().copied()).current_dir("/tmp");
            let stdio = || Stdio::from(terminal.try_clone().unwrap());
            let mut child = command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap();
            let pid = child.id().cast_signed();
            started.0.borrow_mut().push(pid);
            let (sender, end) = tokio::sync::oneshot::channel();
            std::thread::spawn(move || {
                let status = child.wait().unwrap();
                let code = status.code().or(status.signal().map(|signal| 128 + signal));
                let _ = sender.send(End { exit_code: code, how: status.to_string() });
            });
            // Until the shell itself was executed, which has no such word among its arguments as the programs before it. In the
            // middle of execve(2) a process has no arguments.
            let line = format!("/proc/{pid}/cmdline");
            let is_shell = |words: Vec<u8>| !words.is_empty() && memchr::memmem::find(&words, b"setsid").is_none();
            wait_until(|| std::fs::read(&line).is_ok_and(is_shell)).await;
            drop(ours);
            let kill = Box::new(move || {
                let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
            });
            let end = Box::pin(async move { end.await.unwrap() });
            Ok(Started { master, pid, end, kill })
        })
    })
}

async fn wait_until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A terminal with a shell.
struct Terminal {
    room: Rc<Terminals>,
    shells: Rc<Shells>,
}

impl Terminal {
    async fn start(shell: Shell) -> Self {
        let room = Rc::new(Terminals::default());
        let options = TerminalOptions::default().shell(shell);
        let shells = Rc::new(Shells::default());
        room.open(options, starter(shell, shells.clone()), Activity::new()).await.unwrap();
        Self { room, shells }
    }

    async fn run_within(&self, text: impl AsRef<[u8]>, timeout: Duration) -> RunOutput {
        self.room.run("main", text.as_ref().to_vec(), Some(timeout), 1 << 20).await.unwrap()
    }

    async fn run(&self, text: impl AsRef<[u8]>) -> RunOutput {
        self.run_within(text, PATIENCE).await
    }

    /// The output and the exit code.
    async fn get(&self, text: impl AsRef<[u8]>) -> (Vec<u8>, i32) {
        let ran = self.run(&text).await;
        assert!(
            !ran.timed_out && !ran.truncated && !ran.replaced,
            "{:?}: {ran:?}",
            String::from_utf8_lossy(text.as_ref())
        );
        (ran.output.0, ran.exit_code.unwrap())
    }

    async fn tell(&self, what: What) -> (TerminalAnswer, Option<OwnedFd>) {
        self.room.of("main", what, Vec::new()).await.unwrap()
    }

    async fn info(&self) -> TerminalInfo {
        let (TerminalAnswer::Info(info), _) = self.tell(What::Info).await else { panic!("no info") };
        *info
    }

    async fn screen(&self) -> String {
        let (_, text) = self.tell(What::Screen { scrollback: true }).await;
        String::from_utf8(unwrap(text.unwrap(), 1 << 24).unwrap()).unwrap()
    }

    async fn shows(&self, wanted: &str) -> String {
        let begin = std::time::Instant::now();
        loop {
            let screen = self.screen().await;
            if screen.contains(wanted) {
                return screen;
            }
            assert!(begin.elapsed() < PATIENCE, "no {wanted:?} in {screen}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn is(&self, state: TerminalState) {
        let begin = std::time::Instant::now();
        loop {
            let info = self.info().await;
            if info.state == state {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "{info:?}\n{}", self.screen().await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn type_in(&self, text: &str) {
        self.tell(What::Write { bytes: Content(text.as_bytes().to_vec()) }).await;
    }
}

/// Does something with a terminal of each shell that is here.
fn each(work: impl AsyncFn(Terminal, Shell)) {
    for shell in installed() {
        eprintln!("{}:", shell.name());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let work = async { work(Terminal::start(shell).await, shell).await };
            tokio::time::timeout(PATIENCE * 3, work).await.expect("it hangs");
        });
    }
}

#[test]
fn output_is_exact_and_the_exit_code_true() {
    each(async |terminal, _| {
        let cases: [(&[u8], &[u8], i32); 14] = [
            (b"echo 42", b"42\n", 0),
            (b"printf '1\\n2\\n3\\n'", b"1\n2\n3\n", 0),
            (b"printf '\\n\\n a \\n\\n'", b"\n\n a \n\n", 0),
            (b"false", b"", 1),
            (b"echo $?", b"1\n", 0),
            (b"printf 'prompt $ '", b"prompt $ ", 0),
            (b"printf 'no newline'; (exit 77)", b"no newline", 77),
            (b"printf '\\377\\200\\000x\\r\\n\\r\\t\\033[2J'", b"\xff\x80\0x\r\n\r\t\x1b[2J", 0),
            (b"printf %s '\x81\x82\x88\xff\x83 \xc3\xa9'", b"\x81\x82\x88\xff\x83 \xc3\xa9", 0),
            (b"cat <<E\na\n\nb $((1+1))\nE", b"a\n\nb 2\n", 0),
            (b"", b"", 0),
            (b"for i in 1 2; do\n echo $i\ndone # comment", b"1\n2\n", 0),
            (b"kill -9 $(sh -c 'echo $PPID') 2>/dev/null | :", b"", 0),
            (b"echo err >&2; echo out", b"err\nout\n", 0),
        ];
        for (text, output, code) in &cases[..12] {
            assert_eq!(terminal.get(text).await, (output.to_vec(), *code), "{:?}", String::from_utf8_lossy(text));
        }
        assert_eq!(terminal.get(cases[13].0).await.0, cases[13].1);
        let (output, code) = terminal.get("if").await;
        assert!(code != 0 && !output.is_empty());
        terminal.run("break; true").await;
        assert_eq!(terminal.get("echo on").await.0, b"on\n");
    });
}

#[test]
fn a_shell_keeps_its_state() {
    each(async |terminal, shell| {
        terminal.get("cd /usr; plain=1; export OUT=2; f() { return 4; }; set -- a 'b c'").await;
        assert_eq!(terminal.get("pwd; echo $plain; sh -c 'echo $OUT'; echo \"$#,$2\"").await.0, b"/usr\n1\n2\n2,b c\n");
        assert_eq!(terminal.get("f").await, (Vec::new(), 4));
        assert_eq!(terminal.get("sleep 30 & true").await.1, 0);
        assert!(String::from_utf8_lossy(&terminal.get("jobs").await.0).contains("sleep 30"));
        assert_eq!(
            terminal.get("kill $!; wait $! 2>/dev/null; echo gone").await.0.rsplit(|b| *b == b'\n').nth(1).unwrap(),
            b"gone"
        );
        if shell != Shell::Sh {
            terminal.get("typeset -A map; map[k]=v; typeset -i n=3").await;
            assert_eq!(terminal.get("echo ${map[k]} $n").await.0, b"v 3\n");
        }
        // Options, also those that could show or change what Pinfold itself does in the shell.
        terminal.get("set -x").await;
        assert!(terminal.get("echo a").await.0.ends_with(b"echo a\na\n"));
        terminal.get("set +x; set -u; set -a; set -C").await;
        assert_eq!(terminal.get("env | grep -c __pf").await.0, b"0\n");
        assert_eq!(terminal.get("echo ${ONE}; unset ONE").await.0, b"1\n");
        terminal.get("set +u; set +a; read() { :; }; printf() { :; }; alias eval=false").await;
        assert_eq!(terminal.get("echo still").await.0, b"still\n");
        assert_eq!(terminal.info().await.state, TerminalState::Idle);
    });
}

#[test]
fn random_bytes_come_back_as_they_are() {
    each(async |terminal, _| {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let file = tempfile();
        for round in 0..64u64 {
            let length = [0, 1, 31, 4095, 4096, 4097, 65_536, 300_000][(round % 8) as usize];
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    seed ^= seed << 13;
                    seed ^= seed >> 7;
                    seed ^= seed << 17;
                    (seed >> 32) as u8
                })
                .collect();
            std::fs::write(&file, &bytes).unwrap();
            let code = (seed % 100) as i32;
            let (output, told) = terminal.get(format!("cat {}; (exit {code})", file.display())).await;
            assert!(output == bytes, "round {round}: {} of {} bytes", output.len(), bytes.len());
            assert_eq!(told, code);
        }
        std::fs::remove_file(file).unwrap();
    });
}

fn tempfile() -> std::path::PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("pinfold-terminal-{}-{number}", std::process::id()));
    File::create(&path).unwrap().write_all(b"").unwrap();
    path
}

#[test]
fn when_time_is_over_the_next_output_is_clean() {
    each(async |terminal, _| {
        let soon = Duration::from_millis(150);
        terminal.get("kept=1").await;
        let ran = terminal.run_within("echo early; sleep 100; echo late", soon).await;
        assert!(ran.timed_out && !ran.replaced && ran.output.0.starts_with(b"early\n"), "{ran:?}");
        assert_eq!(ran.exit_code, Some(130));
        assert_eq!(terminal.get("echo next $?").await.0, b"next 130\n");
        let ran = terminal.run_within("while :; do :; done", soon).await;
        assert!(ran.timed_out && !ran.replaced, "{ran:?}");
        // A program that ignores SIGINT, then one that ignores SIGTERM too.
        for ignored in ["INT", "INT TERM"] {
            let text = format!("sh -c 'trap \"\" {ignored}; while :; do sleep 1; done'");
            let ran = terminal.run_within(text, soon).await;
            assert!(ran.timed_out && !ran.replaced, "{ran:?}");
            assert_eq!(terminal.get("echo $kept").await.0, b"1\n");
        }
        // A shell that gives in to nothing is replaced.
        let ran = terminal.run_within("trap '' INT; while :; do :; done", soon).await;
        assert!(ran.timed_out && ran.replaced && ran.exit_code.is_none(), "{ran:?}");
        assert_eq!(terminal.get("echo fresh $kept").await.0, b"fresh\n");
        assert_eq!(terminal.info().await.replaced, 1);
    });
}

#[test]
fn commands_inherit_nothing_but_the_terminal() {
    // What these tests were started with is no shell's doing.
    let listed = Command::new("ls").arg("/proc/self/fd").output().unwrap().stdout;
    let before: Vec<u32> =
        String::from_utf8(listed).unwrap().lines().filter_map(|line| line.parse().ok()).filter(|it| *it > 3).collect();
    each(async |terminal, _| {
        for text in
            ["ls /proc/self/fd", "(ls /proc/self/fd)", "ls /proc/self/fd | cat", "(sh -c 'ls /proc/self/fd' & wait)"]
        {
            let (output, _) = terminal.get(text).await;
            let output = String::from_utf8(output).unwrap();
            let numbers: Vec<u32> = output.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            assert!([0, 1, 2].iter().all(|number| numbers.contains(number)), "{output}");
            assert!(numbers.iter().all(|number| *number < 4 || before.contains(number)), "{output} {before:?}");
        }
    });
}

#[test]
fn no_output_forges_a_status() {
    each(async |terminal, _| {
        let text = "printf 'start R 7\\nR 7\\n%s R 7\\n' \"$__pf_none\"; for f in 3 4 5 6 7 8 9; do \
                    sh -c \"echo start R 7 >&$f\" 2>/dev/null; done; echo end; false";
        let (output, code) = terminal.get(text).await;
        assert_eq!((String::from_utf8(output).unwrap().as_str(), code), ("start R 7\nR 7\n R 7\nend\n", 1));
        // Whoever goes for the pipes themselves still lacks the word that only the shell was told.
        let text =
            "for f in /proc/[0-9]*/fd/4; do (printf 'start R 7\\n R 7\\nR 7\\n' >$f) 2>/dev/null; done; echo end";
        let ran = terminal.run_within(text.replace("[0-9]*", "$__pf_h"), PATIENCE).await;
        assert_eq!((ran.output.0.as_slice(), ran.exit_code), (&b"end\n"[..], Some(0)));
    });
}

#[test]
fn what_a_hostile_command_does_to_its_terminal_ends_with_it() {
    each(async |terminal, shell| {
        let attacks = [
            "stty raw -echo olcuc onlret ocrnl 2>/dev/null; echo AB",
            "stty -a >/dev/null; stty sane; stty intr undef; echo AB",
            "exec 0</dev/null; exec 0<>/dev/tty; echo AB",
            "perl -e 'use Fcntl; fcntl(STDIN, F_SETFL, O_NONBLOCK); ioctl(STDOUT, 0x540c, 0);' 2>/dev/null; echo AB",
            "printf '\\033[?1049h\\033[9999;9999H\\033]52;c;x'; echo AB",
            "(while :; do :; done) & kill $! ; echo AB",
        ];
        for attack in attacks {
            let ran = terminal.run(attack).await;
            assert!(String::from_utf8_lossy(&ran.output.0).contains("AB"), "{attack}: {ran:?}");
            terminal.run("stty sane").await;
            assert_eq!(terminal.get("printf 'a\\nb\\n'").await.0, b"a\nb\n", "{} after {attack}", shell.name());
        }
        let ran = terminal.room.run("main", b"head -c 20000000 /dev/zero; echo".to_vec(), None, 1000).await.unwrap();
        assert!(ran.truncated && ran.output.0.len() == 1000 && ran.exit_code == Some(0), "{}", ran.output.0.len());
        // Without its helper the shell can't say anything any more; a new one can.
        let ran = terminal.run("kill -9 $__pf_h; sleep 0.1").await;
        assert!(ran.replaced && ran.exit_code.is_none(), "{ran:?}");
        assert_eq!(terminal.get("echo on").await.0, b"on\n");
        let ran = terminal.run("echo bye; kill -9 $$; sleep 1").await;
        assert!(ran.ended && ran.output.0 == b"bye\n" && ran.exit_code == Some(137), "{ran:?}");
        let info = terminal.info().await;
        assert_eq!((info.state, info.exit_code), (TerminalState::Ended, Some(137)));
        let again = terminal.room.run("main", b"true".to_vec(), None, 1).await;
        assert_eq!(again.unwrap_err().code, "ended");
    });
}
