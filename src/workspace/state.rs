//! Where workspaces are: `workspaces` in the state directory, beside the runner's slots, whose names are numbers.

use super::error::{Doing, Error};
use super::file::{self, DIRECTORY, OUR_DIRECTORY};
use super::key::Key;
use super::lock::{self, Lock};
use super::record::Record;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The state directory that the environment names: `$PINFOLD_STATE_DIR`, else `$XDG_STATE_HOME/pinfold`, else
/// `/var/lib/pinfold` for root and `~/.local/state/pinfold` for everybody else.
pub(super) fn from_environment() -> Result<PathBuf, Error> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(path) = std::env::var_os("PINFOLD_STATE_DIR") {
        return Ok(PathBuf::from(path));
    }
    // A relative one is to be ignored: XDG Base Directory Specification.
    if let Some(path) = absolute("XDG_STATE_HOME") {
        return Ok(path.join("pinfold"));
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/pinfold"));
    }
    let home = std::env::home_dir().filter(|home| home.is_absolute());
    home.map(|home| home.join(".local/state/pinfold"))
        .ok_or_else(|| Error::invalid("the state directory", "neither PINFOLD_STATE_DIR nor HOME says where it is"))
}

/// Opens the state directory. It must be ours, and nobody else may read or write it. To pass through it does no harm:
/// what is ours in it is closed.
pub(crate) fn open(path: &Path, make: bool) -> Result<Option<OwnedFd>, Error> {
    let what = || format!("open the state directory `{}`", path.display());
    let opened = match rustix::fs::open(path, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) if make => {
            use std::os::unix::fs::DirBuilderExt;
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).doing(what)?;
            rustix::fs::open(path, DIRECTORY, Mode::empty())
        }
        Err(Errno::NOENT) => return Ok(None),
        other => other,
    };
    let dir = opened.doing(what)?;
    let stat = rustix::fs::fstat(&dir).doing(what)?;
    if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o066 != 0 {
        let reason = "it must belong to you, and nobody else may read or write it (mode 0700)";
        return Err(Error::invalid(format!("the state directory `{}`", path.display()), reason));
    }
    Ok(Some(dir))
}

/// The directory of all workspaces.
#[derive(Debug)]
pub(super) struct Workspaces {
    pub(super) dir: OwnedFd,
    pub(super) path: PathBuf,
}

impl Workspaces {
    /// Opens it if it is there.
    pub(super) fn existing(state: &Path) -> Result<Option<Self>, Error> {
        let Some(dir) = open(state, false)? else { return Ok(None) };
        let path = state.join("workspaces");
        match file::open_directory(dir.as_fd(), "workspaces") {
            Ok(dir) => Ok(Some(Self { dir, path })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).doing(|| format!("open `{}`", path.display())),
        }
    }

    /// Opens it, and makes it if it is absent.
    pub(super) fn made(state: &Path) -> Result<Self, Error> {
        if let Some(there) = Self::existing(state)? {
            return Ok(there);
        }
        let path = state.join("workspaces");
        let what = || format!("make `{}`", path.display());
        let Some(parent) = open(state, true)? else { return Err(Errno::NOENT).doing(what) };
        let dir = file::make_directory(parent.as_fd(), "workspaces", OUR_DIRECTORY).doing(what)?;
        rustix::fs::fsync(&parent).doing(what)?;
        Ok(Self { dir, path })
    }

    /// The keys of all workspaces, in order.
    pub(super) fn keys(&self) -> Result<Vec<Key>, Error> {
        let names = file::names(self.dir.as_fd()).doing(|| format!("read `{}`", self.path.display()))?;
        Ok(names.iter().filter_map(|name| Key::parse(name.to_bytes())).collect())
    }

    /// One workspace, if it is there.
    pub(super) fn find(&self, key: &Key) -> Result<Option<Place>, Error> {
        let path = self.path.join(key.as_str());
        match file::open_directory(self.dir.as_fd(), key.as_str()) {
            Ok(dir) => Ok(Some(Place { dir, path, key: key.clone() })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).doing(|| format!("open `{}`", path.display())),
        }
    }

