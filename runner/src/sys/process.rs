//! Processes: making, waiting for and ending them, and what prctl(2) says of them.

use super::{Errno, check, check_int, retry};
use std::cmp::Ordering;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Which side of a fork this is.
pub(crate) enum Fork {
    /// The new process.
    Child,
    /// The old one, with the child's pid and a pidfd of it.
    Parent(i32, OwnedFd),
}

/// CLONE_INTO_CGROUP of <linux/sched.h>; libc's constant is an int, into which it does not fit.
pub(super) const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `clone3(2)` without a new stack, which is fork(2) with namespaces and, if given, straight into a cgroup (Linux 5.7).
/// Where it is not to be had, and no cgroup is given, `clone(2)`.
///
/// This process is single-threaded (asserted when it starts), so the child may allocate and use ordinary code.
pub(crate) fn clone3(namespaces: i32, cgroup: Option<BorrowedFd<'_>>) -> Result<Fork, Errno> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain integers, for which all zeroes is a value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = (libc::CLONE_PIDFD | namespaces) as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: no CLONE_VM, so the child has a copy of this memory and its own stack; the kernel reads `args` and writes
    // `pidfd` during the call. Being single-threaded, no lock is held by a thread that the child lacks.
    let pid = match check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) }) {
        // Containers' seccomp filters answer so, since they can't look into `args`: clone(2) is what they judge.
        Err(Errno(libc::ENOSYS)) if cgroup.is_none() => {
            let (flags, stack) = (args.flags | args.exit_signal, 0u64);
            // SAFETY: as above; on x86_64 the third argument is where the pidfd is written, and a stack of 0 is a copy.
            check(unsafe { libc::syscall(libc::SYS_clone, flags, stack, &raw mut pidfd, 0u64, 0u64) })
        }
        other => other,
    }?;
    if pid == 0 {
        return Ok(Fork::Child);
    }
    // SAFETY: the call succeeded, so the kernel wrote a new descriptor there that nobody else owns.
    Ok(Fork::Parent(pid as i32, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// `pidfd_open(2)`, Linux 5.3.
pub(crate) fn pidfd_open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: takes no memory; answers a new descriptor.
    super::owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0u32) })
}

/// `unshare(2)`.
pub(crate) fn unshare(namespaces: i32) -> Result<(), Errno> {
    // SAFETY: takes no memory.
    check_int(unsafe { libc::unshare(namespaces) }).map(drop)
}

/// Whether this process has more than one thread: unshare(2) refuses CLONE_THREAD with EINVAL then, and else does
/// nothing, or is itself forbidden, as in Docker. Forking is only safe as it is done here as long as nobody else runs
/// in the process.
pub(crate) fn has_threads() -> bool {
    unshare(libc::CLONE_THREAD) == Err(Errno(libc::EINVAL))
}

/// `setns(2)` into the namespace that a descriptor of nsfs stands for.
pub(crate) fn setns(namespace: BorrowedFd<'_>, kind: i32) -> Result<(), Errno> {
    // SAFETY: takes no memory.
    check_int(unsafe { libc::setns(namespace.as_raw_fd(), kind) }).map(drop)
}

/// `getrandom(2)`, without waiting for the kernel to be seeded.
pub(crate) fn random() -> Result<u64, Errno> {
    let mut bytes = [0u8; 8];
    // SAFETY: the kernel writes at most the array's length into it, during the call.
    let length = check(unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) } as i64)?;
    if length == 8 { Ok(u64::from_ne_bytes(bytes)) } else { Err(Errno(libc::EAGAIN)) }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself, with this exit code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
}

/// `wait4(2)` for one child or any (-1). `None` when `block` is false and none has ended yet.
pub(crate) fn wait(pid: i32, block: bool) -> Result<Option<(i32, End, libc::rusage)>, Errno> {
    let mut status = 0;
    // SAFETY: rusage is plain integers, for which all zeroes is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let flags = libc::__WALL | if block { 0 } else { libc::WNOHANG };
    // SAFETY: the kernel writes one int and one rusage into the space that we own, during the call.
    let pid = retry(|| check_int(unsafe { libc::wait4(pid, &raw mut status, flags, &raw mut usage) }))?;
    if pid == 0 {
        return Ok(None);
    }
    let end = if libc::WIFSIGNALED(status) {
        End::Signaled(libc::WTERMSIG(status))
    } else {
        End::Exited(libc::WEXITSTATUS(status))
    };
    Ok(Some((pid, end, usage)))
}

/// What this process used: `getrusage(2)` with RUSAGE_SELF.
pub(crate) fn usage_of_self() -> libc::rusage {
    usage(libc::RUSAGE_SELF)
}

/// What all reaped descendants used: `getrusage(2)` with RUSAGE_CHILDREN.
pub(crate) fn usage_of_children() -> libc::rusage {
    usage(libc::RUSAGE_CHILDREN)
}

fn usage(whose: libc::c_int) -> libc::rusage {
    // SAFETY: rusage is plain integers, for which all zeroes is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one rusage into the space that we own. With these arguments the call can't fail.
    unsafe { libc::getrusage(whose, &raw mut usage) };
    usage
}

/// `_exit(2)`: ends at once, running no destructor and flushing nothing that belongs to the parent.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: takes no memory and does not return.
    unsafe { libc::_exit(code) }
}

/// `execve(2)`. Returns only on failure.
pub(crate) fn execve(path: &CStr, argv: &[*const libc::c_char], envp: &[*const libc::c_char]) -> Errno {
    debug_assert!(argv.last().is_some_and(|last| last.is_null()) && envp.last().is_some_and(|last| last.is_null()));
    // SAFETY: both arrays end with a null pointer and hold pointers to strings that live for the call; the kernel copies
    // all of them.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    Errno::last()
}

