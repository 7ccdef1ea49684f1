//! Locks between processes: flock(2) on a file, which ends with whoever holds it, however that one ends.

use super::file::OURS;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long anybody waits for a lock that is only ever held for a moment. Who holds it longer is stopped or hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long anybody waits for a lock that others hold for as long as they work. Who was killed while a thread of his started
/// a process leaves a copy of it until that one is executed.
const BRIEFLY: Duration = Duration::from_millis(100);

/// How long until the next try, at first and at most: flock(2) itself has no deadline.
const PAUSES: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(5));

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Lock(OwnedFd);

impl Lock {
    /// Waits for the lock alone. `None` when the patience is at its end.
    pub(crate) fn alone(at: BorrowedFd<'_>, name: &str) -> Result<Option<Self>, Errno> {
        wait(open(at, name)?, FlockOperation::NonBlockingLockExclusive, PATIENCE)
    }

    /// Waits for a share of the lock.
    pub(crate) fn shared(at: BorrowedFd<'_>, name: &str) -> Result<Option<Self>, Errno> {
        wait(open(at, name)?, FlockOperation::NonBlockingLockShared, PATIENCE)
    }

    /// Takes the lock alone if nobody works there.
    pub(crate) fn alone_briefly(at: BorrowedFd<'_>, name: &str) -> Result<Option<Self>, Errno> {
        wait(open(at, name)?, FlockOperation::NonBlockingLockExclusive, BRIEFLY)
    }

    /// Whether somebody has the lock alone. Whoever tries to take it in this very moment finds it taken.
    pub(crate) fn is_held(at: BorrowedFd<'_>, name: &str) -> Result<bool, Errno> {
        Ok(!take(open(at, name)?.as_fd(), FlockOperation::NonBlockingLockShared)?)
    }

    /// The locked file.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Lock {
    /// Gives the lock up in so many words: to close the file isn't enough while a process that another thread is starting has
    /// a copy of the descriptor, which it has until it is executed (flock(2)).
    fn drop(&mut self) {
        _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// Takes the lock alone if nobody has it: a file whose lock lives as long as any copy of its descriptor.
pub(crate) fn file_alone_now(at: BorrowedFd<'_>, name: &str) -> Result<Option<OwnedFd>, Errno> {
    let file = open(at, name)?;
    Ok(take(file.as_fd(), FlockOperation::NonBlockingLockExclusive)?.then_some(file))
}

/// Takes the lock of an open directory for as long as its descriptor lives, if nobody has it.
pub(crate) fn claim(dir: BorrowedFd<'_>) -> Result<bool, Errno> {
    take(dir, FlockOperation::NonBlockingLockExclusive)
}

const FILE: OFlags = OFlags::RDWR.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The same, if nobody works there.
pub(crate) fn claim_now(dir: OwnedFd) -> Result<Option<Lock>, Errno> {
    wait(dir, FlockOperation::NonBlockingLockExclusive, BRIEFLY)
}

/// Makes the file of a lock if it is absent.
pub(crate) fn make(at: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    rustix::fs::openat(at, name, FILE | OFlags::CREATE, OURS).map(drop)
}

fn open(at: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(at, name, FILE, Mode::empty())
}

fn wait(file: OwnedFd, how: FlockOperation, patience: Duration) -> Result<Option<Lock>, Errno> {
    let (start, mut pause) = (Instant::now(), PAUSES.0);
    loop {
        if take(file.as_fd(), how)? {
            return Ok(Some(Lock(file)));
        }
        if start.elapsed() >= patience {
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSES.1);
    }
}

fn take(file: BorrowedFd<'_>, how: FlockOperation) -> Result<bool, Errno> {
    loop {
        match rustix::fs::flock(file, how) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
