//! What the sandbox sees: a new root on a tmpfs, put together from detached mounts and entered with pivot_root.
//!
//! Two moments: `collect` takes copies of the host's mounts while our rights on the host's files are still those of
//! whoever started us; `build` makes the rest and needs the sandbox's own uid, so that new files have an owner that is
//! mapped. Paths of the host are never resolved after that.

pub(crate) mod detached;
mod device;
pub(crate) mod etc;
mod host;
pub(crate) mod layers;
mod proc;
pub(crate) mod root;
mod source;

pub(crate) use host::paths as host_paths;
pub(crate) use source::{Tree, below_writable, caller_trees, open_named};

use crate::failure::{At, Step, StepError};
use crate::sys::file::Resolve;
use crate::sys::{self, Errno, file, mount};
use pinfold_runner::{Job, Limit, Network, Root, Workspace};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Attributes of everything that is only to be read.
const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY | WRITABLE;
/// Attributes of everything that may be written.
const WRITABLE: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

/// The sizes of the sandbox's own file systems, in bytes; `None` is without limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) tmp: Size,
    pub(crate) shm: Size,
    pub(crate) workspace: Size,
    /// Files in a workspace in memory; by default as many as half-pages.
    pub(crate) workspace_inodes: Option<Limit<u64>>,
}

/// The size of one tmpfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// So many bytes.
    Bytes(u64),
    /// The kernel's default for a tmpfs: half of the machine's memory.
    HalfOfMachine,
    /// No limit but the memory's.
    Unlimited,
}

/// Copies of the host's mounts, not attached to anything yet.
pub(crate) struct Collected {
    host: Vec<Tree>,
    links: Vec<(String, CString)>,
    nodes: Vec<Tree>,
    workspace: Option<Tree>,
    layers: Vec<Tree>,
    caller: Vec<Tree>,
}

impl Collected {
    /// Takes the temporary workspace, which is made while the rest is collected.
    pub(crate) fn take_workspace(&mut self, path: &std::path::Path) -> Result<(), StepError> {
        use std::os::unix::ffi::OsStrExt;
        let path = sys::c_string(path.as_os_str().as_bytes()).at(Step::OpenWorkspace, path.to_string_lossy())?;
        self.workspace = Some(Tree::open(&path, pinfold_runner::WORKSPACE, WRITABLE, Step::OpenWorkspace)?);
        Ok(())
    }
}

/// Takes what the view needs of the host. `caller` are the trees that the runner opened with root's rights; an
/// ordinary user's are opened here, in the new namespaces, where he has the right to.
pub(crate) fn collect(job: &Job, caller: Option<Vec<Tree>>) -> Result<Collected, StepError> {
    mount::make_all_private().at(Step::MakeMountsPrivate, "/")?;
    let mut trees = match caller {
        Some(trees) => trees,
        None => caller_trees(job, None)?,
    };
    let (mut host, mut links) = (Vec::new(), Vec::new());
    if job.root == Root::Host {
        host::collect(&mut host, &mut links)?;
    }
    // The image's parts came with the caller's trees; they go in first, as the host's would.
    let image = trees.iter().position(|tree| !tree.is_part_of_root).unwrap_or(trees.len());
    let mut caller = trees.split_off(image);
    for mut tree in trees {
        match tree.link.take() {
            Some(target) => links.push((tree.target, target)),
            None => host.push(tree),
        }
    }
    let workspace = match &job.workspace {
        Workspace::Tmpfs | Workspace::Temp | Workspace::Layered(_) => None,
        Workspace::Path(_) => {
            let index = caller.iter().position(|tree| tree.target == pinfold_runner::WORKSPACE);
            index.map(|index| caller.remove(index))
        }
    };
    let layers = layers::take(&mut caller);
    Ok(Collected { host, links, nodes: device::collect()?, workspace, layers, caller })
}

/// What was built.
pub(crate) struct Built {
    pub(crate) root: OwnedFd,
    /// The file systems that hold what the command writes in memory.
    pub(crate) in_memory: Vec<OwnedFd>,
}

