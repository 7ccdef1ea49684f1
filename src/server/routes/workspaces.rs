//! Workspaces, which outlive sandboxes and the server.

use crate::server::answer::{Data, Done, Made};
use crate::server::api::{About, Api};
use crate::server::body::{Json, NoQuery, Nothing};
use crate::server::call::Call;
use crate::server::problem::Problem;
use crate::server::state::{Owner, Shared};
use axum::http::{Method, StatusCode};
use pinfold::workspace::{Error, Info, Listed, Quota};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const ALL: &str = "/v1/workspaces";
const ONE: &str = "/v1/workspaces/{workspace}";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct New {
    /// How much it may hold, in bytes; the operator's limit, if it is left out.
    #[schemars(range(min = 4096))]
    max_bytes: Option<u64>,
    /// How many files, directories and links.
    #[schemars(range(min = 1))]
    max_inodes: Option<u64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Look {
    /// Also what it takes, for which every file is looked at.
    #[serde(default)]
    usage: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Removing {
    /// Also when holders refer to it, and with the sandboxes that work in it.
    #[serde(default)]
    force: bool,
}

/// A workspace.
#[derive(Debug, Serialize, JsonSchema)]
struct Workspace {
    id: String,
    /// Whether it has checkpoints, or is ready for them.
    has_checkpoints: bool,
    /// Who refers to it, so that it is not removed.
    holders: Vec<String>,
    /// How many more do that the operator of the server named.
    operators_holders: usize,
    /// How much it may hold.
    max_bytes: Option<u64>,
    max_inodes: Option<u64>,
    /// What it takes, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inodes: Option<u64>,
    /// In milliseconds since 1970.
    created_ms: u64,
    /// When somebody last worked in it, in milliseconds since 1970.
    last_used_ms: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct All {
    workspaces: Vec<Workspace>,
    /// How many there may be.
    most: usize,
}

pub(in crate::server) fn add(api: &mut Api) {
    api.add(&Method::GET, ALL, About("listWorkspaces", "The workspaces"), list);
    api.add(&Method::PUT, ONE, About("createWorkspace", "Make a workspace, or get the one of this id"), create);
    api.add(&Method::GET, ONE, About("showWorkspace", "A workspace"), show);
    api.add(
        &Method::DELETE,
        ONE,
        About("removeWorkspace", "Remove a workspace with its files and checkpoints"),
        remove,
    );
}

impl Workspace {
    fn of(owner: &Owner, info: &Info) -> Option<Self> {
        let holders: Vec<_> = info.holders.iter().filter_map(|holder| owner.own_holder(holder)).collect();
        Some(Self {
            id: owner.own_workspace(&info.id)?.to_owned(),
            has_checkpoints: info.has_layers,
            operators_holders: info.holders.len() - holders.len(),
            holders: holders.into_iter().map(str::to_owned).collect(),
            max_bytes: info.quota.bytes,
            max_inodes: info.quota.inodes,
            bytes: None,
            inodes: None,
            created_ms: info.created_ms,
            last_used_ms: info.last_used_ms,
        })
    }

    fn found(shared: &Shared, owner: &Owner, id: &str) -> Result<Self, Problem> {
        let info = shared.store.show(id)?;
        Self::of(owner, &info).ok_or_else(|| Problem::ours("owner", "a workspace of another owner was found"))
    }
}

fn own(shared: &Shared, owner: &Owner) -> Result<Vec<Workspace>, Problem> {
    let all = shared.store.list()?.into_iter().filter_map(|listed| match listed {
        Listed::Workspace(info) => Workspace::of(owner, &info),
        Listed::Broken { .. } => None,
    });
    Ok(all.collect())
}

async fn list(call: Call, _: NoQuery, _: Nothing) -> Result<Data<All>, Problem> {
    let most = call.shared.settings.max_workspaces;
    let workspaces = call.blocking(own).await?;
    Ok(Data(All { workspaces, most }))
}

/// Refuses one more than there may be. True if it is there.
pub(super) fn room(shared: &Shared, owner: &Owner, id: &str) -> Result<bool, Problem> {
    match shared.store.show(id) {
        Ok(_) => return Ok(true),
        Err(Error::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let (count, most) = (own(shared, owner)?.len(), shared.settings.max_workspaces);
    if count < most {
        return Ok(false);
    }
    let words = format!("there are {count} workspaces, and {most} are allowed");
    Err(Problem::new(StatusCode::CONFLICT, "limit", words).hint("remove one first"))
}

async fn create(call: Call, _: NoQuery, Json(new): Json<New>) -> Result<Made<Workspace>, Problem> {
    let id = call.workspace()?;
    let most = call.shared.policy.quota();
    let within = |field: &str, asked: Option<u64>, most: Option<u64>| match (asked, most) {
        (Some(asked), Some(most)) if asked > most => {
            Err(Problem::not_allowed(field, format!("it is {asked}, and at most {most} is allowed here")))
        }
        (asked, most) => Ok(asked.or(most)),
    };
    Problem::unless_within("max_bytes", new.max_bytes, 4096..=u64::MAX)?;
    Problem::unless_within("max_inodes", new.max_inodes, 1..=u64::MAX)?;
    let is_asked = new.max_bytes.is_some() || new.max_inodes.is_some();
    let bytes = within("max_bytes", new.max_bytes, most.bytes)?;
    let inodes = within("max_inodes", new.max_inodes, most.inodes)?;
    let _alone = call.owner.making.lock().await;
    call.blocking(move |shared, owner| {
        let _turn = owner.turn(shared.store.state())?;
        let is_there = room(shared, owner, &id)?;
        // Of one that is there nothing changes that nobody asks for.
        shared.store.create(&id, (is_asked || !is_there).then_some(Quota { bytes, inodes }))?;
        Ok(Made { is_new: !is_there, it: Workspace::found(shared, owner, &id)? })
    })
    .await
}

async fn show(call: Call, look: Look, _: Nothing) -> Result<Data<Workspace>, Problem> {
    let id = call.workspace()?;
    call.blocking(move |shared, owner| {
        let mut workspace = Workspace::found(shared, owner, &id)?;
        if look.usage {
            let usage = shared.store.usage(&id)?;
            (workspace.bytes, workspace.inodes) = (Some(usage.bytes), Some(usage.inodes));
        }
        Ok(Data(workspace))
    })
    .await
}

async fn remove(call: Call, removing: Removing, _: Nothing) -> Result<Done, Problem> {
    let id = call.workspace()?;
    call.blocking(move |shared, owner| {
        for held in shared.sandboxes.in_workspace(shared.store.state(), &id)? {
            match owner.own_sandbox(held.name()) {
                Some(_) if removing.force => drop(held.stop()?),
                name => {
                    let words = format!("sandbox `{}` works in it", name.unwrap_or_default());
                    return Err(Problem::new(StatusCode::CONFLICT, "busy", words).hint("stop it first"));
                }
            }
        }
        let gives_up = |holder: &str| removing.force && owner.own_holder(holder).is_some();
        match shared.store.remove_if_given_up(&id, gives_up) {
            Err(Error::ReferencesHeld { holders, .. }) => Err(held_by(owner, &holders)),
            removed => Ok(removed.map(|()| Done)?),
        }
    })
    .await
}

/// Why it stays. Of holders that the operator named no more is told than how many they are.
fn held_by(owner: &Owner, holders: &[String]) -> Problem {
    let own: Vec<_> = holders.iter().filter_map(|holder| owner.own_holder(holder)).collect();
    let others = holders.len() - own.len();
    let mut all: Vec<_> = own.iter().map(|holder| format!("`{holder}`")).collect();
    if others > 0 {
        all.push(format!("{others} that the operator named"));
    }
    let words = format!("the workspace is held by {}", all.join(", "));
    let problem = Problem::new(StatusCode::CONFLICT, "references_held", words);
    match others {
        0 => problem.hint("give the references up, or say `force=true`"),
        _ => problem.hint("the operator gives those up"),
    }
}
