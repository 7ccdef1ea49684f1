//! Checkpoints of workspaces: a way back.

use super::answer::{told, within};
use super::refusal::Refusal;
use super::run::SHORT;
use super::sandboxes::{Done, done};
use super::server::Server;
use super::workspaces::room;
use pinfold::checkpoint::{Checkpoint, Filter, New};
use pinfold::workspace::Difference;
use rmcp::handler::server::tool::schema_for_output;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::CallToolResult;
use rmcp::service::RequestContext;
use rmcp::{RoleServer, tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many changes are told of.
const MOST: usize = 500;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Save {
    /// The workspace's id
    workspace: String,
    /// A word to know it by
    label: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Of {
    /// The workspace's id
    workspace: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Diff {
    /// The workspace's id
    workspace: String,
    /// From this checkpoint (the one that the files go on from, if it is left out)
    from: Option<String>,
    /// To this one (the files as they are now, if it is left out)
    to: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Rollback {
    /// The workspace's id
    workspace: String,
    /// The checkpoint's id
    checkpoint: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Fork {
    /// The workspace's id
    workspace: String,
    /// The id of the new workspace
    to: String,
    /// The checkpoint's id (the files as they are, if it is left out)
    checkpoint: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Saved {
    /// The checkpoint's id
    checkpoint: String,
    /// What was saved before, because it was not saved yet
    saved_before: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct All {
    /// The newest first
    checkpoints: Vec<One>,
    /// Whether there are more
    more: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct One {
    id: String,
    parent: Option<String>,
    labels: Vec<String>,
    created_ms: u64,
    /// Whether the files go on from it
    is_head: bool,
}

impl One {
    fn of(checkpoint: Checkpoint) -> Self {
        let Checkpoint { id, parent, labels, created_ms, is_head, .. } = checkpoint;
        Self { id, parent, labels: labels.into_iter().collect(), created_ms, is_head }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Changes {
    changes: Vec<Change>,
    /// Whether there are more
    more: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Change {
    /// Relative to /workspace
    path: String,
    /// added, removed or changed
    change: &'static str,
    is_directory: bool,
}

#[tool_router(router = checkpoint_tools, vis = "pub(super)")]
impl Server {
    /// Save the files of a workspace as they are, also while a sandbox of yours works in it. No file is copied.
    #[tool(
        output_schema = schema_for_output::<Saved>(),
        annotations(title = "Save a checkpoint", destructive_hint = false, open_world_hint = false)
    )]
    async fn checkpoint_save(
        &self,
        Parameters(save): Parameters<Save>,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, Refusal> {
        let saved = self.blocking(move |shared| {
            let id = shared.workspace(&save.workspace)?;
            let new = New { labels: save.label.into_iter().collect(), ..New::default() };
            Ok(shared.sandboxes.save(&shared.store, &id, &new, None)?)
        });
        let saved = self.supervise(&context, SHORT, saved).await??;
        told(format!("saved as checkpoint {}\n", saved.checkpoint.id), &told_saved(saved))
    }

    /// List the checkpoints of a workspace, the newest first.
    #[tool(
        output_schema = schema_for_output::<All>(),
        annotations(title = "List checkpoints", read_only_hint = true, open_world_hint = false)
    )]
    async fn checkpoint_list(&self, Parameters(of): Parameters<Of>) -> Result<CallToolResult, Refusal> {
        let found = self.blocking(move |shared| {
            let filter = Filter { limit: MOST + 1, ..Filter::default() };
            Ok(shared.store.checkpoints(&shared.workspace(&of.workspace)?).list(filter)?)
        });
        let length = |one: &One| one.id.len() * 2 + one.labels.iter().map(String::len).sum::<usize>();
        let (checkpoints, more) = within(found.await?.into_iter().map(One::of), MOST, self.bounds.output, length);
        let lines = checkpoints.iter().map(|one| {
            let head = if one.is_head { "*" } else { " " };
            format!("{head} {} {}\n", one.id, one.labels.join(", "))
        });
        let text = lines.collect::<String>();
        told(if text.is_empty() { "there are no checkpoints\n".to_owned() } else { text }, &All { checkpoints, more })
    }

    /// Name the files that differ between two checkpoints, or between one and the files as they are.
    #[tool(
        output_schema = schema_for_output::<Changes>(),
        annotations(title = "Compare checkpoints", read_only_hint = true, open_world_hint = false)
    )]
    async fn checkpoint_diff(
        &self,
        Parameters(diff): Parameters<Diff>,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, Refusal> {
        let found = self.blocking(move |shared| {
            let id = shared.workspace(&diff.workspace)?;
            Ok(shared.store.checkpoints(&id).diff(diff.from.as_deref(), diff.to.as_deref())?)
        });
        let found = self.supervise(&context, SHORT, found).await??;
        let changes = found.into_iter().map(|change| Change {
            path: String::from_utf8_lossy(&change.path).into_owned(),
            change: match change.difference {
                Difference::Added => "added",
                Difference::Removed => "removed",
                _ => "changed",
            },
            is_directory: change.is_directory,
        });
        let (changes, more) = within(changes, MOST, self.bounds.output, |change| change.path.len());
        let mut text = changes.iter().map(|change| format!("{} {}\n", change.change, change.path)).collect::<String>();
        if more {
            text += "[there are more]\n";
        }
        told(if text.is_empty() { "nothing differs\n".to_owned() } else { text }, &Changes { changes, more })
    }

    /// Make the files of a workspace what they were at a checkpoint. What is not saved is saved first. Not while something
    /// works in the workspace.
    #[tool(
        output_schema = schema_for_output::<Saved>(),
        annotations(title = "Go back to a checkpoint", destructive_hint = true, open_world_hint = false)
    )]
    async fn checkpoint_rollback(
        &self,
        Parameters(back): Parameters<Rollback>,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, Refusal> {
        let saved = self.blocking(move |shared| {
            let id = shared.workspace(&back.workspace)?;
            Ok(shared.store.checkpoints(&id).rollback(&back.checkpoint, false)?)
        });
        let saved = self.supervise(&context, SHORT, saved).await??;
        told(format!("the files are what they were, as checkpoint {}\n", saved.checkpoint.id), &told_saved(saved))
    }

    /// Make a new workspace with the files of a checkpoint, or of a workspace as it is.
    #[tool(
        output_schema = schema_for_output::<Done>(),
        annotations(title = "Fork a workspace", destructive_hint = false, open_world_hint = false)
    )]
    async fn checkpoint_fork(
        &self,
        Parameters(fork): Parameters<Fork>,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, Refusal> {
        let sentence = format!("workspace `{}` is there, with the files of `{}`", fork.to, fork.workspace);
        let forked = self.blocking(move |shared| {
            let (id, to) = (shared.workspace(&fork.workspace)?, shared.workspace(&fork.to)?);
            room(shared, &to)?;
            Ok(shared.store.checkpoints(&id).fork(fork.checkpoint.as_deref(), &to)?)
        });
        self.supervise(&context, SHORT, forked).await??;
        done(sentence)
    }
}

fn told_saved(saved: pinfold::workspace::Saved) -> Saved {
    Saved { checkpoint: saved.checkpoint.id, saved_before: saved.automatic.map(|automatic| automatic.id) }
}
