//! Where files are: in a sandbox, or in a workspace.

use super::refusal::Refusal;
use super::server::{Server, Shared};
use pinfold::files::{Bounds, Tree};
use pinfold::held::Held;
use pinfold::workspace::Quota;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// What one call may read and look at: less than the library's bounds, since a model waits for it.
const BOUNDS: (u64, u64, u64, Duration) = (16 << 20, 256 << 20, 200_000, Duration::from_secs(20));

/// Exactly one of the two.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(super) struct Place {
    /// The sandbox that has the file. Give this or `workspace`
    sandbox: Option<String>,
    /// The workspace that has the file
    workspace: Option<String>,
}

/// Files, and how much may still be written.
pub(super) struct Opened {
    pub(super) tree: Tree,
    left: Quota,
}

impl Opened {
    /// Refuses what would be more than the workspace may hold.
    pub(super) fn check(&self, bytes: usize) -> Result<(), Refusal> {
        match self.left {
            Quota { bytes: Some(left), .. } if bytes as u64 > left => Err(Refusal::new(format!(
                "the workspace is full: there is room for {left} bytes, and {bytes} are needed"
            ))),
            Quota { inodes: Some(0), .. } => Err(Refusal::new("the workspace is full: it may hold no more files")),
            _ => Ok(()),
        }
    }
}

impl Server {
    /// Does something with the files of a place.
    pub(super) async fn files<T: Send + 'static>(
        &self,
        place: Place,
        writes: bool,
        work: impl FnOnce(&Opened) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let held = match &place.sandbox {
            Some(name) => Some(self.held(name).await?),
            None => None,
        };
        self.blocking(move |shared| work(&open(shared, held, place.workspace, writes)?)).await
    }
}

fn open(shared: &Shared, held: Option<Held>, workspace: Option<String>, writes: bool) -> Result<Opened, Refusal> {
    let (tree, left) = match (held, workspace) {
        (Some(held), None) => (held.files()?, Quota::default()),
        (None, Some(workspace)) => {
            let id = shared.workspace(&workspace)?;
            let in_use = if writes { shared.store.open(&id)? } else { shared.store.open_to_read(&id)? };
            let left = if writes { in_use.remaining()? } else { Quota::default() };
            (in_use.into_files()?, left)
        }
        _ => return Err(Refusal::new("give `sandbox` or `workspace`, and not both")),
    };
    let mut bounds = Bounds::default();
    (bounds.file_bytes, bounds.scan_bytes, bounds.entries, bounds.time) = BOUNDS;
    Ok(Opened { tree: tree.with_bounds(bounds), left })
}
