//! What a manager has and does, in figures.

use super::super::stats::Stats;
use super::place::Managed;
use super::{Manager, lock};
use crate::workspace::record::milliseconds;
use serde::Serialize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;

/// What a manager has and does.
#[derive(Clone, Debug, Serialize)]
pub struct ManagerStats {
    /// How many sandboxes it has.
    pub total_sandboxes: usize,
    /// How many operations are at work.
    pub active_operations: usize,
    /// How many sandboxes it may have.
    pub max_sandboxes: usize,
    /// After how long without use it ends one, in milliseconds.
    pub idle_timeout_ms: u64,
    /// How often it looks, in milliseconds.
    pub cleanup_interval_ms: u64,
    /// After how long without use what it starts ends by itself, in milliseconds.
    pub abandoned_after_ms: Option<u64>,
    /// Whether it is shutting down, or has.
    pub is_shutting_down: bool,
    /// Each sandbox, by name.
    pub sandboxes: Vec<SandboxStats>,
}

/// What a manager tells of one sandbox. What can't be measured is null.
#[derive(Clone, Debug, Serialize)]
pub struct SandboxStats {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was last used, through this manager or by anybody, in milliseconds since 1970.
    pub last_used_ms: u64,
    /// Whether an operation is at work, or a command runs.
    pub is_active: bool,
    /// When it was started, in milliseconds since 1970.
    pub created_ms: u64,
    /// Memory now, in bytes.
    pub memory_bytes: Option<u64>,
    /// CPU time since its start, in milliseconds.
    pub cpu_ms: Option<f64>,
    /// Processes and threads now.
    pub pids: Option<u64>,
}

impl Manager {
    /// What it has and does.
    pub async fn stats(&self) -> ManagerStats {
        let all = self.all();
        let settings = *self.state.settings.borrow();
        let mut asked = JoinSet::new();
        for (index, managed) in all.iter().enumerate() {
            let held = managed.held.clone();
            asked.spawn_blocking(move || (index, held.stats().ok()));
        }
        let mut told: Vec<Option<Stats>> = all.iter().map(|_| None).collect();
        while let Some(answer) = asked.join_next().await {
            if let Ok((index, stats)) = answer {
                told[index] = stats;
            }
        }
        let sandboxes = all.iter().zip(told).map(|(managed, stats)| sandbox_stats(managed, stats)).collect();
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        ManagerStats {
            total_sandboxes: all.len(),
            active_operations: all.iter().filter(|managed| managed.is_active()).count(),
            max_sandboxes: settings.max_sandboxes,
            idle_timeout_ms: milliseconds(settings.idle_timeout),
            cleanup_interval_ms: milliseconds(settings.cleanup_interval),
            abandoned_after_ms: self.abandoned_after().map(milliseconds),
            is_shutting_down: self.state.is_shutting_down.load(Ordering::Acquire),
            sandboxes,
        }
    }
}

fn sandbox_stats(managed: &Managed, stats: Option<Stats>) -> SandboxStats {
    let used = milliseconds(lock(&managed.used).1);
    let figures = stats.as_ref().and_then(|stats| stats.figures.clone()).unwrap_or_default();
    SandboxStats {
        id: managed.held.id().to_owned(),
        name: managed.held.name().to_owned(),
        last_used_ms: stats.as_ref().map_or(used, |stats| stats.last_used_ms.max(used)),
        is_active: managed.is_active() || stats.is_some_and(|stats| stats.is_active),
        created_ms: managed.held.record().created_ms,
        memory_bytes: figures.memory_bytes,
        cpu_ms: figures.cpu_ms,
        pids: figures.pids,
    }
}
