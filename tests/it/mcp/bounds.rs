//! What no tool call can do: reach what is not the server's, or have more than the operator allows.

use super::{Server, words};
use crate::held::Home;
use serde_json::json;
use std::io::Write;
use std::net::TcpListener;

#[test]
fn no_name_leads_to_a_sandbox_of_somebody_else() {
    let home = Home::new();
    home.start("victim", &[]);
    let id = home.sandboxes().get("victim").unwrap().id().to_owned();
    let mut server = Server::start(&home, &[]);
    let long = "x".repeat(300);
    for name in ["victim", &id, &id[..4], "../victim", "", ".", "-x", "a/b", "a\0b", "ä", &long] {
        for (tool, more) in [
            ("sandbox_exec", json!({"command": "true"})),
            ("terminal_run", json!({"command": "true"})),
            ("terminal_screen", json!({})),
            ("file_list", json!({})),
        ] {
            let mut arguments = more;
            arguments["sandbox"] = name.into();
            let refused = server.fails(tool, arguments);
            assert!(refused.contains("no sandbox") || refused.contains("a sandbox's name"), "{name:?}: {refused}");
        }
        let _no_name = server.call("sandbox_stop", json!({"sandbox": name}));
    }
    // One of the same name is another one.
    server.ok("sandbox_start", json!({"name": "victim"}));
    server.ok("sandbox_exec", json!({"sandbox": "victim", "command": "echo mine > /workspace/f"}));
    server.ok("sandbox_stop", json!({"sandbox": "victim"}));
    assert_eq!(home.says("victim", "ls /workspace"), "");
    assert_eq!(server.ok("sandbox_list", json!({}))["sandboxes"], json!([]));
}

#[test]
fn no_id_and_no_path_leads_out_of_the_workspaces() {
    let home = Home::new();
    home.ok(&["workspace", "create", "secret"]);
    home.ok(&["run", "-w", "ws:secret", "--", "sh", "-c", "echo told > f"]);
    let mut server = Server::start(&home, &["--workspaces", "m/", "--max-workspaces", "2"]);
    for id in ["secret", "../secret", "/secret", ""] {
        server.fails("run_command", json!({"workspace": id, "command": "cat f"}));
        server.fails("file_read", json!({"workspace": id, "path": "f"}));
        server.fails("workspace_remove", json!({"workspace": id}));
        server.fails("checkpoint_fork", json!({"workspace": id, "to": "mine"}));
    }
    server.ok("workspace_create", json!({"workspace": "../secret"}));
    server.ok("run_command", json!({"workspace": "../secret", "command": "ln -s /etc/passwd link; ln -s / root"}));
    for path in ["../../../etc/passwd", "/etc/passwd", "link", "root/etc/passwd", "a/../../f"] {
        for tool in ["file_read", "file_delete"] {
            if (tool, path) != ("file_delete", "link") {
                server.fails(tool, json!({"workspace": "../secret", "path": path}));
            }
        }
        server.fails("file_write", json!({"workspace": "../secret", "path": format!("{path}/x"), "content": "x"}));
    }
    assert_eq!(home.ok(&["run", "-w", "ws:secret", "--", "ls"]), "f\n");
    // No more of them than the operator allows.
    server.ok("workspace_create", json!({"workspace": "second"}));
    for (tool, arguments) in [
        ("workspace_create", json!({"workspace": "third"})),
        ("checkpoint_fork", json!({"workspace": "second", "to": "third"})),
    ] {
        let refused = server.fails(tool, arguments);
        assert!(refused.contains("2 are allowed"), "{refused}");
    }
    server.ok("workspace_create", json!({"workspace": "second"}));
}

