//! The store: making, finding, listing and removing workspaces. Who refers to them is in `references`.

use super::error::{Doing, Error};
use super::file::{self, OUR_DIRECTORY};
use super::holders::Holders;
use super::key::Key;
use super::limbo::{Half, Limbo};
use super::lock::{self, Lock};
use super::pool::Pool;
use super::record::{Layout, Quota, Record, milliseconds};
use super::state::{self, DATA, LOCK, Place, USE, Workspaces};
use super::tree::Usage;
use super::using;
use rustix::fs::Mode;
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// All workspaces below one state directory. Nothing is kept in memory: the disk is the truth, and any number of stores in
/// any number of processes may be at work on it.
///
/// Every call blocks for as long as the disk takes; in an async program call it where blocking is allowed.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) state: PathBuf,
    pub(super) runner: Option<PathBuf>,
}

/// A workspace as it is told.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Info {
    /// As the caller gave it.
    pub id: String,
    /// The name of its directory in the store.
    pub key: String,
    /// The absolute path of the files. Of one with checkpoints it is not there: its files are in layers.
    pub path: PathBuf,
    /// Whether it has checkpoints, or is ready for them.
    pub has_layers: bool,
    /// Who refers to it, in order.
    pub holders: BTreeSet<String>,
    /// How much it may hold.
    pub quota: Quota,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// When somebody last worked in it, in milliseconds since 1970.
    pub last_used_ms: u64,
}

/// One line of a list: a workspace, or a place whose record can't be read.
#[derive(Debug)]
pub enum Listed {
    /// A workspace.
    Workspace(Info),
    /// A broken one: the name of its directory, and what is wrong.
    Broken {
        /// The name of its directory in the store, to remove it by.
        key: String,
        /// The absolute path of its directory.
        path: PathBuf,
        /// What is wrong: always [`Error::Corrupt`] or [`Error::Io`].
        error: Error,
    },
}

/// Which workspaces a [`Store::prune`] removed, by id, and which it could not.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Removed.
    pub removed: Vec<String>,
    /// Old enough and unreferenced, but not removed, and why; broken ones are not among them.
    pub failed: Vec<(String, Error)>,
}

impl Store {
    /// The store of this user: below `$PINFOLD_STATE_DIR`, else `$XDG_STATE_HOME/pinfold`, else `/var/lib/pinfold` for
    /// root and `~/.local/state/pinfold` for everybody else. Nothing is made before something is written.
    ///
    /// # Errors
    /// When no such directory can be told, or its path is not absolute or not UTF-8.
    pub fn new() -> Result<Self, Error> {
        Self::at(state::from_environment()?)
    }

    /// The store below a state directory, which must belong to this user alone or be absent.
    ///
    /// # Errors
    /// When the path is not absolute or not UTF-8.
    pub fn at(state: impl Into<PathBuf>) -> Result<Self, Error> {
        let state = state.into();
        if !state.is_absolute() || state.to_str().is_none() {
            let reason = "its path must be absolute and UTF-8";
            return Err(Error::invalid(format!("the state directory `{}`", state.display()), reason));
        }
        Ok(Self { state, runner: None })
    }

    /// With this runner, which shows the files of workspaces with checkpoints, instead of the one beside the program or on
    /// `PATH`.
    #[must_use]
    pub fn with_runner(mut self, runner: impl Into<PathBuf>) -> Self {
        self.runner = Some(runner.into());
        self
    }

