//! `pinfold mcp`: the options that bound what a model may do, and the start of the server.

use super::code::executor;
use super::exit::Exit;
use super::sandbox::{self, SandboxOptions, stored};
use super::{limits, message};
use crate::mcp::Bounds;
use clap::Args;
use pinfold::{Argv, Job, Limit};
use std::path::PathBuf;
use std::time::Duration;

/// How long one command may run where no option says.
const TIME: Duration = Duration::from_secs(120);
/// How much of an output a model is told where no option says.
const OUTPUT: u64 = 64 << 10;

/// Serve a model: the Model Context Protocol on stdin and stdout
///
/// Tools to run code and commands, and to work with sandboxes, terminals, files, workspaces and checkpoints. What is
/// allowed is said here, holds for each of them, and no call can change it. A client starts this command; it ends with
/// the client, and its sandboxes with it. The exit code is 0, or 125 when it could not serve.
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = "SIZE: 512M, 1G · TIME: 500ms, 10s, 2m · limits can be `max` · more in --help"
)]
pub(crate) struct McpOptions {
    /// Wall-clock time of each command (default: 2m)
    ///
    /// A tool's `timeout_seconds` can only lower it. A compiler has as much for itself. For example: `--time 10m`.
    #[arg(long, value_name = "TIME", help_heading = "Limits", value_parser = limits::wall)]
    time: Option<Limit<u64>>,

    /// What is told of each output stream (default: 64K)
    ///
    /// The beginning; a line says how much was left out. Also of a file that is read. For example: `--output 256K`.
    #[arg(long, value_name = "SIZE", help_heading = "Limits", value_parser = limits::output)]
    output: Option<Limit<u64>>,

    /// Sandboxes that may live at once (default: 10)
    ///
    /// Each has the limits for itself.
    #[arg(long, value_name = "COUNT", help_heading = "Server", default_value_t = 10, hide_default_value = true)]
    max_sandboxes: usize,

    /// End sandboxes unused for so long (default: 30m)
    ///
    /// Also when the server was killed and could not end them itself.
    #[arg(long, value_name = "TIME", help_heading = "Server", value_parser = super::serve::positive)]
    idle: Option<Duration>,

    /// How ids of its workspaces begin (default: mcp/)
    ///
    /// No tool reaches any other workspace. They stay when the server ends: `pinfold workspace list` shows them.
    #[arg(long, value_name = "PREFIX", help_heading = "Server", default_value = "mcp/", hide_default_value = true)]
    workspaces: String,

    /// Workspaces that there may be (default: 100)
    ///
    /// Each may hold as much as `--disk` and `--inodes` say, by default 1G and 2^20 files.
    #[arg(long, value_name = "COUNT", help_heading = "Server", default_value_t = 100, hide_default_value = true)]
    max_workspaces: usize,

    /// Allow only this language for code (repeatable)
    ///
    /// By default all that `pinfold languages` lists. For example: `--allow python`.
    #[arg(long, value_name = "LANGUAGE", help_heading = "Server")]
    allow: Vec<String>,

    /// Add the languages of a folder of TOML files
    ///
    /// Instead of the user's own, `pinfold/languages` in `$XDG_CONFIG_HOME` or `~/.config`.
    #[arg(long, value_name = "DIR", help_heading = "Server")]
    languages: Option<PathBuf>,

    #[command(flatten)]
    sandbox: SandboxOptions,
}

pub(super) fn run(options: &McpOptions) -> Exit {
    let served = bounds(options).and_then(|bounds| executor::block_on(crate::mcp::serve(bounds))?);
    match served {
        Ok(()) => Exit::Success,
        Err(reason) => {
            message::error(&reason, None);
            Exit::Failed
        }
    }
}

fn bounds(options: &McpOptions) -> Result<Bounds, String> {
    if stored::id(options.sandbox.workspace.as_deref())?.is_some() {
        return Err("`--workspace`: workspaces of the store are named by the model, see `--workspaces`".to_owned());
    }
    let mut job = Job::new(Argv::none());
    sandbox::describe(&mut job, &options.sandbox, None)?;
    let time = match options.time {
        Some(Limit::At(milliseconds)) => Some(Duration::from_millis(milliseconds)),
        Some(Limit::Max) => None,
        None => Some(TIME),
    };
    let output = match options.output {
        Some(Limit::At(bytes)) => bytes,
        Some(Limit::Max) => return Err("`--output`: no model can read output without a bound".to_owned()),
        None => OUTPUT,
    };
    Ok(Bounds {
        job,
        time,
        output,
        max_sandboxes: options.max_sandboxes,
        idle: options.idle.unwrap_or(Duration::from_secs(1800)),
        prefix: options.workspaces.clone(),
        max_workspaces: options.max_workspaces,
        languages: executor::languages(options.languages.as_deref())?,
        allowed: options.allow.clone(),
    })
}