    /// Whether a place is still where it was: another process may have removed it meanwhile, and made a new one.
    pub(super) fn is_current(&self, place: &Place) -> Result<bool, Error> {
        let what = || format!("look at `{}`", place.path.display());
        match file::stat(self.dir.as_fd(), place.key.as_str()) {
            Ok(there) => Ok(file::is_same(&there, &rustix::fs::fstat(&place.dir).doing(what)?)),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno).doing(what),
        }
    }

    /// One workspace with the lock of its record, if it is there. `id` is for messages.
    pub(super) fn locked(&self, key: &Key, id: &str) -> Result<Option<(Place, Lock)>, Error> {
        self.with_lock(key, id, |place| Lock::alone(place.dir.as_fd(), LOCK))
    }

    /// One workspace that nobody removes or replaces while the lock is held.
    pub(super) fn in_use(&self, key: &Key, id: &str) -> Result<Option<(Place, Lock)>, Error> {
        self.with_lock(key, id, |place| Lock::shared(place.dir.as_fd(), USE))
    }

    fn with_lock(
        &self,
        key: &Key,
        id: &str,
        take: impl Fn(&Place) -> Result<Option<Lock>, Errno>,
    ) -> Result<Option<(Place, Lock)>, Error> {
        while let Some(place) = self.find(key)? {
            let lock = match take(&place) {
                Ok(Some(lock)) => Some(lock),
                Ok(None) => return Err(Error::Busy { id: id.to_owned(), why: "another process keeps its lock" }),
                Err(Errno::NOENT) => None,
                Err(errno) => return Err(errno).doing(|| format!("lock `{}`", place.path.display())),
            };
            match (self.is_current(&place)?, lock) {
                (true, Some(lock)) => return Ok(Some((place, lock))),
                (true, None) => place.make_locks()?,
                (false, _) => {}
            }
        }
        Ok(None)
    }
}

/// Held alone while a record is read and replaced, for a moment only.
pub(super) const LOCK: &str = "lock";

/// Shared by everybody who works on the files, held alone by whoever removes or replaces them all. Its time of
/// modification says when the workspace was last used.
pub(super) const USE: &str = "use";

/// A workspace's own directory, which no sandbox sees: the record, the locks, and the files' directory.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) dir: OwnedFd,
    pub(super) path: PathBuf,
    pub(super) key: Key,
}

impl Place {
    pub(super) fn record(&self) -> Result<Record, Error> {
        Record::read(self.dir.as_fd(), &self.path, &self.key)
    }

    pub(super) fn write(&self, record: &Record) -> Result<(), Error> {
        record.write(self.dir.as_fd(), &self.path)
    }

    /// The files' directory, which sandboxes mount.
    pub(super) fn data(&self) -> Result<OwnedFd, Error> {
        file::open_directory(self.dir.as_fd(), DATA).doing(|| format!("open `{}`", self.data_path().display()))
    }

    pub(super) fn data_path(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// When somebody last worked in it, in milliseconds since 1970.
    pub(super) fn last_used_ms(&self) -> u64 {
        let Ok(stat) = file::stat(self.dir.as_fd(), USE) else { return 0 };
        let (seconds, nanoseconds) = (u64::try_from(stat.st_mtime).unwrap_or(0), stat.st_mtime_nsec);
        seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000)
    }

    /// Makes the locks' files, which nobody but a person's hand ever takes away again.
    fn make_locks(&self) -> Result<(), Error> {
        let made = lock::make(self.dir.as_fd(), LOCK).and_then(|()| lock::make(self.dir.as_fd(), USE));
        made.doing(|| format!("make the locks of `{}`", self.path.display()))
    }

    /// Notes that somebody works in it now.
    pub(super) fn touch(&self) {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if let Ok(file) = rustix::fs::openat(&self.dir, USE, flags, Mode::empty()) {
            touch(file.as_fd());
        }
    }
}

/// Sets the time of modification to now. A time that can't be set costs a workspace nothing but its place in a list.
pub(super) fn touch(file: BorrowedFd<'_>) {
    use rustix::fs::{Timespec, Timestamps, UTIME_NOW};
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let _unimportant = rustix::fs::futimens(file, &Timestamps { last_access: now, last_modification: now });
}

/// The name of the files' directory in the plain layout.
pub(super) const DATA: &str = "data";