#[test]
fn no_argument_raises_a_limit() {
    let home = Home::new();
    let mut server = Server::start(&home, &["--time", "2s", "--max-sandboxes", "1", "--pids", "20", "--allow", "bash"]);
    server.ok("sandbox_start", json!({"name": "a"}));
    for (tool, arguments) in [
        ("run_command", json!({"command": "sleep 1000", "timeout_seconds": 1000})),
        ("run_code", json!({"language": "bash", "code": "sleep 1000", "timeout_seconds": 1e300})),
        ("sandbox_exec", json!({"sandbox": "a", "command": "sleep 1000", "timeout_seconds": 1000})),
        ("terminal_run", json!({"sandbox": "a", "command": "sleep 1000", "timeout_seconds": 1000})),
    ] {
        let result = server.call(tool, arguments);
        if tool == "run_code" {
            // No time at all: no `Duration` is so long.
            assert_eq!(result["isError"], true, "{result}");
            continue;
        }
        assert_eq!((&result["isError"], &result["structuredContent"]["status"]), (&json!(true), &json!("timed_out")));
        assert!(words(&result).contains("timeout_seconds was lowered to 2s"), "{result}");
    }
    let refused = server.fails("run_command", json!({"command": "true", "timeout_seconds": -1}));
    assert!(refused.contains("timeout_seconds"), "{refused}");
    let refused = server.fails("sandbox_start", json!({"name": "b"}));
    assert!(refused.contains("maximum number of sandboxes (1)") && refused.contains("sandbox_stop"), "{refused}");
    for more in ["net", "mounts", "memory", "rw", "network"] {
        let refused = server.fails("run_command", json!({"command": "true", more: "host"}));
        assert!(refused.contains(&format!("no argument `{more}`")), "{refused}");
    }
    // The limits are those that were set at the start, in each kind of sandbox.
    let script = "ulimit -n; tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '";
    let ran = server.ok("run_command", json!({"command": script}));
    assert_eq!(ran["stdout"], "1024\nlo\n");
    assert_eq!(server.ok("sandbox_exec", json!({"sandbox": "a", "command": script}))["stdout"], "1024\nlo\n");
    assert_eq!(server.ok("run_code", json!({"language": "bash", "code": script}))["stdout"], "1024\nlo\n");
}

#[test]
fn what_the_operator_set_holds_for_commands_code_and_sandboxes() {
    let home = Home::new();
    let options = ["--env", "TOLD=yes", "--open-files", "77", "--ro", "/etc/hostname:/opt/told", "--allow", "bash"];
    let mut server = Server::start(&home, &options);
    server.ok("sandbox_start", json!({"name": "a"}));
    let script = "echo $TOLD; ulimit -n; test -e /opt/told && echo there";
    let expected = json!("yes\n77\nthere\n");
    assert_eq!(server.ok("run_command", json!({"command": script}))["stdout"], expected);
    assert_eq!(server.ok("run_code", json!({"language": "bash", "code": script}))["stdout"], expected);
    assert_eq!(server.ok("sandbox_exec", json!({"sandbox": "a", "command": script}))["stdout"], expected);
    home.fails(&["mcp", "-w", "ws:x"], "--workspaces");
    home.fails(&["mcp", "--allow", "cobol"], "cobol");
    home.fails(&["mcp", "--output", "max"], "--output");
}

#[test]
fn a_directory_of_the_operators_is_the_workspace_of_all_but_code() {
    let home = Home::new();
    let directory = home.scratch.path("project");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("f"), "theirs\n").unwrap();
    let mut server = Server::start(&home, &["-w", directory.to_str().unwrap(), "--allow", "bash"]);
    let ran = server.ok("run_command", json!({"command": "cat f; echo new > g"}));
    assert_eq!(ran["stdout"], "theirs\n");
    server.ok("sandbox_start", json!({"name": "a"}));
    assert_eq!(server.ok("sandbox_exec", json!({"sandbox": "a", "command": "cat g"}))["stdout"], "new\n");
    assert_eq!(server.ok("file_read", json!({"sandbox": "a", "path": "g"}))["content"], "new\n");
    assert_eq!(server.ok("run_code", json!({"language": "bash", "code": "cat f g; true"}))["stdout"], "");
    assert_eq!(std::fs::read_to_string(directory.join("g")).unwrap(), "new\n");
}

#[test]
fn a_list_of_hosts_holds_for_all_tools_and_no_argument_widens_it() {
    let home = Home::new();
    let [listed, other] = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [port, closed] = [&listed, &other].map(|listener| listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for mut client in listed.incoming().flatten() {
            let _gone = client.write_all(b"hello\n");
        }
    });
    let net = format!("allow=127.0.0.1:{port}");
    let mut server = Server::start(&home, &["--net", &net, "--allow", "bash"]);
    server.ok("sandbox_start", json!({"name": "a"}));
    let connect = |to: &str| format!("exec 3<>/dev/tcp/{to} && cat <&3");
    let line = |to: &str| format!("bash -c '{}' 2>/dev/null || echo refused", connect(to));
    for (to, said) in [
        (format!("127.0.0.1/{port}"), "hello\n"),
        (format!("127.0.0.1/{closed}"), "refused\n"),
        ("10.0.0.1/80".to_owned(), "refused\n"),
        ("evil.example/443".to_owned(), "refused\n"),
    ] {
        let code = format!("({}) 2>/dev/null || echo refused", connect(&to));
        assert_eq!(server.ok("run_command", json!({"command": line(&to)}))["stdout"], said, "{to}");
        assert_eq!(server.ok("run_code", json!({"language": "bash", "code": code}))["stdout"], said, "{to}");
        assert_eq!(server.ok("sandbox_exec", json!({"sandbox": "a", "command": line(&to)}))["stdout"], said, "{to}");
        let ran = server.ok("terminal_run", json!({"sandbox": "a", "command": line(&to)}));
        assert_eq!(ran["stdout"].as_str().unwrap().replace('\r', ""), said, "{to}");
    }
    for (tool, mut arguments) in [
        ("run_command", json!({"command": "true"})),
        ("run_code", json!({"language": "bash", "code": "true"})),
        ("sandbox_start", json!({"name": "b"})),
        ("sandbox_exec", json!({"sandbox": "a", "command": "true"})),
    ] {
        for more in ["net", "network", "allowed_hosts", "allow"] {
            let plain = arguments.clone();
            arguments[more] = json!(format!("127.0.0.1:{closed}"));
            let refused = server.fails(tool, arguments);
            assert!(refused.contains(&format!("no argument `{more}`")), "{tool}: {refused}");
            arguments = plain;
        }
    }
    other.set_nonblocking(true).unwrap();
    assert!(other.accept().is_err(), "somebody came");
}

