//! Each route once, as people use it; none is left out.

use super::client::Request;
use super::{ANN, Server};
use serde_json::{Value, json};

#[test]
fn every_route_does_what_it_says() {
    let server = Server::start(&[]);
    commands(&server);
    held(&server);
    terminals(&server);
    for place in [("sandbox", "Sandbox", "box"), ("workspace", "Workspace", "w%2Fone")] {
        if place.0 == "workspace" {
            let request = server.operation("createWorkspace", &[("workspace", "w%2Fone")], "");
            let made = server.send(&request.clone().json(&json!({"max_bytes": 1 << 20}))).expect(201).json();
            assert_eq!((made["id"].as_str(), made["max_bytes"].as_u64()), (Some("w/one"), Some(1 << 20)));
            server.send(&request.json(&json!({}))).expect(200);
        }
        files(&server, place);
    }
    workspaces(&server);
    checkpoints(&server);
    super::threads::routes(&server);
    super::builds::routes(&server);
    let shown = ask(&server, "showSandbox", &[("sandbox", "box")], "?usage=true", &Value::Null);
    assert!(shown["files"]["inodes"].as_u64().unwrap() > 2, "{shown}");
    ask(&server, "clearFilesOfSandbox", &[("sandbox", "box")], "", &Value::Null);
    let left = ask(&server, "listFilesOfSandbox", &[("sandbox", "box")], "", &Value::Null);
    assert_eq!(left["entries"], json!([]));
    let unused = server.operation("stopSandbox", &[("sandbox", "box")], "?idle_seconds=3600");
    server.send(&unused).problem(409, "busy");
    let stop = server.operation("stopSandbox", &[("sandbox", "box")], "");
    server.send(&stop).expect(204);
    server.send(&stop).expect(204);
    let request = server.operation("showSandbox", &[("sandbox", "box")], "");
    server.send(&request).problem(404, "not_found");
    // The others have tests of their own.
    let others = ["execEvents", "followLogs", "attach", "runEvents", "addHolder", "removeHolder", "showHolder"];
    let mut unasked = server.unasked();
    unasked.retain(|id| !others.contains(&id.as_str()));
    assert_eq!(unasked, Vec::<String>::new());
    server.stop();
}

fn ask(server: &Server, id: &str, names: &[(&str, &str)], rest: &str, body: &Value) -> Value {
    let request = server.operation(id, names, rest);
    let request = if body.is_null() { request } else { request.json(body) };
    let response = server.send(&request);
    assert!((200..=204).contains(&response.status), "{id}: {} {}", response.status, response.text());
    if response.body.is_empty() { Value::Null } else { response.json() }
}

fn commands(server: &Server) {
    let job = json!({"command": ["cat", "f"], "files": [{"path": "f", "content": "hello"}], "limits": {"pids": 9}});
    let ran = ask(server, "run", &[], "", &job);
    assert_eq!((ran["stdout"].as_str(), ran["status"].as_str()), (Some("hello"), Some("exited")), "{ran}");
    let failed = ask(server, "run", &[], "", &json!({"command": ["there-is-no-such-program"]}));
    assert_eq!(failed["error"]["code"], "exec_not_found", "{failed}");
    let languages = ask(server, "listLanguages", &[], "", &Value::Null);
    assert!(languages["languages"].as_array().unwrap().iter().any(|language| language["name"] == "python"));
    let shell = json!({"language": "bash", "code": "read x; echo $x$1", "stdin": "4", "args": ["2"]});
    assert_eq!(ask(server, "runCode", &[], "", &shell)["stdout"], "42\n");
}

fn held(server: &Server) {
    let started = ask(server, "startSandbox", &[("sandbox", "box")], "?ttl_seconds=600", &json!({"env": {"A": "7"}}));
    assert_eq!((started["name"].as_str(), started["stats"]["ttl_ms"].as_u64()), (Some("box"), Some(600_000)));
    let exec = json!({"command": ["sh", "-c", "read x; echo $x $A $B; pwd; echo x > made"], "stdin": "in\n", "env": {"B": "8"}, "cwd": "/tmp"});
    assert_eq!(ask(server, "exec", &[("sandbox", "box")], "", &exec)["stdout"], "in 7 8\n/tmp\n");
    let other = json!({"limits": {"memory_bytes": 64 << 20}});
    let request = server.operation("startSandbox", &[("sandbox", "box")], "").json(&other);
    let differs = server.send(&request).problem(409, "already_exists");
    assert!(!differs["detail"].as_str().unwrap().contains("http."), "the owner's own name: {differs}");
    let all = ask(server, "listSandboxes", &[], "", &Value::Null);
    assert_eq!(all["sandboxes"].as_array().unwrap().len(), 1, "{all}");
    assert_eq!(ask(server, "showSandbox", &[("sandbox", "box")], "", &Value::Null)["id"], started["id"]);
    let number =
        &ask(server, "detach", &[("sandbox", "box")], "", &json!({"command": ["echo", "by itself"]}))["number"];
    let text = || ask(server, "logs", &[("sandbox", "box")], "", &Value::Null);
    let line = |log: &Value| {
        let lines = log["lines"].as_array().unwrap().clone();
        lines.into_iter().find(|line| line["event"] == "stdout" && line["exec"] == *number)
    };
    let deadline = std::time::Instant::now() + super::PATIENCE;
    while line(&text()).is_none() {
        assert!(std::time::Instant::now() < deadline, "{}", text());
        std::thread::yield_now();
    }
    assert_eq!(line(&text()).unwrap()["text"], "by itself");
    let after = ask(server, "logs", &[("sandbox", "box")], "?after=1&limit=1", &Value::Null);
    assert_eq!((after["lines"][0]["number"].as_u64(), after["more"].as_bool()), (Some(2), Some(true)), "{after}");
}

