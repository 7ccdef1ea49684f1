//! Layers as one directory for whoever works on the files at rest: a mount that is attached nowhere and lives as long as its
//! descriptor. An ordinary user may mount nothing, so it is made in namespaces of our own, which end with us; the
//! descriptor that is handed out is good outside of them.

use super::layers::OPTIONS;
use crate::failure::{At, Step, StepError};
use crate::identity::{self, HostIds};
use crate::sys::{self, file, mount, process, socket};
use pinfold_runner::{AbsolutePath, User};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Which layers to show.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Takes what is written, as a job's layers have it; read-only without.
    path: Option<AbsolutePath>,
    /// The uppermost first.
    lower: Vec<AbsolutePath>,
    /// Only to find out whether that can be had: what is written need not reach the disk (`volatile`, Linux 5.10), for
    /// which the end of a mount waits otherwise.
    trial: bool,
}

/// Mounts them and sends the mount to whoever is at the other end of stdin.
pub(crate) fn hand_out(wanted: &Wanted) -> Result<(), StepError> {
    // Root's own files are to be seen as they are: no map, and so no user namespace.
    if process::effective_uid() == 0 {
        process::unshare(libc::CLONE_NEWNS).at(Step::MakeNamespaces, "mount")?;
    } else {
        let (uid, gid) = (process::effective_uid(), process::effective_gid());
        process::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS).at(Step::MakeNamespaces, "")?;
        let pid = i32::try_from(std::process::id()).unwrap_or_default();
        identity::write_maps(pid, User { uid, gid }, HostIds { uid, gid }, false)?;
    }
    mount::make_all_private().at(Step::MakeMountsPrivate, "/")?;
    // Opened after that, so that they are of our mount namespace: the kernel takes no others.
    let lower = wanted.lower.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let mut options = format!("{OPTIONS},lowerdir={}", lower.iter().map(through).collect::<Vec<_>>().join(":"));
    let upper = wanted.path.as_ref().map(open).transpose()?;
    if let Some(upper) = &upper {
        options += &format!(",upperdir={0}/files,workdir={0}/work", through(upper));
        options += if wanted.trial { ",volatile" } else { "" };
    }
    let (Some(target), Ok(options)) = (lower.first().map(through), sys::c_string(options)) else {
        return Err(sys::Errno(libc::EINVAL)).at(Step::MakeFileSystem, "overlay");
    };
    let target = sys::c_string(target).at(Step::MakeFileSystem, "overlay")?;
    let read_only = if upper.is_some() { 0 } else { libc::MS_RDONLY };
    let flags = libc::MS_NOSUID | libc::MS_NODEV | read_only;
    mount::overlay(&target, flags, &options).at(Step::MakeFileSystem, "overlay")?;
    let path = wanted.lower.first().map_or("/", |path| path.as_str());
    let place = file::open(path, libc::O_PATH | libc::O_DIRECTORY).at(Step::OpenWorkspace, path)?;
    let mounted = mount::open_tree(Some(place.as_fd()), c"").at(Step::CopyTree, "overlay")?;
    let stdin = std::io::stdin();
    socket::send(stdin.as_fd(), b"m", &[mounted.as_fd()]).at(Step::MakePipe, "the mount")
}

fn open(path: &AbsolutePath) -> Result<OwnedFd, StepError> {
    file::open(path.as_str(), libc::O_PATH | libc::O_DIRECTORY).at(Step::OpenWorkspace, path.as_str())
}

/// A name that is short however long the path is.
fn through(directory: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", directory.as_raw_fd())
}
