//! The mount API of Linux 5.2 and 5.12: mounts as descriptors, made first and attached afterwards.

use super::{Errno, check, check_int, owned};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// `open_tree(2)`: a detached copy of the mount at `path`, with everything mounted below it.
pub(crate) fn open_tree(dir: Option<BorrowedFd<'_>>, path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = libc::OPEN_TREE_CLONE
        | libc::OPEN_TREE_CLOEXEC
        | (libc::AT_EMPTY_PATH | libc::AT_RECURSIVE | libc::AT_NO_AUTOMOUNT | libc::AT_SYMLINK_NOFOLLOW) as u32;
    let dir = dir.map_or(libc::AT_FDCWD, |dir| dir.as_raw_fd());
    // SAFETY: the kernel reads the path during the call and keeps nothing.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, dir, path.as_ptr(), flags) })
}

/// `move_mount(2)`: attaches a detached mount at `path` below `dir`, without following a link at the end of the path.
pub(crate) fn move_mount(mount: BorrowedFd<'_>, dir: BorrowedFd<'_>, path: &CStr) -> Result<(), Errno> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: the kernel reads both paths during the call and keeps nothing.
    check(unsafe {
        libc::syscall(libc::SYS_move_mount, mount.as_raw_fd(), c"".as_ptr(), dir.as_raw_fd(), path.as_ptr(), flags)
    })
    .map(drop)
}

/// `mount_setattr(2)`, Linux 5.12: sets attributes on a mount, and on all below it if `recursive`. A copy of a mount that is
/// shared, as systemd makes all of them, is a peer of it: what is mounted on the one appears on the other, so it is made
/// private too.
pub(crate) fn set_attributes(mount: BorrowedFd<'_>, attributes: u64, recursive: bool) -> Result<(), Errno> {
    let attr = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    mount_setattr(mount, c"", recursive, &attr)
}

/// `mount_setattr(2)` with MOUNT_ATTR_IDMAP: ids on the file system appear as the user namespace maps them.
pub(crate) fn set_idmap(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>) -> Result<(), Errno> {
    let attr = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: user_namespace.as_raw_fd() as u64,
    };
    mount_setattr(mount, c"", false, &attr)
}

/// `mount_setattr(2)`: from now on no mount event passes between this mount namespace and any other.
pub(crate) fn make_all_private() -> Result<(), Errno> {
    let attr = libc::mount_attr { attr_set: 0, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    let flags = libc::AT_RECURSIVE as u32;
    // SAFETY: the kernel reads the path and the attributes of the given size during the call and keeps neither.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            c"/".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

fn mount_setattr(dir: BorrowedFd<'_>, path: &CStr, recursive: bool, attr: &libc::mount_attr) -> Result<(), Errno> {
    let flags = (libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 }) as u32;
    // SAFETY: the kernel reads the path and the attributes of the given size during the call and keeps neither.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const *attr,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// A new file system as a detached mount: `fsopen(2)`, `fsconfig(2)`, `fsmount(2)`, Linux 5.2.
pub(crate) fn new_file_system(kind: &CStr, options: &[(&CStr, &CStr)], attributes: u64) -> Result<OwnedFd, Errno> {
    // SAFETY: the kernel reads the name during the call and keeps nothing.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), libc::FSOPEN_CLOEXEC) })?;
    let context_fd = context.as_raw_fd();
    for (key, value) in options {
        // SAFETY: the kernel reads both strings during the call and keeps copies of its own.
        check(unsafe {
            libc::syscall(libc::SYS_fsconfig, context_fd, libc::FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr(), 0)
        })?;
    }
    let nothing = std::ptr::null::<libc::c_char>();
    // SAFETY: this command takes no strings.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, context_fd, libc::FSCONFIG_CMD_CREATE, nothing, nothing, 0) })?;
    // SAFETY: takes integers only; answers a new descriptor.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, context_fd, libc::FSMOUNT_CLOEXEC, attributes) })
}

/// `mount(2)` of an overlay at `target`; both that and the layers in `options` may be relative to the current directory. The
/// options together are at most a page, where fsconfig(2) before Linux 6.5 takes 256 bytes for all layers.
pub(crate) fn overlay(target: &CStr, flags: libc::c_ulong, options: &CStr) -> Result<(), Errno> {
    let kind = c"overlay".as_ptr();
    // SAFETY: the kernel reads all four strings during the call and keeps copies of its own.
    check_int(unsafe { libc::mount(kind, target.as_ptr(), kind, flags, options.as_ptr().cast()) }).map(drop)
}

/// `umount2(2)` with MNT_DETACH, of what is mounted at a name in the current directory that is no link.
pub(crate) fn detach(name: &CStr) -> Result<(), Errno> {
    // SAFETY: the kernel reads the path during the call and keeps nothing.
    check_int(unsafe { libc::umount2(name.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) }).map(drop)
}

/// `pivot_root(2)` of the current directory onto itself: the old root then lies on top of the new one, and
/// [`detach_old_root`] takes it away, as the man page's last example does.
pub(crate) fn pivot_root_here() -> Result<(), Errno> {
    // SAFETY: the kernel reads both paths during the call and keeps nothing.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) }).map(drop)
}

/// `umount2(2)` with MNT_DETACH of what lies on top of the current directory.
pub(crate) fn detach_old_root() -> Result<(), Errno> {
    // SAFETY: the kernel reads the path during the call and keeps nothing.
    check_int(unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) }).map(drop)
}
