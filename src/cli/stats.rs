//! `pinfold stats`: what a sandbox does and uses now.

use super::exit::Exit;
use super::held::{self, span};
use super::workspace::list::{short, time};
use clap::Args;
use pinfold::Limits;
use pinfold::held::{Error, Held, Sandboxes, Stats};
use serde::Serialize;
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
    /// "workspace_bytes", "frozen"}, "limits"}`, the limits as in a job. What can't be measured is null. Later keys are added.
    #[arg(long)]
    json: bool,
    /// Don't look at the files of the workspace
    ///
    /// What it takes is told by looking at each of them, unless it lies in memory.
    #[arg(long)]
    no_size: bool,
}

pub(super) fn run(options: &StatsOptions) -> Exit {
    match Sandboxes::new().get(&options.name).and_then(|held| told(&held, !options.no_size)) {
        Ok(told) if options.json => held::json(&told),
        Ok(told) => held::data(&lines(&told)),
        Err(error) => held::refuse(error),
    }
}

/// What it does and uses, and what it may use.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    stats: Stats,
    limits: Limits,
}

/// With what the workspace takes.
fn told(held: &Held, with_size: bool) -> Result<Told, Error> {
    let mut stats = held.stats()?;
    if let Some(figures) = stats.figures.as_mut().filter(|figures| with_size && figures.workspace_bytes.is_none()) {
        figures.workspace_bytes =
            held.workspace_usage().ok().filter(|usage| !usage.incomplete).map(|usage| usage.bytes);
    }
    Ok(Told { stats, limits: held.record().spec.job.limits.clone() })
}

fn lines(Told { stats, limits }: &Told) -> String {
    let figures = stats.figures.clone().unwrap_or_default();
    let unknown = || "-".to_owned();
    let limit = |milliseconds: Option<u64>| milliseconds.map_or("no limit".to_owned(), span);
    let of = |limit: Option<String>| limit.map_or_else(String::new, |limit| format!(" of {limit}"));
    let memory = of(limits.memory_bytes.value().map(short));
    let pids = of(limits.pids.value().map(|count| count.to_string()));
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
        ("memory", figures.memory_bytes.map_or_else(unknown, short) + &memory),
        ("most memory", figures.peak_memory_bytes.map_or_else(unknown, short)),
        ("processes", figures.pids.map_or_else(unknown, |pids| pids.to_string()) + &pids),
        ("workspace", figures.workspace_bytes.map_or_else(unknown, short)),
    ];
    let mut text = String::new();
    for (name, value) in rows {
        // Writing to a String can't fail.
        let _ = writeln!(text, "{name:<12}{value}");
    }
    text
}
