//! `pinfold build`: hands a directory in as a build, has it built, and shows its log. No daemon is needed: where no worker
//! lives, this process is one.

mod drive;
mod end;

pub(super) use drive::{Following, drive, words};
pub(super) use end::{refuse, runtime};

use super::exit::Exit;
use super::toolchain::Toolchain;
use super::{limits, value};
use clap::{Args, ValueEnum};
use pinfold::build::{Builds, Error, Input, Policy, Submission};
use pinfold::workspace::Store;
use pinfold::{Limit, Mount, Network, parse_duration};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Build a project, durably, and show its log
///
/// DIR is copied as it is now, and built in sandboxes by its `pinfold.toml`, or as projects of its kind are built (npm, pnpm,
/// cargo, go, Python, make). When the build is accepted it is on disk: if this program dies, another worker goes on with it.
/// The log goes to stderr; where the artifact is goes to stdout. Ctrl-C cancels the build.
///
/// The exit code is 0 when the build succeeded; that of the phase that failed; 124 when time was used up; 130 when it was
/// cancelled; 137 when memory was used up; 125 when it failed otherwise.
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = "SIZE: 512M, 1G · TIME: 500ms, 10s, 2m · more in --help and docs/builds.md"
)]
pub(crate) struct BuildOptions {
    /// The project's directory
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,

    /// Name the project (default: DIR's name)
    ///
    /// A newer build of a project makes older ones stale, and what it shows is its last that succeeded.
    #[arg(long, value_name = "P")]
    project: Option<String>,

    /// Show the log until the build ends (the default)
    #[arg(short, long, conflicts_with = "detach")]
    follow: bool,

    /// Queue it, print its id, leave it to other workers
    ///
    /// Such as `pinfold serve`, or `pinfold jobs work`.
    #[arg(short, long)]
    detach: bool,

    /// Copy the artifact to DIR when it succeeded
    #[arg(long, value_name = "OUT", conflicts_with = "detach")]
    artifact_dir: Option<PathBuf>,

    /// Print the build as JSON at the end
    ///
    /// To stdout, instead of where the artifact is. With `--detach` at once.
    #[arg(long)]
    json: bool,

    /// Network of phases that fetch (default: none)
    ///
    /// `none`, `host` or `allow=HOST,…`, as for `pinfold run`. It is for `install` phases that were detected, and for those
    /// with `network = "fetch"`. A project may itself list names of hosts of the internet; addresses, and the host's
    /// network, it gets only with `--net host`.
    #[arg(long, value_name = "NET", value_parser = value::network)]
    net: Option<Network>,

    /// Time for all of it (default: 5m)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    time: Option<Duration>,

    /// How often workers may try it (default: 2)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    attempts: Option<u32>,

    /// Memory of each phase (default: 2G)
    ///
    /// For phases that don't say it themselves.
    #[arg(long, value_name = "SIZE", value_parser = limits::memory)]
    memory: Option<Limit<u64>>,

    /// Set a variable in all phases (repeatable)
    ///
    /// `K` alone takes the value from here, if there is one. They are kept with the build.
    #[arg(long, value_name = "K=V")]
    env: Vec<String>,

    /// Show a path of the host, read-only (repeatable)
    ///
    /// At the same path, or at DST, in all phases. For example: `--ro ~/.npmrc:/workspace/.npmrc`.
    #[arg(long, value_name = "SRC[:DST]", value_parser = |text: &str| value::mount(text, false))]
    ro: Vec<Mount>,

    /// Mount rust, node, python, go, … (repeatable)
    ///
    /// Beside those that the project names, or that its kind needs.
    #[arg(long, value_name = "NAME", value_enum, hide_possible_values = true)]
    toolchain: Vec<Toolchain>,
}

fn duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(time) if !time.is_zero() => Ok(time),
        Ok(_) => Err("it must be more than nothing".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn run(options: &BuildOptions) -> Exit {
    match start(options) {
        Ok(exit) => exit,
        Err(error) => refuse(&error),
    }
}

fn start(options: &BuildOptions) -> Result<Exit, Error> {
    let (policy, builds) = (policy(options)?, open()?);
    let directory = std::path::absolute(&options.directory).and_then(|path| path.canonicalize());
    let directory = directory
        .map_err(|error| invalid(format!("the directory `{}`", options.directory.display()), value::reason(&error)))?;
    if directory.starts_with(Store::new()?.state()) {
        return Err(invalid("the directory".to_owned(), "it lies in Pinfold's own state directory".to_owned()));
    }
    let project = options.project.clone().unwrap_or_else(|| name(&directory));
    let submission = Submission::new(Input::Directory(directory), &policy);
    let build = builds.submit(&Builds::own_owner(), &project, submission)?;
    let following = Following {
        is_detached: options.detach && !options.follow,
        is_json: options.json,
        artifact_dir: options.artifact_dir.as_deref(),
    };
    drive(&builds, build, following)
}

/// The builds of this user.
pub(super) fn open() -> Result<Builds, Error> {
    Builds::at(Store::new()?.state())
}

fn name(directory: &Path) -> String {
    directory.file_name().map_or_else(|| "project".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn invalid(what: String, reason: String) -> Error {
    Error::Invalid { what, reason }
}

fn policy(options: &BuildOptions) -> Result<Policy, Error> {
    let mut policy = Policy { fetch: options.net.clone().unwrap_or_default(), ..Policy::default() };
    policy.time = options.time.unwrap_or(policy.time);
    policy.attempts = options.attempts.unwrap_or(policy.attempts);
    policy.usual.memory_bytes = options.memory.unwrap_or(policy.usual.memory_bytes);
    for text in &options.env {
        let variable = value::variable(text).map_err(|reason| invalid("`--env`".to_owned(), reason))?;
        policy.env.extend(variable);
    }
    policy.mounts.clone_from(&options.ro);
    let state = Store::new()?;
    for mount in &policy.mounts {
        // Builds write there, and must not find a way to each other.
        if Path::new(mount.source.as_str()).starts_with(state.state()) {
            return Err(invalid(format!("`--ro {}`", mount.source), "it lies in the state directory".to_owned()));
        }
    }
    let names = options.toolchain.iter().filter_map(ValueEnum::to_possible_value);
    policy.toolchains = names.map(|value| value.get_name().to_owned()).collect();
    Ok(policy)
}
