//! Why a workspace could not be had, changed or given away. Each reason has a code that stays.

use crate::tar::Fault;
use std::io;
use std::path::PathBuf;

/// Why a call on a workspace failed. What it was to change is then as it was, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no workspace of this id.
    #[error("there is no workspace {}", quoted(id))]
    NotFound {
        /// The id.
        id: String,
    },
    /// The workspace is referred to, so it is not removed without force.
    #[error("workspace {} is held by {}", quoted(id), listed(holders))]
    ReferencesHeld {
        /// The id.
        id: String,
        /// Who refers to it, in order.
        holders: Vec<String>,
    },
    /// The holder refers to another workspace, and may refer to one only.
    #[error("{} holds workspace {} already", quoted(holder), quoted(id))]
    HoldsAnother {
        /// The holder.
        holder: String,
        /// The workspace that it refers to.
        id: String,
    },
    /// A job works in the workspace, or another process keeps its lock for longer than anybody waits.
    #[error("workspace {} is busy: {why}", quoted(id))]
    Busy {
        /// The id.
        id: String,
        /// Who is at it.
        why: &'static str,
    },
    /// There is a workspace of this id already.
    #[error("there is a workspace {} already", quoted(id))]
    Exists {
        /// The id.
        id: String,
    },
    /// The files of a workspace with checkpoints can't be shown as one directory.
    #[error("the layers of a workspace can't be mounted: {reason}")]
    Overlay {
        /// What the runner said.
        reason: String,
        /// Whether the kernel, or whoever administers it, does not let us.
        is_denied: bool,
    },
    /// The workspace has files, which an import would replace.
    #[error("workspace {} is not empty", quoted(id))]
    NotEmpty {
        /// The id.
        id: String,
    },
    /// A record can't be read. Nothing is taken for granted then: the workspace counts as held.
    #[error("the record `{}` is broken: {reason}", path.display())]
    Corrupt {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The caller named something that can't be.
    #[error("{what}: {reason}")]
    Invalid {
        /// What it is about.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The archive holds something that no workspace takes, or is none.
    #[error("the archive is refused: {reason}")]
    Archive {
        /// What it is, with the entry's name.
        reason: String,
    },
    /// The workspace or the archive is larger than was allowed.
    #[error("there is more than {limit} in it")]
    TooBig {
        /// The limit in words: `100 entries`.
        limit: String,
    },
    /// The system refused.
    #[error("failed to {what}")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// The code, which stays the same for ever: `not_found`, `references_held`, `holds_another`, `busy`, `not_empty`,
    /// `exists`, `overlay`, `corrupt`, `invalid`, `archive`, `too_big` or `io`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::ReferencesHeld { .. } => "references_held",
            Self::HoldsAnother { .. } => "holds_another",
            Self::Busy { .. } => "busy",
            Self::NotEmpty { .. } => "not_empty",
            Self::Exists { .. } => "exists",
            Self::Overlay { .. } => "overlay",
            Self::Corrupt { .. } => "corrupt",
            Self::Invalid { .. } => "invalid",
            Self::Archive { .. } => "archive",
            Self::TooBig { .. } => "too_big",
            Self::Io { .. } => "io",
        }
    }

    pub(crate) fn not_found(id: &str) -> Self {
        Self::NotFound { id: id.to_owned() }
    }

    pub(crate) fn invalid(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), reason: reason.into() }
    }

    pub(super) fn archive(reason: impl Into<String>) -> Self {
        Self::Archive { reason: reason.into() }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Archive(reason) => Self::archive(reason),
            Fault::Read(source) => Self::Io { what: "read the archive".to_owned(), source },
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

/// How much of an id or a name a message shows.
const SHOWN: usize = 100;

/// The caller's text as a message shows it: no control characters, and never pages of it.
pub(crate) fn quoted(text: &str) -> String {
    let start: String = text.chars().take(SHOWN).collect();
    let more = if start.len() < text.len() { "…" } else { "" };
    format!("`{}{more}`", start.escape_debug())
}

/// A name from an archive or a tree, for messages.
pub(super) fn shown(name: &[u8]) -> String {
    quoted(&String::from_utf8_lossy(name))
}

/// `2 holders, `a` and `b``: the number, and as many names as fit.
fn listed(holders: &[String]) -> String {
    const NAMED: usize = 10;
    let names: Vec<_> = holders.iter().take(NAMED).map(|name| quoted(name)).collect();
    let more = if holders.len() > NAMED { ", …" } else { "" };
    let count = if holders.len() == 1 { "1 holder".to_owned() } else { format!("{} holders", holders.len()) };
    format!("{count}: {}{more}", names.join(", "))
}
