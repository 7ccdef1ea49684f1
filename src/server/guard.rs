//! What every request passes before any route sees it: whether it was meant for this server, whether a page of another site
//! sent it, and whose it is. And what every answer gets on its way out: headers, a line in the log, a count.

use super::api::{Cause, Number, Route};
use super::call::Caller;
use super::page;
use super::preview::{self, Asked};
use super::problem::Problem;
use super::state::{Phase, Shared};
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tower_service::Service;

/// The longest target of a request, in bytes.
const LONGEST_TARGET: usize = 8 << 10;
/// The most of all fields of a head, in bytes.
const LONGEST_FIELDS: usize = 32 << 10;

/// The names by which this server may be called, in lower case, with and without a port.
#[derive(Clone, Debug)]
pub(super) struct Hosts(Vec<String>);

impl Hosts {
    /// Of a server at this address, or at a Unix socket, and with the operator's own names.
    pub(super) fn of(address: Option<SocketAddr>, own: &[String]) -> Self {
        let mut hosts: Vec<String> = own.iter().map(|host| host.to_ascii_lowercase()).collect();
        match address {
            None => hosts.push("localhost".to_owned()),
            Some(address) => {
                let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned()];
                if !address.ip().is_unspecified() && !address.ip().is_loopback() {
                    names.push(host(address));
                }
                for name in names {
                    if address.port() == 80 {
                        hosts.push(name.clone());
                    }
                    hosts.push(format!("{name}:{}", address.port()));
                }
            }
        }
        Self(hosts)
    }

    /// All of them.
    pub(super) fn names(&self) -> &[String] {
        &self.0
    }

    fn has(&self, host: &str) -> bool {
        self.0.iter().any(|known| known.eq_ignore_ascii_case(host))
    }
}

fn host(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}

/// What answers on one listener.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) shared: Arc<Shared>,
    pub(super) hosts: Hosts,
    pub(super) router: Router,
}

impl Guard {
    /// Answers one request.
    pub(super) async fn answer(mut self, mut request: Request) -> Response {
        let start = Instant::now();
        let number = format!("{:x}", self.shared.requests.fetch_add(1, Ordering::Relaxed));
        let (method, path) = (request.method().clone(), preview::path_without_token(request.uri().path()));
        request.extensions_mut().insert(Number(number.clone()));
        let (owner, mut response) = match self.check(&mut request) {
            Ok(Pass::Answer(response)) => (None, response),
            Ok(Pass::Preview(asked)) => {
                let (head, _no_body) = request.into_parts();
                let answered = preview::answer(asked, &head, &self.shared).await;
                (None, answered.unwrap_or_else(|problem| told(problem, &number)))
            }
            Ok(Pass::Owner(owner)) => {
                let never = self.router.call(request).await;
                (Some(owner), never.unwrap_or_else(|infallible| match infallible {}))
            }
            Err(problem) => (None, told(problem, &number)),
        };
        dress(&mut response, &number);
        let (status, took) = (response.status(), start.elapsed());
        let route = response.extensions().get::<Route>().map_or("none", |route| route.0);
        self.shared.metrics.count(route, name(&method), status.as_u16(), took);
        let level = if status.is_server_error() { "error" } else { "info" };
        let cause = response.extensions().get::<Cause>().map(|cause| cause.0.clone());
        self.shared.journal.tell(
            level,
            "request",
            json!({
                "request": number, "owner": owner, "method": name(&method), "path": path, "status": status.as_u16(),
                "ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX), "cause": cause,
            }),
        );
        response
    }

    fn check(&self, request: &mut Request) -> Result<Pass, Problem> {
        let asked = self.check_host(request)?;
        if asked.is_none() {
            check_origin(request.headers())?;
        }
        if request.uri().path_and_query().map_or(0, |target| target.as_str().len()) > LONGEST_TARGET {
            let words = format!("the target has more than {LONGEST_TARGET} bytes");
            return Err(Problem::new(StatusCode::URI_TOO_LONG, "target_too_long", words));
        }
        let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
        if fields.sum::<usize>() > LONGEST_FIELDS {
            let words = format!("the head has more than {LONGEST_FIELDS} bytes");
            return Err(Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_long", words));
        }
        if let Some(asked) = asked {
            return Ok(Pass::Preview(asked));
        }
        if let Some(response) = self.open_to_all(request) {
            return Ok(Pass::Answer(response));
        }
        if let Some(answer) = page::answer(request, &self.shared) {
            return answer.map(Pass::Answer);
        }
        let caller = self.caller(request)?;
        if *self.shared.phase.borrow() >= Phase::Draining {
            return Err(Problem::busy("the server ends"));
        }
        if request.uri().path() == "/metrics" && request.method() == Method::GET {
            let kind = HeaderValue::from_static("text/plain; version=0.0.4");
            let text = self.shared.metrics.tell();
            return Ok(Pass::Answer(([(header::CONTENT_TYPE, kind)], text).into_response()));
        }
        let name = caller.owner.name.clone();
        request.extensions_mut().insert(caller);
        Ok(Pass::Owner(name))
    }

    /// A name that leads here and is not ours is how a page of another site reaches us: DNS rebinding. The name of a preview is
    /// ours for that preview and for nothing else. Tells what is asked of a preview, if one is asked.
    fn check_host(&self, request: &Request) -> Result<Option<Asked>, Problem> {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok());
        let told = request.uri().authority().map(axum::http::uri::Authority::as_str);
        let asked = self.shared.previews.asked(host, request);
        let is_ours = match &asked {
            Some(Asked::File(_)) => told.is_none_or(|told| host.is_some_and(|host| host.eq_ignore_ascii_case(told))),
            _ => host.is_some_and(|host| self.hosts.has(host)) && told.is_none_or(|told| self.hosts.has(told)),
        };
        if is_ours && hosts.next().is_none() {
            return Ok(asked);
        }
        let words = "this server is not called so";
        let problem = Problem::new(StatusCode::MISDIRECTED_REQUEST, "host", words);
        Err(problem.hint("call it `localhost`, or have its operator allow the name with `--host`"))
    }

