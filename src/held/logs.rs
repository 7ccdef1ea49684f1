//! The log of a held sandbox as it is read: of one that lives, and of one that lived.

use super::connect::{Line, PATIENCE};
use super::error::Error;
use super::log::{LogLine, files};
use super::record::Record;
use super::runtime::Runtime;
use super::wire::{Reply, Request};
use crate::workspace::file;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// How long is waited for more in one go; whoever follows has all the time there is.
const LONG: Duration = Duration::from_secs(3600);

/// Reads a log line by line, from its beginning.
#[derive(Debug)]
pub struct LogReader {
    runtime: Runtime,
    record: Record,
    dir: OwnedFd,
    /// The files that are still to be read, the older first; the last one may grow.
    files: VecDeque<BufReader<File>>,
    /// What came of a line whose end is still to come.
    begun: Vec<u8>,
}

impl LogReader {
    pub(crate) fn new(runtime: Runtime, record: &Record) -> Result<Self, Error> {
        let dir = runtime.logs()?;
        let [log, older, _] = files(&record.id);
        let mut files = VecDeque::new();
        for name in [&older, &log] {
            files.extend(open(&dir, name)?);
        }
        Ok(Self { runtime, record: record.clone(), dir, files, begun: Vec::new() })
    }

    /// Whose log it is.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The next line that is there; `None` when there is no more for now.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn next_line(&mut self) -> Result<Option<LogLine>, Error> {
        loop {
            let Some(file) = self.files.front_mut() else { return Ok(None) };
            let read = file.read_until(b'\n', &mut self.begun).map_err(|error| Error::io("read the log", error))?;
            if read > 0 && self.begun.ends_with(b"\n") {
                let line = serde_json::from_slice(&self.begun).ok();
                self.begun.clear();
                // Half a line is what a disk that is full leaves.
                if line.is_some() {
                    return Ok(line);
                }
            } else if !self.next_file()? {
                return Ok(None);
            }
        }
    }

    /// Goes on to the file after this one, if there is one.
    fn next_file(&mut self) -> Result<bool, Error> {
        if self.files.len() == 1 {
            let [log, ..] = files(&self.record.id);
            let Some(newer) = open(&self.dir, &log)? else { return Ok(false) };
            let same = |one: &File, other: &File| {
                let (one, other) = (rustix::fs::fstat(one).ok()?, rustix::fs::fstat(other).ok()?);
                Some(file::is_same(&one, &other))
            };
            if self.files.front().is_none_or(|file| same(file.get_ref(), newer.get_ref()) != Some(false)) {
                return Ok(false);
            }
            self.files.push_back(newer);
            // What was written between our last look at it and its becoming the older half.
            return Ok(true);
        }
        self.files.pop_front();
        self.begun.clear();
        Ok(!self.files.is_empty())
    }

    /// Something to wait for more with. `None` when the sandbox has ended.
    ///
    /// # Errors
    /// When its keeper can't be reached.
    pub fn follow(&self) -> Result<Option<Follower>, Error> {
        let key = self.record.name.key()?;
        let name = self.record.name.as_str();
        let Some(line) = Line::open(&self.runtime, &key, PATIENCE)? else { return Ok(None) };
        match line.ask(&Request::Hello, name, PATIENCE) {
            Ok(Reply::Here(record)) if record.id == self.record.id => {}
            Err(Error::Gone { .. }) | Ok(_) => return Ok(None),
            Err(error) => return Err(error),
        }
        line.send(&Request::Follow).map_err(|error| Error::io("follow the log", error))?;
        Ok(Some(Follower(line)))
    }
}

/// Waits for more in a log. Made before the log is read to its end, it misses nothing.
#[derive(Debug)]
pub struct Follower(Line);

impl Follower {
    /// Waits until there is more; false when there never will be.
    pub fn wait(&self) -> bool {
        loop {
            if let Some(is_more) = self.wait_at_most(LONG) {
                return is_more;
            }
        }
    }

    /// The same for so long; `None` when nothing came.
    pub fn wait_at_most(&self, patience: Duration) -> Option<bool> {
        match self.0.receive(patience) {
            Ok(Some(Reply::Grown)) => Some(true),
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => None,
            _ => Some(false),
        }
    }
}

fn open(dir: &OwnedFd, name: &str) -> Result<Option<BufReader<File>>, Error> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(dir.as_fd(), name, flags, Mode::empty()) {
        Ok(file) => Ok(Some(BufReader::new(File::from(file)))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::io("open the log", errno)),
    }
}
