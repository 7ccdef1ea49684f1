//! A change of a workspace's checkpoints in the making: all locks held, what is written down read, and one write that makes
//! it true. Layers that are made before it and not named by it are cleared away some time.

use super::error::{Doing, Error};
use super::file;
use super::flatten::{self, How};
use super::key::Key;
use super::layered;
use super::lock::Lock;
use super::merge::{Merged, Table};
use super::pool::{self, Pool};
use super::record::{Layout, Record};
use super::state::{Place, Workspaces};
use super::store::{self, Store};
use super::view::{self, Wanted};
use crate::checkpoint::{self, Cause, Checkpoint, Entry, Files, New, States, Thread, ThreadDir};
use pinfold_runner::{AbsolutePath, MAX_LAYERS};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// As many layers may lie below before they are made fewer: some less than a job may have.
const DEEPEST: usize = MAX_LAYERS - 8;

pub(super) struct Session<'a> {
    store: &'a Store,
    pub(super) id: &'a str,
    pub(super) workspaces: Workspaces,
    pub(super) place: Place,
    pub(super) record: Record,
    pub(super) pool: Pool,
    pub(super) thread: Option<Thread>,
    shared: Lock,
    alone: Option<Lock>,
    _locked: Lock,
}

impl<'a> Session<'a> {
    /// Begins one; with `alone` only if nobody works in the workspace, and nobody does until it ends.
    pub(super) fn begin(store: &'a Store, id: &'a str, alone: bool) -> Result<Self, Error> {
        let workspaces = Workspaces::existing(&store.state)?.ok_or_else(|| Error::not_found(id))?;
        let (place, locked) = workspaces.locked(&Key::of(id)?, id)?.ok_or_else(|| Error::not_found(id))?;
        let alone = if alone { Some(store::alone(&place, id)?) } else { None };
        let pool = Pool::made(&workspaces)?;
        let shared = pool.share()?;
        let record = place.record()?;
        let thread = layered::thread(&place, &record)?;
        if let Some(files) = thread.as_ref().and_then(|thread| thread.files.as_ref()) {
            layered::settle(&place, files, &pool)?;
        }
        Ok(Self { store, id, workspaces, place, record, pool, thread, shared, alone, _locked: locked })
    }

    /// The thread, and the files in it.
    pub(super) fn parts(&mut self) -> Result<(&mut Thread, &Pool), checkpoint::Error> {
        let empty = || checkpoint::Error::Empty { thread: self.id.to_owned() };
        let thread = self.thread.as_mut().ok_or_else(empty)?;
        Ok((thread, &self.pool))
    }

    pub(super) fn files(&self) -> Result<&Files, Error> {
        match &self.thread {
            Some(thread) => layered::files(thread),
            None => Err(Error::invalid("the checkpoints", "there are none")),
        }
    }

    /// Whether each checkpoint is a copy, since no overlay can be had here.
    pub(super) fn is_copied(&self) -> Result<bool, Error> {
        Ok(self.files()?.lower.is_empty())
    }

    /// Turns the directory of files into the lowest layer, with an empty one on top. Nothing is copied.
    pub(super) fn prepare(&mut self) -> Result<(), checkpoint::Error> {
        if self.thread.is_some() {
            return Ok(());
        }
        if self.alone.is_none() {
            let why = "somebody works in it, and it had no layers when he began";
            return Err(Error::Busy { id: self.id.to_owned(), why }.into());
        }
        let data = self.place.data()?;
        let has_overlays = self.has_overlays(data.as_fd())?;
        let lowest = self.pool.make_empty()?;
        let mut files = Files { upper: lowest.clone(), lower: Vec::new(), base: None, adopts: Some(lowest.clone()) };
        if has_overlays {
            files.upper = self.pool.make(data.as_fd())?;
            files.lower = vec![lowest];
        }
        let mut thread = Thread::new(self.id, checkpoint::Retention::default());
        thread.files = Some(files.clone());
        let dir = ThreadDir::made(self.place.dir.as_fd(), layered::THREAD, &self.place.path)?;
        dir.write(&thread, &Vec::new())?;
        self.record.layout = Layout::Layered;
        // From here on it has layers.
        self.place.write(&self.record)?;
        layered::settle(&self.place, &files, &self.pool)?;
        self.thread = Some(thread);
        Ok(())
    }

