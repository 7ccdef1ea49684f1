//! Artifacts: which files of the workspace are copied out, and what became of each.

use super::content::Content;
use super::text::{AbsolutePath, WorkspacePath};
use serde::{Deserialize, Serialize};

/// Files and folders of the workspace to copy out when nothing of the sandbox runs any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifacts {
    /// Paths below the workspace; a folder means everything in it.
    pub paths: Vec<WorkspacePath>,
    /// An absolute path of the host where copies go, at the same relative paths; made if absent. Nothing is ever
    /// overwritten there, and it must not be writable from inside the sandbox.
    pub directory: AbsolutePath,
}

/// One file that was copied out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactFile {
    /// The path below the workspace, and below the artifact directory.
    pub path: Content,
    /// The size of the copy in bytes.
    pub bytes: u64,
    /// SHA-256 of the copy, in lower-case hexadecimal.
    pub sha256: String,
    /// Whether its owner may execute it.
    pub executable: bool,
}

/// One path that was not copied out, and why. Never changes the status of the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactError {
    /// The path below the workspace.
    pub path: Content,
    /// Why.
    pub code: ArtifactErrorCode,
    /// The errno's name where the system refused, such as `EACCES`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<String>,
}

/// Why a path was not copied out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactErrorCode {
    /// Nothing is there.
    Missing,
    /// A symbolic link: links are never followed and never copied.
    Symlink,
    /// A FIFO, socket or device.
    Special,
    /// The artifact directory has something of that name already.
    Exists,
    /// The file, or all files together, pass the budget in bytes.
    TooBig,
    /// More files and folders than the budget allows.
    TooMany,
    /// Deeper than the budget allows.
    TooDeep,
    /// Collecting took longer than the budget allows.
    TooSlow,
    /// The caller cancelled while files were being copied.
    Cancelled,
    /// The system refused to read or write it; `errno` says how.
    Io,
}
