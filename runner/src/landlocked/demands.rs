//! What a job can't have in this mode. Asked for, it is an error and never quietly something else.

use crate::processes;
use pinfold_runner::{Failure, Job, Limits, Root, User, Workspace};

/// Truncating by path is not held before ABI 3 (Linux 6.2): a file that may only be read could be emptied.
const LEAST_ABI: u32 = 3;
/// Signals are held from ABI 6 on (Linux 6.12). Where the command has the caller's own uid it could otherwise kill the
/// runner, the warden and everything else of the caller's.
const LEAST_ABI_OF_A_USER: u32 = 6;

/// Refuses what can't be had. `own`: whom the command will be on the host, where that is known already.
pub(crate) fn check(job: &Job, has_terminal: bool, abi: Option<u32>, own: Option<User>) -> Result<(), Failure> {
    check_kernel(abi, own.is_some())?;
    if !processes::can_be_listed() {
        return refuse("processes can't be found again", "mount /proc; the kernel needs CONFIG_PROC_CHILDREN");
    }
    let ourselves = i32::try_from(std::process::id()).unwrap_or(0);
    if !processes::below(ourselves).is_empty() {
        // As after `something & exec pinfold-runner`. Whatever descends from us at the end is killed as the sandbox's.
        return refuse("the runner can't have children already", "start it as a process of its own");
    }
    check_places(job, own.is_none())?;
    if has_terminal {
        return refuse("there is no terminal", "leave `-t` out: a terminal of its own needs a mount namespace");
    }
    if job.user != User::default() && Some(job.user) != own {
        return refuse(
            format!("`user` can't be {}", String::from(job.user)),
            "leave `user` out: without a user namespace nobody can be given another id",
        );
    }
    if job.network.list().is_some() {
        return refuse(
            "`network` can't be a list",
            "use `none` or `host`: a list of allowed hosts needs a network namespace, as the mode \"namespaces\" has",
        );
    }
    if job.limits.tmp_bytes.is_some() || job.limits.shm_bytes != Limits::default().shm_bytes {
        return refuse(
            "`tmp_bytes` and `shm_bytes` can't be held",
            "leave them out: `TMPDIR` counts as a part of the workspace here, and /dev/shm can't be written to",
        );
    }
    Ok(())
}

fn check_kernel(abi: Option<u32>, is_user: bool) -> Result<(), Failure> {
    let least = if is_user { LEAST_ABI_OF_A_USER } else { LEAST_ABI };
    let shown = match abi {
        Some(abi) if abi >= least => return Ok(()),
        Some(abi) => format!("this kernel has ABI {abi}"),
        None => "this kernel has none".to_owned(),
    };
    let failure =
        Failure::new("landlock", format!("`\"mode\": \"landlock\"` needs Landlock with ABI {least} or newer, {shown}"));
    Err(failure.with_hint(match (abi, is_user) {
        (None, _) => "Landlock must be built in and named in the boot option `lsm=`",
        (Some(LEAST_ABI..), true) => {
            "Linux 6.12 has it: before, nothing keeps the command from killing the caller's other processes. Started by \
             root the command has a uid of its own, and Linux 6.2 is enough"
        }
        (Some(_), true) => "Linux 6.12 has it",
        (Some(_), false) => "Linux 6.2 has it",
    }))
}

fn check_places(job: &Job, has_own_uid: bool) -> Result<(), Failure> {
    if job.root != Root::Host {
        return refuse("`root` can't be another file system", "leave `root` out: paths are the host's here");
    }
    if job.cwd.as_str().starts_with("/workspace/") {
        return refuse(
            format!("`cwd` is `{}`, and there is no /workspace", job.cwd),
            "say it relative to the workspace, which is `$PINFOLD_WORKSPACE` here",
        );
    }
    if let Some(place) = &job.workspace_at {
        return refuse(format!("`workspace_at` can't be `{place}`"), "leave it out: paths are the host's here");
    }
    match &job.workspace {
        Workspace::Temp => {}
        Workspace::Tmpfs => {
            return refuse("`workspace` can't be in memory", "use \"temp\": a tmpfs needs a mount namespace");
        }
        Workspace::Layered(_) => {
            return refuse("`workspace` can't be in layers", "an overlay needs a mount namespace: use one directory");
        }
        Workspace::Path(path) => check_place("workspace", path.as_str(), true, has_own_uid)?,
    }
    for (index, mount) in job.mounts.iter().enumerate() {
        let (source, target) = (mount.source.as_str(), mount.target.as_str());
        if source != target {
            return refuse(
                format!("`mounts[{index}]` can't show `{source}` at `{target}`"),
                "source and target must be the same: paths are the host's here",
            );
        }
        let field = format!("mounts[{index}]");
        check_place(&field, source, mount.writable, has_own_uid)?;
        if mount.as_owner && has_own_uid {
            return refuse(
                format!("`{field}` can't be read as its owner by a sandbox of root's"),
                "the command has a uid of its own: leave `as_owner` out, or start Pinfold as the owner",
            );
        }
    }
    Ok(())
}

fn check_place(field: &str, path: &str, is_writable: bool, has_own_uid: bool) -> Result<(), Failure> {
    // By where the path leads: a link of the caller's may say `/` in other words.
    let real = std::fs::canonicalize(path).unwrap_or_else(|_is_told_later| path.into());
    let first = real.components().nth(1).map(|part| part.as_os_str().to_owned());
    if first.is_none_or(|first| ["proc", "sys", "dev"].iter().any(|own| first == *own)) {
        return refuse(format!("`{field}` can't be `{path}`"), "`/`, /proc, /sys and /dev are the host's own");
    }
    if is_writable && has_own_uid {
        return refuse(
            format!("`{field}` can't be written to by a sandbox of root's"),
            "the command has a uid of its own, and only an idmapped mount would make that the owner: use a temporary \
             workspace with `files` and `artifacts`, or start Pinfold as the directory's owner",
        );
    }
    Ok(())
}

fn refuse(what: impl std::fmt::Display, hint: &str) -> Result<(), Failure> {
    Err(Failure::new("mode", format!("{what} in `\"mode\": \"landlock\"`")).with_hint(hint))
}
