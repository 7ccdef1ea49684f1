//! What is written down of a held sandbox that lives, and of one that lived. It lies where no sandbox can write, and is
//! replaced as a whole. That it is there says nothing: whether a sandbox lives is a lock's to tell.

use super::error::Error;
use super::name::Name;
use super::spec::Spec;
use crate::workspace::file;
use pinfold_runner::Isolation;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use std::os::fd::{BorrowedFd, OwnedFd};

/// The version of records that this build writes, and the newest that it reads.
const VERSION: u32 = 1;

/// The largest record in bytes: a job of 64 MiB has its files in it, which are left out.
const LARGEST: u64 = 4 << 20;

/// A process that is not confused with another one that has its number later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// When it started, in the kernel's ticks since the host did: proc_pid_stat(5), `starttime`.
    pub start: u64,
}

impl Process {
    /// The process that has this number now.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may have any character in it; `starttime` is the 22nd field, the name the 2nd.
        let start = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()?;
        Some(Self { pid, start })
    }

    /// A descriptor of it, if it runs still.
    pub(crate) fn open(self) -> Option<OwnedFd> {
        let pidfd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // Looked at when the descriptor is there, so that it can't be a stranger's that came between.
        (Self::of(self.pid)? == self).then_some(pidfd)
    }
}

/// What is written down of a held sandbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    version: u32,
    /// An id that no other sandbox ever had.
    pub id: String,
    /// Its name, which is its id where it was given none.
    pub name: Name,
    /// What was asked for, without files and stdin.
    pub spec: Spec,
    /// Its keeper.
    pub keeper: Process,
    /// Its runner.
    pub runner: Process,
    /// The first process inside: when it has ended, all have.
    pub init: Process,
    /// When it was started, in milliseconds since 1970.
    pub created_ms: u64,
    /// What is enforced.
    pub isolation: Isolation,
}

impl Record {
    pub(crate) fn new(
        id: String,
        name: Name,
        mut spec: Spec,
        (keeper, runner, init): (Process, Process, Process),
        created_ms: u64,
        isolation: Isolation,
    ) -> Self {
        spec.job.files.clear();
        spec.job.stdin = pinfold_runner::Content::default();
        Self { version: VERSION, id, name, spec, keeper, runner, init, created_ms, isolation }
    }

    /// Reads the record of that file.
    ///
    /// # Errors
    /// In words; also when it is not there.
    pub(crate) fn read(dir: BorrowedFd<'_>, file_name: &str) -> Result<Self, std::io::Error> {
        let bytes = file::read(dir, file_name, LARGEST)?;
        let record: Self = serde_json::from_slice(&bytes)?;
        if record.version != VERSION {
            let reason = format!("it is of version {}, and this program knows version {VERSION}", record.version);
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, reason));
        }
        Ok(record)
    }

    /// Replaces the record; it is on disk when this returns.
    pub(crate) fn write(&self, dir: BorrowedFd<'_>, file_name: &str) -> Result<(), Error> {
        let what = || format!("write the record of sandbox `{}`", self.name);
        let mut json = serde_json::to_vec(self).map_err(|error| Error::io(what(), error))?;
        json.push(b'\n');
        if json.len() as u64 > LARGEST {
            return Err(Error::invalid(what(), format!("it would have more than {LARGEST} bytes")));
        }
        file::replace(dir, file_name, &json).map_err(|error| Error::io(what(), error))
    }

    /// The id of its workspace, if that is one of a store.
    pub fn workspace(&self) -> Option<&str> {
        self.spec.workspace.as_ref().map(|workspace| workspace.id.as_str())
    }
}
