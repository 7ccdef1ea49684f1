//! Real clients against real servers, in a network of the test's own: there a server can have an address of the internet's, and
//! names are resolved by the system.

use crate::sandbox::{Scratch, eventually};
use crate::support::{self, has_program};
use std::path::Path;
use std::process::{Command, Stdio};

/// The server's address, which nobody meets outside: it is in a network namespace that has only loopback.
const ADDRESS: &str = "93.184.215.14";

/// Serves files from a directory at a port, by HTTPS if there is a certificate, and says when it does.
const SERVE: &str = r#"
import http.server, ssl, sys, os
address, port, directory, certificate = sys.argv[1:]
class Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args): super().__init__(*args, directory=directory)
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer((address, int(port)), Handler)
if certificate:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
open(os.path.join(directory, f"ready-{port}"), "w").close()
server.serve_forever()
"#;

/// A network with a server in it: files, and a certificate that only `ca.pem` vouches for.
struct World {
    scratch: Scratch,
}

impl World {
    /// `None`, and a loud skip, where it can't be made.
    fn new() -> Option<Self> {
        if !["python3", "openssl", "unshare", "curl"].iter().all(|name| has_program(name)) {
            return None;
        }
        let scratch = Scratch::new();
        scratch.dir("www");
        scratch.dir("work");
        scratch.file("serve.py", SERVE);
        scratch.file("hosts", format!("{ADDRESS} good.example other.example\n127.0.0.1 rebound.example\n"));
        let world = Self { scratch };
        let certificate = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj '/CN=Test CA' \
             -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out work/ca.pem
             openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=good.example -keyout key.pem -out request.pem
             printf 'subjectAltName=DNS:good.example\n' > extensions
             openssl x509 -req -in request.pem -CA work/ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out cert.pem
             cat key.pem cert.pem > server.pem";
        let made = Command::new("sh").args(["-ec", certificate]).current_dir(world.root()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some(world)
    }

    fn root(&self) -> &Path {
        self.scratch.path("hosts").parent().unwrap().to_owned().leak()
    }

    /// Runs a shell script beside the servers, in which `sandbox LIST SCRIPT` runs one in a sandbox.
    fn run(&self, script: &str) -> String {
        let root = self.scratch.text("");
        let whole = format!(
            r#"
ip link set lo up && ip addr add {ADDRESS}/32 dev lo
mount --bind "$root/hosts" /etc/hosts
rm -f "$root"/www/ready-*
servers=
trap 'kill $servers' EXIT
python3 "$root/serve.py" {ADDRESS} 443 "$root/www" "$root/server.pem" & servers="$servers $!"
python3 "$root/serve.py" {ADDRESS} 80 "$root/www" '' & servers="$servers $!"
python3 "$root/serve.py" 127.0.0.1 80 "$root/www" '' & servers="$servers $!"
until [ -e "$root/www/ready-443" ] && [ -e "$root/www/ready-80" ]; do sleep 0.02; done
sandbox() {{ "$pinfold" run --net "allow=$1" -w "$root/work" --memory 2G --report "$root/report" -- sh -c "$2"; }}
{script}"#
        );
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "--mount", "--", "sh", "-c", &whole]);
        command.env("root", root.trim_end_matches('/')).env("pinfold", support::pinfold());
        command.env("PINFOLD_STATE_DIR", self.scratch.path("state")).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let output = command.stdin(Stdio::null()).output().unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{stdout}{stderr}");
        stdout.into_owned()
    }

    fn report(&self) -> pinfold::Outcome {
        serde_json::from_slice(&std::fs::read(self.scratch.path("report")).unwrap()).unwrap()
    }
}

#[test]
fn curl_speaks_https_to_a_listed_host_and_to_no_other() {
    let Some(world) = World::new() else { return };
    world.scratch.file("www/page", "a page\n");
    let page = "curl -sS --cacert /workspace/ca.pem https://good.example/page; curl -sS http://good.example/page";
    assert_eq!(world.run(&format!("sandbox good.example '{page}'")), "a page\na page\n");
    let report = world.report();
    let ports: Vec<_> = report.connections.iter().map(|c| (c.host.as_str(), c.port, c.allowed)).collect();
    assert_eq!(ports, [("good.example", Some(443), true), ("good.example", Some(80), true)]);
    // The same address by another name; the server on this machine's loopback by a name; the address itself.
    let tried = format!(
        "for url in http://other.example http://rebound.example http://{ADDRESS} https://good.example:8443 http://127.0.0.1; do \
         curl -sS --max-time 20 $url/page 2> /dev/null; echo $?; done"
    );
    // curl may see the second one reset before it knows that it was connected (7), or afterwards (56).
    let codes = world.run(&format!("sandbox good.example,rebound.example '{tried}'")).replace("56", "7");
    assert_eq!(codes, "6\n7\n7\n7\n7\n");
    let refused = world.report().connections.into_iter().find(|c| c.host == "rebound.example").unwrap();
    assert_eq!(refused.reason, Some(pinfold::RefusalReason::Address));
    // The twin: each of the first three answers outside.
    let outside = format!("for host in other.example rebound.example {ADDRESS}; do curl -sS http://$host/page; done");
    assert_eq!(world.run(&outside), "a page\n".repeat(3));
    // By its address, when that is listed.
    assert_eq!(world.run(&format!("sandbox {ADDRESS} 'curl -sS http://{ADDRESS}/page'")), "a page\n");
}

