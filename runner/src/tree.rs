//! Directory trees that a hostile program may have made: removing them and adding up their size. No path is ever joined
//! to a name from inside: everything goes through descriptors, and no link is followed.

use crate::sys::{self, Errno, file};
use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// Flags to open a directory that must be one, not a link to one.
pub(crate) const DIRECTORY: i32 = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;

/// The names in a directory, without `.` and `..`.
pub(crate) fn names(dir: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    // Opened anew, so that the offset is this reading's own.
    let dir = file::openat(Some(dir), c".", DIRECTORY, 0)?;
    let mut names = Vec::new();
    while let Some(more) = file::next_names(dir.as_fd())? {
        names.extend(more);
    }
    Ok(names)
}

/// Removes everything below `dir` and leaves it empty. The work is flat whatever the tree's depth: a directory that is
/// found inside another is moved up beside it first, so neither the stack nor the number of descriptors grows.
///
/// Nothing of the sandbox may run any more.
pub(crate) fn clear(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut moved = 0u64;
    loop {
        let mut left = false;
        for name in names(dir)? {
            if is_directory(dir, &name)? {
                left |= !empty_into(dir, &name, &mut moved)?;
            } else {
                file::unlinkat(dir, &name, false)?;
            }
        }
        if !left && names(dir)?.is_empty() {
            return Ok(());
        }
    }
}

/// Unlinks the files of `dir/name`, moves its directories up into `dir`, and removes it. True when nothing was moved.
fn empty_into(dir: BorrowedFd<'_>, name: &CString, moved: &mut u64) -> Result<bool, Errno> {
    make_accessible(dir, name)?;
    let inner = file::openat(Some(dir), name, DIRECTORY, 0)?;
    let mut flat = true;
    for child in names(inner.as_fd())? {
        if !is_directory(inner.as_fd(), &child)? {
            file::unlinkat(inner.as_fd(), &child, false)?;
        } else if file::unlinkat(inner.as_fd(), &child, true).is_err() {
            // Moving a directory writes to its `..`, so it must be writable itself: rename(2), EACCES.
            make_accessible(inner.as_fd(), &child)?;
            rename_up(inner.as_fd(), &child, dir, moved)?;
            flat = false;
        }
    }
    file::unlinkat(dir, name, true)?;
    Ok(flat)
}

fn rename_up(from: BorrowedFd<'_>, name: &CString, to: BorrowedFd<'_>, moved: &mut u64) -> Result<(), Errno> {
    loop {
        *moved += 1;
        let fresh = sys::c_string(format!(".pinfold-removing-{moved}"))?;
        match file::rename_new(from, name, to, &fresh) {
            Err(Errno(libc::EEXIST)) => {}
            other => return other,
        }
    }
}

/// A directory of mode 000 can't be opened by its owner unless he is root.
fn make_accessible(dir: BorrowedFd<'_>, name: &CString) -> Result<(), Errno> {
    if sys::process::effective_uid() == 0 { Ok(()) } else { file::fchmodat(dir, name, 0o700) }
}

fn is_directory(dir: BorrowedFd<'_>, name: &CString) -> Result<bool, Errno> {
    Ok(file::fstatat(dir, name)?.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

/// How deep a tree may be for its size to be added up. Deeper ones count as too large: each level costs the watcher a
/// descriptor, and no honest program goes this deep (PATH_MAX is reached at 2048).
const DEEPEST: usize = 400;

/// What even an empty file counts for in bytes: as a tmpfs of ours counts them.
const SMALLEST: u64 = 2048;

/// What a tree holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// Space on disk in bytes: blocks, so sparse files count for what they take; an empty file counts for a little.
    pub(crate) bytes: u64,
    /// Files, directories and links, the tree's own root not among them.
    pub(crate) inodes: u64,
    /// Whether the tree is deeper than anyone can look.
    pub(crate) bottomless: bool,
    /// Whether something in it could not be looked into.
    pub(crate) blind: bool,
    /// Whether the looking was broken off, so that there is more than this.
    pub(crate) unfinished: bool,
}

impl Size {
    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            inodes: self.inodes + other.inodes,
            bottomless: self.bottomless || other.bottomless,
            blind: self.blind || other.blind,
            unfinished: self.unfinished || other.unfinished,
        }
    }
}

/// Adds up what a tree takes on disk while programs may be changing it: what vanishes meanwhile is skipped. Files with
/// several names count once. Also returns the inodes seen, so that open but unlinked files can be added. Every now and then
/// `enough` is asked whether to break off.
pub(crate) fn size(root: BorrowedFd<'_>, mut enough: impl FnMut(&Size) -> bool) -> (Size, BTreeSet<u64>) {
    let mut size = Size::default();
    let mut seen = BTreeSet::new();
    let device = file::fstat(root).map(|stat| stat.st_dev).unwrap_or_default();
    // Directories that are open, each with the names that were read and not looked at: never a whole large one's.
    let mut stack: Vec<(OwnedFd, Vec<CString>)> = Vec::new();
    match file::openat(Some(root), c".", DIRECTORY, 0) {
        Ok(top) => stack.push((top, Vec::new())),
        Err(_) => size.blind = true,
    }
    let mut looks = 0u32;
    loop {
        let depth = stack.len();
        let Some((dir, pending)) = stack.last_mut() else { return (size, seen) };
        let Some(name) = pending.pop() else {
            match file::next_names(dir.as_fd()) {
                Ok(Some(more)) => *pending = more,
                ended => {
                    // A directory that was removed meanwhile has an end too.
                    size.blind |= ended.is_err_and(|errno| errno != Errno(libc::ENOENT));
                    stack.pop();
                }
            }
            continue;
        };
        looks += 1;
        if looks.is_multiple_of(1024) && enough(&size) {
            size.unfinished = true;
            return (size, seen);
        }
        let Ok(stat) = file::fstatat(dir.as_fd(), &name) else { continue };
        let is_directory = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
        // Something mounted, or a subvolume of btrfs, which anybody can make. Files say nothing: those of an overlay have their
        // layer's device.
        if is_directory && stat.st_dev != device {
            size.blind = true;
            continue;
        }
        if is_directory || stat.st_nlink == 1 || seen.insert(stat.st_ino) {
            size.bytes += (stat.st_blocks as u64 * 512).max(SMALLEST);
            size.inodes += 1;
        }
        if is_directory {
            if depth >= DEEPEST {
                size.bottomless = true;
                continue;
            }
            match file::openat(Some(dir.as_fd()), &name, DIRECTORY, 0) {
                Ok(inner) => stack.push((inner, Vec::new())),
                // Gone or changed meanwhile.
                Err(Errno(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => {}
                Err(_) => size.blind = true,
            }
        }
    }
}

/// A name for people, whatever its bytes are.
pub(crate) fn shown(name: &CString) -> String {
    OsStr::from_bytes(name.as_bytes()).to_string_lossy().into_owned()
}
