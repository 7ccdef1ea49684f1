//! Builds over HTTP: handed in, followed, cancelled, done again; and the worker inside of the server.

use super::events::{events, next};
use super::{BOB, Server, phase};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::process::Stdio;

const LINES: usize = 2000;

/// Every route once.
pub(super) fn routes(server: &Server) {
    let ask = |id: &str, names: &[(&str, &str)], rest: &str| server.operation(id, names, rest);
    let first = server.build("site", "mkdir out; printf 0123456789 > out/index.html; echo hello");
    let told = server.built(&first);
    assert_eq!(
        (&told["state"], &told["planned"], &told["error"]),
        (&json!("succeeded"), &json!(["build"]), &Value::Null)
    );
    assert!(told.get("owner").is_none() && told.get("plan").is_none(), "{told}");
    let of = [("build", first.as_str())];
    let log = server.send(&ask("buildLogs", &of, "")).expect(200).json();
    let texts: Vec<_> = log["rows"].as_array().unwrap().iter().filter(|row| row["stream"] == "stdout").collect();
    assert_eq!((texts.len(), &texts[0]["text"], &log["more"]), (1, &json!("hello"), &json!(false)));
    let after = server.send(&ask("buildLogs", &of, "?after=1&limit=1")).expect(200).json();
    assert_eq!((&after["rows"][0]["sequence"], &after["more"]), (&json!(2), &json!(true)));
    let made = server.send(&ask("showArtifact", &of, "")).expect(200).json();
    assert_eq!(
        (&made["id"], &made["files"][0]["path"], &made["files"][0]["bytes"]),
        (&told["artifact"], &json!("index.html"), &json!(10))
    );
    let read = ask("readArtifact", &of, "?path=index.html");
    let whole = server.send(&read).expect(200);
    assert_eq!((whole.text().as_str(), whole.header("content-type")), ("0123456789", Some("application/octet-stream")));
    let range = server.send(&read.header("Range", "bytes=2-4")).expect(206);
    assert_eq!((range.text().as_str(), range.header("content-range")), ("234", Some("bytes 2-4/10")));
    server.send(&ask("readArtifact", &of, "?path=..%2Fmanifest.json")).problem(400, "invalid_path");
    let archive = server.send(&ask("downloadArtifact", &of, "")).expect(200).body;
    let mut archive = tar::Archive::new(&archive[..]);
    let paths: Vec<_> = archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect();
    assert_eq!(paths, [std::path::Path::new("index.html")]);
    // Again, as a tar archive and as a workspace: the same snapshot, and the same artifact.
    let again = server.send(&ask("retryBuild", &of, "")).expect(200).json();
    assert_eq!((&again["retry_of"], &again["snapshot"]), (&json!(first), &told["snapshot"]));
    assert_eq!(server.built(again["id"].as_str().unwrap())["artifact"], told["artifact"]);
    let file = phase("mkdir out; printf 0123456789 > out/index.html; echo hello");
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(file.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "pinfold.toml", file.as_bytes()).unwrap();
    let packed = ask("buildArchive", &[], "?project=site").body("application/x-tar", tar.into_inner().unwrap());
    let packed = server.send(&packed).expect(200).json();
    assert_eq!(server.built(packed["id"].as_str().unwrap())["artifact"], told["artifact"]);
    server.send(&ask("createWorkspace", &[("workspace", "src")], "").json(&json!({}))).expect(201);
    let write = ask("writeFileOfWorkspace", &[("workspace", "src")], "?path=pinfold.toml");
    server.send(&write.body("application/octet-stream", file)).expect(204);
    let build = ask("build", &[], "?project=site").json(&json!({"workspace": "src"}));
    let last = server.send(&build).expect(200).json();
    let last = server.built(last["id"].as_str().unwrap());
    assert_eq!((&last["artifact"], &last["sequence"]), (&told["artifact"], &json!(3)));
    server.send(&ask("retryBuild", &of, "")).problem(409, "superseded");
    let all = server.send(&ask("listBuilds", &[], "?project=site&state=succeeded&limit=2")).expect(200).json();
    assert_eq!((all["builds"].as_array().unwrap().len(), &all["builds"][0]["id"]), (2, &last["id"]));
    let projects = server.send(&ask("listProjects", &[], "")).expect(200).json();
    assert_eq!(
        (&projects["projects"][0]["name"], &projects["projects"][0]["active"]["build"]),
        (&json!("site"), &last["id"])
    );
    let cancelled = server.send(&ask("cancelBuild", &of, "")).expect(200).json();
    assert_eq!(cancelled["state"], "succeeded", "what has ended stays as it is");
    let open = ask("openPreview", &[], "").json(&json!({"project": "site", "build": first}));
    let opened = server.send(&open).expect(200).json();
    let listed = server.send(&ask("listPreviews", &[], "?project=site")).expect(200).json();
    assert_eq!(listed["previews"], json!([opened["preview"]]));
    let preview = [("preview", opened["preview"]["id"].as_str().unwrap())];
    server.send(&ask("revokePreview", &preview, "")).expect(204);
    server.send(&ask("revokePreview", &preview, "")).expect(204);
    for (body, code) in [(json!({}), "invalid_request"), (json!({"files": [], "workspace": "src"}), "invalid_request")]
    {
        server.send(&ask("build", &[], "?project=site").json(&body)).problem(400, code);
    }
    server.send(&ask("build", &[], "?project=site").json(&json!({"files": []}))).problem(422, "project_file");
    server.send(&ask("build", &[], "?project=site").json(&json!({"workspace": "none"}))).problem(404, "not_found");
    let project = [("project", "site")];
    server.send(&ask("removeProject", &project, "")).expect(204);
    server.send(&ask("removeProject", &project, "")).problem(404, "not_found");
    server.send(&ask("showBuild", &of, "")).problem(404, "not_found");
}

