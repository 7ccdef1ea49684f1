//! Entering the new root, so that the old one is gone.

use crate::failure::{At, Step, StepError};
use crate::sys::{file, mount};
use std::os::fd::BorrowedFd;

/// Makes `root` the root of this mount namespace.
///
/// The order is the one of pivot_root(2)'s last example: from inside the new root, pivot onto itself, which leaves the
/// old root on top of the new one, and detach it ([`leave_old`]). The working directory is inside afterwards
/// (CVE-2024-21626).
pub(crate) fn enter(root: BorrowedFd<'_>) -> Result<(), StepError> {
    file::fchdir(root).at(Step::EnterRoot, "/")?;
    mount::pivot_root_here().at(Step::EnterRoot, "pivot_root")
}

/// Takes the old root away, which is still the working directory's top. The kernel may wait for a grace period here, so it
/// is done while the command's process confines itself further; it is not executed before this has been done.
pub(crate) fn leave_old() -> Result<(), StepError> {
    mount::detach_old_root().at(Step::EnterRoot, "umount2")?;
    file::chdir(c"/").at(Step::EnterRoot, "/")
}
