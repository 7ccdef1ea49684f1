//! Artifacts: what a build made, taken out of its workspace when nothing of it runs any more, beneath a descriptor and
//! through no link. An artifact is written aside as a whole, is on disk, and then comes to its place by one rename; so
//! there is never half of one.

use super::error::{Doing, Error, Fault};
use super::place::Place;
use super::plan::Plan;
use super::snapshot::hex;
use crate::files::entry::Kind;
use crate::files::error::Reason;
use crate::files::walk::{Next, Visit, Visitor, walk};
use crate::files::{self, Tree};
use crate::workspace::{self, file};
use hmac_sha256::Hash;
use pinfold_runner::{ArtifactFile, Content};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

const FILES: &str = "files";
const MANIFEST: &str = "manifest.json";

/// The largest manifest that is read.
const LARGEST: u64 = 256 << 20;

/// What an artifact holds. Its id is the SHA-256 of these words in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this form: 1.
    pub version: u32,
    /// All files, by path.
    pub files: Vec<ArtifactFile>,
}

/// An artifact that is there.
#[derive(Debug)]
#[non_exhaustive]
pub struct Artifact {
    /// Its id.
    pub id: String,
    /// What it holds.
    pub manifest: Manifest,
    /// The directory of its files.
    pub path: PathBuf,
    /// Its files, confined.
    pub files: Tree,
}

/// An artifact that is not yet in its place.
pub(crate) struct Unpublished {
    half: workspace::Half,
    pub(crate) id: String,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// Why there is no artifact: it is the build's own fault, or ours.
pub(crate) enum Missing {
    Fault(Fault),
    Error(Error),
}

impl<E: Into<Error>> From<E> for Missing {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// Takes the artifact out of a workspace in which nothing runs any more.
pub(crate) fn collect(place: &Place, tree: &Tree, plan: &Plan, deadline: Instant) -> Result<Unpublished, Missing> {
    let limits = files::Bounds { entries: plan.bounds.artifact_entries, ..files::Bounds::default() };
    let tree = tree.clone().with_bounds(limits);
    let (path, kind) = find(&tree, plan)?;
    let what = || "make an artifact".to_owned();
    let half = place.limbo()?.make()?;
    let files = file::make_directory(half.dir(), FILES, Mode::RWXU).doing(what)?;
    let mut collector = Collector {
        tree: &tree,
        files,
        manifest: Manifest { version: 1, files: Vec::new() },
        left: plan.bounds.artifact_bytes,
        deadline,
        at: PathBuf::new(),
    };
    let collected = tree.told("collect", &path, |inside| match kind {
        Kind::Directory => {
            let start = tree.pass(tree.root(), &inside.to_c()?)?;
            Ok(walk(&tree, start.as_fd(), &mut collector))
        }
        _ => {
            let (parent, name) = tree.parent(inside)?;
            let name = crate::files::path::c_string(name)?;
            Ok(collector.file(parent.as_fd(), &name, Path::new(inside.names().last().map_or("".as_ref(), |it| &**it))))
        }
    })?;
    if let Err(reason) = collected {
        let _swept_later = half.remove();
        return Err(refused(&path.join(&collector.at), reason, plan));
    }
    let bytes = plan.bounds.artifact_bytes - collector.left;
    let manifest = collector.manifest;
    if manifest.files.is_empty() {
        let _swept_later = half.remove();
        return Err(Missing::Fault(Fault::new(
            "artifact_missing",
            format!("there is no file in `{}`", path.display()),
        )));
    }
    let json = serde_json::to_vec(&manifest).map_err(std::io::Error::from).doing(what)?;
    file::replace(half.dir(), MANIFEST, &json).doing(what)?;
    seal(half.dir()).doing(what)?;
    Ok(Unpublished { half, id: hex(&Hash::hash(&json)), files: manifest.files.len() as u64, bytes })
}

/// The first of the plan's places that is there.
fn find(tree: &Tree, plan: &Plan) -> Result<(PathBuf, Kind), Missing> {
    for path in &plan.artifact {
        match tree.stat(path.as_str()) {
            Ok(entry) if matches!(entry.kind, Kind::Directory | Kind::File) => return Ok((entry.path, entry.kind)),
            Ok(entry) => return Err(refused(&entry.path, of_kind(entry.kind), plan)),
            Err(error) if error.code() == "not_found" => {}
            Err(error) => return Err(Missing::Fault(Fault::new("artifact_refused", error.to_string()))),
        }
    }
    let places = plan.artifact.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ");
    let fault = Fault::new("artifact_missing", format!("every phase succeeded, but there is no {places}"));
    Err(Missing::Fault(fault.with_hint("say in `pinfold.toml` what the build makes: `artifact = \"…\"`")))
}

fn of_kind(kind: Kind) -> Reason {
    if kind == Kind::Symlink { Reason::Symlink } else { Reason::NotRegular }
}

/// Says what is wrong with something in the workspace, which is the build's own fault.
fn refused(path: &Path, reason: Reason, plan: &Plan) -> Missing {
    let bounds = plan.bounds;
    let shown = path.display().to_string();
    Missing::Fault(match reason {
        Reason::TooBig(_) => {
            let most = crate::ByteSize::new(bounds.artifact_bytes);
            Fault::new("artifact_too_big", format!("the artifact is larger than {most}"))
        }
        Reason::TooMany(_) => {
            Fault::new("artifact_too_big", format!("the artifact has more than {} entries", bounds.artifact_entries))
        }
        Reason::TooSlow => Fault::new("timed_out", "there was no time left to collect the artifact".to_owned()),
        reason @ (Reason::NoSpace | Reason::Io(_)) => return Missing::Error(reason.when("collect", path).into()),
        reason => {
            let message = format!("the artifact can't have `{}` in it: {reason}", shown.escape_debug());
            Fault::new("artifact_refused", message)
        }
    })
}

struct Collector<'a> {
    tree: &'a Tree,
    files: OwnedFd,
    manifest: Manifest,
    left: u64,
    deadline: Instant,
    /// Where something went wrong.
    at: PathBuf,
}

impl Collector<'_> {
    fn file(&mut self, directory: BorrowedFd<'_>, name: &CString, path: &Path) -> Result<(), Reason> {
        let (mut from, stat) = self.tree.regular(directory, name, OFlags::RDONLY)?;
        let executable = stat.st_mode & 0o111 != 0;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = file::open_parent(self.files.as_fd(), path.as_os_str().as_bytes())
            .and_then(|(dir, name)| rustix::fs::openat(&dir, name, flags, Mode::RUSR | Mode::WUSR))?;
        let (mut to, mut hash, mut buffer, mut bytes) = (File::from(to), Hash::new(), vec![0; 128 << 10], 0u64);
        loop {
            let read = from.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            // What counts is what is read: a file may be sparse.
            self.left = self.left.checked_sub(read as u64).ok_or(Reason::TooBig(0))?;
            self.check_time()?;
            hash.update(&buffer[..read]);
            to.write_all(&buffer[..read])?;
            bytes += read as u64;
        }
        rustix::fs::fchmod(&to, Mode::from_raw_mode(if executable { 0o555 } else { 0o444 }))?;
        to.sync_all()?;
        let path = Content(path.as_os_str().as_bytes().to_vec());
        self.manifest.files.push(ArtifactFile { path, bytes, sha256: hex(&hash.finalize()), executable });
        Ok(())
    }

