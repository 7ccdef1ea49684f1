//! Ending the sandbox of a build whose worker was lost. Mostly there is nothing to be done: a sandbox ends with the worker
//! that started it. A worker that is stopped or hangs still holds its sandbox up, and that is ended here, by its runner.

use super::store::Running;
use crate::held::is_readable;
use rustix::process::{Signal, pidfd_send_signal};
use std::os::fd::AsFd;
use std::time::Duration;

/// How long the runner may take to kill everything and to clean up, and how long the kernel may take to end it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ends a sandbox, and says whether it is known to have ended.
pub(crate) fn end(running: &Running) -> bool {
    let Some(pidfd) = running.runner.open() else { return true };
    // The runner kills what runs in its sandbox and cleans up when it is asked to end. Where it is killed, init notices.
    [Signal::TERM, Signal::KILL].into_iter().any(|signal| {
        let _gone = pidfd_send_signal(&pidfd, signal);
        is_readable(pidfd.as_fd(), PATIENCE)
    })
}
