//! The sessions that their users ended before they were over: one empty file each, in a directory that all servers of a state
//! directory share. So nobody who kept a cookie is let in again, here or elsewhere, and no start forgets it.

use super::session::LASTS;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const DIRECTORY: &str = "server.ended";

/// How many of one owner are remembered until they would be over by themselves.
const MOST: usize = 10_000;

/// The directory, which is made when the first is ended.
#[derive(Debug)]
pub(in crate::server) struct Ended(PathBuf);

impl Ended {
    pub(in crate::server) fn below(state: &Path) -> Self {
        Self(state.join(DIRECTORY))
    }

    /// Whether it was ended. What can't be told counts as ended.
    pub(super) fn has(&self, session: &str) -> bool {
        self.0.join(session).try_exists().unwrap_or(true)
    }

    /// Remembers that it was ended, on disk; `false` where its owner has ended too many. A session's name is
    /// `OWNER.EXPIRES.RANDOM`.
    pub(super) fn add(&self, session: &str, now: u64) -> io::Result<bool> {
        if let Err(error) = DirBuilder::new().mode(0o700).create(&self.0)
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(error);
        }
        let owner = session.split('.').next().unwrap_or_default();
        if self.sweep(owner, now)? >= MOST {
            return Ok(false);
        }
        match File::options().write(true).create_new(true).mode(0o600).open(self.0.join(session)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        for directory in self.0.ancestors().take(2) {
            File::open(directory)?.sync_all()?;
        }
        Ok(true)
    }

    /// Forgets what is over by itself, and tells how many others are this owner's. It waits for a day more, lest a clock that
    /// is set back revive one.
    fn sweep(&self, owner: &str, now: u64) -> io::Result<usize> {
        let mut count = 0;
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let name = entry.file_name();
            let mut parts = name.to_str().unwrap_or_default().split('.');
            let (of, expires) = (parts.next(), parts.next().and_then(|expires| expires.parse::<u64>().ok()));
            match expires {
                Some(expires) if expires.saturating_add(LASTS) <= now => {
                    let _another_server_was_faster = fs::remove_file(entry.path());
                }
                _ => count += usize::from(of == Some(owner)),
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state directory of one test's own.
    struct State(PathBuf);

    impl State {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pinfold-ended-{}-{name}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for State {
        fn drop(&mut self) {
            let _left_behind = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_was_ended_stays_so_until_it_is_over_and_one_owner_has_no_more_than_a_share() {
        let state = State::new("share");
        let ended = Ended::below(&state.0);
        assert!(!ended.has("ann.1000.a"));
        assert!(ended.add("ann.1000.a", 900).unwrap() && ended.add("ann.1000.a", 900).unwrap());
        let another = Ended::below(&state.0);
        assert!(another.has("ann.1000.a") && !another.has("ann.1000.b") && !another.has("bob.1000.a"));
        for number in 1..MOST {
            File::create(state.0.join(DIRECTORY).join(format!("ann.1000.{number}"))).unwrap();
        }
        assert!(!another.add("ann.1000.more", 900).unwrap() && another.add("bob.1000.a", 900).unwrap());
        assert!(another.add("ann.200000.a", 1000 + LASTS).unwrap());
        assert!(!ended.has("ann.1000.a") && !ended.has("bob.1000.a") && ended.has("ann.200000.a"));
    }

    #[test]
    fn what_can_not_be_told_counts_as_ended() {
        let state = State::new("file");
        fs::write(state.0.join(DIRECTORY), "no directory").unwrap();
        let ended = Ended::below(&state.0);
        assert!(ended.has("ann.1000.a") && ended.add("ann.1000.a", 900).is_err());
    }
}
