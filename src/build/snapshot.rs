//! Snapshots: what is to be built, as it was when it was handed in. Whatever the input is, it becomes one archive in one
//! form, so that the same files are the same bytes; that archive is written aside, named by its hash, and never changes.

use super::detect;
use super::error::{Doing, Error};
use super::place::Place;
use super::project::{LARGEST, PROJECT_FILE, ProjectFile};
use crate::files::entry::{Kind, size};
use crate::files::error::Reason;
use crate::files::list::link_target;
use crate::files::walk::{Next, Visit, Visitor, walk};
use crate::files::{self, Tree};
use crate::tar::{self, Entry, Writer};
use crate::workspace::{self, How, Quota, file, fresh_name};
use hmac_sha256::Hash;
use pinfold_runner::WorkspacePath;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What is to be built.
pub enum Input<'a> {
    /// These files.
    Files(Vec<InputFile>),
    /// A tar archive, not compressed.
    Tar(&'a mut (dyn Read + Send)),
    /// A directory of this host, without what its `exclude` names, or else `.git` and what builds of its kind leave.
    Directory(PathBuf),
    /// A workspace of the store in the same state directory.
    Workspace(String),
}

/// A file of the input.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputFile {
    /// Where it goes: relative, without `..`.
    pub path: WorkspacePath,
    /// What is in it.
    pub content: pinfold_runner::Content,
    /// Whether it can be executed.
    #[serde(default)]
    pub executable: bool,
}

/// How much a snapshot may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotBounds {
    /// Bytes of files; 1 GiB.
    pub bytes: u64,
    /// Files, folders and links; 100,000.
    pub entries: u64,
}

impl Default for SnapshotBounds {
    fn default() -> Self {
        Self { bytes: 1 << 30, entries: 100_000 }
    }
}

/// A snapshot that was taken, and is not yet in its place.
pub(crate) struct Snapshot {
    aside: Aside,
    pub(crate) id: String,
    pub(crate) bytes: u64,
    /// What its project says.
    pub(crate) file: ProjectFile,
    /// The names at its root.
    pub(crate) names: BTreeSet<Vec<u8>>,
}

const ARCHIVE: &str = "snapshot.tar";

/// Takes a snapshot of the input, which may come as slowly as it likes: nobody waits for it.
pub(crate) fn take(place: &Place, input: Input<'_>, bounds: SnapshotBounds) -> Result<Snapshot, Error> {
    match input {
        Input::Files(files) => take_files(place, files, bounds),
        Input::Directory(path) => {
            let path = path.canonicalize().doing(|| format!("find `{}`", path.display()))?;
            take_tree(place, &Tree::open_own(path)?, true, bounds)
        }
        Input::Workspace(id) => {
            let tree = workspace::Store::at(place.state())?.open_to_read(&id)?.into_files()?;
            take_tree(place, &tree, true, bounds)
        }
        Input::Tar(archive) => take_archive(place, archive, bounds),
    }
}

fn take_archive(place: &Place, archive: &mut (dyn Read + Send), bounds: SnapshotBounds) -> Result<Snapshot, Error> {
    let unpacked = workspace::Store::at(place.path())?;
    let id = format!("input {}", fresh_name().doing(|| "make up a name".to_owned())?);
    unpacked.create(&id, None)?;
    let how = How { replace: false, is_durable: false, modified: None };
    let most = Quota { bytes: Some(bounds.bytes), inodes: Some(bounds.entries) };
    let taken = unpacked.import_as(&id, archive, most, how).map_err(Error::from).and_then(|_| {
        let tree = unpacked.open_to_read(&id)?.into_files()?;
        take_tree(place, &tree, false, bounds)
    });
    let _cleared_up_later = unpacked.remove(&id, false);
    taken
}

