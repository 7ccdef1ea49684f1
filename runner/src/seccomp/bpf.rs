//! Writes classic BPF from the last instruction to the first. It deliberately has the few instructions only that a
//! filter for seccomp needs.
//!
//! BPF jumps forward only. Written backwards, whatever an instruction leads to exists already and its distance is
//! known, so nothing has to be patched. A conditional jump reaches 255 instructions; for a farther target a step is
//! put in between.

use std::collections::HashMap;

use libc::sock_filter;

use super::error::PolicyError;

/// `BPF_MAXINSNS`, include/uapi/linux/bpf_common.h.
const MAX_INSTRUCTIONS: usize = 4096;

/// An instruction that is written already, counted from the end of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(usize);

/// A program in the making, last instruction first. Each method writes what runs before `next`, or before its targets,
/// and returns where that starts.
#[derive(Default)]
pub(super) struct Writer {
    backwards: Vec<sock_filter>,
    /// The nearest return of each value, and the value of each return.
    returns: HashMap<u32, Label>,
}

impl Writer {
    /// Ends the filter with `verdict`. Returns are shared.
    pub(super) fn ret(&mut self, verdict: u32) -> Label {
        match self.returns.get(&verdict) {
            Some(label) => *label,
            None => self.new_ret(verdict),
        }
    }

    /// Loads the 32 bits of `struct seccomp_data` at `offset`.
    pub(super) fn load(&mut self, offset: u32, next: Label) -> Label {
        self.follow(next);
        self.write(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
    }

    /// Masks what is loaded.
    pub(super) fn and(&mut self, mask: u32, next: Label) -> Label {
        self.follow(next);
        self.write(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, mask)
    }

    /// Compares what is loaded with `value` by `test`: BPF_JEQ, BPF_JGT, BPF_JGE or BPF_JSET.
    pub(super) fn jump(&mut self, test: u32, value: u32, holds: Label, fails: Label) -> Label {
        // A step for the second moves the first a place away: `within_reach` keeps that place in hand.
        let holds = self.within_reach(holds);
        let fails = self.within_reach(fails);
        let (holds, fails) = (self.distance(holds), self.distance(fails));
        match (u8::try_from(holds), u8::try_from(fails)) {
            (Ok(holds), Ok(fails)) => self.write(libc::BPF_JMP | test | libc::BPF_K, holds, fails, value),
            _ => unreachable!("`within_reach` leaves no target beyond 255"),
        }
    }

    /// The program, first instruction first.
    pub(super) fn finish(self) -> Result<Vec<sock_filter>, PolicyError> {
        let Self { backwards: mut instructions, .. } = self;
        if instructions.len() > MAX_INSTRUCTIONS {
            return Err(PolicyError::TooLong { instructions: instructions.len() });
        }
        instructions.reverse();
        Ok(instructions)
    }

    fn new_ret(&mut self, verdict: u32) -> Label {
        let label = self.write(libc::BPF_RET | libc::BPF_K, 0, 0, verdict);
        self.returns.insert(verdict, label);
        label
    }

    /// Makes `next` what runs after the instruction that is written next.
    fn follow(&mut self, next: Label) {
        let distance = self.distance(next);
        if distance > 0 {
            // A 32-bit offset: no program is that long.
            let distance = u32::try_from(distance).unwrap_or(u32::MAX);
            self.write(libc::BPF_JMP | libc::BPF_JA, 0, 0, distance);
        }
    }

    /// `target`, or a step near the end of what is written that leads to it.
    fn within_reach(&mut self, target: Label) -> Label {
        if self.distance(target) < usize::from(u8::MAX) {
            return target;
        }
        let instruction = self.backwards[target.0];
        if u32::from(instruction.code) == libc::BPF_RET | libc::BPF_K {
            // Another return takes no more room than a jump to the one that is far away.
            return match self.returns.get(&instruction.k) {
                Some(near) if self.distance(*near) < usize::from(u8::MAX) => *near,
                _ => self.new_ret(instruction.k),
            };
        }
        self.follow(target);
        Label(self.backwards.len() - 1)
    }

    /// How many instructions lie between the one that is written next and `target`.
    fn distance(&self, target: Label) -> usize {
        self.backwards.len() - 1 - target.0
    }

    fn write(&mut self, code: u32, jt: u8, jf: u8, k: u32) -> Label {
        // All codes of classic BPF are below 256; libc has them as 32 bits.
        let code = u16::try_from(code).unwrap_or(u16::MAX);
        self.backwards.push(sock_filter { code, jt, jf, k });
        Label(self.backwards.len() - 1)
    }
}
