//! What works, and what the result tells of it.

use super::{
    CONNECT, Names, Server, allow, count, echo, good, greet, ipv6, list, loopback, pinfold, python, run, said, told,
    wait,
};
use crate::sandbox::{Job, Scratch};
use crate::support::has_program;
use pinfold::network::{Answer, AskedHost, Gatekeeper};
use pinfold::{Network, NetworkFence, Pinfold, RefusalReason, job};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn a_listed_name_is_reached_and_told() {
    let (server, names) = (Server::start(greet), good());
    let port = server.port.to_string();
    let rules = [format!("good.example:{port}"), loopback(server.port)];
    let outcome =
        run(&names, &rules, python(CONNECT, &[&format!("good.example {port}"), &format!("GOOD.Example. {port}")]));
    assert_eq!(said(&outcome), "hello\nhello\n");
    assert_eq!(told(&outcome), [("good.example", Some(server.port), None); 2]);
    assert!(outcome.connections.iter().all(|connection| connection.bytes_in == 6 && connection.bytes_out == 0));
    assert_eq!((outcome.connections_omitted, server.accepted(), names.asked("good.example")), (0, 2, 2));
    assert_eq!(outcome.isolation.network, NetworkFence::Allowlist);
    assert!(outcome.isolation.namespaces.contains(&"net".to_owned()));
}

#[test]
fn a_star_is_all_below_and_not_the_name_itself() {
    let server = Server::start(greet);
    let names = Names::of(&[
        ("a.good.example", &["127.0.0.1"]),
        ("a.b.good.example", &["127.0.0.1"]),
        ("good.example", &["127.0.0.1"]),
    ]);
    let asked = ["a.good.example", "a.b.good.example", "good.example", "notgood.example"]
        .map(|name| format!("{name} {}", server.port));
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let rules = [format!("*.good.example:{}", server.port), loopback(server.port)];
    assert_eq!(said(&run(&names, &rules, python(CONNECT, &asked))), "hello\nhello\nNONAME\nNONAME\n");
}

#[test]
fn a_listed_address_is_dialled_as_such() {
    let (one, other) = (Server::start(greet), Server::at("[::1]:0", greet));
    let rules = [format!("127.0.0.1:{}", one.port), format!("[::1]:{}", other.port)];
    let asked = [format!("127.0.0.1 {}", one.port), format!("::1 {}", other.port), format!("127.0.0.2 {}", one.port)];
    let outcome = run(&Names::default(), &rules, python(CONNECT, &[&asked[0], &asked[1], &asked[2]]));
    assert_eq!(said(&outcome), "hello\nhello\nECONNREFUSED\n");
    assert_eq!(told(&outcome), [("127.0.0.1", Some(one.port), None), ("::1", Some(other.port), None)]);
}

#[test]
fn an_address_that_is_nobody_s_is_told_as_unreachable() {
    // RFC 5737 and 3849 keep these for documentation: no host has one. Some networks refuse them, others never answer.
    const BEGIN: &str = r#"
import socket
for address in [("192.0.2.7", 81), ("192.0.2.31", 82), ("2001:db8::1", 83)]:
    try: socket.create_connection(address)
    except ConnectionResetError: pass # Before connect(2) has even come back.
"#;
    let rules = ["192.0.2.7:81", "192.0.2.16/28:82", "[2001:db8::1]:83"];
    let outcome = run(&Names::default(), &rules, python(BEGIN, &[]));
    said(&outcome);
    let why = Some(RefusalReason::Unreachable);
    let mut told = told(&outcome);
    told.sort_unstable_by_key(|(_, port, _)| *port);
    assert_eq!(told, [("192.0.2.7", Some(81), why), ("192.0.2.31", Some(82), why), ("2001:db8::1", Some(83), why)]);
}

#[test]
fn an_empty_list_is_nothing_at_all() {
    let outcome = run::<&str>(&good(), &[], python(CONNECT, &["good.example 80", "127.0.0.1 80", "198.18.0.2 80"]));
    assert_eq!(said(&outcome), "NONAME\nECONNREFUSED\nECONNREFUSED\n");
    assert_eq!(told(&outcome), [("good.example", None, Some(RefusalReason::NotListed))]);
}

