//! The server of the Model Context Protocol: what the library does, as tools for a model. One file for each group of
//! tools; the operator's bounds are set at the start, and no tool has a say in them.

mod answer;
mod bounds;
mod checkpoints;
mod files;
mod place;
mod progress;
mod refusal;
mod run;
mod sandboxes;
mod server;
mod stdin;
mod terminals;
mod workspaces;

pub(crate) use bounds::Bounds;
pub(crate) use server::serve;
