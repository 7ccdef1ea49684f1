//! A tar archive as a workspace. The archive is a stranger's: it is unpacked in a new directory that nobody else sees,
//! beneath its descriptor, through no link; and it becomes the workspace's files as a whole, or not at all.

use super::error::shown;
use super::error::{Doing, Error};
use super::key::Key;
use super::limbo::{Half, Limbo};
use super::lock::Lock;
use super::record::{Layout, Quota};
use super::session::Session;
use super::state::{DATA, Place, Workspaces};
use super::store::{self, Store};
use super::tree;
use super::unpack::{Owner, Unpack};
use crate::tar::{Entry, Kind, Reader};
use rustix::fs::RenameFlags;
use std::io::{BufReader, Read};
use std::os::fd::AsFd;

/// What an import came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// Entries read.
    pub entries: u64,
    /// Bytes of files written.
    pub bytes: u64,
    /// Entries whose extended attributes were not taken.
    pub without_attributes: u64,
}

/// How an archive becomes the files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    /// Whether there may be files already, which go then.
    pub(crate) replace: bool,
    /// Whether the files are on disk when the call returns: not needed of those that no crash is to leave.
    pub(crate) is_durable: bool,
    /// The time of modification that all files get instead of their own.
    pub(crate) modified: Option<i64>,
}

impl Store {
    /// Makes the files of a workspace those of an archive. Until the whole archive is unpacked and on disk nothing of the
    /// workspace changes; then its files are swapped in one step. Only with `replace` may it have files before.
    ///
    /// Taken are files, directories, symbolic links as they stand, and hard links to files of the archive. Permissions are
    /// kept but for set-id bits, times are kept, owners are not: all belongs to the owner of the workspace's files.
    /// `most` bounds bytes and entries, as does the workspace's quota.
    ///
    /// # Errors
    /// [`Error::Archive`] for a device, a FIFO, a path that is absolute, has `..` or leads through a link, a hard link that
    /// leads elsewhere, an attribute of overlayfs, a sparse file, a damaged archive; [`Error::TooBig`];
    /// [`Error::NotEmpty`]; [`Error::Busy`] when somebody works in it; [`Error::NotFound`]; [`Error::Corrupt`].
    pub fn import(&self, id: &str, source: impl Read, most: Quota, replace: bool) -> Result<Imported, Error> {
        self.import_as(id, source, most, How { replace, is_durable: true, modified: None })
    }

    /// The same, for who knows more of what the files are for.
    pub(crate) fn import_as(&self, id: &str, source: impl Read, most: Quota, how: How) -> Result<Imported, Error> {
        let replace = how.replace;
        let key = Key::of(id)?;
        let workspaces = Workspaces::existing(&self.state)?.ok_or_else(|| Error::not_found(id))?;
        let limbo = Limbo::open(workspaces.dir.as_fd())?;
        limbo.sweep();
        // Looked at now, so that whoever must be refused is so before anything is read, and again at the end.
        let place = workspaces.find(&key)?.ok_or_else(|| Error::not_found(id))?;
        let quota = place.record()?.quota;
        let mut has_layers = place.record()?.layout == Layout::Layered;
        let owner = if has_layers {
            let session = Session::begin(self, id, true)?;
            session.check_empty(replace)?;
            Owner::of(session.uppermost()?.as_fd())?
        } else {
            drop(ready(&place, id, replace)?);
            Owner::of(place.data()?.as_fd())?
        };
        let fresh = limbo.make()?;
        drop(place);
        let unpacked = unpack(&fresh, source, (most, quota), owner, how).and_then(|imported| {
            let (place, _locked) = workspaces.locked(&key, id)?.ok_or_else(|| Error::not_found(id))?;
            // Once it has layers, it keeps them.
            has_layers |= place.record()?.layout == Layout::Layered;
            if has_layers {
                drop((place, _locked));
                let mut session = Session::begin(self, id, true)?;
                session.check_empty(replace)?;
                session.replace(fresh.dir(), DATA)?;
                session.end();
                return Ok(imported);
            }
            let _alone = ready(&place, id, replace)?;
            let what = || format!("replace `{}`", place.data_path().display());
            // In one step: at no moment is there no directory of files, or a half of one.
            rustix::fs::renameat_with(fresh.dir(), DATA, &place.dir, DATA, RenameFlags::EXCHANGE).doing(what)?;
            rustix::fs::fsync(&place.dir).doing(what)?;
            place.touch();
            Ok(imported)
        });
        // The old files now, or what was unpacked in vain. What can't be removed is left for the next call to try.
        let _next_time = fresh.remove();
        unpacked
    }
}

