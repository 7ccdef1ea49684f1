//! The policies that come with Pinfold, as the build script compiled them. It deliberately has no list of its own that
//! could disagree with what was compiled: the arrays that it names are the check.

use std::borrow::Cow;

use libc::sock_filter;

use super::Program;

// One array a policy: DEFAULT, STRICT, DEBUG, INIT, RESTRICT_SUID_SGID.
include!(concat!(env!("OUT_DIR"), "/seccomp.rs"));

/// The names that a job can give.
pub fn builtin_names() -> &'static [&'static str] {
    &["default", "strict", "debug"]
}

/// The policy of that name, if there is one.
pub fn builtin(name: &str) -> Option<Program> {
    match name {
        "default" => Some(program(&DEFAULT)),
        "strict" => Some(program(&STRICT)),
        "debug" => Some(program(&DEBUG)),
        _ => None,
    }
}

/// No set-user-id or set-group-id file can be made. It is installed beside the job's policy, not in its place: it
/// allows everything else.
pub fn restrict_suid_sgid() -> Program {
    program(&RESTRICT_SUID_SGID)
}

/// For process 1 of the sandbox, which is ours, once it has started the command.
pub fn init() -> Program {
    program(&INIT)
}

fn program(instructions: &'static [sock_filter]) -> Program {
    Program { instructions: Cow::Borrowed(instructions) }
}

const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}
