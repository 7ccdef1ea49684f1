//! Tests of the policies and their compiler, on an interpreter. They deliberately install no filter: that the kernel
//! agrees is shown by the tests of the whole.

mod builtin;
mod interpreter;
mod landlocked;
mod parts;
mod refusal;
mod validator;

use std::collections::{BTreeSet, HashMap};

use libc::sock_filter;

use self::interpreter::{Call, judge, run};
use super::compile::compile;
use super::policy::Policy;
use super::{load, syscalls};

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL_PROCESS: u32 = libc::SECCOMP_RET_KILL_PROCESS;

/// All files of `seccomp/`.
const FILES: [(&str, &str); 11] = [
    ("default", include_str!("../../../seccomp/default.json")),
    ("strict", include_str!("../../../seccomp/strict.json")),
    ("debug", include_str!("../../../seccomp/debug.json")),
    ("init", include_str!("../../../seccomp/init.json")),
    ("restrict-suid-sgid", include_str!("../../../seccomp/restrict-suid-sgid.json")),
    ("no-network", include_str!("../../../seccomp/no-network.json")),
    ("no-unix-sockets", include_str!("../../../seccomp/no-unix-sockets.json")),
    ("shared-host", include_str!("../../../seccomp/shared-host.json")),
    ("callers-files", include_str!("../../../seccomp/callers-files.json")),
    ("validator", include_str!("../../../seccomp/validator.json")),
    ("floor", include_str!("../../../seccomp/floor.json")),
];

fn errno(number: u32) -> u32 {
    libc::SECCOMP_RET_ERRNO | number
}

fn number(name: &str) -> u32 {
    syscalls::numbers().find(|(known, _)| *known == name).unwrap().1
}

fn parse(text: &str) -> Policy {
    Policy::parse(text.as_bytes(), None).unwrap()
}

/// Arguments beyond those given are 0.
fn ask(program: &[sock_filter], name: &str, arguments: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    run(program, &Call::native(number(name), all)).0
}

/// A policy with one rule for `write`, which returns error 7 if its second argument compares so; else it is allowed.
fn one_rule(operator: &str, value: u64, value_two: u64) -> Policy {
    parse(&format!(
        r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{"names": ["write"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7,
            "args": [{{"index": 1, "value": {value}, "valueTwo": {value_two}, "op": "SCMP_CMP_{operator}"}}]}}]}}"#
    ))
}

/// The numbers at which comparisons with `value` in halves of 32 bits could go wrong.
fn edges(value: u64) -> Vec<u64> {
    let near = |value: u64| [value.wrapping_sub(1), value, value.wrapping_add(1)];
    let high = 1 << 32;
    [value, 0, high, u64::MAX, value ^ high, value.wrapping_add(high), value.wrapping_sub(high), value & 0xffff_ffff]
        .into_iter()
        .flat_map(near)
        .collect()
}

