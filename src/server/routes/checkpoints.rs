//! Checkpoints of workspaces: a way back, and a way aside.

use super::file::base64;
use super::saving::{Save, Which};
use super::workspaces::room;
use crate::server::answer::{Data, Done};
use crate::server::api::{About, Api};
use crate::server::body::{Json, NoQuery, Nothing};
use crate::server::call::Call;
use crate::server::problem::Problem;
use crate::server::schema;
use axum::http::{Method, StatusCode};
use pinfold::checkpoint::Checkpoint;
use pinfold::workspace::{Mechanism, Saved};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// How many changes are told of.
const MOST: usize = 10_000;

const ALL: &str = "/v1/workspaces/{workspace}/checkpoints";
const ONE: &str = "/v1/workspaces/{workspace}/checkpoints/{checkpoint}";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Between {
    /// From this checkpoint; the one that the files go on from, if it is left out.
    from: Option<String>,
    /// To this one; the files as they are now, if it is left out.
    to: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Back {
    /// What is not saved is given up, rather than saved first.
    #[serde(default)]
    discard: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fork {
    /// The id of the new workspace.
    to: String,
    /// The checkpoint that it begins with; the files as they are, if it is left out.
    checkpoint: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Told {
    #[schemars(schema_with = "schema::object")]
    checkpoint: Checkpoint,
    /// What was saved before, because it was not saved yet.
    #[schemars(schema_with = "schema::object")]
    #[serde(skip_serializing_if = "Option::is_none")]
    saved_before: Option<Checkpoint>,
    /// By what the files are kept apart from those of checkpoints: `overlay` or `copy`.
    #[schemars(schema_with = "schema::word")]
    mechanism: Mechanism,
}

/// A checkpoint of a workspace, or of a thread of states.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct One {
    #[schemars(schema_with = "schema::object")]
    pub(super) checkpoint: Checkpoint,
    /// What the caller saved with it.
    pub(super) state: Value,
}

#[derive(Debug, Serialize, JsonSchema)]
struct All {
    /// The newest first, unless the oldest were asked for.
    #[schemars(schema_with = "schema::objects")]
    checkpoints: Vec<Checkpoint>,
    /// How many are kept; above, the oldest go.
    keep: Option<u64>,
    /// How long each is kept.
    ttl_seconds: Option<u64>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Compacted {
    /// How many layers there are less.
    layers: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Changes {
    changes: Vec<Change>,
    /// Whether there are more.
    more: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Change {
    /// Relative to /workspace; what is not UTF-8 is replaced, and `path_base64` has the bytes.
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    /// added, removed or changed
    change: String,
    is_directory: bool,
}

pub(in crate::server) fn add(api: &mut Api) {
    api.add(&Method::GET, ALL, About("listCheckpoints", "The checkpoints of a workspace"), list);
    api.add(&Method::POST, ALL, About("saveCheckpoint", "Save the files of a workspace as they are"), save);
    api.add(&Method::GET, ONE, About("showCheckpoint", "A checkpoint, and what was saved with it"), show);
    api.add(&Method::DELETE, ONE, About("removeCheckpoint", "Remove a checkpoint"), remove);
    let about = About("rollback", "Make the files of a workspace what they were at a checkpoint");
    api.add(&Method::POST, "/v1/workspaces/{workspace}/checkpoints/{checkpoint}/rollback", about, rollback);
    let about = About("fork", "Make a new workspace of a checkpoint, or of the files as they are");
    api.add(&Method::POST, "/v1/workspaces/{workspace}/fork", about, fork);
    let about = About("compact", "Free what only removed checkpoints of a workspace had");
    api.add(&Method::POST, "/v1/workspaces/{workspace}/compact", about, compact);
    let about = About("diff", "The files that differ between two checkpoints");
    api.add(&Method::GET, "/v1/workspaces/{workspace}/diff", about, diff);
}

fn told(saved: Saved) -> Data<Told> {
    Data(Told { checkpoint: saved.checkpoint, saved_before: saved.automatic, mechanism: saved.mechanism })
}

async fn list(call: Call, which: Which, _: Nothing) -> Result<Data<All>, Problem> {
    let (id, filter) = (call.workspace()?, which.filter()?);
    call.blocking(move |shared, _| {
        let checkpoints = shared.store.checkpoints(&id);
        let kept = checkpoints.retention()?;
        let ttl_seconds = kept.ttl_ms.map(|ttl| ttl / 1000);
        Ok(Data(All { checkpoints: checkpoints.list(filter)?, keep: kept.most, ttl_seconds }))
    })
    .await
}

async fn save(call: Call, _: NoQuery, Json(save): Json<Save>) -> Result<Data<Told>, Problem> {
    let (id, keep) = (call.workspace()?, save.keep()?);
    let new = save.checkpoint()?;
    call.blocking(move |shared, _| {
        let before = || shared.store.checkpoints(&id).retention();
        let retention = keep.map(|keep| before().map(|before| keep.within(before))).transpose()?;
        Ok(told(shared.sandboxes.save(&shared.store, &id, &new, retention)?))
    })
    .await
}

async fn show(call: Call, _: NoQuery, _: Nothing) -> Result<Data<One>, Problem> {
    let (id, checkpoint) = (call.workspace()?, call.parameter("checkpoint").to_owned());
    call.blocking(move |shared, _| {
        let (checkpoint, state) = shared.store.checkpoints(&id).get(&checkpoint)?;
        Ok(Data(One { checkpoint, state }))
    })
    .await
}

async fn remove(call: Call, _: NoQuery, _: Nothing) -> Result<Done, Problem> {
    let (id, checkpoint) = (call.workspace()?, call.parameter("checkpoint").to_owned());
    call.blocking(move |shared, _| Ok(shared.store.checkpoints(&id).remove(&checkpoint)?)).await?;
    Ok(Done)
}

async fn rollback(call: Call, _: NoQuery, Json(back): Json<Back>) -> Result<Data<Told>, Problem> {
    let (id, checkpoint) = (call.workspace()?, call.parameter("checkpoint").to_owned());
    call.blocking(move |shared, _| Ok(told(shared.store.checkpoints(&id).rollback(&checkpoint, back.discard)?))).await
}

async fn fork(call: Call, _: NoQuery, Json(fork): Json<Fork>) -> Result<Data<Told>, Problem> {
    let (id, to) = (call.workspace()?, call.owner.workspace(&fork.to).map_err(|problem| problem.at("to"))?);
    let _alone = call.owner.making.lock().await;
    call.blocking(move |shared, owner| {
        let _turn = owner.turn(shared.store.state())?;
        if room(shared, owner, &to)? {
            return Err(
                Problem::new(StatusCode::CONFLICT, "exists", "there is a workspace of this id already").at("to")
            );
        }
        Ok(told(shared.store.checkpoints(&id).fork(fork.checkpoint.as_deref(), &to)?))
    })
    .await
}

async fn compact(call: Call, _: NoQuery, _: Nothing) -> Result<Data<Compacted>, Problem> {
    let id = call.workspace()?;
    call.blocking(move |shared, _| Ok(Data(Compacted { layers: shared.store.checkpoints(&id).compact()? }))).await
}

async fn diff(call: Call, between: Between, _: Nothing) -> Result<Data<Changes>, Problem> {
    let id = call.workspace()?;
    call.blocking(move |shared, _| {
        let found = shared.store.checkpoints(&id).diff(between.from.as_deref(), between.to.as_deref())?;
        let more = found.len() > MOST;
        let change = |change: pinfold::workspace::Change| Change {
            path: String::from_utf8_lossy(&change.path).into_owned(),
            path_base64: base64(Path::new(OsStr::from_bytes(&change.path))),
            change: serde_json::to_value(change.difference)
                .ok()
                .and_then(|word| Some(word.as_str()?.to_owned()))
                .unwrap_or_default(),
            is_directory: change.is_directory,
        };
        Ok(Data(Changes { changes: found.into_iter().take(MOST).map(change).collect(), more }))
    })
    .await
}
