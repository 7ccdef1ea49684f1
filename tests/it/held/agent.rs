//! The session in docs/agent.md, typed as it stands there.

use super::{Home, finish};
use crate::support;
use std::process::{Command, Stdio};

/// What a line of the session says that comes of it, after an arrow in a comment.
fn promise(line: &str) -> Option<&str> {
    line.split_once("# → ").map(|(_, promise)| promise.trim())
}

fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Types a line into a shell in which `pinfold` is on `PATH`: the exit code and stdout.
fn type_in(home: &Home, line: &str) -> (i32, String) {
    let mut command = Command::new("sh");
    for (name, value) in home.pinfold(&[]).get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let programs = support::pinfold().parent().unwrap().to_owned();
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", programs.display())).current_dir(home.scratch.path("."));
    command.args(["-c", line]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (code, stdout, stderr) = finish(command.spawn().unwrap());
    assert!(code != 125, "{line}: {stderr}");
    (code, stdout)
}

#[test]
fn the_documented_session_comes_out_as_documented() {
    if !support::has_program("python3") {
        return;
    }
    let home = Home::new();
    let document = include_str!("../../../docs/agent.md");
    // Who sits down at a terminal needs one; tests of terminals do that.
    let typed = document.lines().filter_map(|line| line.strip_prefix("    ")).filter(|line| !line.contains(" attach "));
    let (mut documented, mut real, mut count) = (String::from("no id"), String::new(), 0);
    for line in typed {
        let (code, stdout) = type_in(&home, &line.replace(&documented, &real));
        let expected = promise(line).unwrap_or("exit code 0");
        if let Some(rest) = expected.strip_prefix("exit code ") {
            let number = rest.split(|letter: char| !letter.is_ascii_digit()).next().unwrap();
            assert_eq!(code.to_string(), number, "{line}");
        } else if is_id(expected) {
            (documented, real) = (expected.to_owned(), stdout.trim().to_owned());
            assert!(is_id(&real), "{line}: {stdout}");
        } else {
            assert_eq!((code, stdout.trim().replace('\n', ", ").as_str()), (0, expected), "{line}");
        }
        count += 1;
    }
    assert!(count > 20, "{count}");
    assert_eq!(home.ok(&["workspace", "list"]), "");
}
