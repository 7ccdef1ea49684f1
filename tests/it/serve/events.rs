//! The log of a sandbox as events: whatever happens to the connection, each line comes once.

use super::client::{Request, Stream};
use super::{ANN, BOB, PATIENCE, Server};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::time::Instant;

const LINES: u64 = 2000;

/// One event: its id, its kind, its data.
pub(super) type Event = (String, String, Value);

fn follow(server: &Server, last: Option<&str>) -> BufReader<Box<dyn Stream>> {
    events(server, server.operation("followLogs", &[("sandbox", "box")], ""), last)
}

/// The events that a request asks for, from behind the last one on.
pub(super) fn events(server: &Server, mut request: Request, last: Option<&str>) -> BufReader<Box<dyn Stream>> {
    if let Some(last) = last {
        request = request.header("Last-Event-ID", last);
    }
    let mut stream = server.address.open(&request);
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    assert!(line.contains(" 200 "), "{line}");
    let mut is_stream = false;
    while line.trim_end() != "" {
        line.clear();
        stream.read_line(&mut line).unwrap();
        is_stream |= line.trim_end().eq_ignore_ascii_case("content-type: text/event-stream");
    }
    assert!(is_stream);
    stream
}

/// The next event that has an id; none when the stream has ended. Heartbeats alone would go on for ever.
pub(super) fn next(stream: &mut impl BufRead) -> Option<Event> {
    let start = Instant::now();
    let (mut id, mut event, mut data) = (String::new(), String::new(), Value::Null);
    loop {
        assert!(start.elapsed() < PATIENCE, "nothing comes but heartbeats");
        let mut line = String::new();
        // What was cut off is no line.
        if stream.read_line(&mut line).is_err() || !line.ends_with('\n') {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some(("id", text)) => id = text.to_owned(),
            Some(("event", text)) => event = text.to_owned(),
            Some(("data", text)) => data = serde_json::from_str(text).unwrap(),
            _ if line == "\n" && !id.is_empty() => return Some((id, event, data)),
            _ => {}
        }
    }
}

#[test]
fn a_stream_that_is_cut_and_taken_up_again_tells_each_line_once() {
    let server = Server::start(&[]);
    server.sandbox("box");
    let script = format!("i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo line $i; done; exec sleep 1000");
    let detach = server.operation("detach", &[("sandbox", "box")], "");
    server.send(&detach.json(&json!({"command": ["sh", "-c", script]}))).expect(200);
    let (mut last, mut told) = (None::<String>, Vec::new());
    let mut cuts = 0;
    while told.len() < usize::try_from(LINES).unwrap() {
        let mut stream = follow(&server, last.as_deref());
        // Cut off after some, in the middle of whatever comes.
        for _ in 0..37 + cuts * 11 {
            let Some((id, event, data)) = next(&mut stream) else { panic!("it ended after {}", told.len()) };
            assert_eq!(event, "log");
            last = Some(id);
            if data["event"] == "stdout" {
                told.push(data["text"].as_str().unwrap().to_owned());
            }
            if told.len() == usize::try_from(LINES).unwrap() {
                break;
            }
        }
        cuts += 1;
    }
    let expected: Vec<_> = (1..=LINES).map(|number| format!("line {number}")).collect();
    assert_eq!(told, expected);
    assert!(cuts > 3, "{cuts}");
    // A stop is the last thing that is told, and then there is an end.
    let mut stream = follow(&server, last.as_deref());
    server.send(&server.operation("stopSandbox", &[("sandbox", "box")], "")).expect(204);
    let mut kinds = Vec::new();
    while let Some((id, event, data)) = next(&mut stream) {
        kinds.push(if event == "log" { data["event"].as_str().unwrap().to_owned() } else { event });
        last = Some(id);
    }
    assert_eq!(kinds, ["ended", "stopped", "end"]);
    // A browser that asks again is told to let it be.
    let again =
        server.operation("followLogs", &[("sandbox", "box")], "").header("Last-Event-ID", &last.clone().unwrap());
    server.send(&again).expect(204);
    // And another sandbox of that name is told from its beginning.
    server.sandbox("box");
    let mut stream = follow(&server, last.as_deref());
    assert_eq!(next(&mut stream).unwrap().2["event"], "started");
    drop(stream);
    let other = Request::get("/v1/sandboxes/box/logs/events").token(BOB);
    server.send(&other).problem(404, "not_found");
    server.stop();
}

#[test]
fn whoever_follows_is_told_that_the_connection_lives_and_nothing_stays_when_they_go() {
    let server = Server::start(&[]);
    server.sandbox("box");
    let mut stream = follow(&server, None);
    while next(&mut stream).unwrap().2["event"] != "started" {}
    let mut line = String::new();
    while !line.starts_with(": heartbeat") {
        line.clear();
        assert!(stream.read_line(&mut line).unwrap() > 0, "it ended");
    }
    let streams = || {
        let metrics = server.send(&Request::get("/metrics").token(ANN)).expect(200).text();
        metrics.lines().find(|line| line.starts_with("pinfold_streams ")).unwrap().to_owned()
    };
    assert_eq!(streams(), "pinfold_streams 1");
    drop(stream);
    let deadline = Instant::now() + PATIENCE;
    while streams() != "pinfold_streams 0" {
        assert!(Instant::now() < deadline, "its thread stays");
    }
    server.stop();
}

#[test]
fn a_server_that_ends_lets_streams_go_and_the_next_one_takes_them_up() {
    let mut server = Server::start(&[]);
    server.sandbox("box");
    let mut stream = follow(&server, None);
    let (id, ..) = next(&mut stream).unwrap();
    server.signal(rustix::process::Signal::TERM);
    // No last event: it goes on elsewhere.
    while let Some((_, event, _)) = next(&mut stream) {
        assert_eq!(event, "log");
    }
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    let home = std::mem::replace(&mut server.home, crate::held::Home::new());
    let tokens = home.scratch.path("tokens");
    let command = home.pinfold(&["serve", "--token-file", tokens.to_str().unwrap()]);
    let next_server = Server::of(home, command);
    let exec = next_server.shell("box", "echo here still");
    assert_eq!(exec["stdout"], "here still\n");
    let mut stream = follow(&next_server, Some(&id));
    assert_eq!(next(&mut stream).unwrap().2["event"], "begun");
    drop(stream);
    next_server.stop();
}
