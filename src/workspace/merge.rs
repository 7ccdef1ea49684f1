//! Several layers read as one tree, as overlayfs would show them, without a mount: for what compares layers or makes one of
//! several. A device of number 0 hides what has its name below; the attribute `user.overlay.opaque` hides all that a
//! directory has below (Documentation/filesystems/overlayfs.rst).
//!
//! What a sandbox wrote before its workspace had layers is the lowest one, in which marks hide nothing: there is nothing
//! below. Above it only overlayfs makes marks, since it refuses to make those that it is asked for.

use super::error::{Doing, Error};
use super::file;
use super::pool::Pool;
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// The attribute that makes a directory hide what lies below.
pub(super) const OPAQUE: &str = "user.overlay.opaque";

/// Layers, each opened once. A number is an index here, and the same layer has the same number.
#[derive(Debug, Default)]
pub(super) struct Table {
    roots: Vec<(String, OwnedFd)>,
}

/// One name in a merged directory.
#[derive(Debug)]
pub(super) enum Merged {
    /// Hidden by a mark.
    Hidden,
    /// Everything but a directory: the uppermost counts.
    File {
        layer: usize,
        stat: Stat,
    },
    Directory {
        stat: Stat,
        found: Directories,
    },
}

/// Where a directory is, in the layers that have a share in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directories {
    /// The uppermost first.
    pub(super) layers: Vec<usize>,
    /// Whether nothing below the last of them is to be seen.
    pub(super) is_closed: bool,
}

impl Table {
    /// The numbers of layers, which are opened here.
    pub(super) fn open(&mut self, pool: &Pool, layers: &[String]) -> Result<Vec<usize>, Error> {
        let mut numbers = Vec::new();
        for id in layers {
            let known = self.roots.iter().position(|(known, _)| known == id);
            let number = match known {
                Some(number) => number,
                None => {
                    self.roots.push((id.clone(), pool.files(id)?));
                    self.roots.len() - 1
                }
            };
            numbers.push(number);
        }
        Ok(numbers)
    }

    /// Opens a directory of a layer, and where its owner took his own right to read it, takes it back for a moment.
    pub(super) fn directory(&self, layer: usize, path: &[u8]) -> Result<OwnedFd, Errno> {
        opened(self.root(layer), path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    pub(super) fn root(&self, layer: usize) -> &OwnedFd {
        &self.roots[layer].1
    }

    /// All names in a directory.
    pub(super) fn entries(&self, layers: &[usize], path: &[u8]) -> Result<BTreeMap<CString, Merged>, Error> {
        let read = || -> Result<BTreeMap<CString, Merged>, Errno> {
            let mut merged = BTreeMap::new();
            for layer in layers {
                let dir = self.directory(*layer, path)?;
                for name in file::names(dir.as_fd())? {
                    let stat = file::stat(dir.as_fd(), name.as_c_str())?;
                    let is_directory = file::kind(&stat) == FileType::Directory;
                    let path = below(path, name.to_bytes());
                    let is_closed = || is_opaque(self.directory(*layer, &path)?.as_fd());
                    match merged.get_mut(&name) {
                        Some(Merged::Directory { found, .. }) if !found.is_closed => {
                            if is_directory {
                                found.layers.push(*layer);
                                found.is_closed = is_closed()?;
                            } else {
                                found.is_closed = true;
                            }
                        }
                        Some(_) => {}
                        None => {
                            let entry = match is_directory {
                                true => Merged::Directory {
                                    stat,
                                    found: Directories { layers: vec![*layer], is_closed: is_closed()? },
                                },
                                false if is_whiteout(&stat) => Merged::Hidden,
                                false => Merged::File { layer: *layer, stat },
                            };
                            merged.insert(name, entry);
                        }
                    }
                }
            }
            Ok(merged)
        };
        read().doing(|| format!("read `{}` in the layers", String::from_utf8_lossy(path)))
    }
}

/// Opens something of ours beneath a directory. Who made it may have taken away our right to read it, which as its owner
/// we give us back for as long as it takes to open it.
pub(super) fn opened(root: &OwnedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    match file::open_beneath(root.as_fd(), path, flags) {
        Err(Errno::ACCESS) => {}
        other => return other,
    }
    let found = file::open_beneath(root.as_fd(), path, OFlags::PATH)?;
    let stat = rustix::fs::fstat(&found)?;
    if !matches!(file::kind(&stat), FileType::RegularFile | FileType::Directory) {
        return Err(Errno::ACCESS);
    }
    let through = format!("/proc/self/fd/{}", found.as_raw_fd());
    let mode = stat.st_mode & 0o7777;
    rustix::fs::chmod(&through, Mode::from_raw_mode(mode | 0o500))?;
    let opened = rustix::fs::open(&through, flags | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
    rustix::fs::chmod(&through, Mode::from_raw_mode(mode))?;
    opened
}

pub(super) fn is_whiteout(stat: &Stat) -> bool {
    file::kind(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn is_opaque(dir: std::os::fd::BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut value = [0u8; 2];
    match rustix::fs::fgetxattr(dir, OPAQUE, &mut value) {
        Ok(length) => Ok(value[..length] == *b"y"),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// A path and one more name.
pub(super) fn below(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, name].join(&b'/') }
}
