//! The sandbox's own network namespace, with nothing in it but loopback, up.
//!
//! The kernel takes some 300 µs to make one, as long as everything else together, and it needs no lock that mounting
//! needs. So it is made by a thread of init's while init builds the view: the only thread beside the first that ever
//! runs in this program, started and joined before init forks the command.

use crate::failure::{At, Step, StepError};
use crate::sys::{file, network, process};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

/// A namespace in the making.
pub(crate) struct Making(JoinHandle<Result<OwnedFd, StepError>>);

/// The thread makes a few system calls and needs hardly any stack.
const STACK: usize = 64 << 10;

impl Making {
    /// Starts it. Namespaces other than the user namespace belong to a thread, not to a process (unshare(2)).
    pub(crate) fn start() -> Result<Self, StepError> {
        let builder = std::thread::Builder::new().stack_size(STACK);
        builder.spawn(make).map(Self).at(Step::MakeNamespaces, "net")
    }

    /// Waits for it and enters it.
    pub(crate) fn enter(self) -> Result<(), StepError> {
        let made = self.0.join().unwrap_or(Err(StepError::died(Step::MakeNamespaces, "net")))?;
        process::setns(made.as_fd(), libc::CLONE_NEWNET).at(Step::MakeNamespaces, "net")
    }
}

fn make() -> Result<OwnedFd, StepError> {
    process::unshare(libc::CLONE_NEWNET).at(Step::MakeNamespaces, "net")?;
    network::loopback_up().at(Step::RaiseLoopback, "lo")?;
    file::open("/proc/thread-self/ns/net", libc::O_RDONLY).at(Step::MakeNamespaces, "net")
}
