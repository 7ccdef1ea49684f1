//! Held sandboxes: they live without a command of their own and run what their keeper asks for, many at once. The runner's
//! part is `serve` (the loop), `asks` (what the keeper wants), `exec` (one command as the runner sees it), `spare` (what is
//! made for the next one) and `kill`; init's
//! is `init` with `roster` (its children), and `command` in what it forks, or `ready` where that waits for a command.

mod asks;
mod command;
mod exec;
mod freeze;
pub(crate) mod init;
mod kill;
mod message;
mod outbox;
mod ready;
mod roster;
mod serve;
mod spare;

pub(crate) use serve::{Held, settle};

/// What init and a command's process do before exec, and a job's policy may forbid: its filter is installed last.
pub(crate) const CALLS: &[&str] = &[
    // Serving.
    "read",
    "pread64",
    "write",
    "close",
    "poll",
    "ppoll",
    "sendmsg",
    "recvmsg",
    "wait4",
    "getrusage",
    "kill",
    "clone",
    "clone3",
    "clock_gettime",
    "getpid",
    "getrandom",
    "restart_syscall",
    "exit",
    "exit_group",
    // Memory, and what libc does by itself.
    "brk",
    "mmap",
    "munmap",
    "mremap",
    "mprotect",
    "madvise",
    "futex",
    "rt_sigreturn",
    "sigaltstack",
    // A command's process.
    "fcntl",
    "close_range",
    "dup2",
    "setsid",
    "rt_sigaction",
    "rt_sigprocmask",
    "prlimit64",
    "getrlimit",
    "setrlimit",
    "ioctl",
    "openat",
    "openat2",
    "open",
    "fchdir",
    "seccomp",
    "prctl",
    "execve",
];
