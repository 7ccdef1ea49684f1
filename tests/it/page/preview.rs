//! What a build made in the browser of somebody who is signed in: it runs as a site of its own, and reaches nothing else.

use super::browser::Browser;
use super::{Server, TOKEN};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};

/// A module that imports another by an absolute path, and tries what it should not be able to do.
const APP: &str = r"
import { word } from '/lib/word.js';
const server = `http://localhost:${location.port}`;
const tried = async (what) => { try { return String(await what()); } catch { return 'refused'; } };
window.results = {
    word,
    own: await tried(async () => (await (await fetch('/data.json')).json()).here),
    api: await tried(async () => (await fetch(`${server}/v1/builds`, { credentials: 'include' })).status),
    blind: await tried(async () => (await fetch(`${server}/healthz`, { mode: 'no-cors' })).type),
    socket: await tried(() => new Promise((yes, no) => {
        const socket = new WebSocket(`ws://localhost:${location.port}/v1/sandboxes/x/terminals/t/attach`);
        socket.onopen = yes;
        socket.onerror = no;
    })),
    worker: await tried(() => navigator.serviceWorker.register('/lib/word.js')),
    kept: (localStorage.kept = 'kept', localStorage.kept),
};
";

fn build(server: &Server) -> String {
    let project = "artifact = 'site'\n[[phase]]\nname = 'build'\nrun = 'true'\n";
    let files = [
        ("pinfold.toml", project),
        (
            "site/index.html",
            "<!doctype html><title>site</title><script type=module src=/app.js></script><iframe src=/data.json></iframe>",
        ),
        ("site/app.js", APP),
        ("site/lib/word.js", "export const word = 'imported';"),
        ("site/data.json", r#"{"here": true}"#),
    ];
    let files: Vec<_> = files.iter().map(|(path, content)| json!({"path": path, "content": content})).collect();
    let headers = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
    let ask = |request: &str, body: &Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, _, body) = server.ask(request, &headers, &body);
        assert_eq!(status, 200, "{request}: {body}");
        body
    };
    let build: Value = serde_json::from_str(&ask("POST /v1/builds?project=site", &json!({"files": files}))).unwrap();
    let events = ask(&format!("GET /v1/builds/{}/logs/events", build["id"].as_str().unwrap()), &Value::Null);
    assert!(events.contains(r#"{"state":"succeeded"}"#), "{events}");
    let opened: Value = serde_json::from_str(&ask("POST /v1/previews", &json!({"project": "site"}))).unwrap();
    opened["token"].as_str().unwrap().to_owned()
}

/// Puts a frame into the page that is open, and tells whether its policy forbade it.
fn is_forbidden(browser: &mut Browser, address: &str) -> bool {
    let frame = format!(
        "new Promise((done) => {{ addEventListener('securitypolicyviolation', (event) => done(event.effectiveDirective), \
         {{ once: true }}); const frame = document.createElement('iframe'); frame.onload = () => done('shown'); \
         frame.src = {}; document.body.append(frame); }})",
        json!(address)
    );
    let told = browser.js(&frame);
    assert!(told == "frame-src" || told == "shown", "{told}");
    told == "frame-src"
}

/// A site of somebody else's, all of which is one page.
fn elsewhere(html: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<!doctype html>{html}");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            // Browsers connect before they know what to ask.
            std::thread::spawn(move || {
                let head = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                if head.take_while(|line| !line.is_empty()).count() > 0 {
                    let _browser_is_gone = stream.write_all(answer.as_bytes());
                }
            });
        }
    });
    address
}

#[test]
fn the_page_frames_previews_alone_and_nobody_else_frames_them() {
    let Some(mut browser) = Browser::start() else { return };
    let server = Server::start();
    let (token, port) = (build(&server), server.address.port());
    let preview = format!("http://{token}.localhost:{port}/");
    browser.open(&format!("http://localhost:{port}/"));
    browser.wait("document.querySelector('#token')");
    assert!(!is_forbidden(&mut browser, &preview));
    // How many frames a frame has is the one thing that every page may know.
    assert_eq!(browser.js("frames[0].length"), 1);
    for other in [
        format!("http://localhost:{port}/healthz"),
        format!("http://127.0.0.1:{port}/healthz"),
        format!("http://{token}.localhost:{}/", port ^ 1),
        format!("https://{token}.elsewhere.example:{port}/"),
        "data:text/html,x".to_owned(),
    ] {
        assert!(is_forbidden(&mut browser, &other), "{other}");
    }
    // Where nothing forbids frames, the preview itself does.
    let elsewhere = elsewhere(format!("<iframe src={preview} onload=document.title='done'></iframe>"));
    browser.open(&format!("http://{elsewhere}/"));
    browser.wait("document.title === 'done'");
    assert_eq!(browser.js("frames[0].length"), 0);
    drop(browser);
    server.stop();
}

#[test]
fn a_site_works_at_its_own_origin_and_reaches_nothing_else() {
    let Some(mut browser) = Browser::start() else { return };
    let server = Server::start();
    let (token, port) = (build(&server), server.address.port());
    browser.open(&format!("http://localhost:{port}/#token={TOKEN}"));
    browser.wait("document.querySelector('.starter')");
    browser.open(&format!("http://localhost:{port}/p/{token}/"));
    browser.wait("window.results");
    assert_eq!(browser.js("location.host"), format!("{token}.localhost:{port}"));
    let results = browser.js("window.results");
    let expected = json!({
        "word": "imported", "own": "true", "api": "refused", "blind": "refused", "socket": "refused",
        "worker": "refused", "kept": "kept",
    });
    assert_eq!(results, expected);
    // The session is sent to the server, and not to what is shown.
    let mut cookies = |url: String| {
        let told = browser.call("Network.getCookies", json!({"urls": [url]}));
        told["cookies"].as_array().unwrap().len()
    };
    assert_eq!(cookies(format!("http://localhost:{port}/")), 1);
    assert_eq!(cookies(format!("http://{token}.localhost:{port}/")), 0);
    // A refresh finds it again, wherever in the site somebody is.
    browser.open(&format!("http://{token}.localhost:{port}/some/route"));
    browser.wait("window.results?.word === 'imported' && location.pathname === '/some/route'");
    drop(browser);
    server.stop();
}
