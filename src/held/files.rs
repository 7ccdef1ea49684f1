//! The files of a held sandbox's workspace.

use super::client::Held;
use super::connect::{Line, PATIENCE};
use super::error::Error;
use super::wire::{Reply, Request};
use crate::files::Tree;
use crate::workspace::{Store, Usage};
use std::os::fd::OwnedFd;

impl Held {
    /// The files of its workspace, confined, as the sandbox itself sees them, while it works on them. What is made here
    /// belongs to the sandbox's user.
    ///
    /// It does not keep the sandbox alive, and is to be dropped before that ends: what is written later is seen by nobody
    /// where the workspace is a temporary one, and gets in the way of who works next in one with checkpoints.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Error::Gone`] when the sandbox has ended.
    pub fn files(&self) -> Result<Tree, Error> {
        let line = self.line()?;
        let (reply, descriptors) = line.ask_for(&Request::Workspace, self.name(), PATIENCE)?;
        let directory: Option<OwnedFd> = descriptors.into_iter().next();
        let (Reply::Workspace, Some(directory)) = (reply, directory) else { return Err(self.answers_otherwise()) };
        let tree = Tree::of_sandbox(directory);
        let tree = tree.map_err(|error| Error::invalid("the workspace's files", error.to_string()))?;
        let spec = &self.record().spec;
        let tree = tree.known_as(spec.job.workspace_path());
        Ok(match &spec.workspace {
            // Nobody removes it or rolls it back meanwhile, even if the sandbox ends.
            Some(stored) => tree.keeping(Store::at(&stored.state)?.open_to_read(&stored.id)?),
            None => tree,
        })
    }

    /// What its workspace takes, as the sandbox itself sees it. Every file is looked at, which takes as long as there are many.
    ///
    /// # Errors
    /// As [`files`](Self::files).
    pub fn workspace_usage(&self) -> Result<Usage, Error> {
        self.files().map(|files| files.usage())
    }

    /// A connection to its keeper, and to no other that has its name by now.
    pub(super) fn line(&self) -> Result<Line, Error> {
        let (shared, name) = (&self.shared, self.name());
        let line = Line::open(&shared.runtime, &shared.key, PATIENCE)?.ok_or_else(|| Error::not_found(name))?;
        match line.ask(&Request::Hello, name, PATIENCE)? {
            Reply::Here(record) if record.id == self.id() => Ok(line),
            Reply::Here(_another) => Err(Error::gone(name)),
            _ => Err(self.answers_otherwise()),
        }
    }

    pub(super) fn answers_otherwise(&self) -> Error {
        Error::invalid(format!("the keeper of sandbox `{}`", self.name()), "it answers something else")
    }
}
