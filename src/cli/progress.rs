//! How far a long copy is: one line on stderr, if that is a terminal, and gone when the copy ends.

use pinfold::files::Report;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// A copy that takes no longer shows nothing.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(100);
const WIDTH: u64 = 24;

/// The line.
pub(crate) struct Bar {
    is_wanted: bool,
    total: u64,
    next: Instant,
    is_shown: bool,
}

impl Bar {
    /// `total` is only asked for its bytes when there is somebody to look.
    pub(crate) fn new(is_quiet: bool, total: impl FnOnce() -> u64) -> Self {
        let is_wanted = !is_quiet && std::io::stderr().is_terminal();
        let total = if is_wanted { total() } else { 0 };
        Self { is_wanted, total, next: Instant::now() + PATIENCE, is_shown: false }
    }

    /// Shows it, if it is time to.
    pub(crate) fn tell(&mut self, report: &Report) {
        if !self.is_wanted || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + PAUSE;
        self.is_shown = true;
        write(&format!("\r{}\x1b[K", line(report.bytes, report.files, self.total)));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.is_shown {
            write("\r\x1b[K");
        }
    }
}

fn write(text: &str) {
    // When stderr is closed there is nobody to tell.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn line(bytes: u64, files: u64, total: u64) -> String {
    let mebibytes = |bytes: u64| bytes >> 20;
    if total == 0 {
        return format!("{} MiB, {files} files", mebibytes(bytes));
    }
    // What grows meanwhile is not more than all of it.
    let done = (u128::from(bytes.min(total)) * 100 / u128::from(total)) as u64;
    let full = done * WIDTH / 100;
    let bar: String = (0..WIDTH).map(|place| if place < full { '#' } else { '.' }).collect();
    format!("{bar} {done:3}%  {} of {} MiB, {files} files", mebibytes(bytes), mebibytes(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_full_at_the_end_and_never_fuller() {
        let mebibyte = 1 << 20;
        assert_eq!(line(0, 0, 4 * mebibyte), format!("{}   0%  0 of 4 MiB, 0 files", ".".repeat(24)));
        assert_eq!(line(2 * mebibyte, 3, 4 * mebibyte).matches('#').count(), 12);
        assert!(line(9 * mebibyte, 3, 4 * mebibyte).contains("100%"));
        assert!(line(u64::MAX, 3, u64::MAX).contains("100%"));
        assert_eq!(line(3 * mebibyte, 7, 0), "3 MiB, 7 files");
    }
}
