//! What a sandbox has on the host's disk while it lives: one directory, its slot, named by a number that in root's case
//! is also the sandbox's uid. A lock on the directory says that the sandbox lives; whoever gets the lock of a slot that
//! is not his own may sweep it. Age and name say nothing.

use crate::failure::{At, Step, StepError};
use crate::sys::{self, Errno, file, poll, process};
use crate::{cgroup, landlocked, processes, quota, reach, tree};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where the slots are.
pub(crate) struct State {
    dir: OwnedFd,
    path: PathBuf,
    /// Who may do what with the directory, as it was found to be in order.
    mode: u32,
}

/// The uids that root's sandboxes run under, unless `PINFOLD_UIDS=FIRST-LAST` says otherwise: 0x70000000 to 0x7000FFFF,
/// which systemd's table of uids lists as unused, above the ranges of users, containers and `/etc/subuid`.
const DEFAULT_UIDS: (u32, u32) = (0x7000_0000, 0x7000_FFFF);

/// How long a sandbox may take to end whose runner is dead, and how long until the next look.
const DYING: Duration = Duration::from_secs(4);
const AGAIN: Duration = Duration::from_millis(1);

/// No range may reach below this: there are the system's and people's uids, and systemd's dynamic ones.
const LOWEST_UID: u32 = 65536;

impl State {
    /// Opens the state directory and makes it if it is absent. It must be ours and closed to everybody else: a
    /// directory below `/var/tmp` may have been put there by another user.
    pub(crate) fn open() -> Result<Self, StepError> {
        let uid = process::effective_uid();
        let path = match std::env::var_os("PINFOLD_STATE_DIR") {
            Some(path) => PathBuf::from(path),
            None if uid == 0 => PathBuf::from("/var/lib/pinfold"),
            None => PathBuf::from(format!("/var/tmp/pinfold-{uid}")),
        };
        let shown = path.to_string_lossy().into_owned();
        if !path.is_absolute() || path.to_str().is_none() {
            return Err(Errno(libc::EINVAL)).at(Step::OpenState, shown);
        }
        let dir = match open_directory(&shown) {
            Err(Errno(libc::ENOENT)) => {
                use std::os::unix::fs::DirBuilderExt;
                let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
                made.at(Step::OpenState, &shown)?;
                open_directory(&shown)
            }
            other => other,
        }
        .at(Step::OpenState, &shown)?;
        let stat = file::fstat(dir.as_fd()).at(Step::OpenState, &shown)?;
        // To go through it may be allowed, see `let_through`.
        if stat.st_uid != uid || stat.st_mode & 0o066 != 0 {
            return Err(Errno(libc::EACCES)).at(Step::OpenState, shown);
        }
        Ok(Self { dir, path, mode: stat.st_mode & 0o7777 })
    }

    /// Lets the slot's own uid through to what is its in the slot. Others come no further than that: none can list what is
    /// here, and what is in a slot is closed to all but its owner.
    pub(crate) fn let_through(&self, slot: &Slot) -> Result<(), StepError> {
        for dir in [&self.dir, &slot.dir] {
            file::fchmod(dir.as_fd(), 0o711).at(Step::OpenState, self.path.to_string_lossy())?;
        }
        Ok(())
    }

    /// Where the slots are on the host.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Removes what dead sandboxes left: their slots, workspaces and cgroups.
    pub(crate) fn sweep(&self) -> Result<(), StepError> {
        let shown = self.path.to_string_lossy();
        for name in tree::names(self.dir.as_fd()).at(Step::OpenState, &shown)? {
            if let Some(dead) = self.lock(&name) {
                dead.end_rest();
                dead.take_back();
                // One ruin that can't be cleared must not stop every job to come: the next start tries again.
                let _swept_next_time = dead.remove();
            }
        }
        Ok(())
    }

