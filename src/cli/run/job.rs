//! From the options to a job: paths made absolute, toolchains found, and the defaults that live stdio changes.

use super::options::RunOptions;
use super::{reach, stored};
use crate::cli::value;
use pinfold::workspace::InUse;
use pinfold::{
    Argv, Artifacts, Cwd, InvalidValue, Job, Limit, Mount, Requirement, Root, Seccomp, Workspace, WorkspacePath,
};
use std::path::Path;

/// Where the sandbox looks for programs when nobody says otherwise.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The job that the options ask for, in the workspace of the store that they name, if they do.
///
/// # Errors
/// What can't be done, with the option's name.
pub(super) fn job(options: &RunOptions, workspace: Option<&InUse>) -> Result<Job, String> {
    let command = Argv::try_from(options.command.clone()).map_err(|error| error.to_string())?;
    let mut job = Job::new(command);
    job.id = options.id.clone();
    job.mode = options.mode();
    job.network = options.network();
    job.user = options.user.unwrap_or_default();
    if let Some(cwd) = &options.cwd {
        job.cwd = Cwd::try_from(cwd.as_str()).map_err(named("cwd"))?;
    }
    limits(&mut job, options);
    view(&mut job, options, workspace)?;
    environment(&mut job, options)?;
    if let Some(policy) = &options.seccomp {
        job.seccomp = seccomp(&job, policy)?;
    }
    for name in &options.require {
        job.require.push(name.parse::<Requirement>().map_err(|error| format!("`--require`: {error}"))?);
    }
    if let Some(directory) = &options.artifact_dir {
        let directory = value::to_be_made(directory).map_err(|error| format!("`--artifact-dir`: {error}"))?;
        let paths = options.artifact.iter().map(|path| artifact(path)).collect::<Result<_, _>>()?;
        job.artifacts = Some(Artifacts { paths, directory });
    }
    Ok(job)
}

fn view(job: &mut Job, options: &RunOptions, stored: Option<&InUse>) -> Result<(), String> {
    match (stored, &options.workspace) {
        (Some(stored), _) => stored::put(job, stored)?,
        (None, Some(directory)) => job.workspace = workspace(directory)?,
        (None, None) => {}
    }
    if let Some(directory) = &options.root {
        let directory = value::existing_directory(directory).map_err(|error| format!("`--root`: {error}"))?;
        job.root = Root::Path(directory);
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

fn limits(job: &mut Job, options: &RunOptions) {
    let limits = &mut job.limits;
    // People are used to commands that take as long and print as much as they like: so does `docker run`.
    limits.wall_ms = options.time.unwrap_or(Limit::Max);
    limits.output_bytes = options.output.unwrap_or(Limit::Max);
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
fn environment(job: &mut Job, options: &RunOptions) -> Result<(), String> {
    if options.tty {
        // The command's terminal is ours in the end, and has its abilities.
        let term = std::env::var("TERM").ok().filter(|term| !term.is_empty());
        job.env.set("TERM", term.unwrap_or_else(|| "xterm".to_owned())).map_err(named("tty"))?;
    }
    let mut path = Vec::new();
    let (our_path, home) = (std::env::var_os("PATH").unwrap_or_default(), std::env::home_dir());
    for toolchain in &options.toolchain {
        let trusted = |program: &Path| reach::refuse(job, program);
        let view =
            toolchain.find(&our_path, home.as_deref(), trusted).map_err(|error| format!("`--toolchain`: {error}"))?;
        for directory in view.mounts {
            let source = value::existing(&directory).map_err(|error| format!("`--toolchain`: {error}"))?;
            let target = value::to_be_made(&directory).map_err(|error| format!("`--toolchain`: {error}"))?;
            if !job.mounts.iter().any(|mount| mount.target == target) {
                job.mounts.push(Mount { source, target, writable: false });
            }
        }
        for directory in view.path {
            let directory = directory.to_str().ok_or("`--toolchain`: its path is not UTF-8")?.to_owned();
            if !path.contains(&directory) && !DEFAULT_PATH.split(':').any(|known| known == directory) {
                path.push(directory);
            }
        }
        for (name, value) in view.env {
            job.env.set(name, value).map_err(named("toolchain"))?;
        }
    }
    if !path.is_empty() {
        job.env.set("PATH", format!("{}:{DEFAULT_PATH}", path.join(":"))).map_err(named("toolchain"))?;
    }
    for text in &options.env {
        if let Some((name, value)) = value::variable(text).map_err(|error| format!("`--env`: {error}"))? {
            job.env.set(name, value).map_err(named("env"))?;
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
    Seccomp::builtin(policy).map_err(named("seccomp"))
}

/// `dist/`, `./dist` and `/workspace/dist` are all what people type for `dist`.
fn artifact(path: &str) -> Result<WorkspacePath, String> {
    let below = path.strip_prefix("/workspace/").or_else(|| path.strip_prefix("./")).unwrap_or(path);
    WorkspacePath::try_from(below.trim_end_matches('/')).map_err(named("artifact"))
}

fn named(option: &'static str) -> impl Fn(InvalidValue) -> String {
    move |error| format!("`--{option}`: {error}")
}