    /// What may be asked without a token: it tells nothing of anybody's.
    fn open_to_all(&self, request: &Request) -> Option<Response> {
        let method = request.method();
        if method != Method::GET && method != Method::HEAD {
            return None;
        }
        let text = |status: StatusCode, text: &'static str| {
            Some((status, [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"))], text).into_response())
        };
        match request.uri().path() {
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" if *self.shared.phase.borrow() == Phase::Serving => text(StatusCode::OK, "ready\n"),
            "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            "/openapi.json" => {
                let kind = HeaderValue::from_static("application/json");
                Some(([(header::CONTENT_TYPE, kind)], self.shared.document.clone()).into_response())
            }
            _ => None,
        }
    }

    /// Whose token it shows, or whose session it is of. One that shows a token has no other say.
    fn caller(&self, request: &Request) -> Result<Caller, Problem> {
        let (headers, tokens) = (request.headers(), self.shared.tokens());
        let token = match headers.contains_key(header::AUTHORIZATION) {
            true => bearer(headers).and_then(|token| tokens.find(token)),
            false => page::token(request, &self.shared),
        };
        let caller = token.and_then(|token| Some(Caller { token, owner: tokens.holder(token)?.clone() }));
        caller.ok_or_else(|| {
            let words = "a token is needed: `Authorization: Bearer TOKEN`";
            Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", words)
        })
    }
}

/// The token that a request shows, if it shows one.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (one, None) = (given.next()?, given.next()) else { return None };
    let (scheme, token) = one.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

enum Pass {
    Answer(Response),
    Preview(Asked),
    Owner(String),
}

/// A problem as an answer, with what only the log may have of it.
fn told(mut problem: Problem, number: &str) -> Response {
    let cause = problem.cause.take();
    let mut response = problem.respond(Some(number));
    if let Some(cause) = cause {
        response.extensions_mut().insert(Cause(cause.into()));
    }
    response
}

/// Whoever sends `Origin` is a browser, for a page of that site: it must be one of ours. A socket's handshake has it too.
fn check_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let refused = || Problem::new(StatusCode::FORBIDDEN, "origin", "pages of other sites may not ask");
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    for origin in headers.get_all(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        let site = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if !site.is_some_and(|site| site.eq_ignore_ascii_case(host)) {
            return Err(refused());
        }
    }
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(refused()),
    }
}

/// What no answer lacks: nobody keeps it, nobody guesses its type, nothing of it is run or shown in another page.
fn dress(response: &mut Response, number: &str) {
    let headers = response.headers_mut();
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox");
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(policy);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if let Ok(number) = HeaderValue::from_str(number) {
        headers.insert(HeaderName::from_static("x-request-id"), number);
    }
}

/// What answers where no route does.
pub(super) async fn no_route(request: Request) -> Response {
    let number = request.extensions().get::<Number>().map(|number| number.0.clone());
    Problem::new(StatusCode::NOT_FOUND, "no_route", "there is nothing of this path").respond(number.as_deref())
}

/// What answers where a route has no such method.
pub(super) async fn no_method(request: Request) -> Response {
    let number = request.extensions().get::<Number>().map(|number| number.0.clone());
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "no_method", "this path has no such method");
    problem.respond(number.as_deref())
}

/// A method as it is counted: whatever clients make up is one.
fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_the_names_of_its_address_and_those_of_its_operator() {
        let hosts = Hosts::of(Some("127.0.0.1:8080".parse().unwrap()), &["Box.example".to_owned()]);
        let ours = ["localhost:8080", "LOCALHOST:8080", "127.0.0.1:8080", "[::1]:8080", "box.example"];
        assert!(ours.iter().all(|host| hosts.has(host)));
        let others = ["localhost", "localhost:80", "evil.example:8080", "box.example:8080", "127.0.0.1.evil:8080", ""];
        assert!(!others.iter().any(|host| hosts.has(host)));
        assert!(Hosts::of(None, &[]).has("localhost") && !Hosts::of(None, &[]).has("evil.example"));
    }

    #[test]
    fn only_pages_of_this_server_may_ask() {
        let check = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            check_origin(&headers).is_ok()
        };
        let host = ("host", "localhost:80");
        assert!(check(&[host]) && check(&[host, ("origin", "http://localhost:80")]));
        for origin in ["null", "http://localhost:81", "http://evil.example", "file://", "http://localhost:80.evil", ""]
        {
            assert!(!check(&[host, ("origin", origin)]), "{origin}");
        }
        assert!(!check(&[host, ("origin", "http://localhost:80"), ("origin", "http://evil.example")]));
        assert!(!check(&[host, ("sec-fetch-site", "cross-site")]) && check(&[host, ("sec-fetch-site", "same-origin")]));
    }
}
