//! Who refers to a workspace. A holder is a name that the caller chooses, and refers to one workspace at a time.
//!
//! The order of the locks is: a holder's, then a workspace's record. Nobody waits for a holder's lock with a record's held.

use super::error::Error;
use super::holders::Holders;
use super::key::Key;
use super::state::Workspaces;
use super::store::Store;

impl Store {
    /// Makes `holder` refer to the workspace. Once more is no error. It is on disk when this returns.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::HoldsAnother`] when it refers to another workspace, which it must give up first;
    /// [`Error::Corrupt`] when that can't be told.
    pub fn add_reference(&self, id: &str, holder: &str) -> Result<(), Error> {
        let (key, holder_key) = (Key::of(id)?, Key::of(holder)?);
        let workspaces = Workspaces::existing(&self.state)?.ok_or_else(|| Error::not_found(id))?;
        // Before anything is written: an unknown workspace leaves no trace.
        workspaces.find(&key)?.ok_or_else(|| Error::not_found(id))?;
        let index = Holders::made(&workspaces)?;
        let _holder_locked = index.lock(&holder_key, holder)?;
        if let Some(held) = index.find(&holder_key, holder)?
            && held.id != id
        {
            return Err(Error::HoldsAnother { holder: holder.to_owned(), id: held.id });
        }
        let (place, _locked) = workspaces.locked(&key, id)?.ok_or_else(|| Error::not_found(id))?;
        let mut record = place.record()?;
        if record.holders.insert(holder.to_owned()) {
            index.set(&holder_key, &key)?;
            place.write(&record)?;
        }
        place.touch();
        Ok(())
    }

    /// Ends what [`add_reference`](Self::add_reference) began. Of a holder that does not refer to the workspace nothing
    /// changes, and that is no error.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Corrupt`].
    pub fn remove_reference(&self, id: &str, holder: &str) -> Result<(), Error> {
        let (key, holder_key) = (Key::of(id)?, Key::of(holder)?);
        let workspaces = Workspaces::existing(&self.state)?.ok_or_else(|| Error::not_found(id))?;
        workspaces.find(&key)?.ok_or_else(|| Error::not_found(id))?;
        let index = Holders::made(&workspaces)?;
        let _holder_locked = index.lock(&holder_key, holder)?;
        let (place, locked) = workspaces.locked(&key, id)?.ok_or_else(|| Error::not_found(id))?;
        let mut record = place.record()?;
        if record.holders.remove(holder) {
            place.write(&record)?;
            place.touch();
            drop(locked);
            index.forget(&holder_key, holder)?;
        }
        Ok(())
    }

    /// Removes a workspace with its files as [`remove`](Self::remove) does without `force`, but that the references of holders
    /// of whom `gives_up` says so go with it. Nothing is removed while another one refers to it.
    ///
    /// # Errors
    /// As there; [`Error::ReferencesHeld`] names those who keep it.
    pub fn remove_if_given_up(&self, id: &str, gives_up: impl Fn(&str) -> bool) -> Result<(), Error> {
        self.remove_by(&Key::of(id)?, id, |record| {
            let holders: Vec<_> = record?.holders.iter().filter(|holder| !gives_up(holder)).cloned().collect();
            match holders.is_empty() {
                true => Ok(()),
                false => Err(Error::ReferencesHeld { id: id.to_owned(), holders }),
            }
        })
    }

    /// The id of the workspace that `holder` refers to. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when that can't be told.
    pub fn workspace_of(&self, holder: &str) -> Result<Option<String>, Error> {
        let Some(workspaces) = Workspaces::existing(&self.state)? else { return Ok(None) };
        if let Some(index) = Holders::existing(&workspaces)? {
            return Ok(index.find(&Key::of(holder)?, holder)?.map(|record| record.id));
        }
        for key in workspaces.keys()? {
            let Some(Ok(record)) = workspaces.find(&key)?.map(|place| place.record()) else { continue };
            if record.holders.contains(holder) {
                return Ok(Some(record.id));
            }
        }
        Ok(None)
    }
}
