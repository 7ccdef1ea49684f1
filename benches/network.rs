//! What going through a list of allowed hosts costs beside a direct connection: throughput, round trips and connecting, to a server of
//! the benchmark's own on this machine: `cargo bench --bench network`.
//!
//! The same program (python3) is the client each time: bare, in a sandbox with the host's network, and in one with a list that has
//! the server's address. The three alternate, so that a noisy machine is noisy to all; the best of each is nearest to what the
//! work itself takes. The absolute figures are the machine's, the ratios are what to look at.
#![allow(clippy::unwrap_used, reason = "a benchmark that can't run has nothing to say")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

const ROUNDS: usize = 7;

/// Takes a word and a number: sends so many bytes, takes so many, or sends back what it gets.
const CLIENT: &str = r#"
import socket, sys, time
port = int(sys.argv[1])
clock = time.perf_counter
def connect(word):
    s = socket.create_connection(("127.0.0.1", port))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.sendall(word)
    return s
SIZE, TRIPS, TIMES = 1 << 30, 2000, 200
room = memoryview(bytearray(1 << 18))
s = connect(b"down " + b"%016d" % SIZE); start = clock(); got = 0
while got < SIZE: got += s.recv_into(room)
print("down_mib_s", SIZE / (clock() - start) / 2**20)
s = connect(b"up   " + b"%016d" % SIZE); start = clock(); sent = 0
while sent < SIZE: sent += s.send(room[:min(len(room), SIZE - sent)])
assert s.recv(1) == b"."
print("up_mib_s", SIZE / (clock() - start) / 2**20)
s = connect(b"echo " + b"%016d" % TRIPS); trips = []
for _ in range(TRIPS):
    start = clock(); s.sendall(b"x"); assert s.recv(1) == b"x"; trips.append(clock() - start)
trips.sort()
print("trip_us_least", trips[0] * 1e6)
print("trip_us_median", trips[TRIPS // 2] * 1e6)
all = []
for _ in range(TIMES):
    start = clock(); s = connect(b"echo " + b"%016d" % 1); s.sendall(b"x"); assert s.recv(1) == b"x"; all.append(clock() - start); s.close()
all.sort()
print("connect_us_least", all[0] * 1e6)
print("connect_us_median", all[TIMES // 2] * 1e6)
"#;

fn main() {
    let pinfold = Path::new(env!("CARGO_BIN_EXE_pinfold"));
    assert!(pinfold.with_file_name("pinfold-runner").exists(), "build it first: cargo build --release --workspace");
    let port = serve();
    let client = ["/usr/bin/python3", "-c", CLIENT, &port.to_string()].map(str::to_owned);
    let list = format!("allow=127.0.0.1:{port}");
    let sandbox = |net: &str| {
        let run = ["run", "--memory", "512M", "--net", net, "--"].map(str::to_owned);
        [&[pinfold.to_string_lossy().into_owned()], &run[..], &client[..]].concat()
    };
    let ways =
        [("bare", client.to_vec()), ("sandbox, --net host", sandbox("host")), ("sandbox, --net allow", sandbox(&list))];
    println!("load average {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    let mut best = vec![BTreeMap::<String, f64>::new(); ways.len()];
    for _ in 0..ROUNDS {
        for ((_, command), best) in ways.iter().zip(&mut best) {
            for (name, figure) in measure(command) {
                let so_far = best.entry(name.clone()).or_insert(figure);
                *so_far = if name.ends_with("_mib_s") { so_far.max(figure) } else { so_far.min(figure) };
            }
        }
    }
    println!("best of {ROUNDS}{:>15}{:>22}{:>22}", ways[0].0, ways[1].0, ways[2].0);
    for name in best[0].keys() {
        let figures: Vec<f64> = best.iter().map(|best| best[name]).collect();
        let beside = |figure: f64| format!("{figure:.1} ({:.2})", figure / figures[0]);
        println!("{name:<20}{:>8.1}{:>22}{:>22}", figures[0], beside(figures[1]), beside(figures[2]));
    }
}

/// The figures that a client prints.
fn measure(command: &[String]) -> Vec<(String, f64)> {
    let child = Command::new(&command[0]).args(&command[1..]).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(child.stdout).unwrap();
    assert!(child.status.success(), "{command:?}: {}", String::from_utf8_lossy(&child.stderr));
    let line = |line: &str| line.split_once(' ').map(|(name, figure)| (name.to_owned(), figure.parse().unwrap()));
    text.lines().filter_map(line).collect()
}

/// A server on this machine's loopback, for as long as the benchmark runs.
fn serve() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                // Whoever is gone wants nothing more.
                let _gone = answer(stream);
            });
        }
    });
    port
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut asked = [0; 21];
    stream.read_exact(&mut asked)?;
    let mut left: usize = String::from_utf8_lossy(&asked[5..]).parse().unwrap();
    let mut room = vec![0; 1 << 18];
    match &asked[..5] {
        b"down " => {
            while left > 0 {
                left -= stream.write(&room[..left.min(1 << 18)])?;
            }
        }
        b"up   " => {
            while left > 0 {
                left -= stream.read(&mut room[..left.min(1 << 18)])?;
            }
            stream.write_all(b".")?;
        }
        _ => {
            while left > 0 {
                stream.read_exact(&mut room[..1])?;
                stream.write_all(&room[..1])?;
                left -= 1;
            }
        }
    }
    Ok(())
}
