//! Previews: what builds made, each at an origin of its own, and nothing else there.

use super::client::{Request, Response};
use super::{ANN, PATIENCE, Server};
use serde_json::{Value, json};
use std::time::Instant;

const SITE: &str =
    "mkdir -p out/docs; printf '<!doctype html><script type=module src=/app.js></script>' > out/index.html
    echo 'document.title = 1' > out/app.js; printf 0123456789 > out/data.bin; echo docs > out/docs/index.html
    echo about > out/about.html; echo x > 'out/a b.txt'";

/// Opens a preview: its id, its token, its URL.
fn open(server: &Server, body: Value) -> (String, String, String) {
    let opened = server.send(&server.operation("openPreview", &[], "").json(&body)).expect(200).json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&opened["preview"]["id"]), text(&opened["token"]), text(&opened["url"]))
}

fn port(server: &Server) -> String {
    server.address.host().rsplit(':').next().unwrap().to_owned()
}

/// A request at the origin of a preview.
fn at(server: &Server, token: &str, target: &str) -> Request {
    Request::get(target).host(&format!("{token}.localhost:{}", port(server)))
}

fn get(server: &Server, token: &str, target: &str) -> Response {
    server.send(&at(server, token, target))
}

fn site(server: &Server) -> String {
    let id = server.build("site", SITE);
    let built = server.built(&id);
    assert_eq!(built["state"], "succeeded", "{built}");
    id
}

#[test]
fn a_preview_serves_its_files_as_a_browser_wants_them() {
    let server = Server::start(&[]);
    site(&server);
    let (_, token, url) = open(&server, json!({"project": "site"}));
    assert_eq!(url, format!("http://{token}.localhost:{}/", port(&server)));
    let link = server.send(&Request::get(&format!("/p/{token}/docs/?a=b"))).expect(307);
    assert_eq!(link.header("location"), Some(format!("{url}docs/?a=b").as_str()));
    // From a page of another site as well: a link is what it is for.
    let followed = Request::get(&format!("/p/{token}")).header("Sec-Fetch-Site", "cross-site");
    assert_eq!(
        server.send(&followed.header("Sec-Fetch-Mode", "navigate")).expect(307).header("location"),
        Some(url.as_str())
    );
    let index = get(&server, &token, "/").expect(200);
    assert!(index.text().contains("type=module"));
    let policy = index.header("content-security-policy").unwrap();
    for part in
        ["sandbox allow-scripts allow-same-origin", "default-src 'self'", "object-src 'none'", "frame-ancestors 'self'"]
    {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("allow-top-navigation") && !policy.contains("escape-sandbox"), "{policy}");
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "private, no-cache"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        assert_eq!(index.header(name), Some(value));
    }
    assert_eq!((index.header("set-cookie"), index.header("access-control-allow-origin")), (None, None));
    let tag = index.header("etag").unwrap().to_owned();
    let same = server.send(&at(&server, &token, "/").header("If-None-Match", &tag)).expect(304);
    assert!(same.body.is_empty());
    // A module script is fetched with an origin, which is the preview's own.
    let script = at(&server, &token, "/app.js").header("Origin", url.trim_end_matches('/'));
    let script = server.send(&script.header("Sec-Fetch-Site", "same-origin")).expect(200);
    assert_eq!(script.header("content-type"), Some("text/javascript; charset=utf-8"));
    let range = at(&server, &token, "/data.bin").header("Range", "bytes=-3");
    let part = server.send(&range.clone().header("If-Range", &tag)).expect(206);
    assert_eq!((part.text().as_str(), part.header("content-range")), ("789", Some("bytes 7-9/10")));
    assert_eq!(server.send(&range.header("If-Range", "\"other\"")).expect(200).text(), "0123456789");
    server.send(&at(&server, &token, "/data.bin").header("Range", "bytes=10-")).expect(416);
    let head = server.send(&at(&server, &token, "/data.bin").method("HEAD"));
    assert_eq!((head.status, head.header("content-length")), (200, Some("10")));
    assert_eq!(get(&server, &token, "/a%20b.txt").expect(200).text(), "x\n");
    // Folders have an index, pages their names without an ending, and an application its own routes.
    assert_eq!(get(&server, &token, "/docs?x=y").expect(307).header("location"), Some("/docs/?x=y"));
    assert_eq!(get(&server, &token, "/docs/").expect(200).text(), "docs\n");
    let page = |target: &str| server.send(&at(&server, &token, target).header("Accept", "text/html,*/*"));
    assert_eq!(page("/about").expect(200).text(), "about\n");
    assert!(page("/some/route").expect(200).text().contains("type=module"));
    for absent in ["/some/route", "/missing.js", "/docs/missing.js", "/index.html/x"] {
        get(&server, &token, absent).expect(404);
    }
    page("/missing.js").expect(404);
    server.stop();
}