fn terminals(server: &Server) {
    let names = [("sandbox", "box"), ("terminal", "t")];
    let none = server.send(&server.operation("showTerminal", &names, ""));
    none.problem(404, "not_found");
    let opened = ask(server, "openTerminal", &names, "", &json!({"shell": "sh", "rows": 30, "columns": 90}));
    assert_eq!((opened["rows"].as_u64(), opened["columns"].as_u64()), (Some(30), Some(90)));
    assert_eq!(ask(server, "listTerminals", &names, "", &Value::Null)["terminals"].as_array().unwrap().len(), 1);
    ask(server, "resizeTerminal", &names, "", &json!({"rows": 31, "columns": 91}));
    assert_eq!(ask(server, "showTerminal", &names, "", &Value::Null)["rows"], 31);
    let ran = ask(server, "runInTerminal", &names, "", &json!({"command": "x=5; echo $((x + 1))"}));
    assert_eq!((ran["output"].as_str(), ran["exit_code"].as_i64()), (Some("6\n"), Some(0)), "{ran}");
    ask(server, "typeIntoTerminal", &names, "", &json!({"input": "echo typed-$x\n"}));
    let deadline = std::time::Instant::now() + super::PATIENCE;
    loop {
        let screen = ask(server, "terminalScreen", &names, "?scrollback=true", &Value::Null);
        if screen["screen"].as_str().unwrap().contains("typed-5") {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{screen}");
    }
    ask(server, "interruptTerminal", &names, "", &Value::Null);
    ask(server, "closeTerminal", &names, "", &Value::Null);
}

fn files(server: &Server, (parameter, kind, value): (&str, &str, &str)) {
    let names = [(parameter, value)];
    let id = |name: &str| format!("{name}Of{kind}");
    let raw = |name: &str, rest: &str, bytes: &[u8]| {
        let request = server.operation(&id(name), &names, rest).body("application/octet-stream", bytes);
        server.send(&request)
    };
    let of = |name: &str, rest: &str, body: Value| ask(server, &id(name), &names, rest, &body);
    raw("writeFile", "?path=a/b.txt", b"one\n").expect(204);
    raw("writeFile", "?path=a/b.txt&mode=append", b"two\n").expect(204);
    raw("writeFile", "?path=a/b.txt&mode=create", b"three").problem(409, "exists");
    let read = server.send(&server.operation(&id("readFile"), &names, "?path=a/b.txt")).expect(200);
    assert_eq!((read.text().as_str(), read.header("content-type")), ("one\ntwo\n", Some("application/octet-stream")));
    assert_eq!((read.header("x-content-type-options"), read.header("accept-ranges")), (Some("nosniff"), Some("bytes")));
    let ranged = server.operation(&id("readFile"), &names, "?path=a/b.txt").header("Range", "bytes=4-6");
    let part = server.send(&ranged).expect(206);
    assert_eq!((part.text().as_str(), part.header("content-range")), ("two", Some("bytes 4-6/8")));
    let beyond = server.operation(&id("readFile"), &names, "?path=a/b.txt").header("Range", "bytes=8-");
    assert_eq!(server.send(&beyond).expect(416).header("content-range"), Some("bytes */8"));
    assert_eq!(of("stat", "?path=a/b.txt", Value::Null)["bytes"], 8);
    assert_eq!(of("editFile", "", json!({"path": "a/b.txt", "old": "one", "new": "1"}))["replaced"], 1);
    of("makeDirectory", "", json!({"path": "d/e"}));
    of("renameFile", "", json!({"from": "a/b.txt", "to": "d/e/c.txt"}));
    assert_eq!(of("listFiles", "?path=d/e", Value::Null)["entries"][0]["path"], "d/e/c.txt");
    assert_eq!(of("findFiles", "?pattern=**/*.txt", Value::Null)["entries"][0]["path"], "d/e/c.txt");
    let found = of("searchFiles", "", json!({"pattern": "t.o", "regex": true}));
    assert_eq!((found["matches"][0]["line"].as_u64(), found["matches"][0]["text"].as_str()), (Some(2), Some("two")));
    // A name that is no text.
    raw("writeFile", "?path_base64=***", b"odd").problem(400, "invalid_request");
    raw("writeFile", "?path_base64=Zf8%3D", b"odd").expect(204);
    let listed = of("listFiles", "", Value::Null)["entries"].clone();
    assert!(listed.as_array().unwrap().iter().any(|entry| entry["path_base64"] == "Zf8="), "{listed}");
    let tar = server.send(&server.operation(&id("downloadArchive"), &names, "?path=d")).expect(200);
    let upload = server.operation(&id("uploadArchive"), &names, "?path=copy").body("application/x-tar", tar.body);
    assert_eq!(server.send(&upload).expect(200).json()["files"], 1);
    let copied = server.send(&server.operation(&id("readFile"), &names, "?path=copy/e/c.txt")).expect(200);
    assert_eq!(copied.text(), "1\ntwo\n");
    let missing = server.operation(&id("downloadArchive"), &names, "?path=nothing");
    server.send(&missing).problem(404, "not_found");
    let not_empty = server.send(&server.operation(&id("deleteFile"), &names, "?path=copy"));
    not_empty.problem(409, "is_directory");
    of("deleteFile", "?path=copy&recursive=true", Value::Null);
    let lines = of("readLines", "?path=d/e/c.txt&after=1&limit=1", Value::Null);
    assert_eq!(lines, json!({"content": "two\n", "first": 2, "count": 1, "more": false}));
    of("setMode", "", json!({"path": "d/e/c.txt", "mode": 0o751}));
    assert_eq!(of("stat", "?path=d/e/c.txt", Value::Null)["mode"], 0o751);
    let too_much = server.operation(&id("setMode"), &names, "").json(&json!({"path": "d", "mode": 0o4751}));
    server.send(&too_much).problem(400, "invalid_request");
}

fn workspaces(server: &Server) {
    let names = [("workspace", "w%2Fone")];
    assert_eq!(ask(server, "listWorkspaces", &[], "", &Value::Null)["workspaces"][0]["id"], "w/one");
    let shown = ask(server, "showWorkspace", &names, "?usage=true", &Value::Null);
    assert!(shown["inodes"].as_u64().unwrap() > 2, "{shown}");
    let job = json!({"command": ["sh", "-c", "cat d/e/c.txt; echo kept > kept"]});
    assert_eq!(ask(server, "run", &[], "?workspace=w/one", &job)["stdout"], "1\ntwo\n");
    let kept = server.operation("readFileOfWorkspace", &names, "?path=kept");
    assert_eq!(server.send(&kept).expect(200).text(), "kept\n");
    // It holds no more than was said.
    let big = server.operation("writeFileOfWorkspace", &names, "?path=big");
    let big = big.body("application/octet-stream", vec![0; 2 << 20]);
    server.send(&big).problem(507, "no_space");
}

fn checkpoints(server: &Server) {
    let made = server.operation("createWorkspace", &[("workspace", "c")], "").json(&json!({}));
    server.send(&made).expect(201);
    let names = [("workspace", "c")];
    let write = |text: &str| {
        let request = server.operation("writeFileOfWorkspace", &names, "?path=f");
        server.send(&request.body("application/octet-stream", text)).expect(204);
    };
    write("first");
    let saved = ask(server, "saveCheckpoint", &names, "", &json!({"labels": ["one"], "state": {"turn": 1}}));
    let id = saved["checkpoint"]["id"].as_str().unwrap().to_owned();
    write("second");
    let diff = ask(server, "diff", &names, "", &Value::Null);
    assert_eq!(
        (diff["changes"][0]["path"].as_str(), diff["changes"][0]["change"].as_str()),
        (Some("f"), Some("changed"))
    );
    let one = [("workspace", "c"), ("checkpoint", id.as_str())];
    assert_eq!(ask(server, "showCheckpoint", &one, "", &Value::Null)["state"]["turn"], 1);
    let forked = ask(server, "fork", &names, "", &json!({"to": "fork", "checkpoint": id}));
    assert!(forked["checkpoint"]["id"].is_string(), "{forked}");
    let back = ask(server, "rollback", &one, "", &json!({}));
    assert!(back["saved_before"]["id"].is_string(), "{back}");
    let read = Request::get("/v1/workspaces/c/files/content?path=f").token(ANN);
    assert_eq!(server.send(&read).expect(200).text(), "first");
    assert_eq!(ask(server, "listCheckpoints", &names, "", &Value::Null)["checkpoints"].as_array().unwrap().len(), 3);
    ask(server, "removeCheckpoint", &one, "", &Value::Null);
    assert!(ask(server, "compact", &names, "", &Value::Null)["layers"].is_u64());
    server.send(&server.operation("showCheckpoint", &one, "")).problem(404, "checkpoint_not_found");
    let exported = server.send(&server.operation("exportWorkspace", &names, "")).expect(200).body;
    ask(server, "clearFilesOfWorkspace", &names, "", &Value::Null);
    let import = server.operation("importWorkspace", &names, "").body("application/x-tar", exported);
    assert_eq!(server.send(&import).expect(200).json()["bytes"], 5);
    ask(server, "removeWorkspace", &[("workspace", "fork")], "", &Value::Null);
}
