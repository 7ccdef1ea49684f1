//! Landlock, the second fence: even if something outside of the view could be named, it could not be opened.
//!
//! The first fence is the mount namespace. Rules name what may be written; everything in the view may be read. Where there
//! are no namespaces it is the first, with rules of its own (`landlocked`).

use crate::failure::{At, Step, StepError};
use crate::plan::Plan;
use crate::sys::landlock::{EXECUTE, IOCTL_DEV, READ_DIR, READ_FILE, RulesetAttributes, TRUNCATE, WRITE_FILE};
use crate::sys::{Errno, file, landlock};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What a rule gives, beneath a directory or on a file.
#[derive(Clone, Copy)]
pub(crate) enum Access {
    /// To read files and to list directories.
    Read,
    /// To read and to execute.
    Run,
    /// To read, and to write to what is there: one's own /proc/self/comm, oom_score_adj…
    Knobs,
    /// To read, write and control devices that are there.
    Devices,
    /// Everything. Making device nodes is in it, which nobody can.
    Everything,
}

impl Access {
    fn rights(self) -> u64 {
        let run = EXECUTE | READ_FILE | READ_DIR;
        match self {
            Self::Read => READ_FILE | READ_DIR,
            Self::Run => run,
            Self::Knobs => run | WRITE_FILE | TRUNCATE,
            // Devices are opened for writing and asked by ioctl (terminals); the directory itself can't be changed.
            Self::Devices => run | WRITE_FILE | TRUNCATE | IOCTL_DEV,
            Self::Everything => u64::MAX,
        }
    }
}

/// Rules in the making: what none of them allows is refused.
pub(crate) struct Fence {
    ruleset: OwnedFd,
    handled: u64,
}

impl Fence {
    /// `refuses_tcp`: no connection by TCP, where the kernel can hold that.
    pub(crate) fn new(abi: u32, refuses_tcp: bool) -> Result<Self, StepError> {
        let mut attributes = RulesetAttributes::all(abi);
        if !refuses_tcp {
            attributes.handled_access_net = 0;
        }
        let ruleset = landlock::create_ruleset(&attributes, abi).at(Step::RestrictPaths, "ruleset")?;
        Ok(Self { ruleset, handled: attributes.handled_access_fs })
    }

    /// Allows `access` at a path, whose links are followed.
    pub(crate) fn allow(&self, path: &str, access: Access) -> Result<(), StepError> {
        let place = file::open(path, libc::O_PATH).at(Step::RestrictPaths, path)?;
        self.allow_at(place.as_fd(), path, access)
    }

    /// Allows `access` at a place that is open already.
    pub(crate) fn allow_at(&self, place: BorrowedFd<'_>, shown: &str, access: Access) -> Result<(), StepError> {
        let (ruleset, rights) = (self.ruleset.as_fd(), access.rights() & self.handled);
        match landlock::allow_beneath(ruleset, place, rights) {
            Err(Errno(libc::EINVAL)) => landlock::allow_beneath(ruleset, place, rights & OF_A_FILE),
            other => other,
        }
        .at(Step::RestrictPaths, shown)
    }

    /// From here on it holds, for this process and everything that it starts.
    pub(crate) fn raise(self) -> Result<(), StepError> {
        landlock::restrict_self(self.ruleset.as_fd()).at(Step::RestrictPaths, "")
    }
}

/// Rights that mean something for a file; the others are for directories, and the kernel refuses them on a file.
const OF_A_FILE: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;

/// Restricts this process to the view, where the kernel has Landlock. `isolation.landlock` tells whether it has.
pub(crate) fn restrict(plan: &Plan<'_>) -> Result<(), StepError> {
    let Some(abi) = plan.landlock else { return Ok(()) };
    let fence = Fence::new(abi, false)?;
    fence.allow("/", Access::Run)?;
    fence.allow("/dev", Access::Devices)?;
    // The knobs in /proc/sys are on a read-only mount.
    fence.allow("/proc", Access::Knobs)?;
    for path in ["/tmp", "/dev/shm", pinfold_runner::WORKSPACE] {
        fence.allow(path, Access::Everything)?;
    }
    for mount in plan.job.mounts.iter().filter(|mount| mount.writable) {
        fence.allow(mount.target.as_str(), Access::Everything)?;
    }
    fence.raise()
}
