//! What a widened policy allows beside the policy, and that it changes nothing else.

use super::super::{builtin, builtin_names, builtin_widened, load, load_widened};
use super::{ALLOW, ask, errno};

/// Policies that forbid what is to be allowed, by a rule and by silence.
const POLICY: &[u8] = br#"{ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
    { "names": ["read", "write"], "action": "SCMP_ACT_ALLOW" },
    { "names": ["close"], "action": "SCMP_ACT_KILL_PROCESS" } ] }"#;

#[test]
fn what_is_named_is_allowed_whatever_the_policy_says() {
    let widened = load_widened(POLICY, &["clone3", "close", "ioctl"]).unwrap();
    // The floor forbids clone3, and this request of ioctl.
    for (name, arguments) in [("clone3", [0; 3]), ("close", [0; 3]), ("ioctl", [0, 0x5412, 0])] {
        assert_eq!(ask(widened.instructions(), name, &arguments), ALLOW, "{name}");
        assert_ne!(ask(load(POLICY).unwrap().instructions(), name, &arguments), ALLOW, "{name}");
    }
    assert_eq!(ask(widened.instructions(), "mount", &[]), errno(1));
}

#[test]
fn every_other_call_is_judged_as_before() {
    let calls = ["clone3", "execve"];
    for name in builtin_names() {
        let (plain, widened) = (builtin(name).unwrap(), builtin_widened(name, &calls).unwrap().unwrap());
        for (call, _) in super::super::syscalls::numbers().filter(|(call, _)| !calls.contains(call)) {
            for argument in [0, 1, 2, 16, 0x1000_0000, 0x5412] {
                let arguments = [argument; 6];
                let (before, after) =
                    (ask(plain.instructions(), call, &arguments), ask(widened.instructions(), call, &arguments));
                assert_eq!(before, after, "{name}: {call}({argument:#x})");
            }
        }
    }
    assert!(builtin_widened("nonexistent", &calls).is_none());
}
