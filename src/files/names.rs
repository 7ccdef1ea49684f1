//! The names in a directory, of any bytes and as many as asked for.

use super::error::Reason;
use rustix::fs::RawDir;
use std::ffi::{OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

/// The first `most` names in a directory that was opened for reading, without `.` and `..`, and whether there are more.
/// The descriptor's offset moves on, so a second call goes on from about where the first ended.
pub(crate) fn names(directory: BorrowedFd<'_>, most: u64) -> Result<(Vec<OsString>, bool), Reason> {
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        if names.len() as u64 >= most {
            return Ok((names, true));
        }
        names.push(OsStr::from_bytes(name).to_owned());
    }
    Ok((names, false))
}
