//! What the command line promises: exit codes and words, and in the modules below live stdio, signals, terminals and the
//! view. Real processes throughout; what a sandbox confines is not tested here.

mod signal; // Ctrl-C and its kin reach the command, the second kills
mod stdio; // what passes between our stdio and the command's
mod terminal; // -t: a terminal of the command's own
mod usage; // wrong usage, help, completions and man pages
mod view; // directories, variables and toolchains that the options bring in, and what comes out

use crate::support;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Long enough for any machine, and short enough not to wait for one that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory of one test's own, which everybody may enter, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pinfold-cli-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path.canonicalize().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// `pinfold` with arguments, nothing on stdin, its output kept.
fn pinfold<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(support::pinfold());
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// `pinfold run OPTIONS -- sh -c SCRIPT`.
fn shell(options: &[&str], script: &str) -> Command {
    pinfold(["run"].iter().chain(options).chain(&["--", "sh", "-c", script]))
}

/// Waits for the end, but not for ever.
fn end(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("`pinfold` does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs to the end and tells the exit code, stdout and stderr.
fn finish(command: &mut Command) -> (i32, String, String) {
    let output = output(command);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().expect("`pinfold` exits"), text(output.stdout), text(output.stderr))
}

fn output(command: &mut Command) -> Output {
    let mut child = command.spawn().unwrap();
    let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let status = end(&mut child);
    Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

fn drain(source: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut source) = source {
            source.read_to_end(&mut bytes).unwrap();
        }
        bytes
    })
}

/// Reads until `wanted` has come.
fn read_until(source: &mut impl Read, wanted: &str) -> String {
    let (mut seen, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&seen).into_owned();
        if text.contains(wanted) {
            return text;
        }
        match source.read(&mut chunk) {
            Ok(length @ 1..) => seen.extend_from_slice(&chunk[..length]),
            end => panic!("`{wanted}` did not come before the end ({end:?}): {text:?}"),
        }
    }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn path_text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_exit_code_is_the_commands_own_and_nothing_is_said() {
    for code in [0, 1, 7, 125, 255] {
        assert_eq!(finish(&mut shell(&[], &format!("exit {code}"))), (code, String::new(), String::new()));
    }
}

#[test]
fn a_command_that_died_of_a_signal_exits_with_128_and_its_number() {
    for (signal, code) in [("SEGV", 139), ("ABRT", 134), ("KILL", 137), ("SYS", 159)] {
        let (exit, _, words) = finish(&mut shell(&[], &format!("kill -{signal} $$")));
        assert_eq!((exit, words), (code, format!("pinfold: the command died of SIG{signal}\n")));
    }
}

