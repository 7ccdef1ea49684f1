//! What services have in common, the server of HTTP and the one for models, and what `pinfold serve` and the program that it
//! becomes, `pinfold-server`, say to each other.

mod activation;
mod frame;
mod settings;

pub use activation::{inherited_sockets, notify};
pub use frame::{executor, limit_in, quota, wall_limit};
pub use settings::{Listen, Role, Settings};

use crate::locate;
use crate::workspace::Doing;
use crate::workspace::file::DIRECTORY;
use crate::workspace::lock::{self, Lock};
use rustix::fs::Mode;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// The variable in which `pinfold-server` is told its settings. Arguments are for every user of the host to see, and settings
/// may have values of variables in them.
pub const SETTINGS: &str = "PINFOLD_SERVER_SETTINGS";

/// The program `pinfold-server`: beside this one, or on `PATH`.
pub fn program() -> Option<PathBuf> {
    locate::program("pinfold-server")
}

/// The state directory that the environment names, made if it is absent: where the token is.
///
/// # Errors
/// When it can't be made, or is not this user's alone.
pub fn state_directory() -> Result<PathBuf, crate::workspace::Error> {
    let store = crate::workspace::Store::new()?;
    crate::workspace::open_state(store.state(), true)?;
    Ok(store.state().to_owned())
}

/// The runtime directory that the environment names, made if it is absent: where the socket is.
///
/// # Errors
/// When it can't be made, or is not this user's alone.
pub fn runtime_directory() -> Result<PathBuf, crate::held::Error> {
    let path = crate::held::runtime::from_environment();
    crate::held::runtime::Runtime::open(&path, true)?;
    Ok(path)
}

/// Whose turn it is among all servers of one directory: held by one at a time, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    _lock: Lock,
}

/// Waits for the turn to do something that this name stands for, such as to count what is in a directory and to add to it.
/// `None` when others keep it for too long.
///
/// # Errors
/// When the lock's file, `server.NAME.lock`, can't be made.
pub fn turn(directory: &Path, name: &str) -> Result<Option<Turn>, crate::workspace::Error> {
    let (file, what) = (format!("server.{name}.lock"), || format!("wait for a turn in `{}`", directory.display()));
    let directory = rustix::fs::open(directory, DIRECTORY, Mode::empty()).doing(what)?;
    lock::make(directory.as_fd(), &file).doing(what)?;
    let lock = Lock::alone(directory.as_fd(), &file).doing(what)?;
    Ok(lock.map(|lock| Turn { _lock: lock }))
}

/// An error with all that led to it, in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        message = format!("{message}: {source}");
        cause = source.source();
    }
    message
}

/// The file in the state directory that says where previews are served.
const PREVIEWS: &str = "server.previews";

/// Writes down where previews are served: their origins, with `*` for the token.
///
/// # Errors
/// When it can't be written.
pub fn remember_previews(origins: &str) -> Result<(), crate::workspace::Error> {
    let store = crate::workspace::Store::new()?;
    let Some(state) = crate::workspace::open_state(store.state(), true)? else { return Ok(()) };
    let written = crate::workspace::file::replace(state.as_fd(), PREVIEWS, format!("{origins}\n").as_bytes());
    written.doing(|| "write down where previews are".to_owned())
}

/// Where previews are served, by the server that was started last: their origins, with `*` for the token.
pub fn known_previews() -> Option<String> {
    let path = crate::workspace::Store::new().ok()?.state().join(PREVIEWS);
    let origins = std::fs::read_to_string(path).ok()?;
    origins.contains('*').then(|| origins.trim().to_owned())
}
