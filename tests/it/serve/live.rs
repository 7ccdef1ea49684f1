//! Commands that are followed while they run: what they write comes as they write it, the result is the last that comes, and
//! nothing of one is left when nobody follows it any more.

use super::client::{Request, Stream};
use super::events::{Event, events, next};
use super::{ANN, BOB, PATIENCE, Server};
use serde_json::{Value, json};
use std::io::BufReader;
use std::time::Instant;

type Events = BufReader<Box<dyn Stream>>;

/// A command in the sandbox `box`, followed.
fn exec(server: &Server, body: &Value) -> Events {
    events(server, server.operation("execEvents", &[("sandbox", "box")], "").json(body), None)
}

fn shell(script: &str) -> Value {
    json!({"command": ["sh", "-c", script]})
}

/// All that still comes.
fn rest(stream: &mut Events) -> Vec<Event> {
    std::iter::from_fn(|| next(stream)).collect()
}

fn metric(server: &Server, name: &str) -> String {
    let metrics = server.send(&Request::get("/metrics").token(ANN)).expect(200).text();
    metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap().to_owned()
}

/// Waits until something is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn output_comes_while_the_command_runs_and_the_result_comes_last() {
    let server = Server::start(&[]);
    server.sandbox("box");
    let workspace = [("workspace", "w")];
    server.send(&server.operation("createWorkspace", &workspace, "").json(&json!({}))).expect(201);
    let script = "read x; echo $x; until [ -e go ]; do sleep 0.05; done; printf '\\377' >&2; exit 3";
    let body = json!({"command": ["sh", "-c", script], "stdin": "first\n"});
    let run = server.operation("runEvents", &[], "?workspace=w").json(&body);
    let streams = [exec(&server, &body), events(&server, run, None)];
    for (mut stream, place) in streams.into_iter().zip(["Sandbox", "Workspace"]) {
        let first = next(&mut stream).unwrap();
        assert_eq!(first, ("1".to_owned(), "stdout".to_owned(), json!({"content": "first\n"})));
        let names = [("sandbox", "box"), ("workspace", "w")];
        let go = server.operation(&format!("writeFileOf{place}"), &names, "?path=go");
        server.send(&go.body("application/octet-stream", "")).expect(204);
        let rest = rest(&mut stream);
        let [bytes, (id, event, result)] = &rest[..] else { panic!("{rest:?}") };
        assert_eq!(*bytes, ("2".to_owned(), "stderr".to_owned(), json!({"content": {"base64": "/w=="}})));
        assert_eq!((id.as_str(), event.as_str(), &result["exit_code"]), ("3", "result", &json!(3)), "{result}");
        let counted = (&result["stdout_bytes"], &result["stderr_bytes"], &result["stdout"]);
        assert_eq!(counted, (&json!(6), &json!(1), &json!("")), "{result}");
    }
    // What is refused before it begins is a problem like any other, and what ends otherwise is told as it is.
    let path = "/v1/sandboxes/box/exec/events";
    server.send(&Request::new("POST", path).token(BOB).json(&shell("true"))).problem(404, "not_found");
    let none = server.operation("execEvents", &[("sandbox", "none")], "").json(&shell("true"));
    server.send(&none).problem(404, "not_found");
    for body in [json!({"command": []}), json!({"command": ["true"], "cwd": "\u{0}"}), json!({})] {
        assert_eq!(server.send(&Request::new("POST", path).token(ANN).json(&body)).status, 400, "{body}");
    }
    let run = server.operation("runEvents", &[], "?workspace=none").json(&shell("true"));
    server.send(&run).problem(404, "not_found");
    let missing = rest(&mut exec(&server, &json!({"command": ["there-is-no-such-program"]})));
    assert_eq!((missing.len(), &missing[0].2["error"]["code"]), (1, &json!("exec_not_found")), "{missing:?}");
    let mut stream = exec(&server, &shell("echo one; sleep 1000"));
    next(&mut stream).unwrap();
    server.send(&server.operation("stopSandbox", &[("sandbox", "box")], "")).expect(204);
    let last = rest(&mut stream);
    let [(_, event, end)] = &last[..] else { panic!("{last:?}") };
    assert!(event == "result" && end["status"] != "exited" || event == "error" && end["code"] == "gone", "{last:?}");
    server.stop();
}

