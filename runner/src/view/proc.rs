//! `/proc`: fresh, of the sandbox's own pid namespace, with the kernel's knobs read-only and what tells of the host hidden.

use super::{View, file_system};
use crate::failure::{At, Step, StepError};
use crate::sys::{file, mount};
use std::ffi::CStr;
use std::os::fd::AsFd;

/// Files that tell of the host or of other users, and that some kernel lets everybody read. Of what OCI runtimes mask, the
/// rest (`kcore`, `kmsg`, `timer_list`, …) is mode 0400 on every kernel since 4.x and belongs to a user that the sandbox has
/// no name for: closed already, and a test looks that it is.
const MASKED: &[&CStr] = &[
    c"interrupts",
    c"iomem",
    c"ioports",
    c"kallsyms",
    c"kcore",
    c"key-users",
    c"keys",
    c"latency_stats",
    c"sched_debug",
    c"timer_list",
];

/// Directories of the same kind, hidden under an empty one.
const MASKED_DIRECTORIES: &[&CStr] = &[c"acpi", c"asound", c"scsi", c"driver"];

/// Kernel knobs. Nothing else in `/proc` outside of a process's own directory is writable by anyone but the host's root.
const READ_ONLY: &[&CStr] = &[c"sys"];

const ATTRIBUTES: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;

pub(super) fn build(view: &View) -> Result<(), StepError> {
    let proc = file_system(c"proc", &[], ATTRIBUTES)?;
    view.attach_new(&proc, "proc")?;
    for name in READ_ONLY {
        let tree = mount::open_tree(Some(proc.as_fd()), name);
        let tree = tree.at(Step::CopyTree, name.to_string_lossy())?;
        let attributes = ATTRIBUTES | libc::MOUNT_ATTR_RDONLY;
        mount::set_attributes(tree.as_fd(), attributes, true).at(Step::CopyTree, name.to_string_lossy())?;
        mount::move_mount(tree.as_fd(), proc.as_fd(), name).at(Step::Attach, name.to_string_lossy())?;
    }
    for name in MASKED.iter().filter(|name| file::is_readable(proc.as_fd(), name)) {
        hide(view, c"dev/null", proc.as_fd(), name)?;
    }
    for name in MASKED_DIRECTORIES.iter().filter(|name| file::is_readable(proc.as_fd(), name)) {
        hide(view, c"run", proc.as_fd(), name)?;
    }
    Ok(())
}

fn hide(view: &View, under: &CStr, proc: std::os::fd::BorrowedFd<'_>, name: &CStr) -> Result<(), StepError> {
    let shown = format!("/proc/{}", name.to_string_lossy());
    let cover = mount::open_tree(Some(view.root.as_fd()), under).at(Step::CopyTree, &shown)?;
    let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
    mount::set_attributes(cover.as_fd(), attributes, false).at(Step::CopyTree, &shown)?;
    mount::move_mount(cover.as_fd(), proc, name).at(Step::Attach, shown)
}
