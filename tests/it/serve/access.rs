//! Who may ask, and for what: tokens, names of the server, pages of other sites, and owners who know nothing of one another.

use super::client::Request;
use super::{ANN, BOB, Server};
use serde_json::{Value, json};

/// A body that each operation takes, as far as one has any, and what follows its path.
fn with(id: &str) -> (&'static str, Option<(&'static str, Vec<u8>)>) {
    let json = |value: Value| Some(("application/json", value.to_string().into_bytes()));
    let raw = Some(("application/octet-stream", b"x".to_vec()));
    match id.trim_end_matches("OfSandbox").trim_end_matches("OfWorkspace") {
        "run" | "runEvents" | "exec" | "execEvents" | "detach" => ("", json(json!({"command": ["true"]}))),
        "runCode" => ("", json(json!({"language": "bash", "code": "true"}))),
        "startSandbox" | "openTerminal" | "createWorkspace" | "saveCheckpoint" | "saveState" | "rollback" => {
            ("", json(json!({})))
        }
        "runInTerminal" => ("", json(json!({"command": "true"}))),
        "typeIntoTerminal" => ("", json(json!({"input": "x"}))),
        "resizeTerminal" => ("", json(json!({"rows": 9, "columns": 9}))),
        "fork" => ("", json(json!({"to": "bobs-fork"}))),
        "writeFile" => ("?path=f", raw),
        "readFile" | "readLines" | "stat" | "deleteFile" => ("?path=f", None),
        "editFile" => ("", json(json!({"path": "f", "old": "secret", "new": "x"}))),
        "renameFile" => ("", json(json!({"from": "f", "to": "g"}))),
        "makeDirectory" => ("", json(json!({"path": "d"}))),
        "setMode" => ("", json(json!({"path": "f", "mode": 511}))),
        "diffStates" => ("?from=one&to=one", None),
        "findFiles" => ("?pattern=*", None),
        "searchFiles" => ("", json(json!({"pattern": "secret"}))),
        "uploadArchive" | "importWorkspace" => ("", Some(("application/x-tar", vec![0; 1024]))),
        "build" => ("?project=mine", json(json!({"workspace": "mine"}))),
        "buildArchive" => ("?project=mine", Some(("application/x-tar", vec![0; 1024]))),
        "openPreview" => ("", json(json!({"project": "mine"}))),
        "readArtifact" => ("?path=secret", None),
        "listSandboxes" | "listWorkspaces" | "listLanguages" | "showSandbox" | "stopSandbox" | "logs"
        | "followLogs" | "listTerminals" | "showTerminal" | "closeTerminal" | "interruptTerminal"
        | "terminalScreen" | "attach" | "listFiles" | "downloadArchive" | "showWorkspace" | "removeWorkspace"
        | "listProjects" | "removeProject" | "listBuilds" | "showBuild" | "cancelBuild" | "retryBuild"
        | "buildLogs" | "followBuildLogs" | "showArtifact" | "downloadArtifact" | "listPreviews" | "revokePreview"
        | "listCheckpoints" | "showCheckpoint" | "removeCheckpoint" | "compact" | "diff" | "clearFiles"
        | "exportWorkspace" | "addHolder" | "removeHolder" | "showHolder" | "listThreads" | "latestState"
        | "removeThread" | "listStates" | "showState" | "removeState" | "rollbackThread" => ("", None),
        other => panic!("say what `{other}` takes, so that it is tried as another owner"),
    }
}

/// The ids of what Ann has that she did not name herself.
struct Has {
    checkpoint: String,
    build: String,
    preview: String,
}

impl Has {
    /// Ids of nothing.
    fn nothing() -> Self {
        let none = || "none".to_owned();
        Self { checkpoint: none(), build: none(), preview: none() }
    }
}

/// A request of each operation, with these names of a sandbox and a workspace.
fn requests(server: &Server, has: &Has) -> Vec<(String, Request)> {
    let Has { checkpoint, build, preview } = has;
    let names = [
        ("sandbox", "mine"),
        ("workspace", "mine"),
        ("terminal", "t"),
        ("checkpoint", checkpoint.as_str()),
        ("holder", "mine"),
        ("thread", "mine"),
        ("build", build.as_str()),
        ("preview", preview.as_str()),
        ("project", "mine"),
    ];
    let all = server.operations().into_iter().map(|(id, ..)| {
        let (rest, body) = with(&id);
        let mut request = server.operation(&id, &names, rest);
        if let Some((kind, body)) = body {
            request = request.body(kind, body);
        }
        if id == "attach" {
            request = request.header("Upgrade", "websocket").header("Sec-WebSocket-Version", "13");
            request = request.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==").header("Connection", "Upgrade");
        }
        (id, request)
    });
    all.collect()
}

