//! Uses a known amount of something, in a known way, and says what the kernel counted for this process and the children
//! that it reaped: `figures KIND …`, one line of `name=value`.

#![expect(unsafe_code, reason = "fork, mmap, clocks and getrusage")]
#![expect(clippy::disallowed_methods, reason = "fork")]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::thread;
use std::time::Duration;

const PAGE: usize = 4096;
const MIB: usize = 1 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let word = |index: usize| arguments.get(index).map_or("", String::as_str);
    let number = |index: usize| word(index).parse::<usize>().unwrap_or(0);
    match word(0) {
        // figures WAY burn|touch NUMBER
        "self" => work(word(1), number(2)),
        "reaped" => reap(in_child(|| work(word(1), number(2)))),
        // Its own session, and init for a parent.
        "daemon" => reap(in_child(|| {
            // SAFETY: makes a session; no memory is handed over.
            unsafe { libc::setsid() };
            let parent = in_child(|| work(word(1), number(2)));
            reap_never(parent);
        })),
        "ignored" => {
            // SAFETY: the handler is the kernel's own.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
            in_child(|| work(word(1), number(2)));
        }
        "killed" => {
            let pid = working_child(word(1), number(2));
            // SAFETY: a number to a number.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            reap(pid);
        }
        "staying" => {
            work(word(1), number(2));
            thread::sleep(Duration::from_secs(3600));
        }
        "left" => reap_never(working_child(word(1), number(2))),
        // figures start PROCESSES THREADS, one after another; figures hold PROCESSES THREADS, all at once.
        "start" => {
            (0..number(1)).for_each(|_| reap(in_child(|| {})));
            (0..number(2)).for_each(|_| thread::spawn(|| {}).join().unwrap_or_default());
        }
        "hold" => hold(number(1), number(2)),
        // figures refused NUMBER: so many forks beyond what may be had.
        "refused" => refused(number(1)),
        "exchange" => exchange(number(1)),
        // figures files OPERATION:PATH:MIB …
        "files" => arguments[1..].iter().for_each(|operation| perform(operation)),
        _ => end(2),
    }
    say();
}

fn work(kind: &str, number: usize) {
    match kind {
        "burn" => burn(number),
        _ => touch(number),
    }
}

/// Computes until the kernel has counted so many more milliseconds of this process's own CPU time.
fn burn(ms: usize) {
    let end = own_cpu_ns() + ms as i64 * 1_000_000;
    while own_cpu_ns() < end {
        (0..1000).for_each(|_| std::hint::spin_loop());
    }
}

fn own_cpu_ns() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec into the space that we own.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut now) };
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// Writes to each of so many fresh pages: one fault each, since none of them is part of a huge one.
fn touch(pages: usize) {
    let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, where the kernel has room for it.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), pages * PAGE, access, flags, -1, 0) };
    // SAFETY: advice on the mapping that was just made.
    unsafe { libc::madvise(start, pages * PAGE, libc::MADV_NOHUGEPAGE) };
    for page in 0..pages {
        // SAFETY: within the mapping.
        let place = unsafe { start.cast::<u8>().add(page * PAGE) };
        // SAFETY: no Rust object lies there.
        unsafe { place.write_volatile(1) };
    }
}

/// Runs in a child, and comes back when that is done, reaped or not: the end of a pipe tells.
fn in_child(task: impl FnOnce()) -> i32 {
    let Ok((mut done, held)) = pipe() else { end(3) };
    let pid = fork();
    if pid == 0 {
        task();
        end(0);
    }
    drop(held);
    let _end_of_file = done.read(&mut [0]);
    pid
}

/// A child that has done its work and then sleeps.
fn working_child(kind: &str, number: usize) -> i32 {
    let Ok((mut done, mut tell)) = pipe() else { end(3) };
    let pid = fork();
    if pid == 0 {
        work(kind, number);
        let _told = tell.write(b"x");
        thread::sleep(Duration::from_secs(3600));
        end(0);
    }
    let _told = done.read(&mut [0]);
    pid
}