/// Builds the new root and makes it this process's, and that of every process of this mount namespace that has the old
/// one. Nothing of the old one can be reached by a path then; it is gone after [`root::leave_old`].
pub(crate) fn build(job: &Job, collected: Collected, sizes: Sizes) -> Result<Built, StepError> {
    let root = tmpfs(Size::Bytes(ROOT_BYTES), None, "0755", WRITABLE)?;
    let view = View { root };
    // Detached mounts take no mounts of their own before Linux 6.15, so the root is attached first: over the old one,
    // which stays reachable underneath for the fresh /proc, whose right to exist the kernel derives from the old.
    mount::move_mount(view.root.as_fd(), old_root()?.as_fd(), c"").at(Step::Attach, "/")?;

    let own = ["dev", "dev/pts", "dev/shm", "proc", "run", "tmp", "workspace"];
    // An image brings these as its own directories or links.
    let of_host: &[&str] = if job.root == Root::Host { &["etc", "etc/ssl", "var"] } else { &[] };
    for directory in own.iter().chain(of_host) {
        view.make_directory(directory)?;
    }
    for (path, target) in &collected.links {
        view.make_link(path, target)?;
    }
    for tree in &collected.host {
        view.attach_part(tree)?;
    }
    if job.root == Root::Host {
        view.make_link("var/tmp", c"../tmp")?;
    }
    device::build(&view, &collected.nodes)?;
    etc::build(&view, job)?;
    proc::build(&view)?;

    view.attach_new(&file_system(c"devpts", DEVPTS, libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC)?, "dev/pts")?;
    let mut in_memory = vec![tmpfs(sizes.tmp, None, STICKY, WRITABLE)?];
    in_memory.push(tmpfs(sizes.shm, None, STICKY, WRITABLE | libc::MOUNT_ATTR_NOEXEC)?);
    view.attach_new(&in_memory[0], "tmp")?;
    view.attach_new(&in_memory[1], "dev/shm")?;
    match &collected.workspace {
        Some(tree) => view.attach_new(&tree.mount, "workspace")?,
        None if !collected.layers.is_empty() => layers::build(&view, &collected.layers)?,
        None => {
            let workspace = tmpfs(sizes.workspace, sizes.workspace_inodes, "0755", WRITABLE)?;
            view.attach_new(&workspace, "workspace")?;
            in_memory.push(workspace);
        }
    }
    if let Some(place) = &job.workspace_at {
        view.attach_workspace(place.as_str())?;
    }
    for tree in &collected.caller {
        view.attach(tree)?;
    }
    mount::set_attributes(view.root.as_fd(), READ_ONLY, false).at(Step::EnterRoot, "read-only root")?;
    root::enter(view.root.as_fd())?;
    Ok(Built { root: view.root, in_memory })
}

/// Writable by everybody, and everybody removes his own only.
const STICKY: &str = "1777";

/// The root's tmpfs holds names, links and four short files.
const ROOT_BYTES: u64 = 1 << 20;

/// `max`: the host has some 3000 pseudo-terminals for everybody together (pty(7), `kernel.pty.max`).
const DEVPTS: &[(&CStr, &CStr)] = &[(c"mode", c"0620"), (c"ptmxmode", c"0666"), (c"max", c"64")];

fn old_root() -> Result<OwnedFd, StepError> {
    file::open("/", libc::O_PATH | libc::O_DIRECTORY).at(Step::EnterRoot, "/")
}

/// The root under construction.
struct View {
    root: OwnedFd,
}

impl View {
    fn make_directory(&self, path: &str) -> Result<(), StepError> {
        let name = sys::c_string(path).at(Step::MakeEntry, path)?;
        match file::mkdirat(self.root.as_fd(), &name, 0o755) {
            Err(Errno(libc::EEXIST)) => Ok(()),
            other => other.at(Step::MakeEntry, format!("/{path}")),
        }
    }

    fn make_link(&self, path: &str, target: &CStr) -> Result<(), StepError> {
        let name = sys::c_string(path).at(Step::MakeEntry, path)?;
        file::symlinkat(target, self.root.as_fd(), &name).at(Step::MakeEntry, format!("/{path}"))
    }

    fn make_file(&self, path: &str, bytes: &[u8]) -> Result<(), StepError> {
        let name = sys::c_string(path).at(Step::MakeEntry, path)?;
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        file::openat(Some(self.root.as_fd()), &name, flags, 0o644)
            .and_then(|fd| file::write_all(fd.as_fd(), bytes))
            .at(Step::MakeEntry, format!("/{path}"))
    }

    /// Attaches a file system of our own on a directory that we made.
    fn attach_new(&self, mount: &OwnedFd, path: &str) -> Result<(), StepError> {
        let name = sys::c_string(path).at(Step::Attach, path)?;
        mount::move_mount(mount.as_fd(), self.root.as_fd(), &name).at(Step::Attach, format!("/{path}"))
    }

    /// Attaches a part of the root at a place that is made for it. Only our own entries are there yet, so nothing can
    /// lead astray; its parents are made beforehand.
    fn attach_part(&self, tree: &Tree) -> Result<(), StepError> {
        let path = tree.target.trim_start_matches('/');
        if tree.is_directory {
            self.make_directory(path)?;
        } else {
            self.make_file(path, b"")?;
        }
        self.attach_new(&tree.mount, path)
    }

    /// Attaches a path of the caller's at its target, which is made if it is absent. The way there may lead through
    /// directories that an earlier sandbox filled (a caller's workspace), so no link on it is followed.
    fn attach(&self, tree: &Tree) -> Result<(), StepError> {
        let path = tree.target.trim_start_matches('/');
        let place = self.place(path, tree.is_directory).at(Step::Attach, &tree.target)?;
        mount::move_mount(tree.mount.as_fd(), place.as_fd(), c"").at(Step::Attach, &tree.target)
    }