#[test]
fn every_byte_arrives_and_is_counted_both_ways() {
    const HALF_CLOSE: &str = r#"
import socket, sys, hashlib, os
data = os.urandom(3_000_001)
with socket.create_connection(("good.example", int(sys.argv[1]))) as s:
    import threading
    def send():
        s.sendall(data); s.shutdown(socket.SHUT_WR)
    t = threading.Thread(target=send); t.start()
    got = b""
    while chunk := s.recv(65536): got += chunk
    t.join()
assert got == data, (len(got), len(data))
with socket.create_connection(("good.example", int(sys.argv[2]))) as s:
    s.sendall(data); s.shutdown(socket.SHUT_WR)
    print(s.makefile().read().strip())
"#;
    let (back, counted) = (Server::start(echo), Server::start(count));
    let ports = [back.port.to_string(), counted.port.to_string()];
    let rules =
        [format!("good.example:{}", ports[0]), format!("good.example:{}", ports[1]), "127.0.0.0/8:1".to_owned()];
    let rules = [&rules[..], &[loopback(back.port), loopback(counted.port)]].concat();
    let outcome = run(&good(), &rules, python(HALF_CLOSE, &[&ports[0], &ports[1]]));
    assert_eq!(said(&outcome), "3000001\n");
    let bytes: Vec<_> =
        outcome.connections.iter().map(|connection| (connection.bytes_in, connection.bytes_out)).collect();
    assert_eq!(bytes, [(3_000_001, 3_000_001), (8, 3_000_001)]);
}

#[test]
fn what_was_sent_last_is_delivered_though_the_job_has_ended() {
    const SEND: &str = "import socket, sys; s = socket.create_connection(('good.example', int(sys.argv[1]))); s.sendall(b'x' * 300000)";
    static GOT: AtomicUsize = AtomicUsize::new(0);
    let server = Server::start(|stream| {
        let mut all = Vec::new();
        std::io::Read::read_to_end(stream, &mut all)?;
        GOT.store(all.len(), Ordering::SeqCst);
        Ok(())
    });
    let port = server.port.to_string();
    let outcome = run(&good(), &[format!("good.example:{port}"), loopback(server.port)], python(SEND, &[&port]));
    said(&outcome);
    assert_eq!(outcome.connections[0].bytes_out, 300_000);
    crate::sandbox::eventually("all of it", || GOT.load(Ordering::SeqCst) == 300_000);
}

#[test]
fn the_sandbox_s_own_servers_work_beside_it() {
    const OWN: &str = r#"
import socket, sys
port = int(sys.argv[1])
def first(host):
    with socket.create_connection((host, port), timeout=20) as s: return s.makefile().readline().strip()
print(first("good.example"))
own = socket.socket(); own.bind(("127.0.0.1", port)); own.listen()
c = socket.create_connection(("127.0.0.1", port)); a, _ = own.accept(); a.sendall(b"own\n"); a.close()
print(c.makefile().readline().strip())
print(first("good.example"))
"#;
    let server = Server::start(greet);
    let port = server.port.to_string();
    let outcome = run(&good(), &[format!("good.example:{port}"), loopback(server.port)], python(OWN, &[&port]));
    assert_eq!(said(&outcome), "hello\nown\nhello\n");
}

#[test]
fn a_name_that_the_sandbox_s_own_server_was_in_the_way_of_can_be_had_later() {
    const IN_THE_WAY: &str = r#"
import socket, sys
port = int(sys.argv[1])
def first():
    with socket.create_connection(("good.example", port), timeout=20) as s: return s.makefile().readline().strip()
kind = {"family": socket.AF_INET6, "dualstack_ipv6": True} if sys.argv[2] == "6" else {}
own = socket.create_server(("", port), **kind)
for _ in range(3):
    try: print(first())
    except socket.gaierror as e: print({socket.EAI_AGAIN: "AGAIN"}.get(e.errno, e))
own.close()
print(first())
"#;
    let server = Server::start(greet);
    let port = server.port.to_string();
    let rules = [format!("good.example:{port}"), loopback(server.port)];
    let failing = "AGAIN\nAGAIN\nAGAIN\nhello\n";
    // Where it listens at one kind of address alone, those of the other are there.
    let kinds = if ipv6::is_there() {
        vec![("4", "hello\nhello\nhello\nhello\n"), ("6", failing)]
    } else {
        vec![("4", failing)]
    };
    for (kind, wanted) in kinds {
        let outcome = run(&good(), &rules, python(IN_THE_WAY, &[&port, kind]));
        assert_eq!(said(&outcome), wanted);
        assert_eq!(told(&outcome)[0], ("good.example", None, Some(RefusalReason::Unreachable)));
    }
}

