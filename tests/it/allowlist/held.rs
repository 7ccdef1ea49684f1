//! Sandboxes that stay: one list for all that runs in them, through their keeper.

use super::{CONNECT, Server, greet};
use crate::held::Home;
use crate::sandbox::{eventually, kill};
use pinfold::held::{RunOptions, Shell, TerminalOptions};
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn every_command_of_a_held_sandbox_has_its_list() {
    let (home, server) = (Home::new(), Server::start(greet));
    let port = server.port;
    home.start("online", &["--net", &format!("allow=127.0.0.1:{port},*.good.example")]);
    let connect = |to: &str| home.ok(&["exec", "online", "--", "/usr/bin/python3", "-c", CONNECT, to]);
    for _ in 0..2 {
        assert_eq!(connect(&format!("127.0.0.1 {port}")), "hello\n");
    }
    assert_eq!(connect("evil.example 80"), "NONAME\n");
    assert_eq!(connect("10.0.0.1 80"), "ENETUNREACH\n");
    // A name has one address, whichever command asks.
    let address = home.says("online", "getent ahostsv4 a.good.example | head -1");
    assert_eq!(home.says("online", "getent ahostsv4 a.good.example | head -1"), address);
    assert!(address.starts_with("198.18.0."), "{address}");
    // What they hold is theirs alone: nothing of the sockets that init keeps for the supervisor.
    assert_eq!(home.says("online", "ls /proc/self/fd | wc -l"), "4\n");
    assert_eq!(server.accepted(), 2);
    // All of it is in the log.
    let logs = home.ok(&["logs", "online"]);
    for line in [
        format!("connection 127.0.0.1:{port} 6 bytes in, 0 out"),
        "connection evil.example refused: not_listed".to_owned(),
    ] {
        assert!(logs.contains(&line), "{line}: {logs}");
    }
    // Others have none.
    home.start("offline", &[]);
    let refused = home.ok(&["exec", "offline", "--", "/usr/bin/python3", "-c", CONNECT, &format!("127.0.0.1 {port}")]);
    assert_eq!(refused, "ECONNREFUSED\n");
    for name in ["online", "offline"] {
        home.ok(&["stop", name]);
    }
    home.is_clean();
}

#[test]
fn a_terminal_has_the_list_too() {
    let (home, server) = (Home::new(), Server::start(greet));
    home.start("online", &["--net", &format!("allow=127.0.0.1:{}", server.port)]);
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{} && cat <&3", server.port);
    let held = home.sandboxes().get("online").unwrap();
    let said = super::wait(async {
        let terminal = held.terminal(TerminalOptions::named("main").shell(Shell::Bash)).await.unwrap();
        terminal.run_command(&script, RunOptions::default()).await.unwrap()
    });
    assert_eq!((said.output.to_text().as_ref(), said.exit_code), ("hello\n", Some(0)));
    home.ok(&["stop", "online"]);
    home.is_clean();
}

#[test]
fn the_keeper_s_death_ends_the_connections() {
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    let home = Home::new();
    let server = Server::start(|stream| {
        let _broken_or_not = stream.read(&mut [0]);
        ENDED.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    home.start("online", &["--net", &format!("allow=127.0.0.1:{}", server.port)]);
    let hold =
        "import socket, sys, time; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); time.sleep(1000)";
    home.ok(&["exec", "--detach", "online", "--", "/usr/bin/python3", "-c", hold, &server.port.to_string()]);
    eventually("the connection", || server.accepted() == 1);
    let (keeper, _) = home.processes("online");
    kill(keeper, libc::SIGKILL);
    eventually("its end", || ENDED.load(Ordering::SeqCst) == 1);
    home.next_command_cleans();
}
