//! `pinfold jobs`: builds that were handed in, their logs, and working on them.

use super::build::{self, Following, drive, runtime};
use super::exit::Exit;
use super::message::{self, printable};
use super::workspace::time;
use super::{held, message as words};
use clap::{Args, Subcommand};
use pinfold::Pinfold;
use pinfold::build::{Again, Build, Builds, Error, Filter, State, Worker, WorkerSettings};
use std::time::Duration;

/// See and steer builds that were handed in
///
/// They are in `$PINFOLD_STATE_DIR`, where workspaces are. An id may be given by how it begins. The exit code is 0, or 125
/// when it failed; that of `retry` is as of `pinfold build`.
#[derive(Debug, Args)]
pub(crate) struct JobsOptions {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
enum Command {
    List(List),
    Show(Show),
    Logs(Logs),
    Cancel(Cancel),
    Retry(Retry),
    Work(Work),
    Clear(Clear),
}

/// List builds, the newest first
#[derive(Debug, Args)]
struct List {
    /// Of this project only
    #[arg(long, value_name = "P")]
    project: Option<String>,
    /// In this state only
    ///
    /// `queued`, `running`, `succeeded`, `failed`, `cancelled`, `expired` or `stale`.
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<State>,
    /// At most so many (default: 100)
    #[arg(long, value_name = "N", default_value_t = 100, hide_default_value = true)]
    limit: u32,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// Show one build
#[derive(Debug, Args)]
struct Show {
    /// The build's id, or how it begins
    #[arg(value_name = "ID")]
    id: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Show a build's log
///
/// What was written before a crash is there after it.
#[derive(Debug, Args)]
struct Logs {
    /// The build's id, or how it begins
    #[arg(value_name = "ID")]
    id: String,
    /// Go on until the build ends
    #[arg(short, long)]
    follow: bool,
    /// Print JSON objects, one a line
    ///
    /// `{"sequence", "time_us", "phase", "stream", "text", "truncated"}`; `stream` is `stdout`, `stderr` or `system`.
    #[arg(long)]
    json: bool,
}

/// Cancel a build
///
/// One that waits is cancelled at once. Of one that runs everything is killed within a second. Of one that has ended nothing
/// changes, and that is no error. Prints the state as it is then.
#[derive(Debug, Args)]
struct Cancel {
    /// The build's id, or how it begins
    #[arg(value_name = "ID")]
    id: String,
}

/// Build the same snapshot again, as a new build
///
/// Not when its project has a newer snapshot by now.
#[derive(Debug, Args)]
struct Retry {
    /// The build's id, or how it begins
    #[arg(value_name = "ID")]
    id: String,
    /// Queue it, print its id, leave it to other workers
    #[arg(short, long)]
    detach: bool,
    /// How often workers may try (default: as before)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    attempts: Option<u32>,
}

/// Work on builds of the queue until a signal comes
///
/// Any number of workers may. On SIGTERM or SIGINT it takes no more, lets those that run end for up to 30 seconds, and
/// gives them back to the queue after that.
#[derive(Debug, Args)]
struct Work {
    /// Builds at once (default: 2)
    #[arg(long, value_name = "N", default_value_t = 2, hide_default_value = true)]
    at_once: usize,
    /// Silence after which a build is lost (default: 30s)
    #[arg(long, value_name = "TIME", value_parser = pinfold::parse_duration)]
    lease: Option<Duration>,
    /// How long a build may wait (default: 15m)
    #[arg(long, value_name = "TIME", value_parser = pinfold::parse_duration)]
    longest_wait: Option<Duration>,
    /// Time for builds to end at a signal (default: 30s)
    #[arg(long, value_name = "TIME", value_parser = pinfold::parse_duration)]
    drain: Option<Duration>,
    /// End when no build waits
    #[arg(long)]
    until_idle: bool,
}

/// Forget old builds, and remove what nobody needs
///
/// Their snapshots, logs and artifacts go, but for what projects show.
#[derive(Debug, Args)]
struct Clear {
    /// Forget builds that ended longer ago than this
    #[arg(long, value_name = "TIME", value_parser = pinfold::parse_duration)]
    older_than: Duration,
}

fn state(text: &str) -> Result<State, String> {
    let known = || State::ALL.map(State::name).join(", ");
    State::named(text).ok_or_else(|| format!("it must be one of {}", known()))
}

pub(super) fn run(options: &JobsOptions) -> Exit {
    let done = build::open().and_then(|builds| match &options.command {
        Command::List(list) => show_list(&builds, list),
        Command::Show(show) => show_one(&builds, show),
        Command::Logs(logs) => show_log(&builds, logs),
        Command::Cancel(cancel) => {
            let cancelled = builds.cancel(&Builds::own_owner(), &find(&builds, &cancel.id)?.id)?;
            Ok(held::data(&format!("{}\n", cancelled.state)))
        }
        Command::Retry(retry) => {
            let again = Again { attempts: retry.attempts, ..Again::default() };
            let again = builds.retry(&Builds::own_owner(), &find(&builds, &retry.id)?.id, again)?;
            drive(&builds, again, Following { is_detached: retry.detach, ..Following::default() })
        }
        Command::Work(work) => work_on(&builds, work),
        Command::Clear(clear) => Ok(held::json(&builds.clear(clear.older_than)?)),
    });
    done.unwrap_or_else(|error| build::refuse(&error))
}

/// The build of an id, or of how one begins.
pub(super) fn find(builds: &Builds, id: &str) -> Result<Build, Error> {
    const WHOLE: usize = 32;
    if id.len() >= WHOLE {
        return builds.get(&Builds::own_owner(), id);
    }
    let mut found = builds.list(&Builds::own_owner(), &Filter { limit: 1000, ..Filter::default() })?;
    found.retain(|build| build.id.starts_with(id));
    match found.len() {
        1 if !id.is_empty() => Ok(found.remove(0)),
        0 => Err(Error::NotFound { what: "build", name: id.to_owned() }),
        _ => Err(Error::Invalid { what: format!("the id `{id}`"), reason: "several builds begin so".to_owned() }),
    }
}

fn show_list(builds: &Builds, options: &List) -> Result<Exit, Error> {
    let filter = Filter {
        project: options.project.clone(),
        state: options.state,
        limit: options.limit.max(1),
        ..Filter::default()
    };
    let listed = builds.list(&Builds::own_owner(), &filter)?;
    if options.json {
        return Ok(held::json(&listed));
    }
    let mut text = String::new();
    if !listed.is_empty() {
        text.push_str(&format!("{:<14}{:<11}{:<22}{:<14}PROJECT\n", "ID", "STATE", "HANDED IN", "PHASE"));
    }
    for build in &listed {
        let (id, created) = (&build.id[..12.min(build.id.len())], time(since_1970(build.created_us)));
        let phase = printable(build.phase.as_deref().unwrap_or("-"));
        let project = printable(&build.project);
        text.push_str(&format!("{id:<14}{:<11}{created:<22}{phase:<14}{project}\n", build.state.name()));
    }
    Ok(held::data(&text))
}

/// Milliseconds of microseconds, for dates.
pub(super) fn since_1970(microseconds: i64) -> u64 {
    u64::try_from(microseconds / 1000).unwrap_or(0)
}

fn show_one(builds: &Builds, options: &Show) -> Result<Exit, Error> {
    let build = find(builds, &options.id)?;
    if options.json {
        return Ok(held::json(&build));
    }
    let mut text =
        format!("build     {}\nproject   {}\nstate     {}\n", build.id, printable(&build.project), build.state);
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:<10}{}\n", printable(&value)));
    line("snapshot", format!("{} (number {})", build.snapshot, build.sequence));
    line("handed in", time(since_1970(build.created_us)));
    for (name, moment) in [("started", build.started_us), ("ended", build.finished_us)] {
        line(name, moment.map_or_else(|| "-".to_owned(), |moment| time(since_1970(moment))));
    }
    line("attempt", format!("{} of {}", build.attempt, build.attempts));
    if let Some(old) = &build.retry_of {
        line("retry of", old.clone());
    }
    for phase in &build.phases {
        let end = phase.exit_code.map_or_else(|| phase.status.clone(), |code| format!("exit code {code}"));
        line("phase", format!("{}: {end}, {:.1} s", phase.name, phase.wall_ms / 1000.0));
    }
    if let Some(artifact) = &build.artifact {
        line("artifact", artifact.clone());
    }
    if let Some(fault) = &build.error {
        line("error", format!("{} ({})", fault.message, fault.code));
    }
    line("log", format!("{} rows{}", build.log_rows, if build.log_truncated { ", cut" } else { "" }));
    Ok(held::data(&text))
}

fn show_log(builds: &Builds, options: &Logs) -> Result<Exit, Error> {
    let build = find(builds, &options.id)?;
    let longest = if options.follow { Duration::from_secs(10) } else { Duration::ZERO };
    runtime()?.block_on(async {
        let mut after = 0;
        loop {
            let batch = builds.next_rows(&build.owner, &build.id, after, None, longest).await?;
            for row in &batch.rows {
                let shown = if options.json { held::json(row) } else { held::data(&build::words(row)) };
                if shown != Exit::Success {
                    return Ok(shown);
                }
            }
            after = batch.rows.last().map_or(after, |row| row.sequence);
            if batch.is_end || (batch.rows.is_empty() && !options.follow) {
                return Ok(Exit::Success);
            }
        }
    })
}

fn work_on(builds: &Builds, options: &Work) -> Result<Exit, Error> {
    let pinfold = match Pinfold::new() {
        Ok(pinfold) => pinfold,
        Err(error) => {
            words::error(&error.to_string(), error.hint());
            return Ok(Exit::Failed);
        }
    };
    let mut settings = WorkerSettings::default();
    settings.at_once = options.at_once;
    settings.drain = options.drain.unwrap_or(settings.drain);
    settings.longest_wait = options.longest_wait.unwrap_or(settings.longest_wait);
    if let Some(lease) = options.lease {
        (settings.lease, settings.heartbeat) = (lease, lease / 3);
    }
    runtime()?.block_on(async {
        let failed = |source| Error::Io { what: "catch signals".to_owned(), source };
        let mut signals = super::run::signal::Signals::new().map_err(failed)?;
        let worker = Worker::new(builds.clone(), pinfold, settings)?;
        if options.until_idle {
            worker.run_until_idle().await?;
        } else {
            worker.run(async { _ = signals.next().await }).await?;
            message::note("no worker any more");
        }
        Ok(Exit::Success)
    })
}
