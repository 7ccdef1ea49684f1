//! Thousands of names and connections, and those who don't read.

use super::{Names, Server, allow, good, greet, loopback, pinfold, python, run, said, wait};
use crate::sandbox::eventually;
use crate::support;
use pinfold::{RefusalReason, Status};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[test]
fn so_many_names_can_be_had_and_no_more() {
    const MANY: &str = r#"
import socket, sys
had = {}
for i in range(3000):
    try: had[i] = socket.gethostbyname(f"n{i}.many.example")
    except socket.gaierror as e: assert e.errno == socket.EAI_AGAIN, e
print(len(had), len(set(had.values())), max(had) == len(had) - 1)
# Those who have one keep it, and it still leads where it did.
assert socket.gethostbyname("n7.many.example") == had[7]
print(socket.create_connection((had[7], int(sys.argv[1]))).makefile().readline().strip())
"#;
    let server = Server::start(greet);
    let names = Names::of(&[("n7.many.example", &["127.0.0.1"])]);
    let rules = [format!("*.many.example:{}", server.port), loopback(server.port)];
    let outcome = run(&names, &rules, python(MANY, &[&server.port.to_string()]));
    assert_eq!(said(&outcome), "256 256 True\nhello\n");
    assert_eq!(outcome.connections.len(), 1000);
    assert!(outcome.connections.iter().all(|connection| connection.reason == Some(RefusalReason::TooMany)));
    assert!(outcome.connections_omitted > 3000 - 256 - 1000, "{}", outcome.connections_omitted);
    // Nothing of the others was ever looked up outside.
    assert_eq!(*names.asked.lock().unwrap(), ["n7.many.example"]);
}

#[test]
fn hundreds_of_connections_are_relayed_some_at_a_time() {
    const MANY: &str = r#"
import asyncio, sys
async def one():
    reader, writer = await asyncio.open_connection("good.example", int(sys.argv[1]))
    line = await reader.readline(); writer.close(); return line
async def all(): return await asyncio.gather(*[one() for _ in range(400)])
got = asyncio.run(all())
print(len(got), set(got))
"#;
    static NOW: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let server = Server::start(|stream| {
        MOST.fetch_max(NOW.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // Long enough that others come meanwhile; how long does not matter.
        std::thread::sleep(Duration::from_millis(50));
        NOW.fetch_sub(1, Ordering::SeqCst);
        stream.write_all(b"hello\n")
    });
    let rules = [format!("good.example:{}", server.port), loopback(server.port)];
    let outcome = run(&good(), &rules, python(MANY, &[&server.port.to_string()]));
    assert_eq!(said(&outcome), "400 {b'hello\\n'}\n");
    assert_eq!((outcome.connections.len(), server.accepted()), (400, 400));
    let most = MOST.load(Ordering::SeqCst);
    assert!((2..=64).contains(&most), "{most}");
}

#[test]
fn connections_without_end_take_no_more_of_the_host() {
    const OPEN: &str = r#"
import socket, sys, time
all = []
for i in range(900):
    s = socket.socket(); s.setblocking(False); all.append(s)
    try: s.connect(("127.0.0.1", int(sys.argv[1])))
    except BlockingIOError: pass
    try: s.send(b"x" * 100000)
    except OSError: pass
print("open", flush=True); time.sleep(1000)
"#;
    // Takes nothing and says nothing, so that something is on its way in each connection.
    let server = Server::start(|stream| {
        std::thread::sleep(Duration::from_secs(600));
        stream.write_all(b"late")
    });
    let (port, net) = (server.port.to_string(), format!("allow=127.0.0.1:{}", server.port));
    let mut supervisor = Command::new(support::pinfold())
        .args(["run", "--net", &net, "--", "/usr/bin/python3", "-c", OPEN, &port])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 5];
    supervisor.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    eventually("as many as may be", || server.accepted() == 64);
    let held = std::fs::read_dir(format!("/proc/{}/fd", supervisor.id())).unwrap().count();
    assert!((64 * 2..64 * 6 + 64).contains(&held), "{held}");
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    assert_eq!(server.accepted(), 64);
}

