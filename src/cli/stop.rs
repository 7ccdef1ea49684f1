//! `pinfold stop`: the end of sandboxes.

use super::exit::Exit;
use super::{held, message};
use clap::Args;
use pinfold::held::{Error, Listed, Sandboxes, Stopped};

/// End sandboxes, with everything that runs in them
///
/// Nothing of them is left when this returns; their logs are kept for an hour. That one is not there is no failure, and a
/// word on stderr says so.
#[derive(Debug, Args)]
pub(crate) struct StopOptions {
    /// The sandboxes: names, ids, or how ids begin
    #[arg(value_name = "NAME", required_unless_present = "all")]
    names: Vec<String>,
    /// End all sandboxes of this user
    #[arg(long, conflicts_with = "names")]
    all: bool,
}

pub(super) fn run(options: &StopOptions) -> Exit {
    let sandboxes = Sandboxes::new();
    let names = match options.all.then(|| all(&sandboxes)) {
        None => options.names.clone(),
        Some(Ok(names)) => names,
        Some(Err(error)) => return held::refuse(error),
    };
    // All at once: each may take some seconds if its runner does.
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = names.iter().map(|name| scope.spawn(|| sandboxes.stop(name))).collect();
        let results: Vec<_> = threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        names.iter().zip(results).collect::<Vec<_>>()
    });
    let mut exit = Exit::Success;
    for (name, stopped) in results {
        match stopped.unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
            Ok(Stopped::Orderly) => {}
            Ok(Stopped::AlreadyGone) => message::ended(&format!("there is no sandbox `{name}` any more")),
            Ok(_) => message::warning(&format!("the keeper of sandbox `{name}` did not react and was killed")),
            Err(error) => exit = held::refuse(error),
        }
    }
    exit
}

fn all(sandboxes: &Sandboxes) -> Result<Vec<String>, Error> {
    let named = |listed| match listed {
        Listed::Sandbox(record, _) => Some(record.name.to_string()),
        Listed::Broken(key) => {
            message::warning(&format!("the record of `{key}` is broken: it is stopped only by its name"));
            None
        }
    };
    Ok(sandboxes.list()?.into_iter().filter_map(named).collect())
}
