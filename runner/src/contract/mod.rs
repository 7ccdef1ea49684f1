//! The job and the result as types. What parses is valid: a value out of range never becomes one of these.

pub mod artifact;
pub mod content;
pub mod cpuset;
pub mod held;
pub mod isolation;
pub mod job;
pub mod limit;
pub mod network;
pub mod options;
pub mod outcome;
pub mod relay;
#[cfg(test)]
mod tests;
pub mod text;
pub mod workspace;
