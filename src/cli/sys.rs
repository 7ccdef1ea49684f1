//! The program's one room with `unsafe`: its entry point. The standard library's own start reads `/proc/self/maps` for a stack
//! guard and installs signal handlers, a twentieth of a millisecond that every command would pay. What else it does is done
//! here: the three standard descriptors are open, SIGPIPE is ignored, and a panic is an exit code.
#![expect(unsafe_code, reason = "this is the room for it")]

use nix::sys::signal::{SigHandler, Signal, signal};
use rustix::fs::{Mode, OFlags};
use std::io::Write;
use std::os::fd::IntoRawFd;

/// What a program of Rust's exits with when it has panicked.
const PANICKED: u8 = 101;

/// What the C library calls. `std::env::args` works all the same: glibc hands the arguments to its initialiser.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: i32, _argv: *const *const std::ffi::c_char) -> i32 {
    let code = std::panic::catch_unwind(|| {
        open_standard();
        // SAFETY: no handler is installed that could do anything in a signal's context.
        let _never_fails = unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) };
        crate::main()
    });
    // What was printed and not written yet. Who closed our stdout misses nothing.
    let _misses_nothing = std::io::stdout().flush();
    code.unwrap_or(PANICKED).into()
}

/// Fills the places of standard descriptors that are closed, so that nothing else is ever opened there.
fn open_standard() {
    while let Ok(null) = rustix::fs::open(c"/dev/null", OFlags::RDWR, Mode::empty()) {
        let number = null.into_raw_fd();
        if number > 2 {
            // SAFETY: it was opened right here, and nobody else knows of it.
            unsafe { rustix::io::close(number) };
            return;
        }
    }
}
