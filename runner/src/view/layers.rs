//! A workspace of layers: an overlay in the sandbox's own user namespace, so that the kernel grants its maker no more than the
//! sandbox's user has.
//!
//! The layers are mounts of their own, which root's are idmapped like every directory of the caller's. Older kernels
//! take for a layer only what is mounted in our mount namespace, so each is attached for a moment, under a name that is a
//! number; the overlay keeps copies (`clone_private_mount`), and the names are gone before anything but us runs.

use super::source::{Tree, idmap};
use super::{View, WRITABLE};
use crate::failure::{At, Step, StepError};
use crate::sys::{self, file, mount};
use pinfold_runner::Layers;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

/// Where the layers are attached for a moment.
const STAGE: &CStr = c".layers";

/// What marks a tree as a layer: no mount of the caller's has a target like it.
const TARGET: &str = "layer";

/// `userxattr`: overlayfs's marks are attributes that a user may set, and it follows no redirect and takes no file for
/// one that has only metadata, whatever a layer says (Linux 5.11). `index=off`: what a kernel does by default is its
/// builder's choice.
pub(super) const OPTIONS: &str = "userxattr,index=off";

/// The directory that takes what is written.
pub(crate) fn uppermost(layers: &Layers) -> Result<OwnedFd, StepError> {
    let path = format!("{}/files", layers.path);
    file::open(&path, libc::O_RDONLY | libc::O_DIRECTORY).at(Step::OpenWorkspace, path)
}

/// Opens all layers, the uppermost first. With root's rights they are mapped from the owner of the uppermost files.
pub(super) fn open(layers: &Layers, mapped_to: Option<u32>, trees: &mut Vec<Tree>) -> Result<(), StepError> {
    let map = match mapped_to {
        Some(sandbox) => Some(idmap(uppermost(layers)?.as_fd(), sandbox, layers.path.as_str())?),
        None => None,
    };
    for path in std::iter::once(&layers.path).chain(&layers.lower) {
        let name = sys::c_string(path.as_str()).at(Step::OpenWorkspace, path.as_str())?;
        let tree = Tree::open(&name, TARGET, WRITABLE, Step::OpenWorkspace)?;
        if let Some(map) = &map {
            mount::set_idmap(tree.mount.as_fd(), map.as_fd()).at(Step::MapOwner, path.as_str())?;
        }
        trees.push(tree);
    }
    Ok(())
}

/// Takes the layers from among the caller's trees.
pub(super) fn take(trees: &mut Vec<Tree>) -> Vec<Tree> {
    trees.extract_if(.., |tree| tree.target == TARGET).collect()
}

/// Mounts the overlay as the workspace. The current directory is the stage afterwards, until the new root is entered.
pub(super) fn build(view: &View, layers: &[Tree]) -> Result<(), StepError> {
    let stage = || STAGE.to_string_lossy();
    file::mkdirat(view.root.as_fd(), STAGE, 0o700).at(Step::MakeEntry, stage())?;
    let dir = file::openat(Some(view.root.as_fd()), STAGE, libc::O_PATH | libc::O_DIRECTORY, 0);
    let dir = dir.at(Step::MakeEntry, stage())?;
    let names = (0..layers.len()).map(|number| sys::c_string(number.to_string()));
    let names = names.collect::<Result<Vec<CString>, _>>().at(Step::MakeEntry, stage())?;
    for (tree, name) in layers.iter().zip(&names) {
        file::mkdirat(dir.as_fd(), name, 0o700).at(Step::MakeEntry, stage())?;
        mount::move_mount(tree.mount.as_fd(), dir.as_fd(), name).at(Step::Attach, stage())?;
    }
    file::fchdir(dir.as_fd()).at(Step::MakeEntry, stage())?;
    let lower: Vec<String> = (1..layers.len()).map(|number| number.to_string()).collect();
    let options = format!("{OPTIONS},lowerdir={},upperdir=0/files,workdir=0/work", lower.join(":"));
    let options = sys::c_string(options).at(Step::MakeFileSystem, "overlay")?;
    mount::overlay(c"../workspace", libc::MS_NOSUID | libc::MS_NODEV, &options).at(Step::MakeFileSystem, "overlay")?;
    for name in &names {
        mount::detach(name).at(Step::Attach, stage())?;
        file::unlinkat(dir.as_fd(), name, true).at(Step::MakeEntry, stage())?;
    }
    file::unlinkat(view.root.as_fd(), STAGE, true).at(Step::MakeEntry, stage())
}
