//! Files and directories by descriptor: openat2(2) and its kin. Nothing here follows a path of the sandbox's by name.

use super::{Errno, c_string, check, check_int, owned, poll, retry};
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Resolution rules of openat2(2), Linux 5.6.
#[derive(Clone, Copy)]
pub(crate) enum Resolve {
    /// Below the directory, through no symbolic link at all.
    BeneathNoSymlinks,
    /// The same, and never into another mount.
    BeneathSameMount,
    /// As if the directory were `/`, through no symbolic link at all.
    InRootNoSymlinks,
    /// From the directory or the root, as always, but through none of `/proc`'s links to what a process holds open.
    NoMagicLinks,
}

/// `openat2(2)`, Linux 5.6: always close-on-exec.
pub(crate) fn openat2(dir: BorrowedFd<'_>, path: &CStr, flags: i32, mode: u32, how: Resolve) -> Result<OwnedFd, Errno> {
    let resolve = match how {
        Resolve::BeneathNoSymlinks => libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS,
        Resolve::InRootNoSymlinks => libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS | libc::RESOLVE_NO_SYMLINKS,
        Resolve::BeneathSameMount => {
            libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS | libc::RESOLVE_NO_XDEV
        }
        Resolve::NoMagicLinks => libc::RESOLVE_NO_MAGICLINKS,
    };
    // SAFETY: open_how is plain integers, for which all zeroes is a value.
    let mut open_how: libc::open_how = unsafe { std::mem::zeroed() };
    open_how.flags = (flags | libc::O_CLOEXEC) as u64;
    open_how.mode = u64::from(mode);
    open_how.resolve = resolve;
    loop {
        // SAFETY: the kernel reads the path and `open_how` of the given size during the call and keeps neither.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                dir.as_raw_fd(),
                path.as_ptr(),
                &raw const open_how,
                size_of::<libc::open_how>(),
            )
        };
        match owned(fd) {
            // A rename or mount elsewhere on the system may race with RESOLVE_*; the man page says to try again.
            Err(Errno(libc::EAGAIN | libc::EINTR)) => {}
            other => return other,
        }
    }
}

/// `openat(2)` from a directory, or from the current one when `dir` is `None`; always close-on-exec.
pub(crate) fn openat(dir: Option<BorrowedFd<'_>>, path: &CStr, flags: i32, mode: u32) -> Result<OwnedFd, Errno> {
    let dir = dir.map_or(libc::AT_FDCWD, |dir| dir.as_raw_fd());
    // SAFETY: the kernel reads the path during the call and keeps nothing.
    retry(|| owned(i64::from(unsafe { libc::openat(dir, path.as_ptr(), flags | libc::O_CLOEXEC, mode) })))
}

/// `openat(2)` of an absolute path.
pub(crate) fn open(path: &str, flags: i32) -> Result<OwnedFd, Errno> {
    openat(None, &c_string(path)?, flags, 0)
}

/// `mkdirat(2)`.
pub(crate) fn mkdirat(dir: BorrowedFd<'_>, path: &CStr, mode: u32) -> Result<(), Errno> {
    // SAFETY: the kernel reads the path during the call and keeps nothing.
    check_int(unsafe { libc::mkdirat(dir.as_raw_fd(), path.as_ptr(), mode) }).map(drop)
}

/// `symlinkat(2)`.
pub(crate) fn symlinkat(target: &CStr, dir: BorrowedFd<'_>, path: &CStr) -> Result<(), Errno> {
    // SAFETY: the kernel reads both paths during the call and keeps nothing.
    check_int(unsafe { libc::symlinkat(target.as_ptr(), dir.as_raw_fd(), path.as_ptr()) }).map(drop)
}

/// `unlinkat(2)`; `directory` removes an empty directory.
pub(crate) fn unlinkat(dir: BorrowedFd<'_>, path: &CStr, directory: bool) -> Result<(), Errno> {
    let flags = if directory { libc::AT_REMOVEDIR } else { 0 };
    // SAFETY: the kernel reads the path during the call and keeps nothing.
    check_int(unsafe { libc::unlinkat(dir.as_raw_fd(), path.as_ptr(), flags) }).map(drop)
}

