//! Seccomp policies: the built-in ones, compiled when Pinfold is built, and those that users write, compiled when a
//! job asks for them. It deliberately installs nothing: the system call is in `sys`.
//!
//! A policy goes from JSON (`oci`, `docker`) to numbers (`policy`, `syscalls`) to a program (`compile`, `bpf`). The build
//! script has the same files, so that a built-in policy costs no parsing and no memory at run time.
//! What the policies are for, and how to write one, is in `seccomp/README.md`.

mod bpf;
mod builtin;
mod compile;
mod docker;
mod error;
mod oci;
mod policy;
mod syscalls;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use builtin::{
    builtin, builtin_names, callers_files, init, no_network, no_unix_sockets, restrict_suid_sgid, shared_host,
    validator,
};
pub use error::PolicyError;

/// The longest policy that [`load`] reads. Docker's own has 17 thousand bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// What no policy that is read from a file can allow; its rules come first.
const FLOOR: &[u8] = include_bytes!("../../../seccomp/floor.json");

/// A filter, ready to be installed by seccomp(2).
#[derive(Debug, Clone)]
pub struct Program {
    instructions: Cow<'static, [libc::sock_filter]>,
}

impl Program {
    /// The instructions: at least one, at most 4096.
    pub fn instructions(&self) -> &[libc::sock_filter] {
        &self.instructions
    }
}

/// The text of a built-in policy.
fn text_of(name: &str) -> Option<&'static [u8]> {
    match name {
        "default" => Some(include_bytes!("../../../seccomp/default.json")),
        "strict" => Some(include_bytes!("../../../seccomp/strict.json")),
        "debug" => Some(include_bytes!("../../../seccomp/debug.json")),
        _ => None,
    }
}

/// The built-in policy of that name with `calls` allowed beside, whatever their arguments are: for a process of ours that
/// installs the policy itself in what it starts. Filters add up (seccomp(2)), so it must be able to do all that the policy
/// allows.
pub fn builtin_widened(name: &str, calls: &[&str]) -> Option<Result<Program, PolicyError>> {
    text_of(name).map(|text| widened(policy::Policy::parse(text, None)?, calls))
}

/// [`load`], widened as [`builtin_widened`] says.
pub fn load_widened(bytes: &[u8], calls: &[&str]) -> Result<Program, PolicyError> {
    widened(policy::Policy::parse(bytes, Some(FLOOR))?, calls)
}

fn widened(mut policy: policy::Policy, calls: &[&str]) -> Result<Program, PolicyError> {
    policy.widen(calls);
    Ok(Program { instructions: Cow::Owned(compile::compile(&policy)?) })
}

/// Compiles a policy that a user wrote, in the OCI `linux.seccomp` form. The rules of `seccomp/floor.json` hold before
/// its own, and foreign ABIs are closed, whatever it says.
pub fn load(bytes: &[u8]) -> Result<Program, PolicyError> {
    if bytes.len() > MAX_BYTES {
        return Err(PolicyError::TooBig { bytes: bytes.len() });
    }
    let policy = policy::Policy::parse(bytes, Some(FLOOR))?;
    Ok(Program { instructions: Cow::Owned(compile::compile(&policy)?) })
}
