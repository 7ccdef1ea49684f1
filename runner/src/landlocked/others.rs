//! How many processes a user has, by the kernel's own count, against which RLIMIT_NPROC is held. `/proc` shows only those
//! of our pid namespace: a container's neighbours may have the same uid, and count all the same.

use crate::failure::{At, Step, StepError};
use crate::sys::process::{self, End, Fork};
use crate::sys::{capability, file, pipe, resource};
use std::os::fd::AsFd;

/// More processes than this no kernel has (PID_MAX_LIMIT, 2^22).
const MOST: u64 = 1 << 22;

/// Found out by trying: with which soft limit can this user still fork? `None` where no limit keeps him from it.
pub(crate) fn count() -> Result<Option<u64>, StepError> {
    let (read, write) = pipe::pipe().at(Step::CountProcesses, "")?;
    match process::clone3(0, None).at(Step::CountProcesses, "")? {
        Fork::Child => {
            let counted = search();
            let _parent_is_dead = file::write_all(write.as_fd(), &counted.to_le_bytes());
            process::exit_now(0)
        }
        Fork::Parent(pid, _pidfd) => {
            drop(write);
            let mut bytes = [0; 8];
            let length = file::read(read.as_fd(), &mut bytes).at(Step::CountProcesses, "")?;
            process::wait(pid, true).at(Step::CountProcesses, "")?;
            // The process that tried, and the one that it tried to make.
            Ok((length == bytes.len()).then(|| u64::from_le_bytes(bytes).checked_sub(2)).flatten())
        }
    }
}

/// The lowest limit with which a fork works; 0 when every limit does.
fn search() -> u64 {
    // The limit binds nobody who has CAP_SYS_RESOURCE; the command will not.
    if capability::drop_all().is_err() {
        return 0;
    }
    if can_fork(1) {
        return 0;
    }
    let (mut too_low, mut enough) = (1, MOST);
    while too_low + 1 < enough {
        let middle = too_low + (enough - too_low) / 2;
        if can_fork(middle) {
            enough = middle;
        } else {
            too_low = middle;
        }
    }
    enough
}

fn can_fork(limit: u64) -> bool {
    if resource::set_soft(libc::RLIMIT_NPROC, limit).is_err() {
        return false;
    }
    match process::clone3(0, None) {
        Ok(Fork::Child) => process::exit_now(0),
        Ok(Fork::Parent(pid, _pidfd)) => matches!(process::wait(pid, true), Ok(Some((_, End::Exited(0), _)))),
        Err(_) => false,
    }
}
