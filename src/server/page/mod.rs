//! The web page at the root, which is part of the program, and the sessions of browsers that use it. All that it does, it
//! does by the routes that every client has.

mod ended;
mod files;
mod session;

pub(super) use ended::Ended;
pub(super) use session::token;

use super::api::Route;
use super::problem::Problem;
use super::state::Shared;
use axum::extract::Request;
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderValue, Method};
use axum::response::Response;

/// What the page may do in a browser: load what is here, ask this server, show previews in frames, and nothing else.
/// xterm.js makes style elements and style attributes of its own, so styles can't be fenced in. With no trusted types,
/// whatever would read a text as HTML throws, for us and for what is vendored. A wildcard stands for names below the one
/// that it is before, and not for that: the page is never in a frame of its own.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'; frame-src ";

/// Where sessions begin and end.
const SESSION: &str = "/page/session";

/// Answers what is asked by the page about itself; `None` where that is for a route.
pub(super) fn answer(request: &Request, shared: &Shared) -> Option<Result<Response, Problem>> {
    let (path, method) = (request.uri().path(), request.method());
    if path == SESSION {
        return Some(session::answer(request, shared).map(|response| named(response, SESSION)));
    }
    if method != Method::GET && method != Method::HEAD {
        return None;
    }
    let mut response = files::find(path, request.headers())?;
    let headers = response.headers_mut();
    let policy = HeaderValue::from_str(&format!("{POLICY}{}", shared.previews.origins()));
    match policy {
        Ok(policy) => drop(headers.insert(header::CONTENT_SECURITY_POLICY, policy)),
        Err(error) => return Some(Err(Problem::ours("policy", error.to_string()))),
    }
    // A page that opened this one, or that this one opens, has no hold on it.
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    Some(Ok(named(response, "/page")))
}

fn named(mut response: Response, route: &'static str) -> Response {
    response.extensions_mut().insert(Route(route));
    response
}
