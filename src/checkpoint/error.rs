//! Why a checkpoint could not be had, made or removed. Each reason has a code that stays.

use crate::workspace;

/// Why a call on checkpoints failed. What it was to change is then as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no checkpoint of this id in the thread, or it has expired or was evicted.
    #[error("there is no checkpoint {}", workspace::quoted(id))]
    NotFound {
        /// The id.
        id: String,
    },
    /// The thread has no checkpoint at all.
    #[error("there is no checkpoint in {}", workspace::quoted(thread))]
    Empty {
        /// The thread, or the workspace.
        thread: String,
    },
    /// A thread's name must not be empty.
    #[error("the thread has no name")]
    InvalidThread,
    /// The thread has a checkpoint of this id already.
    #[error("there is a checkpoint {} already", workspace::quoted(id))]
    Exists {
        /// The id.
        id: String,
    },
    /// The states of a thread would take more than its retention allows.
    #[error("the states of a thread may take {limit} bytes, and these would take {wanted}")]
    StorageFull {
        /// The most.
        limit: u64,
        /// What it would come to.
        wanted: u64,
    },
    /// The processes of a sandbox could not be frozen, or not be let go on.
    #[error("failed to {what} the sandbox's processes")]
    Freeze {
        /// `freeze` or `thaw`.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store of workspaces says so.
    #[error(transparent)]
    Workspace(#[from] workspace::Error),
}

impl Error {
    /// The code, which stays the same for ever: `checkpoint_not_found`, `no_checkpoint`, `invalid_thread`,
    /// `checkpoint_exists`, `storage_full`, `freeze`, or one of the workspace's.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "checkpoint_not_found",
            Self::Empty { .. } => "no_checkpoint",
            Self::InvalidThread => "invalid_thread",
            Self::Exists { .. } => "checkpoint_exists",
            Self::StorageFull { .. } => "storage_full",
            Self::Freeze { .. } => "freeze",
            Self::Workspace(error) => error.code(),
        }
    }
}