    /// Whether overlays can be had here, found out by making one.
    fn has_overlays(&self, data: BorrowedFd<'_>) -> Result<bool, Error> {
        if rustix::process::geteuid().is_root() && !maps_layers() {
            return Ok(false);
        }
        let trial = self.pool.make(data)?;
        let lower = AbsolutePath::try_from(self.place.data_path().display().to_string());
        let lower = lower.map_err(|error| Error::invalid("the workspace's path", error.to_string()))?;
        let wanted = Wanted { path: Some(self.pool.path(&trial)?), lower: vec![lower], trial: true };
        let mounted = view::mount(&wanted, self.store.runner.as_deref());
        let removed = self.pool.remove_trial(&self.workspaces, &trial);
        match mounted {
            Ok(_mount) => removed.map(|()| true),
            Err(Error::Overlay { is_denied: true, .. }) => removed.map(|()| false),
            Err(error) => Err(error),
        }
    }

    /// Whether the layers below are those of the checkpoint that the files go on from. After a save of files in use they are
    /// older, and an empty layer above them may mean that what was saved has been removed since.
    pub(super) fn is_on_base(&self) -> bool {
        let thread = self.thread.as_ref();
        let parts = thread.and_then(|thread| thread.files.as_ref().map(|files| (thread, files)));
        parts.is_some_and(|(thread, files)| {
            let base = files.base.as_deref().and_then(|base| thread.find(base).ok());
            base.is_some_and(|base| base.layers == files.lower)
        })
    }

    /// Whether something was written since the layers below were made.
    pub(super) fn has_changes(&self) -> Result<bool, Error> {
        let files = self.files()?;
        let Some(below) = files.lower.first() else { return Ok(true) };
        let (upper, below) = (self.pool.files(&files.upper)?, self.pool.files(below)?);
        let looked = || -> Result<bool, Errno> {
            Ok(!file::names(upper.as_fd())?.is_empty() || !pool::is_alike(upper.as_fd(), below.as_fd())?)
        };
        looked().doing(|| "look for changes".to_owned())
    }

    /// The files as they are now as layers that stay as they are, and what takes their place as those that are written to.
    pub(super) fn freeze(&mut self) -> Result<Vec<String>, Error> {
        let files = self.files()?.clone();
        if files.lower.is_empty() {
            return Ok(vec![self.copy_of(&[files.upper], false)?]);
        }
        if !self.has_changes()? {
            return Ok(files.lower);
        }
        let upper = self.pool.make(self.pool.files(&files.upper)?.as_fd())?;
        let layers: Vec<_> = [files.upper].into_iter().chain(files.lower).collect();
        self.put(Files { upper, lower: layers.clone(), ..self.files()?.clone() });
        Ok(layers)
    }

    /// The same of files that somebody writes to but for now: the uppermost layer is copied, and stays in use.
    pub(super) fn copy(&self) -> Result<Vec<String>, Error> {
        let files = self.files()?.clone();
        if !files.lower.is_empty() && !self.has_changes()? {
            return Ok(files.lower);
        }
        let keep_marks = !files.lower.is_empty();
        let copy = self.copy_of(&[files.upper], keep_marks)?;
        Ok([copy].into_iter().chain(files.lower).collect())
    }

    /// Puts files that can be written to on top of layers.
    pub(super) fn put_on(&mut self, layers: &[String]) -> Result<(), Error> {
        let is_copied = self.is_copied()?;
        let fresh = self.on_top_of(layers, is_copied)?;
        self.put(fresh);
        Ok(())
    }

    /// New files that can be written to, on top of layers or as a copy of them.
    pub(super) fn on_top_of(&self, layers: &[String], is_copied: bool) -> Result<Files, Error> {
        let first = layers.first().ok_or_else(|| Error::invalid("the checkpoint", "it has no layers"))?;
        if is_copied {
            let upper = self.copy_of(layers, false)?;
            return Ok(Files { upper, lower: Vec::new(), base: None, adopts: None });
        }
        let upper = self.pool.make(self.pool.files(first)?.as_fd())?;
        Ok(Files { upper, lower: layers.to_vec(), base: None, adopts: None })
    }

    fn put(&mut self, fresh: Files) {
        if let Some(files) = self.thread.as_mut().and_then(|thread| thread.files.as_mut()) {
            files.upper = fresh.upper;
            files.lower = fresh.lower;
            files.adopts = None;
        }
    }

