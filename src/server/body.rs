//! What a request brings: its query, and a body of one of a few kinds. Each kind has a type of its own, which no page of
//! another site can send without asking first, and a bound.

use super::bounded::{BodyReader, STALL};
use super::problem::Problem;
use super::schema::Schemas;
use super::state::{MEMORY_UNIT, Shared};
use axum::body::{Body, HttpBody};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Request};
use axum::http::{HeaderMap, StatusCode, header};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio_stream::StreamExt;

/// How long a body that is held in memory may take altogether.
const LONGEST: Duration = Duration::from_secs(120);

/// The memory that a body takes.
pub(super) type Memory = Option<OwnedSemaphorePermit>;

/// The query of a route that takes none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NoQuery {}

/// Something that can be read from a request's body.
pub(super) trait FromBody: Sized + Send + 'static {
    /// Reads it, with what has to be held as long as it is used.
    fn read(request: Request, shared: &Arc<Shared>) -> impl Future<Output = Result<(Self, Memory), Problem>> + Send;

    /// As OpenAPI has it.
    fn describe(schemas: &mut Schemas) -> Option<Value>;
}

/// No body.
#[derive(Debug)]
pub(super) struct Nothing;

/// A JSON object.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

/// A job, as the bytes that the contract reads.
#[derive(Debug)]
pub(super) struct JobJson(pub(super) Vec<u8>);

/// The bytes of a file.
#[derive(Debug)]
pub(super) struct Raw(pub(super) Vec<u8>);

/// A tar archive, to be read where blocking is allowed.
#[derive(Debug)]
pub(super) struct Archive(pub(super) BodyReader);

/// The wish to speak the protocol of WebSockets from now on.
#[derive(Debug)]
pub(super) struct Socket(pub(super) WebSocketUpgrade);

impl FromBody for Socket {
    async fn read(request: Request, _: &Arc<Shared>) -> Result<(Self, Memory), Problem> {
        let (mut parts, _no_body) = request.into_parts();
        match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
            Ok(upgrade) => Ok((Self(upgrade), None)),
            Err(rejection) => {
                let words = format!("this route speaks WebSocket: {}", rejection.body_text());
                Err(Problem::new(StatusCode::UPGRADE_REQUIRED, "websocket", words))
            }
        }
    }

    fn describe(_: &mut Schemas) -> Option<Value> {
        None
    }
}

impl FromBody for Nothing {
    async fn read(request: Request, _: &Arc<Shared>) -> Result<(Self, Memory), Problem> {
        let body = request.body();
        match body.is_end_stream() || body.size_hint().exact() == Some(0) {
            true => Ok((Self, None)),
            false => Err(Problem::invalid("this route takes no body")),
        }
    }

    fn describe(_: &mut Schemas) -> Option<Value> {
        None
    }
}

impl<T: DeserializeOwned + JsonSchema + Send + 'static> FromBody for Json<T> {
    async fn read(request: Request, shared: &Arc<Shared>) -> Result<(Self, Memory), Problem> {
        let (bytes, permit) = collect(request, "application/json", shared).await?;
        // An array would be taken for the fields in their order.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(Problem::invalid("the body is no JSON object"));
        }
        let mut deserializer = serde_json::Deserializer::from_slice(&bytes);
        let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let path = error.path().to_string();
            let problem = Problem::invalid(error.into_inner().to_string());
            if path == "." { problem } else { problem.at(&path) }
        })?;
        deserializer.end().map_err(|_more| Problem::invalid("something follows the JSON object"))?;
        Ok((Self(parsed), permit))
    }

    fn describe(schemas: &mut Schemas) -> Option<Value> {
        Some(content("application/json", schemas.of::<T>()))
    }
}

impl FromBody for JobJson {
    async fn read(request: Request, shared: &Arc<Shared>) -> Result<(Self, Memory), Problem> {
        let (bytes, permit) = collect(request, "application/json", shared).await?;
        Ok((Self(bytes), permit))
    }

    fn describe(schemas: &mut Schemas) -> Option<Value> {
        Some(content("application/json", schemas.job()))
    }
}

impl FromBody for Raw {
    async fn read(request: Request, shared: &Arc<Shared>) -> Result<(Self, Memory), Problem> {
        let (bytes, permit) = collect(request, "application/octet-stream", shared).await?;
        Ok((Self(bytes), permit))
    }

    fn describe(_: &mut Schemas) -> Option<Value> {
        Some(content("application/octet-stream", json!({"type": "string", "format": "binary"})))
    }
}

impl FromBody for Archive {
    async fn read(request: Request, shared: &Arc<Shared>) -> Result<(Self, Memory), Problem> {
        expect_type(request.headers(), "application/x-tar")?;
        let body = request.into_body();
        let most = shared.settings.max_archive;
        length(&body, most)?;
        Ok((Self(BodyReader::new(body, most)), None))
    }

    fn describe(_: &mut Schemas) -> Option<Value> {
        Some(content("application/x-tar", json!({"type": "string", "format": "binary"})))
    }
}

fn content(kind: &str, schema: Value) -> Value {
    json!({"required": true, "content": {kind: {"schema": schema}}})
}

/// Refuses every other type, and none at all: what a form of another site can send needs no leave to be sent.
fn expect_type(headers: &HeaderMap, expected: &str) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    let words = format!("the body's `Content-Type` must be `{expected}`");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", words))
}

/// The length of a body, as far as it is told, unless it is too much.
fn length(body: &Body, most: u64) -> Result<Option<u64>, Problem> {
    match body.size_hint().exact() {
        Some(length) if length > most => Err(too_big(most)),
        length => Ok(length),
    }
}

fn too_big(most: u64) -> Problem {
    Problem::too_big(format!("the body has more than {most} bytes"))
}

/// A whole body, in memory.
async fn collect(request: Request, kind: &str, shared: &Arc<Shared>) -> Result<(Vec<u8>, Memory), Problem> {
    expect_type(request.headers(), kind)?;
    let body = request.into_body();
    let most = shared.settings.max_body;
    let length = length(&body, most)?;
    let units = length.unwrap_or(most).div_ceil(MEMORY_UNIT);
    let permits = shared.memory.clone().try_acquire_many_owned(u32::try_from(units).unwrap_or(u32::MAX));
    let permit = permits.map_err(|_full| Problem::busy("too many bodies are on their way"))?;
    let slow = || Problem::new(StatusCode::REQUEST_TIMEOUT, "slow_body", "the body did not come in time");
    let all = async {
        let mut stream = body.into_data_stream();
        let mut bytes = Vec::new();
        while let Some(piece) = tokio::time::timeout(STALL, stream.next()).await.map_err(|_elapsed| slow())? {
            let piece = piece.map_err(|error| Problem::invalid(format!("the body can't be read: {error}")))?;
            if bytes.len() as u64 + piece.len() as u64 > most {
                return Err(too_big(most));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    };
    let bytes = tokio::time::timeout(LONGEST, all).await.map_err(|_elapsed| slow())??;
    Ok((bytes, Some(permit)))
}
