//! Previews: what builds made, shown in a browser. It is other people's code that runs there, so each preview is an origin of
//! its own, `TOKEN.SUFFIX`: it reaches no other preview, and nothing of this server but its own files. On those names there is
//! neither page nor API, and a browser sends no session there, since the page's cookie is for one host and one site.

mod find;
mod types;

use super::api::Route;
use super::problem::Problem;
use super::ranged;
use super::state::{Phase, Shared};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use find::Found;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many answers may be on their way at once.
const PLACES: usize = 256;
/// The digits of a token.
const DIGITS: usize = 32;
/// The path below which the server leads to previews from its own name.
const LINKS: &str = "/p/";

/// Where previews are.
#[derive(Debug)]
pub(super) struct Previews {
    /// `http://` or `https://`.
    scheme: String,
    /// What follows a token in `Host`, the dot left out.
    suffix: String,
    /// What its pages may do.
    policy: HeaderValue,
    places: Arc<Semaphore>,
}

/// What was asked for by a request for a preview.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A file of the preview of this token.
    File(String),
    /// Where the preview of this token is, and the rest of the path.
    Link(String, String),
}

impl Previews {
    /// Below this origin, for a server of these names, whose page may show them in a frame.
    pub(super) fn new(origin: &str, names: &[String]) -> Result<Self, String> {
        let (scheme, suffix) = origin.split_at(origin.find("://").map_or(0, |at| at + "://".len()));
        // A policy can't name an IPv6 address: CSP 3, section 2.3.1.
        let names = names.iter().filter(|name| !name.starts_with('['));
        let frames: String = names.map(|name| format!(" http://{name} https://{name}")).collect();
        // Scripts may come from the preview itself alone, and speak to nobody else: what a build must not tell anybody, the
        // browser that shows it does not tell either, but for where its user is led. `allow-same-origin` gives it nothing
        // but its own origin, which no one else has; without it, no module script would be loaded.
        let policy = format!(
            "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; base-uri 'self'; form-action 'self'; \
             object-src 'none'; frame-ancestors 'self'{frames}; \
             sandbox allow-scripts allow-same-origin allow-forms allow-modals allow-popups allow-downloads"
        );
        let policy = HeaderValue::from_str(&policy).map_err(|_not_ascii| "a name of the server is not ASCII")?;
        let places = Arc::new(Semaphore::new(PLACES));
        Ok(Self { scheme: scheme.to_owned(), suffix: suffix.to_ascii_lowercase(), policy, places })
    }

    /// The origin of a preview.
    pub(super) fn origin(&self, token: &str) -> String {
        format!("{}{token}.{}", self.scheme, self.suffix)
    }

    /// All origins, with `*` for the token.
    pub(super) fn origins(&self) -> String {
        self.origin("*")
    }

    /// What a request is for, if it is for a preview: by the name that it calls, or by a link.
    pub(super) fn asked(&self, host: Option<&str>, request: &Request) -> Option<Asked> {
        if let Some((label, rest)) = host.and_then(|host| host.split_once('.'))
            && is_token(label)
            && rest.eq_ignore_ascii_case(&self.suffix)
        {
            return Some(Asked::File(label.to_ascii_lowercase()));
        }
        link(request)
    }
}

/// What a path below `/p/` leads to.
fn link(request: &Request) -> Option<Asked> {
    let target = request.uri().path_and_query()?.as_str().strip_prefix(LINKS)?;
    let token = target.split(['/', '?']).next().filter(|token| is_token(token))?;
    let rest = &target[token.len()..];
    let slash = if rest.starts_with('/') { "" } else { "/" };
    Some(Asked::Link(token.to_ascii_lowercase(), format!("{slash}{rest}")))
}

/// A path as the log may have it: a token is a secret.
pub(super) fn path_without_token(path: &str) -> String {
    match path.strip_prefix(LINKS) {
        Some(rest) => format!("{LINKS}…{}", rest.find('/').map_or("", |at| &rest[at..])),
        None => path.to_owned(),
    }
}

fn is_token(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Answers a request for a preview.
pub(super) async fn answer(asked: Asked, request: &Parts, shared: &Arc<Shared>) -> Result<Response, Problem> {
    let route = if matches!(asked, Asked::File(_)) { "/preview" } else { "/p/{token}" };
    let mut answered = match respond(asked, request, shared).await {
        Ok(response) => response,
        Err(problem) if problem.status == StatusCode::NOT_FOUND => nothing(),
        Err(problem) => return Err(problem),
    };
    answered.extensions_mut().insert(Route(route));
    Ok(answered)
}

/// What people see where nothing is: whoever has no token is told no more than whoever has an old one.
fn nothing() -> Response {
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, kind)], "There is nothing here.\n").into_response()
}

