//! Copying files out of the workspace when nothing of the sandbox runs any more. What is there was made by a program
//! that nobody trusts: no link is followed, only regular files are read, and everything has a budget.

use crate::failure::{At, Step, StepError};
use crate::owners::Owners;
use crate::sys::file::{self, Resolve};
use crate::sys::{self, Errno};
use crate::tree;
use crate::view::below_writable;
use pinfold_runner::{ArtifactError, ArtifactErrorCode, ArtifactFile, Artifacts, Content, Job};
use sha2::{Digest, Sha256};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Budgets of one job's artifacts.
const MOST_FILES: usize = 100_000;
const MOST_ERRORS: usize = 1000;
/// Of all paths together in the answer, where a byte may take six characters: so much that every supervisor takes it.
const MOST_ANSWER: usize = 16 << 20;
const MOST_BYTES: u64 = 16 << 30;
const DEEPEST: usize = 64;
const LONGEST: Duration = Duration::from_secs(300);

/// The artifact directory, opened before the command runs.
pub(crate) struct Destination {
    dir: OwnedFd,
}

impl Destination {
    /// Opens the directory, makes it if it is absent, and refuses one that the command could write to.
    pub(crate) fn open(job: &Job, artifacts: &Artifacts) -> Result<Self, StepError> {
        let path = artifacts.directory.as_str();
        if let Some((source, _)) = below_writable(job, path) {
            return refuse(path, source);
        }
        let real = real_path(Path::new(path)).at(Step::OpenArtifactDirectory, path)?;
        let writable = job.mounts.iter().filter(|mount| mount.writable).map(|mount| &mount.source);
        for source in job.workspace.written().chain(writable) {
            let source_path = std::fs::canonicalize(source.as_str()).at(Step::OpenSource, source.as_str())?;
            if real.starts_with(&source_path) {
                return refuse(path, source.as_str());
            }
        }
        std::fs::create_dir_all(&real).at(Step::OpenArtifactDirectory, path)?;
        let dir = file::open(&real.to_string_lossy(), tree::DIRECTORY).at(Step::OpenArtifactDirectory, path)?;
        Ok(Self { dir })
    }
}

fn refuse<T>(path: &str, source: &str) -> Result<T, StepError> {
    let operand = format!("{path}, which the command could write to through {source}");
    Err(Errno(libc::EPERM)).at(Step::OpenArtifactDirectory, operand)
}

/// Where a path leads of which the last parts may not exist yet.
fn real_path(path: &Path) -> std::io::Result<PathBuf> {
    match std::fs::canonicalize(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => Ok(real_path(parent)?.join(name)),
            _ => Err(error),
        },
        other => other,
    }
}

/// What was copied and what was not.
#[derive(Default)]
pub(crate) struct Collected {
    pub(crate) files: Vec<ArtifactFile>,
    pub(crate) errors: Vec<ArtifactError>,
}

/// Copies everything that `artifacts` names from `workspace`.
pub(crate) fn collect(
    artifacts: &Artifacts,
    workspace: BorrowedFd<'_>,
    destination: &Destination,
    owners: &Owners,
) -> Collected {
    let mut collector = Collector {
        workspace,
        destination: destination.dir.as_fd(),
        owners,
        done: Collected::default(),
        bytes: 0,
        answer: 0,
        entries: 0,
        deadline: Instant::now() + LONGEST,
        exhausted: false,
    };
    for path in &artifacts.paths {
        let parts: Result<Vec<CString>, Errno> = path.as_str().split('/').map(sys::c_string).collect();
        if let Ok(parts) = parts {
            collector.path(parts);
        }
    }
    collector.done
}

struct Collector<'a> {
    workspace: BorrowedFd<'a>,
    destination: BorrowedFd<'a>,
    owners: &'a Owners,
    done: Collected,
    bytes: u64,
    answer: usize,
    entries: usize,
    deadline: Instant,
    exhausted: bool,
}

/// Why one entry was not copied.
type Refusal = (ArtifactErrorCode, Option<Errno>);

fn refusal(errno: Errno) -> Refusal {
    let code = match errno.0 {
        libc::ENOENT | libc::ENOTDIR => ArtifactErrorCode::Missing,
        libc::ELOOP => ArtifactErrorCode::Symlink,
        libc::EEXIST => ArtifactErrorCode::Exists,
        libc::ENXIO => ArtifactErrorCode::Special,
        _ => return (ArtifactErrorCode::Io, Some(errno)),
    };
    (code, None)
}

