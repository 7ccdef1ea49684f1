//! Builds: handed in, looked at, cancelled and done again. What runs them is a worker, here or elsewhere.

use crate::server::answer::{Data, Done};
use crate::server::api::{About, Api};
use crate::server::body::{Archive, Json, NoQuery, Nothing};
use crate::server::call::Call;
use crate::server::problem::Problem;
use crate::server::schema;
use crate::server::state::{Owner, Shared};
use axum::http::Method;
use pinfold::build::{
    Again, Build, Fault, Filter, Input, InputFile, PhaseResult, Project, SnapshotBounds, State, Submission,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const ALL: &str = "/v1/builds";

/// How many one call tells.
const MOST: u32 = 1000;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Of {
    /// The project. A newer build of it makes older ones stale.
    #[schemars(length(min = 1, max = 100))]
    project: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct New {
    /// The files to build, `pinfold.toml` among them.
    #[serde(default)]
    #[schemars(schema_with = "schema::files")]
    files: Option<Vec<InputFile>>,
    /// Or the workspace whose files are built, as they are now.
    workspace: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Of this project only.
    project: Option<String>,
    /// In this state only.
    state: Option<State>,
    /// At most so many, the newest first (100, if it is left out).
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
    /// Older than this build only: the last one of the list before.
    before: Option<String>,
}

/// A build.
#[derive(Debug, Serialize, JsonSchema)]
struct Told {
    id: String,
    project: String,
    /// The number of its snapshot among those of the project, from 1 on.
    sequence: u64,
    snapshot: String,
    state: State,
    /// The kind of project that it was taken for: npm, cargo, …
    kind: Option<String>,
    /// The names of its phases, in order.
    planned: Vec<String>,
    /// The build that it is a retry of.
    retry_of: Option<String>,
    /// How often a worker took it.
    attempt: u32,
    /// How often one may, when workers are lost.
    attempts: u32,
    /// The phase that runs, or ran last.
    phase: Option<String>,
    cancel_requested: bool,
    /// When it was handed in, in microseconds since 1970.
    created_us: i64,
    started_us: Option<i64>,
    finished_us: Option<i64>,
    /// The phases of its last attempt that have ended.
    #[schemars(schema_with = "schema::objects")]
    phases: Vec<PhaseResult>,
    /// The id of what it made, if it succeeded.
    artifact: Option<String>,
    /// Why it did not succeed.
    error: Option<Why>,
    /// How many rows its log has.
    log_rows: u64,
    /// Whether its log is cut.
    log_truncated: bool,
}

/// Why a build did not succeed.
#[derive(Debug, Serialize, JsonSchema)]
struct Why {
    /// A word that stays the same.
    code: String,
    message: String,
    hint: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Builds {
    builds: Vec<Told>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Projects {
    /// Each with its `name`, how many `snapshots` it has had, and the `active` build that it shows.
    #[schemars(schema_with = "schema::objects")]
    projects: Vec<Project>,
    /// How many bytes all builds hold: snapshots, artifacts and logs.
    stored_bytes: u64,
    /// How many they may.
    max_stored_bytes: u64,
}

pub(in crate::server) fn add(api: &mut Api) {
    api.add(&Method::GET, "/v1/projects", About("listProjects", "The projects, and what each shows"), projects);
    let about = About("removeProject", "Remove a project, its builds and what it shows");
    api.add(&Method::DELETE, "/v1/projects/{project}", about, remove_project);
    api.add(&Method::GET, ALL, About("listBuilds", "The builds, the newest first"), list);
    api.add(&Method::POST, ALL, About("build", "Build files, or a workspace"), submit);
    api.add(&Method::POST, "/v1/builds/archive", About("buildArchive", "Build a tar archive"), submit_archive);
    api.add(&Method::GET, "/v1/builds/{build}", About("showBuild", "A build"), show);
    api.add(&Method::POST, "/v1/builds/{build}/cancel", About("cancelBuild", "Cancel a build"), cancel);
    let about = About("retryBuild", "Build the same snapshot again, as a new build");
    api.add(&Method::POST, "/v1/builds/{build}/retry", about, retry);
}

impl Told {
    fn of(build: Build) -> Self {
        Self {
            id: build.id,
            project: build.project,
            sequence: build.sequence,
            snapshot: build.snapshot,
            state: build.state,
            kind: build.plan.kind,
            planned: build.plan.phases.into_iter().map(|phase| phase.name).collect(),
            retry_of: build.retry_of,
            attempt: build.attempt,
            attempts: build.attempts,
            phase: build.phase,
            cancel_requested: build.cancel_requested,
            created_us: build.created_us,
            started_us: build.started_us,
            finished_us: build.finished_us,
            phases: build.phases,
            artifact: build.artifact,
            error: build.error.map(Why::of),
            log_rows: build.log_rows,
            log_truncated: build.log_truncated,
        }
    }
}

impl Why {
    /// What the disk or the store refused is the operator's to know.
    fn of(fault: Fault) -> Self {
        let Fault { code, message, hint } = fault;
        match code.as_str() {
            "io" | "store" | "newer_store" => {
                let message = "the server could not do it; its operator can see why".to_owned();
                Self { code, message, hint: None }
            }
            _ => Self { code, message, hint },
        }
    }
}

async fn projects(call: Call, _: NoQuery, _: Nothing) -> Result<Data<Projects>, Problem> {
    call.blocking(|shared, owner| {
        let (projects, stored_bytes) = (shared.builds.projects(&owner.builds)?, shared.builds.stored(&owner.builds)?);
        Ok(Data(Projects { projects, stored_bytes, max_stored_bytes: shared.settings.max_stored }))
    })
    .await
}

async fn remove_project(call: Call, _: NoQuery, _: Nothing) -> Result<Done, Problem> {
    let project = call.parameter("project").to_owned();
    call.blocking(move |shared, owner| {
        shared.builds.forget_project(&owner.builds, &project)?;
        Ok(Done)
    })
    .await
}

async fn list(call: Call, which: Which, _: Nothing) -> Result<Data<Builds>, Problem> {
    let limit = Problem::unless_within("limit", which.limit, 1..=MOST)?.unwrap_or(0);
    let filter = Filter { project: which.project, state: which.state, limit, before: which.before };
    call.blocking(move |shared, owner| {
        let builds = shared.builds.list(&owner.builds, &filter)?.into_iter().map(Told::of).collect();
        Ok(Data(Builds { builds }))
    })
    .await
}

fn hand_in(shared: &Shared, owner: &Owner, project: &str, input: Input<'_>) -> Result<Data<Told>, Problem> {
    let mut submission = Submission::new(input, shared.grants.policy()?);
    submission.bounds = SnapshotBounds { bytes: shared.settings.max_archive, ..submission.bounds };
    (submission.waiting, submission.stored) = (shared.settings.max_builds, Some(shared.settings.max_stored));
    Ok(Data(Told::of(shared.builds.submit(&owner.builds, project, submission)?)))
}

async fn submit(call: Call, of: Of, Json(new): Json<New>) -> Result<Data<Told>, Problem> {
    let workspace = new.workspace.as_deref().map(|id| call.owner.workspace(id)).transpose()?;
    call.blocking(move |shared, owner| {
        let input = match (new.files, workspace) {
            (Some(files), None) => Input::Files(files),
            (None, Some(id)) => Input::Workspace(id),
            _ => return Err(Problem::invalid("give `files` or `workspace`, and not both").at("files")),
        };
        hand_in(shared, owner, &of.project, input)
    })
    .await
}

async fn submit_archive(call: Call, of: Of, Archive(mut archive): Archive) -> Result<Data<Told>, Problem> {
    let _share = call.stream()?;
    call.blocking(move |shared, owner| hand_in(shared, owner, &of.project, Input::Tar(&mut archive))).await
}

async fn show(call: Call, _: NoQuery, _: Nothing) -> Result<Data<Told>, Problem> {
    let id = call.parameter("build").to_owned();
    call.blocking(move |shared, owner| Ok(Data(Told::of(shared.builds.get(&owner.builds, &id)?)))).await
}

async fn cancel(call: Call, _: NoQuery, _: Nothing) -> Result<Data<Told>, Problem> {
    let id = call.parameter("build").to_owned();
    call.blocking(move |shared, owner| Ok(Data(Told::of(shared.builds.cancel(&owner.builds, &id)?)))).await
}

async fn retry(call: Call, _: NoQuery, _: Nothing) -> Result<Data<Told>, Problem> {
    let id = call.parameter("build").to_owned();
    call.blocking(move |shared, owner| {
        // What was granted once may be more than is granted now.
        let policy = shared.grants.policy()?;
        if !shared.builds.get(&owner.builds, &id)?.plan.is_within(policy) {
            let words = "the build was granted more than there is now";
            return Err(Problem::not_allowed("build", words).hint("hand its files in as a new build"));
        }
        let (waiting, stored) = (shared.settings.max_builds, Some(shared.settings.max_stored));
        let again = Again { attempts: Some(policy.attempts), waiting, stored };
        Ok(Data(Told::of(shared.builds.retry(&owner.builds, &id, again)?)))
    })
    .await
}
