//! How a build's end is told, as an exit code and in words.

use crate::cli::exit::Exit;
use crate::cli::message;
use pinfold::build::{Build, Error, Fault, State};

/// Says why something could not be done.
pub(in crate::cli) fn refuse(error: &Error) -> Exit {
    let fault = Fault::from(error);
    message::error(&fault.message, fault.hint.as_deref());
    Exit::Failed
}

/// Says how a build ended that did not succeed.
pub(super) fn tell(build: &Build) -> Exit {
    if let Some(fault) = &build.error {
        message::error(&format!("build {}: {}", build.state, fault.message), fault.hint.as_deref());
    }
    exit(build)
}

fn exit(build: &Build) -> Exit {
    match build.state {
        State::Succeeded => Exit::Success,
        State::Cancelled => Exit::Signal(2),
        State::Failed => of_fault(build),
        _ => Exit::Failed,
    }
}

fn of_fault(build: &Build) -> Exit {
    let last = build.phases.last();
    match build.error.as_ref().map(|fault| fault.code.as_str()) {
        Some("phase_failed") => match last.and_then(|phase| phase.exit_code).map(u8::try_from) {
            Some(Ok(code)) if code != 0 => Exit::Command(code),
            _ => Exit::Failed,
        },
        Some("timed_out" | "cpu_exceeded") => Exit::TimedOut,
        Some("out_of_memory") => Exit::OutOfMemory,
        Some("workspace_exceeded") => Exit::WorkspaceExceeded,
        _ => Exit::Failed,
    }
}

/// What builds run on.
pub(in crate::cli) fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|source| Error::Io { what: "start a tokio runtime".to_owned(), source })
}
