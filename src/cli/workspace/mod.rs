//! `pinfold workspace`: workspaces that stay, by ids of the caller's choice. What a store promises is the library's
//! business; here are the words.

pub(super) mod list;
mod transfer;

pub(in crate::cli) use list::time;

use super::exit::Exit;
use super::{message, value};
use clap::{Args, Subcommand};
use pinfold::workspace::{Error, Quota, Store};
use pinfold::{Limit, parse_duration};
use std::path::PathBuf;
use std::time::Duration;

/// Keep workspaces that outlive the commands that work in them
///
/// A workspace is a directory with an id, which may be any text. `pinfold run -w ws:ID` works in it. Whoever needs it
/// refers to it under a name of his own, and it is not removed before the last reference has gone. They are in
/// `$PINFOLD_STATE_DIR`, else `$XDG_STATE_HOME/pinfold`, else `/var/lib/pinfold` for root and `~/.local/state/pinfold`
/// for everybody else. The exit code is 0, or 125 when it failed.
#[derive(Debug, Args)]
pub(crate) struct WorkspaceOptions {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
enum Command {
    Create(Create),
    List(List),
    Show(Show),
    Find(Find),
    Ref(Reference),
    Unref(Unreference),
    Remove(Remove),
    Prune(Prune),
    Export(Export),
    Import(Import),
    Shared(Shared),
}

/// Make a workspace if it is absent, and print its path
///
/// One that is there stays as it is, but for the limits that are given here.
#[derive(Debug, Args)]
struct Create {
    /// The workspace's id: any text
    #[arg(value_name = "WS")]
    id: String,
    /// Bytes that it may hold (default: max)
    ///
    /// What a job may add is this less what is there when it starts. For example: `--disk 2G`.
    #[arg(long, value_name = "SIZE", value_parser = disk)]
    disk: Option<Limit<u64>>,
    /// Files and directories that it may hold (default: max)
    ///
    /// Links count too. What a job may add is this less what is there when it starts.
    #[arg(long, value_name = "COUNT", value_parser = inodes)]
    inodes: Option<Limit<u64>>,
}

/// List all workspaces, the broken ones last
#[derive(Debug, Args)]
struct List {
    /// Print a JSON array, one object for each
    ///
    /// `{"id", "key", "path", "holders": [], "references", "quota": {"bytes", "inodes"}, "created_ms", "last_used_ms",
    /// "usage": {"bytes", "inodes", "incomplete"}, "sandboxes", "broken"}`; `broken` is null or says what is wrong, and all but `key`
    /// and `path`, its own directory, is null then. Later keys are added.
    #[arg(long)]
    json: bool,
    /// Leave out the sizes, which need a look at each file
    #[arg(long)]
    no_size: bool,
}

/// Show one workspace
#[derive(Debug, Args)]
struct Show {
    /// The workspace's id
    #[arg(value_name = "WS")]
    id: String,
    /// Print one JSON object, as `list --json` has it
    #[arg(long)]
    json: bool,
}

/// Print the id of the workspace that a holder refers to
#[derive(Debug, Args)]
struct Find {
    /// The holder's name
    #[arg(value_name = "HOLDER")]
    holder: String,
}

/// Refer to a workspace, so that it is not removed
///
/// It is on disk when this returns. Once more is no error. A holder refers to one workspace at a time.
#[derive(Debug, Args)]
struct Reference {
    /// The workspace's id
    #[arg(value_name = "WS")]
    id: String,
    /// Who refers to it: a name of your choice
    #[arg(value_name = "HOLDER")]
    holder: String,
}

/// Give up a reference
///
/// Where there is none, nothing changes, and that is no error.
#[derive(Debug, Args)]
struct Unreference {
    /// The workspace's id
    #[arg(value_name = "WS")]
    id: String,
    /// Who referred to it
    #[arg(value_name = "HOLDER")]
    holder: String,
}

/// Remove a workspace with its files
///
/// Not while somebody refers to it, unless forced, and not while a command works in it, forced or not.
#[derive(Debug, Args)]
struct Remove {
    /// The workspace's id
    #[arg(value_name = "WS", required_unless_present = "key")]
    id: Option<String>,
    /// Remove it though it is referred to, or broken
    #[arg(long)]
    force: bool,
    /// Remove a broken one by its directory's name
    ///
    /// For when nobody knows its id any more: `pinfold workspace list` shows the name.
    #[arg(long, value_name = "KEY", conflicts_with = "id", requires = "force")]
    key: Option<String>,
}

/// Remove what nobody refers to and nobody has used for long
///
/// Prints the ids, one a line. What a command works in stays, and so does what is broken.
#[derive(Debug, Args)]
struct Prune {
    /// How long ago its last use must be
    ///
    /// For example: `--older-than 24h`.
    #[arg(long, value_name = "TIME", value_parser = |text: &str| parse_duration(text))]
    older_than: Duration,
}

/// Write the files of a workspace as a tar archive
///
/// Files, directories and links. Devices, FIFOs and sockets are left out, and named on stderr, as is what can't be read.
/// For example: `pinfold workspace export notes - | zstd > notes.tar.zst`.
#[derive(Debug, Args)]
struct Export {
    /// The workspace's id
    #[arg(value_name = "WS")]
    id: String,
    /// Where the archive goes; `-` is stdout
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Fail above so many bytes of files (default: 16G)
    #[arg(long, value_name = "SIZE", value_parser = value::size, default_value = "16G", hide_default_value = true)]
    max_size: Limit<u64>,
}

/// Make the files of a workspace those of a tar archive
///
/// As a whole or not at all. Refused are devices, FIFOs, sparse files, paths that lead out of the workspace or through a
/// link, and overlayfs's attributes; other attributes, owners and set-id bits are not taken.
#[derive(Debug, Args)]
struct Import {
    /// The workspace's id
    #[arg(value_name = "WS")]
    id: String,
    /// The archive; `-` is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace the files that are there
    #[arg(long)]
    replace: bool,
    /// Fail above so many bytes of files (default: 16G)
    #[arg(long, value_name = "SIZE", value_parser = value::size, default_value = "16G", hide_default_value = true)]
    max_size: Limit<u64>,
    /// Fail above so many entries (default: 1000000)
    #[arg(long, value_name = "COUNT", value_parser = value::count, default_value = "1000000", hide_default_value = true)]
    max_entries: Limit<u64>,
}

/// Print the path of a folder for what all may read
///
/// It is made if it is absent. Nothing mounts it by itself: `pinfold run --ro "$(pinfold workspace shared):/shared"`.
#[derive(Debug, Args)]
struct Shared {}

pub(crate) fn run(options: WorkspaceOptions) -> Exit {
    let done = Store::new().map_err(Refusal::from).and_then(|store| perform(&store, options.command));
    match done {
        Ok(exit) => exit,
        Err(Refusal { message, hint }) => {
            message::error(&message, hint);
            Exit::Failed
        }
    }
}

fn perform(store: &Store, command: Command) -> Result<Exit, Refusal> {
    match command {
        Command::Create(options) => {
            let path = store.create(&options.id, quota(store, &options))?;
            line(&path.display().to_string())
        }
        Command::List(options) => list::list(store, options.json, !options.no_size),
        Command::Show(options) => list::show(store, &options.id, options.json),
        Command::Find(options) => match store.workspace_of(&options.holder)? {
            Some(id) => line(&id),
            None => Err(Refusal::new(format!("`{}` refers to no workspace", options.holder))),
        },
        Command::Ref(options) => Ok(done(store.add_reference(&options.id, &options.holder)?)),
        Command::Unref(options) => Ok(done(store.remove_reference(&options.id, &options.holder)?)),
        Command::Remove(options) => match (&options.key, &options.id) {
            (Some(key), _) => Ok(done(store.remove_broken(key)?)),
            (None, id) => Ok(done(store.remove(id.as_deref().unwrap_or_default(), options.force)?)),
        },
        Command::Prune(options) => prune(store, options.older_than),
        Command::Export(options) => transfer::export(store, &options),
        Command::Import(options) => transfer::import(store, &options),
        Command::Shared(Shared {}) => line(&store.shared()?.display().to_string()),
    }
}

fn done((): ()) -> Exit {
    Exit::Success
}

/// The limits that are given, and of those that are not what the workspace has already.
fn quota(store: &Store, options: &Create) -> Option<Quota> {
    if options.disk.is_none() && options.inodes.is_none() {
        return None;
    }
    let mut quota = store.show(&options.id).map(|info| info.quota).unwrap_or_default();
    if let Some(disk) = options.disk {
        quota.bytes = disk.value();
    }
    if let Some(inodes) = options.inodes {
        quota.inodes = inodes.value();
    }
    Some(quota)
}

fn prune(store: &Store, older_than: Duration) -> Result<Exit, Refusal> {
    let pruned = store.prune(older_than)?;
    let lines: String = pruned.removed.iter().map(|id| format!("{}\n", message::printable(id))).collect();
    data(lines.as_bytes())?;
    for (id, error) in &pruned.failed {
        message::error(&format!("`{id}`: {}", Refusal::words(error)), None);
    }
    Ok(if pruned.failed.is_empty() { Exit::Success } else { Exit::Failed })
}

fn disk(text: &str) -> Result<Limit<u64>, String> {
    value::in_range(value::size(text)?, "workspace_bytes", |limits, limit| limits.workspace_bytes = Some(limit))
}

fn inodes(text: &str) -> Result<Limit<u64>, String> {
    value::in_range(value::count(text)?, "workspace_inodes", |limits, limit| limits.workspace_inodes = Some(limit))
}

/// Why something was not done, in words.
struct Refusal {
    message: String,
    hint: Option<&'static str>,
}

impl Refusal {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    fn words(error: &Error) -> String {
        match std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>()) {
            Some(source) => format!("{error}: {}", value::reason(source)),
            None => error.to_string(),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let hint = match &error {
            Error::NotFound { .. } => Some("`pinfold workspace create` makes one"),
            Error::ReferencesHeld { .. } => {
                Some("`pinfold workspace unref` ends a reference, `--force` removes it in spite of them")
            }
            Error::HoldsAnother { .. } => Some("`pinfold workspace unref` ends that first"),
            Error::NotEmpty { .. } => Some("`--replace` replaces all its files"),
            Error::Corrupt { .. } => {
                Some("mend or restore the record; `pinfold workspace remove --force` removes workspace and files")
            }
            Error::TooBig { .. } => {
                Some("`--max-size` and `--max-entries` allow more, `create --disk` and `--inodes` a larger workspace")
            }
            _ => None,
        };
        Self { message: Self::words(&error), hint }
    }
}

/// One line of data: an id comes from the caller, and may hold anything.
fn line(text: &str) -> Result<Exit, Refusal> {
    data(format!("{}\n", message::printable(text)).as_bytes())
}

fn data(bytes: &[u8]) -> Result<Exit, Refusal> {
    match message::data(bytes) {
        Ok(()) => Ok(Exit::Success),
        Err(error) => Err(Refusal::new(format!("failed to write to stdout: {}", value::reason(&error)))),
    }
}