#[test]
fn one_connection_after_the_other_leaves_nothing_behind() {
    const MANY: &str = r#"
import socket, sys
for _ in range(1500):
    with socket.create_connection(("good.example", int(sys.argv[1]))) as s: assert s.recv(9) == b"hello\n"
print("done")
"#;
    let server = Server::start(greet);
    let rules = [format!("good.example:{}", server.port), loopback(server.port)];
    let outcome = run(&good(), &rules, python(MANY, &[&server.port.to_string()]));
    assert_eq!(said(&outcome), "done\n");
    assert_eq!((outcome.connections.len() as u64 + outcome.connections_omitted, server.accepted()), (1500, 1500));
}

#[test]
fn who_does_not_read_costs_a_bounded_buffer_and_delays_no_end() {
    const LAZY: &str = r#"
import socket, sys, time
all = [socket.create_connection(("good.example", int(sys.argv[1]))) for _ in range(20)]
print(len(all), flush=True)
time.sleep(1000)
"#;
    let server = Server::start(|stream| {
        loop {
            stream.write_all(&[b'x'; 65536])?;
        }
    });
    let rules = [format!("good.example:{}", server.port), loopback(server.port)];
    let start = Instant::now();
    let outcome = run(
        &good(),
        &rules,
        python(LAZY, &[&server.port.to_string()]).wall(Duration::from_secs(if support::is_slow() { 60 } else { 4 })),
    );
    assert_eq!((outcome.status, outcome.stdout.to_text().as_ref()), (Status::TimedOut, "20\n"));
    assert!(start.elapsed() < Duration::from_secs(90), "{:?}", start.elapsed());
    // What the kernel's buffers of one connection hold at most (tcp_rmem, tcp_wmem), and a pipe.
    let most = outcome.connections.iter().map(|connection| connection.bytes_in).max();
    assert!(most.is_some_and(|most| most < 32 << 20), "{most:?}");
}

#[test]
fn a_server_that_does_not_read_delays_the_end_by_a_moment_only() {
    const PUSH: &str = r#"
import socket, sys
s = socket.create_connection(("good.example", int(sys.argv[1]))); s.setblocking(False)
try:
    while True: s.send(b"x" * 65536)
except BlockingIOError: print("full")
"#;
    let server = Server::start(|stream| {
        std::thread::sleep(Duration::from_secs(60));
        stream.write_all(b"late")
    });
    let rules = [format!("good.example:{}", server.port), loopback(server.port)];
    let start = Instant::now();
    assert_eq!(said(&run(&good(), &rules, python(PUSH, &[&server.port.to_string()]))), "full\n");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn many_sandboxes_at_once_each_have_their_own() {
    let servers: Vec<Server> = (0..8).map(|_| Server::start(greet)).collect();
    let outcomes = wait(async {
        let pinfold = pinfold(&good());
        let jobs = servers.iter().map(|server| {
            let to = format!("good.example {}", server.port);
            let job = python(super::CONNECT, &[&to, &to, &to]);
            let job =
                job.network(allow(&[format!("good.example:{}", server.port), loopback(server.port)])).build().unwrap();
            let pinfold = pinfold.clone();
            tokio::spawn(async move { pinfold.run(job).await.unwrap() })
        });
        let mut outcomes = Vec::new();
        for job in jobs.collect::<Vec<_>>() {
            outcomes.push(job.await.unwrap());
        }
        outcomes
    });
    for (outcome, server) in outcomes.iter().zip(&servers) {
        assert_eq!(said(outcome), "hello\nhello\nhello\n");
        assert!(outcome.connections.iter().all(|connection| connection.port == Some(server.port)));
        assert_eq!(server.accepted(), 3);
    }
}