/// The workspace for us alone, if its files may be replaced.
fn ready(place: &Place, id: &str, replace: bool) -> Result<Lock, Error> {
    let alone = store::alone(place, id)?;
    let is_empty = || tree::is_empty(place.data()?.as_fd()).doing(|| format!("read `{}`", place.data_path().display()));
    if !replace && !is_empty()? {
        return Err(Error::NotEmpty { id: id.to_owned() });
    }
    Ok(alone)
}

fn least(one: Quota, other: Quota) -> Quota {
    let least = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
    Quota { bytes: least(one.bytes, other.bytes), inodes: least(one.inodes, other.inodes) }
}

fn unpack(
    fresh: &Half,
    source: impl Read,
    (most, quota): (Quota, Quota),
    owner: Owner,
    how: How,
) -> Result<Imported, Error> {
    let most = least(most, quota);
    let data = store::make_data(fresh).doing(|| "make a directory to unpack in".to_owned())?;
    owner.own(data.as_fd())?;
    let mut unpack = Unpack::new(data.as_fd(), owner);
    let (mut done, mut reader) = (Imported::default(), Reader::new(BufReader::with_capacity(1 << 17, source)));
    while let Some(mut entry) = reader.next_entry()? {
        entry.modified = how.modified.unwrap_or(entry.modified);
        done.entries += 1;
        check(&entry, &mut done, most)?;
        unpack.add(&entry, &mut reader.content())?;
        if most.inodes.is_some_and(|most| unpack.made > most) {
            return Err(too_many(most));
        }
    }
    reader.drain();
    unpack.finish()?;
    // A quota counts blocks, which small files take more of than they have bytes.
    if let Some(bytes) = quota.bytes.filter(|bytes| tree::usage(&[data.as_fd()]).bytes > *bytes) {
        return Err(too_large(bytes));
    }
    // What is acknowledged is on disk: all of it by one call, not by one for each file.
    if how.is_durable {
        rustix::fs::syncfs(&data).doing(|| "write the files to disk".to_owned())?;
    }
    Ok(done)
}

/// What can be told of an entry before anything is made of it.
fn check(entry: &Entry, done: &mut Imported, most: Quota) -> Result<(), Error> {
    let name = shown(&entry.path);
    if let Some(overlay) = entry.overlay_attribute() {
        let attribute = String::from_utf8_lossy(overlay).into_owned();
        return Err(Error::archive(format!(
            "{name} has the attribute `{}`, which is overlayfs's own",
            attribute.escape_debug()
        )));
    }
    done.without_attributes += u64::from(!entry.attributes.is_empty());
    if let Kind::File { size } = entry.kind {
        done.bytes = done.bytes.saturating_add(size);
    }
    if let Kind::Other(letter) = entry.kind {
        let what = match letter {
            b'3' | b'4' => "a device",
            b'6' => "a FIFO",
            b'S' => "a sparse file, which is not supported",
            _ => "of a kind that is not known",
        };
        return Err(Error::archive(format!("{name} is {what}")));
    }
    match most {
        Quota { bytes: Some(bytes), .. } if done.bytes > bytes => Err(too_large(bytes)),
        Quota { inodes: Some(inodes), .. } if done.entries > inodes => Err(too_many(most)),
        _ => Ok(()),
    }
}

fn too_large(bytes: u64) -> Error {
    Error::TooBig { limit: crate::ByteSize::new(bytes).to_string() }
}

fn too_many(most: Quota) -> Error {
    Error::TooBig { limit: format!("{} entries", most.inodes.unwrap_or_default()) }
}
