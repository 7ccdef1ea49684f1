//! Memory that several processes hold together, or that none has mapped: `crowd KIND COUNT MIB MS`. Says `held` when all is
//! taken, and holds it for MS milliseconds.

#![expect(unsafe_code, reason = "fork, mmap and System V shared memory are this probe's purpose")]
#![expect(clippy::disallowed_methods, reason = "the same")]

use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(0usize);
    let (count, mib) = (number(2), number(3));
    let time = Duration::from_millis(number(4) as u64);
    match arguments.get(1).map_or("", String::as_str) {
        // Each child has its own.
        "children" => crowd(count, time, || fill(mapping(mib, libc::MAP_PRIVATE))),
        // One mapping that all have and all have touched.
        "shared" => {
            let shared = mapping(mib, libc::MAP_SHARED);
            crowd(count, time, || fill(shared));
        }
        // Copies that nobody has written to.
        "copies" => {
            fill(mapping(mib, libc::MAP_PRIVATE));
            crowd(count, time, || {});
        }
        // Written and never mapped.
        "memfds" => {
            let files: Vec<_> = (0..count).map(|_| memfd(mib)).collect();
            hold(time);
            drop(files);
        }
        // The same by a process that nobody of its user may look into.
        "hidden-memfds" => {
            // SAFETY: a flag of this process's; no memory is handed over.
            unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
            let files: Vec<_> = (0..count).map(|_| memfd(mib)).collect();
            hold(time);
            drop(files);
        }
        // Mapped, and no descriptor leads to it.
        "closed-memfds" => {
            let maps: Vec<_> = (0..count).map(|_| map(memfd(mib), mib)).collect();
            maps.into_iter().for_each(fill);
            hold(time);
        }
        // Mapped by all and held open by all.
        "open-memfd" => {
            let file = memfd(mib);
            crowd(count, time, || fill(map(file.try_clone().unwrap_or_else(|_| end()), mib)));
        }
        // In nobody's address space.
        "detached" => {
            (0..count).for_each(|_| detached(mib));
            hold(time);
        }
        // By a process whose first thread is gone.
        "leaderless" => {
            std::thread::spawn(move || {
                fill(mapping(mib, libc::MAP_SHARED));
                hold(time);
                end();
            });
            // SAFETY: ends this thread alone; what the other uses is its own.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
        }
        // Children that have this process's memory, as between vfork and exec.
        "borrowers" => {
            fill(mapping(mib, libc::MAP_PRIVATE));
            (0..count).for_each(|_| borrower());
            hold(time);
        }
        "chain" => {
            // Shared, which no resource limit counts.
            fill(mapping(mib, libc::MAP_SHARED));
            chain(time);
        }
        _ => println!("unknown"),
    }
}

/// The memory and its length.
type Mapping = (*mut u8, usize);

fn mapping(mib: usize, kind: i32) -> Mapping {
    let flags = kind | libc::MAP_ANONYMOUS;
    // SAFETY: the kernel chooses a free place.
    let start =
        unsafe { libc::mmap(std::ptr::null_mut(), mib * MIB, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    checked(start, mib)
}

fn map(file: std::fs::File, mib: usize) -> Mapping {
    use std::os::fd::AsRawFd;
    let (access, fd) = (libc::PROT_READ | libc::PROT_WRITE, file.as_raw_fd());
    // SAFETY: the kernel chooses a free place; the file is so long.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), mib * MIB, access, libc::MAP_SHARED, fd, 0) };
    checked(start, mib)
}

fn checked(start: *mut libc::c_void, mib: usize) -> Mapping {
    if start == libc::MAP_FAILED {
        println!("errno {}", std::io::Error::last_os_error().raw_os_error().unwrap_or(-1));
        end();
    }
    (start.cast(), mib * MIB)
}

fn fill((start, length): Mapping) {
    // SAFETY: the mapping is so long, is writable, and no Rust object lies in it.
    unsafe { std::ptr::write_bytes(start, 1, length) };
}

fn memfd(mib: usize) -> std::fs::File {
    // SAFETY: the kernel reads the literal, and keeps nothing.
    let fd = unsafe { libc::memfd_create(c"crowd".as_ptr(), 0) };
    if fd < 0 {
        end();
    }
    // SAFETY: the descriptor was just made and nobody else has it.
    let mut file = unsafe { std::fs::File::from_raw_fd(fd) };
    let chunk = vec![1u8; MIB];
    for _ in 0..mib {
        if file.write_all(&chunk).is_err() {
            end();
        }
    }
    file
}

fn detached(mib: usize) {
    // SAFETY: makes a segment, and touches none of our memory.
    let id = unsafe { libc::shmget(libc::IPC_PRIVATE, mib * MIB, 0o600) };
    // SAFETY: the kernel chooses a free place for the segment.
    let start = unsafe { libc::shmat(id, std::ptr::null(), 0) };
    fill(checked(start, mib));
    // SAFETY: nothing refers to the segment any more.
    unsafe { libc::shmdt(start) };
}

/// Forks `count` children that each do it, and holds all of them.
fn crowd(count: usize, time: Duration, work: impl Fn()) {
    let Ok((mut ready, theirs)) = std::io::pipe() else { end() };
    for _ in 0..count {
        if fork() == 0 {
            work();
            let _parent_is_dead = (&theirs).write_all(b"r");
            std::thread::sleep(time + Duration::from_secs(3600));
        }
    }
    drop(theirs);
    let mut word = vec![0; count];
    if ready.read_exact(&mut word).is_ok() {
        hold(time);
    }
}

fn borrower() {
    extern "C" fn rest(_: *mut libc::c_void) -> i32 {
        // SAFETY: takes no memory.
        unsafe { libc::sleep(3600) as i32 }
    }
    let (start, length) = mapping(1, libc::MAP_PRIVATE);
    // SAFETY: the end of a mapping that is so long.
    let stack = unsafe { start.add(length) };
    // SAFETY: the child has that stack to itself, which is never given back, and touches nothing else.
    unsafe { libc::clone(rest, stack.cast(), libc::CLONE_VM | libc::SIGCHLD, std::ptr::null_mut()) };
}

fn hold(time: Duration) {
    std::thread::sleep(time);
    println!("held");
}

/// Each process lives for microseconds, and hands its memory on to the next.
fn chain(time: Duration) {
    let start = Instant::now();
    // The command itself stays, or the job would be over.
    if fork() != 0 {
        std::thread::sleep(time);
        println!("held");
        return;
    }
    while start.elapsed() < time {
        if fork() != 0 {
            end();
        }
    }
}

fn fork() -> i32 {
    // SAFETY: this process has one thread.
    unsafe { libc::fork() }
}

fn end() -> ! {
    // SAFETY: ends the process, without touching what it shares with its parent.
    unsafe { libc::_exit(0) }
}
