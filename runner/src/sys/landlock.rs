//! The three system calls of landlock(7). The structures are those of <linux/landlock.h>; libc has none of them.

use super::{Errno, check, owned};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// `struct landlock_ruleset_attr` up to ABI 6.
#[repr(C)]
pub(crate) struct RulesetAttributes {
    pub(crate) handled_access_fs: u64,
    pub(crate) handled_access_net: u64,
    pub(crate) scoped: u64,
}

/// `struct landlock_path_beneath_attr`, which is packed.
#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: i32,
}

/// LANDLOCK_CREATE_RULESET_VERSION.
const VERSION: u32 = 1;
/// LANDLOCK_RULE_PATH_BENEATH.
const RULE_PATH_BENEATH: u32 = 1;

/// The ABI that the kernel speaks, or `None` where Landlock is not built in or not enabled; landlock(7) says by which
/// errno. Any other is no answer.
pub(crate) fn abi() -> Result<Option<u32>, Errno> {
    let nothing = std::ptr::null::<RulesetAttributes>();
    // SAFETY: with this flag and a null pointer of size 0 the kernel reads nothing.
    match check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0usize, VERSION) }) {
        Ok(version) => Ok(u32::try_from(version).ok()),
        Err(Errno(libc::ENOSYS | libc::EOPNOTSUPP)) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// `landlock_create_ruleset(2)`, Linux 5.13. `size` is how much of the attributes this ABI knows.
pub(crate) fn create_ruleset(attributes: &RulesetAttributes, size: usize) -> Result<OwnedFd, Errno> {
    debug_assert!(size <= size_of::<RulesetAttributes>());
    // SAFETY: the kernel reads `size` bytes, which are within the structure, during the call.
    owned(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const *attributes, size, 0u32) })
}

/// `landlock_add_rule(2)`: allows `access` below the directory (or on the file) that `parent` is.
pub(crate) fn allow_beneath(ruleset: BorrowedFd<'_>, parent: BorrowedFd<'_>, access: u64) -> Result<(), Errno> {
    let rule = PathBeneath { allowed_access: access, parent_fd: parent.as_raw_fd() };
    let fd = ruleset.as_raw_fd();
    // SAFETY: the kernel reads one structure of that type during the call; it takes its own reference to the directory.
    check(unsafe { libc::syscall(libc::SYS_landlock_add_rule, fd, RULE_PATH_BENEATH, &raw const rule, 0u32) }).map(drop)
}

/// `landlock_restrict_self(2)`. Needs no_new_privs.
pub(crate) fn restrict_self(ruleset: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: takes integers only.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0u32) }).map(drop)
}
