//! Sandboxes that stay until they are stopped or nobody uses them, and commands in them.

use super::run::Ran;
use crate::server::answer::{Data, Done, Made};
use crate::server::api::{About, Api};
use crate::server::body::{JobJson, Json, NoQuery, Nothing};
use crate::server::call::Call;
use crate::server::policy::For;
use crate::server::problem::Problem;
use crate::server::schema;
use crate::server::state::{Owner, Shared};
use axum::http::{Method, StatusCode};
use pinfold::held::{Held, Listed, Name, Record, Spec, Stats, command};
use pinfold::{Content, Cwd};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;

const ALL: &str = "/v1/sandboxes";
const ONE: &str = "/v1/sandboxes/{sandbox}";
const EXEC: &str = "/v1/sandboxes/{sandbox}/exec";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Start {
    /// Make this workspace its own.
    workspace: Option<String>,
    /// It ends when nobody used it for so long; the operator's limit holds where that is less.
    #[schemars(range(min = 1, max = 31_622_400))]
    idle_seconds: Option<u64>,
    /// It ends when it has lived for so long.
    #[schemars(range(min = 1, max = 31_622_400))]
    ttl_seconds: Option<u64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Look {
    /// Also what its workspace takes, for which every file is looked at.
    #[serde(default)]
    usage: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Stop {
    /// Only if nobody has used it for so long.
    #[schemars(range(min = 0, max = 31_622_400))]
    idle_seconds: Option<u64>,
}

/// A sandbox.
#[derive(Debug, Serialize, JsonSchema)]
struct Sandbox {
    name: String,
    /// An id that no other sandbox ever had.
    id: String,
    /// The workspace that it works in, if that is one that stays.
    workspace: Option<String>,
    /// When it was started, in milliseconds since 1970.
    created_ms: u64,
    /// What is enforced.
    #[schemars(schema_with = "schema::object")]
    isolation: pinfold::Isolation,
    /// What it does and uses now; null where its keeper does not answer in time.
    stats: Option<Usage>,
    /// What its workspace takes, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Taken>,
}

/// What files take.
#[derive(Debug, Serialize, JsonSchema)]
struct Taken {
    bytes: u64,
    inodes: u64,
}

/// What a sandbox does and uses now.
#[derive(Debug, Serialize, JsonSchema)]
struct Usage {
    uptime_ms: u64,
    /// For how long nobody has used it.
    idle_ms: u64,
    /// Whether a command runs or somebody is attached.
    is_active: bool,
    /// Commands that run.
    running: u64,
    /// Commands that were ever started.
    started: u64,
    /// Clients that are attached to a terminal.
    attached: u64,
    idle_limit_ms: Option<u64>,
    ttl_ms: Option<u64>,
    /// Memory, processes and CPU time, where they are measured.
    #[schemars(schema_with = "schema::object")]
    figures: Value,
}

#[derive(Debug, Serialize, JsonSchema)]
struct All {
    sandboxes: Vec<Sandbox>,
    /// How many there may be.
    most: usize,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Exec {
    /// The command and its arguments.
    #[schemars(length(min = 1))]
    command: Vec<String>,
    /// Variables beside those of the sandbox.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Where it starts: absolute, or relative to the workspace.
    cwd: Option<String>,
    /// What it reads on stdin.
    #[serde(default)]
    #[schemars(schema_with = "schema::content")]
    stdin: Content,
    /// Limits of its own, beside the sandbox's.
    #[serde(default)]
    #[schemars(schema_with = "schema::limits")]
    limits: Map<String, Value>,
}

/// A command that nobody waits for.
#[derive(Debug, Serialize, JsonSchema)]
struct Detached {
    /// Its number in the log.
    number: u64,
}

pub(in crate::server) fn add(api: &mut Api) {
    api.add(&Method::GET, ALL, About("listSandboxes", "The sandboxes that live"), list);
    api.add(&Method::PUT, ONE, About("startSandbox", "Start a sandbox, or get the one of this name"), start);
    api.add(&Method::GET, ONE, About("showSandbox", "A sandbox, and what it uses"), show);
    api.add(&Method::DELETE, ONE, About("stopSandbox", "End a sandbox with all that runs in it"), stop);
    api.add(&Method::POST, EXEC, About("exec", "Run a command in a sandbox"), exec);
    let about = About("detach", "Start a command that goes on by itself; the log has what it writes");
    api.add(&Method::POST, "/v1/sandboxes/{sandbox}/detached", about, detach);
}

impl Sandbox {
    fn of(owner: &Owner, record: &Record, stats: Option<Stats>) -> Option<Self> {
        Some(Self {
            name: owner.own_sandbox(record.name.as_str())?.to_owned(),
            id: record.id.clone(),
            workspace: record.workspace().and_then(|id| owner.own_workspace(id)).map(str::to_owned),
            created_ms: record.created_ms,
            isolation: record.isolation.clone(),
            files: None,
            stats: stats.map(|stats| Usage {
                uptime_ms: stats.uptime_ms,
                idle_ms: stats.idle_ms,
                is_active: stats.is_active,
                running: stats.running,
                started: stats.started,
                attached: stats.attached,
                idle_limit_ms: stats.idle_limit_ms,
                ttl_ms: stats.ttl_ms,
                figures: serde_json::to_value(stats.figures.unwrap_or_default()).unwrap_or_default(),
            }),
        })
    }

    fn held(owner: &Owner, held: &Held) -> Result<Self, Problem> {
        let stats = held.stats()?;
        Self::of(owner, held.record(), Some(stats)).ok_or_else(nobodys)
    }
}

fn nobodys() -> Problem {
    Problem::ours("owner", "a sandbox of another owner was found")
}

fn living(shared: &Shared, owner: &Owner) -> Result<Vec<Sandbox>, Problem> {
    let all = shared.sandboxes.list()?.into_iter().filter_map(|listed| match listed {
        Listed::Sandbox(record, stats) => Sandbox::of(owner, &record, stats.map(|stats| *stats)),
        Listed::Broken(_) => None,
    });
    Ok(all.collect())
}

async fn list(call: Call, _: NoQuery, _: Nothing) -> Result<Data<All>, Problem> {
    let most = call.shared.settings.max_sandboxes;
    let sandboxes = call.blocking(living).await?;
    Ok(Data(All { sandboxes, most }))
}

async fn start(call: Call, query: Start, JobJson(json): JobJson) -> Result<Made<Sandbox>, Problem> {
    let name = call.owner.sandbox(call.parameter("sandbox"))?;
    let job = call.shared.policy.job(&json, For::Held)?;
    let most = call.shared.settings.idle;
    let seconds = |field: &str, asked| {
        let asked = Problem::unless_within(field, asked, 1..=31_622_400)?;
        Ok::<_, Problem>(asked.map(Duration::from_secs))
    };
    let idle = seconds("idle_seconds", query.idle_seconds)?.unwrap_or(most).min(most);
    let mut spec = Spec::default().like(job).idle(idle);
    spec.name = Some(name.clone());
    if let Some(limit) = seconds("ttl_seconds", query.ttl_seconds)? {
        spec = spec.ttl(limit);
    }
    let workspace = query.workspace.map(|workspace| call.owner.workspace(&workspace)).transpose()?;
    // It goes on when nobody waits any more: what is there then is listed, and ends when nobody uses it.
    let task = tokio::spawn(async move {
        let _alone = call.owner.making.lock().await;
        call.blocking(move |shared, owner| {
            if let Some(id) = workspace {
                let quota = shared.store.show(&id)?.quota;
                shared.policy.limit_in(quota, &mut spec.job);
                spec = spec.in_workspace(&shared.store, id).with_checkpoints();
            }
            let _turn = owner.turn(&shared.runtime)?;
            room(shared, owner, &name)?;
            let (held, is_new) = shared.sandboxes.get_or_create(&spec)?;
            Ok(Made { is_new, it: Sandbox::held(owner, &held)? })
        })
        .await
    });
    task.await.unwrap_or_else(|error| Err(Problem::ours("panic", error.to_string())))
}

/// Refuses one more than there may be.
fn room(shared: &Shared, owner: &Owner, name: &Name) -> Result<(), Problem> {
    let (all, most) = (living(shared, owner)?, shared.settings.max_sandboxes);
    let is_there = all.iter().any(|sandbox| owner.own_sandbox(name.as_str()) == Some(&sandbox.name));
    if is_there || all.len() < most {
        return Ok(());
    }
    let words = format!("{} sandboxes live, and {most} are allowed", all.len());
    Err(Problem::new(StatusCode::CONFLICT, "limit", words).hint("stop one first"))
}

async fn show(call: Call, look: Look, _: Nothing) -> Result<Data<Sandbox>, Problem> {
    let held = call.held().await?;
    call.blocking(move |_, owner| {
        let mut sandbox = Sandbox::held(owner, &held)?;
        if look.usage {
            let usage = held.workspace_usage()?;
            sandbox.files = Some(Taken { bytes: usage.bytes, inodes: usage.inodes });
        }
        Ok(Data(sandbox))
    })
    .await
}

async fn stop(call: Call, stop: Stop, _: Nothing) -> Result<Done, Problem> {
    let name = call.owner.sandbox(call.parameter("sandbox"))?;
    let idle = Problem::unless_within("idle_seconds", stop.idle_seconds, 0..=31_622_400)?.map(Duration::from_secs);
    call.blocking(move |shared, _| {
        let Some(idle) = idle else {
            shared.sandboxes.stop(name.as_str())?;
            return Ok(Done);
        };
        match shared.sandboxes.get(name.as_str()) {
            Ok(held) if !held.stop_if_idle(idle)? => {
                let words = "it is in use, or was used since";
                Err(Problem::new(StatusCode::CONFLICT, "busy", words))
            }
            Ok(_) | Err(pinfold::held::Error::NotFound { .. }) => Ok(Done),
            Err(error) => Err(error.into()),
        }
    })
    .await
}

async fn exec(call: Call, _: NoQuery, Json(exec): Json<Exec>) -> Result<Data<Ran>, Problem> {
    let job = job(&call, exec)?;
    let _share = call.command()?;
    let held = call.held().await?;
    Ok(Data(Ran(held.exec(job).await?)))
}

async fn detach(call: Call, _: NoQuery, Json(exec): Json<Exec>) -> Result<Data<Detached>, Problem> {
    let job = job(&call, exec)?;
    let held = call.held().await?;
    Ok(Data(Detached { number: held.detach(job).await? }))
}

/// The job of a command in a sandbox.
pub(super) fn job(call: &Call, exec: Exec) -> Result<pinfold::Job, Problem> {
    let built = command(exec.command).build();
    let mut job = built.map_err(|error| Problem::invalid(error.to_string()).at("command"))?;
    job.stdin = exec.stdin;
    if let Some(cwd) = exec.cwd {
        job.cwd = Cwd::try_from(cwd).map_err(|error| Problem::from(error).at("cwd"))?;
    }
    for (name, value) in exec.env {
        job.env.set(name, value).map_err(|error| Problem::from(error).at("env"))?;
    }
    job.limits = call.shared.policy.command_limits(&job.limits, &exec.limits)?;
    Ok(job)
}
