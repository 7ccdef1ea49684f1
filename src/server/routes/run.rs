//! One command in a fresh sandbox: a job of the contract in, its result out.

use crate::server::answer::Data;
use crate::server::api::{About, Api};
use crate::server::body::JobJson;
use crate::server::call::Call;
use crate::server::policy::For;
use crate::server::problem::Problem;
use crate::server::schema;
use axum::http::Method;
use pinfold::workspace::InUse;
use pinfold::{Job, Outcome};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Where {
    /// Work in this workspace, which keeps what is written, instead of an empty one.
    workspace: Option<String>,
}

/// The result of a job.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Ran(#[schemars(schema_with = "schema::outcome")] pub(super) Outcome);

pub(in crate::server) fn add(api: &mut Api) {
    api.add(&Method::POST, "/v1/run", About("run", "Run a command in a fresh sandbox"), run);
}

async fn run(call: Call, query: Where, JobJson(json): JobJson) -> Result<Data<Ran>, Problem> {
    let job = call.shared.policy.job(&json, For::Run)?;
    drop(json);
    let _share = call.command()?;
    let (job, _in_use) = claimed(&call, query, job).await?;
    Ok(Data(Ran(call.shared.pinfold.run(job).await?)))
}

/// The job in the workspace that it is to work in, if one is named, which it keeps for as long as the claim lives.
pub(super) async fn claimed(call: &Call, query: Where, mut job: Job) -> Result<(Job, Option<InUse>), Problem> {
    let Some(workspace) = query.workspace else { return Ok((job, None)) };
    let id = call.owner.workspace(&workspace)?;
    call.blocking(move |shared, _| {
        let in_use = shared.store.open(&id)?;
        shared.policy.limit_in(in_use.quota(), &mut job);
        in_use.put_into(&mut job)?;
        Ok((job, Some(in_use)))
    })
    .await
}
