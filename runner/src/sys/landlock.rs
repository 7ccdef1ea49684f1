//! The three system calls of landlock(7). The structures are those of <linux/landlock.h>; libc has none of them.

use super::{Errno, check, owned};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

// LANDLOCK_ACCESS_FS_*, by bit, of which `RulesetAttributes::all` says which ABI brought them.
pub(crate) const EXECUTE: u64 = 1 << 0;
pub(crate) const WRITE_FILE: u64 = 1 << 1;
pub(crate) const READ_FILE: u64 = 1 << 2;
pub(crate) const READ_DIR: u64 = 1 << 3;
const ABI_1: u64 = (1 << 13) - 1;
const REFER: u64 = 1 << 13;
pub(crate) const TRUNCATE: u64 = 1 << 14;
pub(crate) const IOCTL_DEV: u64 = 1 << 15;
/// LANDLOCK_ACCESS_NET_BIND_TCP and LANDLOCK_ACCESS_NET_CONNECT_TCP.
const TCP: u64 = 0b11;
/// LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET and LANDLOCK_SCOPE_SIGNAL.
const SCOPES: u64 = 0b11;

/// `struct landlock_ruleset_attr` up to ABI 6.
#[repr(C)]
pub(crate) struct RulesetAttributes {
    pub(crate) handled_access_fs: u64,
    pub(crate) handled_access_net: u64,
    pub(crate) scoped: u64,
}

impl RulesetAttributes {
    /// All that a kernel of this ABI can take away: landlock(7), the table of ABI versions.
    pub(crate) fn all(abi: u32) -> Self {
        let since = |version: u32, access: u64| if abi >= version { access } else { 0 };
        Self {
            handled_access_fs: ABI_1 | since(2, REFER) | since(3, TRUNCATE) | since(5, IOCTL_DEV),
            handled_access_net: since(4, TCP),
            scoped: since(6, SCOPES),
        }
    }
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

/// `landlock_create_ruleset(2)`, Linux 5.13.
pub(crate) fn create_ruleset(attributes: &RulesetAttributes, abi: u32) -> Result<OwnedFd, Errno> {
    // The structure grew with the ABI: 8 bytes at first, 16 with the network of ABI 4, 24 with the scopes of ABI 6.
    let size: usize = match abi {
        ..=3 => 8,
        4..=5 => 16,
        _ => 24,
    };
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
