//! The server's log: one JSON object a line on stderr, in ASCII, so that nothing that a client or a sandbox says can begin a
//! line, move a cursor or look like something else. Nobody waits for whoever reads it: what it can't take is counted.

use serde_json::{Map, Value, json};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

/// How many lines may wait.
const WAITING: usize = 4096;
/// The most of one text that is told, in characters.
const LONGEST: usize = 2000;

/// Where lines go.
#[derive(Debug)]
pub(super) struct Journal {
    lines: SyncSender<Vec<u8>>,
    dropped: AtomicU64,
    written: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Journal {
    pub(super) fn start() -> Self {
        let (lines, waiting) = sync_channel::<Vec<u8>>(WAITING);
        let (done, written) = sync_channel(1);
        std::thread::spawn(move || {
            for line in waiting {
                if line.is_empty() {
                    let _nobody_waits = done.try_send(());
                }
                // Whoever closed stderr does not want to know.
                let _closed = std::io::stderr().lock().write_all(&line);
            }
        });
        Self { lines, dropped: AtomicU64::new(0), written: std::sync::Mutex::new(written) }
    }

    /// Tells of something that happened.
    pub(super) fn tell(&self, level: &str, event: &str, fields: Value) {
        let mut line = Map::new();
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        line.insert("time_ms".to_owned(), json!(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)));
        line.insert("level".to_owned(), json!(level));
        line.insert("event".to_owned(), json!(event));
        if let Value::Object(fields) = fields {
            line.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
        }
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            line.insert("lines_dropped_before".to_owned(), json!(dropped));
        }
        if let Err(TrySendError::Full(_)) = self.lines.try_send(ascii(&Value::Object(line))) {
            self.dropped.fetch_add(dropped + 1, Ordering::Relaxed);
        }
    }

    /// Waits until all is written, for a moment.
    pub(super) fn flush(&self) {
        if self.lines.try_send(Vec::new()).is_ok() {
            let written = self.written.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let _slow = written.recv_timeout(Duration::from_secs(2));
        }
    }
}

/// One line, in which every character is one that a terminal shows.
fn ascii(line: &Value) -> Vec<u8> {
    let mut text = String::new();
    for character in shortened(line).to_string().chars() {
        match character {
            ' '..='~' => text.push(character),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    text += &format!("\\u{unit:04x}");
                }
            }
        }
    }
    text.push('\n');
    text.into_bytes()
}

fn shortened(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.chars().take(LONGEST).collect()),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, value)| (name.clone(), shortened(value))).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_forge_a_line() {
        let line = ascii(&json!({"path": "/x\n{\"level\":\"info\"}\u{1b}[2J\u{2028}\u{9b}\u{7f}ä😀"}));
        let text = std::str::from_utf8(&line).unwrap();
        assert!(text.ends_with("}\n") && text.trim_end().bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text:?}");
        let back: Value = serde_json::from_str(text).unwrap();
        assert_eq!(back["path"], "/x\n{\"level\":\"info\"}\u{1b}[2J\u{2028}\u{9b}\u{7f}ä😀");
    }
}
