//! Threads of checkpoints without files: states of a program of the owner's, which is nobody's sandbox, to come back to. Each
//! owner's are in a directory of their own.

use super::checkpoints::One;
use super::saving::{Save, Which};
use crate::server::answer::{Data, Done};
use crate::server::api::{About, Api};
use crate::server::body::{Json, NoQuery, Nothing};
use crate::server::call::Call;
use crate::server::problem::Problem;
use crate::server::schema;
use crate::server::state::{Owner, Shared, plain};
use axum::http::{Method, StatusCode};
use pinfold::checkpoint::{Checkpoint, Disk, Retention, StateChange, Storage, Threads};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const ALL: &str = "/v1/threads";
const THREAD: &str = "/v1/threads/{thread}";
const CHECKPOINTS: &str = "/v1/threads/{thread}/checkpoints";
const ONE: &str = "/v1/threads/{thread}/checkpoints/{checkpoint}";

/// What all states of one thread may take, in bytes of JSON.
const STATES: u64 = 16 << 20;
/// How many differences are told of.
const MOST: usize = 10_000;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Between {
    /// From this checkpoint.
    #[schemars(length(min = 1))]
    from: String,
    /// To this one.
    #[schemars(length(min = 1))]
    to: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Names {
    threads: Vec<String>,
    /// How many there may be.
    most: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
struct All {
    /// The newest first, unless the oldest were asked for.
    #[schemars(schema_with = "schema::objects")]
    checkpoints: Vec<Checkpoint>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Saved {
    #[schemars(schema_with = "schema::object")]
    checkpoint: Checkpoint,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Changes {
    /// Each with its `pointer` (RFC 6901), what it was `from`, and what it is `to`.
    #[schemars(schema_with = "schema::objects")]
    changes: Vec<StateChange>,
    /// Whether there are more.
    more: bool,
}

pub(in crate::server) fn add(api: &mut Api) {
    api.add(&Method::GET, ALL, About("listThreads", "The threads of checkpoints without files"), names);
    api.add(&Method::GET, THREAD, About("latestState", "The newest checkpoint of a thread, with its state"), latest);
    api.add(&Method::DELETE, THREAD, About("removeThread", "Remove a thread with all its checkpoints"), remove_all);
    api.add(&Method::GET, CHECKPOINTS, About("listStates", "The checkpoints of a thread"), list);
    let about = About("saveState", "Save a state as the newest of a thread, which is made if it is not there");
    api.add(&Method::POST, CHECKPOINTS, about, save);
    api.add(&Method::GET, ONE, About("showState", "A checkpoint of a thread, with its state"), show);
    api.add(&Method::DELETE, ONE, About("removeState", "Remove a checkpoint of a thread"), remove);
    let about = About("rollbackThread", "Make an earlier state of a thread the newest again");
    api.add(&Method::POST, "/v1/threads/{thread}/checkpoints/{checkpoint}/rollback", about, rollback);
    let about = About("diffStates", "What two states of a thread differ in");
    api.add(&Method::GET, "/v1/threads/{thread}/diff", about, diff);
}

fn disk(shared: &Shared, owner: &Owner) -> Result<Disk, Problem> {
    Ok(Disk::at(owner.threads(shared.store.state()))?)
}

/// Does something with the thread that the path names. Only where one may be made there need not be one.
async fn with<T: Send + 'static>(
    call: &Call,
    work: impl FnOnce(&Threads<Disk>, &str) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let thread = call.parameter("thread").to_owned();
    plain("a thread's name", &thread)?;
    call.blocking(move |shared, owner| {
        let disk = disk(shared, owner)?;
        if disk.read(&thread)?.is_none() {
            let words = "there is no thread of this name";
            return Err(Problem::new(StatusCode::NOT_FOUND, "not_found", words).hint("the first checkpoint makes it"));
        }
        work(&Threads::new(disk), &thread)
    })
    .await
}

async fn names(call: Call, _: NoQuery, _: Nothing) -> Result<Data<Names>, Problem> {
    let most = call.shared.settings.max_workspaces;
    call.blocking(move |shared, owner| Ok(Data(Names { threads: disk(shared, owner)?.names()?, most }))).await
}

async fn latest(call: Call, _: NoQuery, _: Nothing) -> Result<Data<One>, Problem> {
    with(&call, |threads, thread| {
        let (checkpoint, state) = threads.latest(thread)?;
        Ok(Data(One { checkpoint, state }))
    })
    .await
}

async fn list(call: Call, which: Which, _: Nothing) -> Result<Data<All>, Problem> {
    let filter = which.filter()?;
    with(&call, move |threads, thread| Ok(Data(All { checkpoints: threads.list(thread, filter)? }))).await
}

async fn save(call: Call, _: NoQuery, Json(save): Json<Save>) -> Result<Data<Saved>, Problem> {
    let thread = call.parameter("thread").to_owned();
    plain("a thread's name", &thread)?;
    let usual = Retention { state_bytes: Some(STATES), ..Retention::default() };
    let retention = save.keep()?.map_or(usual, |keep| keep.within(usual));
    let new = save.checkpoint()?;
    let most = call.shared.settings.max_workspaces;
    let _alone = call.owner.making.lock().await;
    call.blocking(move |shared, owner| {
        let _turn = owner.turn(shared.store.state())?;
        let disk = disk(shared, owner)?;
        if disk.read(&thread)?.is_none() && disk.names()?.len() >= most {
            let words = format!("there are {most} threads, and no more are allowed");
            return Err(Problem::new(StatusCode::CONFLICT, "limit", words).hint("remove one first"));
        }
        let threads = Threads::new(disk).with_retention(retention);
        Ok(Data(Saved { checkpoint: threads.save(&thread, &new)? }))
    })
    .await
}

async fn show(call: Call, _: NoQuery, _: Nothing) -> Result<Data<One>, Problem> {
    let id = call.parameter("checkpoint").to_owned();
    with(&call, move |threads, thread| {
        let (checkpoint, state) = threads.get(thread, &id)?;
        Ok(Data(One { checkpoint, state }))
    })
    .await
}

async fn remove(call: Call, _: NoQuery, _: Nothing) -> Result<Done, Problem> {
    let id = call.parameter("checkpoint").to_owned();
    with(&call, move |threads, thread| Ok(threads.remove(thread, &id).map(|()| Done)?)).await
}

async fn remove_all(call: Call, _: NoQuery, _: Nothing) -> Result<Done, Problem> {
    with(&call, |threads, thread| Ok(threads.remove_thread(thread).map(|()| Done)?)).await
}

async fn rollback(call: Call, _: NoQuery, _: Nothing) -> Result<Data<Saved>, Problem> {
    let id = call.parameter("checkpoint").to_owned();
    with(&call, move |threads, thread| Ok(Data(Saved { checkpoint: threads.rollback(thread, &id)? }))).await
}

async fn diff(call: Call, between: Between, _: Nothing) -> Result<Data<Changes>, Problem> {
    with(&call, move |threads, thread| {
        let mut changes = threads.diff(thread, &between.from, &between.to)?;
        let more = changes.len() > MOST;
        changes.truncate(MOST);
        Ok(Data(Changes { changes, more }))
    })
    .await
}
