//! Trees of files that a hostile program made: looking at everything in one, and removing one. No path is ever joined to
//! a name from inside for the kernel to follow: everything is opened beneath a descriptor, and no link is followed.

use super::file::{self, DIRECTORY};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// A directory that is still to be looked into. They share their parents, so that a deep and broad tree, in which every
/// path has 4096 bytes, costs the memory of its names only.
struct Node {
    parent: Option<Rc<Node>>,
    name: CString,
}

impl Node {
    fn path(self: &Rc<Self>) -> Vec<u8> {
        let (mut names, mut node) = (Vec::new(), Some(self));
        while let Some(this) = node {
            names.push(this.name.as_bytes());
            node = this.parent.as_ref();
        }
        names.reverse();
        names.join(&b'/')
    }
}

/// Something in a tree.
pub(super) struct Found<'a> {
    /// The directory that it is in.
    pub(super) dir: BorrowedFd<'a>,
    pub(super) name: &'a CStr,
    /// Its path below the tree's root.
    pub(super) path: Vec<u8>,
    pub(super) stat: Stat,
}

/// What `walk` met.
pub(super) enum Met<'a> {
    Entry(Found<'a>),
    /// What could not be looked at, by its path, and why: closed to us, another file system, or a path above PATH_MAX.
    Missed(Vec<u8>, Errno),
}

/// Shows everything below a directory, in an order that depends on nothing but the names: a directory before what is in
/// it. One descriptor at a time is open, however deep the tree. What vanishes meanwhile is skipped.
pub(super) fn walk<E>(root: BorrowedFd<'_>, mut visit: impl FnMut(Met<'_>) -> Result<(), E>) -> Result<(), E> {
    let mut pending: Vec<Option<Rc<Node>>> = vec![None];
    while let Some(node) = pending.pop() {
        let base = node.as_ref().map(Node::path).unwrap_or_default();
        let opened = file::open_beneath(root, &base, OFlags::RDONLY | OFlags::DIRECTORY);
        let (dir, names) = match opened.and_then(|dir| Ok((file::names(dir.as_fd())?, dir))) {
            Ok((names, dir)) => (dir, names),
            // Gone, or a link or a file is in its place or on its way by now.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            Err(errno) => {
                visit(Met::Missed(base, errno))?;
                continue;
            }
        };
        let mut inner = Vec::new();
        for name in names {
            let path = if base.is_empty() { name.to_bytes().to_vec() } else { [&base, name.to_bytes()].join(&b'/') };
            match file::stat(dir.as_fd(), name.as_c_str()) {
                Ok(stat) => {
                    let is_directory = file::kind(&stat) == FileType::Directory;
                    visit(Met::Entry(Found { dir: dir.as_fd(), name: &name, path, stat }))?;
                    if is_directory {
                        inner.push(Some(Rc::new(Node { parent: node.clone(), name })));
                    }
                }
                Err(Errno::NOENT) => {}
                Err(errno) => visit(Met::Missed(path, errno))?,
            }
        }
        pending.extend(inner.into_iter().rev());
    }
    Ok(())
}

/// What even an empty file counts for in bytes, so that inodes are limited too: as a job's workspace counts them.
const SMALLEST: u64 = 2048;

/// What a workspace takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// Space on disk in bytes: blocks, so sparse files count for what they take; an empty file counts 2 KiB. Files with
    /// several names count once.
    pub bytes: u64,
    /// Files, directories and links.
    pub inodes: u64,
    /// Whether there is something that could not be looked into, so that the true figures are larger.
    pub incomplete: bool,
}

/// Adds up what trees take on disk, while programs may be changing them.
pub(crate) fn usage(roots: &[BorrowedFd<'_>]) -> Usage {
    let (mut usage, mut seen) = (Usage::default(), BTreeSet::new());
    let mut add = |met: Met<'_>| -> Result<(), std::convert::Infallible> {
        match met {
            Met::Missed(..) => usage.incomplete = true,
            Met::Entry(found) => {
                let stat = &found.stat;
                let is_directory = file::kind(stat) == FileType::Directory;
                if is_directory || stat.st_nlink == 1 || seen.insert((stat.st_dev, stat.st_ino)) {
                    usage.bytes += u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512).max(SMALLEST);
                    usage.inodes += 1;
                }
            }
        }
        Ok(())
    };
    for root in roots {
        let Ok(()) = walk(*root, &mut add);
    }
    usage
}

/// Whether there is nothing in a directory.
pub(super) fn is_empty(dir: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(file::names(dir)?.is_empty())
}

/// Removes everything below `dir` and leaves it empty. The work is flat whatever the tree's depth: a directory that is
/// found inside another is moved up beside it first, so neither the stack nor the number of descriptors grows.
pub(super) fn clear(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut moved = 0u64;
    loop {
        let names = file::names(dir)?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            match remove(dir, &name, &mut moved) {
                // Not empty: a directory of it was moved up, or a process that is about to end wrote once more.
                Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// Removes one entry. Of a directory all files go, and its directories are moved up into `dir`.
fn remove(dir: BorrowedFd<'_>, name: &CStr, moved: &mut u64) -> Result<(), Errno> {
    if file::kind(&file::stat(dir, name)?) != FileType::Directory {
        return rustix::fs::unlinkat(dir, name, AtFlags::empty());
    }
    let inner = open_own(dir, name)?;
    for child in file::names(inner.as_fd())? {
        if file::kind(&file::stat(inner.as_fd(), child.as_c_str())?) != FileType::Directory {
            rustix::fs::unlinkat(&inner, child.as_c_str(), AtFlags::empty())?;
        } else if rustix::fs::unlinkat(&inner, child.as_c_str(), AtFlags::REMOVEDIR).is_err() {
            // Moving a directory writes to its `..`, so it must be writable itself: rename(2), EACCES.
            drop(open_own(inner.as_fd(), &child)?);
            move_up(inner.as_fd(), &child, dir, moved)?;
        }
    }
    rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
}

/// Opens a directory, and makes it readable and writable for us where its maker took that away.
fn open_own(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let found = rustix::fs::openat(dir, name, OFlags::PATH | DIRECTORY, Mode::empty())?;
    if rustix::fs::fstat(&found)?.st_mode & 0o700 != 0o700 {
        // Not by name, which may lead elsewhere by now, and not by the descriptor, as fchmod(2) takes no O_PATH.
        rustix::fs::chmod(format!("/proc/self/fd/{}", found.as_raw_fd()), Mode::RWXU)?;
    }
    rustix::fs::openat(&found, ".", DIRECTORY, Mode::empty())
}

fn move_up(from: BorrowedFd<'_>, name: &CStr, to: BorrowedFd<'_>, moved: &mut u64) -> Result<(), Errno> {
    loop {
        *moved += 1;
        let fresh = format!(".pinfold-removing-{moved}");
        match rustix::fs::renameat_with(from, name, to, fresh.as_str(), RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            other => return other,
        }
    }
}
