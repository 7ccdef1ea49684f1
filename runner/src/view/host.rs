//! The host's `/usr` and the few files of `/etc` that programs need, read-only. Nothing else of the host is seen.

use super::{READ_ONLY, Tree};
use crate::failure::{At, Step, StepError};
use crate::sys::{self, Errno, file, mount};
use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

/// Where programs and libraries are. On a merged system all but `/usr` are links into it, and are made again as links.
const PROGRAMS: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// What programs need of `/etc`, and why. Secrets and accounts are not among them; what is absent on this host is
/// skipped. Every entry that exists costs some ten microseconds, so a file belongs here only if everyday software
/// breaks without it.
const ETC: &[&str] = &[
    // The dynamic linker, and the choices that Debian's `/usr/bin` links go through.
    "/etc/ld.so.cache",
    "/etc/alternatives",
    // TLS: certificates and the library's configuration, not `/etc/ssl/private`; Fedora's are in the last two.
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/pki",
    "/etc/crypto-policies",
    // Time zones and names of services.
    "/etc/localtime",
    "/etc/timezone",
    "/etc/nsswitch.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/os-release",
    // Configuration without which the program doesn't start: Debian keeps the JVM's and Maven's here, fontconfig's too.
    "/etc/java-8-openjdk",
    "/etc/java-11-openjdk",
    "/etc/java-17-openjdk",
    "/etc/java-21-openjdk",
    "/etc/java-25-openjdk",
    "/etc/maven",
    "/etc/fonts",
];

/// The paths of the host that a sandbox sees, as far as they exist.
pub(crate) fn paths() -> impl Iterator<Item = &'static str> {
    PROGRAMS.iter().chain(ETC).copied()
}

/// Takes copies of all of it. Links are noted as links.
pub(super) fn collect(trees: &mut Vec<Tree>, links: &mut Vec<(String, CString)>) -> Result<(), StepError> {
    for path in paths() {
        let name = sys::c_string(path).at(Step::CopyTree, path)?;
        // Asked first: a copy of a link's mount that is only dropped again makes the kernel wait for a grace period, at
        // times over a millisecond.
        match file::readlink(&name) {
            Ok(target) => {
                let target = sys::c_string(target.as_os_str().as_bytes()).at(Step::CopyTree, path)?;
                links.push((path.trim_start_matches('/').to_owned(), target));
                continue;
            }
            Err(Errno(libc::EINVAL)) => {}
            Err(Errno(libc::ENOENT | libc::ENOTDIR)) => continue,
            Err(errno) => return Err(errno).at(Step::CopyTree, path),
        }
        let mount = mount::open_tree(None, &name).at(Step::CopyTree, path)?;
        let kind = file::fstat(mount.as_fd()).at(Step::CopyTree, path)?.st_mode & libc::S_IFMT;
        mount::set_attributes(mount.as_fd(), READ_ONLY, true).at(Step::CopyTree, path)?;
        let is_directory = kind == libc::S_IFDIR;
        trees.push(Tree { mount, target: path.to_owned(), is_directory, is_part_of_root: true, link: None });
    }
    Ok(())
}
