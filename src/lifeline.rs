//! The lifeline: a socket whose other end the runner holds. That it closes is the message that always arrives, since the
//! kernel sends it when this process dies, however it dies. `PR_SET_PDEATHSIG` could not do this work: it is bound to the
//! thread that spawned the runner (prctl(2)), and tokio's threads come and go.

use pinfold_runner::ControlMessage;
use rustix::net::{SendFlags, send};
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

/// The supervisor's end of the lifeline of one sandbox.
#[derive(Debug)]
pub(crate) struct Lifeline {
    /// `None` once closed. It is close-on-exec: no program that the host starts gets a copy, so that the host's end is the
    /// lifeline's. A std mutex, since nothing is awaited under it.
    socket: Mutex<Option<UnixStream>>,
}

impl Lifeline {
    /// Makes a lifeline; the second is the runner's end.
    pub(crate) fn new() -> io::Result<(Self, OwnedFd)> {
        let (ours, runners) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((Self { socket: Mutex::new(Some(ours)) }, runners.into()))
    }

    /// Sends `message` without ever waiting.
    ///
    /// # Errors
    /// `NotConnected` when the lifeline is closed at either end; `WouldBlock` when the runner reads nothing.
    pub(crate) fn send(&self, message: ControlMessage) -> io::Result<()> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(socket) = socket.as_ref() else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let bytes = message.encode();
        // NOSIGNAL: a host may not ignore SIGPIPE. A stream socket of the Unix domain takes five bytes or none.
        match send(socket, &bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(sent) if sent == bytes.len() => Ok(()),
            Ok(_) => Err(io::ErrorKind::WriteZero.into()),
            Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Err(io::ErrorKind::NotConnected.into()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Closes it: the runner ends the sandbox.
    pub(crate) fn close(&self) {
        if let Some(socket) = self.socket.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Should the host have forked without exec, then a copy is left that dropping ours would not close. An error
            // means that the runner is gone already.
            let _gone = socket.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn messages_arrive_and_closing_is_end_of_file() {
        let (ours, theirs) = Lifeline::new().unwrap();
        ours.send(ControlMessage::Signal(15)).unwrap();
        ours.close();
        let mut received = Vec::new();
        UnixStream::from(theirs).read_to_end(&mut received).unwrap();
        assert_eq!(received, ControlMessage::Signal(15).encode());
        assert_eq!(ours.send(ControlMessage::Cancel).unwrap_err().kind(), io::ErrorKind::NotConnected);
    }

    #[test]
    fn a_reader_that_is_gone_or_does_not_read_never_blocks() {
        let (ours, theirs) = Lifeline::new().unwrap();
        let full = (0..1_000_000).find_map(|_| ours.send(ControlMessage::Cancel).err()).unwrap();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        drop(theirs);
        assert_eq!(ours.send(ControlMessage::Cancel).unwrap_err().kind(), io::ErrorKind::NotConnected);
    }
}
