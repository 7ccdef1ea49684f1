//! Sessions: what a token is given for, whom the cookie lets in, and whom it does not.

use super::{OTHERS, Server, TOKEN, ask, serve};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Child;

/// Gives a token for a cookie: `NAME=VALUE`.
fn signed_in(server: &Server, token: &str) -> String {
    let headers = format!("Origin: http://{}\r\nAuthorization: Bearer {token}\r\n", server.address);
    let (status, head, body) = server.ask("POST /page/session", &headers, "");
    assert_eq!(status, 200, "{head}\n{body}");
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    for attribute in ["; HttpOnly", "; SameSite=Strict", "; Path=/", "; Max-Age="] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains(token) && !cookie.contains("Secure") && !cookie.contains("Domain"), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}

#[test]
fn a_token_is_given_for_a_cookie_by_the_page_alone() {
    let server = Server::start();
    let (own, bearer) =
        (format!("Origin: http://{}\r\n", server.address), format!("Authorization: Bearer {TOKEN}\r\n"));
    for (headers, expected) in [
        (bearer.clone(), 403),
        (format!("{bearer}Origin: http://evil.example\r\n"), 403),
        (format!("{bearer}Origin: null\r\n"), 403),
        (own.clone(), 401),
        (format!("{own}Authorization: Bearer {TOKEN}x\r\n"), 401),
        (format!("{own}{bearer}{bearer}"), 401),
    ] {
        let (status, head, _) = server.ask("POST /page/session", &headers, "");
        assert!(status == expected && !head.contains("set-cookie"), "{headers}: {head}");
    }
    // Through a proxy that speaks TLS.
    let (_, head, _) = server.ask("POST /page/session", &format!("{}{bearer}", own.replace("http:", "https:")), "");
    assert!(head.contains("; Secure"), "{head}");
    let cookie = signed_in(&server, TOKEN);
    let (status, _, body) = server.ask("GET /page/session", &format!("Cookie: {cookie}\r\n"), "");
    assert!(status == 200 && body.contains("\"ann\""), "{body}");
    server.stop();
}

#[test]
fn a_cookie_lets_in_the_page_of_its_owner_and_nobody_else() {
    let mut server = Server::start();
    let (anns, bobs) = (signed_in(&server, TOKEN), signed_in(&server, OTHERS));
    let (name, value) = anns.split_once('=').unwrap();
    assert_eq!(name, format!("pinfold-{}", server.address.port()));
    let own = format!("Origin: http://{}\r\n", server.address);
    let cookie = format!("Cookie: a=b; {anns}\r\n");
    let make = |headers: &str| {
        server.ask("PUT /v1/workspaces/w", &format!("Content-Type: application/json\r\n{headers}"), "{}").0
    };
    assert_eq!(make(&format!("{cookie}{own}")), 201);
    assert_eq!(make(&cookie), 401, "whoever changes something says from where");
    assert_eq!(make(&format!("{cookie}Origin: http://evil.example\r\n")), 403);
    let get = |headers: &str| server.ask("GET /v1/workspaces", headers, "");
    assert!(get(&cookie).2.contains("\"w\"") && !get(&format!("Cookie: {bobs}\r\n")).2.contains("\"w\""));
    assert_eq!(get(&format!("{cookie}Sec-Fetch-Site: same-site\r\n")).0, 403);
    for forged in [
        format!("Cookie: pinfold={value}\r\n"),
        format!("Cookie: pinfold-1={value}\r\n"),
        format!("Cookie: {anns}; {anns}\r\n"),
        format!("Cookie: {anns}; {bobs}\r\n"),
        format!("Cookie: {name}=1{}\r\n", &value[1..]),
        format!("Cookie: {anns}0\r\n"),
        format!("Cookie: {name}={TOKEN}\r\n"),
        format!("Cookie: {name}=\r\n"),
        format!("{cookie}Authorization: Bearer wrong\r\n"),
    ] {
        assert_eq!(get(&forged).0, 401, "{forged}");
    }
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let attach =
        |headers: &str| server.ask("GET /v1/sandboxes/x/terminals/t/attach", &format!("{upgrade}{headers}"), "").0;
    // Let in, it is told that this was no good handshake: it says `Connection: close`.
    assert_eq!([attach(&cookie), attach(&format!("{cookie}{own}"))], [401, 426]);
    // It holds over a restart, and until it is ended.
    server.kill();
    server.start_again();
    let get = |cookie: &str| server.ask("GET /v1/workspaces", &format!("Cookie: {cookie}\r\n"), "").0;
    assert_eq!([get(&anns), get(&bobs)], [200, 200]);
    let leave = |headers: &str| server.ask("DELETE /page/session", &format!("Cookie: {anns}\r\n{headers}"), "");
    assert_eq!((leave("").0, get(&anns)), (403, 200));
    let (status, head, _) = leave(&own);
    assert!(status == 204 && head.contains("Max-Age=0"), "{head}");
    assert_eq!([get(&anns), get(&bobs)], [401, 200]);
    server.stop();
}

