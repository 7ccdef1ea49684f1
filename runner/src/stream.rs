//! The command's stdin, stdout and stderr: pipes between it and us, so that it never holds an open file description of
//! anybody else's. What it writes is kept up to a cap, or passed on as it comes; either way the pipe goes on draining.

use crate::sys::{Errno, file, poll, terminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

/// How much is read at once; a pipe holds as much.
const CHUNK: usize = 64 << 10;

/// A write of at most this many bytes to a pipe that poll(2) calls writable does not block (PIPE_BUF, pipe(7)). The
/// other side of a live stream is the caller's, and its flags are not ours to change.
const LIVE_CHUNK: usize = 4096;

/// Where output goes.
pub(crate) enum Sink {
    /// Kept for the result.
    Keep(Vec<u8>),
    /// Passed on to this descriptor, which the caller reads. `None` once he has stopped reading.
    Live(Option<OwnedFd>),
}

/// One of stdout and stderr.
pub(crate) struct Output {
    /// Our end; `None` once every writer is gone.
    source: Option<OwnedFd>,
    sink: Sink,
    /// Read but not passed on yet.
    pending: Vec<u8>,
    cap: u64,
    /// What the command wrote.
    pub(crate) bytes: u64,
    pub(crate) truncated: bool,
}

impl Output {
    /// `source` is made non-blocking: it is our own end of a pipe or terminal.
    pub(crate) fn new(source: Option<OwnedFd>, sink: Sink, cap: Option<u64>) -> Result<Self, Errno> {
        if let Some(source) = &source {
            file::set_nonblocking(source.as_fd())?;
        }
        Ok(Self { source, sink, pending: Vec::new(), cap: cap.unwrap_or(u64::MAX), bytes: 0, truncated: false })
    }

    /// Connects a source that came to be later: the terminal that init made.
    pub(crate) fn connect(&mut self, source: OwnedFd) -> Result<(), Errno> {
        file::set_nonblocking(source.as_fd())?;
        self.source = Some(source);
        Ok(())
    }

    /// What to wait for: output when there is room for it, or room when there is output.
    pub(crate) fn interest(&self) -> Option<(RawFd, i16)> {
        use std::os::fd::AsRawFd;
        match (&self.sink, &self.source) {
            (Sink::Live(Some(live)), _) if !self.pending.is_empty() => Some((live.as_raw_fd(), libc::POLLOUT)),
            (_, Some(source)) => Some((source.as_raw_fd(), libc::POLLIN)),
            _ => None,
        }
    }

    /// Moves what can be moved without waiting.
    pub(crate) fn turn(&mut self) {
        if self.pending.is_empty() {
            self.read_some();
        }
        self.pass_on();
    }

    /// Takes in what the pipe holds now that every writer should be dead, up to `most` bytes: somebody outside of the
    /// sandbox may have been handed the descriptor and write for ever.
    pub(crate) fn drain(&mut self, most: u64) {
        let start = self.bytes;
        while self.source.is_some() && self.bytes - start < most && matches!(self.sink, Sink::Keep(_)) {
            if !self.read_some() {
                break;
            }
        }
    }

    /// Whether something waits for a slow reader.
    pub(crate) fn is_pending(&self) -> bool {
        !self.pending.is_empty() || (self.source.is_some() && matches!(self.sink, Sink::Live(Some(_))))
    }

    /// Whether something was read that nobody has taken yet.
    pub(crate) fn has_unpassed(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Gives up on the source: nothing more will be read.
    pub(crate) fn close_source(&mut self) {
        self.source = None;
    }

    /// What was kept.
    pub(crate) fn into_kept(self) -> Vec<u8> {
        match self.sink {
            Sink::Keep(bytes) => bytes,
            Sink::Live(_) => Vec::new(),
        }
    }

    /// Reads once. False when there is nothing to read now.
    fn read_some(&mut self) -> bool {
        let Some(source) = &self.source else { return false };
        let mut buffer = [0u8; CHUNK];
        match file::read(source.as_fd(), &mut buffer) {
            Err(Errno(libc::EAGAIN)) => false,
            // EIO: the last process on a terminal has closed it.
            Ok(0) | Err(_) => {
                self.source = None;
                false
            }
            Ok(length) => {
                let room = usize::try_from(self.cap.saturating_sub(self.bytes)).unwrap_or(usize::MAX);
                let wanted = length.min(room);
                self.bytes += length as u64;
                self.truncated |= wanted < length;
                match &mut self.sink {
                    Sink::Keep(kept) => kept.extend_from_slice(&buffer[..wanted]),
                    Sink::Live(Some(_)) => self.pending.extend_from_slice(&buffer[..wanted]),
                    Sink::Live(None) => {}
                }
                true
            }
        }
    }

    fn pass_on(&mut self) {
        let Sink::Live(Some(live)) = &self.sink else { return };
        let mut passed = 0;
        let mut gone = false;
        while passed < self.pending.len() && is_ready(live.as_fd(), libc::POLLOUT) {
            let end = self.pending.len().min(passed + LIVE_CHUNK);
            match file::write(live.as_fd(), &self.pending[passed..end]) {
                Ok(length) => passed += length,
                Err(Errno(libc::EAGAIN)) => break,
                Err(_nobody_reads) => {
                    gone = true;
                    break;
                }
            }
        }
        self.pending.drain(..passed);
        if gone {
            // As when the reader of a pipe goes away: our end closes too, and the command's next write is SIGPIPE.
            self.pending.clear();
            self.sink = Sink::Live(None);
            self.source = None;
        }
    }
}

fn is_ready(fd: BorrowedFd<'_>, events: i16) -> bool {
    let mut entry = [poll::entry(fd, events)];
    poll::poll(&mut entry, Some(std::time::Duration::ZERO)).is_ok_and(|ready| ready > 0)
}

/// The command's stdin.
pub(crate) struct Input {
    /// Our end of the command's pipe, or its terminal; `None` once there is nothing more to say or nobody to hear it.
    sink: Option<OwnedFd>,
    /// Where more comes from.
    live: Option<OwnedFd>,
    pending: Vec<u8>,
    written: usize,
    is_terminal: bool,
}

/// Ctrl-D: what a terminal takes for end-of-file (termios(3), VEOF).
const END_OF_FILE: u8 = 4;

impl Input {
    pub(crate) fn new(sink: Option<OwnedFd>, live: Option<OwnedFd>, bytes: Vec<u8>) -> Result<Self, Errno> {
        if let Some(sink) = &sink {
            file::set_nonblocking(sink.as_fd())?;
        }
        Ok(Self { sink, live, pending: bytes, written: 0, is_terminal: false })
    }

    /// Connects the terminal that init made.
    pub(crate) fn connect_terminal(&mut self, sink: OwnedFd) -> Result<(), Errno> {
        file::set_nonblocking(sink.as_fd())?;
        self.sink = Some(sink);
        self.is_terminal = true;
        Ok(())
    }

    /// Tells the terminal its new size, if there is one.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        if let (true, Some(master)) = (self.is_terminal, &self.sink) {
            let _hung_up = terminal::set_size(master, rows, columns);
        }
    }

    /// What to wait for.
    pub(crate) fn interest(&self) -> Option<(RawFd, i16)> {
        use std::os::fd::AsRawFd;
        let sink = self.sink.as_ref()?;
        if self.written < self.pending.len() {
            return Some((sink.as_raw_fd(), libc::POLLOUT));
        }
        self.live.as_ref().map(|live| (live.as_raw_fd(), libc::POLLIN))
    }

    /// Moves what can be moved without waiting, and closes the command's stdin at the end.
    pub(crate) fn turn(&mut self) {
        if self.written == self.pending.len()
            && let Some(live) = &self.live
            && is_ready(live.as_fd(), libc::POLLIN)
        {
            self.pending.resize(CHUNK, 0);
            self.written = 0;
            let read = file::read(live.as_fd(), &mut self.pending);
            let length = read.unwrap_or(0);
            self.pending.truncate(length);
            // A non-blocking one that is empty after all has not ended.
            if length == 0 && read != Err(Errno(libc::EAGAIN)) {
                self.live = None;
                if self.is_terminal {
                    self.pending.push(END_OF_FILE);
                }
            }
        }
        let Some(sink) = &self.sink else { return };
        while self.written < self.pending.len() {
            match file::write(sink.as_fd(), &self.pending[self.written..]) {
                Ok(length) => self.written += length,
                Err(Errno(libc::EAGAIN)) => return,
                Err(_nobody_reads) => {
                    self.sink = None;
                    self.live = None;
                    return;
                }
            }
        }
        // A terminal stays: closing it would hang it up.
        if self.live.is_none() && !self.is_terminal {
            self.sink = None;
        }
    }
}
