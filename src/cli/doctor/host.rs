//! The host as it looks from here: the settings that decide what a sandbox can have. Read only, from `/proc` and `/sys`;
//! nothing is concluded here but what is a plain fact.

use super::cgroup::Cgroup;
use serde::Serialize;
use std::fs::read_to_string;
use std::path::Path;

/// The oldest kernel that Pinfold supports: the one of the enterprise distributions of 2022.
const OLDEST_KERNEL: (u32, u32) = (5, 14);

/// What was found.
#[derive(Debug, Serialize)]
pub(super) struct Host {
    /// `uname -r`.
    pub(super) kernel: String,
    /// The uid that sandboxes are started by.
    pub(super) uid: u32,
    /// The container that we are in ourselves, by its maker's name, if any.
    pub(super) container: Option<&'static str>,
    /// `1` or `2` of the Windows Subsystem for Linux.
    pub(super) wsl: Option<u32>,
    /// The seccomp mode of this very process: 0 none, 2 filtered.
    pub(super) seccomp_mode: Option<u32>,
    /// What filters may answer: `/proc/sys/kernel/seccomp/actions_avail`.
    pub(super) seccomp_actions: Option<String>,
    /// Whether CAP_SYS_ADMIN is in force for this very process: capabilities(7).
    pub(super) has_sys_admin: bool,
    /// Whether we are in a user namespace already, as in a rootless container: then not every uid of the host is ours.
    pub(super) in_user_namespace: bool,
    /// AppArmor's profile for this very process, unless it is `unconfined`.
    pub(super) apparmor_profile: Option<String>,
    /// Whether SELinux enforces its policy.
    pub(super) selinux_enforcing: bool,
    /// The Linux security modules in force: `/sys/kernel/security/lsm`.
    pub(super) lsm: Option<String>,
    /// `kernel.unprivileged_userns_clone`, of Debian's kernels.
    pub(super) unprivileged_userns_clone: Option<u64>,
    /// `kernel.apparmor_restrict_unprivileged_userns`, of Ubuntu's kernels.
    pub(super) apparmor_restrict_unprivileged_userns: Option<u64>,
    /// Those of `user.max_*_namespaces` that are 0.
    pub(super) namespaces_at_zero: Vec<String>,
    /// Paths below `/proc` that something is mounted over, as container runtimes do.
    pub(super) masked_proc: Vec<String>,
    pub(super) cgroup: Cgroup,
    /// Where temporary workspaces live.
    pub(super) state_directory: String,
    /// The file system that holds it.
    pub(super) state_file_system: Option<String>,
    /// Whether it forbids executing what lies on it.
    pub(super) state_noexec: bool,
}

impl Host {
    /// Looks.
    pub(super) fn look() -> Self {
        let kernel = line("/proc/sys/kernel/osrelease").unwrap_or_default();
        let status = read_to_string("/proc/self/status").unwrap_or_default();
        let mounts = Mounted::all();
        let uid = rustix::process::geteuid().as_raw();
        let state_directory = state_directory(uid);
        let state =
            mounts.iter().filter(|mount| state_directory.starts_with(&mount.point)).max_by_key(|m| m.point.len());
        Self {
            uid,
            container: container(),
            wsl: wsl(&kernel),
            seccomp_mode: status.lines().find_map(|line| line.strip_prefix("Seccomp:")?.trim().parse().ok()),
            seccomp_actions: line("/proc/sys/kernel/seccomp/actions_avail"),
            has_sys_admin: has_sys_admin(&status),
            in_user_namespace: in_user_namespace(&read_to_string("/proc/self/uid_map").unwrap_or_default()),
            apparmor_profile: apparmor_profile(),
            selinux_enforcing: number("/sys/fs/selinux/enforce") == Some(1),
            lsm: line("/sys/kernel/security/lsm"),
            unprivileged_userns_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
            apparmor_restrict_unprivileged_userns: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            namespaces_at_zero: namespaces_at_zero(),
            masked_proc: masked_proc(&mounts),
            cgroup: Cgroup::look(&mounts),
            state_file_system: state.map(|mount| mount.kind.clone()),
            state_noexec: state.is_some_and(|mount| mount.options.split(',').any(|option| option == "noexec")),
            state_directory,
            kernel,
        }
    }

    pub(super) fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Whether the kernel is older than the oldest supported one.
    pub(super) fn kernel_is_too_old(&self) -> bool {
        let mut parts = self.kernel.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
        let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        version != (0, 0) && version < OLDEST_KERNEL
    }

    /// What works but should be known.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.state_noexec {
            warnings.push(format!(
                "temporary workspaces live on a file system mounted noexec (`{}`): programs that are built there can't be \
                 run; set PINFOLD_STATE_DIR to a directory elsewhere",
                self.state_directory
            ));
        }
        if matches!(self.state_file_system.as_deref(), Some("tmpfs" | "ramfs")) {
            warnings.push(format!(
                "temporary workspaces live in the host's memory (`{}` is on a tmpfs); set PINFOLD_STATE_DIR to a directory \
                 on disk",
                self.state_directory
            ));
        }
        if self.is_root() && !self.has_sys_admin {
            warnings.push(
                "root lacks CAP_SYS_ADMIN here, as in a container: jobs that are given a directory of the caller's (a \
                 workspace, a mount, a root) fail; for those start Pinfold as an ordinary user"
                    .to_owned(),
            );
        }
        let sockets = ["/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock"];
        if let Some(socket) = sockets.iter().find(|socket| Path::new(socket).exists()) {
            warnings.push(format!(
                "a directory that is mounted gives the command every Unix socket in it: never mount `{socket}` or its \
                 directory, which is worth root on this host"
            ));
        }
        warnings
    }
}