#[test]
fn a_log_that_is_cut_and_taken_up_again_tells_each_row_once() {
    let server = Server::start(&[]);
    let id = server.build(
        "p",
        &format!("i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo line $i; done; mkdir out; echo x > out/x"),
    );
    let follow = |last: Option<&str>| events(&server, server.operation("followBuildLogs", &[("build", &id)], ""), last);
    let (mut last, mut sequences, mut told, mut cuts) = (None::<String>, Vec::new(), Vec::new(), 0);
    let state = 'all: loop {
        let mut stream = follow(last.as_deref());
        // Cut off after some, in the middle of whatever comes.
        for _ in 0..97 + cuts * 11 {
            let (id, event, data) = next(&mut stream).expect("it goes on");
            last = Some(id);
            if event == "end" {
                break 'all data["state"].clone();
            }
            assert_eq!(event, "log");
            sequences.push(data["sequence"].as_u64().unwrap());
            if data["stream"] == "stdout" {
                told.push(data["text"].as_str().unwrap().to_owned());
            }
        }
        cuts += 1;
    };
    assert_eq!(state, "succeeded");
    let lines = (1..=LINES).map(|number| format!("line {number}"));
    assert_eq!((told.len(), lines.zip(&told).find(|(line, told)| line != *told)), (LINES, None));
    assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>());
    assert!(cuts > 3, "{cuts}");
    // A browser that asks again is told to let it be; one that knows nothing is told all.
    let again = server.operation("followBuildLogs", &[("build", &id)], "");
    server.send(&again.clone().header("Last-Event-ID", &last.unwrap())).expect(204);
    assert_eq!(next(&mut follow(Some("other-77"))).unwrap().2["sequence"], 1);
    server.send(&again.token(BOB)).problem(404, "not_found");
    server.stop();
}

