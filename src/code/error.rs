//! Why code was not run. A program that ran, however badly, is a result and none of these.

use super::validator::Finding;
use pinfold_runner::{Failure, JobError};
use std::io;

/// Why code was not run, in the words that callers know.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodeError {
    /// There is no code, or nothing but white space.
    #[error("code is required")]
    CodeRequired,
    /// The configuration doesn't allow the language.
    #[error("language {0} is not allowed")]
    LanguageNotAllowed(String),
    /// No language has this name.
    #[error("unsupported language: {0}")]
    UnknownLanguage(String),
    /// The name of a file leads out of the workspace, or is no name.
    #[error("invalid filename: {0} (path traversal not allowed)")]
    InvalidFileName(String),
    /// The name of a file is that of the code's own.
    #[error("invalid filename: {0} (the code itself has that name)")]
    TakenFileName(String),
    /// The request isn't JSON, or isn't a request.
    #[error("invalid arguments: {0}")]
    InvalidArguments(String),
    /// A value of the request or of the configuration can't be.
    #[error("{0}")]
    InvalidValue(String),
    /// The validator found what keeps the code from running.
    #[error("code validation failed: [{}]", list(.0))]
    Blocked(Vec<Finding>),
    /// None of the language's toolchains is there.
    #[error("no toolchain for {language}: {reason}")]
    ToolchainMissing {
        /// The language.
        language: String,
        /// What was missing of each.
        reason: String,
        /// What to install.
        install: String,
    },
    /// The backend that was asked for isn't switched on.
    #[error("process backend disabled: it runs code on this host without any isolation")]
    ProcessBackendDisabled,
    /// What was asked for doesn't exist here.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// No sandbox could be started.
    #[error("failed to start a sandbox: {}", chain(.0))]
    Sandbox(#[source] crate::Error),
    /// The sandbox was started and could not do what it was asked; the program didn't run, or its end is not known.
    #[error("{}", .0.message)]
    Failed(Failure),
    /// The system refused something.
    #[error("failed to {step}: {source}")]
    System {
        /// What was being done.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl CodeError {
    /// A stable word for it.
    pub fn code(&self) -> &str {
        match self {
            Self::CodeRequired | Self::InvalidArguments(_) | Self::InvalidValue(_) => "invalid_request",
            Self::LanguageNotAllowed(_) | Self::ProcessBackendDisabled | Self::Blocked(_) => "not_allowed",
            Self::UnknownLanguage(_) | Self::Unsupported(_) => "unsupported",
            Self::InvalidFileName(_) | Self::TakenFileName(_) => "invalid_path",
            Self::ToolchainMissing { .. } => "toolchain",
            Self::Sandbox(_) | Self::System { .. } => "host_error",
            Self::Failed(failure) => &failure.code,
        }
    }

    /// What to do about it, where we know.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::ToolchainMissing { install, .. } => Some(format!("install {install}")),
            Self::ProcessBackendDisabled => Some("set `enable_process_backend`, for code that you trust".to_owned()),
            Self::Sandbox(error) => error.hint().map(str::to_owned),
            Self::Failed(failure) => failure.hint.clone(),
            _ => None,
        }
    }

    pub(super) fn system(step: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::System { step, source }
    }
}

impl From<JobError> for CodeError {
    fn from(error: JobError) -> Self {
        Self::InvalidValue(error.to_string())
    }
}

fn list(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// An error with its causes.
fn chain(error: &crate::Error) -> String {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        message = format!("{message}: {source}");
        cause = source.source();
    }
    message
}
