//! Sessions of browsers: a page's event streams and sockets can't send a token, so it gives the token once for a cookie that
//! no script can read. The cookie is signed with the token's own digest: it holds over a restart, nothing is kept of it, and
//! it ends with the token. Of one that its user ended before, that is kept (`ended`).

use super::super::guard::bearer;
use super::super::problem::Problem;
use super::super::state::Shared;
use super::super::tokens::Tokens;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hmac_sha256::HMAC;
use rustix::rand::{GetRandomFlags, getrandom};
use serde_json::json;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};
use subtle::ConstantTimeEq;

/// How long a session lasts, in seconds.
pub(super) const LASTS: u64 = 24 * 3600;
/// What is signed begins so, since the key might sign something else one day.
const PURPOSE: &str = "pinfold page session ";

/// What a cookie says: `TOKEN.EXPIRES.RANDOM.SIGNATURE`, where the token is only its number.
struct Session {
    token: usize,
    expires: u64,
    random: String,
}

impl Session {
    fn new(token: usize, now: u64) -> Result<Self, Problem> {
        let mut bytes = [0; 16];
        getrandom(&mut bytes, GetRandomFlags::empty()).map_err(|errno| Problem::ours("random", errno.to_string()))?;
        Ok(Self { token, expires: now + LASTS, random: hex(&bytes) })
    }

    fn signed(&self) -> String {
        format!("{}.{}.{}", self.token, self.expires, self.random)
    }

    fn cookie(&self, tokens: &Tokens) -> Option<String> {
        let signed = self.signed();
        let signature = sign(&signed, tokens.digest(self.token)?);
        Some(format!("{signed}.{signature}"))
    }

    /// The name under which its end is kept. No owner's name has a dot, and the rest is ours.
    fn name(&self, shared: &Shared) -> Option<String> {
        Some(format!("{}.{}.{}", shared.tokens().holder(self.token)?.name, self.expires, self.random))
    }

    /// What a cookie says, if one of these tokens signed it.
    fn read(cookie: &str, tokens: &Tokens) -> Option<Self> {
        let (signed, signature) = cookie.rsplit_once('.')?;
        let mut parts = signed.split('.');
        let (token, expires) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let session = Self { token, expires, random: parts.next()?.to_owned() };
        let expected = sign(signed, tokens.digest(token)?);
        let is_ours = bool::from(expected.as_bytes().ct_eq(signature.as_bytes()));
        (is_ours && parts.next().is_none()).then_some(session)
    }
}

/// The number of the token whose session a request is of. Whatever changes something has to say which page it is from, which
/// every browser does by itself: `Origin` was compared already.
pub(in crate::server) fn token(request: &Request, shared: &Shared) -> Option<usize> {
    let headers = request.headers();
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD) || headers.contains_key(header::UPGRADE);
    if changes && !headers.contains_key(header::ORIGIN) {
        return None;
    }
    Some(session(headers, shared)?.token)
}

/// The session of a request, unless it has ended.
fn session(headers: &HeaderMap, shared: &Shared) -> Option<Session> {
    let session = given(headers, shared)?;
    (!shared.ended_sessions.has(&session.name(shared)?)).then_some(session)
}

/// The session of a request, unless it is over by itself. Of two cookies of that name, one was put there by somebody else.
fn given(headers: &HeaderMap, shared: &Shared) -> Option<Session> {
    let name = cookie_name(headers);
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = all.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut ours = pairs.filter(|(found, _)| *found == name);
    let ((_, cookie), None) = (ours.next()?, ours.next()) else { return None };
    let session = Session::read(cookie, &shared.tokens())?;
    (now() < session.expires).then_some(session)
}

