//! What is written down of a workspace. The record lies beside the directory that sandboxes see, never in it.

use super::error::{Doing, Error};
use super::file;
use super::key::Key;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::SystemTime;

/// The version of records that this build writes, and the newest that it reads.
const VERSION: u32 = 1;

/// The largest record in bytes: some hundred thousand holders.
const LARGEST: u64 = 64 << 20;

const NAME: &str = "record.json";

/// How much a workspace may hold. `None` means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Bytes, counted as [`Usage`](super::Usage) counts them.
    pub bytes: Option<u64>,
    /// Files, directories and links.
    pub inodes: Option<u64>,
}

/// How the files of a workspace lie on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Layout {
    /// In one directory, `data`.
    Plain,
    /// In layers, which the thread of its checkpoints names.
    Layered,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    version: u32,
    pub(super) layout: Layout,
    /// As the caller gave it.
    pub(super) id: String,
    /// When it was made, in milliseconds since 1970.
    pub(super) created_ms: u64,
    pub(super) holders: BTreeSet<String>,
    pub(super) quota: Quota,
}

impl Record {
    pub(super) fn new(id: &str, quota: Quota) -> Self {
        let created_ms = milliseconds(SystemTime::now());
        Self { version: VERSION, layout: Layout::Plain, id: id.to_owned(), created_ms, holders: BTreeSet::new(), quota }
    }

    /// Reads the record of the workspace in `dir`, whose path is `path`.
    pub(super) fn read(dir: BorrowedFd<'_>, path: &Path, key: &Key) -> Result<Self, Error> {
        let corrupt = |reason: String| Error::Corrupt { path: path.join(NAME), reason };
        let bytes = file::read(dir, NAME, LARGEST).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => corrupt("it is not there".to_owned()),
            _ => corrupt(error.to_string()),
        })?;
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?;
        if version != VERSION {
            return Err(corrupt(format!("it is of version {version}, and this program knows version {VERSION}")));
        }
        let record: Self = serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?;
        if Key::of(&record.id)? != *key {
            return Err(corrupt("it is the record of another workspace".to_owned()));
        }
        Ok(record)
    }

    /// Replaces the record; it is on disk when this returns.
    pub(super) fn write(&self, dir: BorrowedFd<'_>, path: &Path) -> Result<(), Error> {
        let what = || format!("write `{}`", path.join(NAME).display());
        let mut json = serde_json::to_vec(self).map_err(std::io::Error::from).doing(what)?;
        json.push(b'\n');
        if json.len() as u64 > LARGEST {
            return Err(Error::invalid("the record", format!("it would have more than {LARGEST} bytes")));
        }
        file::replace(dir, NAME, &json).doing(what)
    }
}

/// Milliseconds since 1970; a clock before that is at 0.
pub(crate) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
