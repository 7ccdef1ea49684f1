//! Sockets: no namespace holds them, so filters do. A socket file of the caller's may lead to a service that runs
//! whatever it is told, unconfined.

use super::{EACCES, EPERM, open_place, probe, stands};
use crate::sandbox::{Scratch, unconfined};
use serde_json::json;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};

const EAFNOSUPPORT: &str = "97";
const ESOCKTNOSUPPORT: &str = "94";

#[test]
fn without_network_no_socket_leads_anywhere() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = format!("tcp {}", listener.local_addr().unwrap());
    let words = [
        tcp.as_str(),
        "make 2 1 0",
        "make 2 2 0",
        "make 10 1 0",
        "make 10 2 0",
        "make 16 3 0",
        "make 38 5 0",
        "make 40 1 0",
    ];
    let lines = probe(&scratch, "socket", &words).run().lines();
    assert!(lines.iter().all(|line| line == EAFNOSUPPORT), "{lines:?}");
    assert_eq!(unconfined("socket", &words[..4]), ["ok"; 4]);
}

#[test]
fn no_unix_socket_of_the_host_can_be_reached_with_any_network() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    let path = format!("{}/socket", open_place(&scratch, "outside"));
    let _listener = UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    let name = format!("pinfold-it-landlocked-{}", std::process::id());
    let _other = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let (path, name) = (format!("unix {path}"), format!("abstract {name}"));
    let words = [path.as_str(), name.as_str(), "make 1 2 0", "make 1 3 0"];
    let lines = probe(&scratch, "socket", &words).run().lines();
    assert_eq!(lines, [EACCES, EACCES, ESOCKTNOSUPPORT, ESOCKTNOSUPPORT]);
    let lines = probe(&scratch, "socket", &words).with("network", json!("host")).run().lines();
    assert_eq!(lines, [EACCES; 4]);
    assert_eq!(unconfined("socket", &words), ["ok"; 4]);
}

#[test]
fn pairs_are_left_but_for_those_that_can_send_elsewhere() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    // Stream, sequenced packets, datagrams, raw; then datagrams with a flag set.
    let pairs: Vec<_> =
        [1, 5, 2, 3, 0o2000002].iter().map(|kind| format!("{}:1,{kind},0,z/8", libc::SYS_socketpair)).collect();
    let words: Vec<&str> = pairs.iter().map(String::as_str).collect();
    for network in ["none", "host"] {
        let lines = probe(&scratch, "syscall", &words).with("network", json!(network)).run().lines();
        assert_eq!(lines, ["ok", "ok", ESOCKTNOSUPPORT, ESOCKTNOSUPPORT, ESOCKTNOSUPPORT], "{network}");
    }
    assert_eq!(unconfined("syscall", &words), ["ok"; 5]);
}

#[test]
fn no_name_of_the_host_s_can_be_taken() {
    if !stands() {
        return;
    }
    if !crate::support::has_program("python3") {
        return;
    }
    let script = "import socket, sys\nfor name in sys.argv[1:]:\n  try: socket.socket(socket.AF_UNIX).bind(name.replace('@', '\\0')); print('ok')\n\
                  \x20 except OSError as error: print(error.errno)";
    let command = ["/usr/bin/python3", "-c", script, "@pinfold-it-name", "socket"];
    for network in ["none", "host"] {
        assert_eq!(super::job(&command).with("network", json!(network)).run().lines(), [EACCES, EACCES]);
    }
    let scratch = Scratch::new();
    let twin =
        std::process::Command::new(command[0]).args(&command[1..]).current_dir(scratch.dir("twin")).output().unwrap();
    assert_eq!(String::from_utf8(twin.stdout).unwrap(), "ok\nok\n");
}

#[test]
fn a_policy_of_one_s_own_opens_none_of_it() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    let policy = scratch.file("policy.json", r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#);
    let words = [format!("{}:8,z/120", libc::SYS_io_uring_setup), format!("{}:0,4096,0x3b6", libc::SYS_shmget)];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    for network in ["none", "host"] {
        let job = || probe(&scratch, "syscall", &words).with("network", json!(network));
        let lines = job().with("seccomp", json!({"path": policy})).run().lines();
        assert_eq!(lines, [EPERM, "38"]);
    }
    let job = probe(&scratch, "socket", &["make 2 1 0", "make 1 1 0"]).with("seccomp", json!({"path": policy}));
    assert_eq!(job.run().lines(), [EAFNOSUPPORT, "ok"]);
}

#[test]
fn the_host_s_network_is_there_when_it_is_asked_for() {
    if !stands() {
        return;
    }
    let scratch = Scratch::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = format!("tcp {}", listener.local_addr().unwrap());
    let lines = probe(&scratch, "socket", &[&tcp, "loopback"]).with("network", json!("host")).run().lines();
    assert_eq!(lines, ["ok", "ok"]);
}