    fn check_time(&self) -> Result<(), Reason> {
        if Instant::now() >= self.deadline { Err(Reason::TooSlow) } else { Ok(()) }
    }

    fn add(&mut self, visit: &Visit<'_>) -> Result<(), Reason> {
        self.check_time()?;
        match Kind::of(visit.stat) {
            Kind::File => self.file(visit.directory, visit.name, visit.path),
            Kind::Directory => {
                let (dir, name) = file::open_parent(self.files.as_fd(), visit.path.as_os_str().as_bytes())?;
                Ok(rustix::fs::mkdirat(&dir, name, Mode::RWXU)?)
            }
            kind => Err(of_kind(kind)),
        }
    }
}

impl Visitor for Collector<'_> {
    fn visit(&mut self, visit: &Visit<'_>) -> Result<Next, Reason> {
        match self.add(visit) {
            Ok(()) => Ok(Next::Into),
            Err(reason) => self.refused(visit.path, reason).map(|()| Next::Past),
        }
    }

    fn refused(&mut self, path: &Path, reason: Reason) -> Result<(), Reason> {
        self.at = path.to_owned();
        Err(reason)
    }
}

/// Closes all directories of an artifact to changes, with what is in them on disk.
fn seal(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut directories = vec![file::open_directory(dir, FILES)?];
    while let Some(open) = directories.pop() {
        for name in file::names(open.as_fd())? {
            if file::kind(&file::stat(open.as_fd(), name.as_c_str())?) == rustix::fs::FileType::Directory {
                directories.push(rustix::fs::openat(&open, name.as_c_str(), file::DIRECTORY, Mode::empty())?);
            }
        }
        rustix::fs::fchmod(&open, Mode::from_raw_mode(0o555))?;
        rustix::fs::fsync(&open)?;
    }
    rustix::fs::fsync(dir)
}

impl Unpublished {
    /// Puts it to its place. The caller keeps others from clearing up until it is written down that it is needed.
    pub(crate) fn publish(self, place: &Place) -> Result<String, Error> {
        let what = || "publish an artifact".to_owned();
        match self.half.place(place.artifacts.as_fd(), &self.id) {
            Ok(()) => {}
            // The same was made before.
            Err(Errno::EXIST | Errno::NOTEMPTY) => self.half.remove().doing(what)?,
            Err(errno) => return Err(errno).doing(what),
        }
        Ok(self.id)
    }

    /// Nobody needs it.
    pub(crate) fn discard(self) {
        let _swept_later = self.half.remove();
    }
}

/// Opens an artifact by its id.
pub(crate) fn open(place: &Place, id: &str) -> Result<Artifact, Error> {
    let what = || format!("open the artifact `{id}`");
    let dir = directory(place, id)?;
    let bytes = file::read(dir.as_fd(), MANIFEST, LARGEST).doing(what)?;
    let manifest = serde_json::from_slice(&bytes).map_err(std::io::Error::from).doing(what)?;
    let files = Tree::from_descriptor(file::open_directory(dir.as_fd(), FILES).doing(what)?)?;
    Ok(Artifact { id: id.to_owned(), manifest, path: place.path().join("artifacts").join(id).join(FILES), files })
}

/// Opens the files of an artifact alone, which takes the same time however many there are.
pub(crate) fn open_files(place: &Place, id: &str) -> Result<Tree, Error> {
    let files = file::open_directory(directory(place, id)?.as_fd(), FILES);
    Ok(Tree::from_descriptor(files.doing(|| format!("open the artifact `{id}`"))?)?)
}

fn directory(place: &Place, id: &str) -> Result<OwnedFd, Error> {
    match file::open_directory(place.artifacts.as_fd(), id) {
        Err(Errno::NOENT) => Err(Error::not_found("artifact", id)),
        other => other.doing(|| format!("open the artifact `{id}`")),
    }
}
