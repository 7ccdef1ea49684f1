//! Why a held sandbox could not be started, found or spoken to. Each reason has a code that stays.

use pinfold_runner::Failure;
use std::io;

/// Why a call on a held sandbox failed. How a command in one ended, however badly, is an
/// [`Outcome`](crate::Outcome) and never one of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No sandbox of this name or id lives.
    #[error("there is no sandbox `{}`", name.escape_debug())]
    NotFound {
        /// What was looked for.
        name: String,
    },
    /// A sandbox of this name lives, and is not as asked for.
    #[error("sandbox `{name}` is there already, and differs in {}", fields.join(", "))]
    AlreadyExists {
        /// Its name.
        name: String,
        /// Its id.
        id: String,
        /// Each field that differs, with what it has and what was asked for.
        fields: Vec<String>,
    },
    /// As many sandboxes live as may at once.
    #[error("maximum number of sandboxes ({max}) reached")]
    Limit {
        /// How many may.
        max: usize,
    },
    /// Somebody did not answer in time.
    #[error("failed to {what} in time")]
    Timeout {
        /// What was waited for.
        what: String,
    },
    /// The caller asked for something that can't be.
    #[error("{what}: {reason}")]
    Invalid {
        /// What it is about.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Somebody else works with it, or it is about to be stopped.
    #[error("sandbox `{name}` is busy: {why}")]
    Busy {
        /// Its name.
        name: String,
        /// Who is at it.
        why: String,
    },
    /// The sandbox ended while it was spoken to.
    #[error("sandbox `{name}` has ended")]
    Gone {
        /// Its name.
        name: String,
    },
    /// The sandbox could not be made, or was asked for what it can't do. The failure has a code of its own.
    #[error("{0}")]
    Failed(Failure),
    /// There is no keeper beside this program or on `PATH`.
    #[error("failed to find `pinfold-keeper` beside this program or on `PATH`")]
    KeeperNotFound,
    /// The runner is not there, or can't be started.
    #[error(transparent)]
    Runner(#[from] crate::Error),
    /// The workspace can't be had.
    #[error(transparent)]
    Workspace(#[from] crate::workspace::Error),
    /// The system refused.
    #[error("failed to {what}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(error.kind(), error)
    }
}

impl Error {
    /// The code, which stays the same for ever: `not_found`, `already_exists`, `limit`, `timeout`, `invalid`, `busy`,
    /// `gone`, `failed`, `no_keeper`, `no_runner`, `workspace` or `io`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::AlreadyExists { .. } => "already_exists",
            Self::Limit { .. } => "limit",
            Self::Timeout { .. } => "timeout",
            Self::Invalid { .. } => "invalid",
            Self::Busy { .. } => "busy",
            Self::Gone { .. } => "gone",
            Self::Failed(_) => "failed",
            Self::KeeperNotFound => "no_keeper",
            Self::Runner(_) => "no_runner",
            Self::Workspace(_) => "workspace",
            Self::Io { .. } => "io",
        }
    }

    /// What to do about it, where we know.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::NotFound { .. } => Some("`pinfold ps` lists those that live, `pinfold start` starts one"),
            Self::AlreadyExists { .. } => Some("stop it first, choose another name, or leave these options out"),
            Self::KeeperNotFound => Some("install `pinfold-keeper` into the directory of `pinfold`, or on `PATH`"),
            Self::Failed(failure) => failure.hint.as_deref(),
            Self::Runner(error) => error.hint(),
            _ => None,
        }
    }

    /// The kind by which std tells it: a timeout is [`TimedOut`](io::ErrorKind::TimedOut).
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::NotFound { .. } | Self::KeeperNotFound => io::ErrorKind::NotFound,
            Self::AlreadyExists { .. } => io::ErrorKind::AlreadyExists,
            Self::Limit { .. } => io::ErrorKind::QuotaExceeded,
            Self::Timeout { .. } => io::ErrorKind::TimedOut,
            Self::Invalid { .. } => io::ErrorKind::InvalidInput,
            Self::Busy { .. } => io::ErrorKind::ResourceBusy,
            Self::Gone { .. } => io::ErrorKind::NotConnected,
            Self::Io { source, .. } => source.kind(),
            Self::Failed(_) | Self::Runner(_) | Self::Workspace(_) => io::ErrorKind::Other,
        }
    }

    /// The error as a result tells it: its own code, unless the sandbox named one.
    pub fn into_failure(self) -> Failure {
        if let Self::Failed(failure) = self {
            return failure;
        }
        let mut message = self.to_string();
        let mut cause = std::error::Error::source(&self);
        while let Some(source) = cause {
            message = format!("{message}: {source}");
            cause = source.source();
        }
        Failure { code: self.code().to_owned(), message, hint: self.hint().map(str::to_owned) }
    }

    pub(crate) fn io(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io { what: what.into(), source: source.into() }
    }

    pub(crate) fn invalid(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), reason: reason.into() }
    }

    pub(crate) fn not_found(name: &str) -> Self {
        Self::NotFound { name: name.chars().take(128).collect() }
    }

    pub(crate) fn gone(name: &str) -> Self {
        Self::Gone { name: name.to_owned() }
    }
}
