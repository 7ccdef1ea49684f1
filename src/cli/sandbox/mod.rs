//! What every command that makes a sandbox has in common: its options, and what they make of a job.

mod job;
mod options;
pub(in crate::cli) mod reach;
pub(in crate::cli) mod stored;

pub(in crate::cli) use job::describe;
pub(in crate::cli) use options::SandboxOptions;