#[test]
fn no_build_outstays_its_end_and_none_brings_out_what_is_not_its_own() {
    let server = Server::start(&[]);
    // A process that left its session and holds the output ends with its phase, and a phase with its time.
    let made = server.build("left", "setsid sleep 1000 & mkdir out; echo made > out/a");
    assert_eq!(server.built(&made)["state"], "succeeded");
    let file = phase("setsid sleep 1000 & sleep 1000") + "limits = { time = '1s' }\n";
    let hangs = server.operation("build", &[], "?project=hangs");
    let hangs =
        server.send(&hangs.json(&json!({"files": [{"path": "pinfold.toml", "content": file}]}))).expect(200).json();
    let hangs = server.built(hangs["id"].as_str().unwrap());
    assert_eq!((&hangs["state"], &hangs["error"]["code"]), (&json!("failed"), &json!("timed_out")));
    for script in ["mkdir out; ln -s /etc/passwd out/a", "ln -s /etc out", "mkdir out; mkfifo out/a"] {
        let id = server.build("link", script);
        let refused = server.built(&id);
        assert_eq!(
            (&refused["state"], &refused["error"]["code"]),
            (&json!("failed"), &json!("artifact_refused")),
            "{script}"
        );
        for route in ["showArtifact", "downloadArtifact"] {
            server.send(&server.operation(route, &[("build", &id)], "")).problem(404, "not_found");
        }
    }
    // What the operator does not give, no project has.
    for more in
        ["network = 'host'", "network = ['example.org']", "limits = { memory = '3G' }", "limits = { pids = 'max' }"]
    {
        let file = phase("true") + more;
        let build = server.operation("build", &[], "?project=greedy");
        server.send(&build.json(&json!({"files": [{"path": "pinfold.toml", "content": file}]}))).problem(403, "denied");
    }
    server.stop();
}

#[test]
fn a_build_that_runs_is_cancelled_and_a_newer_one_takes_the_place_of_one_that_waits() {
    let server = Server::start(&["--workers", "1"]);
    let runs = server.build("p", "echo begun; sleep 1000");
    let mut stream = events(&server, server.operation("followBuildLogs", &[("build", &runs)], ""), None);
    while next(&mut stream).expect("it begins").2["text"] != "begun" {}
    let waits = server.build("q", "true");
    let newer = server.build("q", "mkdir out; echo x > out/x");
    assert_eq!(server.built(&waits)["state"], "stale");
    server.send(&server.operation("retryBuild", &[("build", &runs)], "")).problem(409, "not_ended");
    server.send(&server.operation("cancelBuild", &[("build", &runs)], "")).expect(200);
    while next(&mut stream).expect("it ends").1 != "end" {}
    let cancelled = server.built(&runs);
    assert_eq!((&cancelled["state"], &cancelled["artifact"]), (&json!("cancelled"), &Value::Null));
    assert_eq!(server.built(&newer)["state"], "succeeded");
    server.stop();
}

#[test]
fn what_runs_when_the_server_ends_goes_back_to_the_queue() {
    let mut server = Server::start(&["--drain", "1s"]);
    let id = server.build("p", "echo begun; sleep 1000");
    let mut stream = events(&server, server.operation("followBuildLogs", &[("build", &id)], ""), None);
    while next(&mut stream).expect("it begins").2["text"] != "begun" {}
    server.signal(Signal::TERM);
    // The stream is let go, with no last event: it goes on elsewhere.
    while let Some((_, event, _)) = next(&mut stream) {
        assert_eq!(event, "log");
    }
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    let builds = pinfold::build::Builds::at(server.home.scratch.path("state")).unwrap();
    let build = builds.get("http.ann", &id).unwrap();
    assert_eq!(build.state.name(), "queued");
    super::is_clean(&server.home);
}

#[test]
fn one_answers_and_another_works() {
    let server = Server::start(&["--role", "api"]);
    let id = server.build("p", "mkdir out; echo x > out/x");
    let show = server.operation("showBuild", &[("build", &id)], "");
    assert_eq!(server.send(&show).expect(200).json()["state"], "queued");
    for (args, words) in [
        (&["serve", "--role", "worker", "--listen", "127.0.0.1:0"][..], "listens nowhere"),
        (&["serve", "--role", "api", "--workers", "3"][..], "runs no builds"),
    ] {
        server.home.fails(args, words);
    }
    let mut worker = server.home.pinfold(&["serve", "--role", "worker"]);
    let mut worker = worker.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(server.built(&id)["state"], "succeeded");
    kill_process(Pid::from_child(&worker), Signal::TERM).unwrap();
    assert_eq!(worker.wait().unwrap().code(), Some(0));
    server.stop();
}

#[test]
fn what_builds_can_not_obey_they_do_not_run_without() {
    let server = Server::start(&["--seccomp", "strict"]);
    let build = server.operation("build", &[], "?project=p");
    let file = json!({"path": "pinfold.toml", "content": phase("true")});
    let problem = server.send(&build.json(&json!({"files": [file]}))).problem(422, "unsupported");
    assert!(problem["detail"].as_str().unwrap().contains("--seccomp"), "{problem}");
    server.stop();
}