    /// The same for whoever saw a runner die: init, which dies of that a moment later, may have the slot still.
    pub(crate) fn sweep_after_a_death(&self) -> Result<(), StepError> {
        let deadline = Instant::now() + DYING;
        while self.has_orphans() && Instant::now() < deadline {
            let _nothing_to_wait_for = poll::poll(&mut [], Some(AGAIN));
        }
        self.sweep()
    }

    /// Whether the lock of a slot is held, and not by a runner that lives. proc_locks(5) tells who took it, which is a number
    /// that nobody has any more where a runner died, and outside of the first pid namespace it then tells nothing.
    fn has_orphans(&self) -> bool {
        let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
        let owners = locks.lines().filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let [_, "FLOCK", _, _, pid, place, ..] = fields[..] else { return None };
            let inode: u64 = place.rsplit(':').next()?.parse().ok()?;
            processes::lives(pid.parse().ok()?).then_some(inode)
        });
        let living: BTreeSet<u64> = owners.collect();
        let slots = tree::names(self.dir.as_fd()).unwrap_or_default();
        slots.iter().any(|name| {
            let Ok(slot) = file::openat(Some(self.dir.as_fd()), name, tree::DIRECTORY, 0) else { return false };
            let is_owned = file::fstat(slot.as_fd()).is_ok_and(|stat| living.contains(&stat.st_ino));
            let is_number = name.to_str().is_ok_and(|name| name.parse::<u32>().is_ok());
            is_number && !is_owned && file::try_lock(slot.as_fd()).is_ok_and(|is_free| !is_free)
        })
    }

    /// The slot `name` if it exists and nobody holds its lock.
    fn lock(&self, name: &CString) -> Option<Slot> {
        let number = name.to_str().ok()?.parse().ok()?;
        let open = || file::openat(Some(self.dir.as_fd()), name, tree::DIRECTORY, 0);
        let dir = match open() {
            // A command may have closed it, see `Slot::take_back`.
            Err(Errno(libc::EACCES)) => file::fchmodat(self.dir.as_fd(), name, 0o700).and_then(|()| open()),
            other => other,
        };
        let dir = dir.ok()?;
        if !file::try_lock(dir.as_fd()).ok()? {
            return None;
        }
        // The owner may have removed it between our open and our lock; then another may be there under that name.
        let (ours, there) = (file::fstat(dir.as_fd()).ok()?, file::fstatat(self.dir.as_fd(), name).ok()?);
        let same = ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
        let parent = self.dir.try_clone().ok()?;
        same.then(|| Slot { number, dir, parent, parent_mode: self.mode, path: self.path.join(tree::shown(name)) })
    }

    /// Takes a free slot. Starting at a random number, two runners seldom try the same one.
    pub(crate) fn take_slot(&self) -> Result<Slot, StepError> {
        let seed = random()?;
        let shown = self.path.to_string_lossy();
        let (first, last) = uids()?;
        let count = u64::from(last - first) + 1;
        for attempt in 0..count {
            let number = first + u32::try_from((seed % count + attempt) % count).unwrap_or(0);
            let name = sys::c_string(number.to_string()).at(Step::TakeSlot, &shown)?;
            match file::mkdirat(self.dir.as_fd(), &name, 0o700) {
                Ok(()) => {
                    // A sweeper may hold the lock of a slot that was just made; then it is his to remove.
                    if let Some(slot) = self.lock(&name) {
                        return Ok(slot);
                    }
                }
                Err(Errno(libc::EEXIST)) => {}
                Err(errno) => return Err(errno).at(Step::TakeSlot, shown),
            }
        }
        Err(Errno(libc::EUSERS)).at(Step::TakeSlot, shown)
    }
}

fn open_directory(path: &str) -> Result<OwnedFd, Errno> {
    file::open(path, tree::DIRECTORY)
}

/// The range of slots' numbers.
pub(crate) fn uids() -> Result<(u32, u32), StepError> {
    let Ok(text) = std::env::var("PINFOLD_UIDS") else { return Ok(DEFAULT_UIDS) };
    text.split_once('-')
        .and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)))
        .filter(|(first, last)| first <= last && *first >= LOWEST_UID && *last < u32::MAX)
        .ok_or(Errno(libc::EINVAL))
        .at(Step::TakeSlot, format!("PINFOLD_UIDS={text}"))
}

