//! What is refused in a policy, and in which words.

use std::error::Error;

use super::super::{MAX_BYTES, PolicyError, load};
use super::{ALLOW, ask, errno};

fn message(text: &str) -> String {
    let error = load(text.as_bytes()).unwrap_err();
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// A policy with this one rule.
fn with_rule(rule: &str) -> String {
    format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{{{rule}}}]}}"#)
}

#[track_caller]
fn assert_refused(text: &str, expected: &str) {
    let message = message(text);
    assert!(message.contains(expected), "`{message}` lacks `{expected}`");
}

#[test]
fn refuses_unknown_fields_by_name() {
    assert_refused(r#"{"defaultAction": "SCMP_ACT_ERRNO", "sysclals": []}"#, "unknown field `sysclals`");
    assert_refused(&with_rule(r#""names": ["read"], "action": "SCMP_ACT_ALLOW", "arg": []"#), "unknown field `arg`");
    assert_refused(
        &with_rule(
            r#""names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "valuetwo": 1, "op": "SCMP_CMP_EQ"}]"#,
        ),
        "unknown field `valuetwo`",
    );
    assert_refused(r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultAction": "SCMP_ACT_ALLOW"}"#, "duplicate field");
}

#[test]
fn refuses_what_is_not_a_policy() {
    assert_refused("", "failed to read the seccomp policy: EOF");
    assert_refused("[]", "failed to read the seccomp policy");
    assert_refused("{}", "missing field `defaultAction`");
    assert_refused(r#"{"defaultAction": "SCMP_ACT_ALLOW"} x"#, "trailing characters");
    assert_refused(&"[".repeat(100_000), "failed to read the seccomp policy");
    assert_refused(&with_rule(r#""names": ["read"], "action": "SCMP_ACT_ALOW""#), "unknown variant `SCMP_ACT_ALOW`");
    assert_refused(
        &with_rule(
            r#""names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": -1, "op": "SCMP_CMP_EQ"}]"#,
        ),
        "invalid value: integer `-1`",
    );
    let long = " ".repeat(MAX_BYTES + 1);
    assert!(matches!(load(long.as_bytes()), Err(PolicyError::TooBig { bytes }) if bytes == MAX_BYTES + 1));
}

#[test]
fn refuses_what_needs_a_supervisor_by_name() {
    assert_refused(r#"{"defaultAction": "SCMP_ACT_TRACE"}"#, "the action `SCMP_ACT_TRACE` is not supported");
    assert_refused(
        &with_rule(r#""names": ["read"], "action": "SCMP_ACT_NOTIFY""#),
        "the action `SCMP_ACT_NOTIFY` is not supported",
    );
    for (field, value) in
        [("flags", r#"["SECCOMP_FILTER_FLAG_LOG"]"#), ("listenerPath", r#""/x""#), ("listenerMetadata", r#""x""#)]
    {
        let text = format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "{field}": {value}}}"#);
        assert_refused(&text, &format!("the field `{field}` is not supported"));
        assert!(load(text.as_bytes()).unwrap_err().hint().is_some());
    }
}

#[test]
fn refuses_rules_that_say_nothing() {
    assert_refused(
        &with_rule(r#""names": ["read", "wirte"], "action": "SCMP_ACT_ALLOW""#),
        "unknown system call `wirte` in `syscalls[0]`",
    );
    assert_refused(&with_rule(r#""names": [], "action": "SCMP_ACT_ALLOW""#), "no `names` in `syscalls[0]`");
    assert_refused(
        &with_rule(
            r#""names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]"#,
        ),
        "the argument `6` in `syscalls[0]` is not between 0 and 5",
    );
    for (value, operator) in [(15, "MASKED_EQ"), (1, "EQ")] {
        assert_refused(
            &with_rule(&format!(
                r#""names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{{"index": 0, "value": {value}, "valueTwo": 16, "op": "SCMP_CMP_{operator}"}}]"#
            )),
            "a `valueTwo` in `syscalls[0]` that can't match",
        );
    }
}

#[test]
fn refuses_errors_that_can_not_be_returned() {
    assert_refused(
        &with_rule(r#""names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096"#),
        "the error number `4096` is not between 0 and 4095",
    );
    assert_refused(
        &with_rule(r#""names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1"#),
        "`errnoRet` in `syscalls[0]` beside an action that returns no error",
    );
    assert_refused(
        r#"{"defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 1}"#,
        "`defaultErrnoRet` beside a default action that returns no error",
    );
}

#[test]
fn refuses_a_policy_for_another_machine() {
    assert_refused(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_AARCH64"]}"#,
        "the policy is not for this machine's architecture",
    );
    assert_refused(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "x86_64"]}"#,
        "unknown architecture `x86_64`",
    );
}

#[test]
fn refuses_what_the_kernel_would() {
    let argument = |index: u64| format!(r#"{{"index": {index}, "value": 18446744073709551615, "op": "SCMP_CMP_LE"}}"#);
    let arguments = (0..6).map(argument).collect::<Vec<_>>().join(",");
    let rule = format!(r#"{{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{arguments}]}}"#);
    let rules = vec![rule; 200].join(",");
    let text = format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{rules}]}}"#);
    assert_refused(&text, "more than the 4096 that the kernel takes");
}

#[test]
fn takes_policies_in_dockers_words() {
    let text = r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
                    {"architecture": "SCMP_ARCH_RISCV64", "subArchitectures": null}],
        "syscalls": [
            {"names": ["read", "chown32", "_llseek"], "action": "SCMP_ACT_ALLOW", "args": null, "comment": "", "includes": {}, "excludes": {}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}},
            {"names": ["sync"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
            {"names": ["reboot"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_BOOT"]}},
            {"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["acct"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}}]}"#;
    let program = load(text.as_bytes()).unwrap();
    for name in ["read", "ptrace", "arch_prctl"] {
        assert_eq!(ask(program.instructions(), name, &[]), ALLOW, "{name}");
    }
    for name in ["sync", "reboot", "acct", "write"] {
        assert_eq!(ask(program.instructions(), name, &[]), errno(1), "{name}");
    }
    assert_eq!(ask(program.instructions(), "bpf", &[]), errno(38));

    assert_refused(
        &with_rule(r#""names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.9"}"#),
        "the `minKernel` `6.9` can't be decided",
    );
}
