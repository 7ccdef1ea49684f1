//! How many requests a second the server answers, beside the same done by the library in this process: `cargo bench --bench
//! serve`.
//!
//! Each client has one connection, which it keeps. The two sides alternate, so that a noisy machine is noisy to both. The absolute
//! figures are the machine's; what a request adds is what to look at.
#![allow(clippy::unwrap_used, reason = "a benchmark that can't run has nothing to say")]

use pinfold::build::{Builds, Filter};
use pinfold::held::{Held, Sandboxes, Spec, command};
use pinfold::{Outcome, Pinfold, Status};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const ROUNDS: usize = if cfg!(debug_assertions) { 30 } else { 500 };
const CLIENTS: [usize; 2] = [1, 8];
const PROGRAM: &str = "/bin/true";
/// Whose token it is, and what the server calls the sandbox of that owner.
const TOKEN: &str = "0123456789abcdef";
const NAME: &str = "http.bench.box";

/// Directories, a server and a sandbox, gone at the end.
struct Home {
    directory: PathBuf,
    server: Child,
    address: String,
}

impl Home {
    fn new(pinfold: &Path) -> Self {
        let directory = std::env::temp_dir().join(format!("pinfold-bench-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let tokens = directory.join("tokens");
        let mut file = fs::File::options().create_new(true).write(true).mode(0o600).open(&tokens).unwrap();
        writeln!(file, "bench {TOKEN}").unwrap();
        let mut command = Command::new(pinfold);
        command.args(["serve", "--listen", "127.0.0.1:0", "--token-file"]).arg(tokens);
        // Directories of its own, so that nobody's sandboxes are swept meanwhile.
        command.env("PINFOLD_RUNTIME_DIR", directory.join("runtime")).env("PINFOLD_STATE_DIR", directory.join("state"));
        let mut server = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
        let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        // Its log is read, as somebody reads it in earnest.
        std::thread::spawn(move || lines.for_each(drop));
        let address = line["place"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
        Self { directory, server, address }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ended = self.server.kill();
        let _ended = self.server.wait();
        let _gone_already = Sandboxes::at(self.directory.join("runtime")).stop(NAME);
        let _nothing_to_be_done = fs::remove_dir_all(&self.directory);
    }
}

/// One client with its connection.
struct Client {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Client {
    fn new(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream), host: address.to_owned() }
    }

    /// The body of the answer, which must be a good one.
    fn ask(&mut self, (method, path, body): Asked) -> Vec<u8> {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let begins = head.len();
            self.stream.read_line(&mut head).unwrap();
            if let Some(("content-length", number)) = head[begins..].trim().to_ascii_lowercase().split_once(": ") {
                length = number.parse().unwrap();
            }
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).unwrap();
        assert!(head.starts_with("HTTP/1.1 20"), "{head}{}", String::from_utf8_lossy(&answer));
        answer
    }
}

type Asked = (&'static str, &'static str, &'static str);

/// The same as each request, in this process.
struct Library {
    tokio: Runtime,
    pinfold: Pinfold,
    sandboxes: Sandboxes,
    held: Held,
    builds: Builds,
}

impl Library {
    fn run(&self) {
        let job = pinfold::job([PROGRAM]).build().unwrap();
        succeeded(&self.tokio.block_on(self.pinfold.run(job)).unwrap());
    }

    fn exec(&self) {
        let job = command([PROGRAM]).build().unwrap();
        succeeded(&self.tokio.block_on(self.held.exec(job)).unwrap());
    }

    fn list(&self) {
        assert_eq!(self.sandboxes.list().unwrap().len(), 1);
    }

    fn builds(&self) {
        assert_eq!(self.builds.list("http.bench", &Filter::default()).unwrap().len(), 0);
    }
}

fn succeeded(outcome: &Outcome) {
    assert_eq!((outcome.status, outcome.exit_code), (Status::Exited, Some(0)), "{outcome:?}");
}

type Same = fn(&Library);

/// What is asked for, and what the library does for it, if that is anything.
const CALLS: [(&str, Asked, Option<Same>); 5] = [
    ("GET /healthz", ("GET", "/healthz", ""), None),
    ("GET /v1/builds, none", ("GET", "/v1/builds", ""), Some(Library::builds)),
    ("GET /v1/sandboxes, one", ("GET", "/v1/sandboxes", ""), Some(Library::list)),
    (
        "POST …/exec of /bin/true",
        ("POST", "/v1/sandboxes/box/exec", r#"{"command": ["/bin/true"]}"#),
        Some(Library::exec),
    ),
    ("POST /v1/run of /bin/true", ("POST", "/v1/run", r#"{"command": ["/bin/true"]}"#), Some(Library::run)),
];

fn main() {
    let pinfold = Path::new(env!("CARGO_BIN_EXE_pinfold"));
    for program in ["pinfold-runner", "pinfold-keeper", "pinfold-server"] {
        assert!(pinfold.with_file_name(program).exists(), "build it first: cargo build --release --workspace");
    }
    let home = Home::new(pinfold);
    let mut client = Client::new(&home.address);
    client.ask(("PUT", "/v1/sandboxes/box", "{}"));
    let sandboxes = Sandboxes::at(home.directory.join("runtime"));
    let library = Library {
        tokio: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
        pinfold: Pinfold::new().unwrap(),
        held: sandboxes.start(&Spec::named(NAME.try_into().unwrap())).unwrap(),
        sandboxes,
        builds: Builds::at(home.directory.join("state")).unwrap(),
    };
    println!("{ROUNDS} rounds each, load average {}", load());
    for (name, asked, same) in CALLS {
        one_by_one(
            name,
            &mut client,
            asked,
            same.map(|same| {
                let library = &library;
                move || same(library)
            }),
        );
    }
    for clients in CLIENTS {
        for (name, asked, _) in CALLS {
            at_once(name, &home.address, asked, clients);
        }
    }
}

/// How long one takes, here and there.
fn one_by_one(name: &str, client: &mut Client, asked: Asked, same: Option<impl Fn()>) {
    let (mut over_http, mut in_process) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS + 5 {
        let times = [took(|| drop(client.ask(asked))), same.as_ref().map_or(Duration::ZERO, took)];
        if round >= 5 {
            over_http.push(times[0]);
            in_process.push(times[1]);
        }
    }
    let (http, library) = (median(over_http), median(in_process));
    let beside = match same {
        Some(_) => format!("{:>8.3} ms by the library, {:>7.3} ms more", ms(library), ms(http) - ms(library)),
        None => String::new(),
    };
    println!("  {name:<28} {:>8.3} ms median {beside}", ms(http));
}

/// How many there are in a second, of so many clients.
fn at_once(name: &str, address: &str, asked: Asked, clients: usize) {
    let mut all: Vec<_> = (0..clients).map(|_| Client::new(address)).collect();
    let each = ROUNDS.div_ceil(clients);
    let took = took(|| {
        std::thread::scope(|scope| {
            for client in &mut all {
                scope.spawn(move || (0..each).for_each(|_| drop(client.ask(asked))));
            }
        });
    });
    let rate = (each * clients) as f64 / took.as_secs_f64();
    println!("  {name:<28} {rate:>8.0} a second, of {clients} at once");
}

fn took(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
