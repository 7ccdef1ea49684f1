//! Checkpoints of a workspace: its files with a state of the caller's. Saving, rolling back and forking copy nothing: the
//! files that were written to become a layer that stays as it is, and an empty one comes on top.

use super::diff::{self, Change};
use super::error::Error;
use super::key::Key;
use super::layered;
use super::limbo::Limbo;
use super::merge::Table;
use super::pool::Pool;
use super::record::{Layout, Record};
use super::session::Session;
use super::state::Workspaces;
use super::store::{self, Store};
use crate::checkpoint::{self, Cause, Checkpoint, Filter, New, Retention, States, Thread, ThreadDir, now_ms};
use rustix::io::Errno;
use serde_json::Value;
use std::os::fd::AsFd;

/// By what the files of a workspace are kept apart from those of its checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    /// Layers that the kernel shows as one directory (overlayfs): nothing is copied.
    Overlay,
    /// Copies, with shared blocks where the file system can: each takes as long as there are files.
    Copy,
}

/// What was saved, rolled back or forked.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Saved {
    /// The new checkpoint.
    pub checkpoint: Checkpoint,
    /// What a rollback or a fork saved before, since nobody had.
    pub automatic: Option<Checkpoint>,
    /// How.
    pub mechanism: Mechanism,
}

/// Stops the processes of a sandbox and lets them go on.
pub trait Freezer {
    /// Returns when no process of it runs any more.
    ///
    /// # Errors
    /// When that can't be had; then all of them run.
    fn freeze(&mut self) -> std::io::Result<()>;

    /// Lets all go on.
    ///
    /// # Errors
    /// When one can't.
    fn thaw(&mut self) -> std::io::Result<()>;
}

/// The checkpoints of one workspace: [`Store::checkpoints`].
#[derive(Clone, Debug)]
pub struct Checkpoints<'a> {
    store: &'a Store,
    id: &'a str,
}

impl Store {
    /// The checkpoints of a workspace.
    pub fn checkpoints<'a>(&'a self, id: &'a str) -> Checkpoints<'a> {
        Checkpoints { store: self, id }
    }
}

