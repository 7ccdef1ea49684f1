//! Running from a sealed copy of this program, where Landlock can't keep the guest from the original.
//!
//! Until exec the command's process is this program, so `/proc/self/exe` leads to its file on the host, past the view
//! (CVE-2019-5736). Init can't be looked into, and Landlock denies the file. On a kernel without Landlock a guest could
//! execute `/proc/self/exe` and then, if the starter may write the file, write to it. There the runner copies
//! itself into memory, seals the copy against every change, and executes that; which takes a millisecond.

use crate::sys::{Errno, file, landlock, process};
use pinfold_runner::Failure;
use std::os::fd::AsFd;

/// The name of the copy; `/proc/self/exe` shows it with `/memfd:` before it.
const NAME: &std::ffi::CStr = c"pinfold-runner";

/// Does so if need be; then it does not return. Else it tells the kernel's Landlock ABI.
pub(crate) fn ensure() -> Result<Option<u32>, Failure> {
    let abi =
        landlock::abi().map_err(|errno| Failure::new("landlock", format!("failed to ask for Landlock: {errno}")))?;
    if abi.is_some() || is_copy() {
        return Ok(abi);
    }
    let errno = match copy() {
        Ok(copy) => process::execute_descriptor(copy.as_fd()),
        Err(errno) => errno,
    };
    Err(Failure::new("state", format!("failed to run from a sealed copy of this program: {errno}")).with_hint(
        "this kernel has no Landlock, so the program's file must be guarded that way; mount /proc, or enable Landlock",
    ))
}

fn is_copy() -> bool {
    file::readlink(c"/proc/self/exe").is_ok_and(|path| path.to_string_lossy().starts_with("/memfd:pinfold-runner"))
}

fn copy() -> Result<std::os::fd::OwnedFd, Errno> {
    let original = file::open("/proc/self/exe", libc::O_RDONLY)?;
    let copy = file::memfd(NAME)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = file::read(original.as_fd(), &mut buffer)?;
        if length == 0 {
            break;
        }
        file::write_all(copy.as_fd(), &buffer[..length])?;
    }
    file::seal(copy.as_fd())?;
    Ok(copy)
}
