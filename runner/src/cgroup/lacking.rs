//! Why no cgroup could be had on this host, as a hint for whoever required one. Looked for only then.

use super::{Cgroups, Hierarchy, base, manager};
use crate::sys::{self, file};

/// What to do about it. The same causes are told at more length, with lines to type, by `pinfold doctor`.
pub(crate) fn hint(cgroups: &Cgroups) -> String {
    let cause = match (cgroups.version(), Hierarchy::find()) {
        (Some(_), _) => "the cgroup that sandboxes' are made in lacks one of the controllers memory, pids and cpu",
        (None, Hierarchy::None) => "no cgroup hierarchy is mounted on /sys/fs/cgroup, as in some containers",
        (None, Hierarchy::V1) => of_v1(),
        (None, Hierarchy::V2) => of_v2(),
    };
    format!("{cause}; `pinfold doctor` says how to get one")
}

fn of_v1() -> &'static str {
    if sys::process::effective_uid() == 0 {
        "the hierarchies of cgroup v1 below /sys/fs/cgroup are read-only or not mounted, as in a container"
    } else {
        "this host has cgroup v1, where only root may make groups: start Pinfold as root, or boot the host with cgroup v2"
    }
}

fn of_v2() -> &'static str {
    let uid = sys::process::effective_uid();
    if file::is_read_only(c"/sys/fs/cgroup") == Ok(true) {
        return "cgroups are read-only here, as in a container";
    }
    if uid == 0 {
        return "the group at the top of the hierarchy that can be seen is not ours to use or has no controllers, as in a \
                container without a cgroup namespace of its own";
    }
    if base::is_kept_in_service(uid) {
        return "the service of systemd's that started us was not delegated: it needs `Delegate=yes`";
    }
    if manager::is_there(uid) {
        "our own cgroup was not delegated to us, and the user's service manager gave us no other, or one without \
         controllers"
    } else {
        "our own cgroup was not delegated to us, and this user has no service manager to ask for one: log in, or have \
         `loginctl enable-linger`"
    }
}
