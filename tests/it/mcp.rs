//! `pinfold mcp`: what a client on stdin and stdout gets, what no client gets, and what is left when it is gone.

mod bounds; // what no tool call can do
mod client; // the official client, in Python
mod ends; // cancelled requests, and clients that are gone
mod tools; // each tool once

use crate::held::Home;
use crate::support;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long any answer may take, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server and somebody who speaks to it, line by line.
pub(super) struct Server {
    pub(super) child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    /// What came while something else was waited for.
    pub(super) seen: VecDeque<Value>,
    next: u64,
}

impl Server {
    pub(super) fn start(home: &Home, args: &[&str]) -> Self {
        support::pinfold();
        let mut command = home.pinfold(&[&["mcp"], args].concat());
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // Nothing but the protocol is on stdout.
                let message = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                let _test_is_over = sender.send(message);
            }
        });
        let stdin = child.stdin.take();
        let mut server = Self { child, stdin, lines, seen: VecDeque::new(), next: 1 };
        let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
        let answer = server.request("initialize", hello);
        assert_eq!(answer["result"]["serverInfo"]["name"], "pinfold", "{answer}");
        server.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        server
    }

    pub(super) fn send(&mut self, message: &Value) {
        self.write(format!("{message}\n").as_bytes());
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(bytes).and_then(|()| stdin.flush()).unwrap();
    }

    /// Asks without waiting: the request's id.
    pub(super) fn ask(&mut self, method: &str, params: Value) -> u64 {
        let id = self.next;
        self.next += 1;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        id
    }

    pub(super) fn answer(&mut self, id: u64) -> Value {
        loop {
            let message = self.lines.recv_timeout(PATIENCE).expect("an answer");
            if message["id"] == id {
                return message;
            }
            self.seen.push_back(message);
        }
    }

    pub(super) fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.ask(method, params);
        self.answer(id)
    }

    pub(super) fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self.request("tools/call", json!({"name": tool, "arguments": arguments}));
        assert!(answer["result"].is_object(), "{tool}: {answer}");
        answer["result"].clone()
    }

    /// A call that must succeed: its data.
    pub(super) fn ok(&mut self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], false, "{tool}: {result}");
        assert!(!words(&result).is_empty() && result["structuredContent"].is_object(), "{tool}: {result}");
        result["structuredContent"].clone()
    }

    /// A call that must be refused in words for the model.
    pub(super) fn fails(&mut self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], true, "{tool}: {result}");
        words(&result)
    }

    /// Closes stdin and waits for the end: the exit code.
    pub(super) fn close(&mut self) -> Option<i32> {
        drop(self.stdin.take());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let code = self.close();
        assert!(std::thread::panicking() || code.is_none() || code == Some(0), "{code:?}");
    }
}

/// The text of a result.
pub(super) fn words(result: &Value) -> String {
    result["content"].as_array().into_iter().flatten().filter_map(|part| part["text"].as_str()).collect()
}
