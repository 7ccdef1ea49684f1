//! The caller's terminal while a command has one of its own (`-t`): raw, so that every key reaches the command, and put
//! back on every way out but SIGKILL.

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::Result;
use std::os::fd::AsFd;

/// A terminal of a sensible size, for when ours does not know its own.
const FALLBACK: (u16, u16) = (24, 80);

/// The rows and columns of our terminal.
pub(super) fn size() -> (u16, u16) {
    match tcgetwinsize(std::io::stdin()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row, size.ws_col),
        _ => FALLBACK,
    }
}

/// The caller's terminal in raw mode for as long as this lives.
pub(super) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Makes the terminal on stdin raw: cfmakeraw(3).
    ///
    /// # Errors
    /// When stdin is no terminal, or refuses.
    pub(super) fn enter() -> Result<Self> {
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
