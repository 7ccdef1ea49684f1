//! Whatever leads elsewhere. Each has a twin that shows that the server would have answered.

use super::{CONNECT, Names, Server, echo, good, greet, loopback, python, run, said, told};
use crate::sandbox::unconfined;
use pinfold::RefusalReason;

/// Connects from outside of any sandbox.
fn outside(port: u16) {
    assert_eq!(unconfined("socket", &[&format!("tcp 127.0.0.1:{port}")]), ["ok"]);
}

#[test]
fn names_that_are_not_listed_and_addresses_that_were_not_given_out_are_refused() {
    let (server, names) =
        (Server::start(greet), Names::of(&[("evil.example", &["127.0.0.1"]), ("good.example", &["127.0.0.1"])]));
    let port = server.port;
    let to = |host: &str| format!("{host} {port}");
    let asked = [
        to("evil.example"),
        to("127.0.0.1"),
        to("::1"),
        to("198.18.0.1"),
        to("198.18.0.2"),
        to("198.19.255.254"),
        to("10.0.0.1"),
        to("169.254.169.254"),
        to("good.example"),
        format!("good.example {}", port.wrapping_add(1).max(1024)),
        to("198.18.0.2"),
        to("198.18.0.3"),
    ];
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let outcome = run(&names, &[format!("good.example:{port}"), loopback(port)], python(CONNECT, &asked));
    let said = said(&outcome);
    let refused = "ECONNREFUSED";
    let expected = [
        "NONAME",
        refused,
        refused,
        refused,
        refused,
        refused,
        "ENETUNREACH",
        "ENETUNREACH",
        "hello",
        refused,
        "hello",
        refused,
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    assert_eq!(server.accepted(), 2);
    outside(port);
}

#[test]
fn a_name_that_is_rebound_leads_nowhere() {
    let server = Server::start(greet);
    let addresses = [
        "127.0.0.1",
        "127.1.2.3",
        "::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "0.0.0.0",
        "::",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "fd00::1",
        "fe80::1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::1",
        "224.0.0.1",
        "255.255.255.255",
    ];
    let names: Vec<String> = (0..addresses.len()).map(|index| format!("n{index}.example")).collect();
    let mut resolver = Names::default();
    for (name, address) in names.iter().zip(addresses) {
        resolver.known.insert(name.clone(), vec![address.parse().unwrap()]);
    }
    let asked: Vec<String> = names.iter().map(|name| format!("{name} {}", server.port)).collect();
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let outcome = run(&resolver, &[format!("*.example:{}", server.port)], python(CONNECT, &asked));
    assert!(said(&outcome).lines().all(|line| ["ECONNRESET", "nothing"].contains(&line)), "{}", said(&outcome));
    let mut told = told(&outcome);
    // Whoever is refused while he still connects tries the name's other address too.
    told.dedup();
    let refused = |name| (name, Some(server.port), Some(RefusalReason::Address));
    assert_eq!(told, names.iter().map(String::as_str).map(refused).collect::<Vec<_>>());
    assert_eq!(server.accepted(), 0);
    outside(server.port);
}

#[test]
fn the_address_that_was_judged_is_the_one_that_is_dialled() {
    let (server, other) = (Server::start(greet), Server::at("127.0.0.2:0", greet));
    // The second time it leads to another server, which is not covered.
    let names = Names::of(&[("good.example", &["127.0.0.1", "127.0.0.2"])]);
    let rules = [
        format!("good.example:{}", server.port),
        format!("127.0.0.1:{}", server.port),
        format!("127.0.0.1:{}", other.port),
    ];
    let to = format!("good.example {}", server.port);
    let outcome = run(&names, &rules, python(CONNECT, &[&to, &to]));
    assert_eq!(said(&outcome).lines().next(), Some("hello"));
    let port = Some(server.port);
    let mut told = told(&outcome);
    told.dedup();
    assert_eq!(told, [("good.example", port, None), ("good.example", port, Some(RefusalReason::Address))]);
    // Once for each connection: between looking and dialling there is nothing that could change.
    assert_eq!(names.asked("good.example"), outcome.connections.len());
    assert_eq!((server.accepted(), other.accepted()), (1, 0));
}

#[test]
fn a_covered_address_is_covered_at_its_port_alone() {
    let server = Server::start(greet);
    let rules = [format!("good.example:{}", server.port), "127.0.0.0/8:1".to_owned()];
    let outcome = run(&good(), &rules, python(CONNECT, &[&format!("good.example {}", server.port)]));
    let mut told = told(&outcome);
    told.dedup();
    assert_eq!(told, [("good.example", Some(server.port), Some(RefusalReason::Address))]);
    assert_eq!(server.accepted(), 0);
}

#[test]
fn datagrams_lead_nowhere_but_to_the_name_server() {
    const UDP: &str = r#"
import socket, sys, errno
name = socket.gethostbyname("good.example")
for host, port in [(name, int(sys.argv[1])), (name, 53), ("127.0.0.1", int(sys.argv[1])), ("198.18.0.1", 54), ("8.8.8.8", 53)]:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
    try:
        s.connect((host, port)); s.send(b"x"); print(s.recv(9))
    except OSError as e: print(errno.errorcode.get(e.errno, str(e)))
"#;
    let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    server.set_nonblocking(true).unwrap();
    let rules = [format!("good.example:{port}"), loopback(port)];
    let said = said(&run(&good(), &rules, python(UDP, &[&port.to_string()])));
    assert_eq!(said, "ECONNREFUSED\n".repeat(4) + "ENETUNREACH\n");
    assert!(server.recv(&mut [0; 8]).is_err());
    // The twin.
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", ("127.0.0.1", port)).unwrap();
    crate::sandbox::eventually("the datagram", || server.recv(&mut [0; 8]).is_ok());
}

#[test]
fn questions_that_are_no_questions_change_nothing() {
    const NOISE: &str = r#"
import socket, os, random
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(("198.18.0.1", 53))
random.seed(1)
for i in range(3000):
    s.send(random.randbytes(random.randrange(0, 1500)))
    s.send(b"\1\1\1\0\0\1\0\0\0\0\0\0" + random.randbytes(random.randrange(0, 40)))
print(socket.gethostbyname("good.example"), socket.gethostbyname("good.example"))
"#;
    let outcome = run(&good(), &["good.example"], python(NOISE, &[]));
    assert_eq!(said(&outcome), "198.18.0.2 198.18.0.2\n");
}

#[test]
fn nothing_of_ours_can_be_seen_or_taken() {
    const LOOK: &str = r#"
import os
def may(what, *args):
    try: what(*args); return "yes"
    except OSError as e: return e.errno
print(may(os.listdir, "/proc/1/fd"), may(os.readlink, "/proc/1/exe"), may(open, "/proc/1/mem", "rb"))
pids = sorted(int(p) for p in os.listdir("/proc") if p.isdigit())
print(pids == [1, os.getpid()])
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
pidfd = os.pidfd_open(1)
print([libc.syscall(438, pidfd, n, 0) for n in range(3, 40)] == [-1] * 37)
for signal in [9, 19, 15]: may(os.kill, 1, signal)
import socket
print(socket.gethostbyname("good.example"))
"#;
    let outcome = run(&good(), &["good.example"], python(LOOK, &[]));
    assert_eq!(said(&outcome), "13 13 13\nTrue\nTrue\n198.18.0.2\n");
}

#[test]
fn the_namespace_can_t_be_changed_from_inside() {
    const CHANGE: &str = r#"
import socket, struct, errno
def ask(kind, body):
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    s.send(struct.pack("=IHHII", 16 + len(body), kind, 0x405, 1, 0) + body)
    return errno.errorcode[-struct.unpack("=i", s.recv(999)[16:20])[0]]
address = struct.pack("=BBBBI", 2, 8, 0, 0, 1) + struct.pack("=HH4s", 8, 2, bytes([10, 0, 0, 1]))
print(ask(20, address), ask(16, struct.pack("=BxHiII", 0, 0, 1, 0, 1)))
for address, port in [("198.18.0.7", 80), ("0.0.0.0", 443)]:
    try: socket.socket().bind((address, port)); print("bound")
    except OSError as e: print(errno.errorcode[e.errno])
# An address of the range that nobody was given is the sandbox's to use among its own, as any of its loopback.
own = socket.socket(); own.bind(("198.18.9.9", 8080)); own.listen(); socket.create_connection(("198.18.9.9", 8080)); print("own")
"#;
    for user in [1000, 0] {
        let job = python(CHANGE, &[]).user(user, user);
        assert_eq!(said(&run(&good(), &["good.example"], job)), "EPERM EPERM\nEACCES\nEACCES\nown\n", "{user}");
    }
}

#[test]
fn a_connection_that_breaks_outside_breaks_inside() {
    const BROKEN: &str = r#"
import socket, sys, errno
s = socket.create_connection(("good.example", int(sys.argv[1]))); s.sendall(b"go")
try:
    while s.recv(4096): pass
    print("whole")
except OSError as e: print(errno.errorcode[e.errno])
"#;
    let server = Server::start(|stream| {
        std::io::Read::read_exact(stream, &mut [0; 2])?;
        std::io::Write::write_all(stream, b"half of it")?;
        rustix::net::sockopt::set_socket_linger(&*stream, Some(std::time::Duration::ZERO))?;
        Ok(())
    });
    let rules = [format!("good.example:{}", server.port), loopback(server.port)];
    assert_eq!(said(&run(&good(), &rules, python(BROKEN, &[&server.port.to_string()]))), "ECONNRESET\n");
    let whole = Server::start(echo);
    let rules = [format!("good.example:{}", whole.port), loopback(whole.port)];
    let script = BROKEN.replace("s.sendall(b\"go\")", "s.sendall(b\"go\"); s.shutdown(socket.SHUT_WR)");
    assert_eq!(said(&run(&good(), &rules, python(&script, &[&whole.port.to_string()]))), "whole\n");
}
