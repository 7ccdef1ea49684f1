//! The one room with `unsafe`: thin wrappers, one function a system call, named as in its man page. They take borrowed
//! descriptors and references, return owned ones, and turn -1 into errno. No policy lives here.
#![expect(unsafe_code, reason = "system calls are made here and nowhere else in this crate")]
#![expect(clippy::disallowed_methods, reason = "this is the room that the ban on `libc::syscall` leaves")]

pub(crate) mod capability;
pub(crate) mod entry;
pub(crate) mod errno;
pub(crate) mod file;
pub(crate) mod landlock;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod perf;
pub(crate) mod pipe;
pub(crate) mod poll;
pub(crate) mod process;
pub(crate) mod quota;
pub(crate) mod resource;
pub(crate) mod seccomp;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod successor;
pub(crate) mod terminal;

pub(crate) use errno::Errno;

use errno::{check, check_int, owned};
use std::ffi::CString;

/// Repeats a call that a signal interrupted. Only calls that may block need it: read, write, wait, poll.
fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno(libc::EINTR)) => {}
            other => return other,
        }
    }
}

/// A string for the kernel. A NUL byte can't come from a checked job; it is EINVAL all the same.
pub(crate) fn c_string(text: impl AsRef<[u8]>) -> Result<CString, Errno> {
    CString::new(text.as_ref()).map_err(|nul| {
        let _position = nul.nul_position();
        Errno(libc::EINVAL)
    })
}
