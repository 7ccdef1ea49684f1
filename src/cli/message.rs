//! What people read: one line each on stderr, coloured only on a terminal. Data goes to stdout, through `data`.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

const RED: &str = "1;31";
const YELLOW: &str = "1;33";
const CYAN: &str = "1;36";

/// `pinfold: error: …`, and the hint on a line of its own.
pub(crate) fn error(message: &str, hint: Option<&str>) {
    line("pinfold: ", "error:", RED, message);
    if let Some(hint) = hint {
        line("", "hint:", CYAN, hint);
    }
}

/// `pinfold: warning: …`.
pub(crate) fn warning(message: &str) {
    line("pinfold: ", "warning:", YELLOW, message);
}

/// `pinfold: killed: …`.
pub(crate) fn killed(message: &str) {
    line("pinfold: ", "killed:", RED, message);
}

/// `pinfold: …`: what else there is to know.
pub(crate) fn note(message: &str) {
    line("pinfold:", "", CYAN, message);
}

/// `pinfold: …`: how the command ended, where the exit code alone does not say it.
pub(crate) fn ended(message: &str) {
    line("pinfold:", "", RED, message);
}

/// Writes data to stdout. A reader that has gone away is no error: whoever pipes into `head` has had enough.
///
/// # Errors
/// Every other reason why it can't be written.
pub(crate) fn data(bytes: &[u8]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes a program's own words to stderr, as they are: they are data there.
pub(crate) fn passed_on(bytes: &[u8]) {
    // When stderr is closed there is nobody to tell.
    let _ = std::io::stderr().lock().write_all(bytes);
}

/// `text` without anything that a terminal would obey: names and messages may come from inside a sandbox.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            // Writing to a String can't fail.
            let _ = write!(shown, "{}", character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Whether colours are wanted there: <https://no-color.org>.
pub(crate) fn colours(stream: &impl IsTerminal) -> bool {
    let variable = |name: &str| std::env::var_os(name).unwrap_or_default();
    stream.is_terminal() && variable("NO_COLOR").is_empty() && variable("TERM") != "dumb"
}

/// `text` in a colour, if `wanted`.
pub(crate) fn paint(text: &str, colour: &str, wanted: bool) -> String {
    if wanted && !text.is_empty() { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
}

fn line(program: &str, label: &str, colour: &str, message: &str) {
    let mut stderr = std::io::stderr().lock();
    let label = paint(label, colour, colours(&stderr));
    // One write, so that lines of several programs don't mix. When stderr is closed there is nobody to tell.
    let _ = stderr.write_all(format!("{program}{label} {}\n", printable(message)).as_bytes());
}
