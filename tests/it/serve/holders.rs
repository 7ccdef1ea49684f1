//! Who refers to workspaces: whoever does keeps one from being removed, and nobody keeps, names or sees another owner's.

use super::client::{Request, Response};
use super::{ANN, BOB, Server};
use serde_json::{Value, json};

fn hold(server: &Server, workspace: &str, holder: &str) -> Response {
    server.send(&server.operation("addHolder", &[("workspace", workspace), ("holder", holder)], ""))
}

fn create(server: &Server, id: &str, token: &str) {
    let request = server.operation("createWorkspace", &[("workspace", id)], "").token(token);
    server.send(&request.json(&json!({}))).expect(201);
}

fn shown(server: &Server, id: &str) -> Value {
    server.send(&server.operation("showWorkspace", &[("workspace", id)], "")).expect(200).json()
}

#[test]
fn a_workspace_stays_for_as_long_as_somebody_refers_to_it() {
    let server = Server::start(&[]);
    create(&server, "w", ANN);
    create(&server, "other", ANN);
    for _ in 0..2 {
        hold(&server, "w", "session%207").expect(204);
    }
    hold(&server, "w", "a%2Fb").expect(204);
    assert_eq!(shown(&server, "w")["holders"], json!(["a/b", "session 7"]));
    let holder = [("workspace", "w"), ("holder", "session%207")];
    let found = server.send(&server.operation("showHolder", &holder, "")).expect(200).json();
    assert_eq!(found, json!({"workspace": "w"}));
    let remove = server.operation("removeWorkspace", &[("workspace", "w")], "");
    let held = server.send(&remove).problem(409, "references_held");
    assert_eq!(held["detail"], "the workspace is held by `a/b`, `session 7`");
    let another = hold(&server, "other", "session%207").problem(409, "holds_another");
    assert!(another["detail"].as_str().unwrap().contains("`w`"), "{another}");
    assert!(!another.to_string().contains("ann"), "{another}");
    for _ in 0..2 {
        server.send(&server.operation("removeHolder", &holder, "")).expect(204);
    }
    server.send(&server.operation("showHolder", &holder, "")).problem(404, "not_found");
    hold(&server, "other", "session%207").expect(204);
    server.send(&remove).problem(409, "references_held");
    // By force, with the sandbox that works in it.
    let start = server.operation("startSandbox", &[("sandbox", "box")], "?workspace=w").json(&json!({}));
    server.send(&start).expect(201);
    server.send(&remove).problem(409, "busy");
    let force = server.operation("removeWorkspace", &[("workspace", "w")], "?force=true");
    server.send(&force).expect(204);
    server.send(&server.operation("showSandbox", &[("sandbox", "box")], "")).problem(404, "not_found");
    server.send(&server.operation("showHolder", &[("holder", "a%2Fb")], "")).problem(404, "not_found");
    hold(&server, "w", "a%2Fb").problem(404, "not_found");
    server.send(&server.operation("showHolder", &[("holder", "a%2Fb")], "")).problem(404, "not_found");
    hold(&server, "other", "a%2Fb").expect(204);
    server.stop();
}

#[test]
fn no_owner_keeps_frees_or_names_what_is_held_by_another() {
    let server = Server::start(&[]);
    create(&server, "w", ANN);
    create(&server, "w", BOB);
    hold(&server, "w", "session").expect(204);
    // The same names are two holders, of two workspaces.
    let as_bob =
        |id: &str, rest: &str| server.operation(id, &[("workspace", "w"), ("holder", "session")], rest).token(BOB);
    server.send(&as_bob("showHolder", "")).problem(404, "not_found");
    server.send(&as_bob("addHolder", "")).expect(204);
    server.send(&as_bob("removeHolder", "")).expect(204);
    server.send(&as_bob("addHolder", "")).expect(204);
    server.send(&as_bob("removeWorkspace", "?force=true")).expect(204);
    assert_eq!(shown(&server, "w")["holders"], json!(["session"]));
    for path in ["/v1/holders/http%2Fann%2Fsession", "/v1/holders/..%2Fann%2Fsession"] {
        server.send(&Request::get(path).token(BOB)).problem(404, "not_found");
    }
    // What the operator or another owner's holder keeps, nobody frees here, and nobody is told who it is.
    server.home.ok(&["workspace", "ref", "http/ann/w", "nightly backup"]);
    server.home.ok(&["workspace", "ref", "http/ann/w", "http/bob/elsewhere"]);
    let told = shown(&server, "w");
    assert_eq!((&told["holders"], &told["operators_holders"]), (&json!(["session"]), &json!(2)));
    for rest in ["", "?force=true"] {
        let remove = server.operation("removeWorkspace", &[("workspace", "w")], rest);
        let held = server.send(&remove).problem(409, "references_held").to_string();
        assert!(held.contains("2 that the operator named"), "{held}");
        assert!(!held.contains("backup") && !held.contains("bob"), "{held}");
    }
    let elsewhere = Request::get("/v1/holders/elsewhere").token(BOB);
    server.send(&elsewhere).problem(404, "not_found");
    assert_eq!(shown(&server, "w")["holders"], json!(["session"]), "what was refused took nothing away");
    for holder in ["nightly backup", "http/bob/elsewhere"] {
        server.home.ok(&["workspace", "unref", "http/ann/w", holder]);
    }
    server.send(&server.operation("removeWorkspace", &[("workspace", "w")], "?force=true")).expect(204);
    server.stop();
}

#[test]
fn holders_are_bounded_in_their_names_and_their_number() {
    let server = Server::start(&[]);
    create(&server, "w", ANN);
    for bad in [&"x".repeat(201), "..", "a%00b", "a%0Ab"] {
        hold(&server, "w", bad).problem(400, "invalid_name");
        let names = [("workspace", "w"), ("holder", bad)];
        server.send(&server.operation("removeHolder", &names, "")).problem(400, "invalid_name");
        server.send(&server.operation("showHolder", &names, "")).problem(400, "invalid_name");
    }
    hold(&server, "..", "x").problem(400, "invalid_name");
    for number in 0..100 {
        hold(&server, "w", &format!("h{number}")).expect(204);
    }
    hold(&server, "w", "h100").problem(409, "limit");
    hold(&server, "w", "h99").expect(204);
    server.send(&server.operation("removeHolder", &[("workspace", "w"), ("holder", "h0")], "")).expect(204);
    hold(&server, "w", "h100").expect(204);
    assert_eq!(shown(&server, "w")["holders"].as_array().unwrap().len(), 100);
    server.stop();
}