/// One line of `/proc/self/mountinfo`: proc_pid_mountinfo(5).
#[derive(Debug)]
pub(super) struct Mounted {
    /// Where.
    pub(super) point: String,
    /// The options of this mount.
    pub(super) options: String,
    /// The type of the file system.
    pub(super) kind: String,
    /// The options of the file system itself.
    pub(super) super_options: String,
}

impl Mounted {
    fn all() -> Vec<Self> {
        let text = read_to_string("/proc/self/mountinfo").unwrap_or_default();
        text.lines().filter_map(Self::parse).collect()
    }

    fn parse(line: &str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(4);
        let (point, options) = (mount.next()?, mount.next()?);
        let mut file_system = file_system.split(' ');
        let (kind, super_options) = (file_system.next()?, file_system.nth(1)?);
        let owned = str::to_owned;
        Some(Self {
            point: owned(point),
            options: owned(options),
            kind: owned(kind),
            super_options: owned(super_options),
        })
    }
}

/// The runner's rule: what is said there decides, this only tells.
fn state_directory(uid: u32) -> String {
    match std::env::var("PINFOLD_STATE_DIR") {
        Ok(path) => path,
        Err(_) if uid == 0 => "/var/lib/pinfold".to_owned(),
        Err(_) => format!("/var/tmp/pinfold-{uid}"),
    }
}

fn line(path: &str) -> Option<String> {
    read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn number(path: &str) -> Option<u64> {
    line(path)?.parse().ok()
}

/// The first user namespace maps all uids to themselves: user_namespaces(7).
fn in_user_namespace(uid_map: &str) -> bool {
    let numbers: Vec<_> = uid_map.split_whitespace().collect();
    !numbers.is_empty() && numbers != ["0", "0", "4294967295"]
}

/// CAP_SYS_ADMIN is number 21 in the mask: <linux/capability.h>.
fn has_sys_admin(status: &str) -> bool {
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> 21 & 1 == 1)
}

fn apparmor_profile() -> Option<String> {
    let profile = line("/proc/self/attr/apparmor/current")?;
    (profile != "unconfined").then_some(profile)
}

fn container() -> Option<&'static str> {
    let named = line("/run/systemd/container");
    match named.as_deref() {
        Some("podman") => return Some("podman"),
        Some("lxc") => return Some("lxc"),
        Some("systemd-nspawn") => return Some("systemd-nspawn"),
        _ => {}
    }
    let exists = |path: &str| Path::new(path).exists();
    if exists("/var/run/secrets/kubernetes.io") || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        Some("kubernetes")
    } else if exists("/.dockerenv") {
        Some("docker")
    } else if exists("/run/.containerenv") {
        Some("podman")
    } else {
        None
    }
}

/// WSL 1 is no Linux at all and says `Microsoft`; WSL 2 says `microsoft-standard`.
fn wsl(kernel: &str) -> Option<u32> {
    if kernel.contains("microsoft") {
        Some(2)
    } else if kernel.contains("Microsoft") {
        Some(1)
    } else {
        None
    }
}

fn namespaces_at_zero() -> Vec<String> {
    let kinds = ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"];
    let names = kinds.iter().map(|kind| format!("max_{kind}_namespaces"));
    names
        .filter(|name| number(&format!("/proc/sys/user/{name}")) == Some(0))
        .map(|name| format!("user.{name}"))
        .collect()
}

/// The kernel lets nobody mount a fresh /proc in a user namespace who can't see all of the old one; binfmt_misc, which
/// systemd mounts there, covers nothing.
fn masked_proc(mounts: &[Mounted]) -> Vec<String> {
    let below = mounts.iter().filter(|mount| mount.point.starts_with("/proc/") && mount.kind != "binfmt_misc");
    below.filter(|mount| mount.point != "/proc/sys/fs/binfmt_misc").map(|mount| mount.point.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_read_past_its_optional_fields() {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue";
        let mount = Mounted::parse(line).unwrap();
        assert_eq!((mount.point.as_str(), mount.options.as_str()), ("/mnt2", "rw,noatime"));
        assert_eq!((mount.kind.as_str(), mount.super_options.as_str()), ("ext3", "rw,errors=continue"));
    }

    #[test]
    fn the_first_user_namespace_is_told_from_others() {
        assert!(!in_user_namespace("         0          0 4294967295\n"));
        assert!(in_user_namespace("         0       1000          1\n"));
    }

    #[test]
    fn the_capability_is_read_from_the_effective_set() {
        assert!(has_sys_admin("CapPrm:\t0\nCapEff:\t0000000000200000\n"));
        assert!(!has_sys_admin("CapPrm:\t000001ffffffffff\nCapEff:\t00000000a80425fb\n"));
        assert!(!has_sys_admin(""));
    }

    #[test]
    fn wsl_is_told_by_the_kernels_name() {
        assert_eq!(wsl("5.15.153.1-microsoft-standard-WSL2"), Some(2));
        assert_eq!(wsl("4.4.0-19041-Microsoft"), Some(1));
        assert_eq!(wsl("6.1.0-18-amd64"), None);
    }
}
