//! The sandbox's processes as the host sees them, found from init down: where there is no cgroup to ask.
//!
//! Every process of the sandbox is a descendant of init, whoever its parent was: orphans become init's children. What
//! ends while we look is missed, and counted with its parent at the next look.

use crate::sys::process;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Whether the kernel tells a process's children: CONFIG_PROC_CHILDREN, and a `/proc` that shows them.
pub(crate) fn can_be_listed() -> bool {
    fs::exists("/proc/thread-self/children").unwrap_or(false)
}

/// The host's pids of all descendants of `init`. Empty on a kernel without CONFIG_PROC_CHILDREN.
pub(crate) fn below(init: i32) -> Vec<i32> {
    let mut found = Vec::new();
    each_below(init, |pid| found.push(pid));
    found
}

/// How many processes and threads there are below `init`, where the kernel tells.
pub(crate) fn count_below(init: i32) -> Option<u64> {
    let mut count = 0;
    each_below(init, |pid| count += threads(pid).count() as u64);
    can_be_listed().then_some(count)
}

/// Calls `visit` with each of them as soon as it is found, since it may not live for long.
pub(crate) fn each_below(init: i32, mut visit: impl FnMut(i32)) {
    each_below_but(init, |pid| {
        visit(pid);
        true
    });
}

/// The same, but looks for nobody below those for whom `visit` says false.
pub(crate) fn each_below_but(init: i32, mut visit: impl FnMut(i32) -> bool) {
    let mut waiting = vec![init];
    while let Some(pid) = waiting.pop() {
        if pid != init && !visit(pid) {
            continue;
        }
        for thread in threads(pid) {
            let children = fs::read_to_string(thread.join("children")).unwrap_or_default();
            waiting.extend(children.split_whitespace().filter_map(|child| child.parse::<i32>().ok()));
        }
    }
}

/// Whether there is such a process, and it has not ended.
pub(crate) fn lives(pid: i32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap_or(true) && !is_zombie(pid)
}

/// Whether it has ended with all its threads, and is only still to be reaped: it has no children any more.
pub(crate) fn is_zombie(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")) && threads(pid).count() <= 1
}

/// The directories of a process's threads in `/proc`.
fn threads(pid: i32) -> impl Iterator<Item = PathBuf> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.map(|task| task.path())
}

/// Calls `visit` with each file that the process holds open. False when some can't be seen.
pub(crate) fn each_open_file(pid: i32, mut visit: impl FnMut(&fs::Metadata)) -> bool {
    let mut is_seen = true;
    // Of each thread: one may have a table of its own (unshare(2), CLONE_FILES), and the first may have ended.
    for thread in threads(pid) {
        let descriptors = match fs::read_dir(thread.join("fd")) {
            Ok(descriptors) => descriptors,
            Err(error) => {
                is_seen &= error.kind() != ErrorKind::PermissionDenied || has_ended(&thread);
                continue;
            }
        };
        for descriptor in descriptors.flatten() {
            // metadata() goes through the magic link and opens nothing: a FIFO or device can't hold us up.
            match fs::metadata(descriptor.path()) {
                Ok(found) => visit(&found),
                // CAP_DAC_OVERRIDE shows root the numbers of descriptors; to follow them takes CAP_SYS_PTRACE, which is not root's
                // in a container.
                Err(error) => is_seen &= error.kind() != ErrorKind::PermissionDenied || has_ended(&thread),
            }
        }
    }
    is_seen
}

/// Whether a thread has no memory any more. What is ending or a zombie belongs to the host's root in `/proc`, and holds nothing.
fn has_ended(thread: &Path) -> bool {
    fs::read_to_string(thread.join("status")).map_or(true, |status| !shows_memory(&status))
}

/// The thread in whose entries a process's memory is to be seen, and its `status`: the first, but when that has ended
/// before the others (pthread_exit(3)), they alone show any. `None` when the process has ended.
fn bearer(pid: i32) -> Option<(i32, String)> {
    let status = |thread: i32| Some((thread, fs::read_to_string(format!("/proc/{thread}/status")).ok()?));
    let first = status(pid)?;
    if shows_memory(&first.1) {
        return Some(first);
    }
    let others = threads(pid).filter_map(|thread| status(thread.file_name()?.to_str()?.parse().ok()?));
    Some(others.into_iter().find(|(_, status)| shows_memory(status)).unwrap_or(first))
}

fn shows_memory(status: &str) -> bool {
    field(status, "RssAnon:").is_some()
}

/// Of these processes, one for each memory: a child of vfork(2) has its parent's until it executes something, and what
/// shares one (CLONE_VM) shows all of it each. By any thread that shows it. Where the kernel doesn't tell (kcmp(2)), each
/// counts as one of its own.
pub(crate) fn with_own_memory(pids: &[i32]) -> Vec<i32> {
    let mut sorted: Vec<i32> = Vec::new();
    for (thread, _) in pids.iter().filter_map(|pid| bearer(*pid)) {
        if let Err(place) = sorted.binary_search_by(|other| process::compare_memory(*other, thread)) {
            sorted.insert(place, thread);
        }
    }
    sorted
}