    /// Attaches the workspace at a second place, which is made if it is absent.
    fn attach_workspace(&self, at: &str) -> Result<(), StepError> {
        let workspace = mount::open_tree(Some(self.root.as_fd()), c"workspace").at(Step::CopyTree, at)?;
        let place = self.place(at.trim_start_matches('/'), true).at(Step::Attach, at)?;
        mount::move_mount(workspace.as_fd(), place.as_fd(), c"").at(Step::Attach, at)
    }

    /// Puts a file of ours, made at `own`, over a file of an image's.
    fn cover(&self, path: &str, own: &str, bytes: &[u8]) -> Result<(), StepError> {
        self.make_file(own, bytes)?;
        let name = sys::c_string(own).at(Step::MakeEntry, own)?;
        let shown = format!("/{path}");
        let mount = mount::open_tree(Some(self.root.as_fd()), &name).at(Step::CopyTree, &shown)?;
        mount::set_attributes(mount.as_fd(), READ_ONLY, false).at(Step::Attach, &shown)?;
        let place = self.place(path, false).at(Step::Attach, &shown)?;
        mount::move_mount(mount.as_fd(), place.as_fd(), c"").at(Step::Attach, &shown)
    }

    fn place(&self, path: &str, is_directory: bool) -> Result<OwnedFd, Errno> {
        let root = self.root.as_fd();
        let target = sys::c_string(path)?;
        match file::openat2(root, &target, libc::O_PATH | libc::O_NOFOLLOW, 0, Resolve::InRootNoSymlinks) {
            Err(Errno(libc::ENOENT)) => {}
            other => return other,
        }
        let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self.parents(root, parents)?;
        let name = sys::c_string(name)?;
        if is_directory {
            file::mkdirat(parent.as_fd(), &name, 0o755)?;
        } else {
            let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
            file::openat(Some(parent.as_fd()), &name, flags, 0o644)?;
        }
        file::openat2(root, &target, libc::O_PATH | libc::O_NOFOLLOW, 0, Resolve::InRootNoSymlinks)
    }

    fn parents(&self, root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
        let open = |dir: BorrowedFd<'_>, name: &CStr| {
            file::openat2(dir, name, libc::O_PATH | libc::O_DIRECTORY, 0, Resolve::InRootNoSymlinks)
        };
        let mut dir = open(root, c".")?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let name = sys::c_string(part)?;
            dir = match open(dir.as_fd(), &name) {
                Err(Errno(libc::ENOENT)) => {
                    file::mkdirat(dir.as_fd(), &name, 0o755)?;
                    open(dir.as_fd(), &name)?
                }
                other => other?,
            };
        }
        Ok(dir)
    }
}

/// A tmpfs of a size, with as many inodes as half-pages in it unless told otherwise, so that empty files can't go on for ever
/// either.
fn tmpfs(size: Size, inodes: Option<Limit<u64>>, mode: &str, attributes: u64) -> Result<OwnedFd, StepError> {
    let mut options: Vec<(&CStr, u64)> = Vec::new();
    let mut default_inodes = None;
    match size {
        Size::Bytes(bytes) => {
            default_inodes = Some((bytes / 2048).max(1024));
            options.push((c"size", bytes));
        }
        Size::HalfOfMachine => {}
        // More than any machine has. With 0, which lifts the limit, statfs(2) would not tell how much is in it.
        Size::Unlimited => options.push((c"size", 1 << 50)),
    }
    let inodes = match inodes {
        // The root directory is one as well.
        Some(Limit::At(count)) => Some(count + 1),
        Some(Limit::Max) => Some(0),
        None => default_inodes,
    };
    options.extend(inodes.map(|count| (c"nr_inodes", count)));
    let text = |text: String| sys::c_string(text).at(Step::MakeFileSystem, "tmpfs");
    let mut options: Vec<(&CStr, CString)> = options
        .into_iter()
        .map(|(key, value)| Ok((key, text(value.to_string())?)))
        .collect::<Result<_, StepError>>()?;
    // 1777 is what a tmpfs has by itself.
    if mode != STICKY {
        options.push((c"mode", text(mode.to_owned())?));
    }
    let options: Vec<(&CStr, &CStr)> = options.iter().map(|(key, value)| (*key, value.as_c_str())).collect();
    file_system(c"tmpfs", &options, attributes)
}

fn file_system(kind: &CStr, options: &[(&CStr, &CStr)], attributes: u64) -> Result<OwnedFd, StepError> {
    mount::new_file_system(kind, options, attributes).at(Step::MakeFileSystem, kind.to_string_lossy())
}

/// Whether the command shares the host's network, and so needs the host's name servers.
fn shares_network(job: &Job) -> bool {
    job.network == Network::Host
}
