//! Checkpoints: threads of states without files, and what is kept of either kind.

use super::client::{Request, Response};
use super::{ANN, BOB, Server};
use serde_json::{Value, json};

fn save(server: &Server, thread: &str, body: &Value) -> Response {
    server.send(&server.operation("saveState", &[("thread", thread)], "").json(body))
}

fn saved(server: &Server, thread: &str, body: &Value) -> String {
    let saved = save(server, thread, body).expect(200).json();
    saved["checkpoint"]["id"].as_str().unwrap().to_owned()
}

fn listed(server: &Server, thread: &str, rest: &str) -> Vec<String> {
    let all = server.send(&server.operation("listStates", &[("thread", thread)], rest)).expect(200).json();
    let id = |checkpoint: &Value| checkpoint["id"].as_str().unwrap().to_owned();
    all["checkpoints"].as_array().unwrap().iter().map(id).collect()
}

/// Each route of threads once.
pub(super) fn routes(server: &Server) {
    let first = saved(server, "chat%2F1", &json!({"state": {"turn": 1, "a/b": [1]}, "labels": ["one"], "step": 7}));
    let second = saved(server, "chat%2F1", &json!({"id": "second", "state": {"turn": 2, "a/b": [1]}}));
    assert_eq!(second, "second");
    let one = |id: &'static str, checkpoint: &str, rest: &str| {
        server.send(&server.operation(id, &[("thread", "chat%2F1"), ("checkpoint", checkpoint)], rest))
    };
    let names = one("listThreads", "", "").expect(200).json();
    assert_eq!(names["threads"], json!(["chat/1"]));
    assert_eq!(listed(server, "chat%2F1", ""), [second.clone(), first.clone()]);
    assert_eq!(listed(server, "chat%2F1", "?oldest_first=true&limit=1"), std::slice::from_ref(&first));
    assert!(
        listed(server, "chat%2F1", "?before_ms=5").is_empty() && listed(server, "chat%2F1", "?after_ms=5").len() == 2
    );
    let diff = one("diffStates", "", &format!("?from={first}&to={second}")).expect(200).json();
    assert_eq!(diff, json!({"changes": [{"pointer": "/turn", "from": 1, "to": 2}], "more": false}));
    let shown = one("showState", &first, "").expect(200).json();
    assert_eq!((&shown["state"]["turn"], &shown["checkpoint"]["step"]), (&json!(1), &json!(7)), "{shown}");
    let back = one("rollbackThread", &first, "").expect(200).json();
    assert_eq!((&back["checkpoint"]["parent"], &back["checkpoint"]["cause"]), (&json!(first), &json!("rollback")));
    assert_eq!(one("latestState", "", "").expect(200).json()["state"]["turn"], 1);
    one("removeState", &second, "").expect(204);
    one("removeState", &second, "").problem(404, "checkpoint_not_found");
    one("showState", &second, "").problem(404, "checkpoint_not_found");
    one("removeThread", "", "").expect(204);
    one("removeThread", "", "").problem(404, "not_found");
}

#[test]
fn threads_of_one_owner_are_nobody_elses_and_outlive_the_server() {
    let mut server = Server::start(&[]);
    let id = saved(&server, "mine", &json!({"state": "secret"}));
    let paths = [
        "/v1/threads/mine".to_owned(),
        "/v1/threads/mine/checkpoints".to_owned(),
        format!("/v1/threads/mine/checkpoints/{id}"),
        format!("/v1/threads/mine/diff?from={id}&to={id}"),
        "/v1/threads/..%2Fhttp.ann%2Fmine".to_owned(),
        "/v1/threads/http.ann%2Fmine".to_owned(),
    ];
    for path in &paths {
        server.send(&Request::get(path).token(BOB)).problem(404, "not_found");
    }
    server.send(&Request::new("DELETE", "/v1/threads/mine").token(BOB)).problem(404, "not_found");
    let all = server.send(&Request::get("/v1/threads").token(BOB)).expect(200).json();
    assert_eq!(all["threads"], json!([]));
    let bobs = Request::new("POST", "/v1/threads/mine/checkpoints").token(BOB).json(&json!({"state": "bobs"}));
    server.send(&bobs).expect(200);
    // And another server finds them.
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    let home = std::mem::replace(&mut server.home, crate::held::Home::new());
    let tokens = home.scratch.path("tokens");
    let command = home.pinfold(&["serve", "--token-file", tokens.to_str().unwrap()]);
    let server = Server::of(home, command);
    for (token, state) in [(ANN, "secret"), (BOB, "bobs")] {
        let latest = server.send(&Request::get("/v1/threads/mine").token(token)).expect(200).json();
        assert_eq!(latest["state"], state);
    }
    server.stop();
}