/// `execveat(2)` of a descriptor with this process's own arguments and environment. Returns only on failure.
pub(crate) fn execute_descriptor(fd: BorrowedFd<'_>) -> Errno {
    use std::os::unix::ffi::OsStringExt;
    let strings = |list: Vec<std::ffi::OsString>| -> Result<Vec<std::ffi::CString>, Errno> {
        list.into_iter().map(|text| super::c_string(text.into_vec())).collect()
    };
    let variables = std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    });
    let (argv, envp) = match (strings(std::env::args_os().collect()), strings(variables.collect())) {
        (Ok(argv), Ok(envp)) => (argv, envp),
        (Err(errno), _) | (_, Err(errno)) => return errno,
    };
    let (argv, envp) = (pointers(&argv), pointers(&envp));
    let flags = libc::AT_EMPTY_PATH;
    // SAFETY: both arrays end with a null pointer and hold pointers to strings that live for the call; the kernel copies
    // all of them.
    unsafe { libc::syscall(libc::SYS_execveat, fd.as_raw_fd(), c"".as_ptr(), argv.as_ptr(), envp.as_ptr(), flags) };
    Errno::last()
}

/// Pointers to strings, with the null at the end that execve(2) wants. Valid as long as `strings` is.
pub(crate) fn pointers(strings: &[std::ffi::CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
}

fn prctl(option: i32, argument: u64) -> Result<i32, Errno> {
    // SAFETY: the options used in this file take integers only, and zeroes where they take nothing.
    check_int(unsafe { libc::prctl(option, argument, 0u64, 0u64, 0u64) })
}

/// Asks to be killed when the parent's thread ends: PR_SET_PDEATHSIG, PR_SET_PDEATHSIG(2const). Cleared by a change of
/// credentials, so call it after the last one.
pub(crate) fn die_with_parent() -> Result<(), Errno> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64).map(drop)
}

/// PR_SET_CHILD_SUBREAPER: whoever loses its parent below this process becomes its child.
pub(crate) fn be_subreaper() -> Result<(), Errno> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1).map(drop)
}

/// PR_SET_NO_NEW_PRIVS: no exec gives more rights than there are.
pub(crate) fn set_no_new_privs() -> Result<(), Errno> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map(drop)
}

/// PR_SET_DUMPABLE 0: nobody of the same uid may ptrace this process or look into its `/proc` entries.
pub(crate) fn set_non_dumpable() -> Result<(), Errno> {
    prctl(libc::PR_SET_DUMPABLE, 0).map(drop)
}

/// PR_SET_KEEPCAPS: capabilities survive the change from uid 0 to another.
pub(crate) fn keep_capabilities() -> Result<(), Errno> {
    prctl(libc::PR_SET_KEEPCAPS, 1).map(drop)
}

/// `setresuid(2)`, all three, by the raw call: this process has one thread.
pub(crate) fn setresuid(uid: u32) -> Result<(), Errno> {
    // SAFETY: takes no memory.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// `setresgid(2)`, all three, by the raw call.
pub(crate) fn setresgid(gid: u32) -> Result<(), Errno> {
    // SAFETY: takes no memory.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// `setgroups(2)` to none, by the raw call.
pub(crate) fn drop_groups() -> Result<(), Errno> {
    // SAFETY: a length of zero means that the kernel reads no memory.
    check(unsafe { libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<u32>()) }).map(drop)
}

/// `getgroups(2)`.
pub(crate) fn groups() -> Result<Vec<u32>, Errno> {
    // SAFETY: a length of zero only asks for the number.
    let count = check_int(unsafe { libc::getgroups(0, std::ptr::null_mut()) })?;
    let mut groups = vec![0u32; count as usize];
    // SAFETY: the kernel writes at most `count` ids into the vector of that length.
    let count = check_int(unsafe { libc::getgroups(count, groups.as_mut_ptr()) })?;
    groups.truncate(count as usize);
    Ok(groups)
}

/// The order of two processes' memories, `kcmp(2)`: equal when it is one and the same. `Less` too when the kernel has no
/// such call (CONFIG_KCMP) or doesn't let us ask.
pub(crate) fn compare_memory(one: i32, other: i32) -> Ordering {
    const KCMP_VM: i32 = 1;
    // SAFETY: takes no memory.
    match unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_VM, 0, 0) } {
        0 => Ordering::Equal,
        2 => Ordering::Greater,
        _ => Ordering::Less,
    }
}

/// `geteuid(2)`; can't fail.
pub(crate) fn effective_uid() -> u32 {
    // SAFETY: takes no memory.
    unsafe { libc::geteuid() }
}

/// `getegid(2)`; can't fail.
pub(crate) fn effective_gid() -> u32 {
    // SAFETY: takes no memory.
    unsafe { libc::getegid() }
}

/// `setsid(2)`: a session and process group of its own, without a terminal.
pub(crate) fn setsid() -> Result<(), Errno> {
    // SAFETY: takes no memory.
    check_int(unsafe { libc::setsid() }).map(drop)
}

/// `sethostname(2)`, of this UTS namespace.
pub(crate) fn sethostname(name: &str) -> Result<(), Errno> {
    // SAFETY: the kernel reads the bytes during the call and keeps a copy.
    check_int(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }).map(drop)
}

/// The kernel's release, such as `6.1.0-18-amd64`: `uname(2)`.
pub(crate) fn kernel_release() -> Result<String, Errno> {
    // SAFETY: utsname is plain bytes, for which all zeroes is a value.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one utsname into the space that we own, during the call.
    check_int(unsafe { libc::uname(&raw mut name) })?;
    Ok(name.release.iter().take_while(|c| **c != 0).map(|c| *c as u8 as char).collect())
}