/// What Ann has: a sandbox with a terminal, and a workspace with a checkpoint and a holder, each with a file; a thread; a build,
/// and a preview of what it made.
fn prepared(server: &Server) -> Has {
    server.sandbox("mine");
    let terminal = server.operation("openTerminal", &[("sandbox", "mine"), ("terminal", "t")], "");
    server.send(&terminal.json(&json!({"shell": "sh"}))).expect(200);
    let workspace = [("workspace", "mine")];
    server.send(&server.operation("createWorkspace", &workspace, "").json(&json!({}))).expect(201);
    for place in ["writeFileOfSandbox", "writeFileOfWorkspace"] {
        let request = server.operation(place, &[("sandbox", "mine"), ("workspace", "mine")], "?path=f");
        server.send(&request.body("application/octet-stream", "secret")).expect(204);
    }
    let saved = server.send(&server.operation("saveCheckpoint", &workspace, "").json(&json!({}))).expect(200).json();
    server.send(&server.operation("addHolder", &[("workspace", "mine"), ("holder", "mine")], "")).expect(204);
    let state = json!({"id": "one", "state": "secret"});
    server.send(&server.operation("saveState", &[("thread", "mine")], "").json(&state)).expect(200);
    let build = server.build("mine", "mkdir out; echo secret | tee out/secret");
    assert_eq!(server.built(&build)["state"], "succeeded");
    let open = server.operation("openPreview", &[], "").json(&json!({"project": "mine"}));
    let opened = server.send(&open).expect(200).json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Has { checkpoint: text(&saved["checkpoint"]["id"]), build, preview: text(&opened["preview"]["id"]) }
}

/// Everything that Ann sees of what she has.
fn seen(server: &Server) -> Vec<String> {
    let ids = [
        "listSandboxes",
        "listWorkspaces",
        "listFilesOfSandbox",
        "listFilesOfWorkspace",
        "listCheckpoints",
        "listTerminals",
        "listBuilds",
        "listProjects",
        "listPreviews",
        "listThreads",
        "listStates",
    ];
    let names = [("sandbox", "mine"), ("workspace", "mine"), ("thread", "mine")];
    let told = ids.map(|id| {
        let mut told = server.send(&server.operation(id, &names, "")).expect(200).json();
        if let Some(sandboxes) = told["sandboxes"].as_array_mut() {
            // What it uses changes by itself.
            sandboxes.iter_mut().for_each(|sandbox| sandbox["stats"] = json!(sandbox["stats"]["started"]));
        }
        if let Some(workspaces) = told["workspaces"].as_array_mut() {
            workspaces.iter_mut().for_each(|workspace| workspace["last_used_ms"] = Value::Null);
        }
        told.to_string()
    });
    told.to_vec()
}

#[test]
fn nobody_is_served_without_a_token() {
    let server = Server::start(&[]);
    for (id, request) in requests(&server, &Has::nothing()) {
        let none = request.clone().without_token();
        server.send(&none).problem(401, "unauthorized");
        for wrong in ["", "wrong", &ANN[1..], &format!("{ANN}x"), &ANN.to_uppercase()] {
            assert_eq!(server.send(&request.clone().token(wrong)).status, 401, "{id}: {wrong}");
        }
        let two = request.clone().header("Authorization", &format!("Bearer {BOB}"));
        assert_eq!(server.send(&two).status, 401, "{id}: two tokens");
    }
    let basic = Request::get("/v1/sandboxes").header("Authorization", &format!("Basic {ANN}"));
    let refused = server.send(&basic);
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    refused.problem(401, "unauthorized");
    server.send(&Request::get(&format!("/v1/sandboxes?token={ANN}"))).problem(401, "unauthorized");
    server.send(&Request::get("/metrics")).problem(401, "unauthorized");
    for open in ["/healthz", "/readyz", "/openapi.json"] {
        server.send(&Request::get(open)).expect(200);
        server.send(&Request::get(open).host("evil.example")).problem(421, "host");
    }
    // The log tells who asked, and no token.
    server.send(&Request::get("/metrics").token(ANN)).expect(200);
    let line = loop {
        let line = server.line("request");
        if line["path"] == "/metrics" && line["status"] == 200 {
            break line;
        }
        assert!(!line.to_string().contains(ANN) && !line.to_string().contains(BOB), "{line}");
    };
    assert_eq!(line["method"], "GET", "{line}");
    server.stop();
}

