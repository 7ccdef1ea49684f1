//! The command line: `pinfold code` and `pinfold languages`, and languages of the user's own.

use crate::sandbox::Scratch;
use crate::support::pinfold;
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};

/// Without cgroups V8 and the JVM need room to reserve.
const ROOM: [&str; 2] = ["--memory", "4G"];

/// Runs `pinfold` with something on stdin: exit code, stdout and stderr.
fn with_stdin(args: &[&str], stdin: &str) -> (i32, String, String) {
    let mut command = Command::new(pinfold());
    command
        .args(args)
        .env_remove("XDG_CONFIG_HOME")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // What is refused by its options is never read.
    let _may_have_ended = input.write_all(stdin.as_bytes());
    drop(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn code(args: &[&str], stdin: &str) -> (i32, String, String) {
    with_stdin(&[&["code"], &ROOM[..], args].concat(), stdin)
}

#[test]
fn code_comes_from_a_file_from_stdin_or_from_the_line() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path("script"), "echo from a file").unwrap();
    let answered = |words: &str| (0, format!("{words}\n"), String::new());
    assert_eq!(code(&["bash", &scratch.text("script")], ""), answered("from a file"));
    assert_eq!(code(&["bash", "-"], "echo from stdin"), answered("from stdin"));
    assert_eq!(code(&["sh", "-c", "echo from the line"], ""), answered("from the line"));
}

#[test]
fn stdin_arguments_files_and_variables_go_in() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path("data"), "data").unwrap();
    let beside = format!("{}:in/it", scratch.text("data"));
    let script = "cat; echo \"$1 $2 $V\"; cat in/it data";
    let args = ["bash", "-c", script, "--stdin", "-", "--arg", "-x", "--arg=y z", "--env", "V=v"];
    let files = ["--file", &beside, "--file", &scratch.text("data")];
    assert_eq!(code(&[&args[..], &files].concat(), "in\n"), (0, "in\n-x y z v\ndatadata".to_owned(), String::new()));
}

#[test]
fn the_exit_code_is_the_programs_and_the_words_are_ours() {
    assert_eq!(code(&["bash", "-c", "echo bad >&2; exit 7"], ""), (7, String::new(), "bad\n".to_owned()));
    let (exit, _, words) = code(&["bash", "-c", "sleep 100", "--time", "300ms"], "");
    assert_eq!((exit, words.as_str()), (124, "pinfold: execution timeout\n"));
    let (exit, _, words) = code(&["bash", "-c", "kill -TERM $$", "--findings", "off"], "");
    assert_eq!((exit, words.as_str()), (143, "pinfold: the program died of SIGTERM\n"));
    let (exit, _, words) = code(&["bash", "-c", "  "], "");
    assert_eq!((exit, words.as_str()), (125, "pinfold: error: code is required\n"));
    let (exit, _, words) = code(&["bash", "-c", "true", "--allow", "python"], "");
    assert_eq!((exit, words.as_str()), (125, "pinfold: error: language bash is not allowed\n"));
}

#[test]
fn a_request_of_json_is_answered_in_json() {
    let request = json!({
        "id": "r1", "language": "bash", "code": "cat; echo $1 $V; cat a/b; exit 3", "stdin": "in\n", "args": ["x"],
        "env_vars": {"V": "v"}, "files": {"a/b": "nested"}, "timeout": 30_000_000_000_u64,
    });
    let (exit, stdout, words) = code(&["--request", "-"], &request.to_string());
    assert_eq!((exit, words.as_str(), stdout.lines().count()), (0, "", 1));
    let result: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(result["stdout"], "in\nx v\nnested");
    assert_eq!((&result["id"], &result["success"], &result["exit_code"]), (&"r1".into(), &false.into(), &3.into()));
    assert_eq!((&result["backend"], &result["isolated"]), (&"namespace".into(), &true.into()));
    assert!(result["duration"].as_u64().unwrap() > 1_000_000 && result["outcome"]["isolation"]["seccomp"] == "default");
    assert!(result.get("error").is_none() && result["truncated"] == false);
}

