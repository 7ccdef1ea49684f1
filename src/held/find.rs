//! Which sandbox a name means, which ones live, and the sweep of those that died without a word.

use super::connect::is_readable;
use super::error::Error;
use super::log::files;
use super::name::Name;
use super::record::{Process, Record};
use super::runtime::{self, Runtime};
use crate::locate;
use crate::runner_process::Launcher;
use crate::workspace::file;
use crate::workspace::key::Key;
use crate::workspace::lock;
use crate::workspace::record::milliseconds;
use rustix::fs::AtFlags;
use rustix::process::{Signal, pidfd_send_signal};
use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

/// How long the runner of a dead keeper, and then its sandbox, may take to end by itself, and then to be killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the log of a sandbox that has ended is kept.
const KEPT: Duration = Duration::from_secs(3600);

/// A sandbox that lives, by what is written down of it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) key: Key,
    pub(crate) record: Record,
}

/// All sandboxes that live, by name. Broken records are told apart, and hide none.
pub(crate) fn living(runtime: &Runtime) -> Result<(Vec<Found>, Vec<Key>), Error> {
    let (mut whole, mut broken) = (Vec::new(), Vec::new());
    for key in runtime.keys()? {
        if !runtime.lives(&key) {
            continue;
        }
        match Record::read(runtime.dir(), &runtime::record(&key)) {
            Ok(record) => whole.push(Found { key, record }),
            // It is about to be there, or is just gone.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(_broken) => broken.push(key),
        }
    }
    whole.sort_by(|one, other| one.record.name.cmp(&other.record.name));
    Ok((whole, broken))
}

/// The one sandbox that a name, an id, or the beginning of an id means. A name comes first.
pub(crate) fn find(runtime: &Runtime, text: &str) -> Result<Found, Error> {
    // What can't be a name is no id either.
    let key = Name::try_from(text)?.key()?;
    if runtime.lives(&key)
        && let Ok(record) = Record::read(runtime.dir(), &runtime::record(&key))
    {
        return Ok(Found { key, record });
    }
    let mut found: Vec<_> = living(runtime)?.0.into_iter().filter(|found| found.record.id.starts_with(text)).collect();
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        (Some(_), false) => Err(Error::invalid(format!("`{text}`"), "several sandboxes have an id that begins so")),
        (None, _) => Err(Error::not_found(text)),
    }
}

/// The record of a sandbox that lives or lived, for its log: the newest that the text means.
pub(crate) fn remembered(runtime: &Runtime, text: &str) -> Result<Record, Error> {
    if let Ok(found) = find(runtime, text) {
        return Ok(found.record);
    }
    let logs = runtime.logs()?;
    let names = file::names(logs.as_fd()).map_err(|errno| Error::io("read the directory of logs", errno))?;
    let records = names.iter().filter_map(|name| name.to_str().ok().filter(|name| name.ends_with(".json")));
    let records = records.filter_map(|name| Record::read(logs.as_fd(), name).ok());
    let meant = records.filter(|record| record.name.as_str() == text || record.id.starts_with(text));
    // A name comes first here, too.
    meant.max_by_key(|record| (record.name.as_str() == text, record.created_ms)).ok_or_else(|| Error::not_found(text))
}

impl Runtime {
    /// Whether somebody holds the lock of that name: its keeper, or for a moment somebody who starts or sweeps it.
    pub(crate) fn lives(&self, key: &Key) -> bool {
        matches!(lock::Lock::is_held(self.dir(), &runtime::lock_file(key)), Ok(true))
    }

    /// Takes away what dead keepers left, and logs that are old.
    pub(crate) fn sweep(&self) -> Result<(), Error> {
        let mut died = false;
        for key in self.keys()? {
            if let Some(_lock) = self.claim(&key, false)? {
                died |= self.clear(&key)?;
                self.remove(&runtime::lock_file(&key))?;
            }
        }
        if died {
            sweep_slots();
        }
        self.forget_logs()
    }

    /// Takes away what a dead keeper left, whose lock is ours now. Nothing of its sandbox runs when this returns. True if it
    /// died without taking its own things away.
    pub(crate) fn clear(&self, key: &Key) -> Result<bool, Error> {
        let name = runtime::record(key);
        let died = match Record::read(self.dir(), &name) {
            Ok(record) => {
                end(record.runner);
                end(record.init);
                true
            }
            Err(error) => error.kind() != std::io::ErrorKind::NotFound,
        };
        for name in [runtime::socket(key), format!("{name}.new"), name] {
            self.remove(&name)?;
        }
        Ok(died)
    }

    /// Removes the logs of sandboxes that ended long ago.
    fn forget_logs(&self) -> Result<(), Error> {
        let logs = self.logs()?;
        let living: BTreeSet<_> = living(self)?.0.into_iter().map(|found| found.record.id).collect();
        let oldest = milliseconds(SystemTime::now().checked_sub(KEPT).unwrap_or(SystemTime::UNIX_EPOCH));
        let names = file::names(logs.as_fd()).map_err(|errno| Error::io("read the directory of logs", errno))?;
        for id in names.iter().filter_map(|name| name.to_str().ok()?.strip_suffix(".json")) {
            let [log, older, record] = files(id);
            let touched =
                [&log, &record].map(|name| file::stat(logs.as_fd(), name.as_str()).map_or(0, |stat| stat.st_mtime));
            let newest = touched.into_iter().max().and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0) * 1000;
            if living.contains(id) || newest >= oldest {
                continue;
            }
            for name in [log, older, record] {
                let _gone_already = rustix::fs::unlinkat(&logs, name, AtFlags::empty());
            }
        }
        Ok(())
    }
}

/// Waits for the end of the runner of a dead keeper, or of its sandbox. With the lifeline they end by themselves, or are made
/// to. Until then the sandbox has its slot, and no sweep takes that away.
fn end(process: Process) {
    let Some(pidfd) = process.open() else { return };
    if !is_readable(pidfd.as_fd(), PATIENCE) {
        let _gone = pidfd_send_signal(&pidfd, Signal::KILL);
        is_readable(pidfd.as_fd(), PATIENCE);
    }
}

/// Has the runner clear away what runners left that were killed.
fn sweep_slots() {
    if let Ok(launcher) = locate::find().and_then(Launcher::new) {
        launcher.sweep(PATIENCE);
    }
}
