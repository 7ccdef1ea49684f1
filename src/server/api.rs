//! The table of routes, from which both are made: what answers, and the description of it. So neither can lack what the other
//! has.

use super::answer::Answer;
use super::body::FromBody;
use super::call::{Call, Caller};
use super::problem::{Problem, ProblemJson};
use super::schema::Schemas;
use super::state::Shared;
use axum::Router;
use axum::extract::{RawPathParams, Request, State};
use axum::http::Method;
use axum::routing::{MethodFilter, on};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The route that answered, as it is written in the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route(pub(super) &'static str);

/// Why it was not what was asked for, for the log: what only the operator is told.
#[derive(Clone, Debug)]
pub(super) struct Cause(pub(super) String);

/// The number of a request, which its answer and the log have.
#[derive(Clone, Debug)]
pub(super) struct Number(pub(super) String);

/// The routes that were added so far.
#[derive(Debug, Default)]
pub(super) struct Api {
    router: Router<Arc<Shared>>,
    paths: BTreeMap<&'static str, Map<String, Value>>,
    schemas: Schemas,
}

/// What a route is called, in the description and in a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct About(pub(super) &'static str, pub(super) &'static str);

impl Api {
    /// Adds a route: what the path has in braces, the query and the body are read and checked before it is asked.
    pub(super) fn add<Q, B, A, F, Fut>(&mut self, method: &Method, path: &'static str, about: About, route: F)
    where
        Q: DeserializeOwned + JsonSchema + Send + 'static,
        B: FromBody,
        A: Answer + 'static,
        F: Fn(Call, Q, B) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<A, Problem>> + Send,
    {
        let (has_query, operation) = self.describe::<Q, B, A>(path, about);
        self.paths.entry(path).or_default().insert(method.as_str().to_ascii_lowercase(), operation);
        let handler = move |State(shared): State<Arc<Shared>>, parameters: RawPathParams, request: Request| {
            let route = route.clone();
            async move {
                let number = request.extensions().get::<Number>().cloned();
                let answer = match request.extensions().get::<Caller>().cloned() {
                    Some(caller) => {
                        let owner = caller.owner.clone();
                        let answer = ask::<Q, B, A, F, Fut>(&shared, caller, &parameters, request, route, has_query);
                        answer.await.map_err(|problem| problem.renamed(|text| owner.as_named(text)))
                    }
                    None => Err(Problem::ours("no_owner", "a route was asked by nobody")),
                };
                let mut response = match answer {
                    Ok(answer) => answer.respond(),
                    Err(mut problem) => {
                        let cause = problem.cause.take();
                        let mut response = problem.respond(number.as_ref().map(|number| number.0.as_str()));
                        if let Some(cause) = cause {
                            response.extensions_mut().insert(Cause(cause.into()));
                        }
                        response
                    }
                };
                response.extensions_mut().insert(Route(path));
                response
            }
        };
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::TRACE);
        let router = std::mem::take(&mut self.router);
        self.router = router.route(path, on(filter, handler));
    }

    fn describe<Q: JsonSchema, B: FromBody, A: Answer>(&mut self, path: &str, about: About) -> (bool, Value) {
        let mut parameters = self.schemas.path_parameters(path);
        let query = self.schemas.query_parameters::<Q>();
        let has_query = !query.is_empty();
        parameters.extend(query);
        let mut responses = Map::new();
        for (status, response) in A::describe(&mut self.schemas) {
            responses.insert(status.to_string(), response);
        }
        let problem = self.schemas.of::<ProblemJson>();
        let words = "It could not be done: `code` says why.";
        let content = json!({"application/problem+json": {"schema": problem}});
        responses.insert("default".to_owned(), json!({"description": words, "content": content}));
        let mut operation = json!({
            "operationId": about.0, "summary": about.1, "parameters": parameters, "responses": responses,
        });
        if let Some(body) = B::describe(&mut self.schemas) {
            operation["requestBody"] = body;
        }
        (has_query, operation)
    }

    /// What answers, and the description of it.
    pub(super) fn finish(self) -> (Router<Arc<Shared>>, Vec<u8>) {
        let document = json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Pinfold",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "Runs other people's code on a Linux host in native sandboxes.",
            },
            "paths": self.paths,
            "security": [{"token": []}],
            "components": {
                "schemas": self.schemas.finish(),
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            },
        });
        (self.router, document.to_string().into_bytes())
    }
}

/// Reads what a route needs, and asks it.
async fn ask<Q, B, A, F, Fut>(
    shared: &Arc<Shared>,
    caller: Caller,
    parameters: &RawPathParams,
    request: Request,
    route: F,
    has_query: bool,
) -> Result<A, Problem>
where
    Q: DeserializeOwned,
    B: FromBody,
    F: Fn(Call, Q, B) -> Fut,
    Fut: Future<Output = Result<A, Problem>>,
{
    let parameters = parameters.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let call = Call::new(shared.clone(), caller, request.headers().clone(), parameters);
    let text = request.uri().query().unwrap_or_default();
    if !has_query && !text.is_empty() {
        return Err(Problem::invalid("this route takes no query"));
    }
    let query = serde_urlencoded::from_str(text).map_err(|error| Problem::invalid(format!("the query: {error}")))?;
    let (body, _memory) = B::read(request, shared).await?;
    route(call, query, body).await
}
