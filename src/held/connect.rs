//! The way to a keeper: its socket, checked to be one of the same user's, and questions that are answered at once.

use super::error::Error;
use super::runtime::Runtime;
use super::wire::{Connection, Reply, Request, encode, receive_now, send_now};
use crate::workspace::key::Key;
use pinfold_runner::Failure;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{PidfdFlags, pidfd_open};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long until the next try where the keeper has a queue: connect(2) of such a socket does not wait.
const PAUSE: Duration = Duration::from_millis(2);

/// How long a keeper may take to be connected to, and to answer what it can answer at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// A socket to the keeper of that key. `None` when nobody listens there.
pub(crate) fn open(runtime: &Runtime, key: &Key, patience: Duration) -> Result<Option<OwnedFd>, Error> {
    let failed = |error: io::Error| Error::io("connect to the sandbox's keeper", error);
    let address = runtime.address(key)?;
    let path = address.as_pathname().unwrap_or(Path::new(""));
    let address = SocketAddrUnix::new(path).map_err(|errno| failed(errno.into()))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(|errno| failed(errno.into()))?;
    let start = Instant::now();
    loop {
        match connect(&socket, &address) {
            Ok(()) => break,
            Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
            Err(Errno::WOULDBLOCK) if start.elapsed() < patience => std::thread::sleep(PAUSE),
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::Timeout { what: "connect to the sandbox's keeper".to_owned() });
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(errno.into())),
        }
    }
    let peer = socket_peercred(&socket).map_err(|errno| failed(errno.into()))?;
    if peer.uid != rustix::process::geteuid() {
        let reason = "somebody else listens where its keeper should";
        return Err(Error::invalid("the sandbox", reason));
    }
    Ok(Some(socket))
}

/// A connection that is waited for by blocking, for what is asked once and answered at once.
#[derive(Debug)]
pub(crate) struct Line(OwnedFd);

impl Line {
    /// Connects; `None` when nobody listens there.
    pub(crate) fn open(runtime: &Runtime, key: &Key, patience: Duration) -> Result<Option<Self>, Error> {
        Ok(open(runtime, key, patience)?.map(Self))
    }

    /// A descriptor of the keeper, as long as it lives.
    pub(crate) fn keeper(&self) -> Option<OwnedFd> {
        let peer = socket_peercred(&self.0).ok()?;
        pidfd_open(peer.pid, PidfdFlags::empty()).ok()
    }

    /// Sends a request.
    pub(crate) fn send(&self, request: &Request) -> io::Result<()> {
        let bytes = encode(request)?;
        // A connection on which nothing is on its way has room for a message.
        Ok(send_now(self.0.as_fd(), &bytes, &[])?)
    }

    /// Waits for an answer; `None` when the keeper is gone.
    ///
    /// # Errors
    /// `TimedOut` when it does not come in time.
    pub(crate) fn receive(&self, patience: Duration) -> io::Result<Option<Reply>> {
        Ok(self.receive_all(patience)?.map(|(reply, _)| reply))
    }

    fn receive_all(&self, patience: Duration) -> io::Result<Option<(Reply, Vec<OwnedFd>)>> {
        let start = Instant::now();
        loop {
            match receive_now(self.0.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
                Ok(None) => return Ok(None),
                Ok(Some(received)) => return Ok(Some((received.read()?, received.descriptors))),
            }
            let left = patience.saturating_sub(start.elapsed());
            if left.is_zero() || !is_readable(self.0.as_fd(), left) {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Timeout`], and what the keeper refuses.
    pub(crate) fn ask(&self, request: &Request, name: &str, patience: Duration) -> Result<Reply, Error> {
        self.ask_for(request, name, patience).map(|(reply, _)| reply)
    }

    /// The same with the descriptors that the answer brings.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn ask_for(
        &self,
        request: &Request,
        name: &str,
        patience: Duration,
    ) -> Result<(Reply, Vec<OwnedFd>), Error> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                Error::Timeout { what: format!("hear from the keeper of sandbox `{name}`") }
            }
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Error::gone(name),
            _ => Error::io(format!("speak to the keeper of sandbox `{name}`"), error),
        };
        match self.send(request) {
            // Who closes before he was asked has said why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            sent => sent.map_err(failed)?,
        }
        match self.receive_all(patience).map_err(failed)? {
            Some((Reply::Refused(failure), _)) => Err(refused(failure, name)),
            Some(answer) => Ok(answer),
            None => Err(Error::gone(name)),
        }
    }
}

/// Waits until there is something to read, or the end.
pub(crate) fn is_readable(descriptor: BorrowedFd<'_>, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok();
        match poll(&mut [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)], left.as_ref()) {
            Err(Errno::INTR) => {}
            other => return other.is_ok_and(|ready| ready > 0),
        }
    }
}

/// What a keeper refuses, as an error.
pub(crate) fn refused(failure: Failure, name: &str) -> Error {
    match failure.code.as_str() {
        "gone" => Error::gone(name),
        "busy" => Error::Busy { name: name.to_owned(), why: failure.message },
        "invalid" => Error::Invalid { what: "the command".to_owned(), reason: failure.message },
        "timeout" => Error::Timeout { what: format!("get an answer: {}", failure.message) },
        _ => Error::Failed(failure),
    }
}

/// A connection on a tokio runtime, for commands.
///
/// # Errors
/// [`Error::NotFound`] when nobody listens there.
pub(crate) fn connection(runtime: &Runtime, key: &Key, name: &str) -> Result<Connection, Error> {
    // A queue of 128 clients is seldom full, and a keeper takes it down in less than a millisecond.
    let socket = open(runtime, key, Duration::from_millis(200))?.ok_or_else(|| Error::not_found(name))?;
    Connection::new(socket).map_err(|error| Error::io("connect to the sandbox's keeper", error))
}
