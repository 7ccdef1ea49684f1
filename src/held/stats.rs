//! What a held sandbox does and uses.

use pinfold_runner::HeldFigures;
use serde::{Deserialize, Serialize};

/// What a held sandbox does and uses now. What can't be measured is null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was started, in milliseconds since 1970.
    pub created_ms: u64,
    /// When a command last began or ended, or it was started, in milliseconds since 1970.
    pub last_used_ms: u64,
    /// How long it has lived, in milliseconds of the monotonic clock.
    pub uptime_ms: u64,
    /// For how long no command has run and nobody was attached; 0 while somebody does.
    pub idle_ms: u64,
    /// Whether a command runs or somebody is attached.
    pub is_active: bool,
    /// Commands that run now.
    pub running: u64,
    /// Commands that were ever started.
    pub started: u64,
    /// Clients that are attached to a terminal.
    pub attached: u64,
    /// How long it may be idle, in milliseconds.
    pub idle_limit_ms: Option<u64>,
    /// How long it may live, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// What it uses, where the runner tells.
    pub figures: Option<HeldFigures>,
}
