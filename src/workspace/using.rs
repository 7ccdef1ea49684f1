//! A workspace while somebody works in it: nobody removes it or replaces its files then.

use super::error::Error;
use super::key::Key;
use super::lock::Lock;
use super::record::Quota;
use super::state::{self, Workspaces};
use super::store::Store;
use super::tree::{self, Usage};
use crate::files::Tree;
use pinfold_runner::{AbsolutePath, Job, Limit, Workspace};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The least that a job's limits can say.
const LEAST_BYTES: u64 = 4096;
const LEAST_INODES: u64 = 1;

/// A workspace in use, for as long as this lives. Any number of users may share one. It notes the time of use when it
/// begins and when it ends.
#[derive(Debug)]
pub struct InUse {
    path: PathBuf,
    quota: Quota,
    pub(super) data: OwnedFd,
    lock: Lock,
}

impl Store {
    /// Opens a workspace for use.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Corrupt`], since nobody can tell its quota then; [`Error::Busy`] when somebody
    /// replaces the files and does not come to an end.
    pub fn open(&self, id: &str) -> Result<InUse, Error> {
        let key = Key::of(id)?;
        let workspaces = Workspaces::existing(&self.state)?.ok_or_else(|| Error::not_found(id))?;
        let (place, lock) = workspaces.in_use(&key, id)?.ok_or_else(|| Error::not_found(id))?;
        let record = place.record()?;
        state::touch(lock.file());
        Ok(InUse { path: place.data_path(), quota: record.quota, data: place.data()?, lock })
    }
}

impl InUse {
    /// The absolute path of the files: the workspace of a job.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files, confined. As long as the tree or a clone of it lives, the workspace is in use.
    ///
    /// # Errors
    /// When there are no more descriptors to be had.
    pub fn into_files(self) -> Result<Tree, crate::files::Error> {
        let tree = Tree::open(format!("/proc/self/fd/{}", self.data.as_raw_fd()))?;
        Ok(tree.keeping(self))
    }

    /// How much the workspace may hold.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// Makes it a job's workspace. Of its quota the job gets what is left, where no limit is given.
    ///
    /// # Errors
    /// [`Error::Invalid`] when its path can't be a job's.
    pub fn put_into(&self, job: &mut Job) -> Result<(), Error> {
        let path = self.path.to_str().map(AbsolutePath::try_from).and_then(Result::ok);
        let path = path.ok_or_else(|| Error::invalid("the workspace's path", "it is not UTF-8"))?;
        job.workspace = Workspace::Path(path);
        let (limits, remaining) = (&mut job.limits, self.remaining());
        let at_least = |left: Option<u64>, least: u64| left.map(|left| Limit::At(left.max(least)));
        limits.workspace_bytes = limits.workspace_bytes.or(at_least(remaining.bytes, LEAST_BYTES));
        limits.workspace_inodes = limits.workspace_inodes.or(at_least(remaining.inodes, LEAST_INODES));
        Ok(())
    }

    /// What the files take now. Looks at each of them.
    pub fn usage(&self) -> Usage {
        tree::usage(self.data.as_fd())
    }

    /// How much the quota leaves for a job to add, since a job's limits count only growth in a workspace that stays. The
    /// files are looked at only if there is a quota. Jobs that share the workspace at one time each get all of it.
    pub fn remaining(&self) -> Quota {
        if self.quota == Quota::default() {
            return self.quota;
        }
        let usage = self.usage();
        let left = |most: Option<u64>, used: u64| most.map(|most| most.saturating_sub(used));
        Quota { bytes: left(self.quota.bytes, usage.bytes), inodes: left(self.quota.inodes, usage.inodes) }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        state::touch(self.lock.file());
    }
}
