//! What the commands for held sandboxes share.

use super::exit::Exit;
use super::message;
use super::value::reason;
use pinfold::held::Error;

/// Tells an error, as Pinfold's own failure.
pub(super) fn refuse(error: Error) -> Exit {
    let failure = error.into_failure();
    message::error(&failure.message, failure.hint.as_deref());
    Exit::Failed
}

/// Prints data.
pub(super) fn data(text: &str) -> Exit {
    match message::data(text.as_bytes()) {
        Ok(()) => Exit::Success,
        Err(error) => {
            message::error(&format!("failed to write to stdout: {}", reason(&error)), None);
            Exit::Failed
        }
    }
}

/// Prints one line of JSON.
pub(super) fn json(value: &impl serde::Serialize) -> Exit {
    match serde_json::to_string(value) {
        Ok(line) => data(&format!("{line}\n")),
        Err(error) => refuse(Error::Io { what: "write JSON".to_owned(), source: error.into() }),
    }
}

/// A time as people say it: the two largest units.
pub(super) fn span(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds / 3600 % 24),
    }
}
