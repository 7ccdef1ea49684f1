//! The two parts of a policy: what the first allows beside it, and that both together are the policy.

use super::super::{Parts, Program, builtin, builtin_names, builtin_parts, load, load_parts};
use super::interpreter::{Call, run};
use super::{ALLOW, ask, compile, edges, errno, parse, syscalls};
use libc::sock_filter;

/// Policies that forbid what is to be allowed, by a rule and by silence, and that have every action.
const POLICIES: [&str; 3] = [
    r#"{ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        { "names": ["read", "write"], "action": "SCMP_ACT_ALLOW" },
        { "names": ["close"], "action": "SCMP_ACT_KILL_PROCESS" } ] }"#,
    r#"{ "defaultAction": "SCMP_ACT_LOG", "syscalls": [
        { "names": ["openat", "mount"], "action": "SCMP_ACT_TRAP",
          "args": [{ "index": 2, "value": 16, "op": "SCMP_CMP_GE" }] },
        { "names": ["ioctl", "clone", "fcntl"], "action": "SCMP_ACT_ALLOW",
          "args": [{ "index": 1, "value": 1, "op": "SCMP_CMP_LE" }] },
        { "names": ["ioctl", "mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7,
          "args": [{ "index": 0, "value": 4294967296, "op": "SCMP_CMP_NE" }] } ] }"#,
    r#"{ "defaultAction": "SCMP_ACT_KILL_THREAD", "syscalls": [
        { "names": ["kill", "execve"], "action": "SCMP_ACT_ALLOW" },
        { "names": ["prctl"], "action": "SCMP_ACT_ALLOW",
          "args": [{ "index": 0, "value": 3, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ" }] } ] }"#,
];

const CALLS: [&str; 14] = [
    "read",
    "close",
    "openat",
    "ioctl",
    "fcntl",
    "clone",
    "clone3",
    "prctl",
    "seccomp",
    "kill",
    "execve",
    "setsid",
    "exit_group",
    "wait4",
];

#[test]
fn what_is_named_is_allowed_by_the_first_whatever_the_policy_says() {
    let policy = POLICIES[0].as_bytes();
    let Parts { widened, .. } = load_parts(policy, &["clone3", "close", "ioctl"]).unwrap();
    // The floor forbids clone3, and this request of ioctl.
    for (name, arguments) in [("clone3", [0; 3]), ("close", [0; 3]), ("ioctl", [0, 0x5412, 0])] {
        assert_eq!(ask(widened.instructions(), name, &arguments), ALLOW, "{name}");
        assert_ne!(ask(load(policy).unwrap().instructions(), name, &arguments), ALLOW, "{name}");
    }
    assert_eq!(ask(widened.instructions(), "mount", &[]), errno(1));
}

#[test]
fn both_together_are_the_policy() {
    for name in builtin_names() {
        assert_are(&builtin(name).unwrap(), &builtin_parts(name, &CALLS).unwrap().unwrap(), name);
    }
    for text in POLICIES {
        assert_are(&load(text.as_bytes()).unwrap(), &load_parts(text.as_bytes(), &CALLS).unwrap(), text);
    }
    assert!(builtin_parts("nonexistent", &CALLS).is_none());
}

#[test]
fn the_second_is_short() {
    for name in builtin_names() {
        let Parts { rest, .. } = builtin_parts(name, &CALLS).unwrap().unwrap();
        assert!(rest.instructions().len() * 3 < builtin(name).unwrap().instructions().len(), "{name}");
    }
}

#[test]
fn a_policy_is_no_less_narrow_for_what_it_never_names() {
    let mut policy = parse(POLICIES[0]);
    policy.narrow(&["setsid", "read"]);
    let rest = compile(&policy).unwrap();
    assert_eq!(
        [ask(&rest, "setsid", &[]), ask(&rest, "read", &[]), ask(&rest, "mount", &[])],
        [errno(1), ALLOW, ALLOW]
    );
}

#[track_caller]
fn assert_are(policy: &Program, parts: &Parts, shown: &str) {
    let whole = policy.instructions();
    let (first, second) = (parts.widened.instructions(), parts.rest.instructions());
    let mut arguments: Vec<u64> =
        [0, 1, 3, 16, 62, 0x1000_0000, 0x7e02_0000, 0x5412].into_iter().flat_map(edges).collect();
    arguments.sort_unstable();
    arguments.dedup();
    let numbers = syscalls::numbers().map(|(_, number)| number).chain([470, 100_000, 0x4000_0000, 0x4000_0001]);
    for number in numbers {
        for (architecture, argument) in
            arguments.iter().map(|argument| (0xC000_003E, argument)).chain([(0x4000_0003, &0)])
        {
            let same = Call { architecture, number, arguments: [*argument; 6] };
            for call in [same, Call { arguments: [*argument, 0, 0, 0, 0, 0], ..same }] {
                assert_eq!(together(first, second, &call), run(whole, &call).0, "{shown}: {call:x?}");
            }
        }
    }
}

/// As seccomp_run_filters in kernel/seccomp.c: of all filters' answers the one with the least action, as a signed number.
fn together(first: &[sock_filter], second: &[sock_filter], call: &Call) -> u32 {
    let action = |answer: &u32| (answer & 0xffff_0000).cast_signed();
    [run(second, call).0, run(first, call).0].into_iter().min_by_key(action).unwrap()
}
