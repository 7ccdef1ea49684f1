//! A directory of the host with everything below it, and the few ways in which anything below it is reached. Every one
//! goes through `openat2` relative to a descriptor, so that whatever is renamed, linked or swapped meanwhile, nothing
//! outside is ever reached: openat2(2), Linux 5.6.

use super::bounds::Bounds;
use super::entry::Kind;
use super::error::{Error, Reason};
use super::names::names;
use super::path::{Inside, c_string};
use crate::workspace::Usage;
use crate::workspace::tree::usage;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Stat, Uid};
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// A directory and everything below it, confined: see the [module](super).
///
/// Clones share the descriptor. All calls block, as files do: on an async runtime, make them on a thread for that, such
/// as with `tokio::task::spawn_blocking`.
#[derive(Clone, Debug)]
pub struct Tree {
    root: Arc<OwnedFd>,
    resolve: ResolveFlags,
    owner: Option<(Uid, Gid)>,
    /// With whose rights something is made here, where root's own can't make it.
    maker: Option<(Uid, Gid)>,
    pub(crate) bounds: Bounds,
    /// What the root is called by a sandbox's commands, beside `/workspace`.
    known_as: Option<Arc<str>>,
    /// What must not end before this does.
    _kept: Option<Arc<dyn Kept>>,
}

/// Anything that a tree can keep for as long as it is used.
trait Kept: std::fmt::Debug + Send + Sync {}

impl<T: std::fmt::Debug + Send + Sync> Kept for T {}

/// The bits that a mode may have here: no set-id, no sticky.
pub(crate) const PERMISSIONS: u32 = 0o777;

const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Without O_NOFOLLOW: a link at the end is refused all the same, by RESOLVE_NO_SYMLINKS, and as a link then (ELOOP), not
/// as something that is no directory.
const PASS: OFlags = OFlags::PATH.union(DIRECTORY);
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

