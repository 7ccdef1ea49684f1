//! A workspace with checkpoints: its files are layers of the pool, and which ones is written down in its thread, together
//! with the checkpoints, so that one file tells all of it and changes as a whole.
//!
//! The directory that the files were in before is moved into the pool after that was written down; whoever comes next
//! does it, if the process that began was killed in between.

use super::error::{Doing, Error};
use super::lock::{self, Lock};
use super::pool::{self, Pool};
use super::record::{Layout, Record};
use super::state::{DATA, Place};
use crate::checkpoint::{self, Files, Thread, ThreadDir};
use pinfold_runner::{Layers, Workspace};
use std::os::fd::AsFd;

/// The directory of the thread, beside the record.
pub(super) const THREAD: &str = "thread";

/// What is written down of the layers of a workspace; `None` of one without checkpoints.
pub(super) fn thread(place: &Place, record: &Record) -> Result<Option<Thread>, Error> {
    if record.layout == Layout::Plain {
        return Ok(None);
    }
    let dir = directory(place)?;
    let thread = dir.read().map_err(of_workspace)?.filter(|thread| thread.files.is_some());
    thread.map(Some).ok_or_else(|| corrupt(place, "it does not tell of any files"))
}

/// Where the thread is.
pub(super) fn directory(place: &Place) -> Result<ThreadDir, Error> {
    let found = ThreadDir::existing(place.dir.as_fd(), THREAD, &place.path).map_err(of_workspace)?;
    found.ok_or_else(|| corrupt(place, "it is not there"))
}

fn corrupt(place: &Place, reason: &str) -> Error {
    Error::Corrupt { path: place.path.join(THREAD).join("thread.json"), reason: reason.to_owned() }
}

/// What keeps and reads threads has the errors of a workspace's store.
pub(super) fn of_workspace(error: checkpoint::Error) -> Error {
    match error {
        checkpoint::Error::Workspace(error) => error,
        other => Error::invalid("the checkpoints", other.to_string()),
    }
}

/// The files of a thread, which has some.
pub(super) fn files(thread: &Thread) -> Result<&Files, Error> {
    thread.files.as_ref().ok_or_else(|| Error::invalid("the checkpoints", "they have no files"))
}

/// All layers that a thread names.
pub(super) fn layers(thread: &Thread) -> impl Iterator<Item = &str> {
    let now = thread.files.iter().flat_map(|files| files.lower.iter().chain([&files.upper]).chain(&files.adopts));
    now.chain(thread.entries.iter().flat_map(|entry| &entry.layers)).map(String::as_str)
}

/// Moves the first files to their layer, if they are still where they were.
pub(super) fn settle(place: &Place, files: &Files, pool: &Pool) -> Result<(), Error> {
    let Some(layer) = &files.adopts else { return Ok(()) };
    let what = || format!("make a layer of `{}`", place.data_path().display());
    pool::adopt(place.dir.as_fd(), DATA, pool.layer(layer)?.as_fd()).doing(what)
}

/// What a job is to have for its workspace.
pub(super) fn workspace(files: &Files, pool: &Pool) -> Result<Workspace, Error> {
    if files.lower.is_empty() {
        return Ok(Workspace::Path(pool.files_path(&files.upper)?));
    }
    let lower = files.lower.iter().map(|layer| pool.files_path(layer)).collect::<Result<_, _>>()?;
    Ok(Workspace::Layered(Layers { path: pool.path(&files.upper)?, lower }))
}

/// Claims the layer that takes what is written, for as long as what is answered lives. overlayfs must have it once only
/// at a time, and what several would write to one is undefined.
pub(super) fn claim(id: &str, files: &Files, pool: &Pool) -> Result<Option<Lock>, Error> {
    if files.lower.is_empty() {
        return Ok(None);
    }
    let layer = pool.layer(&files.upper)?;
    let claimed = lock::claim_now(layer).doing(|| format!("lock the layer `{}`", files.upper))?;
    let why = "somebody works in it, and a workspace with checkpoints takes one at a time";
    claimed.map(Some).ok_or_else(|| Error::Busy { id: id.to_owned(), why })
}
