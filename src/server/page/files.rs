//! The files of the page. They are in the program, so that it works wherever that does, without a network.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hmac_sha256::Hash;
use std::fmt::Write as _;
use std::sync::LazyLock;

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

type File = (&'static str, &'static str, &'static [u8]);

macro_rules! file {
    ($name:literal, $kind:expr) => {
        (concat!("/page/", $name), $kind, include_bytes!(concat!("../../../web/", $name)))
    };
}

/// Each with its path and its type.
const FILES: &[File] = &[
    ("/", HTML, include_bytes!("../../../web/index.html")),
    file!("api.js", SCRIPT),
    file!("build.js", SCRIPT),
    file!("build_log.js", SCRIPT),
    file!("builds.js", SCRIPT),
    file!("checkpoints.js", SCRIPT),
    file!("dom.js", SCRIPT),
    file!("events.js", SCRIPT),
    file!("files.js", SCRIPT),
    file!("hand_in.js", SCRIPT),
    file!("icon.svg", IMAGE),
    file!("lines.js", SCRIPT),
    file!("live.js", SCRIPT),
    file!("log.js", SCRIPT),
    file!("main.js", SCRIPT),
    file!("preview.js", SCRIPT),
    file!("sandbox.js", SCRIPT),
    file!("sandboxes.js", SCRIPT),
    file!("style.css", STYLE),
    file!("tabs.js", SCRIPT),
    file!("tar.js", SCRIPT),
    file!("terminals.js", SCRIPT),
    file!("workspaces.js", SCRIPT),
    file!("vendor/addon-fit.mjs", SCRIPT),
    file!("vendor/xterm.css", STYLE),
    file!("vendor/xterm.mjs", SCRIPT),
];

/// Changes whenever one of them does.
static TAG: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Hash::new();
    for (path, _, bytes) in FILES {
        hash.update(path.as_bytes());
        hash.update(bytes);
    }
    let mut tag = String::from("\"");
    for byte in &hash.finalize()[..16] {
        // Writing to a String can't fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag + "\""
});

/// The file of a path, unless the browser has it already.
pub(super) fn find(path: &str, headers: &HeaderMap) -> Option<Response> {
    let (_, kind, bytes) = *FILES.iter().find(|(known, ..)| *known == path)?;
    let has_it = headers.get(header::IF_NONE_MATCH).is_some_and(|tag| tag.as_bytes() == TAG.as_bytes());
    let mut response = match has_it {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], Body::from(bytes)).into_response(),
    };
    // Kept, and asked about each time: another version of the program has other files of the same names.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&TAG) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Some(response)
}
