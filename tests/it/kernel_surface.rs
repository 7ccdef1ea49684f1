//! The kernel's surface: which system calls are refused, and how. Each call is made with arguments that do no harm; its
//! twin outside gets another answer, which shows that it is the sandbox that refuses.

use crate::sandbox::{Job, unconfined};
use crate::support::{host_cannot, is_root};
use pinfold_runner::Status;
use serde_json::json;

const EPERM: &str = "1";
const ENOSYS: &str = "38";

/// Number, arguments, and what the sandbox answers.
type Call = (&'static str, i64, &'static str, &'static str);

/// Calls that need no privilege on the host, so the twin proves something for everybody.
const OPEN_TO_ALL: &[Call] = &[
    ("unshare user", libc::SYS_unshare, "268435456", EPERM),
    ("unshare user, with bits above 32", libc::SYS_unshare, "4563402752", EPERM),
    ("clone user", libc::SYS_clone, "268435473,0,0,0,0", EPERM),
    ("clone3", libc::SYS_clone3, "0,0", ENOSYS),
    ("setns", libc::SYS_setns, "-1,0", EPERM),
    ("add_key", libc::SYS_add_key, "s/user,s/probe,s/x,1,-3", EPERM),
    ("request_key", libc::SYS_request_key, "s/user,s/probe,0,-3", EPERM),
    ("keyctl", libc::SYS_keyctl, "0,-3,1", EPERM),
    ("io_uring_setup", libc::SYS_io_uring_setup, "1,z/128", EPERM),
    ("ptrace TRACEME", libc::SYS_ptrace, "0,0,0,0", EPERM),
    ("process_vm_readv", libc::SYS_process_vm_readv, "1,0,0,0,0,0", EPERM),
    ("process_vm_writev", libc::SYS_process_vm_writev, "1,0,0,0,0,0", EPERM),
    ("kcmp", libc::SYS_kcmp, "0,0,0,0,0", EPERM),
    ("pidfd_getfd", libc::SYS_pidfd_getfd, "-1,0,0", EPERM),
    ("name_to_handle_at", libc::SYS_name_to_handle_at, "-100,s//,0,0,0", EPERM),
    ("memfd_secret", libc::SYS_memfd_secret, "0", EPERM),
    ("a call that does not exist", 999, "", ENOSYS),
];

/// Calls that root may make on the host, if nobody else.
const OF_ROOT: &[Call] = &[
    ("mount", libc::SYS_mount, "s/none,s//nowhere,s/tmpfs,0,0", EPERM),
    ("umount2", libc::SYS_umount2, "s//nowhere,0", EPERM),
    ("pivot_root", libc::SYS_pivot_root, "0,0", EPERM),
    ("chroot", libc::SYS_chroot, "s//", EPERM),
    ("open_tree clone", libc::SYS_open_tree, "-100,s//nowhere,1", EPERM),
    ("move_mount", libc::SYS_move_mount, "-1,0,-1,0,0", EPERM),
    ("fsopen", libc::SYS_fsopen, "s/tmpfs,0", EPERM),
    ("fsconfig", libc::SYS_fsconfig, "-1,0,0,0,0", EPERM),
    ("fsmount", libc::SYS_fsmount, "-1,0,0", EPERM),
    ("fspick", libc::SYS_fspick, "-100,s//nowhere,0", EPERM),
    ("mount_setattr", libc::SYS_mount_setattr, "-1,0,0,0,0", EPERM),
    ("unshare mount", libc::SYS_unshare, "131072", EPERM),
    ("unshare net", libc::SYS_unshare, "1073741824", EPERM),
    ("unshare pid", libc::SYS_unshare, "536870912", EPERM),
    ("unshare cgroup", libc::SYS_unshare, "33554432", EPERM),
    ("bpf", libc::SYS_bpf, "0,z/128,128", EPERM),
    ("perf_event_open", libc::SYS_perf_event_open, "0,0,0,0,0", EPERM),
    ("userfaultfd", libc::SYS_userfaultfd, "1", EPERM),
    ("init_module", libc::SYS_init_module, "0,0,s/", EPERM),
    ("finit_module", libc::SYS_finit_module, "-1,s/,0", EPERM),
    ("delete_module", libc::SYS_delete_module, "s/no_such_module_here,2048", EPERM),
    ("kexec_load", libc::SYS_kexec_load, "0,99,0,-1", EPERM),
    ("reboot", libc::SYS_reboot, "0,0,0,0", EPERM),
    ("settimeofday", libc::SYS_settimeofday, "1,0", EPERM),
    ("clock_settime", libc::SYS_clock_settime, "0,1", EPERM),
    ("quotactl", libc::SYS_quotactl, "0,0,0,0", EPERM),
    ("swapon", libc::SYS_swapon, "0,0", EPERM),
    ("swapoff", libc::SYS_swapoff, "0", EPERM),
    ("acct", libc::SYS_acct, "1", EPERM),
    ("sethostname", libc::SYS_sethostname, "0,-1", EPERM),
    ("setdomainname", libc::SYS_setdomainname, "0,-1", EPERM),
    ("open_by_handle_at", libc::SYS_open_by_handle_at, "-1,0,0", EPERM),
    ("iopl", libc::SYS_iopl, "99", EPERM),
    ("ioperm", libc::SYS_ioperm, "0,0,0", EPERM),
    ("syslog", libc::SYS_syslog, "10,0,0", EPERM),
    ("fanotify_init", libc::SYS_fanotify_init, "0,0", EPERM),
    ("lookup_dcookie", libc::SYS_lookup_dcookie, "0,0,0", ENOSYS),
];

fn words(calls: &[Call]) -> Vec<String> {
    calls.iter().map(|(_, number, arguments, _)| format!("{number}:{arguments}")).collect()
}

fn check(calls: &[Call], job: impl Fn(&[&str]) -> Job, prove: bool) {
    let words = words(calls);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let inside = job(&words).run().lines();
    let outside = unconfined("syscall", &words);
    let mut wrong = Vec::new();
    for (index, (name, _, _, expected)) in calls.iter().enumerate() {
        if inside[index] != *expected {
            wrong.push(format!("{name}: inside {}, expected {expected}", inside[index]));
        }
        // A kernel that lacks a call altogether says ENOSYS outside too: then there is nothing to be refused.
        if prove && outside[index] == inside[index] && outside[index] != ENOSYS {
            wrong.push(format!("{name}: {} outside too, so it proves nothing", outside[index]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
pub(crate) fn what_a_user_may_call_on_the_host_is_refused_inside() {
    for user in ["1000:1000", "0:0"] {
        check(OPEN_TO_ALL, |words| Job::probe("syscall", words).with("user", json!(user)), true);
    }
}

#[test]
pub(crate) fn what_root_may_call_on_the_host_is_refused_inside() {
    if !is_root() {
        host_cannot("the twins need root");
    }
    for user in ["1000:1000", "0:0"] {
        check(OF_ROOT, |words| Job::probe("syscall", words).with("user", json!(user)), is_root());
    }
}

#[test]
pub(crate) fn foreign_abis_are_closed() {
    let answer = Job::probe("abi", &["i386"]).run();
    let served = unconfined("abi", &["i386"]);
    if served == ["served"] {
        assert_eq!(answer.is(Status::Signaled).outcome.signal.as_deref(), Some("SIGSYS"));
    } else {
        host_cannot("this kernel has no i386 ABI");
        assert_ne!(answer.stdout(), "served\n");
    }
    let answer = Job::probe("abi", &["x32"]).run();
    assert_eq!(answer.exited(), "38\n");
    if unconfined("abi", &["x32"]) != ["served"] {
        host_cannot("the twin needs a kernel with the x32 ABI");
    }
}

#[test]
pub(crate) fn nobody_types_into_a_terminal() {
    assert_eq!(Job::probe("terminal", &[]).run().lines(), [EPERM; 5]);
    let outside = unconfined("terminal", &[]);
    assert!(outside[..4].iter().any(|line| line != EPERM), "{outside:?}");
}

#[test]
pub(crate) fn mknod_of_devices_and_odd_personalities_are_refused() {
    let personality = |number: &str| format!("{}:{number}", libc::SYS_personality);
    let asked: Vec<String> =
        ["0", "4294967295", "262144", "4194304", "1048576"].iter().map(|number| personality(number)).collect();
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let inside = Job::probe("syscall", &asked).run().lines();
    assert_eq!(inside, ["ok", "ok", EPERM, EPERM, EPERM]);
    assert_eq!(unconfined("syscall", &asked), ["ok"; 5]);
}

#[test]
pub(crate) fn no_call_number_at_all_kills_or_reaches_a_forbidden_place() {
    // Every number up to well beyond today's, with zeroes: each is served, refused with an errno, or ends in a wait that
    // the deadline cuts; none is SIGSYS, which honest programs would die of.
    let waits = [
        libc::SYS_pause,
        libc::SYS_rt_sigsuspend,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_rt_sigreturn,
        libc::SYS_vfork,
        libc::SYS_fork,
        libc::SYS_clone,
        libc::SYS_select,
        libc::SYS_pselect6,
        libc::SYS_poll,
        libc::SYS_ppoll,
        libc::SYS_restart_syscall,
        libc::SYS_read,
        libc::SYS_futex,
        libc::SYS_sigaltstack,
        libc::SYS_rt_sigtimedwait,
    ];
    let words: Vec<String> =
        (0..600i64).filter(|number| !waits.contains(number)).map(|number| format!("{number}:")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let answer = Job::probe("syscall", &words).limit("wall_ms", 60_000).run();
    let lines = answer.lines();
    assert_eq!(lines.len(), words.len());
    let killed: Vec<_> = words.iter().zip(&lines).filter(|(_, line)| line.as_str() == "signal 31").collect();
    assert!(killed.is_empty(), "{killed:?}");
}
