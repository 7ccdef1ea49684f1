//! The log as the keeper writes it: what happened, and what detached commands wrote. A disk that is full costs the log,
//! never the sandbox.

use crate::held::{HALF, LONGEST_LINE, LogEvent, LogLine, log_files};
use crate::workspace::file::OURS;
use crate::workspace::record::milliseconds;
use pinfold_runner::{Content, Outcome, Status};
use rustix::fs::OFlags;
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::time::SystemTime;
use tokio::sync::watch;

/// The log of this keeper's sandbox.
#[derive(Debug)]
pub(crate) struct Log {
    dir: OwnedFd,
    names: [String; 3],
    open: RefCell<Option<Open>>,
    /// The number of the last line.
    last: Cell<u64>,
    grown: watch::Sender<()>,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
}

impl Log {
    pub(crate) fn new(dir: OwnedFd, id: &str) -> Self {
        Self { dir, names: log_files(id), open: RefCell::new(None), last: Cell::new(0), grown: watch::Sender::new(()) }
    }

    /// Says when there is more in it.
    pub(crate) fn follow(&self) -> watch::Receiver<()> {
        self.grown.subscribe()
    }

    /// Writes a line about the sandbox, or about a command of it.
    pub(crate) fn note(&self, exec: Option<u64>, event: LogEvent, text: &str) {
        let mut end = text.len().min(LONGEST_LINE);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.write(exec, event, &text.as_bytes()[..end], end < text.len());
        self.tell();
    }

    /// Writes a line without telling those who follow.
    fn write(&self, exec: Option<u64>, event: LogEvent, text: &[u8], truncated: bool) {
        self.make_room(text.len());
        let line = self.line(exec, event, Content(text.to_vec()), truncated);
        self.append(&line);
    }

    /// A line with the next number.
    fn line(&self, exec: Option<u64>, event: LogEvent, text: Content, truncated: bool) -> Vec<u8> {
        self.last.set(self.last.get() + 1);
        let (number, time_ms) = (self.last.get(), milliseconds(SystemTime::now()));
        let line = LogLine { number, time_ms, exec, event, text, truncated };
        let mut json = serde_json::to_vec(&line).unwrap_or_default();
        json.push(b'\n');
        json
    }

    fn tell(&self) {
        self.grown.send_replace(());
    }

    /// What the log is to take makes it the older half if there is no room for it.
    fn make_room(&self, length: usize) {
        let mut open = self.open.borrow_mut();
        if open.as_ref().is_some_and(|open| open.bytes + length as u64 > HALF) {
            let [new, old, _] = &self.names;
            let _the_rest_is_written_anew = rustix::fs::renameat(&self.dir, new.as_str(), &self.dir, old.as_str());
            *open = self.create();
            if let Some(open) = open.as_mut() {
                let text = Content::from("older lines are in the older half, or dropped");
                open.put(&self.line(None, LogEvent::Dropped, text, false));
            }
        }
    }

    fn append(&self, json: &[u8]) {
        let mut open = self.open.borrow_mut();
        if open.is_none() {
            *open = self.create();
        }
        if let Some(open) = open.as_mut() {
            open.put(json);
        }
    }

    fn create(&self) -> Option<Open> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.dir.as_fd(), self.names[0].as_str(), flags, OURS).ok()?;
        Some(Open { file: File::from(file), bytes: 0 })
    }

    /// A writer of what a command writes to one of its streams.
    pub(crate) fn stream(&self, exec: u64, event: LogEvent) -> Lines<'_> {
        Lines { log: self, exec, event, line: Vec::new(), truncated: false }
    }

    /// Notes how a command ended.
    pub(crate) fn ended(&self, exec: u64, outcome: &Outcome) {
        let text = match outcome.status {
            Status::Exited => format!("exited {}", outcome.exit_code.unwrap_or_default()),
            Status::Signaled => format!("signaled {}", outcome.signal.as_deref().unwrap_or_default()),
            Status::Failed => {
                let failure = outcome.error.as_ref();
                failure.map_or("failed".to_owned(), |failure| format!("failed {}: {}", failure.code, failure.message))
            }
            other => word(other),
        };
        self.note(Some(exec), LogEvent::Ended, &text);
    }
}

/// A status or a reason as JSON has it.
pub(crate) fn word(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|word| Some(word.as_str()?.to_owned())).unwrap_or_default()
}

impl Open {
    fn put(&mut self, line: &[u8]) {
        if self.file.write_all(line).is_ok() {
            self.bytes += line.len() as u64;
        }
    }
}

/// Cuts a stream into lines.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    log: &'a Log,
    exec: u64,
    event: LogEvent,
    line: Vec<u8>,
    truncated: bool,
}

impl Lines<'_> {
    /// Takes what came.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match part.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (part, false),
            };
            let room = LONGEST_LINE.saturating_sub(self.line.len());
            self.truncated |= text.len() > room;
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.end_line();
            }
        }
        self.log.tell();
    }

    fn end_line(&mut self) {
        self.log.write(Some(self.exec), self.event, &self.line, self.truncated);
        self.line.clear();
        self.truncated = false;
    }

    /// The stream has ended.
    pub(crate) fn finish(mut self) {
        if !self.line.is_empty() {
            self.end_line();
            self.log.tell();
        }
    }
}
