//! Why a request is not met: a status, a code that stays, and words, as RFC 9457 has it. The library's typed errors become
//! these, and nothing of the host is told that the owner of a token need not know.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pinfold::code::CodeError;
use pinfold::{Failure, build, checkpoint, files, held, workspace};
use schemars::JsonSchema;
use serde::Serialize;
use std::time::Duration;

/// How much of a message is told, in characters: some repeat what they were given.
const LONGEST: usize = 2000;

/// What is wrong.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) code: String,
    pub(super) detail: String,
    pub(super) hint: Option<String>,
    /// The field of the request that it is about.
    pub(super) field: Option<Box<str>>,
    /// What only the operator is told.
    pub(super) cause: Option<Box<str>>,
}

/// What is wrong, as `application/problem+json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ProblemJson {
    /// `urn:pinfold:problem:` and the code.
    r#type: String,
    /// The status in words.
    title: String,
    /// The status.
    status: u16,
    /// What is wrong, in words for people.
    detail: String,
    /// What is wrong, in a word that stays the same.
    code: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// The field of the request that it is about, such as `limits.memory_bytes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// The request's number in the server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { status, code: code.into(), detail: detail.into(), hint: None, field: None, cause: None }
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
    }

    /// Refuses a number that is out of its range, as the description of the route has it.
    pub(super) fn unless_within<T: PartialOrd + std::fmt::Display>(
        field: &str,
        asked: Option<T>,
        range: std::ops::RangeInclusive<T>,
    ) -> Result<Option<T>, Self> {
        match asked {
            Some(number) if !range.contains(&number) => {
                let words = format!("it is {number}, and must be from {} to {}", range.start(), range.end());
                Err(Self::invalid(words).at(field))
            }
            asked => Ok(asked),
        }
    }

    /// How long a client wants to wait, if it says so.
    pub(super) fn unless_time(asked: Option<f64>) -> Result<Option<Duration>, Self> {
        let asked = Self::unless_within("timeout_seconds", asked, 0.001..=86_400.0)?;
        Ok(asked.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()))
    }

    pub(super) fn not_allowed(field: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "not_allowed", detail).at(field)
    }

    pub(super) fn too_big(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_big", detail)
    }

    /// One who asks again later may be served.
    pub(super) fn busy(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
    }

    /// What is nobody's fault but this host's. The owner of a token is told no more than that.
    pub(super) fn ours(code: impl Into<String>, cause: impl Into<String>) -> Self {
        let words = "the server could not do it; its log has the reason under this request's number";
        let mut problem = Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, words);
        problem.cause = Some(cause.into().into_boxed_str());
        problem
    }

    #[must_use]
    pub(super) fn at(mut self, field: &str) -> Self {
        self.field = Some(field.into());
        self
    }

    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same in the names that the owner knows.
    #[must_use]
    pub(super) fn renamed(mut self, rename: impl Fn(&str) -> String) -> Self {
        self.detail = rename(&self.detail);
        self.hint = self.hint.as_deref().map(rename);
        self
    }

    /// As JSON, in the answer to the request of this number.
    pub(super) fn json(self, request: Option<&str>) -> ProblemJson {
        ProblemJson {
            r#type: format!("urn:pinfold:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Problem").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.chars().take(LONGEST).collect(),
            code: self.code,
            hint: self.hint,
            field: self.field.map(String::from),
            request: request.map(str::to_owned),
        }
    }

    /// The answer to the request of this number.
    pub(super) fn respond(self, request: Option<&str>) -> Response {
        let status = self.status;
        let retry = status == StatusCode::SERVICE_UNAVAILABLE;
        let unknown = status == StatusCode::UNAUTHORIZED;
        let json = self.json(request);
        let body = serde_json::to_vec(&json).unwrap_or_default();
        let kind = HeaderValue::from_static("application/problem+json");
        let mut response = (status, [(header::CONTENT_TYPE, kind)], body).into_response();
        if retry {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if unknown {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The status of a code of the library's. What is not named is the host's fault.
fn status(code: &str) -> StatusCode {
    match code {
        "not_found" | "checkpoint_not_found" | "no_checkpoint" => StatusCode::NOT_FOUND,
        "gone" => StatusCode::GONE,
        "invalid" | "invalid_path" | "invalid_pattern" | "invalid_request" | "invalid_thread" | "bad_archive"
        | "archive" => StatusCode::BAD_REQUEST,
        "too_big" | "too_many" | "too_deep" => StatusCode::PAYLOAD_TOO_LARGE,
        "not_allowed" | "denied" => StatusCode::FORBIDDEN,
        "already_exists" | "exists" | "checkpoint_exists" | "busy" | "references_held" | "holds_another"
        | "not_empty" | "is_directory" | "not_directory" | "not_regular" | "symlink" | "mount_point" | "changed"
        | "freeze" | "ended" | "limit" | "queue_full" | "superseded" | "not_ended" => StatusCode::CONFLICT,
        "no_match" | "ambiguous" | "unsupported" | "toolchain" | "too_slow" | "project_file" => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        "no_space" | "storage_full" | "store_full" => StatusCode::INSUFFICIENT_STORAGE,
        "timeout" => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A problem of this code; one that is the host's fault is not told in full.
fn of(code: &str, message: String) -> Problem {
    match status(code) {
        StatusCode::INTERNAL_SERVER_ERROR => Problem::ours(code, message),
        status => Problem::new(status, code, message),
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let Failure { code, message, hint } = failure;
        // What a sandbox was asked for and this host can't give.
        let status = match status(&code) {
            StatusCode::INTERNAL_SERVER_ERROR => StatusCode::UNPROCESSABLE_ENTITY,
            known => known,
        };
        Self { hint, ..Self::new(status, code, message) }
    }
}

impl From<held::Error> for Problem {
    fn from(error: held::Error) -> Self {
        match error {
            held::Error::Failed(failure) => failure.into(),
            held::Error::Workspace(error) => error.into(),
            held::Error::Runner(error) => error.into(),
            error => of(error.code(), pinfold::service::with_causes(&error)),
        }
    }
}

impl From<workspace::Error> for Problem {
    fn from(error: workspace::Error) -> Self {
        of(error.code(), pinfold::service::with_causes(&error))
    }
}

impl From<checkpoint::Error> for Problem {
    fn from(error: checkpoint::Error) -> Self {
        match error {
            checkpoint::Error::Workspace(error) => error.into(),
            error => of(error.code(), pinfold::service::with_causes(&error)),
        }
    }
}

impl From<files::Error> for Problem {
    fn from(error: files::Error) -> Self {
        let hint = match error.code() {
            "invalid_path" => Some("a path is relative to the workspace, or begins with /workspace/, and has no `..`"),
            "symlink" => Some("links are not followed: name the file that the link points to"),
            "is_directory" => Some("a directory is removed with `recursive=true`, and read by listing it"),
            _ => None,
        };
        let problem = of(error.code(), error.to_string());
        Self { hint: hint.map(str::to_owned), ..problem }
    }
}

impl From<build::Error> for Problem {
    fn from(error: build::Error) -> Self {
        let hint = error.hint();
        let problem = match error {
            build::Error::Workspace(error) => error.into(),
            build::Error::Files(error) => error.into(),
            error => of(error.code(), pinfold::service::with_causes(&error)),
        };
        match hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}

impl From<CodeError> for Problem {
    fn from(error: CodeError) -> Self {
        let hint = error.hint();
        let problem = match error {
            CodeError::Failed(failure) => return failure.into(),
            error => of(error.code(), pinfold::service::with_causes(&error)),
        };
        Self { hint, ..problem }
    }
}

impl From<pinfold::Error> for Problem {
    fn from(error: pinfold::Error) -> Self {
        match error {
            pinfold::Error::JobTooBig { .. } => Self::too_big(error.to_string()),
            error => Self::ours("host_error", pinfold::service::with_causes(&error)),
        }
    }
}

impl From<pinfold::InvalidValue> for Problem {
    fn from(error: pinfold::InvalidValue) -> Self {
        Self::invalid(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_hosts_fault_is_told_to_the_operator_alone() {
        let problem = of("io", "failed to open `/var/lib/secret`".to_owned());
        assert_eq!((problem.status.as_u16(), problem.code.as_str()), (500, "io"));
        assert!(!problem.detail.contains("secret") && problem.cause.unwrap().contains("secret"));
        assert_eq!(of("not_found", "there is none".to_owned()).status.as_u16(), 404);
    }
}
