//! People and programs at one terminal, and who waits for whom.

use super::{PATIENCE, each};
use crate::held::terminal::TerminalState;
use crate::held::terminal::ask::What;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncReadExt;

#[test]
fn people_and_programs_share_a_terminal() {
    each(async |terminal, shell| {
        let attach = async || {
            let (_, socket) = terminal.tell(What::Attach { size: Some((30, 90)) }).await;
            let socket = std::os::unix::net::UnixStream::from(socket.unwrap());
            socket.set_nonblocking(true).unwrap();
            tokio::net::UnixStream::from_std(socket).unwrap()
        };
        let seen = Rc::new(RefCell::new(String::new()));
        terminal.get("echo before").await;
        let mut client = attach().await;
        let copy = seen.clone();
        let reader = tokio::task::spawn_local(async move {
            let mut chunk = vec![0; 4096];
            while let Ok(length @ 1..) = client.read(&mut chunk).await {
                copy.borrow_mut().push_str(&String::from_utf8_lossy(&chunk[..length]));
            }
        });
        let sees = async |wanted: &str| {
            let begin = std::time::Instant::now();
            while !seen.borrow().contains(wanted) {
                assert!(begin.elapsed() < PATIENCE, "{}: no {wanted:?} in {:?}", shell.name(), seen.borrow());
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        };
        sees("echo before").await;
        assert_eq!(terminal.info().await.clients, 1);
        terminal.type_in("echo typed $((40+2))\r").await;
        sees("typed 42").await;
        terminal.is(TerminalState::Idle).await;
        // A half-typed line gives way to a program's command.
        terminal.type_in("x=1; echo never").await;
        let (output, code) = terminal.get("echo driven $?; stty size").await;
        assert_eq!((String::from_utf8(output).unwrap().as_str(), code), ("driven 0\n30 90\n", 0));
        sees("driven 0\r\n30 90\r\n").await;
        assert_eq!(terminal.get("echo again").await.0, b"again\n");
        terminal.type_in("echo person-$((1+1))\r").await;
        sees("person-2\r\n").await;
        assert!(!seen.borrow().contains("\nnever") && !seen.borrow().contains("__pf"), "{:?}", seen.borrow());
        // What a person runs keeps programs out.
        terminal.is(TerminalState::Idle).await;
        terminal.type_in("cat\r").await;
        terminal.is(TerminalState::WaitingForInput).await;
        let busy = terminal.room.run("main", b"echo no".to_vec(), None, 100).await;
        assert_eq!(busy.unwrap_err().code, "busy");
        terminal.type_in("to cat\r\x04").await;
        sees("to cat\r\nto cat").await;
        terminal.is(TerminalState::Idle).await;
        terminal.type_in("sh -c 'echo start$((4+3)); exec sleep 100'\r").await;
        sees("start7").await;
        terminal.is(TerminalState::Running).await;
        terminal.tell(What::Interrupt).await;
        terminal.is(TerminalState::Idle).await;
        reader.abort();
        let _ = reader.await;
        let screen = terminal.shows("driven").await;
        assert!(screen.contains("$ echo before\nbefore\n"), "{screen}");
        let mut second = attach().await;
        let mut first = vec![0; 200_000];
        let length = second.read(&mut first).await.unwrap();
        assert!(String::from_utf8_lossy(&first[..length]).contains("typed 42"));
        assert_eq!(terminal.get("echo shared").await.0, b"shared\n");
    });
}

#[test]
fn a_program_that_waits_for_input_gets_it() {
    each(async |terminal, _| {
        let waiting = async {
            terminal.is(TerminalState::WaitingForInput).await;
            terminal.type_in("an answer\n").await;
        };
        let (ran, ()) = tokio::join!(terminal.run("read line; echo \"got $line\""), waiting);
        assert_eq!((ran.output.0.as_slice(), ran.exit_code), (&b"got an answer\n"[..], Some(0)));
        let (ran, ()) = tokio::join!(terminal.run("head -n1"), async {
            terminal.is(TerminalState::WaitingForInput).await;
            terminal.tell(What::Interrupt).await;
        });
        assert_eq!((ran.exit_code, ran.timed_out), (Some(130), false));
        let (ran, ()) = tokio::join!(terminal.run("sleep 0.3"), async { terminal.is(TerminalState::Running).await });
        assert_eq!(ran.exit_code, Some(0));
    });
}
