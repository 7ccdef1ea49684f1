//! Runs a filter as the kernel does, and judges a policy without one. It deliberately knows only the instructions that
//! the kernel takes from a filter (seccomp_check_filter in kernel/seccomp.c), and panics at any other.

use libc::sock_filter;

use super::super::compile::AUDIT_ARCH_X86_64;
use super::super::oci::Operator;
use super::super::policy::{Condition, Policy};

/// A system call as a filter sees it: `struct seccomp_data`, without the instruction pointer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) architecture: u32,
    pub(super) number: u32,
    pub(super) arguments: [u64; 6],
}

impl Call {
    pub(super) fn native(number: u32, arguments: [u64; 6]) -> Self {
        Self { architecture: AUDIT_ARCH_X86_64, number, arguments }
    }

    fn word(&self, offset: u32) -> u32 {
        let argument = |index: u32| self.arguments[usize::try_from(index / 8).unwrap()];
        match offset {
            0 => self.number,
            4 => self.architecture,
            16..64 if offset.is_multiple_of(8) => (argument(offset - 16) & 0xffff_ffff) as u32,
            16..64 if offset % 8 == 4 => (argument(offset - 16) >> 32) as u32,
            _ => panic!("no field at {offset}"),
        }
    }
}

/// What the filter returns, and how many instructions it took.
pub(super) fn run(program: &[sock_filter], call: &Call) -> (u32, usize) {
    let (mut accumulator, mut at, mut steps) = (0, 0, 0);
    loop {
        let sock_filter { code, jt, jf, k } = program[at];
        at += 1;
        steps += 1;
        let branch = |holds: bool| usize::from(if holds { jt } else { jf });
        // Written out as numbers, so that a wrong constant in the compiler can't be wrong here as well.
        match code {
            0x20 => accumulator = call.word(k),
            0x54 => accumulator &= k,
            0x05 => at += usize::try_from(k).unwrap(),
            0x15 => at += branch(accumulator == k),
            0x25 => at += branch(accumulator > k),
            0x35 => at += branch(accumulator >= k),
            0x45 => at += branch(accumulator & k != 0),
            0x06 => return (k, steps),
            _ => panic!("no instruction {code:#x}"),
        }
    }
}

/// What the policy says by its own words.
pub(super) fn judge(policy: &Policy, call: &Call) -> u32 {
    if call.architecture != AUDIT_ARCH_X86_64 {
        return libc::SECCOMP_RET_KILL_PROCESS;
    }
    if call.number >= 0x4000_0000 {
        return libc::SECCOMP_RET_ERRNO | 38;
    }
    let rules = policy.calls.get(&call.number).map_or(&[][..], Vec::as_slice);
    let deciding = rules.iter().find(|rule| rule.conditions.iter().all(|condition| holds(condition, call)));
    deciding.map_or(policy.default, |rule| rule.verdict)
}

fn holds(condition: &Condition, call: &Call) -> bool {
    let Condition { index, operator, mask, value } = *condition;
    let argument = call.arguments[usize::try_from(index).unwrap()];
    match operator {
        Operator::NotEqual => argument != value,
        Operator::Less => argument < value,
        Operator::LessOrEqual => argument <= value,
        Operator::Equal => argument == value,
        Operator::GreaterOrEqual => argument >= value,
        Operator::Greater => argument > value,
        Operator::MaskedEqual => argument & mask == value,
    }
}
