//! What a new keeper is told by whoever started it, and what it answers when its sandbox is there.

use super::name::Name;
use super::record::Record;
use super::spec::Spec;
use pinfold_runner::Failure;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The keeper's one argument, which says that it was not started by hand.
pub(crate) const START: &str = "--started";

/// The keeper's descriptors from number 3 on: the socket to the starter, the runtime directory, and the locked file.
pub(crate) const DESCRIPTORS: usize = 3;

/// What the keeper is to keep.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) name: Name,
    pub(crate) spec: Spec,
    /// The runner's file.
    pub(crate) runner: PathBuf,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Started(Box<Record>),
    /// Why it can't be, and which process says so.
    Failed(Failure, i32),
}
