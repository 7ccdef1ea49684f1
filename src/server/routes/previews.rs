//! Previews: secrets by which what projects show can be seen. Here they are made and revoked; what they show is at origins of
//! their own.

use crate::server::answer::{Data, Done};
use crate::server::api::{About, Api};
use crate::server::body::{Json, NoQuery, Nothing};
use crate::server::call::Call;
use crate::server::problem::Problem;
use crate::server::schema;
use axum::http::{Method, StatusCode};
use pinfold::build::Preview;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const ALL: &str = "/v1/previews";
/// How long one lasts where nobody says, and at most, in seconds.
const LASTS: u64 = 7 * 24 * 3600;
const LONGEST: u64 = 366 * 24 * 3600;
/// How many of an owner are remembered.
const MOST: usize = 10_000;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct New {
    /// The project to show: what it shows now, and later.
    project: String,
    /// Only what this build of it made, whatever the project shows later.
    build: Option<String>,
    /// After how long it ends (7 days, if it is left out).
    #[schemars(range(min = 1, max = 31_622_400))]
    expires_seconds: Option<u64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Of {
    /// Of this project only.
    project: Option<String>,
}

/// A preview that was made.
#[derive(Debug, Serialize, JsonSchema)]
struct Opened {
    /// Its `id`, `project`, `build`, `created_us`, `expires_us`, `revoked_us`.
    #[schemars(schema_with = "schema::object")]
    preview: Preview,
    /// The secret, which is told this once.
    token: String,
    /// Where it is shown.
    url: String,
    /// Where this server leads there from.
    path: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Previews {
    /// Each with its `id`, `project`, `build`, `created_us`, `expires_us`, `revoked_us`.
    #[schemars(schema_with = "schema::objects")]
    previews: Vec<Preview>,
}

pub(in crate::server) fn add(api: &mut Api) {
    api.add(&Method::GET, ALL, About("listPreviews", "The previews, the newest first"), list);
    api.add(&Method::POST, ALL, About("openPreview", "Make a preview of what a project shows"), open);
    api.add(&Method::DELETE, "/v1/previews/{preview}", About("revokePreview", "End a preview for ever"), revoke);
}

async fn list(call: Call, of: Of, _: Nothing) -> Result<Data<Previews>, Problem> {
    call.blocking(move |shared, owner| {
        Ok(Data(Previews { previews: shared.builds.previews(&owner.builds, of.project.as_deref())? }))
    })
    .await
}

async fn open(call: Call, _: NoQuery, Json(new): Json<New>) -> Result<Data<Opened>, Problem> {
    let lasts = Problem::unless_within("expires_seconds", new.expires_seconds, 1..=LONGEST)?.unwrap_or(LASTS);
    let _alone = call.owner.making.lock().await;
    call.blocking(move |shared, owner| {
        if shared.builds.previews(&owner.builds, None)?.len() >= MOST {
            let words = format!("{MOST} previews were made, and no more may be");
            return Err(Problem::new(StatusCode::CONFLICT, "limit", words));
        }
        let (build, lasts) = (new.build.as_deref(), Some(Duration::from_secs(lasts)));
        let (preview, token) = shared.builds.open_preview(&owner.builds, &new.project, build, lasts)?;
        let (url, path) = (format!("{}/", shared.previews.origin(&token)), format!("/p/{token}/"));
        Ok(Data(Opened { preview, token, url, path }))
    })
    .await
}

async fn revoke(call: Call, _: NoQuery, _: Nothing) -> Result<Done, Problem> {
    let id = call.parameter("preview").to_owned();
    call.blocking(move |shared, owner| {
        shared.builds.revoke_preview(&owner.builds, &id)?;
        Ok(Done)
    })
    .await
}
