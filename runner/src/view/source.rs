//! Copies of the host's mounts: the paths that the job names, and how the owner of a writable one stays the owner.

use crate::failure::{At, Step, StepError};
use crate::sys::{self, file, mount};
use crate::view::{READ_ONLY, WRITABLE};
use crate::{identity, tree};
use pinfold_runner::{Job, Root, Workspace};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

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

    fn take(dir: OwnedFd, name: &CStr, target: &str, attributes: u64) -> Result<Self, sys::Errno> {
        let mount = mount::open_tree(Some(dir.as_fd()), name)?;
        mount::set_attributes(mount.as_fd(), attributes, true)?;
        let is_directory = file::fstat(mount.as_fd())?.st_mode & libc::S_IFMT == libc::S_IFDIR;
        Ok(Self { mount, target: target.to_owned(), is_directory, is_part_of_root: false, link: None })
    }
}

/// Opens everything that the job names on the host. `mapped_to` is the sandbox's uid on the host when root runs it: a
/// writable tree is then idmapped, so that what the command makes there belongs to the tree's owner.
pub(crate) fn caller_trees(job: &Job, mapped_to: Option<u32>) -> Result<Vec<Tree>, StepError> {
    let mut trees = Vec::new();
    if let Root::Path(path) = &job.root {
        image(path.as_str(), &mut trees)?;
    }
    if let Workspace::Path(path) = &job.workspace {
        let source = sys::c_string(path.as_str()).at(Step::OpenWorkspace, path.as_str())?;
        let tree = Tree::open(&source, pinfold_runner::WORKSPACE, WRITABLE, Step::OpenWorkspace)?;
        if !tree.is_directory {
            return Err(sys::Errno(libc::ENOTDIR)).at(Step::OpenWorkspace, path.as_str());
        }
        keep_owner(&tree, path.as_str(), mapped_to)?;
        trees.push(tree);
    }
    for wanted in &job.mounts {
        let source = sys::c_string(wanted.source.as_str()).at(Step::OpenSource, wanted.source.as_str())?;
        let attributes = if wanted.writable { WRITABLE } else { READ_ONLY };
        let tree = Tree::open(&source, wanted.target.as_str(), attributes, Step::OpenSource)?;
        if wanted.writable {
            keep_owner(&tree, wanted.source.as_str(), mapped_to)?;
        }
        trees.push(tree);
    }
    Ok(trees)
}

fn keep_owner(tree: &Tree, path: &str, mapped_to: Option<u32>) -> Result<(), StepError> {
    let Some(sandbox) = mapped_to else { return Ok(()) };
    let stat = file::fstat(tree.mount.as_fd()).at(Step::MapOwner, path)?;
    let namespace = identity::owner_namespace((stat.st_uid, stat.st_gid), sandbox)?;
    mount::set_idmap(tree.mount.as_fd(), namespace.as_fd()).at(Step::MapOwner, path)
}

/// Directories of an image that the sandbox has of its own.
const OWN: [&str; 6] = ["dev", "proc", "sys", "tmp", "workspace", "run"];

/// The parts of an extracted root file system: each of its top-level entries, so that the sandbox's own directories can
/// stand beside them. The image is not trusted: its links are made again inside, never followed here.
fn image(path: &str, trees: &mut Vec<Tree>) -> Result<(), StepError> {
    let root = file::open(path, libc::O_RDONLY | libc::O_DIRECTORY).at(Step::OpenRoot, path)?;
    for name in tree::names(root.as_fd()).at(Step::OpenRoot, path)? {
        let shown = tree::shown(&name);
        if OWN.contains(&shown.as_str()) {
            continue;
        }
        let operand = format!("{path}/{shown}");
        let stat = file::fstatat(root.as_fd(), &name).at(Step::OpenRoot, &operand)?;
        let (target, kind) = (format!("/{shown}"), stat.st_mode & libc::S_IFMT);
        let mut part = match kind {
            libc::S_IFLNK => {
                let text = std::fs::read_link(&operand).at(Step::OpenRoot, &operand)?;
                use std::os::unix::ffi::OsStrExt;
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
