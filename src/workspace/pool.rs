//! The layers that workspaces consist of once they have checkpoints: `layers` beside them, one directory for each, since a
//! fork shares its layers with the workspace that it came from. Which are in use is never counted, only looked up in
//! what is written down of all workspaces; a layer that nobody names is cleared away.
//!
//! Whoever makes layers, or writes down that they are used, has a share of the pool's lock until that is done. Who clears
//! up has it alone.

use super::error::{Doing, Error};
use super::file::{self, OUR_DIRECTORY};
use super::layered;
use super::limbo::{self, Limbo};
use super::lock::{self, Lock};
use super::state::{LOCK, Workspaces};
use pinfold_runner::AbsolutePath;
use rustix::fs::{AtFlags, Gid, Mode, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// A layer's files.
pub(super) const FILES: &str = "files";
/// What overlayfs needs beside the files while it writes to them.
const WORK: &str = "work";

#[derive(Debug)]
pub(super) struct Pool {
    dir: OwnedFd,
    path: PathBuf,
}

impl Pool {
    /// Opens the pool, and makes it if it is absent.
    pub(super) fn made(workspaces: &Workspaces) -> Result<Self, Error> {
        let path = workspaces.path.join("layers");
        let what = || format!("make `{}`", path.display());
        let dir = file::make_directory(workspaces.dir.as_fd(), "layers", OUR_DIRECTORY).doing(what)?;
        lock::make(dir.as_fd(), LOCK).doing(what)?;
        Ok(Self { dir, path })
    }

    /// While this is held, no layer is cleared away.
    pub(super) fn share(&self) -> Result<Lock, Error> {
        let locked = Lock::shared(self.dir.as_fd(), LOCK).doing(|| format!("lock `{}`", self.path.display()))?;
        let reason = "another process clears it up, and does not come to an end";
        locked.ok_or_else(|| Error::invalid(format!("the directory `{}`", self.path.display()), reason))
    }

    /// A new layer, without files and without a place for them.
    pub(super) fn make_empty(&self) -> Result<String, Error> {
        let made = || -> Result<String, Errno> {
            let id = limbo::fresh_name()?;
            rustix::fs::mkdirat(&self.dir, id.as_str(), OUR_DIRECTORY)?;
            rustix::fs::fsync(&self.dir)?;
            Ok(id)
        };
        made().doing(|| format!("make a layer in `{}`", self.path.display()))
    }

    /// A new layer without files. Its root is like another one: owner, permissions and time.
    pub(super) fn make(&self, like: BorrowedFd<'_>) -> Result<String, Error> {
        let id = self.make_empty()?;
        let made = || -> Result<(), Errno> {
            let stat = rustix::fs::fstat(like)?;
            let layer = file::open_directory(self.dir.as_fd(), &id)?;
            for name in [FILES, WORK] {
                let dir = file::make_directory(layer.as_fd(), name, OUR_DIRECTORY)?;
                own(dir.as_fd(), &stat)?;
                if name == FILES {
                    put_on(dir.as_fd(), &stat)?;
                }
            }
            // The sandbox's user goes through it to both.
            own(layer.as_fd(), &stat)?;
            rustix::fs::fsync(&layer)
        };
        made().doing(|| format!("make a layer in `{}`", self.path.display()))?;
        Ok(id)
    }

    /// The directory of a layer.
    pub(super) fn layer(&self, id: &str) -> Result<OwnedFd, Error> {
        file::open_directory(self.dir.as_fd(), id).doing(|| format!("open the layer `{id}`"))
    }

    /// The files of a layer.
    pub(super) fn files(&self, id: &str) -> Result<OwnedFd, Error> {
        let layer = self.layer(id)?;
        file::open_directory(layer.as_fd(), FILES).doing(|| format!("open the layer `{id}`"))
    }

    /// The path of a layer, for a job.
    pub(super) fn path(&self, id: &str) -> Result<AbsolutePath, Error> {
        absolute(self.path.join(id))
    }

    /// The path of a layer's files, for a job.
    pub(super) fn files_path(&self, id: &str) -> Result<AbsolutePath, Error> {
        absolute(self.path.join(id).join(FILES))
    }

    /// Gives the root of a layer what another has: permissions and times, which change as it is filled.
    pub(super) fn like(&self, id: &str, like: BorrowedFd<'_>) -> Result<(), Error> {
        let files = self.files(id)?;
        let given = rustix::fs::fstat(like).and_then(|stat| put_on(files.as_fd(), &stat));
        given.doing(|| format!("give the layer `{id}` its permissions"))
    }

    /// Removes a layer that nobody ever named.
    pub(super) fn remove_trial(&self, workspaces: &Workspaces, id: &str) -> Result<(), Error> {
        let what = || format!("remove the layer `{id}`");
        let half = Limbo::open(workspaces.dir.as_fd())?.take(self.dir.as_fd(), id, self.layer(id)?).doing(what)?;
        half.remove().doing(what)
    }

    /// Clears away the layers that nobody names, if nobody is at work on any. What can't be told is not cleared away.
    pub(super) fn sweep(&self, workspaces: &Workspaces) {
        let Ok(Some(alone)) = Lock::alone_briefly(self.dir.as_fd(), LOCK) else { return };
        let (Ok(limbo), Ok(used)) = (Limbo::open(workspaces.dir.as_fd()), used(workspaces)) else { return };
        let mut halves = Vec::new();
        for name in file::names(self.dir.as_fd()).unwrap_or_default() {
            let Ok(name) = name.into_string() else { continue };
            if name == LOCK || used.contains(&name) {
                continue;
            }
            let Ok(dir) = file::open_directory(self.dir.as_fd(), &name) else { continue };
            halves.extend(limbo.take(self.dir.as_fd(), &name, dir));
        }
        // Nobody finds them any more. To remove them takes its time.
        drop(alone);
        for half in halves {
            let _next_time = half.remove();
        }
    }
}

/// All layers that any workspace names.
///
/// # Errors
/// When something that is written down can't be read: then nobody knows.
fn used(workspaces: &Workspaces) -> Result<BTreeSet<String>, Error> {
    let mut used = BTreeSet::new();
    for key in workspaces.keys()? {
        let Some(place) = workspaces.find(&key)? else { continue };
        match place.record().and_then(|record| layered::thread(&place, &record)) {
            Ok(thread) => used.extend(thread.iter().flat_map(layered::layers).map(str::to_owned)),
            // Removed while we read it.
            Err(_) if !workspaces.is_current(&place)? => {}
            Err(error) => return Err(error),
        }
    }
    Ok(used)
}

/// Gives a directory of ours the owner that another has. Only root can, and for anybody else it is his own.
fn own(dir: BorrowedFd<'_>, like: &Stat) -> Result<(), Errno> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    rustix::fs::fchown(dir, Some(Uid::from_raw(like.st_uid)), Some(Gid::from_raw(like.st_gid)))
}

/// Gives a directory the permissions and the times that another has.
fn put_on(dir: BorrowedFd<'_>, like: &Stat) -> Result<(), Errno> {
    rustix::fs::fchmod(dir, Mode::from_raw_mode(like.st_mode & 0o7777))?;
    rustix::fs::futimens(dir, &times(like))
}

/// The times of a file.
pub(super) fn times(stat: &Stat) -> Timestamps {
    let time =
        |seconds, nanoseconds: u64| Timespec { tv_sec: seconds, tv_nsec: i64::try_from(nanoseconds).unwrap_or(0) };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Whether two directories' own owners and permissions are the same.
pub(super) fn is_alike(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Result<bool, Errno> {
    let key = |dir| rustix::fs::fstat(dir).map(|stat| (stat.st_mode, stat.st_uid, stat.st_gid));
    Ok(key(one)? == key(other)?)
}

fn absolute(path: PathBuf) -> Result<AbsolutePath, Error> {
    let shown = path.display().to_string();
    path.into_os_string()
        .into_string()
        .map_err(|_path| "it is not UTF-8".to_owned())
        .and_then(|text| AbsolutePath::try_from(text).map_err(|error| error.to_string()))
        .map_err(|reason| Error::invalid(format!("the path `{shown}`"), reason))
}

/// Moves a directory to be a layer's files, unless somebody has done so already.
pub(super) fn adopt(from: BorrowedFd<'_>, name: &str, layer: BorrowedFd<'_>) -> Result<(), Errno> {
    use rustix::fs::RenameFlags;
    match rustix::fs::renameat_with(from, name, layer, FILES, RenameFlags::NOREPLACE) {
        Ok(()) => {
            rustix::fs::fsync(layer)?;
            rustix::fs::fsync(from)
        }
        Err(Errno::NOENT) => rustix::fs::statat(layer, FILES, AtFlags::SYMLINK_NOFOLLOW).map(drop),
        Err(errno) => Err(errno),
    }
}