    fn copy_of(&self, layers: &[String], keep_marks: bool) -> Result<String, Error> {
        self.flattened(layers, How::Copy, keep_marks)
    }

    /// One new layer of several.
    pub(super) fn flattened(&self, layers: &[String], how: How, keep_marks: bool) -> Result<String, Error> {
        let mut table = Table::default();
        let numbers = table.open(&self.pool, layers)?;
        let first = numbers.first().map(|number| table.root(*number).as_fd());
        let first = first.ok_or_else(|| Error::invalid("the checkpoint", "it has no layers"))?;
        let id = self.pool.make(first)?;
        let target: OwnedFd = self.pool.files(&id)?;
        flatten::flatten(&table, &numbers, &target, how, keep_marks)?;
        self.pool.like(&id, first)?;
        Ok(id)
    }

    /// The files of the layer that takes what is written.
    pub(super) fn uppermost(&self) -> Result<OwnedFd, Error> {
        self.pool.files(&self.files()?.upper)
    }

    /// Refuses files that would be replaced, unless they may be.
    pub(super) fn check_empty(&self, replace: bool) -> Result<(), Error> {
        let files = self.files()?;
        let layers: Vec<_> = [files.upper.clone()].into_iter().chain(files.lower.clone()).collect();
        let mut table = Table::default();
        let numbers = table.open(&self.pool, &layers)?;
        let is_hidden = |merged: &Merged| matches!(merged, Merged::Hidden);
        if replace || table.entries(&numbers, b"")?.values().all(is_hidden) {
            return Ok(());
        }
        Err(Error::NotEmpty { id: self.id.to_owned() })
    }

    /// Makes a directory the files, with nothing of what was there before; that stays in the checkpoints.
    pub(super) fn replace(&mut self, from: BorrowedFd<'_>, name: &str) -> Result<(), Error> {
        let lowest = self.pool.make_empty()?;
        let adopted = pool::adopt(from, name, self.pool.layer(&lowest)?.as_fd());
        adopted.doing(|| "make a layer of what was unpacked".to_owned())?;
        let (mut upper, mut lower) = (lowest.clone(), Vec::new());
        if !self.is_copied()? {
            upper = self.pool.make(self.pool.files(&lowest)?.as_fd())?;
            lower.push(lowest);
        }
        self.put(Files { upper, lower, base: None, adopts: None });
        self.commit(&Vec::new()).map_err(layered::of_workspace)
    }

    /// A new entry with these layers, at the end of the thread.
    pub(super) fn append(
        &mut self,
        new: &New,
        parent: Option<&str>,
        cause: Cause,
        layers: Vec<String>,
    ) -> Result<Checkpoint, checkpoint::Error> {
        let (thread, _) = self.parts()?;
        let mut entry = thread.entry(new, parent, cause)?;
        entry.layers = layers;
        if cause == Cause::Rollback {
            entry.origin = entry.parent.clone();
        }
        thread.append(entry)
    }

    /// What is written down becomes this, all at once.
    pub(super) fn commit(&mut self, states: &States) -> Result<(), checkpoint::Error> {
        if self.alone.is_some() && self.files()?.lower.len() > DEEPEST {
            self.compact()?;
        }
        if let Some(thread) = &self.thread {
            layered::directory(&self.place)?.write(thread, states)?;
        }
        self.place.touch();
        Ok(())
    }

    /// Makes the layers fewer, without a word to the disk.
    pub(super) fn compact(&mut self) -> Result<usize, Error> {
        super::compact::compact(self, DEEPEST)
    }

    /// Ends it, and clears away the layers that nobody names any more.
    pub(super) fn end(self) {
        let Self { workspaces, pool, shared, alone, _locked, .. } = self;
        drop((shared, alone, _locked));
        pool.sweep(&workspaces);
    }

    /// The entry of a checkpoint that has not expired.
    pub(super) fn find(&mut self, id: &str) -> Result<Entry, checkpoint::Error> {
        let (thread, _) = self.parts()?;
        thread.expire(checkpoint::now_ms());
        thread.find(id).cloned()
    }
}

/// Whether overlayfs takes idmapped layers, which those of root's sandboxes are: Linux 5.19. What we try has none.
fn maps_layers() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-', '+']).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (5, 19)
}
