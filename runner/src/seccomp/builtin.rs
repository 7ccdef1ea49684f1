//! The policies that come with Pinfold, as the build script compiled them. It deliberately has no list of its own that
//! could disagree with what was compiled: the arrays that it names are the check.

use std::borrow::Cow;

use libc::sock_filter;

use super::Program;

// One array a policy: DEFAULT, STRICT, DEBUG, INIT, RESTRICT_SUID_SGID, NO_NETWORK, NO_UNIX_SOCKETS, SHARED_HOST,
// CALLERS_FILES, VALIDATOR.
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

/// No socket but Unix ones, and no connection to any: where the host's network is to be closed without a namespace.
pub fn no_network() -> Program {
    program(&NO_NETWORK)
}

/// No Unix socket but connected pairs: where the host's sockets are to be closed without a namespace, and its network
/// is not.
pub fn no_unix_sockets() -> Program {
    program(&NO_UNIX_SOCKETS)
}

/// Nothing that processes of one user share, or may do to each other, beyond files and signals.
pub fn shared_host() -> Program {
    program(&SHARED_HOST)
}

/// Nothing that would give a caller's files to others, where the command has his uid.
pub fn callers_files() -> Program {
    program(&CALLERS_FILES)
}

/// For process 1 of the sandbox, which is ours, once it has started the command.
pub fn init() -> Program {
    program(&INIT)
}

/// For the program that parses code which nobody trusts: it has its stdio and memory.
pub fn validator() -> Program {
    program(&VALIDATOR)
}

fn program(instructions: &'static [sock_filter]) -> Program {
    Program { instructions: Cow::Borrowed(instructions) }
}

const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}