#[test]
fn a_preview_reaches_nothing_but_its_own_files_and_nobody_reaches_it_without_its_name() {
    let server = Server::start(&[]);
    site(&server);
    let (_, token, url) = open(&server, json!({"project": "site"}));
    for out in [
        "/..%2fmanifest.json",
        "/%2e%2e/manifest.json",
        "/../manifest.json",
        "/a%00b",
        "//etc/passwd",
        "/%2fetc%2fpasswd",
    ] {
        get(&server, &token, out).expect(404);
    }
    // Neither page nor API is there, whatever is shown.
    let with = |target: &str| at(&server, &token, target).token(ANN);
    for target in
        ["/v1/builds", "/metrics", "/healthz", "/readyz", "/openapi.json", "/page/session", "/page/main.js", "/p/x"]
    {
        server.send(&with(target)).expect(404);
    }
    let run = with("/v1/run").method("POST").json(&json!({"command": ["true"]}));
    assert_eq!(server.send(&run).expect(405).header("allow"), Some("GET, HEAD"));
    // What runs there is another site than the server: neither reaches the other.
    let origin = url.trim_end_matches('/');
    server.send(&Request::get("/v1/builds").token(ANN).header("Origin", origin)).problem(403, "origin");
    server.send(&Request::get("/v1/builds").token(ANN).header("Sec-Fetch-Site", "same-site")).problem(403, "origin");
    let part = at(&server, &token, "/data.bin").header("Sec-Fetch-Site", "cross-site");
    server.send(&part.clone().header("Sec-Fetch-Mode", "no-cors")).problem(403, "origin");
    server.send(&part.header("Sec-Fetch-Mode", "navigate")).expect(200);
    server.send(&at(&server, &token, "/app.js").header("Service-Worker", "script")).expect(404);
    // The session's cookie is for the one host that gave it, and is sent for no other site's page.
    let session = Request::new("POST", "/page/session").token(ANN);
    let host = server.address.host();
    let cookie = server.send(&session.header("Origin", &format!("http://{host}"))).expect(200);
    let cookie = cookie.header("set-cookie").unwrap().to_ascii_lowercase();
    assert!(
        cookie.contains("samesite=strict") && cookie.contains("httponly") && !cookie.contains("domain"),
        "{cookie}"
    );
    let port = port(&server);
    for host in [
        format!("x.localhost:{port}"),
        format!("{token}.localhost"),
        format!("{token}.localhost:1"),
        format!("{token}.evil.example:{port}"),
        format!("x.{token}.localhost:{port}"),
    ] {
        server.send(&Request::get("/").host(&host)).problem(421, "host");
    }
    let two = at(&server, &token, "/").header("Host", &server.address.host());
    assert!([400, 421].contains(&server.send(&two).status));
    // The secret is in no line of the log.
    server.send(&Request::get(&format!("/p/{token}/last"))).expect(307);
    loop {
        let line = server.line("request");
        assert!(!line.to_string().contains(&token), "{line}");
        if line["path"] == "/p/…/last" {
            break;
        }
    }
    server.stop();
}

