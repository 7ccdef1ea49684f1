//! A real site: `pinfold build` makes it from an empty checkout, `pinfold preview` opens it, and a browser shows it as what it is.

use super::Server;
use super::browser::Browser;
use crate::build::projects::{WITH, checkout, made};
use crate::held::Home;
use crate::support::has_program;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What the site's script makes of an empty page, once its style and its picture are there too.
const WHOLE: &str = "document.querySelector('#app button')?.textContent === '0 so far' \
    && document.querySelector('#app article h1') && document.querySelector('#app img').naturalWidth > 0 \
    && document.styleSheets[0]?.cssRules.length > 0";

/// The site, open in a browser that remembers what it asked for.
fn show(browser: &mut Browser, url: &str) {
    browser.network.clear();
    browser.open(url);
    browser.wait(WHOLE);
}

/// Everything that the browser was answered: path, status and type. Nothing failed, and all of it came from this origin.
fn answered(browser: &Browser, origin: &str) -> BTreeSet<(String, u64, String)> {
    let told = browser.network.iter().map(|told| {
        assert!(told["errorText"].is_null(), "{told}");
        let response = &told["response"];
        let path = response["url"].as_str().unwrap().strip_prefix(origin);
        let path = path.unwrap_or_else(|| panic!("{} is not of {origin}", response["url"]));
        (path.to_owned(), response["status"].as_u64().unwrap(), response["mimeType"].as_str().unwrap().to_owned())
    });
    told.collect()
}

#[test]
fn a_site_that_vite_made_works_in_its_preview_and_is_found_again() {
    if !has_program("npm") {
        return;
    }
    let Some(mut browser) = Browser::start() else { return };
    let home = Home::new();
    let directory = checkout(&home.scratch, "examples/vite/site", "site");
    let ended = home.run(&[&["build", directory.to_str().unwrap()], &WITH[..]].concat());
    let builds: Value = serde_json::from_str(&home.ok(&["jobs", "list", "--json"])).unwrap();
    if made(ended, &builds[0]).is_none() {
        return;
    }
    let server = Server::at(home);
    let url = server.home.ok(&["preview", "open", "site"]);
    let url = url.trim();
    browser.call("Network.enable", json!({}));
    show(&mut browser, url);
    let origin = browser.js("location.origin");
    let origin = origin.as_str().unwrap();
    assert!(origin.ends_with(&format!(".localhost:{}", server.address.port())), "{origin}");
    let first = answered(&browser, origin);
    assert!(first.iter().all(|(_, status, _)| *status == 200), "{first:?}");
    for (ending, kind) in [(".js", "text/javascript"), (".css", "text/css"), (".svg", "image/svg+xml")] {
        let of_kind = |(path, _, found): &&(String, u64, String)| {
            path.starts_with("/assets/") && path.ends_with(ending) && found == kind
        };
        assert_eq!(first.iter().filter(of_kind).count(), 1, "{ending}: {first:?}");
    }
    // It is alive, and starts anew when it is loaded anew: also from a path that its script makes up.
    browser.js("document.querySelector('#app button').click()");
    browser.wait("document.querySelector('#app button').textContent === '1 so far'");
    browser.call("Page.reload", json!({}));
    browser.wait(WHOLE);
    show(&mut browser, &format!("{origin}/some/route"));
    assert_eq!(browser.js("location.pathname"), "/some/route");
    assert!(answered(&browser, origin).contains(&("/some/route".to_owned(), 200, "text/html".to_owned())));
    assert!(browser.wrong.is_empty(), "{:#?}", browser.wrong);
    drop(browser);
    server.stop();
}
