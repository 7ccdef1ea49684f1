//! What a command writes, read by whoever asked for it: the keeper never sees it. A pipe that a background process keeps
//! open delays nothing: when the command has ended, what is in it then is read, and no more.

use pinfold_runner::{Limit, Outcome};
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe;

/// How much is read at once, in bytes.
const CHUNK: usize = 16 << 10;

/// One stream of a command, kept up to a cap and counted beyond it.
#[derive(Debug)]
pub(super) struct Capture {
    /// `None` at its end.
    pipe: Option<pipe::Receiver>,
    pub(super) kept: Vec<u8>,
    pub(super) written: u64,
    cap: u64,
}

impl Capture {
    pub(super) fn new(pipe: pipe::Receiver, cap: u64) -> Self {
        Self { pipe: Some(pipe), kept: Vec::new(), written: 0, cap }
    }

    pub(super) fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    pub(super) fn is_truncated(&self) -> bool {
        self.written > self.kept.len() as u64
    }

    /// Reads once. Loses nothing when dropped halfway.
    pub(super) async fn read(&mut self) {
        let Some(pipe) = &self.pipe else { return std::future::pending().await };
        let ready = pipe.readable().await;
        // Not before: what lives over a wait is made anew at each.
        let mut chunk = [0; CHUNK];
        let read = ready.and_then(|()| pipe.try_read(&mut chunk));
        self.note(read, &chunk);
    }

    /// Reads what the pipe holds now that the command has ended.
    pub(super) fn read_what_is_there(&mut self) {
        let Some(pipe) = &self.pipe else { return };
        // Not until it is empty: a background process may fill it as fast as we read.
        let mut left = rustix::io::ioctl_fionread(pipe).unwrap_or(0);
        let mut chunk = [0; CHUNK];
        while left > 0 {
            let Some(pipe) = &self.pipe else { return };
            // Past tokio, which may not have heard yet that there is something.
            let read = rustix::io::read(pipe, &mut chunk).map_err(io::Error::from);
            match read {
                Ok(length) => left = left.saturating_sub(length as u64),
                Err(_) => left = 0,
            }
            self.note(read, &chunk);
        }
    }

    fn note(&mut self, read: io::Result<usize>, chunk: &[u8]) {
        match read {
            Ok(length @ 1..) => {
                self.written += length as u64;
                let room = self.cap.saturating_sub(self.kept.len() as u64);
                let kept = usize::try_from(room).unwrap_or(usize::MAX).min(length);
                self.kept.extend_from_slice(&chunk[..kept]);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            _ => self.pipe = None,
        }
    }
}

/// That a command has ended, for those who read its streams.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    has_ended: AtomicBool,
    readers: Mutex<Vec<Waker>>,
}

impl Ending {
    pub(super) fn tell(&self) {
        self.has_ended.store(true, Ordering::Release);
        let readers = std::mem::take(&mut *self.readers.lock().unwrap_or_else(PoisonError::into_inner));
        readers.into_iter().for_each(Waker::wake);
    }

    fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    fn wake_later(&self, context: &Context<'_>) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if !readers.iter().any(|reader| reader.will_wake(context.waker())) {
            readers.push(context.waker().clone());
        }
    }
}

/// How much a command has written to its live stdout and stderr, as far as it was read.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    stdout: Arc<AtomicU64>,
    stderr: Arc<AtomicU64>,
}

impl Meter {
    /// Puts into the outcome of a command what was counted so far, `cap` being what was let through of each stream.
    pub fn tell(&self, outcome: &mut Outcome, cap: Limit<u64>) {
        outcome.stdout_bytes = self.stdout.load(Ordering::Relaxed);
        outcome.stderr_bytes = self.stderr.load(Ordering::Relaxed);
        let is_more = |written: u64| cap.value().is_some_and(|cap| written > cap);
        outcome.stdout_truncated = is_more(outcome.stdout_bytes);
        outcome.stderr_truncated = is_more(outcome.stderr_bytes);
    }

    /// A live stdout, and a live stderr.
    pub(super) fn streams(&self, ending: &Arc<Ending>, cap: u64) -> (Live, Live) {
        let live =
            |written: &Arc<AtomicU64>| Live { ending: ending.clone(), left: None, room: cap, written: written.clone() };
        (live(&self.stdout), live(&self.stderr))
    }
}

/// How a live stream of a command is read: as long as the command lives, then what is in the pipe. What is beyond the cap
/// is read and dropped.
#[derive(Debug)]
pub(crate) struct Live {
    ending: Arc<Ending>,
    /// What is still to be read of what was in the pipe when the command had ended.
    left: Option<u64>,
    room: u64,
    written: Arc<AtomicU64>,
}

impl Live {
    pub(crate) fn poll_read(
        &mut self,
        pipe: &mut pipe::Receiver,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let room = usize::try_from(self.room).unwrap_or(usize::MAX);
            let length = if room > 0 {
                let most = room.min(buffer.remaining());
                let mut kept = ReadBuf::new(buffer.initialize_unfilled_to(most));
                ready!(self.poll_more(pipe, context, &mut kept))?;
                let length = kept.filled().len();
                buffer.advance(length);
                self.room -= length as u64;
                length
            } else {
                let mut waste = [0; CHUNK];
                let mut dropped = ReadBuf::new(&mut waste);
                ready!(self.poll_more(pipe, context, &mut dropped))?;
                dropped.filled().len()
            };
            self.written.fetch_add(length as u64, Ordering::Relaxed);
            if room > 0 || length == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn poll_more(
        &mut self,
        pipe: &mut pipe::Receiver,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ending.has_ended() {
            self.ending.wake_later(context);
            let read = Pin::new(&mut *pipe).poll_read(context, buffer);
            // It may have ended between our first look and our wish to be woken.
            if read.is_ready() || !self.ending.has_ended() {
                return read;
            }
        }
        let left = self.left.get_or_insert_with(|| rustix::io::ioctl_fionread(pipe.as_fd()).unwrap_or(0));
        let most = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.remaining());
        if most == 0 {
            return Poll::Ready(Ok(()));
        }
        // Past tokio, which may not have heard yet that there is something.
        match rustix::io::read(pipe.as_fd(), buffer.initialize_unfilled_to(most)) {
            Ok(length @ 1..) => {
                buffer.advance(length);
                *left = left.saturating_sub(length as u64);
            }
            Ok(_) | Err(rustix::io::Errno::AGAIN) => *left = 0,
            Err(errno) => return Poll::Ready(Err(errno.into())),
        }
        Poll::Ready(Ok(()))
    }
}