#[test]
fn a_preview_shows_what_succeeded_last_until_it_is_revoked_or_ends() {
    let server = Server::start(&[]);
    let first = site(&server);
    let (id, token, _) = open(&server, json!({"project": "site"}));
    let (_, fixed, _) = open(&server, json!({"project": "site", "build": first}));
    let data = |token: &str| get(&server, token, "/data.bin").expect(200).text();
    let fails = server.build("site", "mkdir out; echo broken > out/data.bin; exit 1");
    assert_eq!(server.built(&fails)["state"], "failed");
    assert_eq!(data(&token), "0123456789");
    let next = server.build("site", "mkdir out; printf next > out/data.bin");
    assert_eq!(server.built(&next)["state"], "succeeded");
    assert_eq!((data(&token).as_str(), data(&fixed).as_str()), ("next", "0123456789"));
    let gone = |token: &str| {
        let told = [get(&server, token, "/data.bin"), server.send(&Request::get(&format!("/p/{token}/")))];
        told.map(|response| (response.status, response.text()))
    };
    server.send(&server.operation("revokePreview", &[("preview", &id)], "")).expect(204);
    let never = gone("00000000000000000000000000000000");
    assert_eq!(never[0].0, 404);
    // Who has none is told the same as who has an old one.
    assert_eq!(gone(&token), never);
    assert_eq!(data(&fixed), "0123456789");
    let (_, short, _) = open(&server, json!({"project": "site", "expires_seconds": 1}));
    let deadline = Instant::now() + PATIENCE;
    while gone(&short) != never {
        assert!(Instant::now() < deadline, "it does not end");
    }
    for (body, status, code) in [
        (json!({"project": "none"}), 404, "not_found"),
        (json!({"project": "site", "build": fails}), 400, "invalid"),
        (json!({"project": "site", "expires_seconds": 0}), 400, "invalid_request"),
    ] {
        server.send(&server.operation("openPreview", &[], "").json(&body)).problem(status, code);
    }
    server.stop();
}

#[test]
fn the_command_line_makes_previews_of_its_own_builds_where_the_server_shows_them() {
    let server = Server::start(&["--role", "api"]);
    let directory = server.home.scratch.dir("mine");
    std::fs::write(
        std::path::Path::new(&directory).join("pinfold.toml"),
        super::phase("mkdir out; echo mine > out/index.html"),
    )
    .unwrap();
    let told = |args: &[&str]| {
        let (code, stdout, stderr) = server.home.run(args);
        assert_eq!(code, 0, "{args:?}: {stdout}{stderr}");
        stdout
    };
    told(&["build", &directory]);
    let url = told(&["preview", "open", "mine"]);
    let token = url.trim().strip_prefix("http://").unwrap().split('.').next().unwrap().to_owned();
    assert_eq!(url, format!("http://{token}.localhost:{}/\n", port(&server)));
    assert_eq!(get(&server, &token, "/").expect(200).text(), "mine\n");
    let based = told(&["preview", "open", "mine", "--base", "http://box:1/"]);
    assert!(based.starts_with("http://box:1/p/") && based.ends_with("/\n"), "{based}");
    let listed: Value = serde_json::from_str(&told(&["preview", "list", "mine", "--json"])).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    for preview in listed.as_array().unwrap() {
        told(&["preview", "revoke", preview["id"].as_str().unwrap()]);
    }
    get(&server, &token, "/").expect(404);
    // They are not those of a client, whoever asks.
    let all = server.send(&server.operation("listPreviews", &[], "")).expect(200).json();
    assert_eq!(all["previews"], json!([]));
    server.stop();
}

#[test]
fn previews_are_below_the_name_that_the_operator_says() {
    let server = Server::start(&["--preview-host", "https://Previews.example"]);
    site(&server);
    let (_, token, url) = open(&server, json!({"project": "site"}));
    assert_eq!(url, format!("https://{token}.previews.example/"));
    let there = Request::get("/data.bin").host(&format!("{token}.PREVIEWS.example"));
    server.send(&there).expect(200);
    server.send(&at(&server, &token, "/data.bin")).problem(421, "host");
    let link = server.send(&Request::get(&format!("/p/{token}/"))).expect(307);
    assert_eq!(link.header("location"), Some(url.as_str()));
    for wrong in ["https://a/b", "ftp://a", "*.example", "a b"] {
        let (code, _, stderr) = server.home.run(&["serve", "--preview-host", wrong]);
        assert!(code != 0 && stderr.contains("must be"), "{wrong}: {stderr}");
    }
    server.stop();
}
