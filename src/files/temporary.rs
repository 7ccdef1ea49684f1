//! A file in the making, beside the one that it is to be: whoever looks sees the old one or the new one, never half.

use super::error::Reason;
use super::path::c_string;
use super::tree::Tree;
use rustix::fs::{AtFlags, RenameFlags};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::BorrowedFd;

/// A name that is not there yet; who guesses it has won nothing, since nothing that is there is ever opened.
pub(crate) fn fresh_name() -> Result<CString, Reason> {
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    c_string(format!(".pinfold-{:016x}", u64::from_ne_bytes(random)))
}

/// Whether what is there may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// It may.
    Allowed,
    /// It is an error, `exists`.
    Refused,
}

/// Something under a name of its own; taken away again unless it is given its real name.
pub(crate) struct Temporary<'a> {
    tree: &'a Tree,
    directory: BorrowedFd<'a>,
    name: CString,
}

impl<'a> Temporary<'a> {
    /// A file to write to.
    pub(crate) fn file(tree: &'a Tree, directory: BorrowedFd<'a>) -> Result<(Self, File), Reason> {
        let name = fresh_name()?;
        let file = tree.make_file(directory, &name)?;
        Ok((Self { tree, directory, name }, file))
    }

    /// What `make` makes under the name that it is given.
    pub(crate) fn made_by(
        tree: &'a Tree,
        directory: BorrowedFd<'a>,
        make: impl FnOnce(&CStr) -> Result<(), Reason>,
    ) -> Result<Self, Reason> {
        let name = fresh_name()?;
        make(&name)?;
        Ok(Self { tree, directory, name })
    }

    /// Gives it its name.
    pub(crate) fn publish(self, name: &CStr, replace: Replace) -> Result<(), Reason> {
        let flags = match replace {
            Replace::Allowed => RenameFlags::empty(),
            Replace::Refused => RenameFlags::NOREPLACE,
        };
        let rename = || rustix::fs::renameat_with(self.directory, &self.name, self.directory, name, flags);
        Ok(self.tree.make(rename)?)
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // After a rename it is not there any more, except when both names were links to one file: then rename(2) leaves
        // both as they are.
        let _may_be_gone = rustix::fs::unlinkat(self.directory, &self.name, AtFlags::empty());
    }
}
