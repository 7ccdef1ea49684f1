//! Pieces of code, and the languages that they may be in.

use crate::server::answer::Data;
use crate::server::api::{About, Api};
use crate::server::body::{Json, NoQuery, Nothing};
use crate::server::call::Call;
use crate::server::problem::Problem;
use crate::server::schema;
use axum::http::Method;
use pinfold::Content;
use pinfold::code::{CodeRequest, CodeResult, Offer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Code {
    /// The language, by any of its names.
    language: String,
    /// The whole program.
    code: String,
    /// What the program reads on stdin.
    #[serde(default)]
    #[schemars(schema_with = "schema::content")]
    stdin: Content,
    /// The program's arguments.
    #[serde(default)]
    args: Vec<String>,
    /// The program's environment.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Files beside the program: relative path to content.
    #[serde(default)]
    #[schemars(schema_with = "schema::object")]
    files: BTreeMap<String, Content>,
    /// End it after so many seconds; the operator's limit holds where that is less.
    #[schemars(range(min = 0.001, max = 86400.0))]
    timeout_seconds: Option<f64>,
}

/// What came of a piece of code.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
struct Ran(#[schemars(schema_with = "schema::object")] CodeResult);

#[derive(Debug, Serialize, JsonSchema)]
struct All {
    /// Each language with its toolchain on this host, or why there is none.
    #[schemars(schema_with = "schema::objects")]
    languages: Vec<Offer>,
}

pub(in crate::server) fn add(api: &mut Api) {
    api.add(&Method::POST, "/v1/code", About("runCode", "Run a piece of code in a fresh sandbox"), run);
    api.add(&Method::GET, "/v1/languages", About("listLanguages", "The languages of this host"), languages);
}

async fn run(call: Call, _: NoQuery, Json(code): Json<Code>) -> Result<Data<Ran>, Problem> {
    let timeout = Problem::unless_time(code.timeout_seconds)?;
    let request = CodeRequest {
        language: code.language,
        code: code.code,
        stdin: code.stdin,
        args: code.args,
        env_vars: code.env,
        files: code.files,
        timeout,
        ..CodeRequest::default()
    };
    let _share = call.command()?;
    Ok(Data(Ran(call.shared.executor.execute(request).await?)))
}

async fn languages(call: Call, _: NoQuery, _: Nothing) -> Result<Data<All>, Problem> {
    // It starts every toolchain to ask for its version.
    let _share = call.command()?;
    let offers = call.blocking(|shared, _| Ok(shared.languages.offers()));
    let mut languages = offers.await?;
    let allowed = &call.shared.settings.allowed_languages;
    languages.retain(|offer| allowed.is_empty() || allowed.contains(&offer.name));
    Ok(Data(All { languages }))
}
