//! Previews: secrets by which what projects show can be seen. Whoever has one needs nothing else.

use super::artifact;
use super::builds::{Builds, fresh_id};
use super::clock::Moment;
use super::error::Error;
use super::record::{Active, Preview};
use super::snapshot::hex;
use crate::files::Tree;
use hmac_sha256::Hash;
use std::time::Duration;

/// What a preview shows.
#[derive(Debug)]
#[non_exhaustive]
pub struct Shown {
    /// Whose it is.
    pub owner: String,
    /// The project.
    pub project: String,
    /// The build and its artifact.
    pub active: Active,
    /// The artifact's files, confined.
    pub files: Tree,
}

impl Builds {
    /// Makes a preview of what a project shows, now and later, or of what one build made. The secret is told this once; of it
    /// only a hash is kept. It has 128 random bits, as 32 hexadecimal digits.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such project or build; [`Error::Invalid`] when the build has made nothing.
    pub fn open_preview(
        &self,
        owner: &str,
        project: &str,
        build: Option<&str>,
        longest: Option<Duration>,
    ) -> Result<(Preview, String), Error> {
        let (token, now) = (fresh_id()?, Moment::now());
        let longest_us = longest.map(|longest| i64::try_from(longest.as_micros()).unwrap_or(i64::MAX));
        let preview = Preview {
            id: fresh_id()?,
            project: project.to_owned(),
            build: build.map(str::to_owned),
            created_us: now.wall_us,
            expires_us: longest_us.map(|longest| now.wall_us.saturating_add(longest)),
            revoked_us: None,
        };
        self.store().add_preview(owner, &preview, &hash(&token), longest, &now)?;
        Ok((preview, token))
    }

    /// What the preview of this secret shows now.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Gone`].
    pub fn find_preview(&self, token: &str) -> Result<Shown, Error> {
        let (owner, project, active) = self.store().find_preview(&hash(token), &Moment::now())?;
        let files = artifact::open_files(self.place(), &active.artifact)?;
        Ok(Shown { owner, project, active, files })
    }

    /// The previews of an owner, of a project if one is named.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn previews(&self, owner: &str, project: Option<&str>) -> Result<Vec<Preview>, Error> {
        self.store().previews(owner, project)
    }

    /// Ends a preview for ever.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn revoke_preview(&self, owner: &str, id: &str) -> Result<Preview, Error> {
        self.store().revoke_preview(owner, id, &Moment::now())
    }
}

fn hash(token: &str) -> String {
    hex(&Hash::hash(token.as_bytes()))
}
