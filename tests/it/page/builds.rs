//! Somebody hands in a folder in the page, watches its log, looks at what it made in a frame, loses the server in the middle of
//! a build and finds its log again, and cancels it.

use super::browser::Browser;
use super::{Server, TOKEN};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What would be a picture, and a script, if it were taken for HTML.
const HOSTILE: &str = "<img src=x onerror=document.title=1>";

/// A script that only an archive which says so makes executable, in a folder with names that need more than ustar has.
const SCRIPT: &str = r#"#!/bin/sh
set -e
test ! -e .git && test ! -e node_modules
printf '\033[1;32mgreen\033[0m\n10%%\r100%%\n'
echo "$HOSTILE"
echo a warning >&2
cp -r site dist
cp long*/*/*.txt dist/long.txt
"#;

/// What a preview tries to do to the page that shows it. It tells by the one way that there is, if somebody listens.
const APP: &str = r"
const page = `http://localhost:${location.port}`;
const tried = async (what) => { try { return String(await what()); } catch { return 'refused'; } };
const framed = (src) => new Promise((yes, no) => {
    document.addEventListener('securitypolicyviolation', no, { once: true });
    const frame = document.createElement('iframe');
    frame.src = src;
    frame.onload = yes;
    document.body.append(frame);
});
const results = {
    own: await tried(async () => (await (await fetch('/long.txt')).text()).trim()),
    isFramed: String(parent !== window),
    document: await tried(() => parent.document.title),
    address: await tried(() => parent.location.href),
    storage: await tried(() => parent.sessionStorage.length),
    fetch: await tried(() => parent.fetch('/v1/builds')),
    lead: await tried(() => { top.location.href = `${page}/healthz`; }),
    cookie: document.cookie,
    api: await tried(async () => (await fetch(`${page}/v1/builds`, { credentials: 'include' })).status),
    session: await tried(async () => (await fetch(`${page}/page/session`, { credentials: 'include', mode: 'no-cors' })).type),
    frame: await tried(() => framed(`${page}/`)),
    dialog: String(confirm('Give me your token')),
};
parent.postMessage(results, '*');
addEventListener('message', () => {
    history.back();
    parent.postMessage('stepped', '*');
});
";

fn project(server: &Server, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let root = server.home.scratch.path(name);
    for (path, content) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    root
}

fn open(browser: &mut Browser, server: &Server) {
    browser.open(&format!("http://localhost:{}/#token={TOKEN}", server.address.port()));
    browser.wait("document.querySelector('.starter')");
}

/// Hands in a folder: the project has its name.
fn hand_in(browser: &mut Browser, folder: &Path) {
    browser.js("location.hash = '#/builds'");
    browser.wait("document.querySelector('.hand-in')");
    browser.is_accessible();
    browser.choose("input[name=folder]", folder);
    browser.wait("document.querySelector('[name=project]').value");
    browser.js("document.querySelector('.hand-in [type=submit]').focus()");
    browser.enter();
    browser.wait("document.querySelector('.build .phases li')");
    assert_eq!(
        browser.js("document.activeElement.tagName"),
        "H1",
        "whoever can't see it is told that the view changed"
    );
}

fn is(browser: &mut Browser, state: &str) {
    browser.wait(&format!("document.querySelector('.title .state')?.dataset.state === '{state}'"));
}

/// The log's lines as they are shown, each with its number.
const SHOWN: &str = "[...document.querySelectorAll('.line')].map((line) => [Number(line.dataset.sequence), \
    line.querySelector('.text').textContent])";

/// The log's lines as the server has them.
fn kept(browser: &mut Browser) -> Value {
    browser.js("fetch(`/v1/builds/${location.hash.split('/').at(-1)}/logs`).then((answer) => answer.json())\
         .then(({rows}) => rows.map((row) => [row.sequence, row.text]))")
}

#[test]
fn a_folder_is_built_and_what_it_made_is_shown_beside_the_log_and_reaches_nothing_of_the_page() {
    let Some(mut browser) = Browser::start() else { return };
    let server = Server::start();
    let (one, other, script) = ("long".repeat(15), "ä".repeat(40), SCRIPT.replace("$HOSTILE", HOSTILE));
    let long = format!("{one}/{other}/file.txt");
    let files = [
        ("pinfold.toml", "artifact = 'dist'\n[[phase]]\nname = 'build'\nrun = './build.sh'\n"),
        ("build.sh", &script),
        ("site/index.html", "<!doctype html><title>site</title><body><script type=module src=/app.js></script>"),
        ("site/app.js", APP),
        (&long, "from far\n"),
        (".git/config", "not this\n"),
        ("node_modules/x/index.js", "nor this\n"),
    ];
    let folder = project(&server, "orchard", &files);
    open(&mut browser, &server);
    hand_in(&mut browser, &folder);
    is(&mut browser, "succeeded");
    browser.wait("document.querySelector('.build-log .status').dataset.how === 'done'");
    browser.wait("document.querySelector('.made').textContent.startsWith('It made 3 files')");
    browser.is_accessible();
    let log = browser.js(SHOWN).to_string();
    assert!(["\"green\"", "\"100%\"", HOSTILE].iter().all(|text| log.contains(text)), "{log}");
    assert_eq!(browser.js("document.querySelectorAll('main img').length"), 0, "a line is no HTML");
    assert_eq!(browser.js("document.querySelector('.line.stderr').textContent.includes('erra warning')"), true);
    assert_eq!(browser.js("document.querySelector('.log').role"), "log");
    assert_eq!(browser.js("document.querySelector('.phases .done .hidden').textContent.startsWith(' done in ')"), true);

    browser.js(
        "void (window.told = new Promise((done) => addEventListener('message', (event) => done([event.origin, event.data]))))",
    );
    browser.push("Preview");
    let told = browser.js("window.told");
    let source = browser.js("document.querySelector('iframe').src");
    let (source, origin) = (source.as_str().unwrap(), told[0].as_str().unwrap());
    assert_eq!(source, format!("{origin}/"));
    let expected = json!({
        "own": "from far", "isFramed": "true", "document": "refused", "address": "refused", "storage": "refused",
        "fetch": "refused", "lead": "refused", "cookie": "", "api": "refused", "session": "refused", "frame": "refused",
        "dialog": "false",
    });
    assert_eq!(told[1], expected);
    assert_eq!(browser.js("location.pathname + document.activeElement.textContent"), "/Preview");
    browser.is_accessible();

    // Nor does it step back in the page's history: that has one step each, as the page itself sees.
    browser.js("new Promise((done) => { addEventListener('message', () => done()); \
         document.querySelector('iframe').contentWindow.postMessage('step', '*'); })");
    browser.js("history.back()");
    browser.wait("location.hash === '#/builds'");
    browser.js("history.forward()");
    browser.wait("location.hash.startsWith('#/build/') && document.querySelector('.made')?.textContent");

    // A refresh finds the same secret again, and does not make another.
    browser.js("location.reload()");
    browser.wait("!window.told && document.querySelector('.made')?.textContent");
    browser.push("Preview");
    browser.wait("document.querySelector('iframe')");
    assert_eq!(browser.js("document.querySelector('iframe').src"), source);
    let token = source.strip_prefix("http://").unwrap().split('.').next().unwrap();
    assert_eq!(server.ask(&format!("GET /p/{token}/"), "", "").0, 307);
    browser.push("Revoke");
    browser.wait("document.querySelector('dialog[open]')");
    browser.is_accessible();
    browser.js("document.querySelector('dialog .danger').click()");
    browser.wait("!document.querySelector('iframe') && document.activeElement.textContent === 'Preview'");
    assert_eq!(server.ask(&format!("GET /p/{token}/"), "", "").0, 404);
    assert!(browser.wrong.is_empty(), "{:#?}", browser.wrong);
    drop(browser);
    server.stop();
}

#[test]
fn a_log_is_found_again_after_the_server_was_lost_and_its_build_is_cancelled() {
    let Some(mut browser) = Browser::start() else { return };
    let mut server = Server::start();
    let endless = "artifact = 'dist'\n[[phase]]\nname = 'watch'\n\
        run = 'i=0; while :; do i=$((i+1)); echo line-$i; sleep 0.05; done'\n";
    let folder = project(&server, "endless", &[("pinfold.toml", endless)]);
    open(&mut browser, &server);
    hand_in(&mut browser, &folder);
    let lines = |count: u32| format!("document.querySelectorAll('.line').length > {count}");
    browser.wait(&lines(20));
    browser.wait("document.querySelector('.phases .running')");
    browser.is_accessible();
    let before = browser.js(SHOWN);
    server.kill();
    browser.wait("document.querySelector('.build-log .status').textContent.startsWith('Connection lost')");
    server.start_again();
    browser.wait("document.querySelector('.build-log .status').textContent.startsWith('Connected again')");
    browser.wait("document.querySelector('.about-build').textContent.includes('attempt 2')");
    let found = browser.js(SHOWN).as_array().unwrap().len();
    browser.wait(&lines(u32::try_from(found).unwrap() + 10));
    // Somebody who has gone up stays there.
    browser.js("document.querySelector('.log').scrollTop = 0");
    browser.wait("document.querySelector('.to-end:not([hidden])')");
    let found = browser.js(SHOWN).as_array().unwrap().len();
    browser.wait(&lines(u32::try_from(found).unwrap() + 10));
    assert_eq!(browser.js("document.querySelector('.log').scrollTop"), 0);

    browser.js("[...document.querySelectorAll('.head button')].find((one) => one.textContent === 'Cancel').focus()");
    browser.enter();
    is(&mut browser, "cancelled");
    browser.wait("document.querySelector('.build-log .status').dataset.how === 'done'");
    let (shown, kept) = (browser.js(SHOWN), kept(&mut browser));
    browser.wait(&lines(u32::try_from(kept.as_array().unwrap().len() - 1).unwrap()));
    assert_eq!(browser.js(SHOWN), kept, "no line is missed, and none is there twice");
    let before = before.as_array().unwrap();
    assert_eq!(before[..], shown.as_array().unwrap()[..before.len()]);

    // It can be done again, and says of what.
    browser.push("Build again");
    browser.wait("document.querySelector('.about-build')?.textContent.includes('again, of ')");
    browser.wait(&lines(5));
    browser.push("Cancel");
    is(&mut browser, "cancelled");
    browser.js("location.hash = '#/builds/endless'");
    browser.wait("document.querySelectorAll('.builds tbody tr').length === 2");
    browser.is_accessible();
    assert!(browser.wrong.is_empty(), "{:#?}", browser.wrong);
    drop(browser);
    server.stop();
}

/// Hands in by the form what is not a folder: how it is called there, and what chooses it.
fn hand_in_as(browser: &mut Browser, project: &str, kind: &str, choose: impl FnOnce(&mut Browser)) {
    browser.js("location.hash = '#/builds'");
    browser.wait("document.querySelector('.hand-in')");
    browser.js("document.querySelector('[name=project]').select()");
    browser.type_in(project);
    browser.js(&format!(
        "{{ const kind = document.querySelector('[name=kind]'); kind.value = '{kind}'; kind.dispatchEvent(new Event('change')); }}"
    ));
    browser.wait(&format!("!document.querySelector('[name={kind}]').disabled && !document.querySelector('[name={kind}]').closest('label').hidden"));
    browser.is_accessible();
    choose(browser);
    browser.js("document.querySelector('.hand-in [type=submit]').focus()");
    browser.enter();
    browser.wait("document.querySelector('.build .phases li')");
    is(browser, "succeeded");
    browser.wait("document.querySelector('.build-log .status').dataset.how === 'done'");
    let log = browser.js(SHOWN).to_string();
    assert!(log.contains(&format!("\"from a {kind}\"")), "{log}");
    assert!(browser.js("document.querySelector('h1').textContent").as_str().unwrap().contains(project));
}

#[test]
fn an_archive_and_a_workspace_are_built_as_a_folder_is() {
    let Some(mut browser) = Browser::start() else { return };
    let server = Server::start();
    let file = |kind: &str| {
        format!("artifact = 'out'\n[[phase]]\nname = 'build'\nrun = 'echo from a {kind}; test -x run.sh && ./run.sh'\n")
    };
    let folder =
        project(&server, "packed", &[("pinfold.toml", &file("archive")), ("run.sh", "#!/bin/sh\necho 1 > out\n")]);
    fs::set_permissions(folder.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    open(&mut browser, &server);
    for (name, compressed) in [("packed.tar", "-cf"), ("packed.tgz", "-czf")] {
        let archive = server.home.scratch.path(name);
        let packed = Command::new("tar").arg(compressed).arg(&archive).arg("-C").arg(&folder).arg(".").status();
        assert!(packed.unwrap().success());
        hand_in_as(&mut browser, name, "archive", |browser| browser.choose("input[name=archive]", &archive));
    }

    let headers = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/octet-stream\r\n");
    let json = headers.replace("octet-stream", "json");
    assert_eq!(server.ask("PUT /v1/workspaces/kept", &json, "{}").0, 201);
    for (path, content) in [
        ("pinfold.toml", file("workspace").replace("test -x run.sh && ./", "sh ")),
        ("run.sh", "echo 2 > out\n".into()),
    ] {
        assert_eq!(
            server.ask(&format!("PUT /v1/workspaces/kept/files/content?path={path}"), &headers, &content).0,
            204
        );
    }
    hand_in_as(&mut browser, "from-kept", "workspace", |browser| {
        browser.wait("document.querySelector('[name=workspace]').value === 'kept'");
    });
    let made = browser.js(
        "fetch(`/v1/builds/${location.hash.split('/').at(-1)}/artifact/content?path=out`).then((answer) => answer.text())",
    );
    assert_eq!(made, "2\n");
    // What is no archive is refused with a word, and the form stays as it is.
    let broken = server.home.scratch.path("broken.tar");
    fs::write(&broken, "no archive at all").unwrap();
    browser.js("location.hash = '#/builds'");
    browser.wait("document.querySelector('.hand-in')");
    browser.js("document.querySelector('[name=project]').select()");
    browser.type_in("broken");
    browser.js(
        "{ const kind = document.querySelector('[name=kind]'); kind.value = 'archive'; kind.dispatchEvent(new Event('change')); }",
    );
    browser.choose("input[name=archive]", &broken);
    browser.js("document.querySelector('.hand-in [type=submit]').focus()");
    browser.enter();
    browser.wait("document.querySelector('#alerts')?.textContent.includes('archive')");
    assert_eq!(
        browser.js("[location.hash, document.querySelector('[name=project]').value]"),
        json!(["#/builds", "broken"])
    );
    assert!(browser.wrong.is_empty(), "{:#?}", browser.wrong);
    drop(browser);
    server.stop();
}
