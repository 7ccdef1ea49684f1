//! Clients that are attached: each sees what the terminal shows and may type. None holds up the shell, or another.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::task::{Context, Poll};
use tokio::net::UnixStream;

/// So many clients see a terminal at once.
pub(super) const MOST_CLIENTS: usize = 32;

/// So much waits for a client who does not read. Then he misses what comes, and sees the screen anew when he reads again.
const MOST_WAITING: usize = 1 << 20;

/// How much is read at once of what a client types.
const CHUNK: usize = 16 << 10;

/// One client.
struct Client {
    stream: UnixStream,
    waiting: VecDeque<u8>,
    has_missed: bool,
    is_gone: bool,
}

impl Client {
    fn send(&mut self, bytes: &[u8]) {
        if self.has_missed {
            return;
        }
        if self.waiting.len() + bytes.len() > MOST_WAITING {
            self.has_missed = true;
            return;
        }
        self.waiting.extend(bytes);
    }

    /// Writes what waits, as far as the client takes it.
    fn flush(&mut self, context: &mut Context<'_>) {
        while !self.waiting.is_empty() && self.stream.poll_write_ready(context).is_ready() {
            match self.stream.try_write(self.waiting.as_slices().0) {
                Ok(length @ 1..) => drop(self.waiting.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => return self.is_gone = true,
            }
        }
    }

    /// What the client has typed.
    fn typed(&mut self, context: &mut Context<'_>) -> Option<Vec<u8>> {
        while self.stream.poll_read_ready(context).is_ready() {
            let mut chunk = vec![0; CHUNK];
            match self.stream.try_read(&mut chunk) {
                Ok(length @ 1..) => {
                    chunk.truncate(length);
                    return Some(chunk);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => {
                    self.is_gone = true;
                    return None;
                }
            }
        }
        None
    }
}

/// What came of the clients.
pub(super) enum Heard {
    /// One has typed.
    Typed(Vec<u8>),
    /// Some have gone.
    Left,
    /// One who had missed something has read all that waited for him: the screen is to be drawn anew.
    CaughtUp,
}

/// All clients of one terminal.
#[derive(Default)]
pub(super) struct Audience {
    clients: Vec<Client>,
}

impl Audience {
    /// Lets a client in, who is shown this first.
    pub(super) fn admit(&mut self, stream: std::os::unix::net::UnixStream, first: &[u8]) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(stream)?;
        self.clients.push(Client {
            stream,
            waiting: first.iter().copied().collect(),
            has_missed: false,
            is_gone: false,
        });
        Ok(())
    }

    pub(super) fn count(&self) -> usize {
        self.clients.len()
    }

    /// Shows something to everybody.
    pub(super) fn show(&mut self, bytes: &[u8]) {
        self.clients.iter_mut().for_each(|client| client.send(bytes));
    }

    /// Shows the screen to those who have missed something and have read the rest.
    pub(super) fn catch_up(&mut self, screen: &[u8]) {
        for client in self.clients.iter_mut().filter(|client| client.has_missed && client.waiting.is_empty()) {
            client.has_missed = false;
            client.waiting.extend(screen);
        }
    }

    /// Lets everybody go, once they have what they take at once.
    pub(super) fn say_goodbye(&mut self) {
        for mut client in self.clients.drain(..) {
            let rest = client.waiting.make_contiguous();
            // He sees all of it or not: nobody waits for him.
            let _missed = client.stream.try_write(rest);
        }
    }

    /// Waits for a client to do something; typed input is left with them unless somebody `listens`.
    pub(super) async fn next(&mut self, listens: bool) -> Heard {
        std::future::poll_fn(|context| self.poll(context, listens)).await
    }

    fn poll(&mut self, context: &mut Context<'_>, listens: bool) -> Poll<Heard> {
        let count = self.clients.len();
        for client in &mut self.clients {
            client.flush(context);
            if listens
                && !client.is_gone
                && let Some(bytes) = client.typed(context)
            {
                return Poll::Ready(Heard::Typed(bytes));
            }
        }
        self.clients.retain(|client| !client.is_gone);
        if self.clients.len() < count {
            return Poll::Ready(Heard::Left);
        }
        if self.clients.iter().any(|client| client.has_missed && client.waiting.is_empty()) {
            return Poll::Ready(Heard::CaughtUp);
        }
        Poll::Pending
    }
}