#[test]
fn threads_are_bounded_in_their_names_their_number_and_what_they_keep() {
    let server = Server::start(&["--max-workspaces", "2"]);
    for bad in [&"x".repeat(201), "..", "a%00b"] {
        save(&server, bad, &json!({})).problem(400, "invalid_name");
        server.send(&server.operation("latestState", &[("thread", bad)], "")).problem(400, "invalid_name");
    }
    for (field, code, body) in [
        ("id", "invalid_name", json!({"id": "../x"})),
        ("id", "invalid_name", json!({"id": "x".repeat(41)})),
        ("id", "invalid_name", json!({"id": ""})),
        ("labels", "invalid_request", json!({"labels": ["x".repeat(201)]})),
        ("labels", "invalid_request", json!({"labels": vec!["x"; 33]})),
        ("keep", "invalid_request", json!({"keep": 0})),
        ("keep", "invalid_request", json!({"keep": 1001})),
        ("ttl_seconds", "invalid_request", json!({"ttl_seconds": 0})),
    ] {
        assert_eq!(save(&server, "t", &body).problem(400, code)["field"], field, "{body}");
    }
    let deep = format!("{{\"state\": {}1{}}}", "[".repeat(500), "]".repeat(500));
    let request = server.operation("saveState", &[("thread", "t")], "").body("application/json", deep);
    server.send(&request).problem(400, "invalid_request");
    let all = server.send(&server.operation("listThreads", &[], "")).expect(200).json();
    assert_eq!(all, json!({"threads": [], "most": 2}), "what was refused left no trace");
    let ids: Vec<_> = (0..3).map(|turn| saved(&server, "t", &json!({"state": turn, "keep": 2}))).collect();
    assert_eq!(listed(&server, "t", "?oldest_first=true"), ids[1..], "the oldest goes");
    save(&server, "t", &json!({"id": ids[1]})).problem(409, "checkpoint_exists");
    // All states together are bounded, those that go not counted.
    let big = json!({"state": "x".repeat(9 << 20)});
    save(&server, "big", &big).expect(200);
    save(&server, "big", &big).problem(507, "storage_full");
    assert_eq!(listed(&server, "big", "").len(), 1);
    save(&server, "third", &json!({})).problem(409, "limit");
    let bobs = Request::new("POST", "/v1/threads/third/checkpoints").token(BOB).json(&json!({}));
    server.send(&bobs).expect(200);
    server.send(&server.operation("removeThread", &[("thread", "big")], "")).expect(204);
    save(&server, "third", &json!({})).expect(200);
    server.stop();
}

#[test]
fn a_workspace_keeps_as_many_checkpoints_as_its_owner_says_and_is_imported_whole_or_not_at_all() {
    let server = Server::start(&[]);
    let names = [("workspace", "w")];
    let create = server.operation("createWorkspace", &names, "").json(&json!({"max_bytes": 1 << 20}));
    server.send(&create).expect(201);
    let save = |body: Value| server.send(&server.operation("saveCheckpoint", &names, "").json(&body));
    let all = || server.send(&server.operation("listCheckpoints", &names, "")).expect(200).json();
    assert_eq!((&all()["keep"], &all()["ttl_seconds"]), (&json!(100), &json!(86_400)));
    let kept = save(json!({"id": "one", "step": 41, "keep": 2, "ttl_seconds": 60})).expect(200).json();
    assert_eq!((&kept["checkpoint"]["id"], &kept["checkpoint"]["step"]), (&json!("one"), &json!(41)), "{kept}");
    assert!(["overlay", "copy"].contains(&kept["mechanism"].as_str().unwrap()), "{kept}");
    save(json!({"id": "one"})).problem(409, "checkpoint_exists");
    save(json!({"id": "a/b"})).problem(400, "invalid_name");
    save(json!({"keep": 1001})).problem(400, "invalid_request");
    for id in ["two", "three"] {
        save(json!({"id": id})).expect(200);
    }
    let told = all();
    assert_eq!((&told["keep"], &told["ttl_seconds"]), (&json!(2), &json!(60)));
    let ids: Vec<_> = told["checkpoints"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
    assert_eq!(ids, ["three", "two"]);
    // Archives.
    let mut tar = tar::Builder::new(Vec::new());
    let add = |tar: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        tar.append(&header, bytes).unwrap();
    };
    add(&mut tar, "kept", b"kept");
    let good = tar.into_inner().unwrap();
    let import = |rest: &str, bytes: Vec<u8>| {
        server.send(&server.operation("importWorkspace", &names, rest).body("application/x-tar", bytes))
    };
    assert_eq!(import("", good.clone()).expect(200).json()["bytes"], 4);
    import("", good).problem(409, "not_empty");
    for (path, bytes, status, code) in [
        ("../../out", vec![b'x'; 1], 400, "archive"),
        ("/etc/out", vec![b'x'; 1], 400, "archive"),
        ("big", vec![b'x'; 2 << 20], 413, "too_big"),
    ] {
        let mut tar = tar::Builder::new(Vec::new());
        add(&mut tar, "first", b"first");
        add(&mut tar, path, &bytes);
        import("?replace=true", tar.into_inner().unwrap()).problem(status, code);
    }
    import("?replace=true", vec![7; 4096]).problem(400, "archive");
    let files = server.send(&server.operation("listFilesOfWorkspace", &names, "")).expect(200).json();
    let paths: Vec<_> = files["entries"].as_array().unwrap().iter().map(|entry| entry["path"].clone()).collect();
    assert_eq!(paths, ["kept"], "nothing of what was refused is there");
    let exported = server.send(&server.operation("exportWorkspace", &names, "")).expect(200);
    let replaced = import("?replace=true", exported.body.clone()).expect(200).json();
    assert_eq!(replaced["bytes"], 4);
    let again = server.send(&server.operation("exportWorkspace", &names, "")).expect(200);
    assert!(again.body == exported.body, "the same files make the same bytes");
    let start = server.operation("startSandbox", &[("sandbox", "box")], "?workspace=w").json(&json!({}));
    server.send(&start).expect(201);
    import("?replace=true", again.body).problem(409, "busy");
    server.stop();
}
