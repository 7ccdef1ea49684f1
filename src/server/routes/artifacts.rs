//! What builds made: which files, one of them, all of them. They are downloads; only a preview shows them.

use super::archive::{Tar, packed};
use super::file::{FileBytes, Which, path};
use crate::server::answer::{Data, Whole};
use crate::server::api::{About, Api};
use crate::server::body::{NoQuery, Nothing};
use crate::server::call::Call;
use crate::server::problem::Problem;
use crate::server::ranged::{attached, respond};
use crate::server::schema;
use axum::http::Method;
use pinfold::ArtifactFile;
use schemars::JsonSchema;
use serde::Serialize;
use std::path::PathBuf;

/// What a build made.
#[derive(Debug, Serialize, JsonSchema)]
struct Made {
    /// Its id: the same files have the same.
    id: String,
    /// Each with its `path`, `bytes`, `sha256`, and whether it is `executable`.
    #[schemars(schema_with = "schema::objects")]
    files: Vec<ArtifactFile>,
}

pub(in crate::server) fn add(api: &mut Api) {
    api.add(&Method::GET, "/v1/builds/{build}/artifact", About("showArtifact", "What a build made"), show);
    let about = About("readArtifact", "Read a file of what a build made");
    api.add(&Method::GET, "/v1/builds/{build}/artifact/content", about, read);
    let about = About("downloadArtifact", "Download what a build made");
    api.add(&Method::GET, "/v1/builds/{build}/artifact/archive", about, download);
}

async fn show(call: Call, _: NoQuery, _: Nothing) -> Result<Data<Made>, Problem> {
    let build = call.parameter("build").to_owned();
    call.blocking(move |shared, owner| {
        let artifact = shared.builds.artifact(&owner.builds, &build)?;
        Ok(Data(Made { id: artifact.id, files: artifact.manifest.files }))
    })
    .await
}

async fn read(call: Call, which: Which, _: Nothing) -> Result<Whole<FileBytes>, Problem> {
    let path = path(which.path.as_deref(), which.path_base64.as_deref())?;
    let (share, build) = (call.stream()?, call.parameter("build").to_owned());
    let opened = call.blocking(move |shared, owner| {
        let artifact = shared.builds.artifact(&owner.builds, &build)?;
        Ok(artifact.files.open_file(&path)?)
    });
    Ok(attached(respond(opened.await?, &call.headers, None, share)).into())
}

async fn download(call: Call, _: NoQuery, _: Nothing) -> Result<Whole<Tar>, Problem> {
    let (share, build) = (call.stream()?, call.parameter("build").to_owned());
    let artifact = call.blocking(move |shared, owner| Ok(shared.builds.artifact(&owner.builds, &build)?)).await?;
    packed(artifact.files, PathBuf::from("."), share)
}