/// Another server of the same directories.
struct Another(Child, SocketAddr);

impl Another {
    fn of(server: &Server) -> Self {
        let (child, address) = serve(&server.home, "127.0.0.1:0");
        Self(child, address)
    }
}

impl Drop for Another {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// What a session that began at one server is answered by one, as of whose cookie's name it has.
fn answers(server: SocketAddr, session: &str) -> u16 {
    let (_, value) = session.split_once('=').unwrap();
    ask(server, "GET /v1/workspaces", &format!("Cookie: pinfold-{}={value}\r\n", server.port()), "").0
}

fn sign_out(server: SocketAddr, session: &str) -> u16 {
    let (_, value) = session.split_once('=').unwrap();
    let headers = format!("Cookie: pinfold-{}={value}\r\nOrigin: http://{server}\r\n", server.port());
    ask(server, "DELETE /page/session", &headers, "").0
}

#[test]
fn who_kept_the_cookie_of_a_session_that_was_ended_is_let_in_by_no_server_and_after_no_restart() {
    let mut server = Server::start();
    let first = server.address;
    let second = Another::of(&server);
    let sessions = [TOKEN, TOKEN, TOKEN, OTHERS].map(|token| signed_in(&server, token));
    let all = |server| sessions.each_ref().map(|session| answers(server, session));
    assert_eq!([all(first), all(second.1)], [[200; 4]; 2]);
    // One here, one there; no other of the same token ends with them, and ending one twice is no error.
    assert_eq!([sign_out(first, &sessions[0]), sign_out(second.1, &sessions[1])], [204; 2]);
    assert_eq!(sign_out(second.1, &sessions[0]), 204);
    assert_eq!([all(first), all(second.1)], [[401, 401, 200, 200]; 2]);
    drop(second);
    server.kill();
    server.start_again();
    let third = Another::of(&server);
    assert_eq!([all(first), all(third.1)], [[401, 401, 200, 200]; 2]);
    drop(third);
    // What is kept says nothing by which somebody could be let in, and nobody else may read it.
    let directory = server.home.scratch.path("state/server.ended");
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o7777, 0o700);
    let kept: Vec<_> = fs::read_dir(&directory).unwrap().map(Result::unwrap).collect();
    assert_eq!(kept.len(), 2);
    for entry in kept {
        let about = entry.metadata().unwrap();
        assert_eq!((about.permissions().mode() & 0o7777, about.len()), (0o600, 0));
        let name = entry.file_name().into_string().unwrap();
        assert!(
            name.starts_with("ann.") && sessions[..2].iter().all(|session| name.len() < session.len() - 60),
            "{name}"
        );
    }
    // Where it can't be written down, nobody is told that it was.
    fs::remove_dir_all(&directory).unwrap();
    fs::write(&directory, "").unwrap();
    assert_eq!(
        (sign_out(first, &sessions[2]), answers(first, &sessions[2])),
        (500, 401),
        "what can't be told has ended"
    );
    fs::remove_file(&directory).unwrap();
    assert_eq!(answers(first, &sessions[2]), 200);
    server.stop();
}

#[test]
fn the_page_is_whole_and_may_load_nothing_from_elsewhere() {
    let server = Server::start();
    let (status, head, html) = server.ask("GET /", "", "");
    assert!(status == 200 && head.contains("content-type: text/html"), "{head}");
    let policy = head.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).unwrap();
    for part in
        ["default-src 'none'", "script-src 'self';", "frame-ancestors 'none'", "require-trusted-types-for 'script'"]
    {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(policy.ends_with(&format!("; frame-src http://*.localhost:{}", server.address.port())), "{policy}");
    assert!(
        head.contains("x-content-type-options: nosniff") && !html.contains("<style") && !html.contains("//"),
        "{head}"
    );
    // Each file that one of them names is there, from the first on.
    let mut found = vec!["/page/main.js".to_owned()];
    found.extend(
        html.split('"').filter(|text| text.starts_with("/page/") && *text != "/page/main.js").map(str::to_owned),
    );
    let mut at = 0;
    while at < found.len() {
        let (status, head, text) = server.ask(&format!("GET {}", found[at]), "", "");
        assert!(status == 200 && head.contains("etag: "), "{}: {head}", found[at]);
        for import in text.lines().filter(|line| line.starts_with("import ")).filter_map(|line| line.split('"').nth(1))
        {
            let path = format!("/page/{}", import.strip_prefix("./").unwrap());
            if !found.contains(&path) {
                found.push(path);
            }
        }
        at += 1;
    }
    assert!(found.len() > 12, "{found:?}");
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    assert_eq!(server.ask("GET /", &format!("If-None-Match: {tag}\r\n"), "").0, 304);
    for (request, expected) in [("POST /", 401), ("GET /page/nothing.js", 401), ("GET /page/../main.js", 401)] {
        assert_eq!(server.ask(request, "", "").0, expected, "{request}");
    }
    server.stop();
}
