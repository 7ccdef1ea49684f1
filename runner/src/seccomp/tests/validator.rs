//! What is left to the program that parses: all calls are tried, each with arguments that would do harm and with those that
//! it needs.

use super::super::validator;
use super::{ALLOW, KILL_PROCESS, ask, syscalls};
use std::collections::BTreeSet;

const READ: u64 = 1;
const WRITE: u64 = 2;
const EXECUTE: u64 = 4;
const PRIVATE: u64 = 0x02;
const ANONYMOUS: u64 = 0x20;
/// Above the 32 bits that the kernel looks at.
const JUNK: u64 = 0xdead_beef_0000_0000;

#[test]
fn every_call_but_a_few_kills() {
    let program = validator();
    // No call that is decided by its arguments is allowed with these.
    let arguments = [7, 0, READ | WRITE | EXECUTE, PRIVATE, 7, 0];
    let allowed: BTreeSet<_> =
        syscalls::numbers().filter(|(name, _)| ask(program.instructions(), name, &arguments) == ALLOW).collect();
    let names: Vec<_> = allowed.iter().map(|(name, _)| *name).collect();
    let wanted = [
        "brk",
        "clock_gettime",
        "exit_group",
        "futex",
        "getrandom",
        "gettid",
        "madvise",
        "mremap",
        "munmap",
        "sigaltstack",
    ];
    assert_eq!(names, wanted);
    for (name, _) in syscalls::numbers().filter(|(name, _)| !wanted.contains(name)) {
        assert_eq!(ask(program.instructions(), name, &arguments), KILL_PROCESS, "{name}");
    }
}

#[test]
fn it_reads_its_stdin_and_writes_its_stdout() {
    let program = validator();
    let answer = |name: &str, arguments: &[u64]| ask(program.instructions(), name, arguments);
    for fd in 0..8 {
        assert_eq!(answer("read", &[fd]) == ALLOW, fd == 0, "read {fd}");
        assert_eq!(answer("read", &[fd | JUNK]) == ALLOW, fd == 0, "read {fd}");
        assert_eq!(answer("write", &[fd | JUNK]) == ALLOW, fd == 1 || fd == 2, "write {fd}");
    }
    for name in ["pread64", "readv", "writev", "pwrite64", "sendto", "recvfrom", "openat", "execve", "clone", "ioctl"] {
        assert_eq!(answer(name, &[0]), KILL_PROCESS, "{name}");
    }
}

#[test]
fn no_memory_can_be_executed_and_no_file_be_mapped() {
    let program = validator();
    let answer = |name: &str, arguments: &[u64]| ask(program.instructions(), name, arguments);
    for protection in 0..8 {
        let harmless = protection & EXECUTE == 0;
        assert_eq!(answer("mmap", &[0, 4096, protection, PRIVATE | ANONYMOUS]) == ALLOW, harmless, "{protection}");
        assert_eq!(answer("mprotect", &[0, 4096, protection]) == ALLOW, harmless, "{protection}");
        assert_eq!(answer("mmap", &[0, 4096, protection, PRIVATE]), KILL_PROCESS, "of a file");
    }
    assert_eq!(answer("pkey_mprotect", &[0, 4096, READ]), KILL_PROCESS);
}
