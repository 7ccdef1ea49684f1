//! What no client can have, whatever it asks for, and whom no client can hold up.

use super::client::{Request, Response};
use super::{ANN, BOB, PATIENCE, Server};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

fn run(job: &Value) -> Request {
    Request::new("POST", "/v1/run").token(ANN).json(job)
}

#[test]
fn no_client_widens_what_the_operator_set() {
    let server = Server::start(&["--memory", "64M", "--pids", "20", "--time", "5s", "--disk", "1M", "--env", "OWN=1"]);
    for (field, more) in [
        ("workspace", json!({"workspace": {"path": "/etc"}})),
        ("root", json!({"root": {"path": "/"}})),
        ("mounts", json!({"mounts": [{"source": "/etc", "target": "/mnt"}]})),
        ("artifacts", json!({"artifacts": {"paths": ["a"], "directory": "/tmp/out"}})),
        ("mode", json!({"mode": "landlock"})),
        ("seccomp", json!({"seccomp": {"path": "/etc/passwd"}})),
        ("network", json!({"network": "host"})),
        ("network", json!({"network": {"allow": ["127.0.0.1:80"]}})),
        ("limits.memory_bytes", json!({"limits": {"memory_bytes": 65 << 20}})),
        ("limits.memory_bytes", json!({"limits": {"memory_bytes": "max"}})),
        ("limits.pids", json!({"limits": {"pids": 21}})),
        ("limits.wall_ms", json!({"limits": {"wall_ms": 5001}})),
        ("limits.workspace_bytes", json!({"limits": {"workspace_bytes": 2 << 20}})),
        ("limits.output_bytes", json!({"limits": {"output_bytes": "max"}})),
    ] {
        let mut job = more.clone();
        job["command"] = json!(["true"]);
        assert_eq!(server.send(&run(&job)).problem(403, "not_allowed")["field"], field, "{more}");
        if field != "artifacts" && field != "limits.wall_ms" {
            let start = Request::new("PUT", "/v1/sandboxes/x").token(ANN).json(&more);
            assert_eq!(server.send(&start).problem(403, "not_allowed")["field"], field, "{more}");
        }
    }
    for wrong in
        [json!({}), json!({"command": ["true"], "limts": {}}), json!({"command": ["true"], "limits": {"pids": -1}})]
    {
        server.send(&run(&wrong)).problem(400, "invalid_job");
    }
    for body in ["", "null", "[]", "{}{}", "{\"command\": [\"true\"]} x", &"[".repeat(100_000)] {
        server
            .send(&Request::new("POST", "/v1/run").token(ANN).body("application/json", body))
            .problem(400, "invalid_job");
    }
    // And what is not named is bounded as well.
    let ran = |script: &str| server.send(&run(&json!({"command": ["sh", "-c", script]}))).expect(200).json();
    assert_eq!(
        ran("echo $OWN; ulimit -u >/dev/null; ls /home 2>&1 | wc -l; grep -c : /proc/net/dev")["stdout"],
        "1\n1\n1\n"
    );
    assert_eq!(ran("x=$(tr '\\0' a < /dev/zero | head -c 200M); echo never")["status"], "out_of_memory");
    assert_eq!(ran("sleep 1000")["status"], "timed_out");
    // In a sandbox that stays, too, with no limit of its own.
    server.sandbox("box");
    let exec = server.operation("exec", &[("sandbox", "box")], "");
    let long = exec.clone().json(&json!({"command": ["true"], "limits": {"wall_ms": 6000}}));
    assert_eq!(server.send(&long).problem(403, "not_allowed")["field"], "limits.wall_ms");
    let ran = server.send(&exec.json(&json!({"command": ["sleep", "1000"]}))).expect(200).json();
    assert_eq!(ran["status"], "timed_out");
    // Of a workspace it is the same.
    let create = Request::new("PUT", "/v1/workspaces/w").token(ANN);
    let big = server.send(&create.json(&json!({"max_bytes": 2 << 20})));
    assert_eq!(big.problem(403, "not_allowed")["field"], "max_bytes");
    server.stop();
}

#[test]
fn there_are_only_so_many_sandboxes_and_workspaces_of_an_owner() {
    let server = Server::start(&["--max-sandboxes", "1", "--max-workspaces", "1"]);
    server.sandbox("one");
    let second = |token: &str| Request::new("PUT", "/v1/sandboxes/two").token(token).json(&json!({}));
    server.send(&second(ANN)).problem(409, "limit");
    server.send(&second(BOB)).expect(201);
    let workspace = |id: &str| Request::new("PUT", &format!("/v1/workspaces/{id}")).token(ANN).json(&json!({}));
    server.send(&workspace("one")).expect(201);
    server.send(&workspace("one")).expect(200);
    server.send(&workspace("two")).problem(409, "limit");
    let fork = Request::new("POST", "/v1/workspaces/one/fork").token(ANN).json(&json!({"to": "two"}));
    server.send(&fork).problem(409, "limit");
    server.stop();
}

