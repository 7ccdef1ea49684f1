//! What of the cgroup hierarchies this process could use: cgroups(7). Which of it the runner does use, its results say.

use super::host::Mounted;
use serde::Serialize;
use std::fs::read_to_string;
use std::path::Path;

/// The controllers that the limits need.
pub(super) const NEEDED: [&str; 3] = ["cpu", "memory", "pids"];

/// What was found.
#[derive(Debug, Serialize)]
pub(super) struct Cgroup {
    /// Where the unified hierarchy (v2) is mounted.
    pub(super) v2_mount: Option<String>,
    /// Our own place in it, from its mount on.
    pub(super) v2_path: Option<String>,
    /// The controllers that our own place has: `cgroup.controllers`.
    pub(super) v2_controllers: Vec<String>,
    /// Whether we may make cgroups below our own.
    pub(super) v2_writable: bool,
    /// Whether the mount itself is read-only, as in a container.
    pub(super) v2_read_only: bool,
    /// The controllers that are bound to v1 hierarchies.
    pub(super) v1_controllers: Vec<String>,
}

impl Cgroup {
    pub(super) fn look(mounts: &[Mounted]) -> Self {
        let v2 = mounts.iter().find(|mount| mount.kind == "cgroup2");
        let membership = read_to_string("/proc/self/cgroup").unwrap_or_default();
        let path = membership.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned);
        let directory =
            v2.zip(path.as_deref()).map(|(mount, path)| format!("{}{}", mount.point, path.trim_end_matches('/')));
        let controllers =
            directory.as_ref().and_then(|directory| read_to_string(format!("{directory}/cgroup.controllers")).ok());
        let options =
            mounts.iter().filter(|mount| mount.kind == "cgroup").flat_map(|mount| mount.super_options.split(','));
        let known = ["cpu", "cpuacct", "memory", "pids", "blkio", "cpuset", "freezer", "devices"];
        Self {
            v2_mount: v2.map(|mount| mount.point.clone()),
            v2_path: path,
            v2_controllers: controllers.unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
            v2_writable: directory.as_deref().is_some_and(writable),
            v2_read_only: v2.is_some_and(|mount| mount.options.split(',').any(|option| option == "ro")),
            v1_controllers: options.filter(|option| known.contains(option)).map(str::to_owned).collect(),
        }
    }

    /// The needed controllers that our own place in the unified hierarchy lacks.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        NEEDED.into_iter().filter(|needed| !self.v2_controllers.iter().any(|controller| controller == needed)).collect()
    }

    /// Whether the limits' controllers are bound to v1, so that v2 can't have them.
    pub(super) fn is_v1(&self) -> bool {
        NEEDED.iter().any(|needed| self.v1_controllers.iter().any(|controller| controller == needed))
    }
}

fn writable(directory: &str) -> bool {
    let procs = Path::new(directory).join("cgroup.procs");
    let write = rustix::fs::Access::WRITE_OK;
    rustix::fs::access(directory, write).is_ok() && rustix::fs::access(procs, write).is_ok()
}
