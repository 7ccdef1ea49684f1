//! The program's entry point, without the standard library's own start-up: that reads `/proc/self/maps` for a stack guard
//! and installs signal handlers, a twentieth of a millisecond that every job would pay. What else it does, `main` does:
//! the three standard descriptors are open, and SIGPIPE is ignored.

use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Where the arguments are, and how many: what `/proc/PID/cmdline` shows.
static ARGUMENTS: AtomicPtr<*mut libc::c_char> = AtomicPtr::new(std::ptr::null_mut());
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// What the C library calls. `std::env::args` works all the same: glibc hands the arguments to its initialiser.
#[unsafe(no_mangle)]
extern "C" fn main(argc: i32, argv: *mut *mut libc::c_char) -> i32 {
    ARGUMENTS.store(argv, Ordering::Relaxed);
    COUNT.store(usize::try_from(argc).unwrap_or(0), Ordering::Relaxed);
    i32::from(crate::main())
}

/// Blanks this process's arguments. `/proc/1/cmdline` can be read by everybody in the sandbox, dumpable or not, and would
/// tell where the runner is on the host. Nothing may ask for the arguments afterwards.
pub(crate) fn hide_arguments() {
    let arguments = ARGUMENTS.load(Ordering::Relaxed);
    for index in 0..COUNT.load(Ordering::Relaxed) {
        // SAFETY: the C library passed an array of `argc` pointers, so the place is within it.
        let place = unsafe { arguments.add(index) };
        // SAFETY: it holds a pointer, which lives as long as the process.
        let argument = unsafe { place.read() };
        // SAFETY: each of them points to a string that ends with a NUL.
        let length = unsafe { libc::strlen(argument) };
        // SAFETY: the strings are this process's own memory, writable, and nothing borrows them: `std::env::args`
        // makes copies.
        unsafe { argument.write_bytes(0, length) };
    }
}
