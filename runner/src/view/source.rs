//! Copies of the host's mounts: the paths that the job names, and how the owner of a writable one stays the owner.

use crate::failure::{At, Step, StepError};
use crate::sys::file::Resolve;
use crate::sys::{self, file, mount};
use crate::view::{READ_ONLY, WRITABLE, layers};
use crate::{identity, tree};
use pinfold_runner::{Job, Root, Workspace};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A detached copy of a mount, and where it goes.
pub(crate) struct Tree {
    pub(crate) mount: OwnedFd,
    /// Absolute in the sandbox.
    pub(crate) target: String,
    pub(crate) is_directory: bool,
    /// Whether it is a part of `root`'s image, and so goes in before everything else.
    pub(crate) is_part_of_root: bool,
    /// A symbolic link of the image, to be made again rather than mounted.
    pub(crate) link: Option<CString>,
}

impl Tree {
    /// Takes a copy of the mount at a path of the host.
    pub(crate) fn open(path: &CStr, target: &str, attributes: u64, step: Step) -> Result<Self, StepError> {
        let shown = path.to_string_lossy();
        // Links in the caller's own path are the caller's choice; open_tree itself is told not to follow one.
        let place = file::openat(None, path, libc::O_PATH, 0).at(step, &shown)?;
        Self::take(place, c"", target, attributes).at(step, &shown)
    }

    /// The same for a path that the job names.
    fn open_named(job: &Job, path: &str, target: &str, attributes: u64, step: Step) -> Result<Self, StepError> {
        Self::take(open_named(job, path, step)?, c"", target, attributes).at(step, path)
    }

    fn take(dir: OwnedFd, name: &CStr, target: &str, attributes: u64) -> Result<Self, sys::Errno> {
        let mount = mount::open_tree(Some(dir.as_fd()), name)?;
        mount::set_attributes(mount.as_fd(), attributes, true)?;
        let is_directory = file::fstat(mount.as_fd())?.st_mode & libc::S_IFMT == libc::S_IFDIR;
        Ok(Self { mount, target: target.to_owned(), is_directory, is_part_of_root: false, link: None })
    }
}

/// Opens a path that the job names. Where it lies below a directory that the sandbox may write to, an earlier job may have
/// put a link in its way: from there on none is followed (as in CVE-2017-1002101).
pub(crate) fn open_named(job: &Job, path: &str, step: Step) -> Result<OwnedFd, StepError> {
    let Some((base, rest)) = below_writable(job, path) else {
        return file::open(path, libc::O_PATH).at(step, path);
    };
    let base = file::open(base, libc::O_PATH | libc::O_DIRECTORY).at(step, path)?;
    let rest = sys::c_string(rest.as_os_str().as_bytes()).at(step, path)?;
    file::openat2(base.as_fd(), &rest, libc::O_PATH, 0, Resolve::BeneathNoSymlinks).at(step, path)
}

/// The directory of the host that the sandbox may write to and that `path` lies below, with the rest of the path. By
/// components, so that no spelling of a path slips through.
pub(crate) fn below_writable<'a>(job: &'a Job, path: &'a str) -> Option<(&'a str, &'a Path)> {
    let writable = job.mounts.iter().filter(|mount| mount.writable).map(|mount| &mount.source);
    job.workspace.written().chain(writable).find_map(|base| {
        let rest = Path::new(path).strip_prefix(base.as_str()).ok()?;
        (rest.components().next().is_some()).then_some((base.as_str(), rest))
    })
}

