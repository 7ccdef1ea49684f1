//! The files of `/etc` that are made up: who the sandbox's user is and what the machine is called, of which the host's
//! own answer is nobody's business inside.

use super::{View, shares_network};
use crate::failure::StepError;
use crate::sys::file;
use pinfold_runner::{Job, NAME_SERVER, Root};
use std::os::fd::AsFd;

/// The name of every sandbox's machine.
pub(crate) const HOSTNAME: &str = "pinfold";

const HOSTS: &str = "127.0.0.1\tlocalhost\n127.0.1.1\tpinfold\n::1\tlocalhost ip6-localhost ip6-loopback\n";

pub(super) fn build(view: &View, job: &Job) -> Result<(), StepError> {
    // An image brings its own `/etc`, read-only and whole.
    if job.root != Root::Host {
        return job.network.list().map_or(Ok(()), |_| view.cover("etc/resolv.conf", "run/resolv.conf", &resolv_conf()));
    }
    let (uid, gid) = (job.user.uid, job.user.gid);
    let name = user_name(uid);
    let root = if uid == 0 { String::new() } else { "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n".to_owned() };
    let passwd = format!(
        "{root}{name}:x:{uid}:{gid}:sandbox:{}:/bin/sh\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
        job.workspace_path()
    );
    let root = if gid == 0 { String::new() } else { "root:x:0:\n".to_owned() };
    let group = format!("{root}{name}:x:{gid}:\nnogroup:x:65534:\n");
    view.make_file("etc/passwd", passwd.as_bytes())?;
    view.make_file("etc/group", group.as_bytes())?;
    view.make_file("etc/hosts", HOSTS.as_bytes())?;
    view.make_file("etc/hostname", format!("{HOSTNAME}\n").as_bytes())?;
    if shares_network(job) {
        // Often a link into /run, which the sandbox doesn't see: its text is copied. Without one there are no names.
        if let Ok(text) = read("/etc/resolv.conf") {
            view.make_file("etc/resolv.conf", &text)?;
        }
    }
    if job.network.list().is_some() {
        view.make_file("etc/resolv.conf", &resolv_conf())?;
    }
    Ok(())
}

/// Where a sandbox with a list of allowed hosts asks for names. The answer may take as long as somebody needs to allow one.
fn resolv_conf() -> Vec<u8> {
    format!("nameserver {NAME_SERVER}\noptions timeout:5 attempts:5\n").into_bytes()
}

/// What the user is called inside.
pub(crate) fn user_name(uid: u32) -> &'static str {
    match uid {
        0 => "root",
        65534 => "nobody",
        _ => "sandbox",
    }
}

/// The longest resolv.conf that is copied: the resolver reads three name servers and a few options.
const LONGEST: usize = 64 << 10;

fn read(path: &str) -> Result<Vec<u8>, crate::sys::Errno> {
    let fd = file::open(path, libc::O_RDONLY | libc::O_NONBLOCK)?;
    let mut text = vec![0; LONGEST];
    let length = file::read(fd.as_fd(), &mut text)?;
    text.truncate(length);
    Ok(text)
}
