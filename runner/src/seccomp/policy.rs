//! A policy in numbers: for each system call an ordered list of rules, each with the value that the kernel is to
//! return. It deliberately knows neither JSON nor BPF: `oci` is before it, `compile` behind it.
//!
//! Rules are tried in the order of the file. The first whose conditions all hold decides; if none does, the default
//! action does. (libseccomp gives no such order: it refuses, or merges, rules of one call with different actions.)

use std::collections::{BTreeMap, HashMap};

use super::docker;
use super::error::PolicyError;
use super::oci::{Action, Argument, Document, Entry, Operator};
use super::syscalls;

/// The largest error number that the kernel hands out: `MAX_ERRNO`, include/linux/err.h.
const MAX_ERRNO: u32 = 4095;

/// The architectures of libseccomp, without their `SCMP_ARCH_`.
const ARCHITECTURES: &str = "NATIVE X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 \
    PPC PPC64 PPC64LE S390 S390X PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB";

/// A policy, resolved.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    /// What the filter returns when no rule decides: a `SECCOMP_RET_*` with its data.
    pub(super) default: u32,
    /// The rules of each system call, by number, in order. No list is empty.
    pub(super) calls: BTreeMap<u32, Vec<Rule>>,
}

/// What happens to one system call when all conditions hold.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) conditions: Vec<Condition>,
    /// What the filter returns: a `SECCOMP_RET_*` with its data.
    pub(super) verdict: u32,
}

/// A comparison of one argument, 64 bits, without sign. `mask` is all ones except for a masked comparison.
#[derive(Debug, Clone, Copy)]
pub(super) struct Condition {
    pub(super) index: u32,
    pub(super) operator: Operator,
    pub(super) mask: u64,
    pub(super) value: u64,
}

impl Policy {
    /// Reads the rules of `floor`, if any, and then those of `text`, whose default action holds.
    pub(super) fn parse(text: &[u8], floor: Option<&[u8]>) -> Result<Self, PolicyError> {
        let document = read(text)?;
        let mut policy = Self {
            default: verdict(document.default_action, document.default_errno_ret, None)?,
            calls: BTreeMap::new(),
        };
        check_architectures(&document)?;
        let numbers: HashMap<&str, u32> = syscalls::numbers().collect();
        if let Some(floor) = floor {
            policy.add(&read(floor)?, &numbers)?;
        }
        policy.add(&document, &numbers)?;
        Ok(policy)
    }

    /// Allows the calls of these names, whatever the rules say. Names that this machine has no call for change nothing.
    #[allow(dead_code, reason = "the build script compiles no policy that is widened")]
    pub(super) fn widen(&mut self, names: &[&str]) {
        for (name, number) in syscalls::numbers() {
            if names.contains(&name) {
                let allow = Rule { conditions: Vec::new(), verdict: libc::SECCOMP_RET_ALLOW };
                self.calls.insert(number, vec![allow]);
            }
        }
    }

    /// Keeps only what is said of the calls of these names, and allows all others.
    #[allow(dead_code, reason = "the build script compiles no policy that is narrowed")]
    pub(super) fn narrow(&mut self, names: &[&str]) {
        let named = syscalls::numbers().filter(|(name, _)| names.contains(name));
        let mut rules_of = |number| {
            let mut rules = self.calls.remove(&number).unwrap_or_default();
            rules.push(Rule { conditions: Vec::new(), verdict: self.default });
            rules
        };
        self.calls = named.map(|(_, number)| (number, rules_of(number))).collect();
        self.default = libc::SECCOMP_RET_ALLOW;
    }

    fn add(&mut self, document: &Document, numbers: &HashMap<&str, u32>) -> Result<(), PolicyError> {
        for (rule, entry) in document.syscalls.iter().flatten().enumerate() {
            // Checked before it is known whether the rule applies: a mistake is a mistake on every machine.
            let resolved = resolve(entry, rule)?;
            let applies = docker::applies(entry.includes.as_ref(), entry.excludes.as_ref())?;
            for name in &entry.names {
                match numbers.get(name.as_str()) {
                    Some(number) if applies => self.calls.entry(*number).or_default().push(resolved.clone()),
                    Some(_) => {}
                    None if syscalls::exists_elsewhere(name) => {}
                    None => return Err(PolicyError::UnknownSyscall { name: name.clone(), rule }),
                }
            }
        }
        Ok(())
    }
}