/// Whether one of its threads has mapped a file that has no name any more: then no descriptor may be left of it.
pub(crate) fn maps_deleted(pid: i32) -> bool {
    threads(pid).any(|thread| thread_maps_deleted(&thread))
}

/// The kernel's own (shared memory, memfd) are called deleted too, and are in memory.
fn thread_maps_deleted(thread: &Path) -> bool {
    let maps = fs::read_to_string(thread.join("maps")).unwrap_or_default();
    let in_memory = ["/dev/zero (", "/memfd:", "/SYSV", "/dev/shm/"];
    maps.lines().filter(|line| line.ends_with(" (deleted)")).any(|line| {
        let path = line.find('/').map_or("", |start| &line[start..]);
        !in_memory.iter().any(|start| path.starts_with(start))
    })
}

/// CPU time that init's descendants have used together, in milliseconds: what the living have used, and their reaped
/// children. A child whose parent ignores SIGCHLD is counted only while it lives.
pub(crate) fn cpu_ms(init: i32) -> Option<f64> {
    // Init's own time is none of the command's; the children that it reaped are.
    let reaped = times(init)?.1;
    let living: f64 = below(init).into_iter().filter_map(times).map(|(own, reaped)| own + reaped).sum();
    Some(reaped + living)
}

/// Fields 14 to 17 of `/proc/PID/stat`, proc_pid_stat(5), in milliseconds: own time, and that of reaped children. The
/// kernel counts them in hundredths of a second whatever its own tick is (USER_HZ).
fn times(pid: i32) -> Option<(f64, f64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, and may hold any character.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || Some(fields.next()?.parse::<f64>().ok()? * 10.0);
    let (user, system, reaped_user, reaped_system) = (next()?, next()?, next()?, next()?);
    Some((user + system, reaped_user + reaped_system))
}

/// A process's memory in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Its own: heaps, stacks, private mappings, what of them is swapped out, and the tables that map them.
    pub(crate) private: u64,
    /// What it has mapped of shared memory and of files in memory.
    pub(crate) shared: u64,
}

/// What is mapped, from `/proc/PID/status`: everybody may read it and it is cheap, but what two processes share is in
/// the figures of both. `None` when the process has ended.
pub(crate) fn mapped(pid: i32) -> Option<Memory> {
    bearer(pid).map(|(_, status)| mapped_by(&status))
}

fn mapped_by(status: &str) -> Memory {
    let kib = |key| field(status, key).unwrap_or(0) << 10;
    Memory { private: kib("RssAnon:") + kib("VmSwap:") + kib("VmPTE:"), shared: kib("RssShmem:") }
}

/// The process's part of what is mapped, from `/proc/PID/smaps_rollup` (Linux 4.14; its parts 5.4): a page that n processes map
/// counts one nth, so the sum over all is true. The kernel walks the page tables for it. Where it may not be read, what is mapped
/// counts as this process's alone.
pub(crate) fn part(pid: i32) -> Option<Memory> {
    let (thread, status) = bearer(pid)?;
    let mapped = mapped_by(&status);
    let Ok(rollup) = fs::read_to_string(format!("/proc/{thread}/smaps_rollup")) else { return Some(mapped) };
    let (Some(anon), Some(shared)) = (field(&rollup, "Pss_Anon:"), field(&rollup, "Pss_Shmem:")) else {
        return Some(mapped);
    };
    let own = anon + field(&rollup, "SwapPss:").unwrap_or(0) + field(&status, "VmPTE:").unwrap_or(0);
    Some(Memory { private: own << 10, shared: shared << 10 })
}

/// The number after `key` at the start of a line.
pub(crate) fn field(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Of each mapping of a process that belongs to the file system `device`: the inode, and the process's part of what is mapped in
/// bytes. From `/proc/PID/smaps`, proc_pid_smaps(5).
pub(crate) fn each_mapping_of(pid: i32, device: (u32, u32), mut visit: impl FnMut(u64, &str, u64)) {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    let device = format!("{:02x}:{:02x}", device.0, device.1);
    let mut current = None;
    for line in smaps.lines() {
        if let Some(part) = line.strip_prefix("Pss:") {
            let kib = part.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
            if let (Some((inode, name)), Some(kib)) = (current, kib) {
                visit(inode, name, kib << 10);
            }
        } else if line.as_bytes().first().is_some_and(|first| first.is_ascii_hexdigit() && !first.is_ascii_uppercase())
        {
            // The first line of a mapping: range, rights, offset, device, inode, name.
            let mut words = line.split_whitespace().skip(3);
            let is_there = words.next() == Some(device.as_str());
            let inode = words.next().and_then(|inode| inode.parse().ok());
            current = inode.filter(|_| is_there).map(|inode| (inode, words.next().unwrap_or_default()));
        }
    }
}