/// A sandbox's place on disk, and its claim to a number. The lock lives as long as the descriptor, which init inherits:
/// while init lives, nobody sweeps.
pub(crate) struct Slot {
    pub(crate) number: u32,
    pub(crate) dir: OwnedFd,
    parent: OwnedFd,
    parent_mode: u32,
    path: PathBuf,
}

impl Slot {
    /// Writes down which cgroups belong to this sandbox, for whoever may have to sweep it: as the text of a symbolic link
    /// that leads nowhere, which is made in one call and needs no block of its own on most file systems.
    pub(crate) fn record_cgroups(&self, paths: &[String]) -> Result<(), StepError> {
        let text = sys::c_string(paths.join("\n")).at(Step::TakeSlot, "cgroups")?;
        file::symlinkat(&text, self.dir.as_fd(), CGROUPS).at(Step::TakeSlot, "cgroups")
    }

    /// Takes the record back.
    pub(crate) fn forget_cgroups(&self) -> Result<(), StepError> {
        file::unlinkat(self.dir.as_fd(), CGROUPS, false).at(Step::TakeSlot, "cgroups")
    }

    /// Makes the slot and the state directory ours again. Without namespaces a user's command has his uid: it can open
    /// neither, but change their modes, and would keep us from removing the slot and every other job from its own.
    pub(crate) fn take_back(&self) {
        if process::effective_uid() != 0 {
            let _as_they_were = file::fchmod(self.parent.as_fd(), self.parent_mode);
            let _as_it_was = file::fchmod(self.dir.as_fd(), 0o700);
        }
    }

    /// Kills who still runs in a dead slot: without namespaces nobody did when runner and warden were killed at once. Who
    /// is in its cgroups is found there; root finds the rest by their uid, which to a user's slots means nothing.
    fn end_rest(&self) {
        self.own_cgroups().iter().for_each(|path| cgroup::kill(path));
        let had_tmp = self.path.join(landlocked::TMP).exists();
        if process::effective_uid() == 0 && self.number >= LOWEST_UID && had_tmp {
            let _nobody_is_left_by_it = reach::kill_user(self.number);
        }
    }

    /// Removes the slot with all that is in it and in its cgroups. Nothing of the sandbox may run any more. Where a group
    /// can't be removed, the slot and its record stay, and the next start tries again.
    pub(crate) fn remove(&self) -> Result<(), Errno> {
        if self.own_cgroups().iter().filter(|path| !cgroup::remove(path)).count() > 0 {
            return Err(Errno(libc::EBUSY));
        }
        self.clear()?;
        quota::lift(self.dir.as_fd(), self.number);
        let name = sys::c_string(self.number.to_string())?;
        file::unlinkat(self.parent.as_fd(), &name, true)
    }

    /// The recorded cgroups, children first. What is recorded but not a group of this very number was not written by us.
    fn own_cgroups(&self) -> Vec<String> {
        let own_name = cgroup::group_name(self.number);
        let Ok(record) = std::fs::read_link(self.path.join("cgroups")) else { return Vec::new() };
        let record = record.to_string_lossy();
        let is_own =
            |path: &&str| path.split('/').any(|part| part == own_name) && !path.split('/').any(|part| part == "..");
        record.lines().filter(is_own).map(str::to_owned).collect()
    }

    /// Removes everything in the slot. The slot itself stays, and with it its claim to the number.
    pub(crate) fn clear(&self) -> Result<(), Errno> {
        tree::clear(self.dir.as_fd())
    }
}

const CGROUPS: &std::ffi::CStr = c"cgroups";

fn random() -> Result<u64, StepError> {
    process::random().at(Step::TakeSlot, "a random number")
}

/// An id for a job that has none.
pub(crate) fn random_id() -> Result<String, StepError> {
    random().map(|number| format!("{number:016x}"))
}
