//! Project quotas: quotactl_fd(2), and the project of a directory, which is an ioctl of <linux/fs.h>.

use super::{Errno, check, check_int};
use std::os::fd::{AsRawFd, BorrowedFd};

/// PRJQUOTA of <linux/quota.h>, the kind of quota.
const PROJECT: u32 = 2;
/// Q_XGETQSTATV of <linux/dqblk_xfs.h>, which every file system with quotas answers.
const GET_STATE: u32 = 0x5808;
/// FS_QUOTA_PDQ_ENFD: limits of projects are enforced, and not only counted.
const ENFORCED: u16 = 1 << 5;
/// Q_SETQUOTA.
const SET_QUOTA: u32 = 0x80_0008;
/// QIF_BLIMITS and QIF_ILIMITS.
const LIMITS: u32 = 1 | 4;

/// `struct if_dqblk` of <linux/quota.h>; blocks are of 1 KiB.
#[repr(C)]
#[derive(Default)]
struct Limits {
    blocks_hard: u64,
    blocks_soft: u64,
    bytes_used: u64,
    inodes_hard: u64,
    inodes_soft: u64,
    inodes_used: u64,
    block_time: u64,
    inode_time: u64,
    valid: u32,
}

/// `struct fs_quota_statv` of <linux/dqblk_xfs.h>, 160 bytes, of which only the head is read here.
#[repr(C, align(8))]
struct State {
    version: i8,
    _padding: u8,
    flags: u16,
    _rest: [u8; 252],
}

/// `struct fsxattr` of <linux/fs.h>.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

/// FS_XFLAG_PROJINHERIT: what is made in the directory belongs to its project.
const INHERIT: u32 = 0x200;
/// FS_IOC_FSGETXATTR, `_IOR('X', 31, struct fsxattr)`.
const GET_ATTRIBUTES: libc::c_ulong = 0x801c_581f;
/// FS_IOC_FSSETXATTR, `_IOW('X', 32, struct fsxattr)`.
const SET_ATTRIBUTES: libc::c_ulong = 0x401c_5820;

/// `quotactl_fd(2)`, Linux 5.14, for projects.
fn quotactl<T>(fd: BorrowedFd<'_>, command: u32, project: u32, argument: &mut T) -> Result<(), Errno> {
    let command = command << 8 | PROJECT;
    // SAFETY: each caller passes the structure that its command reads or writes, which lives for the call.
    check(unsafe { libc::syscall(libc::SYS_quotactl_fd, fd.as_raw_fd(), command, project, &raw mut *argument) })
        .map(drop)
}

/// Whether the file system that holds `fd` keeps projects to their limits.
pub(crate) fn limits_projects(fd: BorrowedFd<'_>) -> bool {
    let mut state = State { version: 1, _padding: 0, flags: 0, _rest: [0; 252] };
    quotactl(fd, GET_STATE, 0, &mut state).is_ok() && state.flags & ENFORCED != 0
}

/// Gives a project hard limits; 0 is without limit.
pub(crate) fn set_limits(fd: BorrowedFd<'_>, project: u32, kib: u64, inodes: u64) -> Result<(), Errno> {
    let mut limits = Limits { blocks_hard: kib, inodes_hard: inodes, valid: LIMITS, ..Limits::default() };
    quotactl(fd, SET_QUOTA, project, &mut limits)
}

/// Makes a directory part of a project, with all that will be made in it.
pub(crate) fn set_project(directory: BorrowedFd<'_>, project: u32) -> Result<(), Errno> {
    let mut attributes = Attributes::default();
    // SAFETY: the kernel writes one fsxattr into the space that we own, during the call.
    check_int(unsafe { libc::ioctl(directory.as_raw_fd(), GET_ATTRIBUTES, &raw mut attributes) })?;
    attributes.flags |= INHERIT;
    attributes.project = project;
    // SAFETY: the kernel reads one fsxattr during the call.
    check_int(unsafe { libc::ioctl(directory.as_raw_fd(), SET_ATTRIBUTES, &raw const attributes) }).map(drop)
}
