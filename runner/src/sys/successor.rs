//! Going on as another process: the only way into a cgroup of v2 that takes no lock of the whole system is to be born there, and
//! a birth is dear by the memory that has to be copied, which is not needed of somebody who ends right then.

use super::Errno;
use super::process::CLONE_INTO_CGROUP;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, Ordering};

/// How many [`Places`] has.
pub(crate) const PLACES: usize = 64;

/// Numbers that a process shares with all that it forks, and that the kernel writes: who went on as whom.
pub(crate) struct Places {
    first: NonNull<[AtomicI32; PLACES]>,
}

impl Places {
    /// `mmap(2)`. They are there until exec, or the process's end.
    pub(crate) fn new() -> Result<Self, Errno> {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        let length = size_of::<[AtomicI32; PLACES]>();
        // SAFETY: the kernel chooses where, so that no memory of ours is replaced.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), length, access, flags, -1, 0) };
        if address == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        NonNull::new(address.cast()).map(|first| Self { first }).ok_or(Errno(libc::ENOMEM))
    }

    /// One of them; `None` beyond the last.
    pub(crate) fn at(&self, index: usize) -> Option<&AtomicI32> {
        // SAFETY: the mapping is as large as that, aligned as a page is, zeroed, never removed, and only reached by atomic
        // integers and by the kernel.
        unsafe { self.first.as_ref() }.get(index)
    }
}

/// `clone3(2)` with CLONE_VM, CLONE_VFORK, CLONE_PARENT and CLONE_INTO_CGROUP, whose caller does nothing any more but end: whoever
/// this returns to is another process, a child of the caller's parent, born in `cgroup`, and alone with the memory that was the
/// caller's. Of files, what is blocked, resource limits, working directory and credentials it has what the caller had; its number
/// is in `place` before it does anything.
///
/// Fails with the kernel's error in the caller, which goes on then.
pub(crate) fn go_on_in(cgroup: BorrowedFd<'_>, place: &AtomicI32) -> Result<(), Errno> {
    // The page is there when the kernel writes to it.
    place.store(0, Ordering::Release);
    // SAFETY: clone_args is plain integers, for which all zeroes is a value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    // CLONE_PARENT takes the signal from the caller. CLONE_VFORK only leaves the CPU to the new process: the caller sleeps until that
    // one has executed something or is dead.
    args.flags = (libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PARENT | libc::CLONE_PARENT_SETTID) as u64
        | CLONE_INTO_CGROUP;
    args.parent_tid = place.as_ptr() as u64;
    args.cgroup = cgroup.as_raw_fd() as u64;
    let answer: i64;
    // SAFETY: the new process has the caller's registers, its stack too, and goes on behind this block. The caller, where a process
    // was made, never leaves the block and touches no memory in it, so that the stack and everything else has one user, as before:
    // also when it is killed while it sleeps. Both processes have one thread and handle no signal. The kernel reads `args` during
    // the call and writes to `place`, which lives on.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jle 2f",
            "mov eax, {exit_group}",
            "xor edi, edi",
            "syscall",
            "ud2",
            "2:",
            exit_group = const libc::SYS_exit_group,
            inlateout("rax") libc::SYS_clone3 => answer,
            in("rdi") &raw const args,
            in("rsi") size_of::<libc::clone_args>(),
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    match i32::try_from(answer) {
        Ok(errno) if errno < 0 => Err(Errno(-errno)),
        _ => Ok(()),
    }
}