fn read(text: &[u8]) -> Result<Document, PolicyError> {
    serde_json::from_slice(text).map_err(|source| PolicyError::Form { source })
}

fn check_architectures(document: &Document) -> Result<(), PolicyError> {
    let unsupported = [
        ("flags", document.flags.as_ref().is_some_and(|flags| !flags.is_empty())),
        ("listenerPath", document.listener_path.is_some()),
        ("listenerMetadata", document.listener_metadata.is_some()),
    ];
    if let Some((field, _)) = unsupported.into_iter().find(|(_, present)| *present) {
        return Err(PolicyError::UnsupportedField { field });
    }

    let listed = document.architectures.iter().flatten();
    let mapped = document.arch_map.iter().flatten().map(|entry| &entry.architecture);
    let names: Vec<&String> = listed.chain(mapped).collect();
    for name in &names {
        let known =
            name.strip_prefix("SCMP_ARCH_").is_some_and(|arch| ARCHITECTURES.split_whitespace().any(|a| a == arch));
        if !known {
            return Err(PolicyError::UnknownArchitecture { name: (*name).clone() });
        }
    }
    let ours = |name: &&String| matches!(name.as_str(), "SCMP_ARCH_X86_64" | "SCMP_ARCH_NATIVE");
    if names.is_empty() || names.iter().any(ours) { Ok(()) } else { Err(PolicyError::ForeignArchitecture) }
}

fn resolve(entry: &Entry, rule: usize) -> Result<Rule, PolicyError> {
    if entry.names.is_empty() {
        return Err(PolicyError::NoNames { rule });
    }
    let conditions = entry.args.iter().flatten().map(|argument| condition(argument, rule));
    Ok(Rule {
        conditions: conditions.collect::<Result<_, _>>()?,
        verdict: verdict(entry.action, entry.errno_ret, Some(rule))?,
    })
}

fn condition(argument: &Argument, rule: usize) -> Result<Condition, PolicyError> {
    let Argument { index, value, value_two, op } = *argument;
    if index > 5 {
        return Err(PolicyError::ArgumentIndex { index, rule });
    }
    // For the masked comparison OCI and libseccomp have the mask in `value`. Bits outside of it can never match, and
    // a `valueTwo` beside another operator is a mask that would be ignored: both are mistakes that open or close a
    // call unseen.
    let (mask, value, ignored) = match op {
        Operator::MaskedEqual => (value, value_two, value_two & !value),
        _ => (u64::MAX, value, value_two),
    };
    if ignored != 0 {
        return Err(PolicyError::ValueTwo { rule });
    }
    Ok(Condition { index, operator: op, mask, value })
}

fn verdict(action: Action, errno: Option<u32>, rule: Option<usize>) -> Result<u32, PolicyError> {
    let value = match action {
        Action::Allow => libc::SECCOMP_RET_ALLOW,
        Action::Log => libc::SECCOMP_RET_LOG,
        Action::Trap => libc::SECCOMP_RET_TRAP,
        Action::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        Action::KillThread => libc::SECCOMP_RET_KILL_THREAD,
        Action::Trace => return Err(PolicyError::UnsupportedAction { action: "SCMP_ACT_TRACE" }),
        Action::Notify => return Err(PolicyError::UnsupportedAction { action: "SCMP_ACT_NOTIFY" }),
        Action::Errno => {
            // OCI: without a number it is EPERM.
            let errno = errno.unwrap_or(libc::EPERM.unsigned_abs());
            if errno > MAX_ERRNO {
                return Err(PolicyError::ErrnoRange { errno });
            }
            return Ok(libc::SECCOMP_RET_ERRNO | errno);
        }
    };
    if errno.is_some() { Err(PolicyError::StrayErrno { rule }) } else { Ok(value) }
}
