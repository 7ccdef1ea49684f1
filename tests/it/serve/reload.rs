//! SIGHUP: the token file is read anew, and what was withdrawn is good for nothing from then on.

use super::client::Request;
use super::events::{events, next};
use super::{ANN, BOB, Server, phase};
use crate::held::Home;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::process::Stdio;

const CID: &str = "cids-token-0000000000";

#[test]
fn a_token_that_was_withdrawn_is_good_for_nothing_and_what_it_followed_ends() {
    let server = Server::start(&["--max-commands", "2"]);
    let file = server.home.scratch.path("tokens");
    let status = |token: &str| server.send(&Request::get("/v1/sandboxes").token(token)).status;
    let reload = |text: &str, event: &str| {
        std::fs::write(&file, text).unwrap();
        server.signal(Signal::HUP);
        server.line(event)
    };
    server.sandbox("box");
    let script = "echo one; sleep 1000";
    let detach = server.operation("detach", &[("sandbox", "box")], "").json(&json!({"command": ["sh", "-c", script]}));
    server.send(&detach).expect(200);
    let build = server.build("p", &format!("{script}; mkdir out"));
    let mut streams = [
        events(&server, server.operation("followLogs", &[("sandbox", "box")], ""), None),
        events(&server, server.operation("followBuildLogs", &[("build", &build)], ""), None),
    ];
    for stream in &mut streams {
        while next(stream).expect("it goes on").2["text"].as_str().is_none_or(|text| text.trim_end() != "one") {}
    }
    let mut bobs =
        events(&server, server.operation("followBuildLogs", &[("build", &bobs_build(&server))], "").token(BOB), None);
    assert_eq!(reload(&format!("cid {CID}\nbob {BOB}\n"), "reloaded")["owners"], 2);
    assert_eq!([status(ANN), status(BOB), status(CID)], [401, 200, 200]);
    for stream in &mut streams {
        while let Some((_, event, _)) = next(stream) {
            assert_eq!(event, "log", "it is no end of what was followed");
        }
    }
    // What can't be read changes nothing, and is told.
    for text in ["bob short\n", ""] {
        let line = reload(text, "reload");
        assert_eq!((&line["level"], status(BOB)), (&json!("error"), 200), "{line}");
    }
    // Whoever comes back finds what is his, and nobody has it meanwhile.
    let of_cid = server.send(&Request::get("/v1/sandboxes").token(CID)).expect(200).json();
    assert_eq!(of_cid["sandboxes"], json!([]));
    reload(&format!("dora doras-token-00000000\nann {ANN}\nbob {BOB}\n"), "reloaded");
    assert_eq!([status(ANN), status(BOB), status(CID)], [200, 200, 401]);
    assert_eq!(server.shell("box", "echo still")["stdout"], "still\n");
    let cancel = server.operation("cancelBuild", &[("build", &build)], "");
    server.send(&cancel).expect(200);
    assert_eq!(server.built(&build)["state"], "cancelled");
    // Who was there all the time noticed nothing.
    while next(&mut bobs).expect("it goes on").1 != "end" {}
    server.stop();
}

/// A build of Bob's that ends when the one of Ann has.
fn bobs_build(server: &Server) -> String {
    let files = json!({"files": [{"path": "pinfold.toml", "content": phase("sleep 1; mkdir out; echo x > out/x")}]});
    let request = server.operation("build", &[], "?project=p").token(BOB);
    server.send(&request.json(&files)).expect(200).json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_terminal_that_is_closed_ends_the_server_that_was_started_in_it() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let home = Home::new();
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let terminal = File::options().read(true).write(true).open(path).unwrap();
    let mut child = home.pinfold(&["serve"]).stdout(Stdio::null()).stderr(OwnedFd::from(terminal)).spawn().unwrap();
    let mut lines = BufReader::new(File::from(master));
    let mut until = |words: &str| {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            lines.read_line(&mut line).unwrap();
        }
    };
    until("working");
    // While it is there, it is a wish like any other.
    kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
    until("reloaded");
    drop(lines);
    kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    super::is_clean(&home);
}
