//! Lives in a sandbox that stays and attacks whoever comes there: `resident KIND`. It writes `ready` to the file `ready` when
//! it is at it, and goes on until it is killed. What `look` finds is in the file `seen`.

#![expect(unsafe_code, reason = "kill, fork and pipes are this probe's purpose")]
#![expect(clippy::disallowed_methods, reason = "the same")]

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::time::Duration;

/// What a runner, an init or a keeper would say, if it were asked by somebody who believes all that he reads.
const FORGED: [&[u8]; 3] = [
    b"{\"ended\":{\"number\":1,\"outcome\":{\"id\":\"forged\",\"status\":\"exited\",\"exit_code\":0}}}",
    b"E\x01\0\0\0\0\0\0\0\0\0\0\0\0",
    b"start R 0\nstart A 0\nstart P 0\n",
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map_or("", String::as_str) {
        "look" => look(),
        "kill" => signal(libc::SIGKILL),
        "stop" => signal(libc::SIGSTOP),
        "swap" => swap(),
        "pids" => pids(),
        "memory" => memory(),
        "terminals" => terminals(),
        "tamper" => tamper(),
        "orphans" => orphans(),
        "knock" => knock(),
        _ => println!("unknown"),
    }
}

fn ready() {
    let _seen_by_its_absence = fs::write("ready", "ready");
}

fn rest() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Everybody but ourselves.
fn others() -> Vec<i32> {
    let own = std::process::id();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != own).filter_map(|pid| i32::try_from(pid).ok()).collect()
}

/// Looks into everybody, and notes each new finding. Who has the runner's name before and after a look had it meanwhile: a
/// process that has executed a command never gets it back.
fn look() {
    let (mut seen, mut is_ready) = (BTreeSet::new(), false);
    let Ok(mut file) = File::create("seen") else { return };
    loop {
        for pid in others() {
            let comm = || fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let before = comm();
            let found = look_into(pid);
            let kind = match (pid, before.trim(), comm().trim()) {
                (1, ..) => "init",
                (_, "pinfold-runner", "pinfold-runner") => "setup",
                (_, "pinfold-runner", _) | (_, _, "pinfold-runner") => continue,
                _ => "other",
            };
            for finding in found {
                let line = format!("{kind} {finding}\n");
                if seen.insert(line.clone()) && file.write_all(line.as_bytes()).is_err() {
                    return;
                }
            }
        }
        if !std::mem::replace(&mut is_ready, true) {
            ready();
        }
    }
}

fn look_into(pid: i32) -> Vec<String> {
    let place = |name: &str| format!("/proc/{pid}/{name}");
    let mut found = Vec::new();
    for name in ["exe", "cwd", "root"] {
        found.extend(fs::read_link(place(name)).map(|target| format!("{name} {}", target.display())));
        // By the link itself, which leads there whatever its name is.
        found.extend(File::open(place(name)).map(|_| format!("{name} opened")));
    }
    for name in ["environ", "auxv", "mem", "stack", "syscall", "io"] {
        found.extend(File::open(place(name)).map(|_| format!("{name} opened")));
    }
    // Of a process that has no memory any more, since it is ending, anybody can open it: there is nothing in it (Linux 6.12).
    let read = File::open(place("maps")).and_then(|mut file| file.read(&mut [0]));
    found.extend(read.ok().filter(|length| *length > 0).map(|_| "maps read".to_owned()));
    for name in ["cmdline", "status", "mountinfo", "cgroup", "wchan"] {
        let mut text = Vec::new();
        let read = File::open(place(name)).and_then(|mut file| file.read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text).replace('\0', " ");
        let interesting = text.lines().filter(|line| !line.contains(':') || line.contains("pinfold"));
        if read.is_ok() {
            found.extend(interesting.map(|line| format!("{name} {line}")));
        }
    }
    for entry in fs::read_dir(place("fd")).into_iter().flatten().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default().display().to_string();
        found.push(format!("fd {}", target.trim_end_matches(|character: char| "0123456789]".contains(character))));
    }
    if found.is_empty() { vec!["closed".to_owned()] } else { found }
}

fn signal(number: i32) {
    ready();
    loop {
        for pid in others() {
            // SAFETY: a number to a number.
            unsafe { libc::kill(pid, number) };
        }
    }
}

/// `here` is a directory, a link to what init sees, a link to a descriptor, a file, and nothing, by turns; so is `tool`.
fn swap() {
    let _there = fs::create_dir_all("real");
    ready();
    loop {
        for target in ["real", "/proc/1/root", "/proc/1/cwd", "/proc/self/fd/16", "/proc/self/fd/17", "/", "..", "here"]
        {
            let _raced = symlink(target, "next");
            let _raced = fs::rename("next", "here");
        }
        let _raced = fs::remove_file("here");
        let _raced = fs::write("next", "");
        let _raced = fs::rename("next", "here");
    }
}

/// Takes every process that is to be had, and each that becomes free.
fn pids() {
    let mut count = 0;
    loop {
        // SAFETY: this process has one thread.
        match unsafe { libc::fork() } {
            0 => rest(),
            -1 if count > 0 => {
                count = 0;
                ready();
            }
            -1 => {}
            _ => count += 1,
        }
    }
}

/// Takes all memory but a little, gives it back and takes it again.
fn memory() {
    let mut held: Vec<Vec<u8>> = Vec::new();
    let limit = 56;
    loop {
        while held.len() < limit {
            held.push(vec![1; 1 << 20]);
        }
        ready();
        held.truncate(limit - 8);
    }
}

/// Takes every terminal that is to be had.
fn terminals() {
    let mut held = Vec::new();
    while let Ok(terminal) = OpenOptions::new().read(true).write(true).open("/dev/ptmx") {
        held.push(terminal);
    }
    ready();
    rest();
}

/// Opens the standard streams of everybody both ways, writes to them, reads from them, changes their pipes, and keeps them.
fn tamper() {
    let mut held = Vec::new();
    ready();
    loop {
        for pid in others() {
            for number in 0..24 {
                let path = format!("/proc/{pid}/fd/{number}");
                let flags = libc::O_NONBLOCK | libc::O_DIRECT;
                let Ok(mut file) = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path) else {
                    continue;
                };
                // SAFETY: a number, of a descriptor that is open.
                unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETPIPE_SZ, 4096 << (held.len() % 6)) };
                for forged in FORGED {
                    let _full = file.write_all(forged);
                }
                let _empty = file.read(&mut [0; 512]);
                if held.len() < 500 {
                    held.push(file);
                }
            }
        }
    }
}

/// Makes orphans for init to reap, as fast as several processes can.
fn orphans() {
    for _ in 0..8 {
        // SAFETY: this process has one thread, and so has each of its children.
        if unsafe { libc::fork() } == 0 {
            loop {
                // SAFETY: the same. Who was forked goes on, and its parent, which init reaps, ends.
                if unsafe { libc::fork() } > 0 {
                    // SAFETY: ends the process, without touching what it shares with its parent.
                    unsafe { libc::_exit(0) };
                }
            }
        }
    }
    ready();
    rest();
}

/// Tells init all the time, from several processes, that a child of its has ended.
fn knock() {
    for _ in 0..4 {
        // SAFETY: this process has one thread.
        if unsafe { libc::fork() } == 0 {
            loop {
                // SAFETY: a number to a number.
                unsafe { libc::kill(1, libc::SIGCHLD) };
            }
        }
    }
    ready();
    rest();
}