    /// The state directory, which need not be there yet.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Makes the workspace if it is absent, and tells where its files are. Of one that is there nothing changes, but for
    /// the quota, if one is given.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it is there and its record can't be read.
    pub fn create(&self, id: &str, quota: Option<Quota>) -> Result<PathBuf, Error> {
        let key = Key::of(id)?;
        let workspaces = Workspaces::made(&self.state)?;
        let limbo = Limbo::open(workspaces.dir.as_fd())?;
        limbo.sweep();
        loop {
            if let Some(path) = existing(&workspaces, &key, id, quota)? {
                return Ok(path);
            }
            let fresh = limbo.make()?;
            let path = workspaces.path.join(key.as_str());
            let what = || format!("make `{}`", path.display());
            furnish(&fresh, &Record::new(id, quota.unwrap_or_default()), &path, true)?;
            match fresh.place(workspaces.dir.as_fd(), key.as_str()) {
                Ok(()) => return Ok(path.join(DATA)),
                // Somebody else was faster.
                Err(Errno::EXIST | Errno::NOTEMPTY) => fresh.remove().doing(what)?,
                Err(errno) => return Err(errno).doing(what),
            }
        }
    }

    /// Where the files of a workspace are. Changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Corrupt`].
    pub fn path(&self, id: &str) -> Result<PathBuf, Error> {
        self.show(id).map(|info| info.path)
    }

    /// What there is to tell of one workspace. Changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Corrupt`].
    pub fn show(&self, id: &str) -> Result<Info, Error> {
        let key = Key::of(id)?;
        let place = self.find(&key, id)?;
        info(&place, place.record()?)
    }

    /// What the files of a workspace take on disk, those of its checkpoints included. Looks at each of them.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Corrupt`].
    pub fn usage(&self, id: &str) -> Result<Usage, Error> {
        let workspaces = Workspaces::existing(&self.state)?.ok_or_else(|| Error::not_found(id))?;
        let (place, _in_use) = workspaces.in_use(&Key::of(id)?, id)?.ok_or_else(|| Error::not_found(id))?;
        using::usage(&workspaces, &place, &place.record()?)
    }

