//! Workspaces, which outlive sandboxes and the server.

use super::answer::{told, within};
use super::refusal::Refusal;
use super::sandboxes::{Done, done};
use super::server::{Server, Shared};
use pinfold::workspace::Listed;
use rmcp::handler::server::tool::schema_for_output;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::CallToolResult;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many are told of.
const MOST: usize = 500;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Which {
    /// The workspace's id: any text of your choice
    workspace: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct All {
    workspaces: Vec<Workspace>,
    /// Whether there are more
    more: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Workspace {
    id: String,
    /// Whether it has checkpoints, or is ready for them
    has_checkpoints: bool,
    /// How much it may hold
    most_bytes: Option<u64>,
    /// When somebody last worked in it, in milliseconds since 1970
    last_used_ms: u64,
}

#[tool_router(router = workspace_tools, vis = "pub(super)")]
impl Server {
    /// Make a workspace: a directory that stays until it is removed, and that commands and sandboxes can work in. One that
    /// is there keeps its files.
    #[tool(
        output_schema = schema_for_output::<Done>(),
        annotations(title = "Make a workspace", destructive_hint = false, idempotent_hint = true, open_world_hint = false)
    )]
    async fn workspace_create(&self, Parameters(which): Parameters<Which>) -> Result<CallToolResult, Refusal> {
        let sentence = format!("workspace `{}` is there", which.workspace);
        self.blocking(move |shared| {
            let id = shared.workspace(&which.workspace)?;
            room(shared, &id)?;
            shared.store.create(&id, Some(shared.bounds.quota()))?;
            Ok(())
        })
        .await?;
        done(sentence)
    }

    /// List the workspaces.
    #[tool(
        output_schema = schema_for_output::<All>(),
        annotations(title = "List workspaces", read_only_hint = true, open_world_hint = false)
    )]
    async fn workspace_list(&self) -> Result<CallToolResult, Refusal> {
        let all = self.blocking(own).await?;
        let (workspaces, more) = within(all, MOST, self.bounds.output, |workspace| workspace.id.len());
        let mut text = workspaces.iter().map(|workspace| format!("{}\n", workspace.id)).collect::<String>();
        if more {
            text += "[there are more]\n";
        }
        let text = if text.is_empty() { "there are no workspaces\n".to_owned() } else { text };
        told(text, &All { workspaces, more })
    }

    /// Remove a workspace with all its files and checkpoints. Not while something works in it.
    #[tool(
        output_schema = schema_for_output::<Done>(),
        annotations(title = "Remove a workspace", destructive_hint = true, open_world_hint = false)
    )]
    async fn workspace_remove(&self, Parameters(which): Parameters<Which>) -> Result<CallToolResult, Refusal> {
        let sentence = format!("workspace `{}` is gone", which.workspace);
        self.blocking(move |shared| {
            let id = shared.workspace(&which.workspace)?;
            if let Some(held) = shared.sandboxes.in_workspace(shared.store.state(), &id)?.first() {
                let words = format!("sandbox `{}` works in workspace `{}`", held.name(), which.workspace);
                return Err(Refusal::new(words).hint("stop it first"));
            }
            Ok(shared.store.remove(&id, false)?)
        })
        .await?;
        done(sentence)
    }
}

/// Refuses one more than there may be.
pub(super) fn room(shared: &Shared, id: &str) -> Result<(), Refusal> {
    let most = shared.bounds.max_workspaces;
    match own(shared)?.len() {
        count if count >= most && shared.store.show(id).is_err() => {
            Err(Refusal::new(format!("there are {count} workspaces, and {most} are allowed")).hint("remove one first"))
        }
        _ => Ok(()),
    }
}

fn own(shared: &Shared) -> Result<Vec<Workspace>, Refusal> {
    let all = shared.store.list()?.into_iter().filter_map(|listed| {
        let Listed::Workspace(info) = listed else { return None };
        let id = info.id.strip_prefix(&shared.bounds.prefix)?.to_owned();
        let (has_checkpoints, most_bytes) = (info.has_layers, info.quota.bytes);
        Some(Workspace { id, has_checkpoints, most_bytes, last_used_ms: info.last_used_ms })
    });
    Ok(all.collect())
}
