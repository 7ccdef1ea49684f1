//! Somebody works in the page: a sandbox, its terminal, the loss of the server, files, checkpoints, the end.

use super::browser::Browser;
use super::{Server, TOKEN};
use serde_json::json;

const HASH: &str = "#/sandbox/demo";

/// A name of a file that would be a picture, and a script, if it were taken for HTML.
const HOSTILE: &str = "<img src=x onerror=document.title=1>";

fn shows(browser: &mut Browser, text: &str) {
    browser.wait(&format!("document.querySelector('.xterm-rows')?.textContent.includes({})", json!(text)));
}

fn command(browser: &mut Browser, command: &str) {
    browser.js("document.querySelector('.xterm-helper-textarea').focus()");
    browser.type_in(command);
    browser.enter();
}

fn go(browser: &mut Browser, hash: &str) {
    browser.js(&format!("location.hash = {}", json!(hash)));
}

fn start(browser: &mut Browser, server: &Server) {
    browser.open(&format!("http://{}/#token={TOKEN}", server.address));
    browser.wait("document.querySelector('.starter')");
    assert_eq!(browser.js("location.hash"), "#/", "the token is not left in the address");
    assert_eq!(browser.js("document.cookie"), "", "no script reads the cookie");
    browser.is_accessible();
    for (field, text) in [("name", "demo"), ("workspace", "kept")] {
        browser.js(&format!("document.querySelector('[name={field}]').select()"));
        browser.type_in(text);
    }
    browser.enter();
    browser.wait("document.querySelector('.status[data-how=open]')");
    browser.is_accessible();
}

fn lose_it_and_find_it_again(browser: &mut Browser, server: &mut Server) {
    command(browser, "V=variable; echo sum-$((40+2)) | tee sum.txt");
    shows(browser, "sum-42");
    server.kill();
    browser.wait("document.querySelector('.status[data-how=lost]')");
    browser.wait("document.querySelector('#connection').textContent.includes('No connection')");
    server.start_again();
    browser.wait("document.querySelector('.status[data-how=open]')?.textContent === 'Connected again.'");
    browser.wait("document.querySelector('#connection').textContent === ''");
    shows(browser, "sum-42");
    command(browser, "echo the-$V-$((1+1))");
    shows(browser, "the-variable-2");
    // Tab is the shell's, and another key leads out of it.
    browser.press("F6", 117, "", 2);
    assert_eq!(browser.js("document.activeElement.type"), "checkbox");
    command(browser, &format!("touch '{HOSTILE}'; seq 3; exit"));
    browser.wait("document.querySelector('.status[data-how=over]')?.textContent === 'The shell has ended.'");
    browser.push("Open again");
    browser.wait("document.querySelector('.status[data-how=open]')");
}

fn files(browser: &mut Browser) {
    go(browser, &format!("{HASH}/files"));
    browser.wait("document.querySelector('.files table')");
    browser.is_accessible();
    let names = "[...document.querySelectorAll('.files td.name')].map((cell) => cell.textContent)";
    assert_eq!(browser.js(&format!("{names}.sort()")), json!([HOSTILE, "sum.txt"]));
    assert_eq!(browser.js("document.querySelectorAll('main img').length"), 0, "a name is no HTML");
    browser.js("{ const all = new DataTransfer(); all.items.add(new File(['brought\\n'], 'up.txt')); \
         const input = document.querySelector('input[type=file]'); input.files = all.files; \
         input.dispatchEvent(new Event('change')); }");
    browser.wait(&format!("{names}.includes('up.txt')"));
    let link = "document.querySelector('a[download=\"up.txt\"]').href";
    assert_eq!(browser.js(&format!("fetch({link}).then((answer) => answer.text())")), "brought\n");
    go(browser, &format!("{HASH}/files/sum.txt"));
    browser.wait("document.querySelector('.files pre')?.textContent === 'sum-42\\n'");
    browser.push("Edit");
    browser.wait("document.activeElement.tagName === 'TEXTAREA'");
    browser.type_in("edited ");
    browser.push("Save");
    browser.wait("document.querySelector('.files pre')?.textContent.includes('edited ')");
    go(browser, &format!("{HASH}/files"));
    browser.push("Delete up.txt");
    browser.wait("document.querySelector('dialog[open]')");
    browser.is_accessible();
    browser.push("Delete");
    browser.wait(&format!("document.querySelector('.files table') && !{names}.includes('up.txt')"));
}

fn checkpoints(browser: &mut Browser) {
    go(browser, &format!("{HASH}/checkpoints"));
    browser.wait("document.querySelector('.saver')");
    browser.js("document.querySelector('[name=label]').focus()");
    browser.type_in("before");
    browser.enter();
    browser.wait("document.querySelector('.tree .badge')");
    let write = "fetch('/v1/sandboxes/demo/files/content?path=new.txt', \
        {method: 'PUT', body: 'x', headers: {'Content-Type': 'application/octet-stream'}}).then((answer) => answer.status)";
    assert_eq!(browser.js(write), 204);
    browser.push("Compare with now: before");
    browser.wait("document.querySelector('.changes .added')?.textContent.includes('new.txt')");
    browser.is_accessible();
    go(browser, &format!("{HASH}/log"));
    browser.wait("document.querySelector('.log')?.textContent.includes('begun')");
    browser.is_accessible();
}

fn end(browser: &mut Browser) {
    go(browser, "#/");
    browser.push("Stop demo");
    browser.wait("document.querySelector('dialog[open]')");
    browser.push("Stop it");
    browser.wait("document.querySelector('.empty')?.hidden === false && !document.querySelector('.cards li')");
    // Nobody works in the workspace any more: it can go back.
    go(browser, "#/workspace/kept/checkpoints");
    browser.push("Go back: before");
    browser.push("Go back");
    browser.wait("document.querySelectorAll('.tree li').length === 3");
    go(browser, "#/workspace/kept/files");
    browser.wait(
        "document.querySelector('.files table') && !document.querySelector('.files').textContent.includes('new.txt')",
    );
    browser.push("Sign out");
    browser.wait("document.querySelector('#token')");
    assert_eq!(browser.js("fetch('/v1/sandboxes').then((answer) => answer.status)"), 401);
    browser.type_in("not the token that it is");
    browser.enter();
    browser.wait("document.querySelector('#alerts')?.textContent.includes('not known')");
}

#[test]
fn somebody_works_in_a_browser_loses_the_server_and_finds_it_again() {
    let Some(mut browser) = Browser::start() else { return };
    let mut server = Server::start();
    start(&mut browser, &server);
    lose_it_and_find_it_again(&mut browser, &mut server);
    files(&mut browser);
    checkpoints(&mut browser);
    end(&mut browser);
    assert!(browser.wrong.is_empty(), "{:#?}", browser.wrong);
    server.stop();
}