#[test]
fn a_command_that_runs_too_long_exits_with_124() {
    let start = Instant::now();
    let (code, _, words) = finish(&mut shell(&["--time", "300ms"], "sleep 100"));
    assert_eq!((code, words.as_str()), (124, "pinfold: killed: ran longer than 300ms (--time)\n"));
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_command_that_uses_too_much_cpu_time_exits_with_124() {
    let (code, _, words) = finish(&mut shell(&["--cpu-time", "300ms"], "while :; do :; done"));
    assert_eq!((code, words.as_str()), (124, "pinfold: killed: used more CPU time than 300ms (--cpu-time)\n"));
}

#[test]
fn a_command_that_is_not_there_exits_with_127() {
    let (code, _, words) = finish(&mut pinfold(["run", "--", "no-such-command"]));
    assert_eq!(code, 127);
    assert!(words.starts_with("pinfold: error: ") && words.contains("`no-such-command`"), "{words}");
    assert!(words.lines().nth(1).is_some_and(|line| line.starts_with("hint: ")), "{words}");
}

#[test]
fn a_command_that_cannot_be_executed_exits_with_126() {
    let (code, _, words) = finish(&mut pinfold(["run", "--", "/etc/passwd"]));
    assert_eq!(code, 126, "{words}");
    assert!(words.starts_with("pinfold: error: ") && words.contains("`/etc/passwd`"), "{words}");
}

#[test]
fn a_command_that_takes_too_much_memory_exits_with_137() {
    if finish(&mut shell(&["--require", "memory"], "true")).0 == 125 {
        return support::host_cannot("needs a cgroup that holds the memory; an rlimit makes allocations fail instead");
    }
    let (code, _, words) = finish(&mut shell(&["--memory", "32M"], "exec tail /dev/zero"));
    assert_eq!((code, words.as_str()), (137, "pinfold: killed: used more than 32 MiB of memory (--memory)\n"));
}

#[test]
fn a_workspace_that_grows_too_large_exits_with_153() {
    let fill = "head -c 64M /dev/zero > file; sleep 100";
    let (code, _, words) = finish(&mut shell(&["--disk", "1M"], fill));
    assert_eq!(code, 153, "{words}");
    assert_eq!(words.lines().last(), Some("pinfold: killed: wrote more than 1 MiB in the workspace (--disk)"));
}

#[test]
fn a_feature_that_the_host_cannot_give_is_an_error_before_the_command_runs() {
    // On disk the workspace is watched, which is not what `--require workspace` asks for.
    let (code, stdout, words) = finish(&mut shell(&["--require", "workspace"], "echo ran"));
    assert_eq!((code, stdout.as_str()), (125, ""), "{words}");
    assert!(words.starts_with("pinfold: error: ") && words.contains("workspace"), "{words}");
    let (code, stdout, _) = finish(&mut shell(&["--require", "workspace", "-w", "tmpfs"], "echo ran"));
    assert_eq!((code, stdout.as_str()), (0, "ran\n"));
}

#[test]
fn words_have_no_colour_when_stderr_is_no_terminal() {
    let mut command = pinfold(["run", "--", "no-such-command"]);
    let (_, _, words) = finish(command.env("CLICOLOR_FORCE", "1").env("TERM", "xterm-256color"));
    assert!(!words.contains('\x1b'), "{words:?}");
    let (_, _, words) = finish(&mut pinfold(["run", "--no-such-option"]));
    assert!(!words.contains('\x1b'), "{words:?}");
}

#[test]
fn a_command_cannot_draw_on_the_callers_terminal_through_our_words() {
    let (_, _, words) = finish(&mut pinfold(["run", "--", "no\x1b[2Jcommand"]));
    assert!(!words.contains('\x1b'), "{words:?}");
}

#[test]
fn a_json_job_answers_with_one_json_result() {
    let scratch = Scratch::new();
    let job = scratch.write("job.json", r#"{"id": "a-job", "command": ["sh", "-c", "cat; exit 3"], "stdin": "in"}"#);
    let (code, stdout, stderr) = finish(&mut pinfold(["run", "--json", path_text(&job)]));
    let result = json(&stdout);
    assert_eq!((code, stderr.as_str()), (0, ""), "the command ran, so that is a success");
    assert_eq!((&result["id"], &result["exit_code"], &result["stdout"]), (&"a-job".into(), &3.into(), &"in".into()));
    assert_eq!(stdout.lines().count(), 1);
}

#[test]
fn a_json_job_is_read_from_stdin_too() {
    let mut child = pinfold(["run", "--json", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(br#"{"command": ["echo", "hello"]}"#).unwrap();
    assert_eq!(end(&mut child).code(), Some(0));
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    assert_eq!(json(&stdout)["stdout"], "hello\n");
}

#[test]
fn a_json_job_that_is_wrong_is_a_result_that_names_the_field_and_exits_with_125() {
    let scratch = Scratch::new();
    let job = scratch.write("job.json", r#"{"command": ["true"], "limits": {"pidz": 1}}"#);
    let (code, stdout, _) = finish(&mut pinfold(["run", "--json", path_text(&job)]));
    let result = json(&stdout);
    assert_eq!((code, &result["status"]), (125, &"failed".into()));
    assert!(result["error"]["message"].as_str().unwrap().contains("unknown field `pidz`"), "{result}");
    let (code, stdout, _) = finish(&mut pinfold(["run", "--json", "/no/such/file"]));
    assert_eq!((code, &json(&stdout)["status"]), (125, &"failed".into()));
}

#[test]
fn the_report_is_the_result_beside_live_stdio() {
    let scratch = Scratch::new();
    let report = scratch.path("report.json");
    let (code, stdout, _) = finish(&mut shell(&["--id", "me", "--report", path_text(&report)], "echo out; exit 4"));
    let result = json(&scratch.read("report.json"));
    assert_eq!((code, stdout.as_str()), (4, "out\n"));
    assert_eq!((&result["id"], &result["exit_code"], &result["stdout"]), (&"me".into(), &4.into(), &"".into()));
    assert_eq!(result["stdout_bytes"], 4);
    // A failure is reported as well.
    let options = ["run", "--report", path_text(&report), "--", "no-such-command"];
    assert_eq!(finish(&mut pinfold(options)).0, 127);
    assert_eq!(json(&scratch.read("report.json"))["error"]["code"], "exec_not_found");
}

#[test]
fn the_report_may_not_lie_where_the_command_can_write() {
    let scratch = Scratch::new();
    let elsewhere = scratch.write("elsewhere/victim", "precious");
    let workspace = scratch.path("workspace");
    std::fs::create_dir(&workspace).unwrap();
    std::os::unix::fs::symlink(&elsewhere, workspace.join("report.json")).unwrap();
    std::os::unix::fs::symlink(elsewhere.parent().unwrap(), workspace.join("link")).unwrap();
    for name in ["report.json", "link/victim"] {
        let options = ["run", "-w", ".", "--report", name, "--", "true"];
        let (code, _, words) = finish(pinfold(options).current_dir(&workspace));
        assert_eq!(code, 125, "{words}");
        assert!(words.contains("can write"), "{words}");
    }
    assert_eq!(scratch.read("elsewhere/victim"), "precious");
    let options = ["run", "-w", ".", "--report", "../report.json", "--", "true"];
    assert_eq!(finish(pinfold(options).current_dir(&workspace)), (0, String::new(), String::new()));
    assert_eq!(json(&scratch.read("report.json"))["status"], "exited");
}
