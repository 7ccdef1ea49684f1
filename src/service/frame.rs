//! What every service makes of the job that its operator set as a frame for those of its clients.

use crate::Pinfold;
use crate::code::{CodeConfig, CodeError, Executor, Languages, Level, NamespaceBackend};
use crate::workspace::Quota;
use pinfold_runner::{Job, Limit, Limits};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What a stored workspace may hold where the operator does not say: as much as a temporary one.
const WORKSPACE: (u64, u64) = (1 << 30, 1 << 20);

/// The kernel has no more processes than that, so that it is as good as no limit.
const MOST_PIDS: u64 = 1 << 22;

/// A time as a limit.
pub fn wall_limit(time: Option<Duration>) -> Limit<u64> {
    time.map_or(Limit::Max, |time| Limit::At(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
}

/// What a stored workspace may hold.
pub fn quota(limits: &Limits) -> Quota {
    let limit = |limit: Option<Limit<u64>>, default: u64| limit.map_or(Some(default), Limit::value);
    Quota { bytes: limit(limits.workspace_bytes, WORKSPACE.0), inodes: limit(limits.workspace_inodes, WORKSPACE.1) }
}

/// How much a job may add to a stored workspace: what is left of its quota, which the job leaves open then, or as much as to
/// any other where it has none.
pub fn limit_in(quota: Quota, most: Quota, job: &mut Job) {
    let limit = |own: Option<u64>, most: Option<u64>| match own {
        Some(_) => None,
        None => Some(most.map_or(Limit::Max, Limit::At)),
    };
    job.limits.workspace_bytes = limit(quota.bytes, most.bytes);
    job.limits.workspace_inodes = limit(quota.inodes, most.inodes);
}

/// What runs code within the frame, for as long and with as much output as is said.
///
/// # Errors
/// When the configuration can't be.
pub fn executor(
    frame: &Job,
    (time, output): (Option<Duration>, u64),
    languages: Languages,
    allowed: &[String],
    pinfold: Pinfold,
) -> Result<Executor, CodeError> {
    let limits = &frame.limits;
    let config = CodeConfig {
        timeout: time,
        max_memory_mb: limits.memory_bytes.value().map_or(0, |bytes| (bytes >> 20).max(1)),
        max_cpu_percent: Some(limits.cpus.value().map_or(0.0, |cpus| cpus * 100.0)),
        max_processes: limits.pids.value().unwrap_or(MOST_PIDS),
        max_output_bytes: output,
        allowed_languages: allowed.to_vec(),
        validation: Level::Off.into(),
        ..CodeConfig::default()
    };
    let mut job = frame.clone();
    (job.limits.wall_ms, job.limits.output_bytes) = (wall_limit(time), Limit::At(output));
    let backend = Arc::new(NamespaceBackend::new(pinfold).like(job));
    Ok(Executor::with_backend(config, languages, backend)?.distrusting(written(frame)))
}

/// The directories of the host in which sandboxes write.
fn written(frame: &Job) -> Vec<PathBuf> {
    let mounts = frame.mounts.iter().filter(|mount| mount.writable).map(|mount| &mount.source);
    frame.workspace.written().chain(mounts).map(|path| PathBuf::from(path.as_str())).collect()
}
