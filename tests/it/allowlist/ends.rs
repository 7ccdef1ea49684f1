//! What dies with whom. Nothing stays behind in a sandbox's network for its connections, and these end with it.

use super::{Server, allow, good, loopback, pinfold, python};
use crate::sandbox::{children, eventually, kill};
use crate::support::{self, finish};
use pinfold::{JobBuilder, Limit, Stdio};
use std::io::Read;
use std::process::{Command, Stdio as ProcessStdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Holds a connection open for ever.
const HOLD: &str = r#"
import socket, sys, time
s = socket.create_connection((sys.argv[1], int(sys.argv[2]))); s.sendall(b"x")
time.sleep(1000)
"#;

fn held(host: &str, port: u16) -> JobBuilder {
    python(HOLD, &[host, &port.to_string()]).wall(Limit::Max)
}

/// A server that counts the connections that have begun and those that have ended.
macro_rules! watching {
    ($begun:ident, $ended:ident) => {
        static $begun: AtomicUsize = AtomicUsize::new(0);
        static $ended: AtomicUsize = AtomicUsize::new(0);
    };
}

#[test]
fn the_supervisor_s_death_is_the_end_of_all() {
    watching!(BEGUN, ENDED);
    let server = Server::start(|stream| {
        stream.read_exact(&mut [0])?;
        BEGUN.fetch_add(1, Ordering::SeqCst);
        let _broken_or_not = stream.read(&mut [0]);
        ENDED.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let (port, net) = (server.port.to_string(), format!("allow=127.0.0.1:{}", server.port));
    let mut supervisor = Command::new(support::pinfold())
        .args(["run", "--net", &net, "--", "/usr/bin/python3", "-c", HOLD, "127.0.0.1", &port])
        .stdin(ProcessStdio::null())
        .spawn()
        .unwrap();
    eventually("the connection", || BEGUN.load(Ordering::SeqCst) == 1);
    let pid = |pid: u32| i32::try_from(pid).unwrap();
    // One runner, and below it one init: nobody else is needed.
    let runners = children(pid(supervisor.id()));
    let [runner] = runners[..] else { panic!("{runners:?}") };
    let inits = children(runner);
    let [init] = inits[..] else { panic!("{inits:?}") };
    let command = children(init)[0];
    kill(pid(supervisor.id()), libc::SIGKILL);
    supervisor.wait().unwrap();
    eventually("their end", || ENDED.load(Ordering::SeqCst) == 1);
    for pid in [runner, init, command] {
        eventually("nobody", || !std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}

#[test]
fn the_runner_s_death_is_the_end_of_the_connections() {
    watching!(BEGUN, ENDED);
    let server = Server::start(|stream| {
        stream.read_exact(&mut [0])?;
        BEGUN.fetch_add(1, Ordering::SeqCst);
        let _broken_or_not = stream.read(&mut [0]);
        ENDED.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let rules = [format!("good.example:{}", server.port), loopback(server.port)];
    let job = || held("good.example", server.port).network(allow(&rules)).build().unwrap();
    super::wait(async {
        let pinfold = pinfold(&good());
        let begun = |count| async move {
            while BEGUN.load(Ordering::SeqCst) < count {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let sandbox = pinfold.spawn(job(), Stdio::captured()).await.unwrap();
        begun(1).await;
        sandbox.kill();
        let outcome = sandbox.wait().await.unwrap();
        // Of what was before, the supervisor knows all the same.
        assert_eq!((outcome.connections.len(), outcome.connections[0].bytes_out), (1, 1));
        // Nobody waits for this one.
        let sandbox = pinfold.spawn(job(), Stdio::captured()).await.unwrap();
        begun(2).await;
        drop(sandbox);
        while ENDED.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn a_starter_with_few_descriptors_has_enough() {
    let server = Server::start(super::greet);
    let few = format!(
        r#"ulimit -Sn 64; exec "$0" run --net allow=127.0.0.1:{0} -- /usr/bin/python3 -c "$1" "127.0.0.1 {0}""#,
        server.port
    );
    let mut command = Command::new("bash");
    command.args(["-c", &few]).arg(support::pinfold()).arg(super::CONNECT).stdin(ProcessStdio::null());
    let ended = finish(command.stdout(ProcessStdio::piped()).stderr(ProcessStdio::piped()).spawn().unwrap());
    assert_eq!(ended, (0, "hello\n".to_owned(), String::new()));
}

#[test]
fn the_command_line_lets_through_what_it_is_told() {
    let server = Server::start(super::greet);
    let (port, net) = (server.port.to_string(), format!("allow=127.0.0.1:{},good.example", server.port));
    let pinfold = |net: &str| {
        let mut command = Command::new(support::pinfold());
        let to = format!("127.0.0.1 {port}");
        command.args([
            "run",
            "--net",
            net,
            "--report",
            "/dev/stderr",
            "--",
            "/usr/bin/python3",
            "-c",
            super::CONNECT,
            &to,
        ]);
        finish(
            command
                .stdin(ProcessStdio::null())
                .stdout(ProcessStdio::piped())
                .stderr(ProcessStdio::piped())
                .spawn()
                .unwrap(),
        )
    };
    let (code, stdout, report) = pinfold(&net);
    assert_eq!((code, stdout.as_str()), (0, "hello\n"), "{report}");
    let report: pinfold::Outcome = serde_json::from_str(&report).unwrap();
    assert_eq!((report.connections.len(), report.connections[0].bytes_in), (1, 6));
    assert_eq!(pinfold("allow=").1, "ECONNREFUSED\n");
    assert_eq!(pinfold("none").1, "ECONNREFUSED\n");
    for bad in ["allow", "allow=*", "bridge", "allow=a.example:0", "allow=localhost", ""] {
        let (code, _, words) = pinfold(bad);
        assert_eq!(code, 125, "{bad}: {words}");
        assert!(words.contains("--net"), "{bad}: {words}");
    }
}