#[test]
fn a_large_file_comes_whole() {
    let Some(world) = World::new() else { return };
    let random = "head -c 50000000 /dev/urandom > $root/www/large; sha256sum < $root/www/large";
    let fetch = "curl -sS --cacert /workspace/ca.pem https://good.example/large | sha256sum";
    let sums = world.run(&format!("{random}; sandbox good.example '{fetch}'"));
    let sums: Vec<&str> = sums.lines().collect();
    assert!(sums.len() == 2 && sums[0] == sums[1], "{sums:?}");
    assert!(world.report().connections[0].bytes_in > 50_000_000);
}

#[test]
fn pip_installs_from_a_listed_index() {
    let Some(world) = World::new() else { return };
    let pip = Command::new("/usr/bin/python3").args(["-m", "pip", "--version"]).output();
    if !pip.is_ok_and(|pip| pip.status.success()) {
        return support::skip("needs pip");
    }
    world.scratch.dir("www/simple");
    world.scratch.dir("www/simple/tiny");
    let wheel = r#"
import zipfile, sys
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    wheel.writestr("tiny.py", "print('installed')\n")
    wheel.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
    wheel.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr("tiny-1.0.dist-info/RECORD", "tiny.py,,\ntiny-1.0.dist-info/METADATA,,\ntiny-1.0.dist-info/WHEEL,,\ntiny-1.0.dist-info/RECORD,,\n")
"#;
    let file = world.scratch.text("www/simple/tiny/tiny-1.0-py3-none-any.whl");
    assert!(Command::new("python3").args(["-c", wheel, &file]).status().unwrap().success());
    world.scratch.file("www/simple/tiny/index.html", "<a href=tiny-1.0-py3-none-any.whl>tiny-1.0-py3-none-any.whl</a>");
    let install = "python3 -m pip --disable-pip-version-check --cert /workspace/ca.pem install -q --no-cache-dir --root-user-action=ignore \
                   --index-url https://good.example/simple/ --target /workspace/lib tiny && PYTHONPATH=lib python3 -m tiny";
    assert_eq!(world.run(&format!("sandbox good.example:443 '{install}'")), "installed\n");
    assert!(world.report().connections.iter().any(|c| c.allowed && c.bytes_in > 0));
}

#[test]
fn npm_installs_from_a_listed_registry() {
    let Some(world) = World::new() else { return };
    if !["node", "npm", "tar"].iter().all(|name| has_program(name)) {
        return;
    }
    world.scratch.dir("www/tiny");
    world.scratch.dir("package");
    world.scratch.file("package/package.json", r#"{"name":"tiny","version":"1.0.0","main":"index.js"}"#);
    world.scratch.file("package/index.js", "console.log('installed')\n");
    let archive = "tar -czf www/tiny/tiny-1.0.0.tgz package && sha1sum < www/tiny/tiny-1.0.0.tgz | cut -c1-40";
    let made = Command::new("sh").args(["-ec", archive]).current_dir(world.root()).output().unwrap();
    let sum = String::from_utf8(made.stdout).unwrap();
    let index = format!(
        r#"{{"name":"tiny","dist-tags":{{"latest":"1.0.0"}},"versions":{{"1.0.0":{{"name":"tiny","version":"1.0.0",
           "dist":{{"shasum":"{}","tarball":"https://good.example/tiny/tiny-1.0.0.tgz"}}}}}}}}"#,
        sum.trim()
    );
    world.scratch.file("www/tiny/index.html", index);
    let install = "npm install --cafile /workspace/ca.pem --cache /tmp/npm --fetch-retries 0 --no-audit --no-fund \
                   --no-update-notifier --registry https://good.example/ tiny > /dev/null && node -e \"require(\\\"tiny\\\")\"";
    assert_eq!(world.run(&format!("sandbox good.example:443 '{install}'")), "installed\n");
}

#[test]
fn postgresql_answers_its_client_by_name_and_by_address() {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut programs = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists());
    let (Some(programs), true) = (programs.next(), has_program("psql")) else {
        return support::skip("needs PostgreSQL and its client");
    };
    let scratch = Scratch::new();
    let data = scratch.dir("data");
    // It does not run as root.
    let as_nobody: &[&str] = match support::is_root() {
        true => &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
        false => &["env"],
    };
    if support::is_root() {
        std::os::unix::fs::chown(&data, Some(65534), Some(65534)).unwrap();
    }
    let command = |name: &str| {
        let mut command = Command::new(as_nobody[0]);
        command.args(&as_nobody[1..]).arg(programs.join(name)).args(["-D", &data]).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    };
    assert!(command("initdb").args(["-A", "trust", "-U", "me", "--no-sync"]).status().unwrap().success());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-F", "-p", &port.to_string()];
    let mut server = command("postgres").args(listen).stderr(Stdio::null()).spawn().unwrap();
    eventually("PostgreSQL listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let ask = |host: &str| {
        // Until it has started up it says so to whoever connects.
        let psql = format!(
            "until psql -h {host} -p {port} -U me -At -c 'select 6*7' postgres 2> /dev/null; do sleep 0.1; done"
        );
        let rules = [format!("127.0.0.1:{port}"), format!("good.example:{port}")];
        super::said(&super::run(&super::good(), &rules, pinfold::job(["sh", "-c", &psql])))
    };
    let said = [ask("127.0.0.1"), ask("good.example")];
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(said, ["42\n", "42\n"]);
}
