//! Each tool once, as a model would use it.

use super::{Server, words};
use crate::held::Home;
use serde_json::{Value, json};

const TOOLS: [&str; 24] = [
    "checkpoint_diff",
    "checkpoint_fork",
    "checkpoint_list",
    "checkpoint_rollback",
    "checkpoint_save",
    "file_delete",
    "file_edit",
    "file_find",
    "file_list",
    "file_read",
    "file_search",
    "file_write",
    "run_code",
    "run_command",
    "sandbox_exec",
    "sandbox_list",
    "sandbox_start",
    "sandbox_stop",
    "terminal_input",
    "terminal_run",
    "terminal_screen",
    "workspace_create",
    "workspace_list",
    "workspace_remove",
];

#[test]
fn every_tool_says_what_it_takes_and_gives() {
    let home = Home::new();
    let mut server = Server::start(&home, &["--allow", "bash"]);
    let list = server.request("tools/list", json!({}))["result"]["tools"].clone();
    let tools = list.as_array().unwrap();
    let mut names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, TOOLS);
    for tool in tools {
        let name = &tool["name"];
        assert!(tool["description"].as_str().is_some_and(|text| text.len() > 15), "{name}");
        assert_eq!((&tool["inputSchema"]["type"], &tool["outputSchema"]["type"]), (&json!("object"), &json!("object")));
        assert_eq!(tool["inputSchema"]["additionalProperties"], false, "{name}");
        assert_eq!(tool["annotations"]["openWorldHint"], false, "{name}");
        for (argument, schema) in tool["inputSchema"]["properties"].as_object().into_iter().flatten() {
            let is_told = schema["description"].is_string() || schema["$ref"].is_string() || schema["anyOf"].is_array();
            assert!(is_told, "{name}: {argument} is not described: {schema}");
        }
    }
    let code = tools.iter().find(|tool| tool["name"] == "run_code").unwrap();
    assert_eq!(code["inputSchema"]["properties"]["language"]["enum"], json!(["bash"]));
}

#[test]
fn code_and_commands_run_and_tell_how_they_ended() {
    let home = Home::new();
    let mut server = Server::start(&home, &["--allow", "bash"]);
    let ran =
        server.ok("run_code", json!({"language": "bash", "code": "read x; echo $x $1", "stdin": "a\n", "args": ["b"]}));
    assert_eq!((&ran["stdout"], &ran["exit_code"]), (&json!("a b\n"), &json!(0)));
    let result =
        server.call("run_command", json!({"command": "cat in/f; echo no >&2; exit 3", "files": {"in/f": "text"}}));
    let ran = &result["structuredContent"];
    assert_eq!((&result["isError"], &ran["exit_code"], &ran["stdout"]), (&json!(false), &json!(3), &json!("text")));
    assert_eq!((&ran["stderr"], &ran["status"]), (&json!("no\n"), &json!("exited")));
    assert!(words(&result).starts_with("exit code 3 ("), "{result}");
    let refused = server.fails("run_code", json!({"language": "python", "code": "1"}));
    assert!(refused.contains("not allowed"), "{refused}");
}

#[test]
fn a_sandbox_keeps_what_commands_and_terminals_do_in_it() {
    let home = Home::new();
    let mut server = Server::start(&home, &[]);
    server.ok("sandbox_start", json!({"name": "a"}));
    server.ok("sandbox_start", json!({"name": "a"}));
    let ran = server.ok("sandbox_exec", json!({"sandbox": "a", "command": "echo $K > f; pwd", "env": {"K": "kept"}}));
    assert_eq!(ran["stdout"], "/workspace\n");
    assert_eq!(server.ok("sandbox_exec", json!({"sandbox": "a", "command": "cat"}))["stdout"], "");
    // To look at a terminal makes none.
    for terminal in ["main", "other"] {
        let refused = server.fails("terminal_screen", json!({"sandbox": "a", "terminal": terminal}));
        assert!(refused.contains("there is no terminal") && refused.contains("terminal_run"), "{refused}");
    }
    let ran = server.ok("terminal_run", json!({"sandbox": "a", "command": "cd /tmp; X=7"}));
    assert_eq!(ran["exit_code"], 0);
    let ran = server.ok("terminal_run", json!({"sandbox": "a", "command": "echo $PWD-$X; cat /workspace/f"}));
    assert!(ran["stdout"].as_str().unwrap().replace('\r', "").contains("/tmp-7\nkept\n"), "{ran}");
    server.ok("terminal_input", json!({"sandbox": "a", "text": "echo $((6*7))", "key": "enter"}));
    crate::sandbox::eventually("the screen shows it", || {
        let screen = server.ok("terminal_screen", json!({"sandbox": "a"}));
        screen["screen"].as_str().unwrap().contains("42")
    });
    let all = server.ok("sandbox_list", json!({}));
    assert_eq!((&all["sandboxes"][0]["name"], all["sandboxes"].as_array().unwrap().len()), (&json!("a"), 1), "{all}");
    server.ok("sandbox_stop", json!({"sandbox": "a"}));
    assert_eq!(server.ok("sandbox_list", json!({}))["sandboxes"], json!([]));
    let refused = server.fails("sandbox_exec", json!({"sandbox": "a", "command": "true"}));
    assert!(refused.contains("there is no sandbox `a`") && refused.contains("sandbox_start"), "{refused}");
}

