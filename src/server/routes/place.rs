//! Where files are: in a sandbox, or in a workspace, whichever the path names. No path leads out of them: the library sees to
//! that.

use crate::server::call::Call;
use crate::server::problem::Problem;
use crate::server::state::Shared;
use axum::http::StatusCode;
use pinfold::files::{Bounds, Entry, Tree};
use pinfold::workspace::Quota;
use schemars::JsonSchema;
use serde::Serialize;
use std::time::{Duration, SystemTime};

/// What one call may read and look at: less than the library's bounds, since others wait.
const BOUNDS: (u64, u64, Duration) = (256 << 20, 200_000, Duration::from_secs(20));

/// The prefixes of all routes about files.
pub(super) const SANDBOX: &str = "sandbox";

/// Files, and how much may still be written.
pub(super) struct Opened {
    pub(super) tree: Tree,
    left: Quota,
}

impl Opened {
    /// Refuses what would be more than the workspace may hold.
    pub(super) fn check(&self, bytes: usize) -> Result<(), Problem> {
        let full = |words: String| Err(Problem::new(StatusCode::INSUFFICIENT_STORAGE, "no_space", words));
        match self.left {
            Quota { bytes: Some(left), .. } if bytes as u64 > left => {
                full(format!("the workspace is full: there is room for {left} bytes, and {bytes} are needed"))
            }
            Quota { inodes: Some(0), .. } => full("the workspace is full: it may hold no more files".to_owned()),
            _ => Ok(()),
        }
    }
}

/// Does something with the files of the place that the path names.
pub(super) async fn files<T: Send + 'static>(
    call: &Call,
    writes: bool,
    work: impl FnOnce(Opened) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    if call.parameter(SANDBOX).is_empty() {
        let id = call.workspace()?;
        return call.blocking(move |shared, _| work(open_workspace(shared, &id, writes)?)).await;
    }
    let held = call.held().await?;
    let limits = held.record().spec.job.limits.clone();
    call.blocking(move |shared, _| {
        let most = pinfold::service::quota(&limits);
        work(opened(shared, held.files()?, most))
    })
    .await
}

fn open_workspace(shared: &Shared, id: &str, writes: bool) -> Result<Opened, Problem> {
    let in_use = if writes { shared.store.open(id)? } else { shared.store.open_to_read(id)? };
    let left = if writes { in_use.remaining()? } else { Quota::default() };
    Ok(opened(shared, in_use.into_files()?, left))
}

fn opened(shared: &Shared, tree: Tree, left: Quota) -> Opened {
    let mut bounds = Bounds::default();
    (bounds.scan_bytes, bounds.entries, bounds.time) = BOUNDS;
    bounds.file_bytes = shared.settings.max_body;
    bounds.copy_bytes = left.bytes.unwrap_or(bounds.copy_bytes).min(bounds.copy_bytes);
    bounds.entries = left.inodes.unwrap_or(bounds.entries).min(bounds.entries);
    Opened { tree: tree.with_bounds(bounds), left }
}

/// Something that has a path.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Item {
    /// Relative to /workspace; what is not UTF-8 is replaced, and `path_base64` has the bytes.
    pub(super) path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path_base64: Option<String>,
    /// file, directory, symlink, fifo, socket, device
    kind: String,
    bytes: u64,
    /// The permission bits.
    mode: u32,
    /// When its content was last changed, in milliseconds since 1970, as whoever owns it says.
    modified_ms: u64,
    /// Where a symlink points.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

impl Item {
    pub(super) fn of(entry: &Entry) -> Self {
        let kind = serde_json::to_value(entry.kind).unwrap_or_default();
        let modified = entry.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            path: entry.path.to_string_lossy().into_owned(),
            path_base64: super::file::base64(&entry.path),
            kind: kind.as_str().unwrap_or_default().to_owned(),
            bytes: entry.size,
            mode: entry.mode,
            modified_ms: u64::try_from(modified.as_millis()).unwrap_or(u64::MAX),
            target: entry.target.as_ref().map(|target| target.to_string_lossy().into_owned()),
        }
    }
}
