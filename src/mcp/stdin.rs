//! stdin, whose end is the end of the client.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf, Stdin};
use tokio::sync::watch;

/// Says when there is no more to read.
#[derive(Debug)]
pub(super) struct Watched {
    stdin: Stdin,
    closed: watch::Sender<bool>,
}

impl Watched {
    pub(super) fn new(closed: watch::Sender<bool>) -> Self {
        Self { stdin: tokio::io::stdin(), closed }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stdin).poll_read(context, buffer);
        if let Poll::Ready(read) = &polled
            && (read.is_err() || buffer.filled().len() == before)
        {
            self.closed.send_replace(true);
        }
        polled
    }
}
