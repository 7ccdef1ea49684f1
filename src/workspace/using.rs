//! A workspace while somebody works in it: nobody removes it or replaces its files then.

use super::error::{Doing, Error};
use super::key::Key;
use super::layered;
use super::lock::Lock;
use super::pool::Pool;
use super::record::{Quota, Record};
use super::state::{self, Place, Workspaces};
use super::store::Store;
use super::tree::{self, Usage};
use super::view::{self, Wanted};
use crate::checkpoint::Files;
use crate::files::Tree;
use pinfold_runner::{AbsolutePath, Job, Limit, Workspace};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// The least that a job's limits can say.
const LEAST_BYTES: u64 = 4096;
const LEAST_INODES: u64 = 1;

/// A workspace in use, for as long as this lives. Any number of users may share one that has no checkpoints; one that has
/// some takes one at a time. It notes the time of use when it begins and when it ends.
#[derive(Debug)]
pub struct InUse {
    workspaces: Workspaces,
    place: Place,
    record: Record,
    files: Option<Files>,
    runner: Option<PathBuf>,
    /// The layer that takes what is written, ours by its lock.
    claim: Option<Lock>,
    lock: Lock,
}

impl Store {
    /// Opens a workspace for use.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Corrupt`], since nobody can tell its quota then; [`Error::Busy`] when somebody
    /// replaces the files and does not come to an end, and when it has checkpoints and somebody works in it.
    pub fn open(&self, id: &str) -> Result<InUse, Error> {
        self.open_for(id, true)
    }

    /// Opens a workspace to read its files. Others may write to them meanwhile.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for somebody who works in it.
    pub fn open_to_read(&self, id: &str) -> Result<InUse, Error> {
        self.open_for(id, false)
    }

    fn open_for(&self, id: &str, writes: bool) -> Result<InUse, Error> {
        let key = Key::of(id)?;
        let workspaces = Workspaces::existing(&self.state)?.ok_or_else(|| Error::not_found(id))?;
        let (place, lock) = workspaces.in_use(&key, id)?.ok_or_else(|| Error::not_found(id))?;
        let record = place.record()?;
        let thread = layered::thread(&place, &record)?;
        let files = thread.as_ref().map(layered::files).transpose()?.cloned();
        let mut claim = None;
        if let Some(files) = &files {
            let pool = Pool::made(&workspaces)?;
            layered::settle(&place, files, &pool)?;
            claim = if writes { layered::claim(id, files, &pool)? } else { None };
        }
        state::touch(lock.file());
        Ok(InUse { workspaces, place, record, files, runner: self.runner.clone(), claim, lock })
    }
}

impl InUse {
    /// What a job is to have for its workspace.
    ///
    /// # Errors
    /// When its path is none that a job can name.
    pub fn workspace(&self) -> Result<Workspace, Error> {
        match &self.files {
            Some(files) => layered::workspace(files, &Pool::made(&self.workspaces)?),
            None => Ok(Workspace::Path(path(self.place.data_path())?)),
        }
    }

    /// The files, confined. Of a workspace with checkpoints that was opened to read, they are read-only. As long as the tree
    /// or a clone of it lives, the workspace is in use.
    ///
    /// # Errors
    /// [`Error::Overlay`] when the layers of one with checkpoints can't be mounted.
    pub fn into_files(self) -> Result<Tree, Error> {
        let tree = Tree::from_descriptor(self.directory(self.claim.is_some())?);
        let tree = tree.map_err(|error| Error::invalid("the workspace's files", error.to_string()))?;
        Ok(tree.keeping(self))
    }

    /// The directory of the files.
    pub(super) fn directory(&self, writes: bool) -> Result<OwnedFd, Error> {
        let wanted = match self.workspace()? {
            Workspace::Layered(layers) if writes => {
                Wanted { path: Some(layers.path), lower: layers.lower, trial: false }
            }
            Workspace::Layered(layers) => {
                let upper = path(format!("{}/files", layers.path).into())?;
                Wanted { path: None, lower: [upper].into_iter().chain(layers.lower).collect(), trial: false }
            }
            _ => {
                let Some(files) = &self.files else { return self.place.data() };
                return Pool::made(&self.workspaces)?.files(&files.upper);
            }
        };
        let mount = view::mount(&wanted, self.runner.as_deref())?;
        // Handed out for looking only, as mounts are.
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&mount, ".", flags, rustix::fs::Mode::empty());
        let opened = opened.doing(|| "open the files of a workspace".to_owned())?;
        Ok(opened)
    }

    /// How much the workspace may hold.
    pub fn quota(&self) -> Quota {
        self.record.quota
    }

    /// Makes it a job's workspace. Of its quota the job gets what is left, where no limit is given.
    ///
    /// # Errors
    /// [`Error::Invalid`] when its path can't be a job's.
    pub fn put_into(&self, job: &mut Job) -> Result<(), Error> {
        job.workspace = self.workspace()?;
        let (limits, remaining) = (&mut job.limits, self.remaining()?);
        let at_least = |left: Option<u64>, least: u64| left.map(|left| Limit::At(left.max(least)));
        limits.workspace_bytes = limits.workspace_bytes.or(at_least(remaining.bytes, LEAST_BYTES));
        limits.workspace_inodes = limits.workspace_inodes.or(at_least(remaining.inodes, LEAST_INODES));
        Ok(())
    }

    /// What the files take now, those of checkpoints included. Looks at each of them.
    ///
    /// # Errors
    /// When they can't be found.
    pub fn usage(&self) -> Result<Usage, Error> {
        usage(&self.workspaces, &self.place, &self.record)
    }

    /// How much the quota leaves for a job to add, since a job's limits count only growth in a workspace that stays. The
    /// files are looked at only if there is a quota. Jobs that share the workspace at one time each get all of it.
    ///
    /// # Errors
    /// As [`usage`](Self::usage).
    pub fn remaining(&self) -> Result<Quota, Error> {
        let quota = self.record.quota;
        if quota == Quota::default() {
            return Ok(quota);
        }
        let usage = self.usage()?;
        let left = |most: Option<u64>, used: u64| most.map(|most| most.saturating_sub(used));
        Ok(Quota { bytes: left(quota.bytes, usage.bytes), inodes: left(quota.inodes, usage.inodes) })
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        state::touch(self.lock.file());
    }
}

fn path(path: PathBuf) -> Result<AbsolutePath, Error> {
    let shown = path.display().to_string();
    let refused = |reason: String| Error::invalid(format!("the path `{shown}`"), reason);
    let text = path.into_os_string().into_string().map_err(|_path| refused("it is not UTF-8".to_owned()))?;
    AbsolutePath::try_from(text).map_err(|error| refused(error.to_string()))
}

/// What all the files of a workspace take. A layer that a fork shares counts for each.
pub(super) fn usage(workspaces: &Workspaces, place: &Place, record: &Record) -> Result<Usage, Error> {
    let Some(thread) = layered::thread(place, record)? else { return Ok(tree::usage(&[place.data()?.as_fd()])) };
    let pool = Pool::made(workspaces)?;
    layered::settle(place, layered::files(&thread)?, &pool)?;
    let ids: BTreeSet<_> = layered::layers(&thread).collect();
    let roots = ids.into_iter().map(|id| pool.files(id)).collect::<Result<Vec<_>, _>>()?;
    Ok(tree::usage(&roots.iter().map(AsFd::as_fd).collect::<Vec<_>>()))
}
