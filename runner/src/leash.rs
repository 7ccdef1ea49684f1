//! Init as the runner holds it: from outside, by descriptors that can't be mistaken for another process.

use crate::failure::{At, Step, StepError};
use crate::message::Order;
use crate::reach::Reach;
use crate::spent::Spent;
use crate::sys::{self, poll, process, signal, socket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Init, and what we hold of it.
pub(crate) struct Leash {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) socket: OwnedFd,
    /// Whether all of the sandbox dies with init, by the kernel's rule for the first process of a pid namespace. Else
    /// what is left has become our own children, and is ours to kill.
    pub(crate) takes_all_along: bool,
}

impl Leash {
    /// Tells init something. When it is dead already, the event loop learns that from its socket.
    pub(crate) fn tell(&self, order: Order) {
        let _dead = socket::send(self.socket.as_fd(), &order.encode(), &[]);
    }

    /// Kills init, and with it whatever dies along.
    pub(crate) fn kill(&self) {
        let _dead = signal::pidfd_send_signal(&self.pidfd, libc::SIGKILL);
    }

    /// Kills init and waits until all is gone. Waiting again is fine, and only the first time tells what init and all
    /// that it reaped have used.
    pub(crate) fn end(&self) -> Result<Option<Spent>, StepError> {
        self.kill();
        let deadline = Instant::now() + TEARDOWN;
        let spent = loop {
            match process::wait(self.pid, false) {
                Ok(None) => {}
                Ok(Some((_, _, usage))) => break Some(Spent::of(&usage)),
                Err(sys::Errno(libc::ECHILD)) => break None,
                Err(errno) => return Err(errno).at(Step::StartCommand, "wait for init"),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(sys::Errno(libc::ETIMEDOUT)).at(Step::StartCommand, "wait for init");
            }
            let mut fds = [poll::entry(self.pidfd.as_fd(), libc::POLLIN)];
            poll::poll(&mut fds, Some(left)).at(Step::StartCommand, "wait for init")?;
        };
        if self.takes_all_along || Reach::Descendants.end_all(None, deadline, |_pid, _end| {}) {
            return Ok(spent);
        }
        Err(sys::Errno(libc::ETIMEDOUT)).at(Step::StartCommand, "wait for what the command left")
    }
}

/// How long the kernel may take to tear everything down: a process can be stuck in a write to a slow disk.
const TEARDOWN: Duration = Duration::from_secs(20);
