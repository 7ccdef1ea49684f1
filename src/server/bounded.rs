//! Bytes between a request and code that blocks, in either direction: a few pieces wait, and nobody waits for a client for
//! ever.

use super::problem::Problem;
use axum::body::{Body, Bytes};
use std::io::{self, Read, Write};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;

/// How long a client may bring nothing, or take nothing.
pub(super) const STALL: Duration = Duration::from_secs(30);
/// How many pieces wait.
const PIECES: usize = 4;
/// As large as a piece is made.
const PIECE: usize = 64 << 10;

/// A body, for code that reads and blocks. To be used on a thread where blocking is allowed.
#[derive(Debug)]
pub(super) struct BodyReader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
    left: u64,
    runtime: Handle,
}

impl BodyReader {
    /// Of at most so many bytes.
    pub(super) fn new(body: Body, most: u64) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES);
        tokio::spawn(async move {
            let mut stream = body.into_data_stream();
            loop {
                let piece = match tokio::time::timeout(STALL, stream.next()).await {
                    Ok(None) => break,
                    Ok(Some(piece)) => piece.map_err(io::Error::other),
                    Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
                };
                let is_last = piece.is_err();
                if sender.send(piece).await.is_err() || is_last {
                    break;
                }
            }
        });
        Self { pieces, piece: Bytes::new(), left: most, runtime: Handle::current() }
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.runtime.block_on(self.pieces.recv()) {
                None => return Ok(0),
                Some(piece) => self.piece = piece?,
            }
        }
        let length = self.piece.len().min(buffer.len());
        let left = self.left.checked_sub(length as u64);
        self.left = left.ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

/// What code that writes and blocks makes, as a body. An error of it cuts the body off, so that whoever reads it notices.
#[derive(Debug)]
pub(super) struct BodyWriter {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
    runtime: Handle,
}

impl BodyWriter {
    pub(super) fn new() -> (Self, Body) {
        let (pieces, stream) = mpsc::channel(PIECES);
        let body = Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(stream));
        (Self { pieces, piece: Vec::with_capacity(PIECE), runtime: Handle::current() }, body)
    }

    /// Ends the body as what it is: whole, or cut off.
    pub(super) fn finish(mut self, done: Result<(), Problem>) {
        let sent = match done {
            Ok(()) => self.flush(),
            Err(problem) => self.send(Err(io::Error::other(problem.detail))),
        };
        let _gone = sent;
    }

    fn send(&mut self, piece: io::Result<Bytes>) -> io::Result<()> {
        let sent = self.runtime.block_on(async { tokio::time::timeout(STALL, self.pieces.send(piece)).await });
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_gone)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Write for BodyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.send(Ok(piece.into()))
    }
}
