//! Sandboxes that are held: they live until they are stopped, and commands run in them one after another or at once.

mod begun;
mod client;
mod config;
mod connect;
mod error;
mod exec;
mod files;
mod find;
mod log;
mod logs;
mod manager;
mod name;
pub(crate) mod order;
pub(crate) mod output;
mod record;
pub(crate) mod runtime;
mod save;
mod scoped;
mod session;
mod spec;
mod start;
mod stats;
mod stop;
pub(crate) mod terminal;
pub(crate) mod wire;

pub use self::begun::Begun;
pub use self::client::{Held, Listed, Sandboxes};
pub use self::config::{Config, Shared};
pub(crate) use self::connect::is_readable;
pub use self::error::Error;
pub use self::exec::{ExecController, Running, command};
pub use self::log::{LogEvent, LogLine};
pub use self::logs::{Follower, LogReader};
pub use self::manager::{Cleanup, Deleted, Manager, ManagerSettings, ManagerStats, Operation, SandboxStats};
pub use self::name::Name;
pub use self::output::Meter;
pub use self::record::{Process, Record};
pub use self::scoped::Scoped;
pub use self::session::{SandboxPolicy, Session};
pub use self::spec::{Spec, StoredWorkspace};
pub use self::stats::Stats;
pub use self::stop::Stopped;
pub use self::terminal::{
    Attached, OnTerminal, RunOptions, RunOutput, Shell, Terminal, TerminalInfo, TerminalOptions, TerminalState,
};

pub(crate) use self::log::{HALF, LONGEST_LINE, files as log_files};
pub(crate) use self::session::leave;
