//! `pinfold checkpoint`: a way back for workspaces. What a checkpoint promises is the library's business; here are the
//! words.

mod tell;

use super::exit::Exit;
use super::{message, value};
use clap::{Args, Subcommand};
use pinfold::checkpoint::{Error, Filter, New, Retention};
use pinfold::held::Sandboxes;
use pinfold::workspace::{self, Checkpoints, Store};
use pinfold::{Limit, parse_duration_limit};
use serde_json::Value;

/// Save workspaces as they are, and go back
///
/// A checkpoint is what the files of a workspace were at a moment, with a JSON state of yours. To save, to roll back and to
/// fork copies no files. Checkpoints go when they are 24 hours old or more than 100, unless `save` says otherwise. The exit
/// code is 0, or 125 when it failed.
#[derive(Debug, Args)]
pub(crate) struct CheckpointOptions {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
enum Command {
    Save(Save),
    List(List),
    Show(Show),
    Diff(Diff),
    Rollback(Rollback),
    Fork(Fork),
    Remove(Remove),
    Compact(Compact),
}

/// Save the files of a workspace, and print the checkpoint's id
///
/// Also while a sandbox works in it that was started with `--checkpoints`, or when the workspace had checkpoints already: its
/// processes stand still for the moment, and go on. Not while another command works in it.
#[derive(Debug, Args)]
struct Save {
    /// The workspace's id
    #[arg(value_name = "WS")]
    workspace: String,
    /// The checkpoint's id (default: random)
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// A number of yours (default: the parent's and one)
    #[arg(long, value_name = "NUMBER")]
    step: Option<u64>,
    /// A word of yours; may be given more than once
    #[arg(long, value_name = "WORD")]
    label: Vec<String>,
    /// A state to keep with it: any JSON
    #[arg(long, value_name = "JSON", value_parser = json)]
    state: Option<Value>,
    /// Keep so many from now on, or `max` (default: 100)
    ///
    /// The oldest go first. Files that others need stay.
    #[arg(long, value_name = "COUNT", value_parser = value::count)]
    keep: Option<Limit<u64>>,
    /// Keep each so long from now on, or `max` (default: 24h)
    ///
    /// What the files go on from stays.
    #[arg(long, value_name = "TIME", value_parser = |text: &str| parse_duration_limit(text))]
    ttl: Option<Limit<std::time::Duration>>,
    /// Print one JSON object, as `rollback --json` does
    #[arg(long)]
    json: bool,
}

/// List checkpoints, the newest first
///
/// `*` is the one that the files go on from.
#[derive(Debug, Args)]
struct List {
    /// The workspace's id
    #[arg(value_name = "WS")]
    workspace: String,
    /// At most so many
    #[arg(short = 'n', long, value_name = "COUNT")]
    limit: Option<usize>,
    /// The oldest first
    #[arg(long)]
    reverse: bool,
    /// Print a JSON array, one object for each
    ///
    /// `{"id", "sequence", "parent", "parent_evicted", "step", "labels": [], "created_ms", "cause", "origin", "is_head"}`;
    /// `cause` is `save`, `automatic`, `rollback` or `fork`. Later keys are added.
    #[arg(long)]
    json: bool,
}

/// Show one checkpoint with its state
#[derive(Debug, Args)]
struct Show {
    /// The workspace's id
    #[arg(value_name = "WS")]
    workspace: String,
    /// The checkpoint's id
    #[arg(value_name = "ID")]
    checkpoint: String,
    /// Print one JSON object, as `list --json` has it, and `state`
    #[arg(long)]
    json: bool,
}

/// Name the files that differ
///
/// A line for each file, directory and link: `A` was added, `D` removed, `M` has other content, permissions or another kind.
#[derive(Debug, Args)]
struct Diff {
    /// The workspace's id
    #[arg(value_name = "WS")]
    workspace: String,
    /// From this checkpoint (default: that which the files go on from)
    #[arg(value_name = "FROM")]
    from: Option<String>,
    /// To this one (default: the files as they are now)
    #[arg(value_name = "TO")]
    to: Option<String>,
    /// Print a JSON array, one object for each
    ///
    /// `{"path", "change", "directory"}`; `change` is `added`, `removed` or `changed`. A path that is not UTF-8 is
    /// `{"base64": "…"}`.
    #[arg(long)]
    json: bool,
}

/// Make the files what they were
///
/// What is not saved is saved first, and what was saved later stays. Prints the id of the new checkpoint, from which the
/// files go on; its parent is the old one. Not while a command works in the workspace.
#[derive(Debug, Args)]
struct Rollback {
    /// The workspace's id
    #[arg(value_name = "WS")]
    workspace: String,
    /// The checkpoint's id
    #[arg(value_name = "ID")]
    checkpoint: String,
    /// Don't save what is not saved
    #[arg(long)]
    discard: bool,
    /// Print one JSON object
    ///
    /// `{"checkpoint", "automatic", "mechanism"}`: the new one and what was saved before, as `list --json` has them, and
    /// `overlay` or `copy`.
    #[arg(long)]
    json: bool,
}

/// Make a workspace with the files of a checkpoint
///
/// They share what neither of them changes. Prints the id of the new workspace's first checkpoint.
#[derive(Debug, Args)]
struct Fork {
    /// The workspace's id
    #[arg(value_name = "WS")]
    workspace: String,
    /// The id of the new workspace
    #[arg(value_name = "NEW")]
    to: String,
    /// A checkpoint (default: the files as they are)
    #[arg(long, value_name = "ID")]
    checkpoint: Option<String>,
    /// Print one JSON object, as `rollback --json` does
    #[arg(long)]
    json: bool,
}

/// Remove a checkpoint
///
/// The files of others stay, and so does its name as their parent.
#[derive(Debug, Args)]
struct Remove {
    /// The workspace's id
    #[arg(value_name = "WS")]
    workspace: String,
    /// The checkpoint's id
    #[arg(value_name = "ID")]
    checkpoint: String,
}

/// Join the layers that no checkpoint needs apart
///
/// It frees what only removed checkpoints had. Not while a command works in the workspace.
#[derive(Debug, Args)]
struct Compact {
    /// The workspace's id
    #[arg(value_name = "WS")]
    workspace: String,
}

pub(crate) fn run(options: CheckpointOptions) -> Exit {
    match Store::new().map_err(|error| Refusal::from(Error::from(error))).and_then(|store| perform(&store, options)) {
        Ok(exit) => exit,
        Err(Refusal { message, hint }) => {
            message::error(&message, hint);
            Exit::Failed
        }
    }
}

fn perform(store: &Store, options: CheckpointOptions) -> Result<Exit, Refusal> {
    match options.command {
        Command::Save(options) => {
            let checkpoints = store.checkpoints(&options.workspace);
            let retention = retention(&checkpoints, &options)?;
            let Save { workspace, id, step, label, state, json, .. } = options;
            let new = New { id, step, labels: label.into_iter().collect(), state: state.unwrap_or_default() };
            tell::saved(&Sandboxes::new().save(store, &workspace, &new, retention)?, json)
        }
        Command::List(options) => {
            let filter =
                Filter { limit: options.limit.unwrap_or(0), oldest_first: options.reverse, ..Filter::default() };
            tell::list(&store.checkpoints(&options.workspace).list(filter)?, options.json)
        }
        Command::Show(options) => {
            let (checkpoint, state) = store.checkpoints(&options.workspace).get(&options.checkpoint)?;
            tell::one(&checkpoint, &state, options.json)
        }
        Command::Diff(options) => {
            let (from, to) = (options.from.as_deref(), options.to.as_deref());
            tell::changes(&store.checkpoints(&options.workspace).diff(from, to)?, options.json)
        }
        Command::Rollback(options) => {
            let checkpoints = store.checkpoints(&options.workspace);
            tell::saved(&checkpoints.rollback(&options.checkpoint, options.discard)?, options.json)
        }
        Command::Fork(options) => {
            let checkpoints = store.checkpoints(&options.workspace);
            tell::saved(&checkpoints.fork(options.checkpoint.as_deref(), &options.to)?, options.json)
        }
        Command::Remove(options) => {
            store.checkpoints(&options.workspace).remove(&options.checkpoint)?;
            Ok(Exit::Success)
        }
        Command::Compact(options) => {
            store.checkpoints(&options.workspace).compact()?;
            Ok(Exit::Success)
        }
    }
}

/// What is to be kept, if one of the options says so: the rest as before.
fn retention(checkpoints: &Checkpoints<'_>, options: &Save) -> Result<Option<Retention>, Refusal> {
    if options.keep.is_none() && options.ttl.is_none() {
        return Ok(None);
    }
    let mut retention = checkpoints.retention()?;
    if let Some(keep) = options.keep {
        retention.most = keep.value();
    }
    if let Some(ttl) = options.ttl {
        retention.ttl_ms = ttl.value().map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
    }
    Ok(Some(retention))
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))
}

/// Why something was not done, in words.
struct Refusal {
    message: String,
    hint: Option<&'static str>,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let source = match &error {
            Error::Workspace(error) => std::error::Error::source(error),
            error => std::error::Error::source(error),
        };
        let message = match source.and_then(|source| source.downcast_ref::<std::io::Error>()) {
            Some(source) => format!("{error}: {}", value::reason(source)),
            None => error.to_string(),
        };
        let hint = match &error {
            Error::NotFound { .. } | Error::Empty { .. } => Some("`pinfold checkpoint list` shows what there is"),
            Error::StorageFull { .. } => Some("keep less in a state, or fewer checkpoints with `--keep`"),
            Error::Workspace(workspace::Error::NotFound { .. }) => Some("`pinfold workspace create` makes one"),
            Error::Workspace(workspace::Error::Busy { .. }) => Some(
                "wait for the command or stop the sandbox that works in it; one that was started with `--checkpoints`, or \
                 after the first checkpoint, can be saved meanwhile",
            ),
            Error::Freeze { .. } => Some("try again, or stop the sandbox first, `pinfold stop`"),
            _ => None,
        };
        Self { message, hint }
    }
}
