//! What init and the command's process hand each other while each does its part: descriptors, in an order that is fixed.

use crate::failure::{At, Step, StepError};
use crate::rlimit::Held;
use crate::sys::{Errno, process, socket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// One end. The other end's death is end-of-file here, and ends this process too: whoever died has told why.
pub(crate) struct Handoff(OwnedFd);

/// What init has made for the command.
pub(crate) struct Ready {
    /// The new root, for the command's process to see that it is in it.
    pub(crate) root: OwnedFd,
    /// The command's side of its terminal, if it has one.
    pub(crate) terminal: Option<OwnedFd>,
}

impl Handoff {
    /// Init's end and the command's.
    pub(crate) fn pair() -> Result<(Self, Self), StepError> {
        let (ours, theirs) = socket::socketpair().at(Step::MakePipe, "the command's process")?;
        Ok((Self(ours), Self(theirs)))
    }

    /// This end's descriptor.
    pub(crate) fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    fn send<'a>(&self, kind: u8, descriptors: impl IntoIterator<Item = &'a OwnedFd>) -> Result<(), StepError> {
        self.send_with(kind, 0, descriptors)
    }

    fn send_with<'a>(
        &self,
        kind: u8,
        flags: u8,
        descriptors: impl IntoIterator<Item = &'a OwnedFd>,
    ) -> Result<(), StepError> {
        let descriptors: Vec<_> = descriptors.into_iter().map(AsFd::as_fd).collect();
        match socket::send(self.0.as_fd(), &[kind, flags], &descriptors) {
            // It died, and has told why.
            Err(Errno(libc::EPIPE | libc::ECONNRESET)) => process::exit_now(1),
            other => other.at(Step::MakePipe, "the command's process"),
        }
    }

    fn receive(&self, kind: u8) -> Result<Vec<OwnedFd>, StepError> {
        self.receive_with(kind).map(|(descriptors, _no_flags)| descriptors)
    }

    fn receive_with(&self, kind: u8) -> Result<(Vec<OwnedFd>, u8), StepError> {
        let mut buffer = [0; 2];
        match socket::receive(self.0.as_fd(), &mut buffer) {
            Ok((2, descriptors)) if buffer[0] == kind => Ok((descriptors, buffer[1])),
            // It died, and has told why; with something of ours unread, that is ECONNRESET.
            Ok(_) | Err(Errno(libc::ECONNRESET)) => process::exit_now(1),
            Err(errno) => Err(errno).at(Step::MakePipe, "the command's process"),
        }
    }

    /// Init's first word: the id maps are written, these are the `tasks` files of the command's groups on v1, and this
    /// is what groups hold.
    pub(crate) fn send_entry(&self, tasks: &[OwnedFd], held: Held) -> Result<(), StepError> {
        self.send_with(b'e', held.encode(), tasks)
    }

    /// See [`Handoff::send_entry`].
    pub(crate) fn receive_entry(&self) -> Result<(Vec<OwnedFd>, Held), StepError> {
        self.receive_with(b'e').map(|(tasks, flags)| (tasks, Held::decode(flags)))
    }

    /// The command's process's word: its network namespace.
    pub(crate) fn send_network(&self, namespace: OwnedFd) -> Result<(), StepError> {
        self.send(b'n', [&namespace])
    }

    /// See [`Handoff::send_network`].
    pub(crate) fn receive_network(&self) -> Result<OwnedFd, StepError> {
        let mut descriptors = self.receive(b'n')?;
        descriptors.pop().ok_or(Errno(libc::EBADF)).at(Step::MakeNamespaces, "net")
    }

    /// A process's word whose cgroup namespace init is to enter.
    pub(crate) fn send_cgroup(&self, namespace: OwnedFd) -> Result<(), StepError> {
        self.send(b'c', [&namespace])
    }

    /// See [`Handoff::send_cgroup`].
    pub(crate) fn receive_cgroup(&self) -> Result<OwnedFd, StepError> {
        let mut descriptors = self.receive(b'c')?;
        descriptors.pop().ok_or(Errno(libc::EBADF)).at(Step::HideCgroup, "")
    }

    /// Init's second word: the view is built.
    pub(crate) fn send_ready(&self, ready: &Ready) -> Result<(), StepError> {
        self.send(b'r', [Some(&ready.root), ready.terminal.as_ref()].into_iter().flatten())
    }

    /// Init's last word: the old root is gone, and init has given up its rights.
    pub(crate) fn send_go(&self) -> Result<(), StepError> {
        self.send(b'g', [])
    }

    /// See [`Handoff::send_go`].
    pub(crate) fn receive_go(&self) -> Result<(), StepError> {
        self.receive(b'g').map(drop)
    }

    /// See [`Handoff::send_ready`].
    pub(crate) fn receive_ready(&self) -> Result<Ready, StepError> {
        let mut descriptors = self.receive(b'r')?.into_iter();
        let root = descriptors.next().ok_or(Errno(libc::EBADF)).at(Step::EnterRoot, "/")?;
        Ok(Ready { root, terminal: descriptors.next() })
    }
}