fn hold(processes: usize, threads: usize) {
    let Ok((mut end_of_all, held)) = pipe() else { end(3) };
    let mut waiting = Vec::new();
    for _ in 0..processes {
        let pid = fork();
        if pid == 0 {
            drop(held);
            let _end_of_file = end_of_all.read(&mut [0]);
            end(0);
        }
        waiting.push(pid);
    }
    let barrier = std::sync::Arc::new(std::sync::Barrier::new(threads + 1));
    let started: Vec<_> = (0..threads)
        .map(|_| {
            let barrier = barrier.clone();
            thread::spawn(move || barrier.wait().is_leader())
        })
        .collect();
    barrier.wait();
    started.into_iter().for_each(|thread| _ = thread.join());
    drop(held);
    waiting.into_iter().for_each(reap);
}

fn refused(times: usize) {
    let mut children = Vec::new();
    let mut left = times;
    while left > 0 {
        match fork() {
            -1 => left -= 1,
            0 => loop {
                thread::sleep(Duration::from_secs(3600));
            },
            pid => children.push(pid),
        }
    }
    println!("{} forks", children.len());
}

/// Hands a byte to and fro between two processes, each of which waits for the other.
fn exchange(times: usize) {
    let (Ok((mut to_us, mut from_child)), Ok((mut to_child, mut from_us))) = (pipe(), pipe()) else { return };
    let pid = fork();
    if pid == 0 {
        for _ in 0..times {
            let _passed = to_child.read(&mut [0]).and_then(|_| from_child.write(b"x"));
        }
        end(0);
    }
    for _ in 0..times {
        let _passed = from_us.write(b"x").and_then(|_| to_us.read(&mut [0]));
    }
    reap(pid);
}

fn perform(operation: &str) {
    let mut words = operation.split(':');
    let (kind, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let mib = words.next().and_then(|text| text.parse().ok()).unwrap_or(0usize);
    let done = match kind {
        "write" => File::create(path).and_then(|mut file| fill(&mut file, mib).and_then(|()| file.sync_all())),
        "direct" => OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(libc::O_DIRECT)
            .open(path)
            .and_then(|mut file| fill(&mut file, mib)),
        // Out of the page cache: what is clean may go.
        "drop" => File::open(path).map(|file| {
            // SAFETY: advice on our own descriptor.
            unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        }),
        "read" => File::open(path).and_then(|mut file| std::io::copy(&mut file, &mut std::io::sink())).map(drop),
        _ => end(2),
    };
    println!("{kind} {}", done.map_or_else(|error| error.to_string(), |()| "ok".to_owned()));
}

fn fill(file: &mut File, mib: usize) -> std::io::Result<()> {
    // O_DIRECT wants memory that begins with a block.
    let buffer = vec![7u8; MIB + PAGE];
    let start = buffer.as_ptr().align_offset(PAGE);
    (0..mib).try_for_each(|_| file.write_all(&buffer[start..start + MIB]))
}

/// What the kernel has counted for this process and the children that were reaped.
fn say() {
    let [own, reaped] = [libc::RUSAGE_SELF, libc::RUSAGE_CHILDREN].map(|whose| {
        // SAFETY: rusage is plain integers, for which all zeroes is a value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes one rusage into the space that we own.
        unsafe { libc::getrusage(whose, &raw mut usage) };
        usage
    });
    let us = |time: libc::timeval| time.tv_sec * 1_000_000 + time.tv_usec;
    let cpu = |usage: &libc::rusage| us(usage.ru_utime) + us(usage.ru_stime);
    println!("cpu_us={}", cpu(&own) + cpu(&reaped));
    println!("minor={}", own.ru_minflt + reaped.ru_minflt);
    println!("voluntary={}", own.ru_nvcsw + reaped.ru_nvcsw);
    println!("involuntary={}", own.ru_nivcsw + reaped.ru_nivcsw);
    println!("read={}", (own.ru_inblock + reaped.ru_inblock) * 512);
    println!("written={}", (own.ru_oublock + reaped.ru_oublock) * 512);
}

fn fork() -> i32 {
    // SAFETY: whoever calls this has one thread, or forks no more once it has several.
    unsafe { libc::fork() }
}

fn end(code: i32) -> ! {
    // SAFETY: ends the process, without touching what it shares with its parent.
    unsafe { libc::_exit(code) }
}

fn reap(pid: i32) {
    // SAFETY: no status is asked for, so the kernel writes nothing.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
}

/// Somebody else will, when we are dead.
fn reap_never(_pid: i32) {}
