//! What a route answers: each kind knows its status, its type and its schema.

use super::schema::Schemas;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

/// Something that a route can answer.
pub(super) trait Answer: Send {
    fn respond(self) -> Response;
    /// Each status with what it means, as OpenAPI has it.
    fn describe(schemas: &mut Schemas) -> Vec<(u16, Value)>;
}

/// An object as JSON.
#[derive(Debug)]
pub(super) struct Data<T>(pub(super) T);

/// The same of something that may have been made.
#[derive(Debug)]
pub(super) struct Made<T> {
    pub(super) is_new: bool,
    pub(super) it: T,
}

/// It is done, and there is nothing to tell.
#[derive(Debug)]
pub(super) struct Done;

/// An answer that was put together elsewhere: bytes, events, another protocol.
#[derive(Debug)]
pub(super) struct Whole<K>(pub(super) Response, pub(super) std::marker::PhantomData<K>);

/// What kind of whole it is.
pub(super) trait Kind: Send {
    const STATUSES: &'static [(u16, &'static str, Option<&'static str>)];
}

impl<K> From<Response> for Whole<K> {
    fn from(response: Response) -> Self {
        Self(response, std::marker::PhantomData)
    }
}

fn json_response(status: StatusCode, data: &impl Serialize) -> Response {
    match serde_json::to_vec(data) {
        Ok(json) => {
            let kind = HeaderValue::from_static("application/json");
            (status, [(header::CONTENT_TYPE, kind)], Body::from(json)).into_response()
        }
        Err(error) => super::problem::Problem::ours("json", error.to_string()).respond(None),
    }
}

fn described<T: JsonSchema>(schemas: &mut Schemas, words: &str) -> Value {
    json!({"description": words, "content": {"application/json": {"schema": schemas.of::<T>()}}})
}

impl<T: Serialize + JsonSchema + Send> Answer for Data<T> {
    fn respond(self) -> Response {
        json_response(StatusCode::OK, &self.0)
    }

    fn describe(schemas: &mut Schemas) -> Vec<(u16, Value)> {
        vec![(200, described::<T>(schemas, "What was asked for."))]
    }
}

impl<T: Serialize + JsonSchema + Send> Answer for Made<T> {
    fn respond(self) -> Response {
        json_response(if self.is_new { StatusCode::CREATED } else { StatusCode::OK }, &self.it)
    }

    fn describe(schemas: &mut Schemas) -> Vec<(u16, Value)> {
        let there = described::<T>(schemas, "It was there already.");
        vec![(200, there), (201, described::<T>(schemas, "It was made."))]
    }
}

impl Answer for Done {
    fn respond(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }

    fn describe(_: &mut Schemas) -> Vec<(u16, Value)> {
        vec![(204, json!({"description": "It is done."}))]
    }
}

impl<K: Kind> Answer for Whole<K> {
    fn respond(self) -> Response {
        self.0
    }

    fn describe(_: &mut Schemas) -> Vec<(u16, Value)> {
        let one = |(status, words, kind): &(u16, &str, Option<&str>)| match kind {
            Some(kind) => (*status, json!({"description": words, "content": {*kind: {"schema": {"type": "string"}}}})),
            None => (*status, json!({"description": words})),
        };
        K::STATUSES.iter().map(one).collect()
    }
}
