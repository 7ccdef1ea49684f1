//! The page at the root of `pinfold serve`: whom its sessions let in, and that all of it works in a real browser.

mod access; // sessions, cookies, pages of other sites, the page's own files
mod browser; // Chromium, spoken to by its own protocol through a pipe
mod builds; // somebody builds, watches the log, looks at the preview beside it, cancels
mod flow; // somebody works in it, loses the server and finds it again
mod preview; // what a build made, at its own origin in the same browser
mod vite; // a real site, from its checkout to the browser

use crate::held::Home;
use crate::support;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Stdio};
use std::time::Duration;

/// How long anything may take, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(120);

const TOKEN: &str = "anns-token-0123456789";
const OTHERS: &str = "bobs-token-9876543210";

/// A server, which may be killed and started again at the same address.
struct Server {
    home: Home,
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start() -> Self {
        Self::at(Home::new())
    }

    fn at(home: Home) -> Self {
        support::pinfold();
        let path = home.scratch.path("tokens");
        let mut file = std::fs::File::options().create_new(true).write(true).mode(0o600).open(path).unwrap();
        file.write_all(format!("ann {TOKEN}\nbob {OTHERS}\n").as_bytes()).unwrap();
        let (child, address) = serve(&home, "127.0.0.1:0");
        Self { home, child, address }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn start_again(&mut self) {
        let (child, address) = serve(&self.home, &self.address.to_string());
        assert_eq!(address, self.address);
        self.child = child;
    }

    /// Sends a request: the status, the head and the body of the answer.
    fn ask(&self, request: &str, headers: &str, body: &str) -> (u16, String, String) {
        ask(self.address, request, headers, body)
    }

    /// Ends it: nothing of it and its sandboxes is left.
    fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        assert!(self.home.sandboxes().list().unwrap().is_empty());
        crate::serve::is_clean(&self.home);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn serve(home: &Home, listen: &str) -> (Child, SocketAddr) {
    let tokens = home.scratch.path("tokens");
    let mut command = home.pinfold(&["serve", "--listen", listen, "--token-file", tokens.to_str().unwrap()]);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    let listening: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let address = listening["place"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    // Its log is read on, or it would have nowhere to go.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    (child, address)
}

fn ask(host: SocketAddr, request: &str, headers: &str, body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let text = format!(
        "{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_owned(), body.to_owned())
}
