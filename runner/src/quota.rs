//! A workspace's room held by the file system: a project quota, where root has one on the file system of the state directory
//! (ext4 and XFS mounted with `prjquota`). It is exact, for bytes and files, whatever is hidden or unlinked.
//!
//! The slot's number is the project's too. The command can't leave it: in a user namespace of its own the kernel refuses to
//! change a file's project (fileattr_set_prepare), and the workspace is a mount of its own, out of which nothing is linked or
//! renamed.

use crate::sys::{Errno, file, process, quota};
use crate::watch::Room;
use std::os::fd::BorrowedFd;

/// Makes the empty directory a project with so much room. False where the file system holds no projects to limits, or not
/// for us: then somebody else has to watch.
pub(crate) fn hold(workspace: BorrowedFd<'_>, project: u32, room: Room) -> bool {
    room.is_limited() && quota::limits_projects(workspace) && limit(workspace, project, room).is_ok()
}

fn limit(workspace: BorrowedFd<'_>, project: u32, room: Room) -> Result<(), Errno> {
    // The directory itself counts as well, and is not the command's.
    let own_kib = (file::fstat(workspace)?.st_blocks as u64).div_ceil(2);
    let kib = room.bytes.map_or(0, |bytes| bytes.div_ceil(1024) + own_kib);
    quota::set_limits(workspace, project, kib, room.inodes.map_or(0, |inodes| inodes + 1))?;
    quota::set_project(workspace, project)
}

/// Takes the limits of a project back, if it has any; its files are gone.
pub(crate) fn lift(directory: BorrowedFd<'_>, project: u32) {
    if process::effective_uid() == 0 && quota::limits_projects(directory) {
        let _set_anew_by_the_next = quota::set_limits(directory, project, 0, 0);
    }
}
