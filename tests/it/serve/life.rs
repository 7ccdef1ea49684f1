//! From the first start to the end: the token, the socket, what a service manager hands over and is told, and what becomes of
//! what is at work.

use super::client::{Address, Request};
use super::{ANN, PATIENCE, Server, is_clean, tokens};
use crate::held::Home;
use crate::support::finish;
use rustix::process::Signal;
use serde_json::json;
use std::io::{BufRead, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::Stdio;

#[test]
fn the_first_start_makes_a_socket_and_a_token_that_are_this_users_alone() {
    let home = Home::new();
    let command = home.pinfold(&["serve"]);
    let server = Server::of(home, command);
    let Address::Unix(socket) = &server.address else { panic!("{:?}", server.address) };
    let mode = |path: &std::path::Path| std::fs::symlink_metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    let file = server.home.scratch.path("state").join("server.tokens");
    assert_eq!(mode(&file), 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    let token = text.trim_end().strip_prefix("default ").unwrap().to_owned();
    assert_eq!(token.len(), 64);
    let all = Request::get("/v1/sandboxes");
    server.send(&all).problem(401, "unauthorized");
    server.send(&all.clone().token(&token)).expect(200);
    // A second one does not take its place, and the first one lives on.
    server.home.fails(&["serve"], "another server is there");
    server.send(&all.clone().token(&token)).expect(200);
    // What a killed server left is taken over, and the token stays.
    server.signal(Signal::KILL);
    let mut server = server;
    server.child.wait().unwrap();
    let home = std::mem::replace(&mut server.home, Home::new());
    let command = home.pinfold(&["serve"]);
    let again = Server::of(home, command);
    again.send(&all.token(&token)).expect(200);
    let Address::Unix(socket) = again.address.clone() else { panic!("a socket") };
    again.stop();
    assert!(!socket.exists());
}

#[test]
fn what_is_not_safe_is_not_started() {
    let home = Home::new();
    let tokens = tokens(&home);
    let tokens = tokens.to_str().unwrap();
    home.fails(&["serve", "--listen", "0.0.0.0:0"], "name who may use it with `--token-file FILE`");
    home.fails(&["serve", "--listen", "[::]:0"], "name who may use it with `--token-file FILE`");
    home.fails(&["serve", "--token-file", "/nonexistent"], "the token file `/nonexistent`");
    std::fs::set_permissions(tokens, std::fs::Permissions::from_mode(0o644)).unwrap();
    home.fails(&["serve", "--token-file", tokens], "nobody else may read it (mode 0600)");
    std::fs::set_permissions(tokens, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(tokens, "ann short\n").unwrap();
    home.fails(&["serve", "--token-file", tokens], "line 1: a token has at least 16 characters");
    home.fails(&["serve", "--workspace", "/tmp"], "one directory for all clients");
    home.fails(&["serve", "--output", "max"], "what is kept in memory has a bound");
    let file = home.scratch.path("file");
    std::fs::write(&file, "mine").unwrap();
    home.fails(&["serve", "--socket", file.to_str().unwrap()], "something else is there");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "mine");
    is_clean(&home);
}

#[test]
fn a_service_manager_hands_over_the_socket_and_hears_when_it_is_ready() {
    let home = Home::new();
    let (path, notify) = (home.scratch.path("handed.sock"), home.scratch.path("notify"));
    let listener = UnixListener::bind(&path).unwrap();
    let manager = UnixDatagram::bind(&notify).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    // As sd_listen_fds(3) has it: the socket is number 3, and the number of the process is that of whoever is executed.
    let program = crate::support::pinfold();
    let line = r#"exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" serve --token-file "$1""#;
    let tokens = tokens(&home);
    let mut command = home.pinfold(&[]);
    let environment: Vec<_> =
        command.get_envs().map(|(name, value)| (name.to_owned(), value.unwrap().to_owned())).collect();
    command = std::process::Command::new("sh");
    command.args(["-c", line]).arg(program).arg(tokens).envs(environment).env("NOTIFY_SOCKET", &notify);
    assert!(listener.as_raw_fd() > 2);
    command.stdin(Stdio::from(std::os::fd::OwnedFd::from(listener))).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut words = [0; 64];
    let mut heard = || {
        let length = manager.recv(&mut words).unwrap();
        String::from_utf8_lossy(&words[..length]).into_owned()
    };
    assert_eq!(heard(), "READY=1");
    let address = Address::Unix(path.clone());
    address.send(&Request::get("/v1/sandboxes").token(ANN)).expect(200);
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(heard(), "STOPPING=1");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // The socket is the manager's, who hands it to the next one.
    assert!(path.exists());
    is_clean(&home);
}

#[test]
fn what_is_at_work_when_it_ends_comes_to_its_end() {
    let mut server = Server::start(&["--drain", "100s"]);
    server.sandbox("box");
    let script = "echo begun > begun; while [ ! -e go ]; do sleep 0.05; done; echo done";
    let exec = server.operation("exec", &[("sandbox", "box")], "");
    let mut answer = server.address.open(&exec.json(&json!({"command": ["sh", "-c", script]})));
    let kept = server.address.connect();
    let stat = server.operation("statOfSandbox", &[("sandbox", "box")], "?path=begun");
    while server.send(&stat).status != 200 {}
    server.signal(Signal::TERM);
    server.line("draining");
    let Address::Tcp(address) = server.address else { panic!("an address") };
    // Nobody new is let in, and what does nothing is let go.
    while std::net::TcpStream::connect(address).is_ok() {
        std::thread::yield_now();
    }
    let mut kept = std::io::BufReader::new(kept);
    assert_eq!(kept.read_line(&mut String::new()).unwrap_or(0), 0);
    server.home.sandboxes().get("http.ann.box").unwrap().files().unwrap().write("go", "").unwrap();
    let mut text = String::new();
    answer.read_to_string(&mut text).unwrap();
    assert!(text.contains(" 200 ") && text.contains(r#""stdout":"done\n""#), "{text}");
    assert_eq!(server.line("ended")["why"], "done");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    // The sandbox lives on.
    let sandboxes = server.home.sandboxes();
    assert!(sandboxes.get("http.ann.box").unwrap().stats().is_ok());
    sandboxes.stop("http.ann.box").unwrap();
    is_clean(&server.home);
}

#[test]
fn what_does_not_end_in_time_is_ended() {
    let mut server = Server::start(&["--drain", "1s"]);
    let job = json!({"command": ["sleep", "1000"], "limits": {"wall_ms": 600_000}});
    let run = server.operation("run", &[], "").json(&job);
    let mut answer = server.address.open(&run);
    let metrics = Request::get("/metrics").token(ANN);
    while !server.send(&metrics).expect(200).text().contains("pinfold_commands 1\n") {}
    server.signal(Signal::TERM);
    assert_eq!(server.line("ended")["why"], "deadline");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    let _cut_off = answer.read_to_string(&mut rest);
    assert!(!rest.contains(" 200 "), "{rest}");
    is_clean(&server.home);
}

#[test]
fn a_name_from_inside_forges_no_line_of_the_log() {
    let server = Server::start(&[]);
    let mut stream = server.address.connect();
    let path = "/v1/%0A{\"event\":\"forged\"}\u{9b}2J\u{2028}x";
    let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.address.host());
    stream.write_all(head.as_bytes()).unwrap();
    let _some_answer = stream.read_to_end(&mut Vec::new());
    server.send(&Request::get("/v1/a%0D%0Ab%1b%5b2J").token(ANN)).problem(404, "no_route");
    let line = loop {
        let line = server.line("request");
        if line["path"].as_str().is_some_and(|path| path.contains("%0D")) {
            break line;
        }
    };
    assert_eq!(line["status"], 404);
    server.stop();
}

#[test]
fn the_server_is_not_started_by_hand() {
    let program = crate::support::pinfold().with_file_name("pinfold-server");
    let child = std::process::Command::new(program).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (code, _, stderr) = finish(child);
    assert_eq!((code, stderr.as_str()), (125, "pinfold-server: it is started by `pinfold serve`\n"));
}