fn take_tree(place: &Place, tree: &Tree, may_exclude: bool, bounds: SnapshotBounds) -> Result<Snapshot, Error> {
    let limits = files::Bounds { entries: bounds.entries, file_bytes: LARGEST, ..files::Bounds::default() };
    let tree = tree.clone().with_bounds(limits);
    let names: BTreeSet<_> =
        tree.list(".")?.entries.into_iter().map(|entry| entry.path.into_os_string().into_vec()).collect();
    let file = match names.contains(PROJECT_FILE.as_bytes()) {
        true => ProjectFile::parse(&tree.read(PROJECT_FILE)?)?,
        false => ProjectFile::default(),
    };
    let excluded = if may_exclude { detect::excluded(&file, &names) } else { BTreeSet::new() };
    let excluded = excluded.into_iter().map(OsString::from).collect();
    let mut archive = Archive::begin(place)?;
    let mut taker = Taker { tree: &tree, excluded, archive: &mut archive, left: bounds.bytes, at: PathBuf::new() };
    let root = tree.told("take", ".", |path| {
        let (root, _) = tree.look(tree.root(), &path.to_c()?)?;
        Ok(root)
    })?;
    if let Err(reason) = walk(&tree, root.as_fd(), &mut taker) {
        return Err(match reason {
            Reason::TooBig(_) => too_big(bounds),
            Reason::TooMany(_) => Error::TooBig { limit: format!("{} entries", bounds.entries) },
            reason => reason.when("take", &taker.at).into(),
        });
    }
    archive.finish(file, names)
}

fn take_files(place: &Place, files: Vec<InputFile>, bounds: SnapshotBounds) -> Result<Snapshot, Error> {
    let bytes = files.iter().map(|file| file.content.as_bytes().len() as u64).fold(0, u64::saturating_add);
    if bytes > bounds.bytes {
        return Err(too_big(bounds));
    }
    if files.len() as u64 > bounds.entries {
        return Err(Error::TooBig { limit: format!("{} entries", bounds.entries) });
    }
    let mut sorted: BTreeMap<Vec<Vec<u8>>, InputFile> = BTreeMap::new();
    for file in files {
        // Part by part, so that `a/b` stands right behind `a`, whatever else begins with `a`.
        let parts: Vec<_> = file.path.as_str().split('/').map(|part| part.as_bytes().to_vec()).collect();
        let path = file.path.as_str().to_owned();
        if sorted.insert(parts, file).is_some() {
            return Err(Error::invalid(format!("the file `{}`", path.escape_debug()), "it is there twice"));
        }
    }
    let keys: Vec<_> = sorted.keys().collect();
    if let Some(pair) = keys.windows(2).find(|pair| pair[1].starts_with(pair[0])) {
        let path = String::from_utf8_lossy(&pair[0].join(&b'/')).into_owned();
        return Err(Error::invalid(
            format!("the file `{}`", path.escape_debug()),
            "it is a folder of another file, too",
        ));
    }
    let names = keys.iter().filter_map(|parts| parts.first().cloned()).collect();
    let own = sorted.get(&vec![PROJECT_FILE.as_bytes().to_vec()]);
    let file = own.map_or_else(|| Ok(ProjectFile::default()), |file| ProjectFile::parse(file.content.as_bytes()))?;
    let mut archive = Archive::begin(place)?;
    for (parts, file) in &sorted {
        let content = file.content.as_bytes();
        let mode = if file.executable { 0o755 } else { 0o644 };
        let entry = entry(parts.join(&b'/'), tar::Kind::File { size: content.len() as u64 }, mode);
        archive.writer.append(&entry, &mut &*content).doing(|| "write a snapshot".to_owned())?;
    }
    archive.finish(file, names)
}

fn too_big(bounds: SnapshotBounds) -> Error {
    Error::TooBig { limit: crate::ByteSize::new(bounds.bytes).to_string() }
}

/// An entry without anything that differs from one checkout to the next.
fn entry(path: Vec<u8>, kind: tar::Kind, mode: u32) -> Entry {
    let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
    Entry { path, kind, mode, modified: 0, attributes: Vec::new() }
}

/// A directory in limbo, which goes unless it is put to a place.
struct Aside {
    half: workspace::Half,
    is_placed: bool,
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.is_placed {
            let _swept_later = self.half.remove();
        }
    }
}

/// An archive in the making.
struct Archive {
    aside: Aside,
    writer: Writer<BufWriter<Hashing>>,
}

