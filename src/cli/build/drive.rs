//! Following a build to its end: its log as the store has it, so that what was seen is what is kept. Where no worker lives
//! who could take it, this process is the worker.

use super::end;
use crate::cli::exit::Exit;
use crate::cli::held;
use crate::cli::message::{self, printable};
use crate::cli::run::signal::Signals;
use pinfold::Pinfold;
use pinfold::build::{Build, Builds, Error, LogRow, Stream, Worker, WorkerSettings};
use pinfold::files::Tree;
use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

/// How often it is looked whether a worker lives.
const LOOK: Duration = Duration::from_millis(500);

/// What is wanted of a build that was handed in.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::cli) struct Following<'a> {
    /// Nothing but its id.
    pub(in crate::cli) is_detached: bool,
    /// The build as JSON.
    pub(in crate::cli) is_json: bool,
    /// Its artifact's files, here.
    pub(in crate::cli) artifact_dir: Option<&'a Path>,
}

/// Follows a build, or leaves it to others.
///
/// # Errors
/// When it can't be followed. It is in the queue all the same.
pub(in crate::cli) fn drive(builds: &Builds, build: Build, following: Following<'_>) -> Result<Exit, Error> {
    if following.is_detached {
        if builds.workers() == 0 {
            message::note("no worker lives: `pinfold jobs work` and `pinfold serve` are some");
        }
        return Ok(if following.is_json { held::json(&build) } else { held::data(&format!("{}\n", build.id)) });
    }
    message::note(&format!("build {} of project {}", build.id, build.project));
    let ended = end::runtime()?.block_on(follow(builds, &build))?;
    if ended.artifact.is_none() {
        let exit = end::tell(&ended);
        return Ok(if following.is_json { told(held::json(&ended), exit) } else { exit });
    }
    let artifact = builds.artifact(&ended.owner, &ended.id)?;
    let path = match following.artifact_dir {
        None => artifact.path.clone(),
        Some(directory) => {
            std::fs::create_dir_all(directory)
                .map_err(|source| Error::Io { what: format!("make `{}`", directory.display()), source })?;
            let report = artifact.files.copy_to(".", &Tree::open_own(directory)?, ".", &mut |_| {})?;
            if let Some(error) = report.refused.into_iter().next() {
                return Err(error.into());
            }
            directory.to_owned()
        }
    };
    Ok(if following.is_json { held::json(&ended) } else { held::data(&format!("{}\n", path.display())) })
}

/// The first of the two that is no success.
fn told(printed: Exit, ended: Exit) -> Exit {
    if printed == Exit::Success { ended } else { printed }
}

async fn follow(builds: &Builds, build: &Build) -> Result<Build, Error> {
    let mut signals = Signals::new().map_err(|source| Error::Io { what: "catch signals".to_owned(), source })?;
    let is_ours = Cell::new(false);
    let working = work(builds, build, &is_ours);
    let showing = show(builds, build);
    tokio::pin!(working, showing);
    let (mut is_working, mut asked) = (true, 0);
    loop {
        tokio::select! {
            shown = &mut showing => {
                // Our own worker clears up behind the build.
                if is_working && is_ours.get() {
                    working.await?;
                }
                return shown;
            }
            // The log's end comes after this.
            worked = &mut working, if is_working => {
                is_working = false;
                worked?;
            }
            _ = signals.next() => {
                asked += 1;
                // Whoever asks twice does not want to wait for the end.
                if asked > 1 {
                    return builds.get(&build.owner, &build.id);
                }
                message::note("cancelling the build");
                builds.cancel(&build.owner, &build.id)?;
            }
        }
    }
}

/// Works on the build as soon as no other worker lives, in this process.
async fn work(builds: &Builds, build: &Build, is_ours: &Cell<bool>) -> Result<(), Error> {
    loop {
        let now = builds.get(&build.owner, &build.id)?;
        if now.state.is_terminal() {
            return Ok(());
        }
        if builds.workers() == 0 {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    is_ours.set(true);
    let pinfold = Pinfold::new().map_err(|error| {
        let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
        Error::Invalid { what: "this process can't run builds".to_owned(), reason: format!("{error}{hint}") }
    })?;
    let worker = Worker::new(builds.clone(), pinfold, WorkerSettings::default())?;
    worker.run_one(&build.owner, &build.id, std::future::pending()).await
}

/// Shows the log to its end.
async fn show(builds: &Builds, build: &Build) -> Result<Build, Error> {
    let (mut after, mut seen) = (0, build.clone());
    loop {
        let batch = builds.next_rows(&build.owner, &build.id, after, Some(&seen), Duration::from_secs(10)).await?;
        let text: String = batch.rows.iter().map(words).collect();
        message::passed_on(text.as_bytes());
        after = batch.rows.last().map_or(after, |row| row.sequence);
        if batch.is_end {
            return Ok(batch.build);
        }
        seen = batch.build;
    }
}

/// A row as people read it.
pub(in crate::cli) fn words(row: &LogRow) -> String {
    let more = if row.truncated { " … (cut)" } else { "" };
    match row.stream {
        Stream::System => format!("pinfold: {}\n", printable(&row.text)),
        _ => format!("{}{more}\n", printable(&row.text)),
    }
}
