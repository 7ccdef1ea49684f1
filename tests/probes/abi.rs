//! Makes a system call by a foreign ABI, `i386` (`int 0x80`) or `x32`, and prints what came back: a pid if it was served.

#![expect(unsafe_code, reason = "foreign ABIs are reached by instructions")]

use std::arch::asm;

fn main() {
    let answer: i64 = match std::env::args().nth(1).as_deref() {
        Some("i386") => {
            let mut answer: i32 = 20; // getpid, of <asm/unistd_32.h>
            // SAFETY: getpid reads and writes no memory; the kernel zeroes r8 to r11 on this path, which are named.
            unsafe {
                asm!("int 0x80", inout("eax") answer, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
            }
            i64::from(answer)
        }
        _ => {
            let mut answer: i64 = 0x4000_0000 + 39; // __X32_SYSCALL_BIT and getpid, of <asm/unistd.h>
            // SAFETY: getpid reads and writes no memory; `syscall` overwrites rcx and r11, which are named.
            unsafe {
                asm!("syscall", inout("rax") answer, out("rcx") _, out("r11") _);
            }
            answer
        }
    };
    println!("{}", if answer == i64::from(std::process::id()) { "served".to_owned() } else { (-answer).to_string() });
}
