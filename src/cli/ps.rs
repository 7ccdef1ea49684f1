//! `pinfold ps`: the sandboxes that live.

use super::exit::Exit;
use super::held::{self, span};
use super::message::printable;
use clap::Args;
use pinfold::held::{Listed, Record, Sandboxes, Stats};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// List the sandboxes that live
///
/// Those that `pinfold start` started as this user. What died without a word is cleared away by this and every other
/// command, and not listed.
#[derive(Debug, Args)]
pub(crate) struct PsOptions {
    /// Print a JSON array instead of a table
    ///
    /// Of objects `{"id", "name", "workspace", "created_ms", "last_used_ms", "uptime_ms", "idle_ms", "is_active", "running",
    /// "started", "attached", "idle_limit_ms", "ttl_ms", "keeper_pid", "isolation", "answers", "broken"}`. What a keeper that
    /// does not answer would tell is null; of one whose record can't be read all but `broken` is. Later keys are added.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &PsOptions) -> Exit {
    let listed = match Sandboxes::new().list() {
        Ok(listed) => listed,
        Err(error) => return held::refuse(error),
    };
    if options.json {
        return held::json(&listed.iter().map(object).collect::<Vec<_>>());
    }
    let mut text = String::new();
    if !listed.is_empty() {
        text.push_str(&format!("{:<18}{:<10}{:<22}{:<22}NAME\n", "ID", "AGE", "STATUS", "WORKSPACE"));
    }
    for listed in &listed {
        // Writing to a String can't fail.
        let _ = match listed {
            Listed::Sandbox(record, stats) => {
                let age = stats.as_ref().map_or("-".to_owned(), |stats| span(stats.uptime_ms));
                let workspace = printable(record.workspace().unwrap_or("-"));
                let status = status(stats.as_deref());
                writeln!(text, "{:<18}{age:<10}{status:<22}{workspace:<21} {}", record.id, record.name)
            }
            Listed::Broken(key) => writeln!(text, "broken: {key}"),
        };
    }
    held::data(&text)
}

fn status(stats: Option<&Stats>) -> String {
    match stats {
        None => "not answering".to_owned(),
        Some(stats) if stats.is_active => format!("{} running", stats.running.max(stats.attached)),
        Some(stats) => format!("idle for {}", span(stats.idle_ms)),
    }
}

fn object(listed: &Listed) -> Value {
    let (record, stats, broken): (Option<&Record>, Option<&Stats>, Option<&str>) = match listed {
        Listed::Sandbox(record, stats) => (Some(record), stats.as_deref(), None),
        Listed::Broken(key) => (None, None, Some(key)),
    };
    json!({
        "id": record.map(|record| &record.id),
        "name": record.map(|record| &record.name),
        "workspace": record.and_then(|record| record.workspace()),
        "created_ms": record.map(|record| record.created_ms),
        "keeper_pid": record.map(|record| record.keeper.pid),
        "isolation": record.map(|record| &record.isolation),
        "last_used_ms": stats.map(|stats| stats.last_used_ms),
        "uptime_ms": stats.map(|stats| stats.uptime_ms),
        "idle_ms": stats.map(|stats| stats.idle_ms),
        "is_active": stats.map(|stats| stats.is_active),
        "running": stats.map(|stats| stats.running),
        "started": stats.map(|stats| stats.started),
        "attached": stats.map(|stats| stats.attached),
        "idle_limit_ms": stats.and_then(|stats| stats.idle_limit_ms),
        "ttl_ms": stats.and_then(|stats| stats.ttl_ms),
        "answers": stats.is_some(),
        "broken": broken,
    })
}