#[derive(Clone, Debug, Default)]
struct Grants(Arc<AtomicUsize>, u16);

impl Gatekeeper for Grants {
    fn ports<'a>(&'a self, asked: &'a AskedHost) -> Answer<'a, Vec<u16>> {
        Box::pin(async move {
            self.0.fetch_add(1, Ordering::SeqCst);
            // It thinks it over while the job waits.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            assert_eq!(asked.sandbox, "asking");
            if asked.host == "good.example" { vec![self.1] } else { Vec::new() }
        })
    }
}

#[test]
fn somebody_may_allow_a_name_while_the_job_waits() {
    let server = Server::start(greet);
    let grants = Grants(Arc::default(), server.port);
    let builder = Pinfold::builder().runner(crate::support::runner()).resolver(good()).gatekeeper(grants.clone());
    let asked = [
        format!("good.example {}", server.port),
        "evil.example 80".to_owned(),
        format!("good.example {}", server.port),
    ];
    let job = python(CONNECT, &[&asked[0], &asked[1], &asked[2]]).id("asking").network(allow(&[loopback(server.port)]));
    let outcome = wait(builder.build().unwrap().run(job.build().unwrap())).unwrap();
    assert_eq!(said(&outcome), "hello\nNONAME\nhello\n");
    assert_eq!(grants.0.load(Ordering::SeqCst), 2, "once for each name");
}

#[test]
fn a_root_of_one_s_own_asks_the_same_name_server() {
    let scratch = Scratch::new();
    for directory in ["root", "root/bin", "root/etc"] {
        scratch.dir(directory);
    }
    std::fs::copy(crate::support::probe("file"), scratch.path("root/bin/file")).unwrap();
    scratch.file("root/etc/resolv.conf", "nameserver 192.0.2.53\n");
    let job = || {
        let job = job(["/bin/file", "read /etc/resolv.conf", "open-write /etc/resolv.conf", "read /etc/hosts"]);
        job.root(scratch.text("root")).network(Network::Allow(list(&["good.example"]))).build().unwrap()
    };
    let outcome = wait(pinfold(&good()).run(job())).unwrap();
    assert_eq!(said(&outcome), "ok\n30\n2\n");
    assert_eq!(std::fs::read_to_string(scratch.path("root/etc/resolv.conf")).unwrap(), "nameserver 192.0.2.53\n");
    // Without a file to cover, names could not be found: an error, and no sandbox that is less than it was to be.
    std::fs::remove_file(scratch.path("root/etc/resolv.conf")).unwrap();
    let failure = wait(pinfold(&good()).run(job())).unwrap().error.unwrap();
    assert!(failure.code == "mount" && failure.message.contains("/etc/resolv.conf"), "{failure:?}");
}

#[test]
fn without_a_supervisor_and_without_namespaces_it_is_an_error() {
    let list = json!({"allow": ["good.example"]});
    let failure = Job::new(&["true"]).with("network", list.clone()).failure();
    assert!(failure.code == "needs_supervisor" && failure.hint.is_some(), "{failure:?}");
    let job = job(["true"]).mode(pinfold::Mode::Landlock).network(allow(&["good.example"])).build().unwrap();
    let failure = wait(pinfold(&good()).run(job)).unwrap().error.unwrap();
    assert!(["mode", "landlock"].contains(&failure.code.as_str()) && failure.hint.is_some(), "{failure:?}");
    for bad in [
        json!({"allow": ["*"]}),
        json!({"allow": "good.example"}),
        json!({"allow": [], "deny": []}),
        json!({"allow": [1]}),
    ] {
        assert_eq!(Job::new(&["true"]).with("network", bad).failure().code, "bad_job");
    }
}

#[test]
fn programs_need_not_be_told() {
    // A program that knows nothing of proxies: bash's own connections.
    if !has_program("bash") {
        return;
    }
    let server = Server::start(greet);
    let script = format!("exec 3<>/dev/tcp/good.example/{} && cat <&3", server.port);
    let bash = job(["bash", "-c", &script]);
    let outcome = run(&good(), &[format!("good.example:{}", server.port), loopback(server.port)], bash);
    assert_eq!(said(&outcome), "hello\n");
}
