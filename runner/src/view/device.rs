//! `/dev`: an allow-list of six nodes, which are the host's by bind mounts (a user namespace can make none), and the
//! links that programs expect. No other node exists in the sandbox.

use super::{Tree, View};
use crate::failure::{At, Step, StepError};
use crate::sys::{self, mount};
use std::ffi::CStr;
use std::os::fd::AsFd;

const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

const LINKS: [(&str, &CStr); 5] = [
    ("dev/fd", c"/proc/self/fd"),
    ("dev/stdin", c"/proc/self/fd/0"),
    ("dev/stdout", c"/proc/self/fd/1"),
    ("dev/stderr", c"/proc/self/fd/2"),
    ("dev/ptmx", c"pts/ptmx"),
];

pub(super) fn collect() -> Result<Vec<Tree>, StepError> {
    NODES
        .iter()
        .map(|name| {
            let target = format!("/dev/{name}");
            let path = sys::c_string(&target).at(Step::CopyTree, &target)?;
            let mount = mount::open_tree(None, &path).at(Step::CopyTree, &target)?;
            let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
            mount::set_attributes(mount.as_fd(), attributes, false).at(Step::CopyTree, &target)?;
            Ok(Tree { mount, target, is_directory: false, is_part_of_root: true, link: None })
        })
        .collect()
}

pub(super) fn build(view: &View, nodes: &[Tree]) -> Result<(), StepError> {
    for node in nodes {
        view.attach_part(node)?;
    }
    LINKS.iter().try_for_each(|(path, target)| view.make_link(path, target))
}
