//! `pinfold serve`: what each route does, who may ask and what for, what nobody can do to it, and how it ends.

mod access; // tokens, names, pages of other sites, owners
mod bounds; // what no client can have, and what no client can hold up
mod builds; // builds: handed in, followed, cancelled, done again, and the worker inside of the server
mod client; // one who speaks HTTP, well or badly
mod crash; // SIGKILL of servers while builds run
mod events; // the log as it comes, cut and taken up again
mod holders; // who refers to workspaces
mod life; // sockets, the token, service managers, the end
mod live; // commands that are followed while they run
mod many; // several servers of one directory
mod openapi; // the description, and a program that tries all that it says
mod previews; // what builds made, at origins of their own
mod reload; // the token file read anew
mod room; // what an owner's builds may hold
mod routes; // each route once
mod socket; // a terminal over a WebSocket
mod threads; // checkpoints without files, and what is kept of those with files

use self::client::{Address, Request, Response};
use crate::held::Home;
use crate::support;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long anything may take, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The tokens of two owners.
const ANN: &str = "anns-token-0123456789";
const BOB: &str = "bobs-token-9876543210";

/// A server that lives as long as this does.
struct Server {
    home: Home,
    child: Child,
    address: Address,
    /// What it logs, line by line.
    journal: Receiver<Value>,
    /// The operations that were asked for.
    asked: Mutex<BTreeSet<String>>,
    document: Value,
}

impl Server {
    /// With two owners, at an address of this host.
    fn start(args: &[&str]) -> Self {
        let home = Home::new();
        let tokens = tokens(&home);
        let with = ["serve", "--listen", "127.0.0.1:0", "--token-file", tokens.to_str().unwrap()];
        let command = home.pinfold(&[&with, args].concat());
        Self::of(home, command)
    }

    /// The one that a command starts.
    fn of(home: Home, command: Command) -> Self {
        let (child, journal) = started(command);
        let listening: Value = journal.recv_timeout(PATIENCE).expect("it listens");
        let address = Address::of(listening["place"].as_str().unwrap());
        let mut server = Self { home, child, address, journal, asked: Mutex::default(), document: Value::Null };
        server.document = server.send(&Request::get("/openapi.json")).json();
        server
    }

    fn send(&self, request: &Request) -> Response {
        self.address.send(request)
    }

    /// The operations of the description: their ids, methods and paths.
    fn operations(&self) -> Vec<(String, String, String)> {
        let mut all = Vec::new();
        for (path, methods) in self.document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap().to_owned();
                all.push((id, method.to_uppercase(), path.clone()));
            }
        }
        assert!(all.len() > 40, "{all:?}");
        all
    }

    /// The request of an operation, whose path's names are these, with what follows it.
    fn operation(&self, id: &str, names: &[(&str, &str)], rest: &str) -> Request {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
        let all = self.operations();
        let (_, method, path) = all.iter().find(|(found, ..)| found == id).unwrap_or_else(|| panic!("no {id}"));
        let mut path = path.clone();
        for (name, value) in names {
            path = path.replace(&format!("{{{name}}}"), value);
        }
        Request::new(method, &format!("{path}{rest}")).token(ANN)
    }

    /// Those that nobody asked for yet.
    fn unasked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        self.operations().into_iter().map(|(id, ..)| id).filter(|id| !asked.contains(id)).collect()
    }

    /// Starts a sandbox of Ann's.
    fn sandbox(&self, name: &str) {
        let request = self.operation("startSandbox", &[("sandbox", name)], "").json(&json!({}));
        self.send(&request).expect(201);
    }

    /// Runs a shell script in a sandbox of Ann's: the result.
    fn shell(&self, name: &str, script: &str) -> Value {
        let request = self.operation("exec", &[("sandbox", name)], "");
        self.send(&request.json(&json!({"command": ["sh", "-c", script]}))).expect(200).json()
    }

    /// Hands in a build of Ann's, of one phase that runs this script and makes `out`: its id.
    fn build(&self, project: &str, script: &str) -> String {
        let request = self.operation("build", &[], &format!("?project={project}"));
        let file = json!({"path": "pinfold.toml", "content": phase(script)});
        let build = self.send(&request.json(&json!({"files": [file]}))).expect(200).json();
        build["id"].as_str().unwrap().to_owned()
    }

    /// What has become of a build of Ann's, when it has ended.
    fn built(&self, id: &str) -> Value {
        let mut stream = events::events(self, self.operation("followBuildLogs", &[("build", id)], ""), None);
        while events::next(&mut stream).unwrap_or_else(|| panic!("{id} did not end")).1 != "end" {}
        self.send(&self.operation("showBuild", &[("build", id)], "")).expect(200).json()
    }

    /// Waits for a line of the log that says this.
    fn line(&self, event: &str) -> Value {
        line(&self.journal, event)
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Ends it: nothing of it and its sandboxes is left.
    fn stop(mut self) {
        self.signal(rustix::process::Signal::TERM);
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        for listed in self.home.sandboxes().list().unwrap() {
            let pinfold::held::Listed::Sandbox(record, _) = listed else { panic!("{listed:?}") };
            self.home.sandboxes().stop(record.name.as_str()).unwrap();
        }
        is_clean(&self.home);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Starts a server: the process, and what it logs, line by line.
fn started(mut command: Command) -> (Child, Receiver<Value>) {
    support::pinfold();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (sender, journal) = channel();
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            // Nothing but the log is on stderr.
            let line = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let _test_is_over = sender.send(line);
        }
    });
    (child, journal)
}

/// Waits for a line of a log that says this.
fn line(journal: &Receiver<Value>, event: &str) -> Value {
    loop {
        let line = journal.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{event}: {error}"));
        if line["event"] == event {
            return line;
        }
    }
}

/// Nothing is left but what the next start takes up: the token, and locks that nobody holds.
pub(crate) fn is_clean(home: &Home) {
    let _absent = std::fs::remove_file(home.scratch.path("state").join("server.tokens"));
    for directory in [home.scratch.path("state"), home.runtime()] {
        for file in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = file.file_name().into_string().unwrap();
            if name.starts_with("server.") && name.ends_with(".lock") {
                let _gone_already = std::fs::remove_file(file.path());
            }
        }
    }
    home.is_clean();
}

/// A `pinfold.toml` of one phase that runs this script and makes `out`.
fn phase(script: &str) -> String {
    format!("artifact = 'out'\n[[phase]]\nname = 'build'\nrun = '''\n{script}\n'''\n")
}

/// A file with the tokens of two owners.
fn tokens(home: &Home) -> PathBuf {
    let path = home.scratch.path("tokens");
    let mut file = std::fs::File::options().create_new(true).write(true).mode(0o600).open(&path).unwrap();
    std::io::Write::write_all(&mut file, format!("ann {ANN}\nbob {BOB}\n").as_bytes()).unwrap();
    path
}
