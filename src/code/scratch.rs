//! Places on the host for compiled programs on their way from the sandbox that made them to the one that runs them. Each
//! belongs to one request and is locked by it; what a killed process left is cleared by the next one that starts.

use rustix::fs::{FlockOperation, Mode, OFlags};
use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The folder that holds them all: one user's, in the directory for temporary files.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

/// One request's place, removed when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    _lock: OwnedFd,
}

impl Scratch {
    /// Makes it or finds it, and clears what dead processes left in it.
    pub(super) fn open() -> io::Result<Self> {
        let user = rustix::process::geteuid().as_raw();
        let path = std::env::temp_dir().canonicalize()?.join(format!("pinfold-code-{user}"));
        make(&path, 0o700, io::ErrorKind::AlreadyExists)?;
        // Others may write to /tmp, and have been there first.
        let found = std::fs::symlink_metadata(&path)?;
        if !found.is_dir() || found.uid() != user || found.mode() & 0o077 != 0 {
            return Err(io::Error::other(format!("`{}` is somebody else's", path.display())));
        }
        let scratch = Self(path);
        scratch.sweep();
        Ok(scratch)
    }

    pub(super) fn place(&self) -> io::Result<Place> {
        loop {
            let mut random = [0; 16];
            rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
            let path = self.0.join(format!("{:032x}", u128::from_ne_bytes(random)));
            // Entered by the sandbox's own user: what keeps others out is the folder around it.
            make(&path, 0o755, io::ErrorKind::Other)?;
            // Whoever sweeps may have met it before we locked it; then it is gone, or about to be.
            if let Some(lock) = lock(&path)?
                && path.exists()
            {
                return Ok(Place { path, _lock: lock });
            }
        }
    }

    fn sweep(&self) {
        for entry in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
            if let Ok(Some(_lock)) = lock(&entry.path()) {
                // What can't be removed stays for the next time.
                let _next_time = std::fs::remove_dir_all(entry.path());
            }
        }
    }
}

impl Place {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What can't be removed is swept later.
        let _swept = std::fs::remove_dir_all(&self.path);
    }
}

fn make(path: &Path, mode: u32, forgiven: io::ErrorKind) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != forgiven => Err(error),
        _ => Ok(()),
    }
}

/// The lock on a directory, unless somebody has it or the directory is gone.
fn lock(path: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let locked = rustix::fs::open(path, flags, Mode::empty())
        .and_then(|dir| rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).map(|()| dir));
    match locked {
        Ok(dir) => Ok(Some(dir)),
        Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_stays_and_what_was_left_is_cleared() {
        let scratch = Scratch::open().unwrap();
        let used = scratch.place().unwrap();
        std::fs::write(used.path().join("program"), "").unwrap();
        let left = scratch.0.join("left-by-a-dead-process");
        std::fs::create_dir(&left).unwrap();
        let again = Scratch::open().unwrap();
        assert!(used.path().join("program").exists() && !left.exists());
        let path = used.path().to_owned();
        drop(used);
        assert!(!path.exists() && again.0.exists());
    }
}
