//! A workspace with a sandbox in it, both got or created.

use super::client::{Held, Sandboxes};
use super::error::Error;
use super::find::{self, Found};
use super::name::Name;
use super::runtime::Runtime;
use super::spec::Spec;
use crate::workspace::Store;
use crate::workspace::key::Key;
use pinfold_runner::Failure;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How many digits of a workspace's key are in the name of its sandbox.
const DIGITS: usize = 40;

/// Whether a session needs its sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxPolicy {
    /// Without one there is no session.
    Required,
    /// If there can be one. The session says why there is none.
    BestEffort,
    /// None is wanted.
    Disabled,
}

/// A workspace, and the sandbox in it.
#[derive(Clone, Debug)]
pub struct Session {
    /// Where the workspace's files are.
    pub path: PathBuf,
    /// The sandbox, or why there is none.
    pub sandbox: Result<Held, Failure>,
}

impl Sandboxes {
    /// Makes the workspace if it is absent, and a sandbox in it unless one lives. Where the spec names no sandbox, its name
    /// comes from the workspace's id, so that all who ask for the workspace's sandbox mean the same one.
    ///
    /// # Errors
    /// When the workspace can't be had, and with [`SandboxPolicy::Required`] when the sandbox can't.
    pub fn ensure_session(
        &self,
        store: &Store,
        id: &str,
        spec: &Spec,
        policy: SandboxPolicy,
    ) -> Result<Session, Error> {
        let path = store.create(id, None)?;
        if policy == SandboxPolicy::Disabled {
            return Ok(Session { path, sandbox: Err(Failure::new("disabled", "no sandbox is wanted")) });
        }
        let mut spec = spec.clone().in_workspace(store, id);
        spec.name = Some(spec.name.map_or_else(|| Self::session_name(id), Ok)?);
        match self.start(&spec) {
            Ok(held) => Ok(Session { path, sandbox: Ok(held) }),
            Err(error) if policy == SandboxPolicy::Required => Err(error),
            Err(error) => Ok(Session { path, sandbox: Err(error.into_failure()) }),
        }
    }

    /// The name of the sandbox of a workspace: the beginning of its key, which any id has.
    ///
    /// # Errors
    /// When the id is longer than any id is.
    pub fn session_name(id: &str) -> Result<Name, Error> {
        let key = Key::of(id)?;
        Name::try_from(format!("ws-{}", &key.as_str()[..DIGITS]))
    }

    /// The sandboxes that live in a workspace of a store.
    ///
    /// # Errors
    /// When the runtime directory can't be read.
    pub fn in_workspace(&self, state: &Path, id: &str) -> Result<Vec<Held>, Error> {
        let names = self.in_store(state)?.remove(id).unwrap_or_default();
        // What has ended meanwhile is in none.
        Ok(names.iter().filter_map(|name| self.get(name.as_str()).ok()).collect())
    }

    /// The names of the sandboxes that live in workspaces of a store, by the workspace's id.
    ///
    /// # Errors
    /// When the runtime directory can't be read.
    pub fn in_store(&self, state: &Path) -> Result<BTreeMap<String, Vec<Name>>, Error> {
        let mut found = BTreeMap::<_, Vec<_>>::new();
        let Some(runtime) = Runtime::open(self.path(), false)? else { return Ok(found) };
        runtime.sweep()?;
        for Found { record, .. } in find::living(&runtime)?.0 {
            if let Some(workspace) = record.spec.workspace.filter(|workspace| is_same(&workspace.state, state)) {
                found.entry(workspace.id).or_default().push(record.name);
            }
        }
        Ok(found)
    }
}

/// Whether two paths lead to one state directory.
fn is_same(one: &Path, other: &Path) -> bool {
    one == other || one.canonicalize().ok().zip(other.canonicalize().ok()).is_some_and(|(one, other)| one == other)
}

/// Ends the sandboxes that live in a workspace which is to be removed. One that can't be ended keeps its workspace.
pub(crate) fn leave(state: &Path, id: &str) {
    for held in Sandboxes::new().in_workspace(state, id).unwrap_or_default() {
        let _keeps_its_workspace = held.stop();
    }
}
