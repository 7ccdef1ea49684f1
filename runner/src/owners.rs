//! Those who may end a job at any time: whoever signals the runner, whoever reads its answer, and the supervisor.

use crate::sys::{file, poll};
use pinfold_runner::ControlMessage;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// What they speak through.
pub(crate) struct Owners {
    /// SIGTERM and SIGINT to the runner.
    pub(crate) signals: OwnedFd,
    /// The supervisor holds the other end; `None` also once it has closed.
    pub(crate) lifeline: Option<OwnedFd>,
}

impl Owners {
    pub(crate) fn new(signals: OwnedFd, lifeline: Option<OwnedFd>) -> Self {
        Self { signals, lifeline }
    }

    /// Whether one of them has told us to stop.
    pub(crate) fn say_stop(&self) -> bool {
        let raw = |fd: RawFd, events| libc::pollfd { fd, events, revents: 0 };
        let lifeline = self.lifeline.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let mut fds = [
            raw(self.signals.as_raw_fd(), libc::POLLIN),
            raw(libc::STDOUT_FILENO, 0),
            raw(lifeline, libc::POLLIN | libc::POLLRDHUP),
        ];
        // After the command's end any message on the lifeline but a signal or a new size is to stop, and those two mean
        // nothing any more; so what came is read and judged.
        let is_ready = poll::poll(&mut fds, Some(Duration::ZERO)).is_ok_and(|ready| ready > 0);
        is_ready && (fds[0].revents != 0 || fds[1].revents != 0 || self.lifeline_says_stop(fds[2].revents))
    }

    fn lifeline_says_stop(&self, revents: i16) -> bool {
        let Some(lifeline) = self.lifeline.as_ref().filter(|_| revents != 0) else { return false };
        let mut buffer = [0u8; 512];
        let length = file::read(lifeline.as_fd(), &mut buffer).unwrap_or(0);
        let cancel = ControlMessage::Cancel.encode();
        length == 0 || buffer[..length].chunks(ControlMessage::BYTES).any(|message| message == cancel)
    }
}
