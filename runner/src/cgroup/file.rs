//! Reading and writing a group's control files.

use crate::failure::{At, Step, StepError};
use crate::sys::{Errno, file};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The whole text of a control file. None of those we read is longer than the buffer, but for `cgroup.procs`.
pub(super) fn read(dir: BorrowedFd<'_>, name: &CStr) -> Result<String, Errno> {
    read_all(file::openat(Some(dir), name, libc::O_RDONLY, 0)?.as_fd())
}

/// The whole text of a control file that was just opened.
pub(super) fn read_all(fd: BorrowedFd<'_>) -> Result<String, Errno> {
    let mut text = Vec::new();
    let mut buffer = [0u8; 4096];
    loop {
        let length = file::read(fd, &mut buffer)?;
        text.extend_from_slice(&buffer[..length]);
        // Most files fit, and a short read is the end: no second call.
        if length < buffer.len() {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
    }
}

/// A control file to be read later.
pub(super) fn open(dir: BorrowedFd<'_>, name: &CStr) -> Option<OwnedFd> {
    file::openat(Some(dir), name, libc::O_RDONLY, 0).ok()
}

/// The number that a control file holds.
pub(super) fn number(dir: BorrowedFd<'_>, name: &CStr) -> Option<u64> {
    read(dir, name).ok()?.trim().parse().ok()
}

/// The number after `key` in a control file of `key value` lines.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// How many forks the limit on processes refused. The kernel hands out a number before it asks that limit.
pub(super) fn refused_forks(dir: BorrowedFd<'_>) -> Option<u64> {
    keyed(&read(dir, c"pids.events").ok()?, "max")
}

/// Writes a control file. One call is one write: the kernel takes each as a whole.
pub(super) fn write(dir: BorrowedFd<'_>, name: &CStr, value: &str) -> Result<(), Errno> {
    let fd = file::openat(Some(dir), name, libc::O_WRONLY, 0)?;
    file::write_all(fd.as_fd(), value.as_bytes())
}

/// Writes a limit; the error names file and value.
pub(super) fn limit(dir: BorrowedFd<'_>, name: &CStr, value: &str) -> Result<(), StepError> {
    write(dir, name, value).at(Step::SetCgroupLimit, format!("{} = {value}", name.to_string_lossy()))
}
