//! What differs between two rows of layers. What both have in common is never looked at: only directories in which one of
//! them has a layer that the other one lacks.

use super::error::{Doing, Error};
use super::file;
use super::merge::{self, Merged, Table, below};
use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

/// How something differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// It is there, and was not.
    Added,
    /// It was there, and is not.
    Removed,
    /// It has other content, another kind, or other permissions.
    Changed,
}

/// One file, directory or link that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// Its path below the workspace, as the bytes it is.
    pub path: Vec<u8>,
    /// How it differs.
    pub difference: Difference,
    /// Whether it is, or was, a directory.
    pub is_directory: bool,
}

/// All differences, in the order of their paths.
pub(super) fn diff(table: &Table, from: &[usize], to: &[usize]) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    let mut pending = vec![(Vec::new(), Some(from.to_vec()), Some(to.to_vec()))];
    while let Some((path, from, to)) = pending.pop() {
        if from == to {
            continue;
        }
        let read = |layers: &Option<Vec<usize>>| match layers {
            Some(layers) => table.entries(layers, &path),
            None => Ok(std::collections::BTreeMap::new()),
        };
        let (mut before, mut after) = (read(&from)?, read(&to)?);
        let names: BTreeSet<CString> = before.keys().chain(after.keys()).cloned().collect();
        for name in names {
            let inner = below(&path, name.to_bytes());
            let one = before.remove(&name).filter(|merged| !matches!(merged, Merged::Hidden));
            let other = after.remove(&name).filter(|merged| !matches!(merged, Merged::Hidden));
            let difference = compare(table, &inner, one.as_ref(), other.as_ref());
            let difference = difference.doing(|| format!("compare `{}`", String::from_utf8_lossy(&inner)))?;
            let directories = (layers(one.as_ref()), layers(other.as_ref()));
            changes.extend(difference.map(|difference| Change {
                path: inner.clone(),
                difference,
                is_directory: directories.1.is_some() || (other.is_none() && directories.0.is_some()),
            }));
            if directories != (None, None) {
                pending.push((inner, directories.0, directories.1));
            }
        }
    }
    changes.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(changes)
}

fn layers(merged: Option<&Merged>) -> Option<Vec<usize>> {
    match merged {
        Some(Merged::Directory { found, .. }) => Some(found.layers.clone()),
        _ => None,
    }
}

fn compare(
    table: &Table,
    path: &[u8],
    one: Option<&Merged>,
    other: Option<&Merged>,
) -> Result<Option<Difference>, Errno> {
    let is_same = match (one, other) {
        (None, None) => true,
        (None, Some(_)) => return Ok(Some(Difference::Added)),
        (Some(_), None) => return Ok(Some(Difference::Removed)),
        (Some(Merged::Directory { stat: one, .. }), Some(Merged::Directory { stat: other, .. })) => {
            one.st_mode == other.st_mode
        }
        (Some(Merged::File { layer: one, stat: was }), Some(Merged::File { layer: other, stat: is })) => {
            one == other || is_same_file(table, path, (*one, was), (*other, is))?
        }
        _ => false,
    };
    Ok((!is_same).then_some(Difference::Changed))
}

fn is_same_file(
    table: &Table,
    path: &[u8],
    (one, was): (usize, &Stat),
    (other, is): (usize, &Stat),
) -> Result<bool, Errno> {
    if was.st_mode != is.st_mode || was.st_size != is.st_size {
        return Ok(false);
    }
    // Two names of one file, as layers that were made of others have.
    if file::is_same(was, is) {
        return Ok(true);
    }
    match file::kind(was) {
        FileType::RegularFile => has_same_content(table, path, one, other),
        FileType::Symlink => {
            let text = |layer| -> Result<CString, Errno> {
                let link = file::open_beneath(table.root(layer).as_fd(), path, OFlags::PATH)?;
                rustix::fs::readlinkat(&link, "", Vec::new())
            };
            Ok(text(one)? == text(other)?)
        }
        _ => Ok(true),
    }
}

fn has_same_content(table: &Table, path: &[u8], one: usize, other: usize) -> Result<bool, Errno> {
    let open = |layer| -> Result<File, Errno> {
        let opened = merge::opened(table.root(layer), path)?;
        let copy = opened.file.try_clone().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Ok(File::from(copy))
    };
    let (mut one, mut other) = (open(one)?, open(other)?);
    let (mut first, mut second) = (vec![0; 128 << 10], vec![0; 128 << 10]);
    loop {
        let length = fill(&mut one, &mut first)?;
        if length != fill(&mut other, &mut second)? || first[..length] != second[..length] {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
    }
}

fn fill(file: &mut File, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        }
    }
    Ok(length)
}