#[test]
fn what_is_no_request_is_answered_in_json_too() {
    for (request, words) in [
        ("{", "invalid arguments: "),
        (r#"{"language": "bash", "code": "x", "shell": true}"#, "invalid arguments: unknown field `shell`"),
        (r#"{"language": "bash"}"#, "code is required"),
    ] {
        let (exit, stdout, _) = code(&["--request", "-"], request);
        let refusal: Value = serde_json::from_str(&stdout).unwrap();
        assert!(refusal["error"].as_str().unwrap().starts_with(words), "{refusal}");
        assert_eq!((exit, &refusal["success"], &refusal["code"]), (125, &false.into(), &"invalid_request".into()));
    }
}

#[test]
fn the_configuration_bounds_what_options_and_requests_say() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path("config"), r#"{"timeout": "300ms", "max_cpu_percent": 0, "env_vars": {"V": "v"}}"#)
        .unwrap();
    let config = ["--config", &scratch.text("config")];
    let (exit, _, words) = code(&[&config[..], &["bash", "-c", "true"]].concat(), "");
    assert_eq!((exit, words.as_str()), (125, "pinfold: error: language bash is not allowed\n"));
    let (exit, _, _) = code(&[&config[..], &["--allow", "bash", "bash", "-c", "sleep 100"]].concat(), "");
    assert_eq!(exit, 124);
    std::fs::write(scratch.path("config"), r#"{"time": "300ms"}"#).unwrap();
    let (exit, _, words) = code(&[&config[..], &["bash", "-c", "true"]].concat(), "");
    assert!(exit == 125 && words.contains("unknown field `time`"), "{words}");
}

#[test]
fn every_language_is_listed_and_those_that_answer_tell_their_version() {
    let (exit, stdout, _) = with_stdin(&["languages", "--json"], "");
    let offers: Vec<Value> = serde_json::from_str(&stdout).unwrap();
    assert_eq!((exit, offers.len()), (0, 15));
    for offer in &offers {
        let tells = offer["version"].is_string() && offer["toolchain"].is_string() && offer["reason"].is_null();
        assert_eq!(offer["available"], tells, "{offer}");
        assert!(offer["install"].is_string());
    }
    let bash = offers.iter().find(|offer| offer["name"] == "bash").unwrap();
    assert!(bash["version"].as_str().unwrap().contains("GNU bash"), "{bash}");
    let (_, table, _) = with_stdin(&["languages"], "");
    assert!(table.lines().count() == 15 && table.contains("bash        GNU bash"), "{table}");
}

#[test]
fn a_language_of_the_users_own_is_a_file() {
    let scratch = Scratch::new();
    let folder = scratch.dir("config/pinfold/languages");
    let text = "name = 'upper'\naliases = ['up']\nfile = 'text.txt'\ninstall = 'coreutils'\n[[toolchain]]\nname = 'tr'\n\
        programs = { sh = ['sh'] }\nversion = ['{sh}', '-c', 'echo tr 1.0']\n\
        run = { command = ['{sh}', '-c', 'tr a-z A-Z < {file}'] }\n";
    std::fs::write(format!("{folder}/upper.toml"), text).unwrap();
    let run = |args: &[&str]| {
        let output =
            Command::new(pinfold()).args(args).env("XDG_CONFIG_HOME", scratch.path("config")).output().unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    assert_eq!(run(&["code", "up", "-c", "some text"]), (0, "SOME TEXT".to_owned(), String::new()));
    assert!(run(&["languages"]).1.contains("upper       tr 1.0\n"));
    // Named, and instead of the user's own.
    let other = scratch.dir("other");
    std::fs::write(format!("{other}/bash.toml"), text.replace("upper", "bash").replace("'up'", "'sh'")).unwrap();
    assert_eq!(run(&["code", "--languages", &other, "bash", "-c", "echo"]).1, "ECHO");
    std::fs::write(format!("{other}/bad.toml"), "name = 'python3'").unwrap();
    let (exit, _, words) = run(&["code", "--languages", &other, "bash", "-c", "echo"]);
    assert!(exit == 125 && words.contains("bad.toml"), "{words}");
}

#[test]
fn a_toolchain_is_asked_past_its_shim_and_mounted_where_it_lives() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let (shims, bin) = (scratch.dir("shims"), scratch.dir("versions/9/bin"));
    let home = scratch.text("versions/9");
    let shim = format!("#!/bin/sh\ncase \"$1\" in -e) echo {home};; *) echo ruby 9.9;; esac\n");
    let real = "#!/bin/sh\necho the real one; cat \"$1\"\n".to_owned();
    for (path, text) in [(format!("{shims}/ruby"), shim), (format!("{bin}/ruby"), real)] {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{shims}:{}", std::env::var("PATH").unwrap());
    let output = Command::new(pinfold()).args(["code", "ruby", "-c", "code"]).env("PATH", path).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(stdout, "the real one\ncode", "{stderr}");
}

#[test]
fn nothing_of_a_compiled_program_is_left_on_the_host() {
    let scratch = Scratch::new();
    let temporary = scratch.dir("temporary");
    let run = |code: &str| {
        Command::new(pinfold())
            .args(["code", "c", "-c", code])
            .env("TMPDIR", &temporary)
            .output()
            .unwrap()
            .status
            .code()
    };
    if !crate::support::has_program("cc") {
        return;
    }
    assert_eq!((run("int main(void) { return 5; }"), run("int main(void) { no }")), (Some(5), Some(1)));
    let user = rustix::process::geteuid().as_raw();
    assert_eq!(std::fs::read_dir(format!("{temporary}/pinfold-code-{user}")).unwrap().count(), 0);
}
