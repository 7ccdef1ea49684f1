//! The caller's terminal while a command has one of its own (`-t`): raw, so that every key reaches the command, and put
//! back on every way out but SIGKILL.

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::Result;
use std::os::fd::AsFd;
use tokio::signal::unix::{SignalKind, signal};

/// A terminal of a sensible size, for when ours does not know its own.
const FALLBACK: (u16, u16) = (24, 80);

/// The rows and columns of our terminal.
pub(in crate::cli) fn size() -> (u16, u16) {
    match tcgetwinsize(std::io::stdin()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row, size.ws_col),
        _ => FALLBACK,
    }
}

/// Tells the size of ours whenever it changes.
///
/// # Errors
/// When the signal can't be caught.
pub(in crate::cli) fn follow_size(resize: impl Fn(u16, u16) + Send + 'static) -> Result<()> {
    let mut changes = signal(SignalKind::window_change())?;
    tokio::spawn(async move {
        while changes.recv().await.is_some() {
            let (rows, columns) = size();
            resize(rows, columns);
        }
    });
    Ok(())
}

/// The caller's terminal in raw mode for as long as this lives.
pub(in crate::cli) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Makes the terminal on stdin raw: cfmakeraw(3).
    ///
    /// # Errors
    /// When stdin is no terminal, or refuses.
    pub(in crate::cli) fn enter() -> Result<Self> {
        let stdin = std::io::stdin();
        let before = tcgetattr(stdin.as_fd())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin.as_fd(), OptionalActions::Drain, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // The terminal may be gone, and then there is nothing to put back.
        let _ = tcsetattr(std::io::stdin().as_fd(), OptionalActions::Drain, &self.before);
    }
}
