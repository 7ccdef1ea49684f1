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

/// A policy in two filters, of which the first allows some calls whatever their arguments are: for a process of ours that needs
/// them, and installs the second in what it starts. Filters add up (seccomp(2)): both together are the policy, no more and no less.
/// The second is short, and so costs less than the policy would.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The policy, with the calls allowed.
    pub widened: Program,
    /// What the policy says of those calls, and nothing of any other.
    pub rest: Program,
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

/// The built-in policy of that name in two parts, the first of which allows `calls`.
pub fn builtin_parts(name: &str, calls: &[&str]) -> Option<Result<Parts, PolicyError>> {
    text_of(name).map(|text| parts(policy::Policy::parse(text, None)?, calls))
}

/// [`load`], in two parts as [`builtin_parts`] has them.
pub fn load_parts(bytes: &[u8], calls: &[&str]) -> Result<Parts, PolicyError> {
    parts(parse(bytes)?, calls)
}

fn parts(policy: policy::Policy, calls: &[&str]) -> Result<Parts, PolicyError> {
    let (mut widened, mut rest) = (policy.clone(), policy);
    widened.widen(calls);
    rest.narrow(calls);
    Ok(Parts { widened: compiled(&widened)?, rest: compiled(&rest)? })
}

fn compiled(policy: &policy::Policy) -> Result<Program, PolicyError> {
    Ok(Program { instructions: Cow::Owned(compile::compile(policy)?) })
}

/// Compiles a policy that a user wrote, in the OCI `linux.seccomp` form. The rules of `seccomp/floor.json` hold before
/// its own, and foreign ABIs are closed, whatever it says.
pub fn load(bytes: &[u8]) -> Result<Program, PolicyError> {
    compiled(&parse(bytes)?)
}

fn parse(bytes: &[u8]) -> Result<policy::Policy, PolicyError> {
    if bytes.len() > MAX_BYTES {
        return Err(PolicyError::TooBig { bytes: bytes.len() });
    }
    policy::Policy::parse(bytes, Some(FLOOR))
}