#[test]
fn a_stored_workspace_holds_what_the_operator_allows() {
    let home = Home::new();
    let mut server = Server::start(&home, &["--disk", "2M"]);
    server.ok("workspace_create", json!({"workspace": "w"}));
    server.ok("run_command", json!({"workspace": "w", "command": "head -c 1500000 /dev/zero > one"}));
    // Once more is too much, whoever writes.
    let fills = "head -c 1500000 /dev/zero > two && sleep 60";
    let result = server.call("run_command", json!({"workspace": "w", "command": fills}));
    assert_ne!(result["structuredContent"]["exit_code"], 0, "{result}");
    server.ok("run_command", json!({"workspace": "w", "command": "rm -f two"}));
    let text = "x".repeat(1_500_000);
    let refused = server.fails("file_write", json!({"workspace": "w", "path": "two", "content": text}));
    assert!(refused.contains("the workspace is full"), "{refused}");
    server.ok("sandbox_start", json!({"name": "a", "workspace": "w"}));
    let result = server.call("sandbox_exec", json!({"sandbox": "a", "command": fills}));
    assert_ne!(result["structuredContent"]["exit_code"], 0, "{result}");
}

#[test]
fn a_flood_of_output_is_cut_and_told() {
    let home = Home::new();
    let mut server = Server::start(&home, &["--output", "4K"]);
    server.ok("sandbox_start", json!({"name": "a"}));
    let flood = "head -c 5000000 /dev/zero | tr '\\0' x; head -c 100000 /dev/zero >&2";
    for (tool, arguments) in
        [("run_command", json!({"command": flood})), ("sandbox_exec", json!({"sandbox": "a", "command": flood}))]
    {
        let ran = server.ok(tool, arguments);
        assert_eq!(ran["stdout_left_out"], 5_000_000 - 4096, "{tool}");
        let stdout = ran["stdout"].as_str().unwrap();
        assert!(stdout.len() < 4300 && stdout.ends_with("[4995904 more bytes of stdout were left out]"), "{stdout}");
        assert!(ran["stderr"].as_str().unwrap().contains("binary"), "{}", ran["stderr"]);
    }
    let ran = server.ok("terminal_run", json!({"sandbox": "a", "command": "seq 100000"}));
    assert!(ran["stdout"].as_str().unwrap().len() < 4300, "{ran}");
    let screen = server.ok("terminal_screen", json!({"sandbox": "a", "scrollback": true}));
    assert!(screen["screen"].as_str().unwrap().len() < 4300 && screen["left_out"].as_u64() > Some(0));
    server.ok("sandbox_exec", json!({"sandbox": "a", "command": "seq 100000 > long; tr -d '\\n' < long > line"}));
    let read = server.ok("file_read", json!({"sandbox": "a", "path": "long", "limit": 100_000}));
    assert!(read["content"].as_str().unwrap().len() <= 4096 && read["more"] == true, "{read}");
    let next =
        server.ok("file_read", json!({"sandbox": "a", "path": "long", "offset": read["next_offset"], "limit": 1}));
    let first = read["content"].as_str().unwrap().lines().count() + 1;
    assert_eq!(next["content"], format!("{first}\n"));
    let read = server.ok("file_read", json!({"sandbox": "a", "path": "line"}));
    assert!(read["content"].as_str().unwrap().contains("is longer than 4096 bytes"), "{read}");
}

#[test]
fn a_line_without_end_takes_no_memory_and_ends_nothing() {
    let home = Home::new();
    let mut server = Server::start(&home, &[]);
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..40 {
        server.write(&piece);
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 120 << 10, "{resident}");
    server.write(b"\n{\"not\": \"a request\"}\nno json\n");
    assert_eq!(server.request("ping", json!({}))["result"], json!({}));
}
