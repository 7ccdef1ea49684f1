//! Who the sandbox is on the host: id maps of user namespaces, and idmapped mounts' namespaces.

use crate::failure::{At, Step, StepError};
use crate::sys::process::{self, Fork};
use crate::sys::{file, pipe, signal};
use pinfold_runner::User;
use std::os::fd::{AsFd, OwnedFd};

/// The host's uid and gid that stand behind the sandbox's one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostIds {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Writes the maps of a new user namespace: one user and one group, nobody else exists inside. An unprivileged writer
/// must first give up setgroups(2) there (user_namespaces(7)).
pub(crate) fn write_maps(pid: i32, user: User, host: HostIds, privileged: bool) -> Result<(), StepError> {
    if !privileged {
        write(pid, "setgroups", "deny")?;
    }
    write(pid, "uid_map", &format!("{} {} 1", user.uid, host.uid))?;
    write(pid, "gid_map", &format!("{} {} 1", user.gid, host.gid))
}

fn write(pid: i32, name: &str, text: &str) -> Result<(), StepError> {
    let path = format!("/proc/{pid}/{name}");
    file::open(&path, libc::O_WRONLY)
        .and_then(|fd| file::write_all(fd.as_fd(), text.as_bytes()))
        .at(Step::WriteIdMap, format!("{name} {text}"))
}

/// A user namespace that an idmapped mount takes its map from: `owner` on the file system is `sandbox` to the mount's
/// users. A namespace needs a process to be made; it lives just long enough for us to open what it made.
pub(crate) fn owner_namespace(owner: (u32, u32), sandbox: u32) -> Result<OwnedFd, StepError> {
    let (wait, hold) = pipe::pipe().at(Step::MakePipe, "the owner's map")?;
    match process::clone3(libc::CLONE_NEWUSER, None).at(Step::MapOwner, "a user namespace")? {
        Fork::Child => {
            drop(hold);
            let _ended_by_the_parent = file::read(wait.as_fd(), &mut [0]);
            process::exit_now(0)
        }
        Fork::Parent(pid, pidfd) => {
            let inside = User { uid: owner.0, gid: owner.1 };
            let outside = HostIds { uid: sandbox, gid: sandbox };
            let namespace = write_maps(pid, inside, outside, true).and_then(|()| {
                file::open(&format!("/proc/{pid}/ns/user"), libc::O_RDONLY).at(Step::MapOwner, "a user namespace")
            });
            drop(hold);
            let _already_gone = signal::pidfd_send_signal(&pidfd, libc::SIGKILL);
            process::wait(pid, true).at(Step::MapOwner, "a user namespace")?;
            namespace
        }
    }
}

/// Takes on the one identity that exists inside, once it is mapped. Capabilities stay, for now. Only root may drop its
/// supplementary groups.
pub(crate) fn become_user(user: User, privileged: bool) -> Result<(), StepError> {
    process::keep_capabilities().at(Step::BecomeUser, "")?;
    process::setresgid(user.gid).at(Step::BecomeUser, format!("gid {}", user.gid))?;
    if privileged {
        process::drop_groups().at(Step::BecomeUser, "supplementary groups")?;
    }
    process::setresuid(user.uid).at(Step::BecomeUser, format!("uid {}", user.uid))
}

/// Gives up root for good, on the host itself: to ids that nobody else has. The change takes all capabilities along.
pub(crate) fn become_nobody_else(ids: HostIds) -> Result<(), StepError> {
    process::setresgid(ids.gid).at(Step::BecomeUser, format!("gid {}", ids.gid))?;
    process::drop_groups().at(Step::BecomeUser, "supplementary groups")?;
    process::setresuid(ids.uid).at(Step::BecomeUser, format!("uid {}", ids.uid))
}

/// Whether the uids of `range` exist in our own user namespace. Root of a container that has a namespace of its own
/// seldom has any to spare; his sandboxes then run under his own uid, as an ordinary user's do.
pub(crate) fn can_map((first, last): (u32, u32)) -> bool {
    let Ok(map) = std::fs::read_to_string("/proc/self/uid_map") else { return false };
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<u64>().unwrap_or(0));
        let (inside, _, count) = (numbers.next(), numbers.next(), numbers.next());
        inside.zip(count).is_some_and(|(inside, count)| inside <= u64::from(first) && u64::from(last) < inside + count)
    })
}

/// Whether this user has supplementary groups that the kernel won't let him drop.
pub(crate) fn has_groups() -> bool {
    let own = process::effective_gid();
    process::groups().is_ok_and(|groups| groups.iter().any(|group| *group != own))
}