#[test]
fn no_page_of_another_site_and_no_borrowed_name_gets_in() {
    let server = Server::start(&["--host", "box.example:8443"]);
    let all = || Request::get("/v1/sandboxes").token(ANN);
    let port = server.address.host().rsplit(':').next().unwrap().to_owned();
    for good in [format!("localhost:{port}"), format!("[::1]:{port}"), "BOX.example:8443".to_owned()] {
        server.send(&all().host(&good)).expect(200);
        server.send(&all().host(&good).header("Origin", &format!("http://{good}"))).expect(200);
    }
    for bad in ["evil.example", &format!("evil.example:{port}"), "localhost", "127.0.0.1:1", "box.example", "", "x y"] {
        let status = server.send(&all().host(bad)).status;
        assert!([400, 421].contains(&status), "{bad}: {status}");
    }
    assert!([400, 421].contains(&server.send(&all().header("Host", "evil.example")).status), "two names");
    server.send(&Request::get("http://evil.example/v1/sandboxes").token(ANN)).problem(421, "host");
    for origin in ["http://evil.example", "null", "https://localhost.evil.example", &format!("http://localhost:{port}")]
    {
        // The last is this server by another name than it was called by.
        server.send(&all().header("Origin", origin)).problem(403, "origin");
        for (id, request) in requests(&server, &Has::nothing()) {
            let refused = server.send(&request.header("Origin", origin));
            assert_eq!(refused.status, 403, "{id}");
            assert_eq!(refused.header("access-control-allow-origin"), None);
        }
    }
    server.send(&all().header("Sec-Fetch-Site", "cross-site")).problem(403, "origin");
    // What a form can send without asking first is no JSON.
    let run = Request::new("POST", "/v1/run").token(ANN);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
        server.send(&run.clone().body(kind, r#"{"command": ["true"]}"#)).problem(415, "content_type");
    }
    server.send(&run.clone().body("application/json; charset=utf-8", r#"{"command": ["true"]}"#)).expect(200);
    let preflight = Request::new("OPTIONS", "/v1/run").header("Access-Control-Request-Method", "POST").token(ANN);
    assert_eq!(server.send(&preflight).expect(405).header("access-control-allow-methods"), None);
    server.stop();
}

#[test]
fn one_owner_sees_touches_and_names_nothing_of_another() {
    let server = Server::start(&[]);
    let has = prepared(&server);
    let before = seen(&server);
    let makes = ["startSandbox", "createWorkspace", "run", "runEvents", "runCode", "listLanguages", "saveState"];
    for (id, request) in requests(&server, &has) {
        if makes.contains(&id.as_str()) {
            continue;
        }
        let response = server.send(&request.token(BOB));
        let text = response.text();
        assert!(!text.contains("secret") && !text.contains("ann"), "{id}: {text}");
        match id.as_str() {
            "listSandboxes" => assert_eq!(response.expect(200).json()["sandboxes"], json!([])),
            "listWorkspaces" => assert_eq!(response.expect(200).json()["workspaces"], json!([])),
            "listBuilds" => assert_eq!(response.expect(200).json()["builds"], json!([])),
            "listProjects" => assert_eq!(response.expect(200).json()["projects"], json!([])),
            "listPreviews" => assert_eq!(response.expect(200).json()["previews"], json!([])),
            "listThreads" => assert_eq!(response.expect(200).json()["threads"], json!([])),
            // An archive of nothing is no project, whoever sends it.
            "buildArchive" => drop(response.problem(422, "project_file")),
            // There is none, which is as good as having ended it.
            "stopSandbox" => drop(response.expect(204)),
            _ => assert_eq!(response.status, 404, "{id}: {text}"),
        }
    }
    for id in ["/v1/workspaces/..%2Fann%2Fmine", "/v1/workspaces/http%2Fann%2Fmine", "/v1/sandboxes/http.ann.mine"] {
        server.send(&Request::get(id).token(BOB)).problem(404, "not_found");
        server.send(&Request::get(&format!("{id}/files")).token(BOB)).problem(404, "not_found");
    }
    let run = |workspace: &str| {
        let request = Request::new("POST", &format!("/v1/run?workspace={workspace}")).token(BOB);
        server.send(&request.json(&json!({"command": ["cat", "f"]})))
    };
    run("mine").problem(404, "not_found");
    run("../ann/mine").problem(404, "not_found");
    // By its id, which is no name of his.
    let held = server.send(&server.operation("showSandbox", &[("sandbox", "mine")], "")).expect(200).json();
    let by_id = Request::get(&format!("/v1/sandboxes/{}", held["id"].as_str().unwrap())).token(BOB);
    server.send(&by_id).problem(404, "not_found");
    // The same names are his own things, if he makes them.
    for (id, status) in [("startSandbox", 201), ("createWorkspace", 201)] {
        let names = [("sandbox", "mine"), ("workspace", "mine")];
        server.send(&server.operation(id, &names, "").json(&json!({})).token(BOB)).expect(status);
    }
    server.send(&server.operation("stopSandbox", &[("sandbox", "mine")], "").token(BOB)).expect(204);
    server.send(&server.operation("removeWorkspace", &[("workspace", "mine")], "").token(BOB)).expect(204);
    assert_eq!(seen(&server), before);
    server.stop();
}

#[test]
fn looking_changes_nothing() {
    let server = Server::start(&[]);
    let has = prepared(&server);
    let before = seen(&server);
    for (id, request) in requests(&server, &has) {
        let is_stream = ["followLogs", "followBuildLogs", "attach"].contains(&id.as_str());
        if !is_stream {
            server.send(&request.clone().method("GET"));
        }
        assert_eq!(server.send(&request.clone().method("TRACE")).status / 100, 4, "{id}");
        let head = server.address.open(&request.method("HEAD"));
        drop(head);
    }
    assert_eq!(seen(&server), before);
    server.stop();
}

#[test]
fn no_path_leads_out_of_the_files() {
    let server = Server::start(&[]);
    server.sandbox("box");
    server.shell("box", "ln -s /etc/passwd link; ln -s / root; mkfifo fifo; mkdir dir");
    let create = server.operation("createWorkspace", &[("workspace", "w")], "").json(&json!({}));
    server.send(&create).expect(201);
    let job = json!({"command": ["sh", "-c", "ln -s /etc/passwd link; ln -s / root; mkfifo fifo; mkdir dir"]});
    let run = Request::new("POST", "/v1/run?workspace=w").token(ANN).json(&job);
    server.send(&run).expect(200);
    for place in ["/v1/sandboxes/box", "/v1/workspaces/w"] {
        for (path, status, code) in [
            ("..%2F..%2Fetc%2Fpasswd", 400, "invalid_path"),
            ("%2Fetc%2Fpasswd", 400, "invalid_path"),
            ("dir%2F..%2F..%2Fx", 400, "invalid_path"),
            ("a%00b", 400, "invalid_path"),
            ("", 400, "invalid_path"),
            (&"x".repeat(300), 400, "invalid_path"),
            ("nothing", 404, "not_found"),
            ("link", 409, "symlink"),
            ("root%2Fetc%2Fpasswd", 409, "symlink"),
            ("fifo", 409, "not_regular"),
            ("dir", 409, "is_directory"),
        ] {
            let read = Request::get(&format!("{place}/files/content?path={path}")).token(ANN);
            server.send(&read).problem(status, code);
            if code != "not_found" && code != "not_regular" {
                let write = Request::new("PUT", &format!("{place}/files/content?path={path}")).token(ANN);
                let refused = server.send(&write.body("application/octet-stream", "x"));
                assert_eq!(refused.status, status, "{path}: {}", refused.text());
            }
        }
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        header.as_mut_bytes()[..9].copy_from_slice(b"../../out");
        header.set_cksum();
        tar.append(&header, &b"x"[..]).unwrap();
        let upload = Request::new("PUT", &format!("{place}/files/archive?path=dir")).token(ANN);
        let told = server.send(&upload.body("application/x-tar", tar.into_inner().unwrap())).expect(200).json();
        assert_eq!((told["files"].as_u64(), told["refused"][0]["code"].as_str()), (Some(0), Some("invalid_path")));
        let damaged = Request::new("PUT", &format!("{place}/files/archive?path=dir")).token(ANN);
        server.send(&damaged.body("application/x-tar", vec![7; 4096])).problem(400, "bad_archive");
    }
    server.stop();
}