/// `fchown(2)`.
pub(crate) fn fchown(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<(), Errno> {
    // SAFETY: takes no memory.
    check_int(unsafe { libc::fchown(fd.as_raw_fd(), uid, gid) }).map(drop)
}

/// `fchmod(2)`.
pub(crate) fn fchmod(fd: BorrowedFd<'_>, mode: u32) -> Result<(), Errno> {
    // SAFETY: takes no memory.
    check_int(unsafe { libc::fchmod(fd.as_raw_fd(), mode) }).map(drop)
}

/// `fstat(2)`.
pub(crate) fn fstat(fd: BorrowedFd<'_>) -> Result<libc::stat, Errno> {
    // SAFETY: stat is plain integers, for which all zeroes is a value.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one stat into the space that we own, during the call.
    check_int(unsafe { libc::fstat(fd.as_raw_fd(), &raw mut stat) })?;
    Ok(stat)
}

/// `fstatat(2)` without following a link.
pub(crate) fn fstatat(dir: BorrowedFd<'_>, path: &CStr) -> Result<libc::stat, Errno> {
    // SAFETY: stat is plain integers, for which all zeroes is a value.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
    // SAFETY: the kernel reads the path and writes one stat into the space that we own, during the call.
    check_int(unsafe { libc::fstatat(dir.as_raw_fd(), path.as_ptr(), &raw mut stat, flags) })?;
    Ok(stat)
}

/// The type of the file system that holds `path`: `statfs(2)`.
pub(crate) fn file_system_magic(path: &CStr) -> Result<i64, Errno> {
    // SAFETY: statfs is plain integers, for which all zeroes is a value.
    let mut statfs: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel reads the path and writes one statfs into the space that we own, during the call.
    check_int(unsafe { libc::statfs(path.as_ptr(), &raw mut statfs) })?;
    Ok(statfs.f_type)
}

/// Whether the mount that holds `path` is read-only.
pub(crate) fn is_read_only(path: &CStr) -> Result<bool, Errno> {
    // SAFETY: statvfs is plain integers, for which all zeroes is a value.
    let mut statvfs: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: libc reads the path and writes one statvfs into the space that we own, during the call.
    check_int(unsafe { libc::statvfs(path.as_ptr(), &raw mut statvfs) })?;
    Ok(statvfs.f_flag & libc::ST_RDONLY != 0)
}

/// <linux/magic.h>
const OVERLAYFS_SUPER_MAGIC: i64 = 0x794c_7630;

/// What a file system has and holds, as far as it tells.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Space {
    pub(crate) free_bytes: u64,
    pub(crate) used_bytes: u64,
    pub(crate) free_inodes: u64,
    /// Whether it is an overlayfs, in which files may show other devices than directories do.
    pub(crate) is_overlay: bool,
}

/// The space of the file system that holds a file: `fstatfs(2)`.
pub(crate) fn space(fd: BorrowedFd<'_>) -> Result<Space, Errno> {
    // SAFETY: statfs is plain integers, for which all zeroes is a value.
    let mut statfs: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one statfs into the space that we own, during the call.
    check_int(unsafe { libc::fstatfs(fd.as_raw_fd(), &raw mut statfs) })?;
    let block = u64::try_from(statfs.f_bsize).unwrap_or(0);
    Ok(Space {
        free_bytes: statfs.f_bfree.saturating_mul(block),
        used_bytes: statfs.f_blocks.saturating_sub(statfs.f_bfree).saturating_mul(block),
        free_inodes: statfs.f_ffree,
        is_overlay: statfs.f_type == OVERLAYFS_SUPER_MAGIC,
    })
}

/// `flock(2)`, exclusive and without waiting: false when somebody else holds the lock.
pub(crate) fn try_lock(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    // SAFETY: takes no memory.
    match check_int(unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
        Ok(_) => Ok(true),
        Err(Errno(libc::EWOULDBLOCK)) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// `chdir(2)`.
pub(crate) fn chdir(path: &CStr) -> Result<(), Errno> {
    // SAFETY: the kernel reads the path during the call and keeps nothing.
    check_int(unsafe { libc::chdir(path.as_ptr()) }).map(drop)
}

/// `fchdir(2)`.
pub(crate) fn fchdir(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: takes no memory.
    check_int(unsafe { libc::fchdir(fd.as_raw_fd()) }).map(drop)
}

/// `umask(2)`; can't fail.
pub(crate) fn umask(mask: u32) {
    // SAFETY: takes no memory.
    unsafe { libc::umask(mask) };
}

/// `read(2)`.
pub(crate) fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes at most the buffer's length into it, during the call.
    retry(|| check(unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) } as i64))
        .map(|n| n as usize)
}