    /// All workspaces, by id, and after them the broken ones. Changes nothing.
    ///
    /// # Errors
    /// When the store as a whole can't be read.
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        let Some(workspaces) = Workspaces::existing(&self.state)? else { return Ok(Vec::new()) };
        let (mut whole, mut broken) = (Vec::new(), Vec::new());
        for key in workspaces.keys()? {
            let read = workspaces.find(&key).and_then(|place| {
                let Some(place) = place else { return Ok(None) };
                match place.record().and_then(|record| info(&place, record)) {
                    // Removed while we read it.
                    Err(_) if !workspaces.is_current(&place)? => Ok(None),
                    other => other.map(Some),
                }
            });
            match read {
                Ok(Some(info)) => whole.push(info),
                Ok(None) => {}
                Err(error) => broken.push(Listed::Broken {
                    path: workspaces.path.join(key.as_str()),
                    key: key.to_string(),
                    error,
                }),
            }
        }
        whole.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(whole.into_iter().map(Listed::Workspace).chain(broken).collect())
    }

    /// Removes a workspace and its files. With `force` also one that is referred to, whose references go with it, and one
    /// whose record is broken, and the held sandboxes of this user that live in it are ended first; but never one in which a
    /// job works.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::ReferencesHeld`], [`Error::Corrupt`], [`Error::Busy`]. With [`Error::Io`] the
    /// workspace is gone, if its files could only partly be removed: the next call that changes the store tries again.
    pub fn remove(&self, id: &str, force: bool) -> Result<(), Error> {
        if force {
            crate::held::leave(&self.state, id);
        }
        self.remove_by(&Key::of(id)?, id, |record| match record {
            _ if force => Ok(()),
            Ok(record) if record.holders.is_empty() => Ok(()),
            Ok(record) => {
                let holders = record.holders.iter().cloned().collect();
                Err(Error::ReferencesHeld { id: id.to_owned(), holders })
            }
            Err(error) => Err(error),
        })
    }

    /// Removes a broken workspace by the name of its directory, for when nobody knows its id any more.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is not broken, else as [`remove`](Self::remove) with `force`.
    pub fn remove_broken(&self, key: &str) -> Result<(), Error> {
        let not = |reason: &str| Error::invalid(format!("the key `{}`", key.escape_debug()), reason);
        let parsed = Key::parse(key.as_bytes()).ok_or_else(|| not("it must be 64 digits of a hexadecimal number"))?;
        self.remove_by(&parsed, key, |record| match record {
            Ok(_) => Err(not("its workspace is not broken; remove it by its id")),
            Err(_) => Ok(()),
        })
    }

    /// Removes every workspace that nobody refers to, that nobody works in, and that was last used longer ago than
    /// `older_than`. Broken ones stay.
    ///
    /// # Errors
    /// When the store as a whole can't be read.
    pub fn prune(&self, older_than: Duration) -> Result<Pruned, Error> {
        let mut pruned = Pruned::default();
        let Some(workspaces) = Workspaces::existing(&self.state)? else { return Ok(pruned) };
        Limbo::open(workspaces.dir.as_fd())?.sweep();
        let oldest = milliseconds(SystemTime::now().checked_sub(older_than).unwrap_or(SystemTime::UNIX_EPOCH));
        // A time that can't be told is 0, and no reason to remove anything.
        let is_old = |place: &Place| (1..oldest).contains(&place.last_used_ms());
        for key in workspaces.keys()? {
            let Ok(Some(place)) = workspaces.find(&key) else { continue };
            let (true, Ok(record)) = (is_old(&place), place.record()) else { continue };
            if !record.holders.is_empty() {
                continue;
            }
            // What was true without the locks is looked at again with them.
            let removed = self.remove_checked(&workspaces, &key, &record.id, |place, record| match record {
                Ok(record) if record.holders.is_empty() && is_old(place) => Ok(()),
                _ => Err(Error::Busy { id: String::new(), why: "it was used meanwhile" }),
            });
            match removed {
                Ok(()) => pruned.removed.push(record.id),
                Err(Error::Busy { .. } | Error::NotFound { .. }) => {}
                Err(error) => pruned.failed.push((record.id, error)),
            }
        }
        Ok(pruned)
    }

    /// The folder for what all workspaces may read: `shared` beside them, made if it is absent. Nothing mounts it by
    /// itself.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn shared(&self) -> Result<PathBuf, Error> {
        let workspaces = Workspaces::made(&self.state)?;
        let path = workspaces.path.join("shared");
        // Readable for everybody, since in a sandbox of root's another uid reads it; on the host nobody gets here.
        let made = file::make_directory(workspaces.dir.as_fd(), "shared", Mode::from_raw_mode(0o755));
        made.doing(|| format!("make `{}`", path.display()))?;
        Ok(path)
    }

    /// The workspace that must be there.
    pub(super) fn find(&self, key: &Key, id: &str) -> Result<Place, Error> {
        let workspaces = Workspaces::existing(&self.state)?.ok_or_else(|| Error::not_found(id))?;
        workspaces.find(key)?.ok_or_else(|| Error::not_found(id))
    }

    pub(super) fn remove_by(
        &self,
        key: &Key,
        id: &str,
        allowed: impl Fn(Result<&Record, Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let workspaces = Workspaces::existing(&self.state)?.ok_or_else(|| Error::not_found(id))?;
        Limbo::open(workspaces.dir.as_fd())?.sweep();
        self.remove_checked(&workspaces, key, id, |_, record| allowed(record))
    }

    /// Removes a workspace if it is allowed to, which is asked with all locks held.
    fn remove_checked(
        &self,
        workspaces: &Workspaces,
        key: &Key,
        id: &str,
        allowed: impl Fn(&Place, Result<&Record, Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (place, locked) = workspaces.locked(key, id)?.ok_or_else(|| Error::not_found(id))?;
        let record = place.record();
        let holders = record.as_ref().map(|record| record.holders.clone()).unwrap_or_default();
        allowed(&place, record.as_ref().map_err(|error| again(error, &place)))?;
        let alone = alone(&place, id)?;
        let path = place.path;
        let what = || format!("remove `{}`", path.display());
        let half =
            Limbo::open(workspaces.dir.as_fd())?.take(workspaces.dir.as_fd(), key.as_str(), place.dir).doing(what)?;
        // It is gone. What follows takes its time, and needs no lock: nobody finds it here.
        drop((locked, alone));
        forget(workspaces, &holders)?;
        let has_layers = record.is_ok_and(|record| record.layout == Layout::Layered);
        half.remove().doing(|| format!("remove all of it: the rest is in `limbo/{}`", half.name()))?;
        if has_layers {
            Pool::made(workspaces)?.sweep(workspaces);
        }
        Ok(())
    }
}

/// Nobody else works in it as long as this lives.
pub(super) fn alone(place: &Place, id: &str) -> Result<Lock, Error> {
    let lock = match Lock::alone_briefly(place.dir.as_fd(), USE) {
        Err(Errno::NOENT) => {
            lock::make(place.dir.as_fd(), USE).and_then(|()| Lock::alone_briefly(place.dir.as_fd(), USE))
        }
        other => other,
    };
    lock.doing(|| format!("lock `{}`", place.path.display()))?
        .ok_or_else(|| Error::Busy { id: id.to_owned(), why: "somebody works in it" })
}

/// An error of the record once more, since it can be told only once.
fn again(error: &Error, place: &Place) -> Error {
    match error {
        Error::Corrupt { path, reason } => Error::Corrupt { path: path.clone(), reason: reason.clone() },
        other => Error::Corrupt { path: place.path.clone(), reason: other.to_string() },
    }
}

/// The path of a workspace that is there, its quota set if there is one to set.
fn existing(workspaces: &Workspaces, key: &Key, id: &str, quota: Option<Quota>) -> Result<Option<PathBuf>, Error> {
    let Some((place, _locked)) = workspaces.locked(key, id)? else { return Ok(None) };
    let mut record = place.record()?;
    if let Some(quota) = quota.filter(|quota| *quota != record.quota) {
        record.quota = quota;
        place.write(&record)?;
    }
    Ok(Some(place.data_path()))
}

/// Puts into a new directory everything that a workspace has. All of it is on disk when this returns.
pub(super) fn furnish(fresh: &Half, record: &Record, path: &Path, with_data: bool) -> Result<(), Error> {
    let made = || -> Result<(), Errno> {
        lock::make(fresh.dir(), LOCK)?;
        lock::make(fresh.dir(), USE)?;
        if with_data { make_data(fresh).map(drop) } else { Ok(()) }
    };
    made().doing(|| format!("make `{}`", path.display()))?;
    record.write(fresh.dir(), path)
}

/// An empty directory for files. What a sandbox sees has the mode that a temporary workspace has, whatever our umask is.
pub(super) fn make_data(fresh: &Half) -> Result<std::os::fd::OwnedFd, Errno> {
    let data = file::make_directory(fresh.dir(), DATA, OUR_DIRECTORY)?;
    rustix::fs::fchmod(&data, Mode::from_raw_mode(0o755))?;
    Ok(data)
}

fn info(place: &Place, record: Record) -> Result<Info, Error> {
    Ok(Info {
        id: record.id,
        key: place.key.to_string(),
        path: place.data_path(),
        has_layers: record.layout == Layout::Layered,
        holders: record.holders,
        quota: record.quota,
        created_ms: record.created_ms,
        last_used_ms: place.last_used_ms(),
    })
}

/// Takes holders out of the index whose workspace is gone.
fn forget(workspaces: &Workspaces, holders: &BTreeSet<String>) -> Result<(), Error> {
    let Some(index) = Holders::existing(workspaces)? else { return Ok(()) };
    for name in holders {
        let holder = Key::of(name)?;
        let _locked = index.lock(&holder, name)?;
        index.forget(&holder, name)?;
    }
    Ok(())
}
