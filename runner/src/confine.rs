//! What a program of ours that works on what nobody trusts does to itself first. Both calls are for ever, hold for the calling
//! thread and whatever it starts, and need no_new_privs; so the program has one thread then.

use crate::seccomp::Program;
use crate::sys::landlock::{RulesetAttributes, abi, create_ruleset, restrict_self};
use crate::sys::{Errno, seccomp};
use std::io;
use std::os::fd::AsFd;

/// Landlock without a rule: no file can be opened, none made, and nobody outside be sent a signal, as far as this kernel's Landlock
/// goes. False where it has none.
///
/// # Errors
/// The kernel's, when it has Landlock and doesn't do it.
pub fn deny_files() -> io::Result<bool> {
    let Some(abi) = abi().map_err(told)? else { return Ok(false) };
    let ruleset = create_ruleset(&RulesetAttributes::all(abi), abi).map_err(told)?;
    restrict_self(ruleset.as_fd()).map_err(told)?;
    Ok(true)
}

/// Only the system calls that `filter` allows.
///
/// # Errors
/// The kernel's. Then nothing has changed.
pub fn filter_calls(filter: &Program) -> io::Result<()> {
    seccomp::set_mode_filter(filter.instructions()).map_err(told)
}

fn told(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.0)
}