#[test]
fn too_much_is_refused_before_it_is_read() {
    let server = Server::start(&["--max-body", "64K", "--max-archive", "128K"]);
    let big = vec![b' '; 65 << 10];
    let run = Request::new("POST", "/v1/run").token(ANN).body("application/json", big.clone());
    server.send(&run).problem(413, "too_big");
    // Without its length, it is counted.
    let mut stream = server.address.connect();
    let head = format!(
        "POST /v1/run HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {ANN}\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{:x}\r\n",
        server.address.host(),
        big.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let _refused_early = stream.write_all(&big).and_then(|()| stream.write_all(b"\r\n0\r\n\r\n"));
    Response::read(stream).problem(413, "too_big");
    server.sandbox("box");
    let archive = Request::new("PUT", "/v1/sandboxes/box/files/archive").token(ANN);
    server.send(&archive.body("application/x-tar", vec![0; 129 << 10])).problem(413, "too_big");
    for target in [format!("/v1/sandboxes/{}", "x".repeat(9000)), format!("/v1/run?{}", "x".repeat(9000))] {
        server.send(&Request::get(&target).token(ANN)).problem(414, "target_too_long");
    }
    let long = Request::get("/v1/sandboxes").token(ANN).header("X", &"x".repeat(40 << 10));
    assert_eq!(server.send(&long).status, 431);
    let many =
        (0..100).fold(Request::get("/v1/sandboxes").token(ANN), |request, n| request.header(&format!("x{n}"), "x"));
    assert_eq!(server.send(&many).status, 431);
    server.send(&Request::get("/v1/sandboxes").token(ANN)).expect(200);
    server.stop();
}

#[test]
fn whoever_is_slow_holds_nobody_up_and_is_let_go() {
    let server = Server::start(&["--max-connections", "40"]);
    let ours = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n", server.address.host());
    let mut slow: Vec<_> = (0..30).map(|_| server.address.connect()).collect();
    for stream in &mut slow {
        stream.write_all(ours.as_bytes()).unwrap();
    }
    let start = Instant::now();
    server.send(&Request::get("/healthz")).expect(200);
    // Each says a little more again and again, and never all.
    let mut ended = 0;
    while ended < slow.len() && start.elapsed() < PATIENCE {
        ended = 0;
        for stream in &mut slow {
            ended += usize::from(stream.write_all(b"X: y\r\n").is_err());
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert_eq!(ended, slow.len(), "they are let go while they still speak");
    server.stop();
}

#[test]
fn thousands_of_connections_are_turned_away_and_cost_nothing_that_stays() {
    let server = Server::start(&["--max-connections", "20"]);
    let mut open = Vec::new();
    let mut turned_away = 0;
    // After 15 seconds those that ask for nothing make room for others, which can be before thousands have come.
    let until = Instant::now() + Duration::from_secs(10);
    while turned_away < 1980 && Instant::now() < until {
        let stream = server.address.connect();
        match open.len() < 20 {
            true => open.push(stream),
            false => {
                let mut words = String::new();
                let mut stream = stream;
                let _closed = stream.read_to_string(&mut words);
                assert!(words.is_empty() || words.starts_with("HTTP/1.1 503 "), "{words}");
                turned_away += 1;
            }
        }
    }
    assert!(open.len() == 20 && turned_away > 20, "{turned_away}");
    drop(open);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut stream = server.address.connect();
        let asked = stream.write_all(&Request::get("/metrics").token(ANN).bytes(&server.address.host()));
        let mut words = String::new();
        let told = asked.is_ok() && stream.read_to_string(&mut words).is_ok();
        if told && words.starts_with("HTTP/1.1 200") && words.contains("\npinfold_connections 1\n") {
            assert!(words.contains("\npinfold_connections_turned_away_total "), "{words}");
            break;
        }
        assert!(Instant::now() < deadline, "nobody is let in again, or who is gone is counted: {words}");
    }
    server.stop();
}

#[test]
fn only_so_many_commands_run_at_once_and_one_who_hangs_up_ends_theirs() {
    let server = Server::start(&["--max-commands", "2"]);
    // One of two is the most that an owner has, so that there is one for the other.
    let long = run(&json!({"command": ["sleep", "1000"], "limits": {"wall_ms": 600_000}}));
    let waiting = server.address.open(&long);
    let metrics = Request::get("/metrics").token(ANN);
    while !server.send(&metrics).expect(200).text().contains("pinfold_commands 1\n") {}
    let short = |token: &str| server.send(&run(&json!({"command": ["true"]})).token(token));
    let until = |status: u16| {
        let deadline = Instant::now() + PATIENCE;
        while short(ANN).status != status {
            assert!(Instant::now() < deadline, "never {status}");
        }
    };
    let refused = short(ANN);
    assert_eq!(refused.header("retry-after"), Some("1"));
    refused.problem(503, "overloaded");
    short(BOB).expect(200);
    drop(waiting);
    until(200);
    server.stop();
}