/// Begins a session, ends it, or tells whose it is.
pub(super) fn answer(request: &Request, shared: &Shared) -> Result<Response, Problem> {
    let (headers, now) = (request.headers(), now());
    match *request.method() {
        Method::POST => {
            from_page(headers)?;
            let token = bearer(headers).and_then(|token| shared.tokens().find(token)).ok_or_else(unknown)?;
            let session = Session::new(token, now)?;
            let cookie = session.cookie(&shared.tokens()).ok_or_else(unknown)?;
            let mut response = told(token, session.expires, shared)?;
            set(&mut response, headers, &cookie, LASTS)?;
            Ok(response)
        }
        Method::DELETE => {
            from_page(headers)?;
            if let Some(session) = given(headers, shared) {
                let name = session.name(shared).ok_or_else(unknown)?;
                let is_kept = shared.ended_sessions.add(&name, now);
                if !is_kept.map_err(|error| Problem::ours("session", error.to_string()))? {
                    let words = "you have ended more sessions within a day than are remembered";
                    return Err(Problem::new(StatusCode::CONFLICT, "limit", words).hint("withdraw the token"));
                }
            }
            let mut response = StatusCode::NO_CONTENT.into_response();
            set(&mut response, headers, "", 0)?;
            Ok(response)
        }
        Method::GET => {
            let session = session(headers, shared).ok_or_else(unknown)?;
            told(session.token, session.expires, shared)
        }
        _ => Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "no_method", "this path has no such method")),
    }
}

fn told(token: usize, expires: u64, shared: &Shared) -> Result<Response, Problem> {
    let owner = shared.tokens().holder(token).cloned().ok_or_else(unknown)?;
    let body = json!({"owner": owner.name, "expires_ms": expires * 1000}).to_string();
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}

fn from_page(headers: &HeaderMap) -> Result<(), Problem> {
    let words = "only the page does this: it is asked without `Origin`";
    let refused = || Problem::new(StatusCode::FORBIDDEN, "origin", words);
    headers.contains_key(header::ORIGIN).then_some(()).ok_or_else(refused)
}

fn unknown() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "a token is needed")
}

fn set(response: &mut Response, headers: &HeaderMap, cookie: &str, lasts: u64) -> Result<(), Problem> {
    let origin = headers.get(header::ORIGIN).map_or(&b""[..], HeaderValue::as_bytes);
    // The server speaks plain HTTP. A page that came over TLS came through a proxy.
    let secure = if origin.starts_with(b"https://") { "; Secure" } else { "" };
    let name = cookie_name(headers);
    let text = format!("{name}={cookie}; Path=/; Max-Age={lasts}; HttpOnly; SameSite=Strict{secure}");
    let value = HeaderValue::from_str(&text).map_err(|error| Problem::ours("cookie", error.to_string()))?;
    response.headers_mut().insert(header::SET_COOKIE, value);
    Ok(())
}

/// Browsers keep no cookies apart by port: two servers on one host would overwrite each other's.
fn cookie_name(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let port = host.rsplit_once(':').map(|(_, port)| port).filter(|port| port.bytes().all(|b| b.is_ascii_digit()));
    port.map_or_else(|| "pinfold".to_owned(), |port| format!("pinfold-{port}"))
}

fn sign(text: &str, key: &[u8; 32]) -> String {
    hex(&HMAC::mac(format!("{PURPOSE}{text}"), key))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        Tokens::parse("ann 0123456789abcdef\nbob fedcba9876543210\n").unwrap()
    }

    #[test]
    fn a_cookie_is_good_for_its_token_alone_and_as_it_was_made() {
        let tokens = tokens();
        let cookie = Session::new(1, 1000).unwrap().cookie(&tokens).unwrap();
        let read = Session::read(&cookie, &tokens).unwrap();
        assert_eq!((read.token, read.expires), (1, 1000 + LASTS));
        let later = cookie.replacen(&read.expires.to_string(), &(read.expires + 1).to_string(), 1);
        let longer = cookie.replacen(&read.random, &format!("{}.x", read.random), 1);
        for forged in
            [&cookie[1..], &format!("0{}", &cookie[1..]), &later, &longer, &format!("{cookie}0"), "", "1.2.3.4"]
        {
            assert!(Session::read(forged, &tokens).is_none(), "{forged}");
        }
        let others = Tokens::parse("ann 0123456789abcdef\nbob another-token-of-his\n").unwrap();
        assert!(Session::read(&cookie, &others).is_none());
    }
}
