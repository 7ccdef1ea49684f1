//! From what a command writes to the rows of a log: lines, each kept up to a length, and all of them up to a total, however
//! much the command writes and whether it ever ends a line.

use super::record::{NewRow, Stream};

/// Bytes on their way to be lines.
#[derive(Debug)]
pub(crate) struct Lines {
    line: Vec<u8>,
    /// Of the line that is being read, more was thrown away.
    is_cut: bool,
    most: usize,
}

impl Lines {
    pub(crate) fn new(most: usize) -> Self {
        Self { line: Vec::new(), is_cut: false, most }
    }

    /// Takes bytes, and gives every line that has ended: its text and whether it was cut.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut give: impl FnMut(String, bool)) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.keep(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let (text, is_cut) = self.take();
            give(text, is_cut);
        }
        self.keep(bytes);
    }

    /// What is there without an end.
    pub(crate) fn rest(&mut self) -> Option<(String, bool)> {
        (!self.line.is_empty()).then(|| self.take())
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.most.saturating_sub(self.line.len());
        self.is_cut |= bytes.len() > room;
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn take(&mut self) -> (String, bool) {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        // A character at the cut may be half of one.
        let text = String::from_utf8_lossy(line).into_owned();
        (text, std::mem::take(&mut self.is_cut))
    }
}

/// What is left of a log's total.
#[derive(Debug)]
pub(crate) struct Budget {
    left: u64,
    most: u64,
    /// The marker was given.
    is_used_up: bool,
}

/// What even an empty row counts.
const SMALLEST: u64 = 32;

impl Budget {
    pub(crate) fn new(most: u64) -> Self {
        Self { left: most, most, is_used_up: false }
    }

    /// The row, or the marker in the place of the first that is too much, or nothing. What we say ourselves is little, and
    /// always kept.
    pub(crate) fn admit(&mut self, row: NewRow) -> Option<NewRow> {
        if row.stream == Stream::System {
            return Some(row);
        }
        if self.is_used_up {
            return None;
        }
        match self.left.checked_sub(row.text.len() as u64 + SMALLEST) {
            Some(left) => {
                self.left = left;
                Some(row)
            }
            None => {
                self.is_used_up = true;
                let text = format!("the log is cut here, at {}", crate::ByteSize::new(self.most));
                Some(NewRow { stream: Stream::System, text, truncated: false, ..row })
            }
        }
    }

    pub(crate) fn is_used_up(&self) -> bool {
        self.is_used_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(most: usize, pieces: &[&[u8]]) -> Vec<(String, bool)> {
        let (mut lines, mut given) = (Lines::new(most), Vec::new());
        for piece in pieces {
            lines.push(piece, |text, is_cut| given.push((text, is_cut)));
        }
        given.extend(lines.rest());
        given
    }

    #[test]
    fn lines_are_whole_wherever_the_pieces_end() {
        let expected = [("one", false), ("", false), ("two", false), ("rest", false)];
        let text = b"one\n\ntwo\r\nrest";
        for cut in 0..text.len() {
            let given = lines(100, &[&text[..cut], &text[cut..]]);
            assert_eq!(given, expected.map(|(text, is_cut)| (text.to_owned(), is_cut)), "{cut}");
        }
        assert_eq!(lines(100, &[b""]), []);
    }

    #[test]
    fn a_line_without_an_end_takes_no_more_than_its_share() {
        let given = lines(10, &[&[b'x'; 1000], &[b'x'; 1000], b"\nnext\n", "äöü€uml".as_bytes()]);
        assert_eq!(given[0], ("x".repeat(10), true));
        assert_eq!(given[1], ("next".to_owned(), false));
        assert!(given[2].1 && given[2].0.starts_with("äöü€u"), "{given:?}");
        let mut lines = Lines::new(10);
        lines.push(&vec![b'x'; 1 << 20], |_, _| panic!("no line has ended"));
        assert!(lines.line.capacity() < 100);
    }

    #[test]
    fn a_log_is_cut_once_and_our_own_words_are_kept() {
        let row =
            |stream, text: &str| NewRow { time_us: 0, phase: None, stream, text: text.to_owned(), truncated: false };
        let mut budget = Budget::new(100);
        assert!(budget.admit(row(Stream::Stdout, "a")).is_some());
        assert!(budget.admit(row(Stream::Stderr, "b")).is_some() && !budget.is_used_up());
        let marker = budget.admit(row(Stream::Stdout, &"c".repeat(50))).unwrap();
        assert!(marker.stream == Stream::System && marker.text.contains("cut here"), "{marker:?}");
        assert_eq!(budget.admit(row(Stream::Stdout, "d")), None);
        assert!(budget.admit(row(Stream::System, "ended")).is_some() && budget.is_used_up());
    }
}
