//! What a client and a keeper say to each other: one JSON object a message, with descriptors where a message says so, over
//! a socket that keeps messages whole (SOCK_SEQPACKET). A client asks one thing at a time on a connection; while a command
//! of its runs, it may send signals to it.

use super::record::Record;
use super::stats::Stats;
use super::terminal::ask::{TerminalAnswer, TerminalAsk};
use pinfold_runner::{Failure, Job, MAX_HELD_MESSAGE, Outcome};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recv, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// No message is longer, in bytes: one that the runner takes, in its envelope.
pub(crate) const LONGEST: usize = MAX_HELD_MESSAGE + (16 << 10);

/// No message brings more descriptors.
pub(crate) const MOST_DESCRIPTORS: usize = 8;

/// What a client asks of a keeper.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Who is there: [`Reply::Here`].
    Hello,
    /// Run a command: [`Reply::Ended`] when it has ended. With it come its stdin, stdout and stderr, unless it is detached:
    /// then the answer is [`Reply::Executed`], and the log has its output.
    Exec { job: Box<Job>, detach: bool },
    /// Send a signal to the process group of the command that runs on this connection.
    Signal { signal: i32 },
    /// End the command that runs on this connection, with all that it started. That the connection closes says the same.
    Cancel,
    /// What the sandbox uses: [`Reply::Stats`].
    Stats,
    /// Hand over the workspace's directory: [`Reply::Workspace`].
    Workspace,
    /// Make every process stand still: [`Reply::Frozen`]. They go on at [`Request::Thaw`], when the connection closes, and
    /// when it takes too long, of which a refusal tells then.
    Freeze,
    /// Let those go on that stand still for this connection: [`Reply::Thawed`].
    Thaw,
    /// Say [`Reply::Grown`] whenever the log has grown, until the sandbox ends.
    Follow,
    /// Something about terminals: [`Reply::Terminal`]. Either may bring a descriptor.
    Terminal(TerminalAsk),
    /// End the sandbox. [`Reply::Stopping`] comes at once; the connection closes when all is gone.
    Stop,
    /// The same if for so long no command ran and nobody was attached.
    StopIdle { idle_ms: u64 },
}

/// What a keeper answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Reply {
    Here(Box<Record>),
    /// A detached command was executed.
    Executed {
        number: u64,
    },
    /// A command has ended, or could not be started.
    Ended {
        number: u64,
        outcome: Box<Outcome>,
    },
    Stats(Box<Stats>),
    /// With it comes the directory as the sandbox sees it.
    Workspace,
    Frozen,
    Thawed,
    Grown,
    Terminal(TerminalAnswer),
    Stopping,
    /// The request can't be met, and why.
    Refused(Failure),
}

/// Sends one message without waiting.
pub(crate) fn send_now(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::TOOMANYREFS);
    }
    loop {
        // NOSIGNAL: a host may not ignore SIGPIPE. Of a message all is sent or nothing: unix(7), SOCK_SEQPACKET.
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, flags) {
            Err(Errno::INTR) => {}
            other => return other.map(drop),
        }
    }
}

/// One message as it came.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Received {
    /// What it says.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> io::Result<T> {
        Ok(serde_json::from_slice(&self.bytes)?)
    }
}

/// Receives one message without waiting; `None` when the other side has closed.
pub(crate) fn receive_now(socket: BorrowedFd<'_>) -> io::Result<Option<Received>> {
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    // Its length first, so that room is made for what comes and not for what may. TRUNC tells the whole of it: recv(2).
    let look = || recv(socket, &mut [0u8; 0], RecvFlags::DONTWAIT | RecvFlags::PEEK | RecvFlags::TRUNC);
    let (_, length) = match look() {
        // Told once, when the other side closes without having read all: what it said before that is still there.
        Err(Errno::CONNRESET) => look()?,
        other => other?,
    };
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
    }
    let mut bytes = vec![0; length];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags)?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message brings too much"));
    }
    // No message of ours is empty, so an empty one is the end.
    Ok((got.bytes > 0).then_some(Received { bytes, descriptors }))
}

/// One end of a connection, on a tokio runtime.
#[derive(Debug)]
pub(crate) struct Connection(UnixStream);

impl Connection {
    /// Takes over a socket of the kind SOCK_SEQPACKET.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(true)?;
        UnixStream::from_std(socket).map(Self)
    }

    /// One that a listener of that kind has accepted.
    pub(crate) fn accepted(stream: UnixStream) -> Self {
        Self(stream)
    }

    /// Sends one message with descriptors, waiting for room.
    pub(crate) async fn send(&self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_bytes(&encode(message)?, descriptors).await
    }

    /// The same with a message that is bytes already.
    pub(crate) async fn send_bytes(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        loop {
            match send_now(self.0.as_fd(), bytes, descriptors) {
                Err(Errno::WOULDBLOCK) => {}
                other => return Ok(other?),
            }
            // Through `try_io`, which learns that there was no room and waits for the kernel to say that there is.
            self.0.writable().await?;
            match self.0.try_io(Interest::WRITABLE, || Ok(send_now(self.0.as_fd(), bytes, descriptors)?)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }

    /// Sends one message if there is room for it now.
    pub(crate) fn try_send(&self, message: &impl Serialize) -> io::Result<()> {
        Ok(send_now(self.0.as_fd(), &encode(message)?, &[])?)
    }

    /// Receives one message; `None` when the other side has closed. Loses nothing when dropped halfway.
    pub(crate) async fn receive(&self) -> io::Result<Option<Received>> {
        loop {
            self.0.readable().await?;
            match self.0.try_io(Interest::READABLE, || receive_now(self.0.as_fd())) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A message as bytes.
pub(crate) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is longer than {LONGEST} bytes")));
    }
    Ok(bytes)
}