async fn respond(asked: Asked, request: &Parts, shared: &Arc<Shared>) -> Result<Response, Problem> {
    if *shared.phase.borrow() >= Phase::Draining {
        return Err(Problem::busy("the server ends"));
    }
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return Ok((StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response());
    }
    let busy = || Problem::busy("as many previews are looked at as may be at once");
    let place = shared.previews.places.clone().try_acquire_owned().map_err(|_full| busy())?;
    match asked {
        Asked::File(token) => file(token, request, shared, place).await,
        Asked::Link(token, rest) => {
            let location = format!("{}{rest}", shared.previews.origin(&token));
            blocking(shared, move |shared| Ok(shared.builds.find_preview(&token).map(drop)?)).await?;
            let location = HeaderValue::from_str(&location).map_err(|_no_header| Problem::invalid("the path"))?;
            Ok((StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response())
        }
    }
}

async fn file(
    token: String,
    request: &Parts,
    shared: &Arc<Shared>,
    place: OwnedSemaphorePermit,
) -> Result<Response, Problem> {
    let headers = &request.headers;
    check(headers)?;
    let (path, is_page) = (request.uri.path().to_owned(), is_for_a_page(headers));
    let found = blocking(shared, move |shared| find::find(&shared.builds, &token, &path, is_page)).await?;
    let Found::File { file, size, kind, tag } = found else {
        let Found::Folder(path) = found else { return Ok(nothing()) };
        let query = request.uri.query().map_or_else(String::new, |query| format!("?{query}"));
        let location = HeaderValue::from_str(&format!("{path}{query}")).map_err(|_no_header| Problem::invalid(path))?;
        return Ok((StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response());
    };
    let tag = HeaderValue::from_str(&tag).map_err(|error| Problem::ours("tag", error.to_string()))?;
    let mut response = match has_it(headers, &tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ranged::respond((file, size), headers, Some(&tag), place),
    };
    let fixed = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, shared.previews.policy.clone()),
        (header::ETAG, tag),
        // Asked about each time, so that what was revoked is gone and what was built anew is seen.
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    ];
    response.headers_mut().extend(fixed);
    Ok(response)
}

async fn blocking<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce(&Shared) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let shared = shared.clone();
    let Ok(permit) = shared.blocking.clone().acquire_owned().await else {
        return Err(Problem::busy("the server ends"));
    };
    let done = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work(&shared)
    });
    match done.await.unwrap_or_else(|error| Err(Problem::ours("panic", error.to_string()))) {
        // It has ended, or never was: nobody is told which.
        Err(problem) if problem.status == StatusCode::GONE => Err(Problem::new(StatusCode::NOT_FOUND, "not_found", "")),
        done => done,
    }
}

/// A preview is for whoever opens it, and for itself. No other site's page gets a part of it, and none is left behind in a
/// browser that would show what has been revoked.
fn check(headers: &HeaderMap) -> Result<(), Problem> {
    let refused = || Problem::new(StatusCode::FORBIDDEN, "origin", "pages of other sites may not ask");
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|found| found.as_bytes() == value.as_bytes());
    let is_own = ["same-origin", "none"].iter().any(|site| is("sec-fetch-site", site));
    if headers.contains_key("sec-fetch-site") && !is_own && !is("sec-fetch-mode", "navigate") {
        return Err(refused());
    }
    if is("service-worker", "script") {
        return Err(Problem::new(StatusCode::NOT_FOUND, "not_found", "a preview has no service workers"));
    }
    Ok(())
}

/// Whether it is a person who goes somewhere, and not a part of a page that is fetched.
fn is_for_a_page(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|text| text.contains("text/html"))
}

fn has_it(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known = known.flat_map(|value| value.split(',')).map(|known| known.trim().trim_start_matches("W/"));
    known.any(|known| known == "*" || known.as_bytes() == tag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn asked(host: &str, target: &str) -> Option<Asked> {
        let previews = Previews::new("http://localhost:8080", &["localhost:8080".to_owned()]).unwrap();
        previews.asked(Some(host), &Request::get(target).body(Body::empty()).unwrap())
    }

    #[test]
    fn only_a_token_before_the_suffix_is_a_preview() {
        for host in [format!("{TOKEN}.localhost:8080"), format!("{}.LOCALHOST:8080", TOKEN.to_uppercase())] {
            assert_eq!(asked(&host, "/x"), Some(Asked::File(TOKEN.to_owned())));
        }
        for host in [
            "localhost:8080".to_owned(),
            "a.localhost:8080".to_owned(),
            format!("{TOKEN}.localhost"),
            format!("{TOKEN}.localhost:80"),
            format!("{TOKEN}.localhost:8080.evil"),
            format!("x.{TOKEN}.localhost:8080"),
            format!("{TOKEN}0.localhost:8080"),
            format!("{TOKEN}localhost:8080"),
        ] {
            assert_eq!(asked(&host, "/x"), None, "{host}");
        }
    }

    #[test]
    fn a_link_leads_to_the_same_path_at_the_preview() {
        let link = |target: &str| match asked("localhost:8080", target) {
            Some(Asked::Link(token, rest)) => Some((token, rest)),
            _ => None,
        };
        for (target, rest) in [("", "/"), ("/", "/"), ("/a/b?c=d", "/a/b?c=d"), ("?c", "/?c"), ("//x", "//x")] {
            assert_eq!(link(&format!("/p/{TOKEN}{target}")), Some((TOKEN.to_owned(), rest.to_owned())));
        }
        for target in ["/p/", "/p/abc/", "/p", &format!("/p/{TOKEN}0/"), &format!("/q/{TOKEN}/")] {
            assert_eq!(link(target), None, "{target}");
        }
        assert_eq!(path_without_token(&format!("/p/{TOKEN}/a")), "/p/…/a");
        assert_eq!(path_without_token("/v1/run"), "/v1/run");
    }

    #[test]
    fn a_scheme_is_kept_and_a_name_that_is_no_header_is_refused() {
        let previews = Previews::new("https://Previews.example", &[]).unwrap();
        assert_eq!(previews.origin("x"), "https://x.previews.example");
        assert!(Previews::new("http://localhost", &["b\nx".to_owned()]).is_err());
    }
}
