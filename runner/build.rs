//! Compiles the built-in seccomp policies, so that a sandbox finds them as static arrays. It deliberately uses the very
//! files that compile users' policies at run time: there is one compiler.

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "src/seccomp/bpf.rs"]
mod bpf;
#[path = "src/seccomp/compile.rs"]
mod compile;
#[path = "src/seccomp/docker.rs"]
mod docker;
#[path = "src/seccomp/error.rs"]
#[allow(dead_code, unreachable_pub, reason = "what only the library uses, and shows")]
mod error;
#[path = "src/seccomp/oci.rs"]
mod oci;
#[path = "src/seccomp/policy.rs"]
mod policy;
#[path = "src/seccomp/syscalls.rs"]
mod syscalls;

/// Only for a message: what is read here is not bounded.
const MAX_BYTES: usize = usize::MAX;

/// The files of `seccomp/` that become arrays of the same name, in capitals.
const POLICIES: [&str; 10] = [
    "default",
    "strict",
    "debug",
    "init",
    "restrict-suid-sgid",
    "no-network",
    "no-unix-sockets",
    "shared-host",
    "callers-files",
    "validator",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    for file in ["bpf", "compile", "docker", "error", "oci", "policy", "syscalls"] {
        println!("cargo:rerun-if-changed=src/seccomp/{file}.rs");
    }

    let mut code = String::new();
    for name in POLICIES {
        let path = Path::new("../seccomp").join(name).with_extension("json");
        println!("cargo:rerun-if-changed={}", path.display());
        write_array(&mut code, name, &fs::read(&path)?).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets `OUT_DIR`")?);
    fs::write(out.join("seccomp.rs"), code)?;
    Ok(())
}

fn write_array(code: &mut String, name: &str, text: &[u8]) -> Result<(), Box<dyn Error>> {
    let instructions = compile::compile(&policy::Policy::parse(text, None)?)?;
    let name = name.replace('-', "_").to_uppercase();
    writeln!(code, "static {name}: [sock_filter; {}] = [", instructions.len())?;
    for libc::sock_filter { code: operation, jt, jf, k } in instructions {
        writeln!(code, "    instruction({operation}, {jt}, {jf}, {k}),")?;
    }
    writeln!(code, "];")?;
    Ok(())
}