/// Opens everything that the job names on the host. `mapped_to` is the sandbox's uid on the host when root runs it: a
/// writable tree is then idmapped, so that what the command makes there belongs to the tree's owner, and one that it reads as
/// its owner does.
pub(crate) fn caller_trees(job: &Job, mapped_to: Option<u32>) -> Result<Vec<Tree>, StepError> {
    let mut trees = Vec::new();
    if let Root::Path(path) = &job.root {
        image(path.as_str(), &mut trees)?;
    }
    if let Workspace::Path(path) = &job.workspace {
        let tree = Tree::open_named(job, path.as_str(), pinfold_runner::WORKSPACE, WRITABLE, Step::OpenWorkspace)?;
        if !tree.is_directory {
            return Err(sys::Errno(libc::ENOTDIR)).at(Step::OpenWorkspace, path.as_str());
        }
        keep_owner(&tree, path.as_str(), mapped_to)?;
        trees.push(tree);
    }
    if let Workspace::Layered(layers) = &job.workspace {
        layers::open(layers, mapped_to, &mut trees)?;
    }
    for wanted in &job.mounts {
        let attributes = if wanted.writable { WRITABLE } else { READ_ONLY };
        let (source, target) = (wanted.source.as_str(), wanted.target.as_str());
        let tree = Tree::open_named(job, source, target, attributes, Step::OpenSource)?;
        if wanted.writable || wanted.as_owner {
            keep_owner(&tree, wanted.source.as_str(), mapped_to)?;
        }
        trees.push(tree);
    }
    Ok(trees)
}

fn keep_owner(tree: &Tree, path: &str, mapped_to: Option<u32>) -> Result<(), StepError> {
    let Some(sandbox) = mapped_to else { return Ok(()) };
    let namespace = idmap(tree.mount.as_fd(), sandbox, path)?;
    mount::set_idmap(tree.mount.as_fd(), namespace.as_fd()).at(Step::MapOwner, path)
}

/// The map that shows what the owner of a directory has as the sandbox's.
pub(super) fn idmap(directory: BorrowedFd<'_>, sandbox: u32, path: &str) -> Result<OwnedFd, StepError> {
    let stat = file::fstat(directory).at(Step::MapOwner, path)?;
    identity::owner_namespace((stat.st_uid, stat.st_gid), sandbox)
}

/// Directories of an image that the sandbox has of its own.
const OWN: [&str; 6] = ["dev", "proc", "sys", "tmp", "workspace", "run"];

/// The parts of an extracted root file system: each of its top-level entries, so that the sandbox's own directories can
/// stand beside them. The image is not trusted: its links are made again inside, never followed here.
fn image(path: &str, trees: &mut Vec<Tree>) -> Result<(), StepError> {
    let root = file::open(path, libc::O_RDONLY | libc::O_DIRECTORY).at(Step::OpenRoot, path)?;
    for name in tree::names(root.as_fd()).at(Step::OpenRoot, path)? {
        // A name that is not text can't be told in a message, nor be asked for in a job: nobody misses it.
        let Ok(shown) = name.to_str().map(str::to_owned) else { continue };
        if OWN.contains(&shown.as_str()) {
            continue;
        }
        let operand = format!("{path}/{shown}");
        let stat = file::fstatat(root.as_fd(), &name).at(Step::OpenRoot, &operand)?;
        let (target, kind) = (format!("/{shown}"), stat.st_mode & libc::S_IFMT);
        let mut part = match kind {
            libc::S_IFLNK => {
                let text = std::fs::read_link(&operand).at(Step::OpenRoot, &operand)?;
                let link = sys::c_string(text.as_os_str().as_bytes()).at(Step::OpenRoot, &operand)?;
                let mount = root.try_clone().at(Step::OpenRoot, &operand)?;
                let target = shown.clone();
                Tree { mount, target, is_directory: false, is_part_of_root: true, link: Some(link) }
            }
            libc::S_IFDIR | libc::S_IFREG => {
                let root = root.try_clone().at(Step::OpenRoot, &operand)?;
                Tree::take(root, &name, &target, READ_ONLY).at(Step::OpenRoot, &operand)?
            }
            _ => continue,
        };
        part.is_part_of_root = true;
        trees.push(part);
    }
    Ok(())
}
