//! Asks a fresh pseudo-terminal for what types into it or loads modules, and prints `ok` or the errno's number for each of
//! TIOCSTI, TIOCLINUX, TIOCCONS, TIOCSETD, and TIOCSTI again with bits above the lower 32 set.

#![expect(unsafe_code, reason = "ioctl(2)")]
#![expect(clippy::disallowed_methods, reason = "ioctl with 64 bits of request goes past libc")]

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;

fn main() {
    let Ok(terminal) = OpenOptions::new().read(true).write(true).open("/dev/ptmx") else {
        println!("no terminal");
        return;
    };
    let argument = [0u8; 64];
    for request in [0x5412u64, 0x541c, 0x541d, 0x5423, 0x1_0000_5412] {
        // SAFETY: each of these reads at most so many bytes of the argument, and keeps nothing.
        let answer = unsafe { libc::syscall(libc::SYS_ioctl, terminal.as_raw_fd(), request, argument.as_ptr()) };
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(-1);
        println!("{}", if answer == 0 { "ok".to_owned() } else { errno.to_string() });
    }
}