impl Collector<'_> {
    /// Copies the file, or the folder with all in it. What waits is one list of names for each folder on the way, not on
    /// the stack, and bounded: what the command left must not decide how much memory this takes.
    fn path(&mut self, parts: Vec<CString>) {
        let mut waiting: Vec<(Vec<CString>, Vec<CString>)> = Vec::new();
        let mut next = Some(parts);
        while let Some(parts) = next.take().or_else(|| next_of(&mut waiting)) {
            if self.exhausted {
                return;
            }
            match self.entry(&parts) {
                Ok(names) if names.is_empty() => {}
                Ok(names) => waiting.push((parts, names)),
                Err((code, errno)) => {
                    let errno = errno.map(Errno::name);
                    self.done.errors.push(ArtifactError { path: join(&parts), code, errno });
                    self.exhausted |= self.done.errors.len() >= MOST_ERRORS;
                }
            }
        }
    }

    /// Copies one entry. For a folder, the names in it.
    fn entry(&mut self, parts: &[CString]) -> Result<Vec<CString>, Refusal> {
        self.entries += 1;
        self.answer += 6 * parts.iter().map(|part| part.as_bytes().len() + 1).sum::<usize>();
        let budget = [
            (self.answer > MOST_ANSWER, ArtifactErrorCode::TooMany, true),
            (parts.len() > DEEPEST, ArtifactErrorCode::TooDeep, false),
            (self.entries > MOST_FILES, ArtifactErrorCode::TooMany, true),
            (Instant::now() > self.deadline, ArtifactErrorCode::TooSlow, true),
            (self.owners.say_stop(), ArtifactErrorCode::Cancelled, true),
        ];
        if let Some((_, code, ends_all)) = budget.into_iter().find(|(is_passed, ..)| *is_passed) {
            self.exhausted |= ends_all;
            return Err((code, None));
        }
        let path = CString::new(join(parts).0).map_err(|nul| {
            let _position = nul.nul_position();
            (ArtifactErrorCode::Missing, None)
        })?;
        // O_NONBLOCK: a FIFO opens at once, and is refused below; O_NOFOLLOW is for the last component.
        let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        let source = file::openat2(self.workspace, &path, flags, 0, Resolve::BeneathSameMount).map_err(refusal)?;
        let stat = file::fstat(source.as_fd()).map_err(refusal)?;
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFDIR => self.names(source.as_fd()),
            libc::S_IFREG => self.copy(parts, &source, stat.st_mode & 0o100 != 0).map(|()| Vec::new()),
            _ => Err((ArtifactErrorCode::Special, None)),
        }
    }

    /// The names in a folder, as long as there are not too many of them.
    fn names(&mut self, dir: BorrowedFd<'_>) -> Result<Vec<CString>, Refusal> {
        let mut names = Vec::new();
        while let Some(more) = file::next_names(dir).map_err(refusal)? {
            names.extend(more);
            if self.entries + names.len() > MOST_FILES {
                self.exhausted = true;
                return Err((ArtifactErrorCode::TooMany, None));
            }
        }
        Ok(names)
    }

    fn copy(&mut self, parts: &[CString], source: &OwnedFd, executable: bool) -> Result<(), Refusal> {
        let (name, parents) = parts.split_last().ok_or((ArtifactErrorCode::Missing, None))?;
        let mut dir = self.destination.try_clone_to_owned().map_err(|error| refusal(error.into()))?;
        for parent in parents {
            match file::mkdirat(dir.as_fd(), parent, 0o755) {
                Ok(()) | Err(Errno(libc::EEXIST)) => {}
                Err(errno) => return Err(refusal(errno)),
            }
            let flags = libc::O_PATH | libc::O_DIRECTORY;
            dir = file::openat2(dir.as_fd(), parent, flags, 0, Resolve::BeneathNoSymlinks).map_err(refusal)?;
        }
        // O_EXCL: nothing that is there already is ever touched, a link neither.
        let (flags, mode) = (libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL, if executable { 0o755 } else { 0o644 });
        let target = file::openat2(dir.as_fd(), name, flags, mode, Resolve::BeneathNoSymlinks).map_err(refusal)?;
        match self.pour(source, &target) {
            Ok((bytes, sha256)) => {
                self.done.files.push(ArtifactFile { path: join(parts), bytes, sha256, executable });
                Ok(())
            }
            Err(error) => {
                // Half a file must not look like a whole one.
                let _the_first_error_counts = file::unlinkat(dir.as_fd(), name, false);
                Err(error)
            }
        }
    }

    /// Copies the bytes, counted as they are read: what stat(2) says of a sparse file is no measure.
    fn pour(&mut self, source: &OwnedFd, target: &OwnedFd) -> Result<(u64, String), Refusal> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0u8; 256 << 10];
        let mut bytes = 0;
        loop {
            let length = file::read(source.as_fd(), &mut buffer).map_err(refusal)?;
            if length == 0 {
                break;
            }
            bytes += length as u64;
            self.bytes += length as u64;
            if self.bytes > MOST_BYTES {
                self.exhausted = true;
                return Err((ArtifactErrorCode::TooBig, None));
            }
            if Instant::now() > self.deadline {
                self.exhausted = true;
                return Err((ArtifactErrorCode::TooSlow, None));
            }
            if self.owners.say_stop() {
                self.exhausted = true;
                return Err((ArtifactErrorCode::Cancelled, None));
            }
            hash.update(&buffer[..length]);
            file::write_all(target.as_fd(), &buffer[..length]).map_err(refusal)?;
        }
        let digest = hash.finalize();
        Ok((bytes, digest.iter().map(|byte| format!("{byte:02x}")).collect()))
    }
}

/// The next path of those that wait: the last folder's last name.
fn next_of(waiting: &mut Vec<(Vec<CString>, Vec<CString>)>) -> Option<Vec<CString>> {
    loop {
        let (folder, names) = waiting.last_mut()?;
        if let Some(name) = names.pop() {
            return Some(folder.iter().cloned().chain([name]).collect());
        }
        waiting.pop();
    }
}

fn join(parts: &[CString]) -> Content {
    Content(parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>().join(&b'/'))
}
