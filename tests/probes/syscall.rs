//! Makes system calls, each in a child of its own, and prints one line for each: `ok`, the errno's number, or `signal N`.
//!
//! An argument is `NUMBER:A,B,C…`; each of A, B, C is a number, `s/text` for a pointer to a string, or `z/N` for a
//! pointer to N zeroed bytes.

#![expect(unsafe_code, reason = "system calls by number are this probe's purpose")]
#![expect(clippy::disallowed_methods, reason = "the same")]

use std::ffi::CString;

fn main() {
    for call in std::env::args().skip(1) {
        let (number, arguments) = call.split_once(':').unwrap_or((&call, ""));
        let mut kept: Vec<Vec<u8>> = Vec::new();
        let mut words = [0i64; 6];
        for (word, text) in words.iter_mut().zip(arguments.split(',').filter(|text| !text.is_empty())) {
            *word = if let Some(string) = text.strip_prefix("s/") {
                kept.push(CString::new(string).unwrap_or_default().into_bytes_with_nul());
                kept.last().map_or(0, |bytes| bytes.as_ptr() as i64)
            } else if let Some(length) = text.strip_prefix("z/") {
                kept.push(vec![0; length.parse().unwrap_or(0)]);
                kept.last().map_or(0, |bytes| bytes.as_ptr() as i64)
            } else {
                text.parse().unwrap_or(-1)
            };
        }
        println!("{}", in_child(number.parse().unwrap_or(-1), words));
    }
}

fn in_child(number: i64, [a, b, c, d, e, f]: [i64; 6]) -> String {
    // SAFETY: this process has one thread, so the child may go on as it likes; it only makes one call and ends.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: what the call may do to this process is the question; nothing but its end comes after.
        let answer = unsafe { libc::syscall(number, a, b, c, d, e, f) };
        let errno = if answer < 0 { std::io::Error::last_os_error().raw_os_error().unwrap_or(0) } else { 0 };
        // SAFETY: ends the process, without touching what it shares with its parent.
        unsafe { libc::_exit(errno) };
    }
    if pid < 0 {
        return "lost".to_owned();
    }
    let mut status = 0;
    // SAFETY: the kernel writes the status into the integer, and keeps nothing.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
    if waited != pid {
        return "lost".to_owned();
    }
    match (libc::WIFEXITED(status), libc::WEXITSTATUS(status)) {
        (true, 0) => "ok".to_owned(),
        (true, errno) => errno.to_string(),
        (false, _) => format!("signal {}", libc::WTERMSIG(status)),
    }
}
