//! `pinfold tool`: requests of JSON in, one line of JSON out for each.

use crate::support::pinfold;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

fn tool(args: &[&str], stdin: &str) -> (i32, Vec<Value>) {
    let mut command = Command::new(pinfold());
    command.arg("tool").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[test]
fn each_request_is_answered_by_a_line_whatever_it_is() {
    let requests = "{\"language\": \"bash\",\n \"code\": \"echo one\"}{\"language\": \"bash\", \"code\": \"exit 2\"}
        {\"language\": \"bash\"} {\"language\": \"cobol\", \"code\": \"x\"} [] {\"colour\": 1}";
    let (exit, answers) = tool(&["--allow", "bash"], requests);
    assert_eq!((exit, answers.len()), (0, 6), "{answers:?}");
    assert_eq!((&answers[0]["success"], &answers[0]["stdout"]), (&true.into(), &"one\n".into()));
    assert_eq!((&answers[1]["success"], &answers[1]["exit_code"]), (&false.into(), &2.into()));
    let errors: Vec<_> = answers[2..].iter().map(|answer| answer["error"].as_str().unwrap()).collect();
    assert_eq!(errors[..2], ["code is required", "language cobol is not allowed"]);
    assert!(errors[2..].iter().all(|error| error.starts_with("invalid arguments: ")), "{errors:?}");
}

#[test]
fn what_is_no_json_is_answered_and_ends_it() {
    let (exit, answers) = tool(&[], "{\"language\": oops}");
    assert_eq!((exit, answers.len()), (125, 1));
    assert!(answers[0]["error"].as_str().unwrap().starts_with("invalid arguments: "));
}

#[test]
fn an_answer_comes_before_the_next_request() {
    let mut command = Command::new(pinfold());
    command.args(["tool", "--allow", "bash"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut answers = BufReader::new(stdout).lines();
    for number in 0..3 {
        writeln!(stdin, "{{\"language\": \"bash\", \"code\": \"echo {number}\"}}").unwrap();
        let answer: Value = serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
        assert_eq!(answer["stdout"], format!("{number}\n"));
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn no_request_widens_what_the_operator_said() {
    let request = r#"{"language": "bash", "code": "sleep 1000", "timeout": "1000s"}"#;
    let (_, answers) = tool(&["--allow", "bash", "--time", "300ms"], request);
    assert_eq!(answers[0]["error"], "execution timeout");
    for field in ["mount_paths", "network_enabled", "mode", "allowed_languages"] {
        let (_, answers) = tool(&[], &format!(r#"{{"language": "python", "code": "1", "{field}": 1}}"#));
        assert!(answers[0]["error"].as_str().unwrap().contains(&format!("unknown field `{field}`")));
    }
}

#[test]
fn the_schema_names_every_field_and_the_languages_that_are_allowed() {
    let (exit, answers) = tool(&["--schema"], "");
    let request = serde_json::to_value(pinfold::code::CodeRequest::default()).unwrap();
    let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!((exit, fields(&answers[0]["properties"])), (0, fields(&request)));
    assert_eq!(answers[0]["properties"]["language"]["enum"], serde_json::json!(["python", "javascript"]));
}
