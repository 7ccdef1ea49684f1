//! Requests that take their time, are cancelled, or whose client is gone: nothing of them goes on.

use super::Server;
use crate::held::Home;
use crate::sandbox::{eventually, kill};
use serde_json::json;
use std::sync::atomic::{AtomicU32, Ordering};

/// A command that nobody else runs, to look for.
fn marker() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("sleep {}.{}", 70_000 + std::process::id(), 100 + NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether somebody runs exactly this.
fn runs(command: &str) -> bool {
    let wanted = command.replace(' ', "\0") + "\0";
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line == wanted.as_bytes()
    })
}

#[test]
fn a_cancelled_request_ends_what_it_runs() {
    let home = Home::new();
    let mut server = Server::start(&home, &["--allow", "bash"]);
    server.ok("sandbox_start", json!({"name": "a"}));
    for tool in ["run_command", "run_code", "sandbox_exec", "terminal_run"] {
        let sleep = marker();
        let script = format!("{sleep}; true");
        let arguments = match tool {
            "run_command" => json!({"command": script}),
            "run_code" => json!({"language": "bash", "code": script}),
            _ => json!({"sandbox": "a", "command": script}),
        };
        let id = server.ask("tools/call", json!({"name": tool, "arguments": arguments}));
        eventually("it runs", || runs(&sleep));
        let cancel = json!({"requestId": id, "reason": "enough"});
        server.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancel}));
        eventually("it has ended", || !runs(&sleep));
        assert_eq!(server.request("ping", json!({}))["result"], json!({}));
        assert!(server.seen.iter().all(|message| message["id"] != id), "{tool}: {:?}", server.seen);
    }
    // The terminal goes on.
    eventually("the terminal takes commands", || {
        let result = server.call("terminal_run", json!({"sandbox": "a", "command": "echo alive"}));
        super::words(&result).contains("alive")
    });
}

#[test]
fn progress_is_told_while_it_runs() {
    let home = Home::new();
    let mut server = Server::start(&home, &["--time", "50s"]);
    let params = json!({"name": "run_command", "arguments": {"command": "sleep 2.5"}, "_meta": {"progressToken": "t"}});
    let answer = server.request("tools/call", params);
    assert_eq!(answer["result"]["isError"], false, "{answer}");
    let told: Vec<_> = server.seen.iter().filter(|message| message["method"] == "notifications/progress").collect();
    assert!(!told.is_empty() && told.len() < 10, "{told:?}");
    let params = &told[0]["params"];
    assert_eq!((&params["progressToken"], &params["total"]), (&json!("t"), &json!(50.0)));
    assert!(params["progress"].as_f64().is_some_and(|seconds| (0.9..60.0).contains(&seconds)), "{params}");
    // Nobody asked.
    server.seen.clear();
    server.ok("run_command", json!({"command": "sleep 1.5"}));
    assert!(server.seen.is_empty(), "{:?}", server.seen);
}

/// A server with a sandbox, something in its background, and a command at work.
fn busy(home: &Home) -> (Server, [String; 3]) {
    let mut server = Server::start(home, &[]);
    let sleeps = [marker(), marker(), marker()];
    server.ok("sandbox_start", json!({"name": "a"}));
    server.ok("sandbox_exec", json!({"sandbox": "a", "command": format!("{} > /dev/null 2>&1 &", sleeps[0])}));
    for (tool, sleep) in [("sandbox_exec", &sleeps[1]), ("run_command", &sleeps[2])] {
        let mut arguments = json!({"command": format!("{sleep}; true")});
        if tool == "sandbox_exec" {
            arguments["sandbox"] = "a".into();
        }
        server.ask("tools/call", json!({"name": tool, "arguments": arguments}));
    }
    eventually("all of it runs", || sleeps.iter().all(|sleep| runs(sleep)));
    (server, sleeps)
}

fn nothing_is_left(home: &Home, sleeps: &[String]) {
    eventually("everything has ended", || !sleeps.iter().any(|sleep| runs(sleep)) && home.left().is_empty());
    assert_eq!(home.json(&["ps", "--json"]), json!([]));
}

#[test]
fn nothing_is_left_when_the_client_closes_stdin() {
    let home = Home::new();
    let (mut server, sleeps) = busy(&home);
    assert_eq!(server.close(), Some(0));
    assert_eq!(home.json(&["ps", "--json"]), json!([]));
    nothing_is_left(&home, &sleeps);
}

#[test]
fn nothing_is_left_after_a_signal() {
    let home = Home::new();
    let (mut server, sleeps) = busy(&home);
    kill(i32::try_from(server.child.id()).unwrap(), 15);
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    nothing_is_left(&home, &sleeps);
}

#[test]
fn after_sigkill_what_is_left_ends_when_it_was_idle() {
    let home = Home::new();
    let mut server = Server::start(&home, &["--idle", "1s"]);
    server.ok("sandbox_start", json!({"name": "a"}));
    let sleep = marker();
    server.ask("tools/call", json!({"name": "run_command", "arguments": {"command": format!("{sleep}; true")}}));
    eventually("it runs", || runs(&sleep));
    server.child.kill().unwrap();
    eventually("the command has ended", || !runs(&sleep));
    eventually("the sandbox has ended", || home.json(&["ps", "--json"]) == json!([]));
    // Its keeper is a moment behind.
    home.next_command_cleans();
}