#[test]
fn no_command_is_followed_past_its_limits() {
    let server = Server::start(&["--output", "64K", "--time", "20s"]);
    server.sandbox("box");
    let flood = "head -c 1000000 /dev/zero | tr '\\0' a; head -c 10 /dev/zero >&2";
    let run = |body: &Value| events(&server, server.operation("runEvents", &[], "").json(body), None);
    for mut stream in [exec(&server, &shell(flood)), run(&shell(flood))] {
        let mut all = rest(&mut stream);
        let (_, event, result) = all.pop().unwrap();
        let told = |name: &str| -> usize {
            let of = all.iter().filter(|(_, event, _)| event == name);
            of.map(|(_, _, data)| data["content"].as_str().unwrap().len()).sum()
        };
        assert_eq!((event.as_str(), told("stdout"), told("stderr")), ("result", 64 << 10, 10));
        let counted = (&result["stdout_bytes"], &result["stdout_truncated"], &result["stderr_truncated"]);
        assert_eq!(counted, (&json!(1_000_000), &json!(true), &json!(false)), "{result}");
    }
    // What was still in the pipe when the command ended is told and counted as well.
    let quick = rest(&mut exec(&server, &shell("head -c 60000 /dev/zero | tr '\\0' a")));
    let told = quick.iter().filter_map(|(_, _, data)| data["content"].as_str()).map(str::len).sum::<usize>();
    assert_eq!((told, &quick.last().unwrap().2["stdout_bytes"]), (60_000, &json!(60_000)));
    let late = json!({"command": ["sleep", "1000"], "limits": {"wall_ms": 300}});
    for mut stream in [exec(&server, &late), run(&late)] {
        assert_eq!(next(&mut stream).unwrap().2["status"], "timed_out");
    }
    for limits in [json!({"output_bytes": "max"}), json!({"wall_ms": 20_001})] {
        let body = json!({"command": ["true"], "limits": limits});
        let requests =
            [server.operation("execEvents", &[("sandbox", "box")], ""), server.operation("runEvents", &[], "")];
        for request in requests {
            server.send(&request.json(&body)).problem(403, "not_allowed");
        }
    }
    server.stop();
}

#[test]
fn whoever_hangs_up_ends_the_command_and_frees_its_place() {
    let server = Server::start(&["--max-commands", "2"]);
    server.sandbox("box");
    let silent = shell("echo here; exec sleep 1000");
    let run = || events(&server, server.operation("runEvents", &[], "").json(&silent), None);
    let starts: [&dyn Fn() -> Events; 2] = [&|| exec(&server, &silent), &run];
    for start in starts {
        let mut stream = start();
        next(&mut stream).unwrap();
        assert_eq!(metric(&server, "pinfold_commands"), "1");
        // One of two is the most that an owner has.
        let second = server.operation("runEvents", &[], "").json(&shell("true"));
        server.send(&second).problem(503, "overloaded");
        drop(stream);
        until("its place is free", || metric(&server, "pinfold_commands") == "0");
        until("no command runs", || {
            let shown = server.send(&server.operation("showSandbox", &[("sandbox", "box")], "")).expect(200).json();
            shown["stats"]["running"] == 0
        });
    }
    server.stop();
}

#[test]
fn whoever_takes_nothing_is_let_go_with_the_command() {
    let server = Server::start(&["--output", "1G"]);
    let flood = json!({"command": ["yes"], "limits": {"wall_ms": 600_000, "output_bytes": 1 << 30}});
    let mut stream = events(&server, server.operation("runEvents", &[], "").json(&flood), None);
    next(&mut stream).unwrap();
    // Far more than any buffer holds is to come, and nobody reads on.
    until("it is given up", || metric(&server, "pinfold_commands") == "0");
    assert!(rest(&mut stream).iter().all(|(_, event, _)| event == "stdout"), "no result");
    server.stop();
}

#[test]
fn a_server_that_ends_waits_for_what_is_followed_and_a_token_that_is_withdrawn_ends_it() {
    let server = Server::start(&[]);
    server.sandbox("box");
    let mut stream = exec(&server, &shell("echo one; exec sleep 1000"));
    next(&mut stream).unwrap();
    std::fs::write(server.home.scratch.path("tokens"), format!("bob {BOB}\n")).unwrap();
    server.signal(rustix::process::Signal::HUP);
    assert_eq!(rest(&mut stream), [], "it is no end of the command");
    let text = format!("ann {ANN}\nbob {BOB}\n");
    std::fs::write(server.home.scratch.path("tokens"), text).unwrap();
    server.signal(rustix::process::Signal::HUP);
    server.line("reloaded");
    server.line("reloaded");
    until("the command has ended", || metric(&server, "pinfold_commands") == "0");
    let mut stream = exec(&server, &shell("echo one; until [ -e go ]; do sleep 0.05; done; echo two"));
    next(&mut stream).unwrap();
    server.signal(rustix::process::Signal::TERM);
    server.line("draining");
    server.home.says("http.ann.box", "touch go");
    let rest = rest(&mut stream);
    let kinds: Vec<_> = rest.iter().map(|(_, event, _)| event.as_str()).collect();
    assert_eq!(kinds, ["stdout", "result"], "{rest:?}");
    server.stop();
}
