//! From a policy to a seccomp program in classic BPF. It deliberately optimises two things only: how many instructions
//! a system call runs through, and how many there are, for the kernel emulates the program once for each system call
//! when it is installed.
//!
//! The shape: the architecture, then the x32 bit, then a balanced binary tree over ranges of numbers with the same
//! answer. A leaf is a return, or the chain of rules of a call whose answer depends on arguments.

use super::bpf::{Label, Writer};
use super::error::PolicyError;
use super::oci::Operator;
use super::policy::{Condition, Policy, Rule};

/// `AUDIT_ARCH_X86_64`, include/uapi/linux/audit.h: EM_X86_64 with the bits for 64-bit and little-endian.
pub(super) const AUDIT_ARCH_X86_64: u32 = 0xC000_003E;
/// `__X32_SYSCALL_BIT`, arch/x86/include/uapi/asm/unistd.h.
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// Offsets in `struct seccomp_data`, include/uapi/linux/seccomp.h.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The program of a policy. It is written from its end, see [`Writer`].
pub(super) fn compile(policy: &Policy) -> Result<Vec<libc::sock_filter>, PolicyError> {
    let mut writer = Writer::default();
    let tree = tree(&mut writer, &ranges(policy));
    // x32, and numbers that no kernel has. ENOSYS is what a kernel without x32 says.
    let foreign_number = writer.ret(libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs());
    let number = writer.jump(libc::BPF_JGE, X32_BIT, foreign_number, tree);
    let native = writer.load(NUMBER, number);
    let foreign = writer.ret(libc::SECCOMP_RET_KILL_PROCESS);
    let architecture = writer.jump(libc::BPF_JEQ, AUDIT_ARCH_X86_64, native, foreign);
    writer.load(ARCHITECTURE, architecture);
    writer.finish()
}

/// What a range of system calls leads to.
enum Leaf<'a> {
    Return(u32),
    Rules { rules: &'a [Rule], otherwise: u32 },
}

/// The first number of each range, in order and beginning with 0, and its leaf. Neighbours differ.
fn ranges(policy: &Policy) -> Vec<(u32, Leaf<'_>)> {
    let mut ranges = Vec::new();
    let mut next = 0;
    for (&number, rules) in &policy.calls {
        if number > next {
            append(&mut ranges, next, Leaf::Return(policy.default));
        }
        append(&mut ranges, number, leaf(rules, policy.default));
        next = number + 1;
    }
    append(&mut ranges, next, Leaf::Return(policy.default));
    ranges
}

fn append<'a>(ranges: &mut Vec<(u32, Leaf<'a>)>, start: u32, leaf: Leaf<'a>) {
    match (ranges.last(), &leaf) {
        (Some((_, Leaf::Return(last))), Leaf::Return(verdict)) if last == verdict => {}
        _ => ranges.push((start, leaf)),
    }
}

/// The rules up to the first without a condition, which decides whatever comes to it.
fn leaf(rules: &[Rule], default: u32) -> Leaf<'_> {
    let (rules, otherwise) = match rules.iter().position(|rule| rule.conditions.is_empty()) {
        Some(last) => (&rules[..last], rules[last].verdict),
        None => (rules, default),
    };
    if rules.iter().all(|rule| rule.verdict == otherwise) {
        Leaf::Return(otherwise)
    } else {
        Leaf::Rules { rules, otherwise }
    }
}

fn tree(writer: &mut Writer, ranges: &[(u32, Leaf<'_>)]) -> Label {
    if let [(_, leaf)] = ranges {
        return match leaf {
            Leaf::Return(verdict) => writer.ret(*verdict),
            Leaf::Rules { rules, otherwise } => chain(writer, rules, *otherwise),
        };
    }
    let (below, above) = ranges.split_at(ranges.len() / 2);
    let middle = above[0].0;
    let above = tree(writer, above);
    let below = tree(writer, below);
    writer.jump(libc::BPF_JGE, middle, above, below)
}

/// Tries the rules in order: the first whose conditions all hold decides.
fn chain(writer: &mut Writer, rules: &[Rule], otherwise: u32) -> Label {
    let mut next = writer.ret(otherwise);
    for rule in rules.iter().rev() {
        let mut holds = writer.ret(rule.verdict);
        for condition in rule.conditions.iter().rev() {
            holds = compare(writer, condition, holds, next);
        }
        next = holds;
    }
    next
}

/// Compares an argument, which BPF loads in two halves. The machine is little-endian: the high half is the second.
fn compare(writer: &mut Writer, condition: &Condition, holds: Label, fails: Label) -> Label {
    let Condition { index, operator, mask, value } = *condition;
    let low_at = ARGUMENTS + 8 * index;
    let high_at = low_at + 4;
    let (low, high) = halves(value);
    match operator {
        Operator::Equal | Operator::MaskedEqual => {
            let (low_mask, high_mask) = halves(mask);
            let rest = equal(writer, low_at, low_mask, low, holds, fails);
            equal(writer, high_at, high_mask, high, rest, fails)
        }
        Operator::NotEqual => {
            let rest = equal(writer, low_at, u32::MAX, low, fails, holds);
            equal(writer, high_at, u32::MAX, high, rest, holds)
        }
        Operator::Greater => ordered(writer, low_at, libc::BPF_JGT, value, holds, fails),
        Operator::GreaterOrEqual => ordered(writer, low_at, libc::BPF_JGE, value, holds, fails),
        Operator::Less => ordered(writer, low_at, libc::BPF_JGE, value, fails, holds),
        Operator::LessOrEqual => ordered(writer, low_at, libc::BPF_JGT, value, fails, holds),
    }
}

fn equal(writer: &mut Writer, at: u32, mask: u32, value: u32, holds: Label, fails: Label) -> Label {
    // Most masks are of 32 bits or of one: these take an instruction less, or none.
    let start = match mask {
        0 => return holds,
        u32::MAX => writer.jump(libc::BPF_JEQ, value, holds, fails),
        _ if value == 0 => writer.jump(libc::BPF_JSET, mask, fails, holds),
        _ if value == mask && mask.is_power_of_two() => writer.jump(libc::BPF_JSET, mask, holds, fails),
        _ => {
            let start = writer.jump(libc::BPF_JEQ, value, holds, fails);
            writer.and(mask, start)
        }
    };
    writer.load(at, start)
}

/// `test` is BPF_JGT or BPF_JGE, for the low half; the high half decides where it differs.
fn ordered(writer: &mut Writer, low_at: u32, test: u32, value: u64, holds: Label, fails: Label) -> Label {
    let (low, high) = halves(value);
    let start = writer.jump(test, low, holds, fails);
    let same_high = writer.load(low_at, start);
    let start = writer.jump(libc::BPF_JEQ, high, same_high, fails);
    let start = writer.jump(libc::BPF_JGT, high, holds, start);
    writer.load(low_at + 4, start)
}

/// The low and the high half.
fn halves(value: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
}
