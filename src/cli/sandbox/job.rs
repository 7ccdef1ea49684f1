//! What the options of a sandbox make of a job: paths made absolute, and toolchains found.

use super::options::SandboxOptions;
use super::{reach, stored};
use crate::cli::value;
use pinfold::code::View;
use pinfold::workspace::InUse;
use pinfold::{Cwd, Job, Requirement, Root, Seccomp, Workspace};
use std::path::Path;

/// Puts into a job what the options say of its sandbox, in the workspace of the store that they name, if it is open.
///
/// # Errors
/// What can't be done, with the option's name.
pub(in crate::cli) fn describe(
    job: &mut Job,
    options: &SandboxOptions,
    workspace: Option<&InUse>,
) -> Result<(), String> {
    job.network = options.network();
    job.user = options.user.unwrap_or_default();
    limits(job, options);
    view(job, options, workspace)?;
    environment(job, options)?;
    if let Some(policy) = &options.seccomp {
        job.seccomp = seccomp(job, policy)?;
    }
    for name in &options.require {
        job.require.push(name.parse::<Requirement>().map_err(|error| format!("`--require`: {error}"))?);
    }
    Ok(())
}

fn view(job: &mut Job, options: &SandboxOptions, stored: Option<&InUse>) -> Result<(), String> {
    match (stored, &options.workspace) {
        (Some(stored), _) => stored.put_into(job).map_err(|error| stored::words(&error))?,
        // One of the store that is not open here is not ours to put there.
        (None, Some(directory)) if stored::id(Some(directory))?.is_none() => job.workspace = workspace(directory)?,
        (None, _) => {}
    }
    if let Some(place) = &options.workspace_at {
        job.workspace_at = Some(place.as_str().try_into().map_err(value::named("workspace-at"))?);
    }
    if let Some(directory) = &options.root {
        let directory = value::existing_directory(directory).map_err(|error| format!("`--root`: {error}"))?;
        job.root = Root::Path(directory);
    }
    if let Some(cwd) = &options.cwd {
        job.cwd = Cwd::try_from(cwd.as_str()).map_err(value::named("cwd"))?;
    }
    job.mounts = options.ro.iter().chain(&options.rw).cloned().collect();
    Ok(())
}

fn workspace(directory: &Path) -> Result<Workspace, String> {
    if directory == Path::new("tmpfs") {
        if directory.is_dir() {
            return Err(
                "`--workspace`: `tmpfs` is a word for memory and a directory here, write `./tmpfs` for that".to_owned()
            );
        }
        return Ok(Workspace::Tmpfs);
    }
    value::existing_directory(directory).map(Workspace::Path).map_err(|error| format!("`--workspace`: {error}"))
}

fn limits(job: &mut Job, options: &SandboxOptions) {
    let limits = &mut job.limits;
    limits.cpu_ms = options.cpu_time.unwrap_or(limits.cpu_ms);
    limits.memory_bytes = options.memory.unwrap_or(limits.memory_bytes);
    limits.pids = options.pids.unwrap_or(limits.pids);
    limits.cpus = options.cpus.unwrap_or(limits.cpus);
    limits.cpu_weight = options.cpu_weight.unwrap_or(limits.cpu_weight);
    limits.cpuset = options.cpuset.clone();
    limits.swap_bytes = options.swap.unwrap_or(limits.swap_bytes);
    limits.stack_bytes = options.stack.unwrap_or(limits.stack_bytes);
    limits.io_read_bps = options.io_read_bps.unwrap_or(limits.io_read_bps);
    limits.io_write_bps = options.io_write_bps.unwrap_or(limits.io_write_bps);
    limits.io_read_iops = options.io_read_iops.unwrap_or(limits.io_read_iops);
    limits.io_write_iops = options.io_write_iops.unwrap_or(limits.io_write_iops);
    limits.workspace_bytes = options.disk.or(limits.workspace_bytes);
    limits.workspace_inodes = options.inodes.or(limits.workspace_inodes);
    limits.tmp_bytes = options.tmp.or(limits.tmp_bytes);
    limits.shm_bytes = options.shm.unwrap_or(limits.shm_bytes);
    limits.open_files = options.open_files.unwrap_or(limits.open_files);
}

/// Toolchains first, so that a variable that the caller sets has the last word.
fn environment(job: &mut Job, options: &SandboxOptions) -> Result<(), String> {
    let (our_path, home) = (std::env::var_os("PATH").unwrap_or_default(), std::env::home_dir());
    let trusted = |program: &Path| reach::refuse(job, program);
    let views = options.toolchain.iter().map(|toolchain| toolchain.find(&our_path, home.as_deref(), &trusted));
    let told = |error| format!("`--toolchain`: {error}");
    View::put_into(views.collect::<Result<Vec<_>, _>>().map_err(told)?, job).map_err(told)?;
    for text in &options.env {
        if let Some((name, value)) = value::variable(text).map_err(|error| format!("`--env`: {error}"))? {
            job.env.set(name, value).map_err(value::named("env"))?;
        }
    }
    Ok(())
}

fn seccomp(job: &Job, policy: &str) -> Result<Seccomp, String> {
    if policy.contains('/') || policy.ends_with(".json") {
        let file = Path::new(policy);
        let path = reach::refuse(job, file).and_then(|()| value::existing(file));
        return path.map(Seccomp::Path).map_err(|error| format!("`--seccomp`: {error}"));
    }
    Seccomp::builtin(policy).map_err(value::named("seccomp"))
}
