//! What the command may open: the same places that the view shows where there are namespaces, each at its own path. What
//! lies outside is there and can't be opened (EACCES).

use super::Places;
use crate::failure::StepError;
use crate::failure::{At, Step};
use crate::fence::{Access, Fence};
use crate::plan::Plan;
use crate::sys::Errno;
use crate::view::{host_paths, open_named};
use pinfold_runner::Network;
use std::os::fd::AsFd;

/// Who is who. Made up where there are namespaces; here they are the host's.
const NAMES: [&str; 4] = ["/etc/passwd", "/etc/group", "/etc/hosts", "/etc/hostname"];

const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Restricts this process, which has its last uid: what it may not reach itself it can't allow either.
pub(super) fn restrict(plan: &Plan<'_>, places: &Places) -> Result<(), StepError> {
    let abi = plan.landlock.ok_or(Errno(libc::EOPNOTSUPP)).at(Step::RestrictPaths, "")?;
    // The filter refuses every such socket; this is the second lock on that door.
    let fence = Fence::new(abi, plan.keeps_off_network())?;
    let names = NAMES.into_iter().chain((plan.job.network == Network::Host).then_some("/etc/resolv.conf"));
    for path in host_paths().chain(names) {
        allow_if_there(&fence, path, Access::Run)?;
    }
    for path in DEVICES {
        allow_if_there(&fence, path, Access::Devices)?;
    }
    // To read only: here are other processes' entries as well, and some of them belong to the same user. So nobody
    // writes to his own oom_score_adj either.
    fence.allow("/proc", Access::Read)?;
    for path in [&places.workspace, &places.tmp] {
        fence.allow(path, Access::Everything)?;
    }
    for mount in &plan.job.mounts {
        let path = mount.source.as_str();
        let access = if mount.writable { Access::Everything } else { Access::Run };
        let place = open_named(plan.job, path, Step::OpenSource)?;
        fence.allow_at(place.as_fd(), path, access)?;
    }
    fence.raise()
}

fn allow_if_there(fence: &Fence, path: &str, access: Access) -> Result<(), StepError> {
    match fence.allow(path, access) {
        Err(error) if matches!(error.errno, Errno(libc::ENOENT | libc::ENOTDIR | libc::EACCES)) => Ok(()),
        other => other,
    }
}
