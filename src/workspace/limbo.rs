//! Workspaces on their way in or out: made here before they are moved to their place as a whole, and moved here as a
//! whole before they are removed. So a place is never half made or half removed, and what a killed process left here is
//! cleared by the next one: whoever gets the lock of a directory here may remove it.

use super::error::{Doing, Error};
use super::file::{self, OUR_DIRECTORY};
use super::{lock, tree};
use rustix::fs::AtFlags;
use rustix::io::Errno;
use rustix::rand::GetRandomFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The directory in which they are.
pub(crate) struct Limbo(OwnedFd);

/// A directory in limbo, ours by its lock.
pub(crate) struct Half {
    limbo: OwnedFd,
    name: String,
    dir: OwnedFd,
}

impl Limbo {
    pub(crate) fn open(workspaces: BorrowedFd<'_>) -> Result<Self, Error> {
        file::make_directory(workspaces, "limbo", OUR_DIRECTORY).map(Self).doing(|| "make `limbo`".to_owned())
    }

    /// Makes an empty directory here.
    pub(crate) fn make(&self) -> Result<Half, Error> {
        let made = || -> Result<Half, Errno> {
            loop {
                let name = fresh_name()?;
                rustix::fs::mkdirat(&self.0, name.as_str(), OUR_DIRECTORY)?;
                // Whoever clears up may have met it before we locked it; then it is gone.
                if let Some(half) = self.claim(&name)? {
                    return Ok(half);
                }
            }
        };
        made().doing(|| "make a directory in `limbo`".to_owned())
    }

    /// Moves `name` of `from`, which is open as `dir`, here. From then on it is nowhere else.
    pub(crate) fn take(&self, from: BorrowedFd<'_>, name: &str, dir: OwnedFd) -> Result<Half, Errno> {
        // Locked before it comes, so that nobody else clears it up. Whoever clears up may have the lock for a moment, if he
        // met it when it was made here; then two may come to remove it, which does no harm.
        let _locked = lock::claim(dir.as_fd())?;
        let fresh = fresh_name()?;
        rustix::fs::renameat(from, name, &self.0, fresh.as_str())?;
        rustix::fs::fsync(from)?;
        Ok(Half { limbo: self.0.try_clone().map_err(errno)?, name: fresh, dir })
    }

    /// Removes what dead processes left. What can't be removed stays for the next time: it hinders nobody.
    pub(crate) fn sweep(&self) {
        for name in file::names(self.0.as_fd()).unwrap_or_default() {
            let Ok(name) = name.into_string() else { continue };
            if let Ok(Some(half)) = self.claim(&name) {
                let _next_time = half.remove();
            }
        }
    }

    fn claim(&self, name: &str) -> Result<Option<Half>, Errno> {
        let absent = |errno| if errno == Errno::NOENT { Ok(None) } else { Err(errno) };
        let dir = match file::open_directory(self.0.as_fd(), name) {
            Ok(dir) => dir,
            Err(errno) => return absent(errno),
        };
        if !lock::claim(dir.as_fd())? {
            return Ok(None);
        }
        // Its owner may have moved or removed it between our open and our lock.
        match file::stat(self.0.as_fd(), name) {
            Ok(there) if file::is_same(&there, &rustix::fs::fstat(&dir)?) => {
                Ok(Some(Half { limbo: self.0.try_clone().map_err(errno)?, name: name.to_owned(), dir }))
            }
            Ok(_another) => Ok(None),
            Err(errno) => absent(errno),
        }
    }
}

impl Half {
    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Moves it to its place. A workspace has files, so one that is there already is never replaced: rename(2).
    pub(crate) fn place(&self, to: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
        rustix::fs::renameat(&self.limbo, self.name.as_str(), to, name)?;
        rustix::fs::fsync(to)
    }

    /// Removes it, with everything in it.
    pub(crate) fn remove(&self) -> Result<(), Errno> {
        let cleared = tree::clear(self.dir.as_fd());
        match cleared.and_then(|()| rustix::fs::unlinkat(&self.limbo, self.name.as_str(), AtFlags::REMOVEDIR)) {
            // Somebody who clears up was at it too, and faster.
            Err(Errno::NOENT) => Ok(()),
            other => other,
        }
    }

    /// Its name in limbo, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

pub(crate) fn fresh_name() -> Result<String, Errno> {
    let mut bytes = [0u8; 16];
    rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
