//! One layer made of several. Layers never change, so the new one may share their files by hard links; where somebody is
//! going to write to the new one, or still writes to the old one, it has copies.

use super::error::{Doing, Error};
use super::file::{self, OUR_DIRECTORY};
use super::merge::{self, Merged, OPAQUE, Table, below};
use super::pool;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Uid, XattrFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How a file comes into the new layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// By another name of the same file.
    Link,
    /// By a copy, which shares its blocks where the file system can (ioctl_ficlone(2)).
    Copy,
}

/// Makes what `layers` show together in an empty directory. With `keep_marks` the new layer hides what they hide below
/// them; without, there is nothing below, and marks are left out.
pub(super) fn flatten(
    table: &Table,
    layers: &[usize],
    target: &OwnedFd,
    how: How,
    keep_marks: bool,
) -> Result<(), Error> {
    let mut flatten = Flatten { table, target, how, keep_marks, directories: Vec::new(), linked: BTreeMap::new() };
    let mut pending = vec![(Vec::new(), layers.to_vec())];
    while let Some((path, layers)) = pending.pop() {
        for (name, merged) in table.entries(&layers, &path)? {
            let inner = below(&path, name.to_bytes());
            let what = || format!("make `{}` in a layer", String::from_utf8_lossy(&inner));
            if let Some(directories) = flatten.add(&path, &name, &inner, merged).doing(what)? {
                pending.push((inner, directories));
            }
        }
    }
    flatten.finish().doing(|| "give the directories of a layer their permissions".to_owned())
}

struct Flatten<'a> {
    table: &'a Table,
    target: &'a OwnedFd,
    how: How,
    keep_marks: bool,
    /// What a directory gets when everything in it is there: from this layer, with these permissions, and opaque or not.
    directories: Vec<(Vec<u8>, usize, Stat, bool)>,
    /// Files of several names, and the first of them.
    linked: BTreeMap<(usize, u64), Vec<u8>>,
}

impl Flatten<'_> {
    fn add(&mut self, parent: &[u8], name: &CStr, path: &[u8], merged: Merged) -> Result<Option<Vec<usize>>, Errno> {
        let dir = file::open_beneath(self.target.as_fd(), parent, OFlags::RDONLY | OFlags::DIRECTORY)?;
        match merged {
            Merged::Hidden if self.keep_marks => {
                // Anybody may make one: Linux 5.8.
                rustix::fs::mknodat(&dir, name, FileType::CharacterDevice, Mode::empty(), 0)?;
                Ok(None)
            }
            Merged::Hidden => Ok(None),
            Merged::Directory { stat, found } => {
                rustix::fs::mkdirat(&dir, name, OUR_DIRECTORY)?;
                let uppermost = found.layers.first().copied().unwrap_or_default();
                self.directories.push((path.to_vec(), uppermost, stat, found.is_closed && self.keep_marks));
                Ok(Some(found.layers))
            }
            Merged::File { layer, stat } => {
                let from = self.table.directory(layer, parent)?;
                if self.how == How::Link {
                    match rustix::fs::linkat(&from, name, &dir, name, AtFlags::empty()) {
                        // Too many names, or the file system has none but the first.
                        Err(Errno::MLINK | Errno::PERM) => {}
                        other => return other.map(|()| None),
                    }
                }
                self.copy(&from, &dir, name, path, (layer, &stat)).map(|()| None)
            }
        }
    }

    fn copy(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &CStr,
        path: &[u8],
        (layer, stat): (usize, &Stat),
    ) -> Result<(), Errno> {
        if stat.st_nlink > 1 {
            if let Some(first) = self.linked.get(&(layer, stat.st_ino)) {
                return rustix::fs::linkat(self.target, first.as_slice(), to, name, AtFlags::empty());
            }
            self.linked.insert((layer, stat.st_ino), path.to_vec());
        }
        match file::kind(stat) {
            FileType::RegularFile => {
                let source = merge::opened(from, name.to_bytes())?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let target = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
                copy_content(&source.file, &target)?;
                put_on(source.file.as_fd(), target.as_fd(), stat)
            }
            FileType::Symlink => {
                let text = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(&text, to, name)?;
                own(to.as_fd(), name, stat)?;
                rustix::fs::utimensat(to, name, &pool::times(stat), AtFlags::SYMLINK_NOFOLLOW)
            }
            kind @ (FileType::Fifo | FileType::Socket) => {
                rustix::fs::mknodat(to, name, kind, Mode::from_raw_mode(stat.st_mode & 0o777), 0)?;
                own(to.as_fd(), name, stat)
            }
            // No sandbox can make one.
            _ => Ok(()),
        }
    }

    /// From the last to the first, so that what is in a directory comes before it.
    fn finish(self) -> Result<(), Errno> {
        for (path, layer, stat, is_opaque) in self.directories.iter().rev() {
            let dir = file::open_beneath(self.target.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            if *is_opaque {
                rustix::fs::fsetxattr(&dir, OPAQUE, b"y", XattrFlags::empty())?;
            }
            put_on(self.table.directory(*layer, path)?.as_fd(), dir.as_fd(), stat)?;
        }
        Ok(())
    }
}

/// Gives a file or a directory what its like has beside its content.
fn put_on(from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> Result<(), Errno> {
    attributes(from, to)?;
    if rustix::process::geteuid().is_root() {
        rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    }
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    rustix::fs::futimens(to, &pool::times(stat))
}

fn own(dir: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<(), Errno> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// The attributes that a user may set, and access lists; none of overlayfs's own, but for those that it keeps for somebody
/// inside, which begin with its prefix twice.
fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut names = vec![0u8; 64 << 10];
    let length = match rustix::fs::flistxattr(from, &mut names) {
        Err(Errno::OPNOTSUPP) => return Ok(()),
        other => other?,
    };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| is_taken(name)) {
        let name = CString::new(name).map_err(|_has_a_nul| Errno::INVAL)?;
        let mut value = vec![0u8; 64 << 10];
        let length = rustix::fs::fgetxattr(from, name.as_c_str(), &mut value)?;
        rustix::fs::fsetxattr(to, name.as_c_str(), &value[..length], XattrFlags::empty())?;
    }
    Ok(())
}

fn is_taken(name: &[u8]) -> bool {
    let is_own = name.starts_with(b"user.overlay.") && !name.starts_with(b"user.overlay.overlay.");
    (name.starts_with(b"user.") && !is_own) || name.starts_with(b"system.posix_acl_")
}

/// Copies what is in a file and leaves its holes.
fn copy_content(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let error = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let (mut source, mut target) =
        (File::from(from.try_clone().map_err(error)?), File::from(to.try_clone().map_err(error)?));
    let mut position = 0;
    loop {
        // ENXIO: nothing but a hole is left.
        let data = match rustix::fs::seek(from, SeekFrom::Data(position)) {
            Err(Errno::NXIO) => break,
            other => other?,
        };
        let hole = rustix::fs::seek(from, SeekFrom::Hole(data))?;
        rustix::fs::seek(from, SeekFrom::Start(data))?;
        rustix::fs::seek(to, SeekFrom::Start(data))?;
        let copied = std::io::copy(&mut std::io::Read::take(&mut source, hole - data), &mut target).map_err(error)?;
        if copied == 0 {
            break;
        }
        position = hole;
    }
    let size = rustix::fs::fstat(from)?.st_size;
    rustix::fs::ftruncate(to, u64::try_from(size).unwrap_or(0))
}
