//! Several layers read as one tree, as overlayfs would show them, without a mount: for what compares layers or makes one of
//! several. A device of number 0 hides what has its name below; the attribute `user.overlay.opaque` hides all that a
//! directory has below (Documentation/filesystems/overlayfs.rst).
//!
//! What a sandbox wrote before its workspace had layers is the lowest one, in which marks hide nothing: there is nothing
//! below. Above it only overlayfs makes marks, since it refuses to make those that it is asked for.

use super::error::{Doing, Error};
use super::file;
use super::pool::Pool;
use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// The attribute that makes a directory hide what lies below.
pub(super) const OPAQUE: &str = "user.overlay.opaque";

/// Layers, each opened once. A number is an index here, and the same layer has the same number.
#[derive(Debug, Default)]
pub(super) struct Table {
    roots: Vec<(String, OwnedFd)>,
    /// Directories that their owner may not read or pass, and may for as long as this lives; with their permissions.
    opened_up: RefCell<BTreeMap<(usize, Vec<u8>), u32>>,
}

impl Drop for Table {
    fn drop(&mut self) {
        // What is deeper comes later in the order, and first here.
        for ((layer, path), mode) in self.opened_up.borrow().iter().rev() {
            let pinned = file::open_beneath(self.root(*layer).as_fd(), path, OFlags::PATH);
            let _its_owner_can_too = pinned.and_then(|pinned| set_mode(&pinned, *mode));
        }
    }
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

    /// Opens a directory of a layer, also where its owner, who we are, has no right to read or to pass it.
    pub(super) fn directory(&self, layer: usize, path: &[u8]) -> Result<OwnedFd, Errno> {
        let open = || {
            let dir = file::open_beneath(self.root(layer).as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            // To pass it is another right than to read it.
            rustix::fs::accessat(&dir, ".", Access::EXEC_OK, AtFlags::empty()).map(|()| dir)
        };
        match open() {
            Err(Errno::ACCESS) => {}
            other => return other,
        }
        let pinned = file::open_beneath(self.root(layer).as_fd(), path, OFlags::PATH)?;
        let mode = open_up(&pinned, FileType::Directory)?;
        self.opened_up.borrow_mut().entry((layer, path.to_vec())).or_insert(mode);
        open()
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
                    let mut stat = match file::stat(dir.as_fd(), name.as_c_str()) {
                        // A sandbox works in the uppermost layer meanwhile.
                        Err(Errno::NOENT) => continue,
                        other => other?,
                    };
                    let is_directory = file::kind(&stat) == FileType::Directory;
                    let path = below(path, name.to_bytes());
                    if let Some(mode) = self.opened_up.borrow().get(&(*layer, path.clone())) {
                        stat.st_mode = stat.st_mode & !0o7777 | mode;
                    }
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

/// An open file. If who made it had taken away our right to read it, that is given back as long as this lives: attributes
/// can't be read without, through no descriptor.
pub(super) struct Opened {
    pub(super) file: OwnedFd,
    closed: Option<(OwnedFd, u32)>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let Some((pinned, mode)) = &self.closed {
            let _its_owner_can_too = set_mode(pinned, *mode);
        }
    }
}

/// Opens a file beneath a directory, also where its owner, who we are, has no right to read it.
pub(super) fn opened(root: &OwnedFd, path: &[u8]) -> Result<Opened, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    match file::open_beneath(root.as_fd(), path, flags) {
        Err(Errno::ACCESS) => {}
        other => return other.map(|file| Opened { file, closed: None }),
    }
    let pinned = file::open_beneath(root.as_fd(), path, OFlags::PATH)?;
    let mode = open_up(&pinned, FileType::RegularFile)?;
    let reopened = rustix::fs::open(through(&pinned), flags | OFlags::CLOEXEC, Mode::empty());
    let closed = Some((pinned, mode));
    match reopened {
        Ok(file) => Ok(Opened { file, closed }),
        Err(errno) => {
            let _first_error_counts = closed.map(|(pinned, mode)| set_mode(&pinned, mode));
            Err(errno)
        }
    }
}

/// Lets its owner read what is pinned, if it is of this kind. Answers what its permissions were.
fn open_up(pinned: &OwnedFd, kind: FileType) -> Result<u32, Errno> {
    let stat = rustix::fs::fstat(pinned)?;
    if file::kind(&stat) != kind {
        return Err(Errno::ACCESS);
    }
    set_mode(pinned, stat.st_mode | 0o700)?;
    Ok(stat.st_mode & 0o7777)
}

/// fchmod(2) takes no O_PATH descriptor.
fn set_mode(pinned: &OwnedFd, mode: u32) -> Result<(), Errno> {
    rustix::fs::chmod(through(pinned), Mode::from_raw_mode(mode & 0o7777))
}

fn through(pinned: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", pinned.as_raw_fd())
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
