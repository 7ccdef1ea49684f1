//! The program's entry point, without the standard library's own start-up: that reads `/proc/self/maps` for a stack guard
//! and installs signal handlers, a twentieth of a millisecond that every job would pay. What else it does, `main` does:
//! the three standard descriptors are open, and SIGPIPE is ignored.

/// What the C library calls. `std::env::args` works all the same: glibc hands the arguments to its initialiser.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: i32, _argv: *const *const libc::c_char) -> i32 {
    i32::from(crate::main())
}