impl Tree {
    /// Opens a directory whose content nobody trusts, a sandbox's workspace for instance. The path itself is the
    /// caller's and is resolved as any path is.
    ///
    /// What root makes in it belongs to whom the directory belongs, so that its sandboxes can use it.
    ///
    /// # Errors
    /// When it is no directory, or can't be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let opened = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        opened.map_err(Reason::from).and_then(Self::confined).map_err(|reason| reason.when("open", path))
    }

    /// The same for a descriptor of a directory; one that was opened with `O_PATH` will do.
    ///
    /// # Errors
    /// When it is none of a directory.
    pub fn from_descriptor(directory: OwnedFd) -> Result<Self, Error> {
        Self::confined(directory).map_err(|reason| reason.when("use", "."))
    }

    /// Opens a directory of the caller's own, as the other end of a copy: file systems that are mounted in it are entered,
    /// and what is made in it belongs to whoever makes it. Links are not followed here either.
    ///
    /// # Errors
    /// When it is no directory, or can't be opened.
    pub fn open_own(path: impl AsRef<Path>) -> Result<Self, Error> {
        let mut tree = Self::open(path)?;
        tree.resolve.remove(ResolveFlags::NO_XDEV);
        tree.owner = None;
        Ok(tree)
    }

    /// What everything below takes on disk, while programs may be changing it. Nothing bounds how long that takes but the
    /// number of files.
    pub fn usage(&self) -> Usage {
        usage(&[self.root()])
    }

    /// With other bounds than the usual ones.
    #[must_use]
    pub fn with_bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    fn confined(root: OwnedFd) -> Result<Self, Reason> {
        let stat = rustix::fs::fstat(&root)?;
        if Kind::of(&stat) != Kind::Directory {
            return Err(Reason::NotDirectory);
        }
        let is_ours = stat.st_uid == rustix::process::geteuid().as_raw();
        let may_give = rustix::process::geteuid().is_root() && !is_ours;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let owner = may_give.then(|| (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid)));
        Ok(Self {
            root: Arc::new(root),
            resolve,
            owner,
            maker: None,
            bounds: Bounds::default(),
            known_as: None,
            _kept: None,
        })
    }

    /// The workspace of a sandbox as the sandbox itself sees it, through an idmapped mount or an overlay of its own user
    /// namespace. There nobody can make anything but the sandbox's user, as whom root acts then (EOVERFLOW, path_resolution(7)).
    ///
    /// # Errors
    /// When it is no directory.
    pub(crate) fn of_sandbox(directory: OwnedFd) -> Result<Self, Error> {
        let mut tree = Self::from_descriptor(directory)?;
        tree.maker = tree.owner.take();
        Ok(tree)
    }

    /// Makes something, with the rights that this takes.
    pub(crate) fn make<T>(&self, made: impl FnOnce() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
        let _maker = self.maker.map(|(uid, gid)| Acting::new(uid, gid));
        made()
    }

    /// Keeps something for as long as this tree or a clone of it lives: what its files rest on.
    pub(crate) fn keeping(mut self, kept: impl std::fmt::Debug + Send + Sync + 'static) -> Self {
        self._kept = Some(Arc::new(kept));
        self
    }

    /// Takes paths below this one too, as a sandbox's commands know them.
    pub(crate) fn known_as(mut self, path: &str) -> Self {
        self.known_as = Some(path.trim_end_matches('/').into());
        self
    }

    /// What its root is known as, beside `/workspace`.
    pub(crate) fn root_name(&self) -> Option<&str> {
        self.known_as.as_deref()
    }

    /// A path of this tree's, as people write it.
    pub(crate) fn inside(&self, path: &Path) -> Result<Inside, Reason> {
        Inside::new(path, self.root_name())
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Whether two trees are one directory.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        let id = |tree: &Self| rustix::fs::fstat(tree.root()).map(|stat| (stat.st_dev, stat.st_ino)).ok();
        id(self).is_some() && id(self) == id(other)
    }

    fn open_at(&self, at: BorrowedFd<'_>, path: &CStr, flags: OFlags, mode: Mode) -> Result<OwnedFd, Reason> {
        let open = || rustix::fs::openat2(at, path, flags, mode, self.resolve);
        Ok(if flags.contains(OFlags::CREATE) { self.make(open) } else { open() }?)
    }

    /// Pins whatever has the path, a symbolic link too, without opening it: no FIFO waits, no device notices.
    pub(crate) fn look(&self, at: BorrowedFd<'_>, path: &CStr) -> Result<(OwnedFd, Stat), Reason> {
        let pinned = self.open_at(at, path, LOOK, Mode::empty())?;
        let stat = rustix::fs::fstat(&pinned)?;
        Ok((pinned, stat))
    }

    /// A directory to reach others through.
    pub(crate) fn pass(&self, at: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Reason> {
        self.open_at(at, path, PASS, Mode::empty())
    }

    /// A directory to read.
    pub(crate) fn directory(&self, at: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Reason> {
        self.open_at(at, path, DIRECTORY, Mode::empty())
    }

    /// Opens a regular file, and nothing else. It is pinned and looked at first, and then opened through its descriptor,
    /// so that what was looked at is what is opened. O_NONBLOCK is for a lease, which makes open(2) wait for its holder.
    pub(crate) fn regular(&self, at: BorrowedFd<'_>, path: &CStr, access: OFlags) -> Result<(File, Stat), Reason> {
        let (pinned, stat) = self.look(at, path)?;
        expect_regular(&stat)?;
        let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::open(through_descriptor(&pinned), flags, Mode::empty())?;
        Ok((File::from(file), stat))
    }

    /// The folder of a path, and its name in it.
    pub(crate) fn parent<'p>(&self, path: &'p Inside) -> Result<(OwnedFd, &'p OsStr), Reason> {
        let (parent, name) = self.split(path)?;
        Ok((self.pass(self.root(), &parent.to_c()?)?, name))
    }

    /// The same, with the folder made if it is missing.
    pub(crate) fn made_parent<'p>(&self, path: &'p Inside) -> Result<(OwnedFd, &'p OsStr), Reason> {
        let (parent, name) = self.split(path)?;
        Ok((self.make_directories(self.root(), &parent)?, name))
    }

    fn split<'p>(&self, path: &'p Inside) -> Result<(Inside, &'p OsStr), Reason> {
        path.split().ok_or(Reason::InvalidPath("the path is the root itself"))
    }

    /// Opens a folder, and makes it and those on the way to it if they are missing.
    pub(crate) fn make_directories(&self, at: BorrowedFd<'_>, path: &Inside) -> Result<OwnedFd, Reason> {
        match self.pass(at, &path.to_c()?) {
            Err(Reason::NotFound) => {}
            other => return other,
        }
        let mut directory = self.pass(at, c".")?;
        for name in path.names() {
            let name = c_string(name)?;
            directory = match self.pass(directory.as_fd(), &name) {
                Err(Reason::NotFound) => match self.make_directory(directory.as_fd(), &name, 0o755) {
                    // Somebody else was faster.
                    Err(Reason::Exists) => self.pass(directory.as_fd(), &name)?,
                    other => other?,
                },
                other => other?,
            };
        }
        Ok(directory)
    }

    /// Makes one folder, with exactly this mode whatever our umask is.
    pub(crate) fn make_directory(&self, at: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<OwnedFd, Reason> {
        self.make(|| rustix::fs::mkdirat(at, name, Mode::RWXU))?;
        let made = self.pass(at, name)?;
        if let Some((uid, gid)) = self.owner {
            // Who owns the folder around may have put another of root's in this one's place, to be given that. One that is
            // empty is worth nothing.
            let read = self.directory(made.as_fd(), c".")?;
            if !names(read.as_fd(), 1)?.0.is_empty() {
                return Err(Reason::Changed);
            }
            rustix::fs::chownat(&made, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
        }
        set_mode(&made, mode)?;
        Ok(made)
    }

    /// Makes a file that is ours alone to write, under a name that is not there yet.
    pub(crate) fn make_file(&self, at: BorrowedFd<'_>, name: &CStr) -> Result<File, Reason> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = self.open_at(at, name, flags, Mode::RUSR | Mode::WUSR)?;
        if let Some((uid, gid)) = self.owner {
            rustix::fs::fchown(&file, Some(uid), Some(gid))?;
        }
        Ok(File::from(file))
    }

    /// Makes a symbolic link. It may point anywhere: nobody here follows it.
    pub(crate) fn make_symlink(&self, at: BorrowedFd<'_>, name: &CStr, target: &OsStr) -> Result<(), Reason> {
        let target = c_string(target)?;
        self.make(|| rustix::fs::symlinkat(target, at, name))?;
        if let Some((uid, gid)) = self.owner {
            let (link, stat) = self.look(at, name)?;
            if Kind::of(&stat) == Kind::Symlink {
                rustix::fs::chownat(&link, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
            }
        }
        Ok(())
    }
}

/// As whom this thread reaches files, until this is dropped: setfsuid(2), which is of the thread alone.
struct Acting {
    uid: nix::unistd::Uid,
    gid: nix::unistd::Gid,
}

impl Acting {
    fn new(uid: Uid, gid: Gid) -> Self {
        let gid = nix::unistd::setfsgid(nix::unistd::Gid::from_raw(gid.as_raw()));
        let uid = nix::unistd::setfsuid(nix::unistd::Uid::from_raw(uid.as_raw()));
        Self { uid, gid }
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        nix::unistd::setfsuid(self.uid);
        nix::unistd::setfsgid(self.gid);
    }
}

/// Says what a thing that is no regular file is instead.
pub(crate) fn expect_regular(stat: &Stat) -> Result<(), Reason> {
    match Kind::of(stat) {
        Kind::File => Ok(()),
        Kind::Directory => Err(Reason::IsDirectory),
        Kind::Symlink => Err(Reason::Symlink),
        Kind::Fifo | Kind::Socket | Kind::Device => Err(Reason::NotRegular),
    }
}

/// A path to what a descriptor has pinned, whatever its name is by now: proc(5).
pub(crate) fn through_descriptor(pinned: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", pinned.as_raw_fd())
}

/// Sets the permissions of what is pinned, which must be no symbolic link. fchmod(2) does not take an O_PATH descriptor.
pub(crate) fn set_mode(pinned: &OwnedFd, mode: u32) -> Result<(), Reason> {
    Ok(rustix::fs::chmod(through_descriptor(pinned), Mode::from_raw_mode(mode & PERMISSIONS))?)
}
