//! Pieces of code with a list of hosts.

use super::{CONNECT, Server, greet, wait};
use crate::support;
use pinfold::code::{CodeConfig, CodeError, CodeRequest, ExecutionMode, Executor, Languages};
use pinfold::{NetworkFence, Pinfold};
use std::process::Command;
use std::time::Duration;

fn executor(config: CodeConfig) -> Result<Executor, CodeError> {
    let pinfold = Pinfold::builder().runner(support::runner()).build().unwrap();
    Executor::new(config, Languages::embedded(), pinfold)
}

#[test]
fn a_piece_of_code_reaches_the_allowed_hosts_alone() {
    let server = Server::start(greet);
    for network_enabled in [false, true] {
        let config = CodeConfig {
            network_enabled,
            allowed_hosts: vec![format!("127.0.0.1:{}", server.port)],
            timeout: Some(Duration::from_secs(60)),
            ..CodeConfig::default()
        };
        let mut request = CodeRequest::new("python", CONNECT);
        request.args =
            vec![format!("127.0.0.1 {}", server.port), "evil.example 80".to_owned(), "10.0.0.1 80".to_owned()];
        let result = wait(executor(config).unwrap().execute(request)).unwrap();
        assert_eq!(result.stdout, "hello\nNONAME\nENETUNREACH\n", "{result:?}");
        let outcome = result.outcome.unwrap();
        assert_eq!((outcome.isolation.network, outcome.connections.len()), (NetworkFence::Allowlist, 2));
    }
    assert_eq!(server.accepted(), 2);
}

#[test]
fn who_can_t_hold_a_list_does_not_take_one() {
    let config = |mode, host: &str| CodeConfig {
        mode,
        enable_process_backend: true,
        allowed_hosts: vec![host.to_owned()],
        ..CodeConfig::default()
    };
    let refused = executor(config(ExecutionMode::Process, "good.example"));
    assert!(matches!(refused, Err(CodeError::Unsupported(_))), "{refused:?}");
    let refused = executor(config(ExecutionMode::Namespace, "http://good.example"));
    assert!(matches!(refused, Err(CodeError::InvalidValue(_))), "{refused:?}");
}

#[test]
fn the_command_line_takes_a_list_too() {
    let server = Server::start(greet);
    let (net, to) = (format!("allow=127.0.0.1:{}", server.port), format!("127.0.0.1 {}", server.port));
    let run = |net: &str| {
        let mut command = Command::new(support::pinfold());
        let output = command.args(["code", "--net", net, "python", "-c", CONNECT, "--arg", &to]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run(&net), "hello\n");
    assert_eq!(run("allow=good.example"), "ECONNREFUSED\n");
    assert_eq!(run("none"), "ECONNREFUSED\n");
}
