//! What the built-in policies promise, each denial beside what must work.

use std::collections::BTreeSet;

use super::super::oci::Document;
use super::super::{
    Program, builtin, builtin_names, callers_files, init, load, no_network, no_unix_sockets, restrict_suid_sgid,
    shared_host, validator,
};
use super::interpreter::{Call, run};
use super::{ALLOW, FILES, ask, compile, errno, parse, syscalls};

/// Above the 32 bits that the kernel looks at.
const JUNK: u64 = 0xdead_beef_0000_0000;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const AF_NETLINK: u64 = 16;
const CLONE_NEW: [u64; 7] = [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];

fn policy(name: &str) -> Program {
    builtin(name).unwrap()
}

/// The policies that a command runs under, and one that a user wrote to allow everything.
fn all() -> [(&'static str, Program); 4] {
    let open = load(br#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).unwrap();
    [("default", policy("default")), ("debug", policy("debug")), ("strict", policy("strict")), ("an open one", open)]
}

#[track_caller]
fn assert_answers(program: &Program, name: &str, arguments: &[u64], expected: u32) {
    let answer = ask(program.instructions(), name, arguments);
    assert_eq!(answer, expected, "{name}({arguments:#x?}) is {answer:#x}, not {expected:#x}");
}

#[test]
fn are_what_the_files_say() {
    let named = ["default", "strict", "debug"].map(policy);
    let others =
        [init(), restrict_suid_sgid(), no_network(), no_unix_sockets(), shared_host(), callers_files(), validator()];
    let programs: Vec<_> = named.into_iter().chain(others).collect();
    for (program, (name, text)) in programs.iter().zip(FILES) {
        let fresh = compile(&parse(text)).unwrap();
        let fields = |i: &libc::sock_filter| (i.code, i.jt, i.jf, i.k);
        assert!(program.instructions().iter().map(fields).eq(fresh.iter().map(fields)), "{name}");
    }
    assert!(builtin_names().iter().all(|name| builtin(name).is_some()));
    assert!(builtin("unconfined").is_none() && builtin("init").is_none() && builtin("floor").is_none());
}

#[test]
fn give_a_reason_for_every_rule() {
    for (name, text) in FILES {
        let document: Document = serde_json::from_str(text).unwrap();
        for (rule, entry) in document.syscalls.unwrap().iter().enumerate() {
            assert!(entry._comment.as_ref().is_some_and(|reason| reason.len() > 5), "{name}: syscalls[{rule}]");
        }
    }
}

#[test]
fn have_no_rule_that_can_not_decide() {
    for (name, text) in FILES {
        for (number, rules) in parse(text).calls {
            let last = rules.len() - 1;
            let shadowing = rules.iter().position(|rule| rule.conditions.is_empty());
            assert!(shadowing.is_none_or(|rule| rule == last), "{name}: {number}");
        }
    }
}

#[test]
fn decide_on_every_known_call() {
    for name in ["default", "debug"] {
        let (_, text) = FILES.into_iter().find(|(file, _)| *file == name).unwrap();
        let decided = parse(text).calls;
        let undecided: Vec<_> = syscalls::numbers().filter(|(_, number)| !decided.contains_key(number)).collect();
        assert!(undecided.is_empty(), "{name}: {undecided:?}");
    }
}

#[test]
fn debug_is_default_but_for_what_debuggers_need() {
    let (default, debug) = (policy("default"), policy("debug"));
    let differ: BTreeSet<&str> = syscalls::numbers()
        .filter(|(_, number)| {
            (0..0x8_0000).step_by(0x2_0000).chain([0, 8, 0xffff_ffff]).any(|argument| {
                let call = Call::native(*number, [argument; 6]);
                run(default.instructions(), &call).0 != run(debug.instructions(), &call).0
            })
        })
        .map(|(name, _)| name)
        .collect();
    assert_eq!(differ, BTreeSet::from(["kcmp", "personality", "process_vm_readv", "process_vm_writev", "ptrace"]));
    assert_answers(&debug, "personality", &[0x4_0000], ALLOW);
    assert_answers(&default, "personality", &[0x4_0000], errno(1));
}

#[test]
fn answer_unknown_calls_with_enosys() {
    for name in builtin_names() {
        for number in (337..424).chain(470..1000) {
            assert_eq!(run(policy(name).instructions(), &Call::native(number, [0; 6])).0, errno(38), "{name}");
        }
    }
}

#[test]
fn refuse_new_namespaces() {
    for (name, program) in all() {
        for flag in CLONE_NEW {
            assert_answers(&program, "clone", &[flag | 17], errno(1));
            assert_answers(&program, "clone", &[flag | 17 | JUNK], errno(1));
            assert_answers(&program, "clone", &[flag | 0x3d_0f00], errno(1));
            assert_answers(&program, "unshare", &[flag | JUNK], errno(1));
        }
        assert_answers(&program, "unshare", &[0x80], errno(1));
        assert_answers(&program, "setns", &[3, 0], errno(1));
        assert_answers(&program, "clone3", &[], errno(38));
        // pthread_create of glibc.
        assert_answers(&program, "clone", &[0x3d_0f00], ALLOW);
        assert_answers(&program, "clone", &[0x3d_0f00 | JUNK], ALLOW);
        // fork of glibc.
        assert_answers(&program, "clone", &[0x120_0011], if name == "strict" { errno(1) } else { ALLOW });
    }
    assert_answers(&policy("default"), "unshare", &[0x4_0600], ALLOW);
    assert_answers(&policy("default"), "unshare", &[0x4_0601], errno(1));
}

#[test]
fn refuse_typing_into_terminals() {
    for (name, program) in all() {
        let refusal = errno(if name == "strict" { 25 } else { 1 });
        for request in [0x5412, 0x541c, 0x541d, 0x541f, 0x5423] {
            assert_answers(&program, "ioctl", &[0, request], refusal);
            assert_answers(&program, "ioctl", &[0, request | JUNK], refusal);
        }
        for request in [0x5401, 0x5413, 0x541b, 0x5421, 0x802c_542a] {
            assert_answers(&program, "ioctl", &[0, request], ALLOW);
            // As a sign-extended int.
            assert_answers(&program, "ioctl", &[0, request | 0xffff_ffff_0000_0000], ALLOW);
        }
    }
}

#[test]
fn refuse_keyrings() {
    for (_, program) in all() {
        for name in ["add_key", "request_key", "keyctl"] {
            assert_answers(&program, name, &[], errno(1));
        }
    }
}

#[test]
fn refuse_sockets_that_reach_past_the_network() {
    for (_, program) in all().into_iter().filter(|(name, _)| *name != "strict") {
        for family in (0..64).filter(|family| ![1, AF_INET, AF_INET6, AF_NETLINK].contains(family)) {
            for socket in ["socket", "socketpair"] {
                assert_answers(&program, socket, &[family, 1, 0], errno(97));
                assert_answers(&program, socket, &[family | JUNK, 1, 0], errno(97));
            }
        }
        for protocol in 1..32 {
            assert_answers(&program, "socket", &[AF_NETLINK, 3, protocol], errno(93));
        }
        for kind in [1, 2, 5, 0x8_0001, 0x801] {
            assert_answers(&program, "socket", &[1, kind, 0], ALLOW);
            assert_answers(&program, "socketpair", &[1, kind, 0], ALLOW);
        }
        for family in [AF_INET, AF_INET6] {
            for (kind, protocol) in [(1, 0), (1, 6), (2, 0), (2, 17)] {
                assert_answers(&program, "socket", &[family, kind, protocol], ALLOW);
                assert_answers(&program, "socket", &[family | JUNK, kind | 0x8_0800 | JUNK, protocol | JUNK], ALLOW);
            }
        }
        assert_answers(&program, "socket", &[AF_INET, 2, 1], ALLOW);
        assert_answers(&program, "socket", &[AF_INET6, 2, 58], ALLOW);
        assert_answers(&program, "socket", &[AF_NETLINK, 3, 0], ALLOW);
    }
}

#[test]
fn default_refuses_raw_sockets_and_rare_protocols() {
    for name in ["default", "debug"] {
        let program = policy(name);
        for (family, kind, protocol) in [(AF_INET, 3, 255), (AF_INET, 10, 3), (AF_INET6, 3, 58), (AF_INET, 3, 1)] {
            assert_answers(&program, "socket", &[family, kind, protocol], errno(1));
            assert_answers(&program, "socket", &[family, kind | 0x8_0000 | JUNK, protocol], errno(1));
        }
        // SCTP, DCCP, MPTCP, UDP-Lite, L2TP.
        for (kind, protocol) in [(1, 132), (5, 132), (6, 33), (1, 262), (2, 136), (2, 115)] {
            assert_answers(&program, "socket", &[AF_INET, kind, protocol], errno(93));
            assert_answers(&program, "socket", &[AF_INET6, kind, protocol], errno(93));
        }
    }
}

#[test]
fn default_refuses_the_kernels_deep_ends() {
    let program = policy("default");
    for name in "mount umount2 pivot_root chroot open_tree open_tree_attr move_mount fsopen fsconfig fsmount fspick \
        mount_setattr bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register fanotify_init \
        ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd init_module finit_module delete_module kexec_load \
        kexec_file_load reboot settimeofday clock_settime adjtimex clock_adjtime quotactl quotactl_fd swapon acct \
        syslog iopl ioperm modify_ldt name_to_handle_at open_by_handle_at mbind move_pages sethostname"
        .split_whitespace()
    {
        assert_answers(&program, name, &[], errno(1));
    }
    for (persona, answer) in [(0, ALLOW), (8, ALLOW), (0xffff_ffff, ALLOW), (0x4_0000, errno(1)), (0x40_0000, errno(1))]
    {
        assert_answers(&program, "personality", &[persona], answer);
        assert_answers(&program, "personality", &[persona | JUNK], answer);
    }
    assert_answers(&program, "prctl", &[62, 1], errno(22));
    assert_answers(&program, "prctl", &[62 | JUNK, 1], errno(22));
    assert_answers(&program, "prctl", &[15], ALLOW);
}

#[test]
fn strict_has_one_process_and_no_socket() {
    let program = policy("strict");
    for name in ["fork", "vfork", "socket", "socketpair", "connect", "ptrace", "mount", "io_uring_setup"] {
        assert_answers(&program, name, &[1, 1], errno(1));
    }
    // vfork as posix_spawn does it, CLONE_VM without CLONE_THREAD and the other way round.
    for flags in [0x4111, 0x100, 0x1_0000] {
        assert_answers(&program, "clone", &[flags], errno(1));
    }
    for name in ["execve", "read", "openat", "mmap", "futex", "exit_group"] {
        assert_answers(&program, name, &[], ALLOW);
    }
    assert_answers(&program, "ioctl", &[0, 0x8946], errno(25));
}

#[test]
fn restrict_suid_sgid_looks_at_the_mode() {
    let program = restrict_suid_sgid();
    let at = |place: usize, value: u64, others: &[(usize, u64)]| {
        let mut arguments = [0; 6];
        arguments[place] = value;
        others.iter().for_each(|(place, value)| arguments[*place] = *value);
        arguments
    };
    let places = [("chmod", 1), ("fchmod", 1), ("creat", 1), ("mknod", 1), ("mkdir", 1), ("fchmodat", 2)];
    for (name, place) in places.into_iter().chain([("fchmodat2", 2), ("mknodat", 2), ("mkdirat", 2)]) {
        for mode in [0o4755, 0o2755, 0o6755, 0o104_755, 0xdead_0000_0000_0800 | 0o755] {
            assert_answers(&program, name, &at(place, mode, &[]), errno(1));
        }
        for mode in [0o755, 0o1777, 0o777, 0o100_644] {
            assert_answers(&program, name, &at(place, mode, &[]), ALLOW);
        }
    }
    for (name, flags, mode) in [("open", 1, 2), ("openat", 2, 3)] {
        // O_CREAT, O_TMPFILE, O_TMPFILE without its O_DIRECTORY.
        for creating in [0x40, 0x241, 0x41_0002, 0x40_0002, JUNK | 0x40] {
            assert_answers(&program, name, &at(mode, 0o4755, &[(flags, creating)]), errno(1));
            assert_answers(&program, name, &at(mode, 0o2755 | JUNK, &[(flags, creating)]), errno(1));
            assert_answers(&program, name, &at(mode, 0o755, &[(flags, creating)]), ALLOW);
        }
        // Without either, the register holds anything.
        assert_answers(&program, name, &at(mode, u64::MAX, &[(flags, 0x1_0000)]), ALLOW);
    }
    assert_answers(&program, "openat2", &[], errno(38));
    assert_answers(&program, "io_uring_setup", &[], errno(1));
    assert_answers(&program, "read", &[], ALLOW);
}

#[test]
fn init_can_wait_and_little_else() {
    let program = init();
    for name in ["read", "write", "ppoll", "waitid", "kill", "recvmsg", "futex", "exit_group", "rt_sigreturn"] {
        assert_answers(&program, name, &[], ALLOW);
    }
    for name in ["openat", "execve", "socket", "clone", "clone3", "ptrace", "mount", "connect", "dup2"] {
        assert_answers(&program, name, &[], errno(1));
    }
    for name in ["mmap", "mprotect"] {
        assert_answers(&program, name, &[0, 4096, 3], ALLOW);
        assert_answers(&program, name, &[0, 4096, 5], errno(1));
    }
}

#[test]
fn the_floor_holds_in_every_policy_for_commands() {
    let (_, text) = FILES.into_iter().find(|(name, _)| *name == "floor").unwrap();
    let floor = compile(&parse(text)).unwrap();
    for (name, program) in all() {
        for number in 0..470 {
            for argument in (0..64).chain((6..32).map(|bit| 1 << bit)).chain(0x5400..0x5460) {
                let call = Call::native(number, [argument, argument, argument, 0, 0, 0]);
                let refused_by_floor = run(&floor, &call).0 != ALLOW;
                assert!(!refused_by_floor || run(program.instructions(), &call).0 != ALLOW, "{name}: {call:?}");
            }
        }
    }
}

#[test]
fn allow_what_whoever_stands_ready_does_to_become_a_command() {
    // In a held sandbox these hold before the command is known.
    let calls = [
        "recvmsg",
        "fcntl",
        "close",
        "write",
        "pread64",
        "getrusage",
        "prlimit64",
        "dup2",
        "openat",
        "openat2",
        "fchdir",
        "brk",
        "mmap",
        "munmap",
        "mremap",
        "getpid",
        "clock_gettime",
        "execve",
        "exit_group",
    ];
    for name in ["default", "debug"] {
        calls.iter().for_each(|call| assert_answers(&policy(name), call, &[0; 6], ALLOW));
        // Of filters there is one that comes later: no set-id files.
        assert_answers(&policy(name), "seccomp", &[1, 0, 0], ALLOW);
    }
}
