//! Sandboxes that may connect to the hosts of a list: that those are reached, and that nothing else is. The servers are this
//! machine's; which address a name has the tests say themselves.

mod attacks; // whatever leads elsewhere
mod bounds; // thousands of names and connections, slow readers, floods
mod clients; // curl, pip, npm and their kin, against servers in a network of the test's own
mod code; // pieces of code
mod ends; // what dies with whom
mod held; // sandboxes that stay
mod ipv6; // the other kind of address
mod reach; // what works, and what the result tells of it

use crate::support;
use pinfold::network::{Answer, Resolver};
use pinfold::{AllowList, Connection, JobBuilder, Network, Outcome, Pinfold, RefusalReason, Status, job};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Covers this machine's loopback, so that a name may lead there; so large a block is not listened on.
fn loopback(port: u16) -> String {
    format!("127.0.0.0/8:{port}")
}

fn list<T: AsRef<str>>(rules: &[T]) -> AllowList {
    AllowList::new(rules.iter().map(|rule| rule.as_ref().parse().unwrap()).collect()).unwrap()
}

fn allow<T: AsRef<str>>(rules: &[T]) -> Network {
    Network::Allow(list(rules))
}

/// What a server does with a connection.
type Serve = fn(&mut TcpStream) -> io::Result<()>;

/// A server on this machine's loopback, until it is dropped.
struct Server {
    port: u16,
    accepted: Arc<AtomicUsize>,
}

impl Server {
    fn start(serve: Serve) -> Self {
        Self::at("127.0.0.1:0", serve)
    }

    fn at(address: &str, serve: Serve) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let (port, accepted) = (listener.local_addr().unwrap().port(), Arc::<AtomicUsize>::default());
        let counted = accepted.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counted.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    let mut stream = stream;
                    let _the_client_may_be_gone = serve(&mut stream);
                });
            }
        });
        Self { port, accepted }
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// Says one word to whoever comes.
fn greet(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"hello\n")
}

/// Sends back what it gets, to its end.
fn echo(stream: &mut TcpStream) -> io::Result<()> {
    let mut back = stream.try_clone()?;
    io::copy(stream, &mut back)?;
    back.shutdown(Shutdown::Write)
}

/// Reads to the end, then says how many bytes there were.
fn count(stream: &mut TcpStream) -> io::Result<()> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    stream.write_all(format!("{}\n", all.len()).as_bytes())
}

/// The addresses of names: each time the next of the list, the last one for ever.
#[derive(Clone, Debug, Default)]
struct Names {
    known: HashMap<String, Vec<IpAddr>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Names {
    fn of(names: &[(&str, &[&str])]) -> Self {
        let known = names.iter().map(|(name, addresses)| {
            ((*name).to_owned(), addresses.iter().map(|address| address.parse().unwrap()).collect())
        });
        Self { known: known.collect(), asked: Arc::default() }
    }

    fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == name).count()
    }
}

impl Resolver for Names {
    fn resolve<'a>(&'a self, name: &'a str) -> Answer<'a, io::Result<Vec<IpAddr>>> {
        let earlier = self.asked(name);
        self.asked.lock().unwrap().push(name.to_owned());
        let found = self.known.get(name).and_then(|all| all.get(earlier).or(all.last())).copied();
        Box::pin(async move { found.map(|address| vec![address]).ok_or(io::ErrorKind::NotFound.into()) })
    }
}

/// One name of a server on this machine's loopback.
fn good() -> Names {
    Names::of(&[("good.example", &["127.0.0.1"])])
}

fn pinfold(names: &Names) -> Pinfold {
    Pinfold::builder().runner(support::runner()).resolver(names.clone()).build().unwrap()
}

fn python(script: &str, arguments: &[&str]) -> JobBuilder {
    let command = ["/usr/bin/python3", "-c", script].into_iter().chain(arguments.iter().copied());
    job(command).wall(Duration::from_secs(300))
}

/// Runs a job in a sandbox with this list.
fn run<T: AsRef<str>>(names: &Names, rules: &[T], job: JobBuilder) -> Outcome {
    wait(pinfold(names).run(job.network(allow(rules)).build().unwrap())).unwrap()
}

/// Runs `work` on a tokio runtime of its own.
fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// What it printed; it must have exited with 0.
fn said(outcome: &Outcome) -> String {
    let (stdout, stderr) = (outcome.stdout.to_text().into_owned(), outcome.stderr.to_text());
    assert_eq!((outcome.status, outcome.exit_code), (Status::Exited, Some(0)), "{stdout}{stderr}{:?}", outcome.error);
    stdout
}

/// Host, port, and why not.
fn told(outcome: &Outcome) -> Vec<(&str, Option<u16>, Option<RefusalReason>)> {
    let all = outcome.connections.iter();
    all.map(|Connection { host, port, reason, allowed, .. }| {
        assert_eq!(*allowed, reason.is_none(), "{host}");
        (host.as_str(), *port, *reason)
    })
    .collect()
}

/// Connects to each argument, `HOST PORT`, and prints the first line that it gets, or the error's name.
const CONNECT: &str = r#"
import socket, sys, errno
for word in sys.argv[1:]:
    host, port = word.rsplit(" ", 1)
    try:
        with socket.create_connection((host, int(port)), timeout=20) as s:
            print(s.makefile().readline().strip() or "nothing")
    except socket.gaierror as e:
        print({socket.EAI_NONAME: "NONAME", socket.EAI_AGAIN: "AGAIN"}.get(e.errno, str(e)))
    except OSError as e:
        print(errno.errorcode.get(e.errno, str(e)))
"#;
