//! The network: with `none` there is only loopback, and no other kind of socket reaches out.

use crate::sandbox::{Job, Scratch, eventually, unconfined};
use crate::support::{host_cannot, is_root};
use serde_json::json;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

const EPERM: &str = "1";
const EPROTONOSUPPORT: &str = "93";
const EAFNOSUPPORT: &str = "97";

#[test]
pub(crate) fn the_host_s_loopback_is_another_one() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp {}", listener.local_addr().unwrap());
    let refused = libc::ECONNREFUSED.to_string();
    assert_eq!(Job::probe("socket", &[&address, "loopback"]).run().lines(), [refused.as_str(), "ok"]);
    assert_eq!(unconfined("socket", &[&address]), ["ok"]);
}

#[test]
pub(crate) fn there_is_no_way_out() {
    let unreachable = libc::ENETUNREACH.to_string();
    let asked = ["tcp 192.0.2.1:80", "tcp 8.8.8.8:53", "tcp [2001:db8::1]:80", "tcp 169.254.169.254:80"];
    let lines = Job::probe("socket", &asked).run().lines();
    assert!(lines.iter().all(|line| *line == unreachable || line == "99"), "{lines:?}");
}

#[test]
pub(crate) fn abstract_sockets_of_the_host_are_out_of_reach() {
    let name = format!("pinfold-it-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let asked = format!("abstract {name}");
    assert_eq!(unconfined("socket", &[&asked]), ["ok"]);
    assert_eq!(Job::probe("socket", &[&asked]).run().lines(), [libc::ECONNREFUSED.to_string()]);
    // The host's network has the host's abstract sockets; Landlock fences those off from ABI 6 on.
    let shared = Job::probe("socket", &[&asked]).with("network", json!("host")).run();
    if shared.outcome.isolation.landlock.is_some_and(|abi| abi >= 6) {
        assert_eq!(shared.lines(), [EPERM]);
    } else {
        host_cannot("needs Landlock of ABI 6");
    }
}

#[test]
pub(crate) fn rare_families_and_raw_sockets_are_refused_with_every_network() {
    // Family, type, protocol, and the errno inside.
    let cases = [
        ("make 2 3 1", EPERM), // AF_INET, raw
        ("make 10 3 58", EPERM),
        ("make 17 3 0", EAFNOSUPPORT),    // AF_PACKET
        ("make 38 5 0", EAFNOSUPPORT),    // AF_ALG: CVE-2026-31431
        ("make 40 1 0", EAFNOSUPPORT),    // AF_VSOCK
        ("make 31 3 1", EAFNOSUPPORT),    // AF_BLUETOOTH
        ("make 29 3 1", EAFNOSUPPORT),    // AF_CAN
        ("make 44 3 0", EAFNOSUPPORT),    // AF_XDP
        ("make 30 2 0", EAFNOSUPPORT),    // AF_TIPC
        ("make 21 5 0", EAFNOSUPPORT),    // AF_RDS
        ("make 15 3 2", EAFNOSUPPORT),    // AF_KEY
        ("make 16 3 9", EPROTONOSUPPORT), // netlink: audit
        ("make 16 3 12", EPROTONOSUPPORT),
        ("make 16 3 15", EPROTONOSUPPORT), // netlink: uevents of the host
        ("make 2 1 132", EPROTONOSUPPORT), // SCTP
        ("make 2 1 262", EPROTONOSUPPORT), // MPTCP
        ("make 2 2 136", EPROTONOSUPPORT),
        ("make 4294967298 3 1", EAFNOSUPPORT),
        ("make 2 1 0", "ok"),
        ("make 2 2 17", "ok"),
        ("make 10 1 6", "ok"),
        ("make 1 1 0", "ok"),
        ("make 16 3 0", "ok"),
    ];
    let asked: Vec<&str> = cases.iter().map(|(words, _)| *words).collect();
    for (network, user) in [("none", "1000:1000"), ("host", "1000:1000"), ("none", "0:0")] {
        let job = Job::probe("socket", &asked).with("network", json!(network)).with("user", json!(user));
        for ((words, expected), got) in cases.iter().zip(job.run().lines()) {
            // A family beyond 32 bits is cut to nothing by the probe, as by the kernel.
            assert!(
                got == *expected || words.contains("4294967298"),
                "{words} with {network}: {got}, expected {expected}"
            );
        }
    }
    // The twin: what the kernel of this host does have is made outside.
    let outside = unconfined("socket", &["make 16 3 15", "make 16 3 12"]);
    assert_eq!(outside, ["ok", "ok"]);
    if is_root() {
        assert_eq!(unconfined("socket", &["make 2 3 1", "make 17 3 0"]), ["ok", "ok"]);
    }
}

#[test]
pub(crate) fn names_are_not_found_at_once() {
    let answer = Job::probe("socket", &["name localhost", "name www.example.org"]).run();
    let lines = answer.lines();
    assert_eq!(lines[0], "ok");
    assert_ne!(lines[1], "ok");
    assert!(answer.took < Duration::from_secs(15), "{:?}", answer.took);
}

#[test]
pub(crate) fn two_sandboxes_share_neither_loopback_nor_abstract_sockets_nor_shared_memory() {
    let scratch = Scratch::new();
    let shared = scratch.dir("shared");
    let listen = r#"import os, socket, sys, time
s = socket.socket(); s.bind(("127.0.0.1", 45678)); s.listen()
a = socket.socket(socket.AF_UNIX); a.bind("\0pinfold-neighbour"); a.listen()
open("/dev/shm/neighbour", "w"); open("/tmp/neighbour", "w")
open("/shared/ready", "w")
while not os.path.exists("/shared/done"): time.sleep(0.01)"#;
    if !crate::support::has_program("python3") {
        return;
    }
    let one = Job::new(&["/usr/bin/python3", "-c", listen]).mount(&shared, "/shared", true).spawn();
    eventually("the neighbour listens", || scratch.path("shared/ready").exists());
    let refused = libc::ECONNREFUSED.to_string();
    let lines = Job::probe("socket", &["tcp 127.0.0.1:45678", "abstract pinfold-neighbour"]).run().lines();
    assert_eq!(lines, [refused.as_str(), refused.as_str()]);
    let seen = Job::probe("file", &["stat /dev/shm/neighbour", "stat /tmp/neighbour"]).run().lines();
    assert_eq!(seen, ["2", "2"]);
    std::fs::write(scratch.path("shared/done"), "").unwrap();
    one.answer().exited();
}
