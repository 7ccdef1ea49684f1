//! `pinfold stats`: what a sandbox does and uses now.

use super::exit::Exit;
use super::held::{self, span};
use super::workspace::list::{short, time};
use clap::Args;
use pinfold::held::{Error, Held, Sandboxes, Stats};
use std::fmt::Write as _;

/// Show what a sandbox does and uses now
#[derive(Debug, Args)]
pub(crate) struct StatsOptions {
    /// The sandbox: its name, its id, or how its id begins
    #[arg(value_name = "NAME")]
    name: String,
    /// Print one JSON object instead of lines
    ///
    /// `{"id", "name", "created_ms", "last_used_ms", "uptime_ms", "idle_ms", "is_active", "running", "started", "attached",
    /// "idle_limit_ms", "ttl_ms", "figures": {"cpu_ms", "memory_bytes", "peak_memory_bytes", "memory", "pids",
    /// "workspace_bytes", "frozen"}}`. What can't be measured is null. Later keys are added.
    #[arg(long)]
    json: bool,
    /// Don't look at the files of the workspace
    ///
    /// What it takes is told by looking at each of them, unless it lies in memory.
    #[arg(long)]
    no_size: bool,
}

pub(super) fn run(options: &StatsOptions) -> Exit {
    match Sandboxes::new().get(&options.name).and_then(|held| stats(&held, !options.no_size)) {
        Ok(stats) if options.json => held::json(&stats),
        Ok(stats) => held::data(&lines(&stats)),
        Err(error) => held::refuse(error),
    }
}

/// With what the workspace takes.
fn stats(held: &Held, with_size: bool) -> Result<Stats, Error> {
    let mut stats = held.stats()?;
    if let Some(figures) = stats.figures.as_mut().filter(|figures| with_size && figures.workspace_bytes.is_none()) {
        figures.workspace_bytes =
            held.workspace_usage().ok().filter(|usage| !usage.incomplete).map(|usage| usage.bytes);
    }
    Ok(stats)
}

fn lines(stats: &Stats) -> String {
    let figures = stats.figures.clone().unwrap_or_default();
    let unknown = || "-".to_owned();
    let limit = |milliseconds: Option<u64>| milliseconds.map_or("no limit".to_owned(), span);
    let rows = [
        ("id", stats.id.clone()),
        ("name", stats.name.clone()),
        ("created", time(stats.created_ms)),
        ("last used", time(stats.last_used_ms)),
        ("lives", format!("{} of {}", span(stats.uptime_ms), limit(stats.ttl_ms))),
        ("idle", format!("{} of {}", span(stats.idle_ms), limit(stats.idle_limit_ms))),
        ("commands", format!("{} running, {} started", stats.running, stats.started)),
        ("attached", stats.attached.to_string()),
        ("CPU time", figures.cpu_ms.map_or_else(unknown, |time| format!("{time:.1} ms"))),
        ("memory", figures.memory_bytes.map_or_else(unknown, short)),
        ("most memory", figures.peak_memory_bytes.map_or_else(unknown, short)),
        ("processes", figures.pids.map_or_else(unknown, |pids| pids.to_string())),
        ("workspace", figures.workspace_bytes.map_or_else(unknown, short)),
    ];
    let mut text = String::new();
    for (name, value) in rows {
        // Writing to a String can't fail.
        let _ = writeln!(text, "{name:<12}{value}");
    }
    text
}
