//! `pinfold logs`: what happened in a sandbox, and what its detached commands wrote.

use super::exit::Exit;
use super::held;
use super::message::printable;
use super::workspace::list::time;
use clap::Args;
use pinfold::held::{Error, LogLine, LogReader, Sandboxes};

/// Show what happened in a sandbox, and what detached commands wrote
///
/// A line for the start, for each command's begin and end, and for each line that a command of `exec --detach` wrote, with
/// time (UTC), the command's number and the stream. Also of a sandbox that ended, for an hour. The newest 8 to 16 MiB
/// are kept, of one line 8 KiB.
#[derive(Debug, Args)]
pub(crate) struct LogsOptions {
    /// The sandbox: its name, its id, or how its id begins
    #[arg(value_name = "NAME")]
    name: String,
    /// Go on until the sandbox ends
    #[arg(short, long)]
    follow: bool,
    /// Print JSON objects, one a line
    ///
    /// `{"time_ms", "exec", "event", "text", "truncated"}`; `event` is `started`, `begun`, `stdout`, `stderr`, `ended`,
    /// `connection`, `dropped` or `stopped`, `exec` is null for what is about the sandbox, a `text` that is not UTF-8 is
    /// `{"base64": "…"}`, `truncated` is there where it is true. Later keys are added.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &LogsOptions) -> Exit {
    match Sandboxes::new().logs(&options.name).and_then(|log| show(log, options)) {
        Ok(exit) => exit,
        Err(error) => held::refuse(error),
    }
}

fn show(mut log: LogReader, options: &LogsOptions) -> Result<Exit, Error> {
    let follower = if options.follow { log.follow()? } else { None };
    let mut more = follower.is_some();
    loop {
        while let Some(line) = log.next_line()? {
            let shown = if options.json { held::json(&line) } else { held::data(&words(&line)) };
            if shown != Exit::Success {
                return Ok(shown);
            }
        }
        if !more {
            return Ok(Exit::Success);
        }
        // Whatever was written before the end is read once more.
        more = follower.as_ref().is_some_and(|follower| follower.wait());
    }
}

fn words(line: &LogLine) -> String {
    let exec = line.exec.map_or("-".to_owned(), |number| number.to_string());
    let text = printable(&line.text.to_text());
    let more = if line.truncated { " … (cut)" } else { "" };
    format!("{} {exec:<4} {:<8} {text}{more}\n", time(line.time_ms), line.event.name())
}
