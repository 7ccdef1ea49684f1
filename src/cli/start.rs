//! `pinfold start`: a sandbox that stays, got or created by its name.

use super::exit::Exit;
use super::held;
use super::message;
use super::sandbox::{self, SandboxOptions, stored};
use clap::Args;
use pinfold::held::{Name, Sandboxes, Spec};
use pinfold::workspace::Store;
use pinfold::{Job, parse_duration};
use std::time::Duration;

/// Start a sandbox that stays, and print its id
///
/// Commands run in it with `pinfold exec`, until `pinfold stop` ends it. One of this name that lives is not started again:
/// its id is printed; if options ask for something that it is not, that is an error, and what differs is told. What is
/// made here is the sandbox's: limits hold for all commands in it together, variables are set for each of them. The exit
/// code is 0, or 125 when there is no such sandbox in the end.
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = "SIZE: 512M, 1G · TIME: 500ms, 10s, 2m · limits can be `max` · more in --help"
)]
pub(crate) struct StartOptions {
    /// Name the sandbox (default: its id)
    ///
    /// 1 to 63 of `A-Z a-z 0-9 . _ -`, the first a letter or a digit. For example: `--name alice`.
    #[arg(long, value_name = "NAME", value_parser = |text: &str| Name::try_from(text).map_err(|error| error.to_string()))]
    name: Option<Name>,

    /// End it when nothing ran for so long
    ///
    /// While a command runs or somebody is attached it is not idle; what a command left in the background does not count.
    /// For example: `--idle 1h`.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    idle: Option<Duration>,

    /// End it when it has lived so long
    ///
    /// Whatever runs in it then is killed. For example: `--ttl 8h`.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    ttl: Option<Duration>,

    /// Let the workspace be saved while the sandbox works in it
    ///
    /// For `-w ws:ID`, before its first checkpoint; one that has checkpoints is ready. From then on the workspace takes one
    /// command or sandbox at a time.
    #[arg(long)]
    checkpoints: bool,

    #[command(flatten)]
    sandbox: SandboxOptions,
}

fn duration(text: &str) -> Result<Duration, String> {
    let year = Duration::from_secs(366 * 24 * 3600);
    match parse_duration(text) {
        Ok(time) if time >= Duration::from_millis(1) && time <= year => Ok(time),
        Ok(_) => Err("it must be 1ms to a year".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn run(options: &StartOptions) -> Exit {
    let spec = match spec(options) {
        Ok(spec) => spec,
        Err(reason) => {
            message::error(&reason, None);
            return Exit::Failed;
        }
    };
    match Sandboxes::new().start(&spec) {
        Ok(held) => held::data(&format!("{}\n", held.id())),
        Err(error) => held::refuse(error),
    }
}

fn spec(options: &StartOptions) -> Result<Spec, String> {
    let Spec { job, .. } = Spec::default();
    let mut job: Job = job;
    let id = stored::id(options.sandbox.workspace.as_deref())?;
    sandbox::describe(&mut job, &options.sandbox, None)?;
    let mut spec = Spec { name: options.name.clone(), job, idle: options.idle, ttl: options.ttl, ..Spec::default() };
    spec.checkpoints = options.checkpoints;
    if options.checkpoints && id.is_none() {
        return Err("`--checkpoints`: only a workspace of the store has any, `--workspace ws:ID`".to_owned());
    }
    if let Some(id) = id {
        let store = Store::new().map_err(|error| stored::words(&error))?;
        spec = spec.in_workspace(&store, id);
    }
    Ok(spec)
}
