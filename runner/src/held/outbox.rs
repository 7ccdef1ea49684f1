//! What is yet to be told to the keeper: the runner never waits for a reader.

use crate::sys::{Errno, socket};
use pinfold_runner::Notice;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Messages with the descriptors that go along, in order.
pub(super) struct Outbox {
    keeper: OwnedFd,
    waiting: VecDeque<(Vec<u8>, Option<OwnedFd>)>,
}

impl Outbox {
    pub(super) fn new(keeper: OwnedFd) -> Self {
        Self { keeper, waiting: VecDeque::new() }
    }

    pub(super) fn keeper(&self) -> BorrowedFd<'_> {
        self.keeper.as_fd()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Tells it now, if there is room.
    pub(super) fn tell(&mut self, notice: &Notice, descriptor: Option<OwnedFd>) {
        if let Ok(message) = serde_json::to_vec(notice) {
            self.waiting.push_back((message, descriptor));
            self.flush();
        }
    }

    /// Sends what there is room for.
    pub(super) fn flush(&mut self) {
        while let Some((message, descriptor)) = self.waiting.front() {
            let descriptors: Vec<_> = descriptor.iter().map(AsFd::as_fd).collect();
            match socket::try_send(self.keeper.as_fd(), message, &descriptors) {
                Err(Errno(libc::EAGAIN | libc::ENOBUFS | libc::ETOOMANYREFS)) => return,
                // The keeper is gone, which the loop sees as well.
                Ok(()) | Err(_) => _ = self.waiting.pop_front(),
            }
        }
    }
}
