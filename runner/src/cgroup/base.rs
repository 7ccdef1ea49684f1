//! Where on a v2 host sandboxes' groups are made, and what makes that group hand its controllers down.
//!
//! A user's are made in the group that he is in, when it was delegated to him; else in a scope that his service manager
//! makes for this runner alone (`manager`). Root is never moved: his are made at the top.
//!
//! A group whose children have controllers may hold no processes itself (cgroups(7), "no internal processes"). Where
//! some stand in the way, they go one group deeper, into [`ASIDE`], and stay below every limit that they were under.
//! That is done in two places only: in a group that was delegated to a user, and holds that user's processes alone;
//! and, for root, at the root of a container's own cgroup namespace, where the kernel ends the container's say. Root's
//! login session and services are never rearranged. No process but the runner ever leaves its unit.

use super::{Directory, file, manager, own_groups, own_path};
use crate::sys::{self, Errno};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;

const ROOT: &str = "/sys/fs/cgroup";

/// The group of those that stood in the way. It lives until the unit that it is in ends: where they are moved back,
/// the next sandbox would move them again.
const ASIDE: &str = "pinfold-aside";

/// How often processes are moved aside: between the looking and the moving, one of them may start another.
const ATTEMPTS: u32 = 10;

/// The inode of the first cgroup namespace, the host's: PROC_CGROUP_INIT_INO of <linux/proc_ns.h>.
const FIRST_NAMESPACE: u64 = 0xEFFF_FFFB;

/// The group below which sandboxes are made. Root takes the hierarchy's root, as Docker's cgroupfs driver does, so that
/// the caller's session need not be rearranged.
pub(super) fn find() -> Option<Directory> {
    let uid = sys::process::effective_uid();
    if uid == 0 {
        return sees_own_root().then(|| open("")).flatten();
    }
    let own = own_group()?;
    let unit = Unit::of(&own, uid);
    let is_delegated = unit.as_ref().is_none_or(|unit| unit.is_delegated(uid));
    if let Some(base) = is_delegated.then(|| open(&own)).flatten() {
        return Some(base);
    }
    let unit = unit.filter(Unit::may_be_left)?;
    let scope = manager::move_into_scope(uid, unit.slice())?;
    // In a container that sees the host's manager, the scope may be in a part of the hierarchy that isn't seen.
    let own = own_group().filter(|own| own.ends_with(&format!("/{scope}")))?;
    open(&own)
}

/// Whether we are in a service that a user neither was given nor may leave.
pub(super) fn is_kept_in_service(uid: u32) -> bool {
    let Some(own) = own_group() else { return false };
    Unit::of(&own, uid).is_some_and(|unit| !unit.may_be_left())
}

/// The group that we are in. An earlier runner moved us, or who started us, aside; what counts is the group that this
/// was done in.
fn own_group() -> Option<String> {
    let own = own_path(&own_groups(), None)?;
    Some(own.strip_suffix(ASIDE).unwrap_or(&own).trim_end_matches('/').to_owned())
}

/// A group, if groups may be made in it and processes moved to them: whoever may write to these files (cgroups(7),
/// "delegation containment").
fn open(group: &str) -> Option<Directory> {
    let path = format!("{ROOT}{group}");
    let fd = sys::file::open(&path, crate::tree::DIRECTORY).ok()?;
    let is_ours = |name| sys::file::openat(Some(fd.as_fd()), name, libc::O_WRONLY, 0).is_ok();
    (is_ours(c"cgroup.subtree_control") && is_ours(c"cgroup.procs")).then_some(Directory { path, fd })
}

/// The unit of systemd's that a group is in: a scope or a service.
struct Unit<'a> {
    name: &'a str,
    /// The group that the unit's own is in.
    parent: &'a str,
    /// Whether the user's own manager started it, and not the system's.
    is_users: bool,
}

impl<'a> Unit<'a> {
    /// `None` where there is no unit: then there is no systemd, or an administrator has made the group, and the owner is
    /// all that there is to go by.
    fn of(mut path: &'a str, uid: u32) -> Option<Self> {
        loop {
            let (parent, name) = path.rsplit_once('/')?;
            if name.ends_with(".scope") || name.ends_with(".service") {
                // The user's manager was handed the group that its units are in.
                let is_users = std::fs::metadata(format!("{ROOT}{parent}")).is_ok_and(|parent| parent.uid() == uid);
                return Some(Self { name, parent, is_users });
            }
            path = parent;
        }
    }

    /// Whether it was delegated, if it is the user's. All units of his own manager are his, so the owner alone doesn't
    /// say it; and where a unit was not delegated, systemd may stop all of it, a terminal with everything in it, when
    /// the kernel shoots one process of it that is out of memory (`OOMPolicy=`).
    fn is_delegated(&self, uid: u32) -> bool {
        // The system's manager gives a user nothing but what was delegated.
        if !self.is_users {
            return true;
        }
        // systemd.unit(5): where `systemd-run` and its like leave what they asked for. The attribute `user.delegate` is
        // set by the system's manager only. What a unit's own file says isn't found out: a scope is asked for then.
        let file = format!("/run/user/{uid}/systemd/transient/{}", unescaped(self.name));
        std::fs::read_to_string(file).is_ok_and(|text| says_delegate(&text))
    }