impl Checkpoints<'_> {
    /// Makes a workspace ready for checkpoints while a sandbox runs in it, before that starts. Nothing is copied; one that is
    /// ready stays as it is.
    ///
    /// # Errors
    /// [`Error::Busy`] when somebody works in it.
    pub fn prepare(&self) -> Result<Mechanism, checkpoint::Error> {
        // What is ready is so whoever works in it.
        if let Some(thread) = self.written()? {
            return Ok(mechanism(layered::files(&thread)?.lower.is_empty()));
        }
        let mut session = Session::begin(self.store, self.id, true)?;
        session.prepare()?;
        let is_copied = session.is_copied()?;
        Ok(mechanism(is_copied))
    }

    /// Saves the files as they are, with a state. With a retention, that is the thread's from now on.
    ///
    /// # Errors
    /// [`Error::Busy`] when somebody works in it, and those of [`Threads::save`](checkpoint::Threads::save).
    pub fn save(&self, new: &New, retention: Option<Retention>) -> Result<Saved, checkpoint::Error> {
        let mut session = Session::begin(self.store, self.id, true)?;
        session.prepare()?;
        let layers = session.freeze()?;
        self.finish(session, new, retention, layers)
    }

    /// Saves the files while a sandbox works in them. Its processes stand still while what was written since it started, or
    /// since the last save before that, is copied.
    ///
    /// # Errors
    /// As [`save`](Self::save), and [`Freeze`](checkpoint::Error::Freeze); [`Error::Busy`] when the sandbox started before
    /// the workspace was [prepared](Self::prepare).
    pub fn save_live(
        &self,
        new: &New,
        retention: Option<Retention>,
        freezer: &mut dyn Freezer,
    ) -> Result<Saved, checkpoint::Error> {
        let mut session = Session::begin(self.store, self.id, false)?;
        session.prepare()?;
        freezer.freeze().map_err(|source| checkpoint::Error::Freeze { what: "freeze", source })?;
        let copied = session.copy();
        freezer.thaw().map_err(|source| checkpoint::Error::Freeze { what: "thaw", source })?;
        self.finish(session, new, retention, copied?)
    }

    fn finish(
        &self,
        mut session: Session<'_>,
        new: &New,
        retention: Option<Retention>,
        layers: Vec<String>,
    ) -> Result<Saved, checkpoint::Error> {
        let (thread, _) = session.parts()?;
        thread.retention = retention.unwrap_or(thread.retention);
        let (before, parent) = (thread.entries.len(), thread.head().map(str::to_owned));
        let saved = session.append(new, parent.as_deref(), Cause::Save, layers)?;
        session.commit(&vec![(saved.id.clone(), new.state.clone())])?;
        let has_evicted = session.parts()?.0.entries.len() <= before;
        let mechanism = mechanism(session.is_copied()?);
        if has_evicted {
            session.end();
        }
        Ok(Saved { checkpoint: saved, automatic: None, mechanism })
    }

    /// All checkpoints, the newest first by default. One without any has none.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Corrupt`].
    pub fn list(&self, filter: Filter) -> Result<Vec<Checkpoint>, checkpoint::Error> {
        Ok(self.read()?.map(|thread| filter.apply(&thread)).unwrap_or_default())
    }

    /// One checkpoint with its state.
    ///
    /// # Errors
    /// [`NotFound`](checkpoint::Error::NotFound).
    pub fn get(&self, checkpoint: &str) -> Result<(Checkpoint, Value), checkpoint::Error> {
        let missing = || checkpoint::Error::NotFound { id: checkpoint.to_owned() };
        let thread = self.read()?.ok_or_else(missing)?;
        let state = self.state(checkpoint)?.ok_or_else(missing)?;
        Ok((thread.tell(thread.find(checkpoint)?), state))
    }

    /// What the thread keeps; the usual of one without checkpoints.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Corrupt`].
    pub fn retention(&self) -> Result<Retention, checkpoint::Error> {
        Ok(self.read()?.map(|thread| thread.retention).unwrap_or_default())
    }

    /// Names all files, directories and links that two checkpoints differ in. None for `from` is the one that the files go
    /// on from, none for `to` the files as they are now.
    ///
    /// # Errors
    /// [`NotFound`](checkpoint::Error::NotFound); [`Empty`](checkpoint::Error::Empty).
    pub fn diff(&self, from: Option<&str>, to: Option<&str>) -> Result<Vec<Change>, checkpoint::Error> {
        let key = Key::of(self.id)?;
        let workspaces = Workspaces::existing(&self.store.state)?.ok_or_else(|| Error::not_found(self.id))?;
        let in_use = workspaces.in_use(&key, self.id)?;
        let (place, _in_use) = in_use.ok_or_else(|| Error::not_found(self.id))?;
        let pool = Pool::made(&workspaces)?;
        // Read with that held, so that no layer that is named is cleared away meanwhile.
        let _shared = pool.share()?;
        let empty = || checkpoint::Error::Empty { thread: self.id.to_owned() };
        let thread = self.read()?.ok_or_else(empty)?;
        let files = layered::files(&thread)?;
        layered::settle(&place, files, &pool)?;
        let from = thread.find(from.or(thread.head()).ok_or_else(empty)?)?.layers.clone();
        let to = match to {
            Some(id) => thread.find(id)?.layers.clone(),
            None => [files.upper.clone()].into_iter().chain(files.lower.clone()).collect(),
        };
        let mut table = Table::default();
        let (from, to) = (table.open(&pool, &from)?, table.open(&pool, &to)?);
        Ok(diff::diff(&table, &from, &to)?)
    }

    /// Makes the files what they were. What is not saved is saved before, unless `discard`; what was saved later stays, as a
    /// branch. The new checkpoint has the old one for its parent, and the next one goes on from there.
    ///
    /// # Errors
    /// [`NotFound`](checkpoint::Error::NotFound); [`Error::Busy`] when somebody works in it.
    pub fn rollback(&self, checkpoint: &str, discard: bool) -> Result<Saved, checkpoint::Error> {
        let mut session = Session::begin(self.store, self.id, true)?;
        let missing = || checkpoint::Error::NotFound { id: checkpoint.to_owned() };
        if session.thread.is_none() {
            return Err(missing());
        }
        let target = session.find(checkpoint)?;
        let state = self.state(checkpoint)?.ok_or_else(missing)?;
        let (automatic, mut states) = if discard { (None, Vec::new()) } else { self.save_changes(&mut session)? };
        session.put_on(&target.layers)?;
        let new = New { state: state.clone(), step: Some(target.step), ..New::default() };
        let saved = session.append(&new, Some(checkpoint), Cause::Rollback, target.layers)?;
        states.push((saved.id.clone(), state));
        session.commit(&states)?;
        let mechanism = mechanism(session.is_copied()?);
        session.end();
        Ok(Saved { checkpoint: saved, automatic, mechanism })
    }

    /// Saves what nobody has saved, without a word to the disk. Of copies nobody knows whether they changed.
    fn save_changes(&self, session: &mut Session<'_>) -> Result<(Option<Checkpoint>, States), checkpoint::Error> {
        let base = session.files()?.base.clone();
        if session.is_on_base() && !session.has_changes()? {
            return Ok((None, Vec::new()));
        }
        let layers = match session.is_copied()? {
            // They are about to be left as they are.
            true => vec![session.files()?.upper.clone()],
            false => session.freeze()?,
        };
        let state = base.as_deref().map(|base| self.state(base)).transpose()?.flatten();
        let new = New { state: state.unwrap_or_default(), ..New::default() };
        let saved = session.append(&new, base.as_deref(), Cause::Automatic, layers)?;
        Ok((Some(saved.clone()), vec![(saved.id, new.state)]))
    }

    /// Makes another workspace that has the files of a checkpoint, or those of now, and shares their layers. What either of
    /// them changes, the other does not see.
    ///
    /// # Errors
    /// [`NotFound`](checkpoint::Error::NotFound); [`Error::Exists`]; [`Error::Busy`] when somebody works in it and no
    /// checkpoint is named.
    pub fn fork(&self, checkpoint: Option<&str>, to: &str) -> Result<Saved, checkpoint::Error> {
        let mut session = Session::begin(self.store, self.id, checkpoint.is_none())?;
        let key = Key::of(to)?;
        if session.workspaces.find(&key)?.is_some() {
            return Err(Error::Exists { id: to.to_owned() }.into());
        }
        let mut automatic = None;
        let origin = match checkpoint {
            Some(id) => session.find(id)?,
            None => {
                session.prepare()?;
                let (saved, states) = match session.is_copied()? {
                    true => {
                        let layers = session.freeze()?;
                        let base = session.files()?.base.clone();
                        let saved = session.append(&New::default(), base.as_deref(), Cause::Automatic, layers)?;
                        (Some(saved.clone()), vec![(saved.id, Value::Null)])
                    }
                    false => self.save_changes(&mut session)?,
                };
                if !states.is_empty() {
                    session.commit(&states)?;
                }
                automatic = saved;
                let base = session.files()?.base.clone().unwrap_or_default();
                session.find(&base)?
            }
        };
        let state = self.state(&origin.id)?.unwrap_or_default();
        let is_copied = session.is_copied()?;
        let mut files = session.on_top_of(&origin.layers, is_copied)?;
        let mut thread = Thread::new(to, session.parts()?.0.retention);
        let new =
            New { state: state.clone(), step: Some(origin.step), labels: origin.labels.clone(), ..New::default() };
        let mut entry = thread.entry(&new, None, Cause::Fork)?;
        entry.origin = Some(origin.id);
        entry.layers = origin.layers;
        files.base = Some(entry.id.clone());
        thread.files = Some(files);
        let saved = thread.append(entry)?;
        let mut record = Record::new(to, session.record.quota);
        record.layout = Layout::Layered;
        let limbo = Limbo::open(session.workspaces.dir.as_fd())?;
        let fresh = limbo.make()?;
        let path = session.workspaces.path.join(key.as_str());
        let dir = ThreadDir::made(fresh.dir(), layered::THREAD, &path)?;
        dir.write(&thread, &vec![(saved.id.clone(), state)])?;
        store::furnish(&fresh, &record, &path, false)?;
        match fresh.place(session.workspaces.dir.as_fd(), key.as_str()) {
            Ok(()) => Ok(Saved { checkpoint: saved, automatic, mechanism: mechanism(is_copied) }),
            Err(errno) => {
                let _next_time = fresh.remove();
                Err(match errno {
                    Errno::EXIST | Errno::NOTEMPTY => Error::Exists { id: to.to_owned() },
                    errno => Error::Io { what: format!("make `{}`", path.display()), source: errno.into() },
                }
                .into())
            }
        }
    }

    /// Removes a checkpoint. Files that others need stay; its children keep its id as their parent, as of one that is gone.
    ///
    /// # Errors
    /// [`NotFound`](checkpoint::Error::NotFound).
    pub fn remove(&self, checkpoint: &str) -> Result<(), checkpoint::Error> {
        let mut session = Session::begin(self.store, self.id, false)?;
        let missing = || checkpoint::Error::NotFound { id: checkpoint.to_owned() };
        session.parts().map_err(|_empty| missing())?.0.remove(checkpoint)?;
        session.commit(&Vec::new())?;
        session.end();
        Ok(())
    }

    /// Lets go of what has expired, and makes one layer of those that no checkpoint needs apart. Answers by how many layers
    /// there are less.
    ///
    /// # Errors
    /// [`Error::Busy`] when somebody works in it.
    pub fn compact(&self) -> Result<usize, checkpoint::Error> {
        let mut session = Session::begin(self.store, self.id, true)?;
        if session.thread.is_none() {
            return Ok(0);
        }
        session.parts()?.0.expire(now_ms());
        let less = session.compact()?;
        session.commit(&Vec::new())?;
        session.end();
        Ok(less)
    }

    fn written(&self) -> Result<Option<Thread>, Error> {
        let place = self.store.find(&Key::of(self.id)?, self.id)?;
        layered::thread(&place, &place.record()?)
    }

    /// As it is for whoever looks now: without what has expired.
    fn read(&self) -> Result<Option<Thread>, Error> {
        let mut thread = self.written()?;
        if let Some(thread) = &mut thread {
            thread.expire(now_ms());
        }
        Ok(thread)
    }

    fn state(&self, checkpoint: &str) -> Result<Option<Value>, checkpoint::Error> {
        let place = self.store.find(&Key::of(self.id)?, self.id)?;
        layered::directory(&place)?.state(checkpoint)
    }
}

fn mechanism(is_copied: bool) -> Mechanism {
    if is_copied { Mechanism::Copy } else { Mechanism::Overlay }
}
