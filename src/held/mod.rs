//! Sandboxes that are held: they live until they are stopped, and commands run in them one after another or at once.

mod error;
mod log;
mod name;
pub(crate) mod order;
mod record;
pub(crate) mod runtime;
mod spec;
mod stats;
pub(crate) mod wire;

pub use self::error::Error;
pub use self::log::{LogEvent, LogLine};
pub use self::name::Name;
pub use self::record::{Process, Record};
pub use self::spec::{Spec, StoredWorkspace};
pub use self::stats::Stats;

pub(crate) use self::log::{HALF, LONGEST_LINE, files as log_files};
