//! What the runner inherited from whoever started it: the descriptors that it was told of, and no others.

use crate::sys::{self, Errno, file};
use pinfold_runner::{Failure, RunnerOptions};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};

/// The descriptors that the options named, as ours.
#[derive(Default)]
pub(crate) struct Descriptors {
    /// Whose other end the supervisor holds; end-of-file ends the sandbox.
    pub(crate) lifeline: Option<OwnedFd>,
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
    /// The keeper of a held sandbox speaks here.
    pub(crate) held: Option<OwnedFd>,
    /// The supervisor of a sandbox with a list of allowed hosts speaks here.
    pub(crate) network: Option<OwnedFd>,
}

/// Takes over what the options name and closes everything else from 3 on, so that nothing of the starter's leaks on.
pub(crate) fn adopt(options: &RunnerOptions) -> Result<Descriptors, Failure> {
    let named = [options.lifeline, options.stdin, options.stdout, options.stderr, options.held, options.network];
    let numbers: BTreeSet<i32> = named.into_iter().flatten().collect();
    if numbers.len() != named.iter().flatten().count() {
        return Err(Failure::new("usage", "a descriptor is named twice"));
    }
    let mut next = 3u32;
    for number in numbers.iter().filter_map(|number| u32::try_from(*number).ok()) {
        if number > next {
            close(next, number - 1)?;
        }
        next = number + 1;
    }
    close(next, u32::MAX)?;
    file::close_on_exec_from(3).map_err(|errno| unusable("other", errno))?;
    let take = |number: Option<i32>, name| {
        number.map(file::adopt).transpose().map_err(|errno| unusable(&format!("`--{name}`"), errno))
    };
    Ok(Descriptors {
        lifeline: take(options.lifeline, "lifeline")?,
        stdin: take(options.stdin, "stdin")?,
        stdout: take(options.stdout, "stdout")?,
        stderr: take(options.stderr, "stderr")?,
        held: take(options.held, "held")?,
        network: take(options.network, "network")?,
    })
}

fn close(first: u32, last: u32) -> Result<(), Failure> {
    file::close_range(first, last).map_err(|errno| unusable("other", errno))
}

fn unusable(which: &str, errno: Errno) -> Failure {
    Failure::new("usage", format!("failed to take over the {which} descriptor: {errno}"))
}

/// A closed stdin, stdout or stderr would let the next file that is opened take its number. Each is `/dev/null` then.
pub(crate) fn fill_standard() -> Result<(), Failure> {
    for number in 0..3 {
        if !file::is_open(number) {
            let null = file::open("/dev/null", libc::O_RDWR).map_err(|errno| unusable("standard", errno))?;
            file::dup_onto(null.as_fd(), number).map_err(|errno| unusable("standard", errno))?;
            // Opened as the very number that was free: then it must stay open.
            if std::os::fd::AsRawFd::as_raw_fd(&null) == number {
                std::mem::forget(null);
            }
        }
    }
    Ok(())
}

/// What init and the command have for 0, 1 and 2 until they get their own: nothing of the starter's.
pub(crate) fn forget_standard() -> Result<(), sys::Errno> {
    let null = file::open("/dev/null", libc::O_RDWR)?;
    (0..3).try_for_each(|number| file::dup_onto(null.as_fd(), number))
}
