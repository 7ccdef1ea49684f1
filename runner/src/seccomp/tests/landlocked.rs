//! What the filters refuse that stand in for namespaces, each denial beside what must work.

use super::super::{Program, callers_files, no_network, no_unix_sockets, shared_host};
use super::{ALLOW, ask, errno};

/// Above the 32 bits that the kernel looks at.
const JUNK: u64 = 0xdead_beef_0000_0000;
const UNIX: u64 = 1;
const STREAM: u64 = 1;
const DATAGRAM: u64 = 2;
const RAW: u64 = 3;
const PACKETS: u64 = 5;
/// SOCK_CLOEXEC and SOCK_NONBLOCK.
const FLAGS: u64 = 0o2_004_000;

#[track_caller]
fn assert_answers(program: &Program, name: &str, arguments: &[u64], expected: u32) {
    let answer = ask(program.instructions(), name, arguments);
    assert_eq!(answer, expected, "{name}({arguments:#x?}) is {answer:#x}, not {expected:#x}");
}

#[test]
fn no_network_leaves_unix_sockets_that_lead_nowhere() {
    let program = no_network();
    for name in ["socket", "socketpair"] {
        for kind in [STREAM, PACKETS, STREAM | FLAGS, PACKETS | FLAGS] {
            assert_answers(&program, name, &[UNIX, kind], ALLOW);
            assert_answers(&program, name, &[UNIX | JUNK, kind | JUNK], ALLOW);
        }
        for kind in [DATAGRAM, RAW, 4, DATAGRAM | FLAGS, DATAGRAM | JUNK] {
            assert_answers(&program, name, &[UNIX, kind], errno(94));
        }
        for family in (0..64).filter(|family| *family != UNIX).chain([2 | JUNK, 16 | JUNK]) {
            assert_answers(&program, name, &[family, STREAM], errno(97));
        }
    }
    for name in ["connect", "bind"] {
        assert_answers(&program, name, &[3], errno(13));
    }
    assert_answers(&program, "io_uring_setup", &[], errno(1));
    for name in ["listen", "accept4", "sendmsg", "recvmsg", "read"] {
        assert_answers(&program, name, &[], ALLOW);
    }
}

#[test]
fn no_unix_sockets_leaves_the_network() {
    let program = no_unix_sockets();
    for family in [UNIX, UNIX | JUNK] {
        assert_answers(&program, "socket", &[family, STREAM], errno(13));
    }
    for family in [2, 10, 16] {
        assert_answers(&program, "socket", &[family, DATAGRAM], ALLOW);
    }
    for kind in [DATAGRAM, RAW, DATAGRAM | FLAGS, RAW | JUNK] {
        assert_answers(&program, "socketpair", &[UNIX, kind], errno(94));
    }
    for kind in [STREAM, PACKETS, STREAM | FLAGS] {
        assert_answers(&program, "socketpair", &[UNIX, kind], ALLOW);
    }
    assert_answers(&program, "connect", &[3], ALLOW);
    assert_answers(&program, "io_uring_setup", &[], errno(1));
}

#[test]
fn shared_host_lets_a_process_change_itself_alone() {
    let program = shared_host();
    for name in ["prlimit64", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr"] {
        assert_answers(&program, name, &[0, 1], ALLOW);
        for who in [1, 4242, u64::MAX, 1 | JUNK] {
            assert_answers(&program, name, &[who, 1], errno(1));
        }
    }
    for (name, user) in [("setpriority", 2), ("ioprio_set", 3)] {
        assert_answers(&program, name, &[1, 0, 5], ALLOW);
        assert_answers(&program, name, &[1, 4242, 5], errno(1));
        assert_answers(&program, name, &[user, 0, 5], errno(1));
        assert_answers(&program, name, &[user | JUNK, 0, 5], errno(1));
    }
    for name in ["shmget", "shmat", "shmctl", "semget", "semop", "semctl", "msgget", "msgsnd", "msgrcv", "mq_open"] {
        assert_answers(&program, name, &[], errno(38));
    }
    for name in ["getrlimit", "setrlimit", "sched_getaffinity", "getpriority", "kill", "futex"] {
        assert_answers(&program, name, &[4242, 1], ALLOW);
    }
}

#[test]
fn callers_files_are_not_given_to_others() {
    let program = callers_files();
    for (name, place) in [("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("fchmodat2", 2)] {
        let with = |mode: u64| (0..=place).map(|index| if index == place { mode } else { 0 }).collect::<Vec<_>>();
        for mode in [0o777, 0o666, 0o002, 0o777 | JUNK] {
            assert_answers(&program, name, &with(mode), errno(1));
        }
        for mode in [0o755, 0o644, 0o600, 0o775, 0o444, 0] {
            assert_answers(&program, name, &with(mode), ALLOW);
        }
    }
    for name in ["chown", "fchown", "lchown", "fchownat"] {
        assert_answers(&program, name, &[], errno(1));
    }
    for name in ["setxattr", "lsetxattr", "fsetxattr", "setxattrat", "removexattr", "file_setattr"] {
        assert_answers(&program, name, &[], errno(95));
    }
    // FS_IOC_SETFLAGS and FS_IOC_FSSETXATTR, and FS_IOC_GETFLAGS.
    for request in [0x4008_6602, 0x401c_5820, 0x401c_5820 | JUNK] {
        assert_answers(&program, "ioctl", &[3, request], errno(95));
    }
    assert_answers(&program, "ioctl", &[3, 0x8008_6601], ALLOW);
    for name in ["utimensat", "getxattr", "rename", "openat"] {
        assert_answers(&program, name, &[1, 1], ALLOW);
    }
}