/// The same in a sandbox and in a workspace.
fn files_in(server: &mut Server, place: &Value) {
    let with = |more: Value| {
        let mut all = place.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    server.ok("file_write", with(json!({"path": "src/a.txt", "content": "one\ntwo\nthree\n"})));
    server.ok("file_write", with(json!({"path": "src/a.txt", "content": "four\n", "append": true})));
    let read = server.ok("file_read", with(json!({"path": "src/a.txt", "offset": 1, "limit": 2})));
    assert_eq!(read, json!({"content": "two\nthree\n", "base64": null, "more": true, "next_offset": 3}));
    server.ok("file_edit", with(json!({"path": "/workspace/src/a.txt", "old": "two", "new": "2"})));
    let refused = server.fails("file_edit", with(json!({"path": "src/a.txt", "old": "no such", "new": "2"})));
    assert!(refused.contains("hint: "), "{refused}");
    let found = server.ok("file_search", with(json!({"pattern": "^(2|four)$", "regex": true, "files": "*.txt"})));
    let lines: Vec<_> =
        found["matches"].as_array().unwrap().iter().map(|line| line["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [2, 4], "{found}");
    let found = server.ok("file_find", with(json!({"pattern": "**/*.txt"})));
    assert_eq!((&found["entries"][0]["path"], &found["more"]), (&json!("src/a.txt"), &json!(false)));
    server.ok("file_write", with(json!({"path": "bin", "base64": "/wABAg=="})));
    let refused = server.fails("file_read", with(json!({"path": "bin"})));
    assert!(refused.contains("no text") && refused.contains("`binary`"), "{refused}");
    assert_eq!(server.ok("file_read", with(json!({"path": "bin", "binary": true})))["base64"], "/wABAg==");
    let list = server.ok("file_list", with(json!({"limit": 1})));
    assert_eq!((list["entries"].as_array().unwrap().len(), &list["more"]), (1, &json!(true)));
    server.ok("file_delete", with(json!({"path": "src", "recursive": true})));
    server.fails("file_read", with(json!({"path": "src/a.txt"})));
}

#[test]
fn files_of_sandboxes_and_workspaces_are_read_and_written() {
    let home = Home::new();
    let mut server = Server::start(&home, &[]);
    server.ok("sandbox_start", json!({"name": "files"}));
    files_in(&mut server, &json!({"sandbox": "files"}));
    server.ok("workspace_create", json!({"workspace": "w"}));
    files_in(&mut server, &json!({"workspace": "w"}));
    let refused = server.fails("file_list", json!({"sandbox": "files", "workspace": "w"}));
    assert!(refused.contains("not both"), "{refused}");
}

#[test]
fn a_workspace_stays_and_goes_back() {
    let home = Home::new();
    let mut server = Server::start(&home, &[]);
    server.ok("workspace_create", json!({"workspace": "w"}));
    server.ok("run_command", json!({"workspace": "w", "command": "echo one > f"}));
    let saved = server.ok("checkpoint_save", json!({"workspace": "w", "label": "first"}));
    server.ok("run_command", json!({"workspace": "w", "command": "echo two > f; touch new"}));
    let diff = server.ok("checkpoint_diff", json!({"workspace": "w"}));
    let changed: Vec<_> = diff["changes"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    assert_eq!(changed, ["f", "new"], "{diff}");
    server.ok("checkpoint_fork", json!({"workspace": "w", "to": "other"}));
    server.ok("checkpoint_rollback", json!({"workspace": "w", "checkpoint": saved["checkpoint"]}));
    let list = server.ok("checkpoint_list", json!({"workspace": "w"}));
    assert!(list["checkpoints"].as_array().unwrap().len() >= 3, "{list}");
    // Also while a sandbox works in it.
    server.ok("sandbox_start", json!({"name": "s", "workspace": "w"}));
    let ran = server.ok("sandbox_exec", json!({"sandbox": "s", "command": "cat f; ls; echo three > f"}));
    assert_eq!(ran["stdout"], "one\nf\n");
    server.ok("checkpoint_save", json!({"workspace": "w"}));
    let refused = server.fails("workspace_remove", json!({"workspace": "w"}));
    assert!(refused.contains("sandbox `s` works in workspace `w`"), "{refused}");
    server.ok("sandbox_stop", json!({"sandbox": "s"}));
    let ran = server.ok("run_command", json!({"workspace": "other", "command": "cat f; ls"}));
    assert_eq!(ran["stdout"], "two\nf\nnew\n");
    let ids = server.ok("workspace_list", json!({}));
    let ids: Vec<_> = ids["workspaces"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["other", "w"]);
    assert_eq!(server.close(), Some(0));
    // They outlive the server, under the operator's prefix.
    let mut server = Server::start(&home, &[]);
    assert_eq!(server.ok("run_command", json!({"workspace": "w", "command": "cat f"}))["stdout"], "three\n");
    for id in ["w", "other"] {
        server.ok("workspace_remove", json!({"workspace": id}));
    }
    assert_eq!(home.json(&["workspace", "list", "--json"]), json!([]));
}
