//! The disks under what a sandbox sees, found by its mounts: limits on input and output are set for each of them.
//!
//! Looked for only when a job has such a limit. A file system whose disks the kernel doesn't tell of is an error then:
//! a limit that holds for a part of the view holds nothing.

use crate::failure::{At, Step, StepError};
use crate::plan::Plan;
use crate::sys::{Errno, file};
use crate::view;
use pinfold_runner::Root;
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// File systems that are in memory or made up by the kernel: no disk is under them.
const DISKLESS: [&str; 20] = [
    "tmpfs",
    "ramfs",
    "devtmpfs",
    "devpts",
    "hugetlbfs",
    "mqueue",
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "bpf",
    "tracefs",
    "debugfs",
    "securityfs",
    "configfs",
    "pstore",
    "efivarfs",
    "binfmt_misc",
    "nsfs",
    "autofs",
];

/// Layers upon layers are followed so far: the kernel itself stacks no more than two.
const DEEPEST: u32 = 4;

/// The disks that carry the root, the mounts, the workspace and what stands in for /tmp, each as `MAJOR:MINOR`; never a partition, which has no
/// queue of its own.
pub(crate) fn under_view(
    plan: &Plan<'_>,
    workspace: Option<&OwnedFd>,
    tmp: Option<&OwnedFd>,
) -> Result<Vec<String>, StepError> {
    let mounts = Mounts::read().at(Step::FindDisk, "/proc/self/mountinfo")?;
    let mut disks = BTreeSet::new();
    let open = |path: &str, step| file::open(path, libc::O_PATH).at(step, path);
    match &plan.job.root {
        Root::Path(path) => mounts.below(&open(path.as_str(), Step::OpenRoot)?, path.as_str(), &mut disks)?,
        Root::Host => {
            for path in view::host_paths() {
                match file::open(path, libc::O_PATH) {
                    Err(Errno(libc::ENOENT | libc::ENOTDIR)) => {}
                    place => mounts.below(&place.at(Step::CopyTree, path)?, path, &mut disks)?,
                }
            }
        }
    }
    for mount in &plan.job.mounts {
        let source = mount.source.as_str();
        mounts.below(&open(source, Step::OpenSource)?, source, &mut disks)?;
    }
    if let Some(workspace) = workspace {
        let named = plan.job.workspace.directory();
        let shown = named.map_or("the temporary workspace", |path| path.as_str());
        mounts.below(workspace, shown, &mut disks)?;
    }
    if let Some(tmp) = tmp {
        mounts.below(tmp, "the temporary directory", &mut disks)?;
    }
    Ok(disks.into_iter().collect())
}

/// `/proc/self/mountinfo`, proc_pid_mountinfo(5).
struct Mounts(Vec<Mount>);

struct Mount {
    id: String,
    device: String,
    point: PathBuf,
    kind: String,
    source: String,
    options: String,
}

impl Mounts {
    fn read() -> Result<Self, Errno> {
        let table = fs::read_to_string("/proc/self/mountinfo")?;
        Ok(Self(table.lines().filter_map(Mount::parse).collect()))
    }

    /// Adds the disks under an open place and under everything that is mounted below it.
    fn below(&self, place: &OwnedFd, shown: &str, disks: &mut BTreeSet<String>) -> Result<(), StepError> {
        self.collect(place, DEEPEST, disks).at(Step::FindDisk, shown)
    }

    fn collect(&self, place: &OwnedFd, depth: u32, disks: &mut BTreeSet<String>) -> Result<(), Errno> {
        let number = place.as_raw_fd();
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}"))?;
        let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:")).map(str::trim);
        let path = fs::read_link(format!("/proc/self/fd/{number}"))?;
        let own = self.0.iter().find(|mount| Some(mount.id.as_str()) == id).ok_or(Errno(libc::ENODEV))?;
        let below = self.0.iter().filter(|mount| mount.point != path && mount.point.starts_with(&path));
        std::iter::once(own).chain(below).try_for_each(|mount| self.disks_of(mount, depth, disks))
    }

    fn disks_of(&self, mount: &Mount, depth: u32, disks: &mut BTreeSet<String>) -> Result<(), Errno> {
        if !mount.device.starts_with("0:") {
            disks.insert(whole(&mount.device)?);
            return Ok(());
        }
        // A number without a device: the file system has none, several, or those of others.
        match mount.kind.as_str() {
            kind if DISKLESS.contains(&kind) => Ok(()),
            "overlay" => {
                let depth = depth.checked_sub(1).ok_or(Errno(libc::ELOOP))?;
                let layers: Vec<_> = mount.layers().collect();
                // In a container the layers' paths are the host's, and lead nowhere here.
                let mut reached = layers.iter().filter_map(|layer| file::open(layer, libc::O_PATH).ok());
                let all = reached.try_fold(0, |count, layer| self.collect(&layer, depth, disks).map(|()| count + 1))?;
                if all == layers.len() && all > 0 { Ok(()) } else { Err(Errno(libc::ENODEV)) }
            }
            _ if mount.source.starts_with("/dev/") => {
                // Bcachefs names them all, Btrfs one of them.
                mount.source.split(':').try_for_each(|path| {
                    let node = fs::metadata(path).map_err(|_hidden| Errno(libc::ENODEV))?.rdev();
                    members(&format!("{}:{}", libc::major(node), libc::minor(node)), disks)
                })
            }
            _ => Err(Errno(libc::ENODEV)),
        }
    }
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let (mut before, mut after) = (before.split(' '), after.split(' '));
        let (id, device, point) = (before.next()?, before.nth(1)?, before.nth(1)?);
        let (kind, source, options) = (after.next()?, after.next()?, after.next()?);
        Some(Self {
            id: id.to_owned(),
            device: device.to_owned(),
            point: PathBuf::from(unescaped(point)),
            kind: kind.to_owned(),
            source: unescaped(source),
            options: unescaped(options),
        })
    }

    /// The directories that an overlay is made of.
    fn layers(&self) -> impl Iterator<Item = &str> {
        self.options.split(',').flat_map(|option| match option.split_once('=') {
            Some(("lowerdir" | "lowerdir+" | "datadir+" | "upperdir", value)) => {
                value.split(':').filter(|layer| !layer.is_empty()).collect()
            }
            _ => Vec::new(),
        })
    }
}

/// A field as it was before the kernel wrote spaces and their like as three octal digits.
fn unescaped(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (code, character)| text.replace(code, character))
}

/// The disk that a block device is, or is a partition of.
fn whole(device: &str) -> Result<String, Errno> {
    let directory = format!("/sys/dev/block/{device}");
    if !Path::new(&directory).join("partition").exists() {
        return Ok(device.to_owned());
    }
    // The directory is a link to the partition's, which lies in its disk's.
    Ok(fs::read_to_string(format!("{directory}/../dev"))?.trim().to_owned())
}

/// The disks of the file system that a block device belongs to: Btrfs lists all that it has.
fn members(device: &str, disks: &mut BTreeSet<String>) -> Result<(), Errno> {
    disks.insert(whole(device)?);
    let systems = fs::read_dir("/sys/fs/btrfs").into_iter().flatten().flatten();
    for devices in systems.filter_map(|system| fs::read_dir(system.path().join("devices")).ok()) {
        let numbers: Vec<_> = devices
            .flatten()
            .filter_map(|entry| fs::read_to_string(entry.path().join("dev")).ok())
            .map(|text| text.trim().to_owned())
            .collect();
        if numbers.iter().any(|number| number == device) {
            for number in &numbers {
                disks.insert(whole(number)?);
            }
        }
    }
    Ok(())
}
