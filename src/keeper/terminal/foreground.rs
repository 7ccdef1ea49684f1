//! The processes in the foreground of a terminal: whether one waits for input, and how they are killed.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};

/// So many processes, and threads of each, are looked at: a sandbox decides how many there are.
const MOST: usize = 64;

/// So many descriptors of one call are looked at.
const MOST_POLLED: usize = 64;

/// A process's group and session: proc_pid_stat(5).
fn group_and_session(pid: i32) -> Option<(i32, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may have any character in it.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The processes of a group in the session of this shell.
fn members(group: Pid, shell: i32) -> Vec<i32> {
    let group = group.as_raw_nonzero().get();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| group_and_session(*pid) == Some((group, shell))).take(MOST).collect()
}

/// Sends a signal to each process of the group. By pidfds, each of which was seen to be of the shell's session after it was
/// opened: between looking and killing a number may become somebody else's.
pub(super) fn signal(group: Pid, shell: i32, signal: Signal) {
    for pid in members(group, shell) {
        let Some(number) = Pid::from_raw(pid) else { continue };
        let Ok(pidfd) = pidfd_open(number, PidfdFlags::empty()) else { continue };
        if group_and_session(pid) == Some((group.as_raw_nonzero().get(), shell)) {
            // It may have ended meanwhile.
            let _ended = pidfd_send_signal(&pidfd, signal);
        }
    }
}

/// Whether one of the group waits for input from the terminal, which is this device. `None` where we may not know.
pub(super) fn waits_for_input(group: Pid, shell: i32, device: (u64, u64)) -> Option<bool> {
    let mut is_known = true;
    for pid in members(group, shell) {
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        let threads = threads.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        for thread in threads.take(MOST) {
            match fs::read_to_string(format!("/proc/{pid}/task/{thread}/syscall")) {
                Ok(call) if waits_on(pid, &call, device).unwrap_or(false) => return Some(true),
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => is_known = false,
                // It runs, or waits for something else, or has ended.
                _ => {}
            }
        }
    }
    is_known.then_some(false)
}

/// Whether a call that a thread is in, as proc_pid_syscall(5) tells it, is for input from the device.
fn waits_on(pid: i32, call: &str, device: (u64, u64)) -> Option<bool> {
    let mut words = call.split_ascii_whitespace();
    let number = words.next()?.parse::<u32>().ok()?;
    let arguments: Vec<u64> =
        words.filter_map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()).take(3).collect();
    let &[first, second, _] = &arguments[..] else { return None };
    let is_device = |descriptor: u64| {
        let path = format!("/proc/{pid}/fd/{descriptor}");
        fs::metadata(path)
            .is_ok_and(|found| (found.dev(), found.ino()) == device || found.rdev() == rustix::fs::makedev(5, 0))
    };
    let waits = match Call::of(number)? {
        Call::Read => is_device(first),
        Call::Poll => polled(pid, first, second)?.into_iter().any(is_device),
        Call::Select => selected(pid, first, second)?.into_iter().any(is_device),
        Call::Epoll => watched(pid, first)?.into_iter().any(is_device),
    };
    Some(waits)
}

/// The calls in which programs wait for input.
enum Call {
    Read,
    Poll,
    Select,
    Epoll,
}

impl Call {
    /// By its number: the kernel's syscall_64.tbl and asm-generic/unistd.h. Elsewhere nobody is known to wait.
    fn of(number: u32) -> Option<Self> {
        let tables: [&[u32]; 4] = match std::env::consts::ARCH {
            "x86_64" => [&[0, 19], &[7, 271], &[23, 270], &[232, 281, 441]],
            "aarch64" => [&[63, 65], &[73], &[72], &[22, 441]],
            _ => return None,
        };
        let position = tables.iter().position(|numbers| numbers.contains(&number))?;
        Some(match position {
            0 => Self::Read,
            1 => Self::Poll,
            2 => Self::Select,
            _ => Self::Epoll,
        })
    }
}

/// Memory of a process.
fn memory(pid: i32, address: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    fs::File::open(format!("/proc/{pid}/mem")).ok()?.read_exact_at(&mut bytes, address).ok()?;
    Some(bytes)
}

/// The descriptors in an array of `struct pollfd` that are polled for input: poll(2).
fn polled(pid: i32, address: u64, count: u64) -> Option<Vec<u64>> {
    const POLLIN: u8 = 1;
    let count = usize::try_from(count).ok()?.min(MOST_POLLED);
    let bytes = memory(pid, address, count * 8)?;
    let entries = bytes.as_chunks::<8>().0.iter().filter(|entry| entry[4] & POLLIN != 0);
    Some(entries.filter_map(|[a, b, c, d, ..]| u64::try_from(i32::from_ne_bytes([*a, *b, *c, *d])).ok()).collect())
}

/// The descriptors in the set that is to become readable: select(2).
fn selected(pid: i32, count: u64, address: u64) -> Option<Vec<u64>> {
    let count = count.min(MOST_POLLED as u64);
    let words = memory(pid, address, 8)?;
    let set = u64::from_ne_bytes(words.try_into().ok()?);
    Some((0..count).filter(|descriptor| set >> descriptor & 1 == 1).collect())
}

/// The descriptors that an epoll instance watches: proc_pid_fdinfo(5).
fn watched(pid: i32, epoll: u64) -> Option<Vec<u64>> {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{epoll}")).ok()?;
    let targets =
        info.lines().filter_map(|line| line.strip_prefix("tfd:")?.split_ascii_whitespace().next()?.parse().ok());
    Some(targets.take(MOST_POLLED).collect())
}
