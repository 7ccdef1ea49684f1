//! `pinfold run`: a command with live stdio, or a JSON job. The options are in `options`, the way from them to a job in
//! `job`, each way of running in a file of its own, and the end in `verdict`.

mod job;
pub(in crate::cli) mod join;
mod json;
mod live;
mod options;
pub(in crate::cli) mod relay;
mod report;
pub(in crate::cli) mod signal;
pub(in crate::cli) mod terminal;
pub(in crate::cli) mod verdict;

pub(super) use options::RunOptions;

use super::exit::Exit;
use super::message;
use super::value::reason;
use pinfold::{Error, Failure};

pub(super) fn run(options: RunOptions) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            message::error(&format!("failed to start: {error}"), None);
            return Exit::Failed;
        }
    };
    let exit = match &options.json {
        Some(file) => runtime.block_on(json::run(file)),
        None => runtime.block_on(live::run(&options)),
    };
    // Not a drop, which would wait for whatever still reads or writes for us.
    runtime.shutdown_background();
    exit
}

/// A failure of the host's in the words of a result.
pub(super) fn failure_of(what: &'static str) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure::new("host_error", format!("failed to {what}: {}", reason(&error)))
}

/// An error of the library in the words of a result, causes joined.
pub(super) fn failure(code: &str, error: &Error) -> Failure {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        message = format!("{message}: {source}");
        cause = source.source();
    }
    let hint = match error {
        // The library's own hint is for those who call it.
        Error::RunnerNotFound => Some("install `pinfold-runner` into the directory of `pinfold`, or on `PATH`"),
        _ => error.hint(),
    };
    Failure { code: code.to_owned(), message, hint: hint.map(str::to_owned) }
}
