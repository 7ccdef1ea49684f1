//! Takes memory, by one of many ways, and says `held` when it has all that it was asked for: `memory KIND MIB [PATH]`.
//! `stack` takes KiB instead.

#![expect(unsafe_code, reason = "memfd, System V shared memory, fork and signals")]
#![expect(clippy::disallowed_methods, reason = "fork: the child is to be shot alone")]

use std::fs::File;
use std::io::Write;
use std::os::fd::FromRawFd;
use std::process::ExitCode;

const MIB: usize = 1 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let kind = arguments.get(1).map_or("", String::as_str);
    let mib: usize = arguments.get(2).and_then(|count| count.parse().ok()).unwrap_or(0);
    match kind {
        "heap" => drop(heap(mib)),
        "file" => drop(fill(File::create(arguments.get(3).map_or("", String::as_str)), mib)),
        "memfd" => drop(fill(memfd(), mib)),
        "shm" => shared(mib),
        "pipes" => drop(pipes(mib)),
        "child" => child(mib),
        "stack" => stack(mib),
        _ => return ExitCode::from(2),
    }
    println!("held");
    ExitCode::SUCCESS
}

fn heap(mib: usize) -> Vec<Vec<u8>> {
    (0..mib).map(|index| vec![index as u8 | 1; MIB]).collect()
}

fn fill(file: std::io::Result<File>, mib: usize) -> Option<File> {
    let chunk = vec![1u8; MIB];
    let mut file = file.ok()?;
    for written in 0..mib {
        if let Err(error) = file.write_all(&chunk) {
            println!("errno {} after {written} MiB", error.raw_os_error().unwrap_or(-1));
            return None;
        }
    }
    Some(file)
}

fn memfd() -> std::io::Result<File> {
    // SAFETY: the kernel reads the literal, and keeps nothing.
    let fd = unsafe { libc::memfd_create(c"probe".as_ptr(), 0) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

fn shared(mib: usize) {
    // SAFETY: makes a segment, and touches none of our memory.
    let id = unsafe { libc::shmget(libc::IPC_PRIVATE, mib * MIB, 0o600) };
    // SAFETY: the kernel chooses a free place for the segment.
    let start = unsafe { libc::shmat(id, std::ptr::null(), 0) };
    if start as isize == -1 {
        println!("errno {}", std::io::Error::last_os_error().raw_os_error().unwrap_or(-1));
        return;
    }
    // SAFETY: the segment is so long, is ours to write, and no Rust object lies in it.
    unsafe { std::ptr::write_bytes(start.cast::<u8>(), 1, mib * MIB) };
}

/// Each pipe is widened to one MiB and filled.
fn pipes(mib: usize) -> Vec<(std::io::PipeReader, std::io::PipeWriter)> {
    use std::os::fd::AsRawFd;
    let mut pipes = Vec::new();
    for _ in 0..mib {
        let Ok((reader, mut writer)) = std::io::pipe() else { break };
        // SAFETY: an option of our own descriptor; no memory is handed over.
        let size = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, MIB as libc::c_int) };
        let size = usize::try_from(size).unwrap_or(4096);
        if writer.write_all(&vec![1; size]).is_err() {
            break;
        }
        pipes.push((reader, writer));
    }
    pipes
}

/// A child takes the memory and is shot for it; we live on and say how it died.
fn child(mib: usize) {
    // SAFETY: this process has one thread, so the child may allocate.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        drop(heap(mib));
        // SAFETY: ends the process, without touching what it shares with its parent.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: the kernel writes the status into the integer, and keeps nothing.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    println!("child ended by signal {}", if libc::WIFSIGNALED(status) { libc::WTERMSIG(status) } else { 0 });
}

/// Calls itself until so many KiB of stack are used, with the kernel's own answer to too many.
fn stack(kib: usize) {
    // SAFETY: takes back the handler by which the standard library would end us in another way.
    unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
    let start = 0u8;
    std::hint::black_box(deeper(std::ptr::from_ref(std::hint::black_box(&start)).addr(), kib << 10));
}

/// How much a call takes is the compiler's affair, so the addresses are measured.
#[inline(never)]
fn deeper(start: usize, bytes: usize) -> usize {
    let frame = [1u8; 1 << 10];
    let here = std::ptr::from_ref(std::hint::black_box(&frame)).addr();
    let below = if start.abs_diff(here) >= bytes { 0 } else { deeper(start, bytes) };
    // Used after the call, so that it can't be a loop.
    below + usize::from(std::hint::black_box(&frame)[0])
}