struct Hashing {
    file: File,
    hash: Hash,
    bytes: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Archive {
    fn begin(place: &Place) -> Result<Self, Error> {
        let aside = Aside { half: place.limbo()?.make()?, is_placed: false };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(aside.half.dir(), ARCHIVE, flags, Mode::RUSR);
        let file = File::from(made.doing(|| "make a snapshot".to_owned())?);
        let writer = Writer::new(BufWriter::with_capacity(1 << 17, Hashing { file, hash: Hash::new(), bytes: 0 }));
        Ok(Self { aside, writer })
    }

    /// The snapshot, which is on disk.
    fn finish(self, file: ProjectFile, names: BTreeSet<Vec<u8>>) -> Result<Snapshot, Error> {
        let what = || "write a snapshot".to_owned();
        let buffered = self.writer.finish().doing(what)?;
        let done = buffered.into_inner().map_err(io::IntoInnerError::into_error).doing(what)?;
        done.file.sync_all().doing(what)?;
        rustix::fs::fsync(self.aside.half.dir()).doing(what)?;
        Ok(Snapshot { aside: self.aside, id: hex(&done.hash.finalize()), bytes: done.bytes, file, names })
    }
}

impl Snapshot {
    /// Puts it to its place. The caller keeps others from clearing up until it is written down that it is needed.
    pub(crate) fn place(mut self, place: &Place) -> Result<(), Error> {
        match self.aside.half.place(place.snapshots.as_fd(), &self.id) {
            Ok(()) => {
                self.aside.is_placed = true;
                Ok(())
            }
            // The same was handed in before.
            Err(Errno::EXIST | Errno::NOTEMPTY) => Ok(()),
            Err(errno) => Err(errno).doing(|| "write a snapshot".to_owned()),
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Opens the archive of a snapshot.
pub(crate) fn open(place: &Place, id: &str) -> Result<File, Error> {
    let opened = file::open_directory(place.snapshots.as_fd(), id).and_then(|dir: OwnedFd| {
        rustix::fs::openat(&dir, ARCHIVE, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    });
    match opened {
        Ok(file) => Ok(File::from(file)),
        Err(Errno::NOENT) => Err(Error::not_found("snapshot", id)),
        Err(errno) => Err(errno).doing(|| format!("open the snapshot `{id}`")),
    }
}

/// Walks through a tree and adds what it meets to an archive.
struct Taker<'a> {
    tree: &'a Tree,
    excluded: BTreeSet<OsString>,
    archive: &'a mut Archive,
    left: u64,
    /// Where something went wrong.
    at: PathBuf,
}

impl Taker<'_> {
    fn add(&mut self, visit: &Visit<'_>) -> Result<(), Reason> {
        let path = visit.path.as_os_str().as_bytes().to_vec();
        let (entry, mut content): (Entry, Box<dyn Read>) = match Kind::of(visit.stat) {
            Kind::Directory => (entry([&path[..], b"/"].concat(), tar::Kind::Directory, 0o755), Box::new(io::empty())),
            Kind::Symlink => {
                let target = link_target(visit.directory, visit.name)?.into_os_string().into_vec();
                (entry(path, tar::Kind::Symlink(target), 0o755), Box::new(io::empty()))
            }
            Kind::File => {
                let (file, stat) = self.tree.regular(visit.directory, visit.name, OFlags::RDONLY)?;
                let size = size(&stat);
                self.left = self.left.checked_sub(size).ok_or(Reason::TooBig(0))?;
                (entry(path, tar::Kind::File { size }, stat.st_mode), Box::new(file))
            }
            Kind::Fifo | Kind::Socket | Kind::Device => return Err(Reason::NotRegular),
        };
        match self.archive.writer.append(&entry, &mut content) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Reason::Changed),
            Err(error) => Err(error.into()),
        }
    }
}

impl Visitor for Taker<'_> {
    fn visit(&mut self, visit: &Visit<'_>) -> Result<Next, Reason> {
        if visit.path.file_name().is_some_and(|name| self.excluded.contains(name)) {
            return Ok(Next::Past);
        }
        match self.add(visit) {
            Ok(()) => Ok(Next::Into),
            // It has gone meanwhile.
            Err(Reason::NotFound) => Ok(Next::Past),
            Err(reason) => self.refused(visit.path, reason).map(|()| Next::Past),
        }
    }

    fn refused(&mut self, path: &Path, reason: Reason) -> Result<(), Reason> {
        self.at = path.to_owned();
        Err(reason)
    }
}
