//! Sandboxes that stay until they are stopped, and commands in them.

use super::answer::{Ran, told};
use super::refusal::Refusal;
use super::run::{SHORT, cwd, shell};
use super::server::Server;
use pinfold::Content;
use pinfold::held::{Deleted, Listed, Name, command};
use rmcp::handler::server::tool::schema_for_output;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::CallToolResult;
use rmcp::service::RequestContext;
use rmcp::{RoleServer, tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Start {
    /// A name of your choice: letters, digits, `.`, `_` and `-`
    name: String,
    /// Work in this workspace, which stays when the sandbox ends, instead of a temporary one
    workspace: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Exec {
    /// The sandbox's name
    sandbox: String,
    /// A line of shell, run by `sh -c`
    command: String,
    /// What it reads on stdin
    #[serde(default)]
    stdin: String,
    /// Variables for this command
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Where it starts: absolute, or relative to /workspace
    cwd: Option<String>,
    /// End it after so many seconds; the operator's limit holds where that is less
    timeout_seconds: Option<f64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Stop {
    /// The sandbox's name
    sandbox: String,
}

/// A sandbox that lives.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Sandbox {
    /// Its name
    name: String,
    /// Its workspace, if that is one that stays
    workspace: Option<String>,
    /// Whether something runs in it
    is_active: bool,
    /// How much memory it uses, in bytes
    memory_bytes: Option<u64>,
    /// How many processes are in it
    processes: Option<u64>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct All {
    sandboxes: Vec<Sandbox>,
    /// How many there may be
    most: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Done {
    /// What was done
    done: String,
}

/// A result that is one sentence.
pub(super) fn done(sentence: impl Into<String>) -> Result<CallToolResult, Refusal> {
    let done = sentence.into();
    told(done.clone(), &Done { done })
}

#[tool_router(router = sandbox_tools, vis = "pub(super)")]
impl Server {
    /// Start a sandbox that keeps its processes and files from one command to the next, until sandbox_stop. One of this
    /// name that lives is kept as it is.
    #[tool(
        output_schema = schema_for_output::<Done>(),
        annotations(title = "Start a sandbox", destructive_hint = false, idempotent_hint = true, open_world_hint = false)
    )]
    async fn sandbox_start(
        &self,
        Parameters(start): Parameters<Start>,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, Refusal> {
        let mut spec = self.bounds.spec();
        spec.name = Some(self.name(&start.name)?);
        if let Some(workspace) = &start.workspace {
            let id = self.workspace(workspace)?;
            let wanted = id.clone();
            let quota = self.blocking(move |shared| Ok(shared.store.show(&wanted)?.quota)).await?;
            self.bounds.limit_in(quota, &mut spec.job);
            spec = spec.in_workspace(&self.store, id).with_checkpoints();
        }
        // It goes on when nobody waits any more: a sandbox that comes of it is then the manager's, and ends with the server.
        let manager = self.manager.clone();
        let creation = tokio::spawn(async move { manager.create(spec).await });
        let created = self.supervise(&context, SHORT, creation).await?;
        let created = created.map_err(|_panicked| Refusal::new("the sandbox could not be started"))?;
        created.map_err(|error| self.as_named(error))?;
        done(format!("sandbox `{}` is there", start.name))
    }

    /// Run a shell command in a sandbox that was started. What it leaves running in the background lives on.
    #[tool(
        output_schema = schema_for_output::<Ran>(),
        annotations(title = "Run a command in a sandbox", destructive_hint = true, open_world_hint = false)
    )]
    async fn sandbox_exec(
        &self,
        Parameters(exec): Parameters<Exec>,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, Refusal> {
        let time = self.bounds.time(exec.timeout_seconds)?;
        let held = self.held(&exec.sandbox).await?;
        let mut job = command(shell(exec.command)).build().map_err(|error| Refusal::new(error.to_string()))?;
        job.stdin = Content::from(exec.stdin);
        if let Some(given) = &exec.cwd {
            job.cwd = cwd(given)?;
        }
        for (name, value) in exec.env {
            job.env.set(name, value).map_err(|error| Refusal::new(format!("`env`: {error}")))?;
        }
        job.limits.wall_ms = time.to_limit();
        job.limits.output_bytes = pinfold::Limit::At(self.bounds.output);
        let outcome = self.supervise(&context, time.limit, held.exec(job)).await?;
        Ran::of(outcome.map_err(|error| self.as_named(error))?, time.limit, time.note)?.into_result()
    }

    /// List the sandboxes that live.
    #[tool(
        output_schema = schema_for_output::<All>(),
        annotations(title = "List sandboxes", read_only_hint = true, open_world_hint = false)
    )]
    async fn sandbox_list(&self) -> Result<CallToolResult, Refusal> {
        let sandboxes = self.blocking(|shared| {
            let living = shared.sandboxes.list()?.into_iter().filter_map(|listed| {
                let Listed::Sandbox(record, stats) = listed else { return None };
                let name = record.name.as_str().strip_prefix(&shared.names)?.to_owned();
                let workspace = record.workspace().and_then(|id| id.strip_prefix(&shared.bounds.prefix));
                let figures = stats.as_ref().and_then(|stats| stats.figures.clone()).unwrap_or_default();
                Some(Sandbox {
                    name,
                    workspace: workspace.map(str::to_owned),
                    is_active: stats.is_some_and(|stats| stats.is_active),
                    memory_bytes: figures.memory_bytes,
                    processes: figures.pids,
                })
            });
            Ok(living.collect::<Vec<_>>())
        });
        let all = All { sandboxes: sandboxes.await?, most: self.bounds.max_sandboxes };
        let lines = all.sandboxes.iter().map(|sandbox| {
            let place = sandbox.workspace.as_ref().map(|id| format!(", in workspace `{id}`")).unwrap_or_default();
            let state = if sandbox.is_active { "at work" } else { "idle" };
            format!("{}: {state}{place}\n", sandbox.name)
        });
        let text = lines.collect::<String>();
        told(if text.is_empty() { "there are no sandboxes\n".to_owned() } else { text }, &all)
    }

    /// End a sandbox with all that runs in it. Its workspace is gone, unless it is one that stays.
    #[tool(
        output_schema = schema_for_output::<Done>(),
        annotations(title = "Stop a sandbox", destructive_hint = true, idempotent_hint = true, open_world_hint = false)
    )]
    async fn sandbox_stop(&self, Parameters(stop): Parameters<Stop>) -> Result<CallToolResult, Refusal> {
        let name: Name = self.name(&stop.sandbox)?;
        let deleted = self.manager.delete(name.as_str()).await.map_err(|error| self.as_named(error))?;
        done(match deleted {
            Deleted::AlreadyGone => format!("there is no sandbox `{}`", stop.sandbox),
            _ => format!("sandbox `{}` has ended", stop.sandbox),
        })
    }
}