#[test]
fn knows_the_numbers_of_the_kernels_header() {
    let header = std::fs::read_to_string("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
        .or_else(|_| std::fs::read_to_string("/usr/include/asm/unistd_64.h"))
        .unwrap_or_default();
    let known: HashMap<&str, u32> = syscalls::numbers().collect();
    // A header newer than the list may have more: only what both have must agree.
    let theirs = header.lines().filter_map(|line| line.strip_prefix("#define __NR_")?.split_once(' '));
    for (name, theirs) in theirs {
        let theirs = theirs.trim().parse::<u32>().unwrap();
        assert!(known.get(name).is_none_or(|ours| *ours == theirs), "{name} is {theirs}");
        assert!(theirs > 469 || known.contains_key(name), "{name} is missing");
    }
}

#[test]
fn knows_the_numbers_of_libc() {
    let known: HashMap<&str, u32> = syscalls::numbers().collect();
    let theirs = [
        ("read", libc::SYS_read),
        ("clone", libc::SYS_clone),
        ("semtimedop", libc::SYS_semtimedop),
        ("openat", libc::SYS_openat),
        ("statx", libc::SYS_statx),
        ("rseq", libc::SYS_rseq),
        ("pidfd_send_signal", libc::SYS_pidfd_send_signal),
        ("clone3", libc::SYS_clone3),
        ("mount_setattr", libc::SYS_mount_setattr),
        ("set_mempolicy_home_node", libc::SYS_set_mempolicy_home_node),
        ("fchmodat2", libc::SYS_fchmodat2),
        ("mseal", libc::SYS_mseal),
    ];
    for (name, theirs) in theirs {
        assert_eq!(i64::from(known[name]), theirs, "{name}");
    }
}

#[test]
fn has_each_name_and_each_number_once() {
    let names: BTreeSet<&str> = syscalls::numbers().map(|(name, _)| name).collect();
    let numbers: Vec<u32> = syscalls::numbers().map(|(_, number)| number).collect();
    let expected: Vec<u32> = (0..=336).chain(424..=469).collect();
    assert_eq!(numbers, expected);
    assert_eq!(names.len(), expected.len());
    assert!(!names.iter().any(|name| syscalls::exists_elsewhere(name)));
}

#[test]
fn compares_64_bits_by_every_operator() {
    let values = [0, 1, 5, 0x7fff_ffff, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0005, 0xffff_ffff_0000_0000, u64::MAX];
    for operator in ["NE", "LT", "LE", "EQ", "GE", "GT"] {
        for value in values {
            let policy = one_rule(operator, value, 0);
            let program = compile(&policy).unwrap();
            for argument in edges(value) {
                let call = Call::native(number("write"), [9, argument, 9, 9, 9, 9]);
                assert_eq!(run(&program, &call).0, judge(&policy, &call), "{argument:#x} {operator} {value:#x}");
            }
        }
    }
}

#[test]
fn compares_under_every_kind_of_mask() {
    let masks = [0, 1, 0x800, 0xffff_ffff, 0x7e02_0000, 0xf_0000_0000, 0x8_0000_0000, 0xffff_ffff_0000_0001, u64::MAX];
    for mask in masks {
        for value in edges(mask).into_iter().map(|value| value & mask) {
            let policy = one_rule("MASKED_EQ", mask, value);
            let program = compile(&policy).unwrap();
            for argument in edges(value).into_iter().chain(edges(mask)) {
                let call = Call::native(number("write"), [9, argument, 9, 9, 9, 9]);
                assert_eq!(run(&program, &call).0, judge(&policy, &call), "{argument:#x} & {mask:#x} == {value:#x}");
            }
        }
    }
}

#[test]
fn the_first_rule_that_holds_decides() {
    let policy = parse(
        r#"{"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [
            {"names": ["dup2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
                                                                                   {"index": 1, "value": 1, "op": "SCMP_CMP_EQ"}]},
            {"names": ["dup2"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
            {"names": ["dup2"], "action": "SCMP_ACT_TRAP", "args": [{"index": 1, "value": 1, "op": "SCMP_CMP_EQ"}]},
            {"names": ["dup2", "dup"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["dup2"], "action": "SCMP_ACT_ALLOW"}]}"#,
    );
    let program = compile(&policy).unwrap();
    assert_eq!(ask(&program, "dup2", &[1, 1]), errno(1));
    assert_eq!(ask(&program, "dup2", &[1, 0]), libc::SECCOMP_RET_LOG);
    assert_eq!(ask(&program, "dup2", &[0, 1]), libc::SECCOMP_RET_TRAP);
    assert_eq!(ask(&program, "dup2", &[0, 0]), errno(1));
    assert_eq!(ask(&program, "dup", &[]), errno(1));
    assert_eq!(ask(&program, "read", &[]), KILL_PROCESS);
}

#[test]
fn jumps_as_far_as_it_takes() {
    // Many rules, in many calls, so that every kind of target is more than 255 instructions away from somewhere.
    let rule = |name: &str, value: u64, args: &str| {
        format!(r#"{{"names": ["{name}"], "action": "SCMP_ACT_ERRNO", "errnoRet": {value}, "args": [{args}]}}"#)
    };
    let argument = |index: u64, value: u64| format!(r#"{{"index": {index}, "value": {value}, "op": "SCMP_CMP_EQ"}}"#);
    let mut rules = Vec::new();
    for value in 0..150 {
        rules.push(rule("write", value, &argument(1, value)));
        rules.push(rule("clone3", value, &format!("{}, {}", argument(value % 6, value), argument(0, 77))));
        rules.push(rule("getpid", value, &(0..6).map(|index| argument(index, 3)).collect::<Vec<_>>().join(", ")));
    }
    rules.truncate(240);
    let policy = parse(&format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{}]}}"#, rules.join(",")));
    let program = compile(&policy).unwrap();
    assert!(program.len() > 2000, "{}", program.len());
    // BPF_JA: the steps in between.
    assert!(program.iter().any(|instruction| instruction.code == 0x05));
    for name in ["write", "clone3", "getpid", "read", "mseal"] {
        for value in 0..160 {
            for arguments in [[77, value, value, value, value, value], [value; 6], [3; 6]] {
                let call = Call::native(number(name), arguments);
                assert_eq!(run(&program, &call).0, judge(&policy, &call), "{call:?}");
            }
        }
    }
}

#[test]
fn agrees_with_the_policy_on_every_number() {
    for (name, text) in FILES {
        let policy = parse(text);
        let program = compile(&policy).unwrap();
        // What the rules of the call compare with, in each place, with and without junk above 32 bits.
        for number in 0..600 {
            let rules = policy.calls.get(&number).into_iter().flatten();
            let conditions = rules.flat_map(|rule| &rule.conditions);
            let values: BTreeSet<u64> =
                conditions.flat_map(|c| [c.value, c.value | 1 << 40, c.value ^ c.mask]).collect();
            let values: Vec<u64> = values.into_iter().chain([0, u64::MAX, 1]).collect();
            for &first in &values {
                for &second in &values {
                    for third in [0, 1, 6, 17, 58, first, second] {
                        let call = Call::native(number, [first, second, third, second, 0, 0]);
                        assert_eq!(run(&program, &call).0, judge(&policy, &call), "{name}: {call:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn closes_foreign_abis_whatever_the_policy() {
    let open = load(br#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).unwrap();
    let programs = FILES.map(|(_, text)| compile(&parse(text)).unwrap());
    for program in programs.iter().map(Vec::as_slice).chain([open.instructions()]) {
        // AUDIT_ARCH_I386, AUDIT_ARCH_AARCH64, none.
        for architecture in [0x4000_0003, 0xc000_00b7, 0] {
            let call = Call { architecture, number: 1, arguments: [0; 6] };
            assert_eq!(run(program, &call).0, KILL_PROCESS);
        }
        for number in [0x4000_0000, 0x4000_0001, 0x4000_0208, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            assert_eq!(run(program, &Call::native(number, [0; 6])).0, errno(38));
        }
    }
}

#[test]
fn stays_a_shallow_tree() {
    let policy = parse(FILES[0].1);
    let program = compile(&policy).unwrap();
    let looks_at_arguments = |number: &u32| policy.calls[number].iter().any(|rule| !rule.conditions.is_empty());
    let constant = policy.calls.keys().filter(|number| !looks_at_arguments(number));
    let deepest = constant.map(|number| run(&program, &Call::native(*number, [0; 6])).1).max();
    // The architecture and x32 take four. Then it is one comparison a level, for up to 256 ranges, and the return.
    assert!(deepest.is_some_and(|steps| steps <= 4 + 8 + 1), "{deepest:?}");
}
