//! Installing a seccomp filter: seccomp(2).

use super::{Errno, check};

/// Installs `filter` for this thread and everything that it starts. Needs no_new_privs.
pub(crate) fn set_mode_filter(filter: &[libc::sock_filter]) -> Result<(), Errno> {
    let length = u16::try_from(filter.len()).unwrap_or(u16::MAX);
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the kernel reads `len` instructions during the call and keeps a copy of its own; it never writes to them.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) }).map(drop)
}