/// `pread(2)` from the start: what a file of `/proc` says now, however often it was read.
pub(crate) fn read_start(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes at most the buffer's length into it, during the call.
    retry(|| check(unsafe { libc::pread(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) } as i64))
        .map(|n| n as usize)
}

/// `write(2)`.
pub(crate) fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel reads the bytes during the call and keeps nothing.
    retry(|| check(unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) } as i64))
        .map(|n| n as usize)
}

/// `write(2)` until everything is written.
pub(crate) fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let written = write(fd, bytes)?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Makes every descriptor from `first` on close-on-exec: `close_range(2)`, Linux 5.9; the flag is Linux 5.11.
pub(crate) fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: takes no memory, and closes nothing now.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) }).map(drop)
}

/// Closes the descriptors from `first` to `last`: `close_range(2)`, Linux 5.9. Only for descriptors that nothing in
/// this process owns.
pub(crate) fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: takes no memory; the callers name only descriptors that were inherited and have no owner.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0u32) }).map(drop)
}

/// Closes every descriptor from 3 on that is not in `keep`. What else is open must never be used again, nor closed by
/// an owner that does not know.
pub(crate) fn close_all_but(keep: impl IntoIterator<Item = RawFd>) -> Result<(), Errno> {
    let keep: std::collections::BTreeSet<u32> = keep.into_iter().filter_map(|fd| u32::try_from(fd).ok()).collect();
    let mut next = 3;
    for fd in keep.into_iter().filter(|fd| *fd >= 3) {
        if fd > next {
            close_range(next, fd - 1)?;
        }
        next = fd + 1;
    }
    close_range(next, u32::MAX)
}

/// `dup2(2)` onto a number that no value in this process owns, such as one of the three standard descriptors. It stays open
/// over exec.
pub(crate) fn dup_onto(fd: BorrowedFd<'_>, standard: RawFd) -> Result<(), Errno> {
    // SAFETY: takes no memory; the callers name numbers that are owned by nobody as Rust values.
    check_int(unsafe { libc::dup2(fd.as_raw_fd(), standard) }).map(drop)
}

/// Gives a descriptor another number, of `lowest` or higher: F_DUPFD_CLOEXEC, fcntl(2).
pub(crate) fn move_up(fd: OwnedFd, lowest: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: takes no memory; answers a new descriptor.
    owned(i64::from(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) }))
}

/// Sets or clears `O_NONBLOCK` on an open file description: `fcntl(2)`.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: takes no memory.
    let flags = check_int(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: takes no memory.
    check_int(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) }).map(drop)
}

/// Whether a descriptor of that number is open.
pub(crate) fn is_open(fd: RawFd) -> bool {
    // SAFETY: takes no memory, changes nothing.
    check_int(unsafe { libc::fcntl(fd, libc::F_GETFD) }) != Err(Errno(libc::EBADF))
}

/// `renameat2(2)` with RENAME_NOREPLACE: EEXIST when the new name is taken.
pub(crate) fn rename_new(from: BorrowedFd<'_>, name: &CStr, to: BorrowedFd<'_>, fresh: &CStr) -> Result<(), Errno> {
    let (old, new, flags) = (name.as_ptr(), fresh.as_ptr(), libc::RENAME_NOREPLACE);
    // SAFETY: the kernel reads both names during the call and keeps nothing.
    check_int(unsafe { libc::renameat2(from.as_raw_fd(), old, to.as_raw_fd(), new, flags) }).map(drop)
}

/// `fchmodat(2)`, which follows a link: only for names that are known to be directories while nobody else can act.
pub(crate) fn fchmodat(dir: BorrowedFd<'_>, path: &CStr, mode: u32) -> Result<(), Errno> {
    // SAFETY: the kernel reads the path during the call and keeps nothing.
    check_int(unsafe { libc::fchmodat(dir.as_raw_fd(), path.as_ptr(), mode, 0) }).map(drop)
}

