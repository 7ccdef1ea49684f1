//! Giving up every capability: capabilities(7).

use super::{Errno, check, check_int};

/// Larger than the last capability of any kernel so far (CAP_CHECKPOINT_RESTORE is 40); the loop ends at the first
/// number that the kernel doesn't know.
const BEYOND_LAST: u64 = 64;

/// Empties the bounding set, which limits what exec may give. What this process holds now it keeps. Children inherit it.
pub(crate) fn empty_bounding_set() -> Result<(), Errno> {
    for capability in 0..BEYOND_LAST {
        // SAFETY: takes integers only.
        match check_int(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0u64, 0u64, 0u64) }) {
            Ok(_) => {}
            Err(Errno(libc::EINVAL)) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Empties the ambient, inheritable, permitted and effective sets.
pub(crate) fn drop_all() -> Result<(), Errno> {
    let clear = libc::PR_CAP_AMBIENT_CLEAR_ALL as u64;
    // SAFETY: takes integers only.
    check_int(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, clear, 0u64, 0u64, 0u64) })?;
    // _LINUX_CAPABILITY_VERSION_3 of <linux/capability.h>; the data are two triples of 32-bit sets, all empty.
    let header: [u32; 2] = [0x2008_0522, 0];
    let none = [0u32; 6];
    // SAFETY: the kernel reads the header and the six words that version 3 says, during the call.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) }).map(drop)
}