    /// Whether this process may leave it for a scope of its own. A service of the system's is the administrator's: what
    /// he limited and what he stops must be all of it. A login session is left, as by `systemd-run --user`.
    fn may_be_left(&self) -> bool {
        self.is_users || self.name.ends_with(".scope")
    }

    /// The slice of the user's manager that the unit is in: what is left stays under the slice's limits.
    fn slice(&self) -> Option<&'a str> {
        let above = self.is_users.then(|| self.parent.rsplit('/').next()).flatten();
        above.map(unescaped).filter(|name| name.ends_with(".slice"))
    }
}

/// A unit's name by its group's, which has an underscore in front where it could be taken for something else.
fn unescaped(group: &str) -> &str {
    group.strip_prefix('_').unwrap_or(group)
}

/// Whether the last word of a unit's file on delegation is yes: as a boolean, or as a list of controllers.
fn says_delegate(text: &str) -> bool {
    let word = text.lines().rev().find_map(|line| line.trim().strip_prefix("Delegate="));
    word.is_some_and(|word| !["", "no", "false", "off", "n", "f", "0"].contains(&word.trim().to_lowercase().as_str()))
}

/// Whether what is mounted is the root of our own cgroup namespace: the kernel lets us put processes into no group
/// above that, even where such a group can be seen.
fn sees_own_root() -> bool {
    if std::fs::metadata("/proc/self/ns/cgroup").is_ok_and(|namespace| namespace.ino() == FIRST_NAMESPACE) {
        return true;
    }
    // proc_pid_mountinfo(5): the fourth field is the mount's root as seen from our namespace, the fifth where it is.
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mount = table.lines().rfind(|line| line.split(' ').nth(4) == Some(ROOT));
    mount.is_some_and(|line| line.split(' ').nth(3) == Some("/"))
}

/// Makes the wanted controllers available to the children of the base, as many as there are.
pub(super) fn hand_down(base: &Directory, wanted: &[&str]) {
    let group = base.fd.as_fd();
    let already = file::read(group, c"cgroup.subtree_control").unwrap_or_default();
    if wanted.iter().all(|name| has_word(&already, name)) {
        return;
    }
    let available = file::read(group, c"cgroup.controllers").unwrap_or_default();
    let there: Vec<_> = wanted.iter().copied().filter(|name| has_word(&available, name)).collect();
    if there.is_empty() {
        return;
    }
    for _ in 0..ATTEMPTS {
        // Looked at first: `pids` and `cpu` could be enabled above processes, which would turn the group into one of
        // threads, where no groups for processes can be made.
        if is_in_the_way(group) {
            if move_aside(group).is_err() {
                return;
            }
            continue;
        }
        match enable(group, &there) {
            Err(Errno(libc::EBUSY)) => {}
            // All or nothing; one of them may be refused for reasons of its own.
            Err(_) => return there.iter().for_each(|name| _ = enable(group, &[name])),
            Ok(()) => return,
        }
    }
}

/// Whether a group has processes and is not the hierarchy's true root, where they are in nobody's way.
fn is_in_the_way(group: BorrowedFd<'_>) -> bool {
    let is_root = file::read(group, c"cgroup.type") == Err(Errno(libc::ENOENT));
    !is_root && file::read(group, c"cgroup.procs") != Ok(String::new())
}

/// Writes `cgroup.subtree_control`: all or nothing.
pub(super) fn enable(group: BorrowedFd<'_>, controllers: &[&str]) -> Result<(), Errno> {
    let request: Vec<_> = controllers.iter().map(|name| format!("+{name}")).collect();
    file::write(group, c"cgroup.subtree_control", &request.join(" "))
}

pub(super) fn has_word(text: &str, word: &str) -> bool {
    text.split_whitespace().any(|other| other == word)
}

/// Moves the processes of a group aside, if all of them are ours to move.
fn move_aside(group: BorrowedFd<'_>) -> Result<(), Errno> {
    let table = file::read(group, c"cgroup.procs")?;
    let mut ours = Vec::new();
    for pid in table.lines() {
        match is_ours(pid) {
            Some(true) => ours.push(pid),
            Some(false) => return Err(Errno(libc::EPERM)),
            // Gone, or hidden from us: then it is still there at the next look.
            None => {}
        }
    }
    let name = sys::c_string(ASIDE)?;
    match sys::file::mkdirat(group, &name, 0o755) {
        Ok(()) | Err(Errno(libc::EEXIST)) => {}
        Err(errno) => return Err(errno),
    }
    let aside = sys::file::openat(Some(group), &name, crate::tree::DIRECTORY, 0)?;
    for pid in ours {
        match file::write(aside.as_fd(), c"cgroup.procs", pid) {
            Ok(()) | Err(Errno(libc::ESRCH)) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Whether a process is this user's; root may move any. `None` when it can't be seen. One outside of our pid namespace
/// is shown as `0`, which when written would mean ourselves.
fn is_ours(pid: &str) -> Option<bool> {
    let uid = sys::process::effective_uid();
    if pid == "0" || uid == 0 {
        return Some(pid != "0");
    }
    // By its status: the directory of a process that can't be traced belongs to root, whosever it is.
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let real = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok());
    Some(real == Some(uid))
}