/// `readlinkat(2)` of an absolute path: EINVAL when it is no link.
pub(crate) fn readlink(path: &CStr) -> Result<std::path::PathBuf, Errno> {
    use std::os::unix::ffi::OsStringExt;
    let mut buffer = vec![0u8; libc::PATH_MAX as usize];
    // SAFETY: the kernel reads the path and writes at most the buffer's length into it, during the call.
    let length = check(unsafe { libc::readlink(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) } as i64)?;
    buffer.truncate(length as usize);
    Ok(std::ffi::OsString::from_vec(buffer).into())
}

/// Whether this process may read `path` below `dir`: `faccessat(2)` with the effective ids (`faccessat2`, Linux 5.8).
pub(crate) fn is_readable(dir: BorrowedFd<'_>, path: &CStr) -> bool {
    let (fd, flags) = (dir.as_raw_fd(), libc::AT_EACCESS);
    // SAFETY: the kernel reads the path during the call and keeps nothing.
    check(unsafe { libc::syscall(libc::SYS_faccessat2, fd, path.as_ptr(), libc::R_OK, flags) }).is_ok()
}

/// Takes ownership of a descriptor that whoever started us handed over by number. EBADF when it is not open.
pub(crate) fn adopt(fd: RawFd) -> Result<OwnedFd, Errno> {
    use std::os::fd::FromRawFd;
    if !is_open(fd) {
        return Err(Errno(libc::EBADF));
    }
    // SAFETY: it is open, the number came from our own command line, and the caller adopts each number once, before
    // anything else in this process could have opened a descriptor of that number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `getdents64(2)`: the next names of a directory, without `.` and `..`. Empty at its end.
pub(crate) fn next_names(dir: BorrowedFd<'_>) -> Result<Option<Vec<std::ffi::CString>>, Errno> {
    let mut buffer = [0u8; 32 << 10];
    // SAFETY: the kernel writes at most the buffer's length into it, during the call.
    let length =
        check(unsafe { libc::syscall(libc::SYS_getdents64, dir.as_raw_fd(), buffer.as_mut_ptr(), buffer.len()) })?;
    let mut rest = &buffer[..length as usize];
    let mut names = Vec::new();
    // struct linux_dirent64: inode (8), offset (8), record length (2), type (1), then the name with its NUL.
    while let Some(head) = rest.get(..19) {
        let record = usize::from(u16::from_ne_bytes([head[16], head[17]]));
        let name =
            rest.get(19..record).and_then(|bytes| CStr::from_bytes_until_nul(bytes).ok()).ok_or(Errno(libc::EIO))?;
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
        rest = &rest[record..];
    }
    Ok((length > 0).then_some(names))
}

/// `memfd_create(2)`: a file in memory that can be sealed; close-on-exec.
pub(crate) fn memfd(name: &CStr) -> Result<OwnedFd, Errno> {
    // SAFETY: the kernel reads the name during the call and keeps a copy.
    owned(i64::from(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) }))
}

/// Seals a memfd against every change, and against being unsealed: fcntl(2), F_ADD_SEALS.
pub(crate) fn seal(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: takes no memory.
    check_int(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) }).map(drop)
}

/// Writes everything to stdout. Whoever started us may have left it non-blocking: then the reader is waited for.
pub(crate) fn write_standard_out(mut bytes: &[u8]) -> Result<(), Errno> {
    let stdout = std::io::stdout();
    while !bytes.is_empty() {
        match write(stdout.as_fd(), bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno(libc::EAGAIN)) => {
                poll::poll(&mut [poll::entry(stdout.as_fd(), libc::POLLOUT)], None)?;
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Reads stdin to its end, but at most `most` bytes; non-blocking or not.
pub(crate) fn read_standard_in(bytes: &mut Vec<u8>, most: usize) -> Result<(), Errno> {
    let stdin = std::io::stdin();
    let mut buffer = [0u8; 64 << 10];
    while bytes.len() < most {
        let room = buffer.len().min(most - bytes.len());
        match read(stdin.as_fd(), &mut buffer[..room]) {
            Ok(0) => break,
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
            Err(Errno(libc::EAGAIN)) => {
                poll::poll(&mut [poll::entry(stdin.as_fd(), libc::POLLIN)], None)?;
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
