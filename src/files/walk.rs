//! Going through a tree that a hostile program may be changing meanwhile. Every step is relative to the descriptor of the
//! folder that is being read; the work is a list on the heap, bounded in depth and number.

use super::entry::Kind;
use super::error::Reason;
use super::list::stat_of;
use super::names::names;
use super::path::c_string;
use super::tree::Tree;
use rustix::fs::Stat;
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// One entry, where the walk has come to.
pub(crate) struct Visit<'a> {
    /// The folder that it is in, open for reading.
    pub(crate) directory: BorrowedFd<'a>,
    /// Its name there.
    pub(crate) name: &'a CString,
    /// Its path below where the walk began.
    pub(crate) path: &'a Path,
    /// What it was a moment ago.
    pub(crate) stat: &'a Stat,
}

/// How the walk goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Into it, if it is a directory.
    Into,
    /// Past it.
    Past,
    /// Not at all.
    Stop,
}

/// Whom a walk tells what it finds. A reason that either returns ends it.
pub(crate) trait Visitor {
    /// An entry, a directory before what is in it.
    fn visit(&mut self, visit: &Visit<'_>) -> Result<Next, Reason>;
    /// An entry that could not be looked at or into.
    fn refused(&mut self, path: &Path, reason: Reason) -> Result<(), Reason>;
}

struct Level {
    directory: OwnedFd,
    /// In reverse order.
    names: Vec<OsString>,
}

/// Goes through everything below a directory, in the order of the names' bytes.
pub(crate) fn walk(tree: &Tree, start: BorrowedFd<'_>, visitor: &mut dyn Visitor) -> Result<(), Reason> {
    let mut seen = 0;
    let mut levels = vec![read(tree, tree.directory(start, c".")?, &mut seen)?];
    let mut path = PathBuf::new();
    loop {
        let depth = levels.len();
        let Some(level) = levels.last_mut() else { return Ok(()) };
        let Some(name) = level.names.pop() else {
            levels.pop();
            path.pop();
            continue;
        };
        path.push(&name);
        let name = c_string(name)?;
        let stat = match stat_of(level.directory.as_fd(), &name) {
            Ok(Some(stat)) => stat,
            Ok(None) => {
                path.pop();
                continue;
            }
            Err(reason) => {
                visitor.refused(&path, reason)?;
                path.pop();
                continue;
            }
        };
        let visit = Visit { directory: level.directory.as_fd(), name: &name, path: &path, stat: &stat };
        let next = match visitor.visit(&visit)? {
            Next::Stop => return Ok(()),
            Next::Into if Kind::of(&stat) == Kind::Directory => enter(tree, depth, visit.directory, &name, &mut seen),
            Next::Into | Next::Past => Ok(None),
        };
        match next {
            Ok(Some(level)) => levels.push(level),
            Ok(None) => _ = path.pop(),
            Err(reason @ Reason::TooMany(_)) => return Err(reason),
            Err(reason) => {
                visitor.refused(&path, reason)?;
                path.pop();
            }
        }
    }
}

fn enter(
    tree: &Tree,
    depth: usize,
    directory: BorrowedFd<'_>,
    name: &CString,
    seen: &mut u64,
) -> Result<Option<Level>, Reason> {
    if depth as u64 >= tree.bounds.depth {
        return Err(Reason::TooDeep(tree.bounds.depth));
    }
    match tree.directory(directory, name) {
        Ok(inner) => read(tree, inner, seen).map(Some),
        Err(Reason::NotFound) => Ok(None),
        Err(reason) => Err(reason),
    }
}

fn read(tree: &Tree, directory: OwnedFd, seen: &mut u64) -> Result<Level, Reason> {
    let left = tree.bounds.entries.saturating_sub(*seen);
    let (mut names, are_more) = names(directory.as_fd(), left)?;
    if are_more {
        return Err(Reason::TooMany(tree.bounds.entries));
    }
    *seen += names.len() as u64;
    names.sort_unstable_by(|one, other| other.cmp(one));
    Ok(Level { directory, names })
}
