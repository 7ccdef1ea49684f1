//! Why a call on builds failed. Each reason has a code that stays. How a build ended is no such error but its [`Fault`].

use crate::byte_size::ByteSize;
use serde::{Deserialize, Serialize};
use std::io;

/// Why a call on builds failed. What it was to change is then as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This owner has no such build, project or preview.
    #[error("there is no {what} `{}`", name.escape_debug())]
    NotFound {
        /// `build`, `project`, `preview`, `snapshot` or `artifact`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The caller named something that can't be.
    #[error("{what}: {reason}")]
    Invalid {
        /// What it is about.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The project's file can't be read as one, or asks for what can't be.
    #[error("`pinfold.toml`: {0}")]
    ProjectFile(String),
    /// The project asks for more than whoever runs builds allows.
    #[error("{what} is not allowed: {reason}")]
    Denied {
        /// What was asked for.
        what: String,
        /// What is allowed.
        reason: String,
    },
    /// The input has more than a snapshot may have.
    #[error("the input is too big: more than {limit}")]
    TooBig {
        /// The limit in words.
        limit: String,
    },
    /// More builds wait than may.
    #[error("{waiting} builds wait, and no more may")]
    QueueFull {
        /// How many wait.
        waiting: u64,
    },
    /// The owner's builds hold as much as they may, and there is nothing left that could be forgotten.
    #[error("with this one your builds would hold {}, and no more than {} are kept", ByteSize::new(*stored), ByteSize::new(*most))]
    StoreFull {
        /// What they would hold, in bytes, when all is forgotten that may be.
        stored: u64,
        /// What they may.
        most: u64,
    },
    /// There is a newer snapshot of the project, so that an older one is not built again.
    #[error("project `{}` has a newer snapshot than this build's", project.escape_debug())]
    Superseded {
        /// The project.
        project: String,
    },
    /// The build has not ended, which it must have for this.
    #[error("build `{id}` has not ended")]
    NotEnded {
        /// The build.
        id: String,
    },
    /// Somebody else has the build by now: what its former worker says of it counts for nothing.
    #[error("the lease of build `{id}` is lost")]
    LeaseLost {
        /// The build.
        id: String,
    },
    /// There is no such preview any more: it has expired or was revoked.
    #[error("the preview has expired or was revoked")]
    Gone,
    /// Builds are being made or collected by somebody who does not come to an end.
    #[error("the store of builds is busy: {0}")]
    Busy(&'static str),
    /// The store was written by a newer version.
    #[error("the store of builds is of version {found}, and this program knows version {known}")]
    Newer {
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The database refused, or holds what it can't.
    #[error("failed to use the store of builds: {0}")]
    Store(String),
    /// A workspace of a build could not be had.
    #[error(transparent)]
    Workspace(#[from] crate::workspace::Error),
    /// Files could not be read or written.
    #[error(transparent)]
    Files(#[from] crate::files::Error),
    /// The system refused.
    #[error("failed to {what}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// The code, which stays the same for ever.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::Invalid { .. } => "invalid",
            Self::ProjectFile(_) => "project_file",
            Self::Denied { .. } => "denied",
            Self::TooBig { .. } => "too_big",
            Self::QueueFull { .. } => "queue_full",
            Self::StoreFull { .. } => "store_full",
            Self::Superseded { .. } => "superseded",
            Self::NotEnded { .. } => "not_ended",
            Self::LeaseLost { .. } => "lease_lost",
            Self::Gone => "gone",
            Self::Busy(_) => "busy",
            Self::Newer { .. } => "newer_store",
            Self::Store(_) => "store",
            Self::Workspace(error) => error.code(),
            Self::Files(error) => error.code(),
            Self::Io { .. } => "io",
        }
    }

    /// What to do about it, where we know.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Superseded { .. } => Some("build the newer snapshot again, or hand this one in as a new build"),
            Self::NotEnded { .. } => Some("cancel it first"),
            Self::StoreFull { .. } => {
                Some("remove projects that nobody needs, cancel builds that wait, or build something smaller")
            }
            Self::Newer { .. } => Some("use the newer program, or another state directory"),
            _ => None,
        }
    }

    pub(crate) fn not_found(what: &'static str, name: &str) -> Self {
        Self::NotFound { what, name: name.to_owned() }
    }

    pub(crate) fn invalid(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), reason: reason.into() }
    }

    pub(crate) fn lost(id: &str) -> Self {
        Self::LeaseLost { id: id.to_owned() }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
                Self::Busy("another process writes to it for too long")
            }
            _ => Self::Store(error.to_string()),
        }
    }
}

/// Puts what was being done beside what the system said.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Io { what: what(), source: source.into() })
    }
}

/// Why a build did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// A word that stays: `phase_failed`, `timed_out`, `out_of_memory`, `artifact_missing`, `cancelled`, …
    pub code: String,
    /// What happened, for people. Never empty.
    pub message: String,
    /// What to do about it, where we know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Fault {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), hint: None }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<&Error> for Fault {
    fn from(error: &Error) -> Self {
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(source) = cause {
            message = format!("{message}: {source}");
            cause = source.source();
        }
        Self { code: error.code().to_owned(), message, hint: error.hint().map(str::to_owned) }
    }
}
