//! The runtime directory: where the sockets, records and locks of this user's sandboxes are. It belongs to this user, and
//! nobody else may enter it.
//!
//! ```text
//! <key>.lock    held by the keeper for as long as it lives; `key` is the SHA-256 of the sandbox's name
//! <key>.sock    where the keeper listens
//! <key>.json    the record
//! logs/<id>.log, logs/<id>.log.1, logs/<id>.json    the log, and the record once more, which outlive the sandbox
//! ```

use super::error::Error;
use crate::workspace::file::{self, DIRECTORY, OUR_DIRECTORY};
use crate::workspace::key::Key;
use crate::workspace::lock;
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The runtime directory that the environment names: `$PINFOLD_RUNTIME_DIR`, else `$XDG_RUNTIME_DIR/pinfold`, else
/// `/run/pinfold` for root and `/tmp/pinfold-UID` for everybody else.
pub(crate) fn from_environment() -> PathBuf {
    if let Some(path) = std::env::var_os("PINFOLD_RUNTIME_DIR").filter(|path| !path.is_empty()) {
        return PathBuf::from(path);
    }
    // A relative one is to be ignored: XDG Base Directory Specification.
    let xdg = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    match xdg {
        Some(path) => path.join("pinfold"),
        None if geteuid().is_root() => PathBuf::from("/run/pinfold"),
        None => PathBuf::from(format!("/tmp/pinfold-{}", geteuid().as_raw())),
    }
}

/// The open runtime directory.
#[derive(Debug)]
pub(crate) struct Runtime {
    dir: OwnedFd,
}

impl Runtime {
    /// Opens the directory at this absolute path, and makes it if it is absent and `make` says so.
    pub(crate) fn open(path: &Path, make: bool) -> Result<Option<Self>, Error> {
        let what = || format!("open the runtime directory `{}`", path.display());
        if !path.is_absolute() {
            return Err(Error::invalid(
                format!("the runtime directory `{}`", path.display()),
                "its path must be absolute",
            ));
        }
        let mut opened = rustix::fs::open(path, DIRECTORY, Mode::empty());
        if matches!(opened, Err(Errno::NOENT)) && make {
            // Its parent must be there, unless it is a place that we chose: a typo makes no directories.
            match rustix::fs::mkdir(path, OUR_DIRECTORY) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(Error::io(what(), errno)),
            }
            opened = rustix::fs::open(path, DIRECTORY, Mode::empty());
        }
        match opened {
            Ok(dir) => Self::of(dir, path).map(Some),
            Err(Errno::NOENT) if !make => Ok(None),
            Err(errno) => Err(Error::io(what(), errno)),
        }
    }

    /// Looks at the directory that was opened, not at what its path leads to next.
    fn of(dir: OwnedFd, path: &Path) -> Result<Self, Error> {
        let stat =
            rustix::fs::fstat(&dir).map_err(|errno| Error::io(format!("look at `{}`", path.display()), errno))?;
        if stat.st_uid != geteuid().as_raw() || stat.st_mode & 0o077 != 0 {
            let reason = "it must belong to you, and nobody else may read, write or enter it (mode 0700)";
            return Err(Error::invalid(format!("the runtime directory `{}`", path.display()), reason));
        }
        Ok(Self { dir })
    }

    /// The directory that a keeper was handed.
    pub(crate) fn inherited(dir: OwnedFd) -> Result<Self, Error> {
        Self::of(dir, Path::new("."))
    }

    /// The same directory once more.
    pub(crate) fn again(&self) -> Result<Self, Error> {
        self.dir.try_clone().map(|dir| Self { dir }).map_err(|error| Error::io("share the runtime directory", error))
    }

    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// The address of a sandbox's socket: through our own descriptor of the directory, so that it fits into 108 bytes
    /// however long the path of the directory is: unix(7), `sun_path`.
    pub(crate) fn address(&self, key: &Key) -> Result<SocketAddr, Error> {
        let path = format!("/proc/self/fd/{}/{}", self.dir.as_raw_fd(), socket(key));
        SocketAddr::from_pathname(path).map_err(|error| Error::io("name the socket", error))
    }

    /// The keys of all locks: of what lives, and of what died without saying so.
    pub(crate) fn keys(&self) -> Result<Vec<Key>, Error> {
        let names = file::names(self.dir()).map_err(|errno| Error::io("read the runtime directory", errno))?;
        Ok(names.iter().filter_map(|name| Key::parse(name.to_bytes().strip_suffix(b".lock")?)).collect())
    }

    /// The directory of logs, made if it is absent.
    pub(crate) fn logs(&self) -> Result<OwnedFd, Error> {
        file::make_directory(self.dir(), "logs", OUR_DIRECTORY)
            .map_err(|errno| Error::io("make the directory of logs", errno))
    }

    /// Removes a file; one that is not there is removed already.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Error> {
        match rustix::fs::unlinkat(&self.dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Error::io(format!("remove `{name}`"), errno)),
        }
    }

    /// Takes the lock of a sandbox that does not live, if it does not; its file is made if `make` says so.
    pub(crate) fn claim(&self, key: &Key, make: bool) -> Result<Option<OwnedFd>, Error> {
        let (name, what) = (lock_file(key), || "lock a sandbox's name".to_owned());
        loop {
            if make {
                lock::make(self.dir(), &name).map_err(|errno| Error::io(what(), errno))?;
            }
            let lock = match lock::file_alone_now(self.dir(), &name) {
                Ok(Some(lock)) => lock,
                Ok(None) => return Ok(None),
                Err(Errno::NOENT) if make => continue,
                Err(Errno::NOENT) => return Ok(None),
                Err(errno) => return Err(Error::io(what(), errno)),
            };
            // Its owner may have removed it between our open and our lock.
            match (file::stat(self.dir(), name.as_str()), rustix::fs::fstat(&lock)) {
                (Ok(there), Ok(ours)) if file::is_same(&there, &ours) => return Ok(Some(lock)),
                _ if make => {}
                _ => return Ok(None),
            }
        }
    }
}

pub(crate) fn lock_file(key: &Key) -> String {
    format!("{}.lock", key.as_str())
}

pub(crate) fn socket(key: &Key) -> String {
    format!("{}.sock", key.as_str())
}

pub(crate) fn record(key: &Key) -> String {
    format!("{}.json", key.as_str())
}
