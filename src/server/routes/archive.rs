//! Many files at once, as a tar archive: out of a directory and into one.

use super::file::{Which, both, path};
use super::place::files;
use crate::server::answer::{Data, Kind, Whole};
use crate::server::api::{About, Api};
use crate::server::body::{Archive, Nothing};
use crate::server::bounded::BodyWriter;
use crate::server::call::{Call, Share};
use crate::server::problem::Problem;
use axum::http::{HeaderValue, Method, header};
use axum::response::IntoResponse;
use pinfold::files::{Report, Tree};
use schemars::JsonSchema;
use serde::Serialize;
use std::path::PathBuf;

/// What was unpacked.
#[derive(Debug, Serialize, JsonSchema)]
struct Unpacked {
    files: u64,
    directories: u64,
    links: u64,
    bytes: u64,
    /// What was left out, and why.
    refused: Vec<Refused>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Refused {
    path: String,
    code: String,
}

/// A tar archive.
#[derive(Debug)]
pub(super) struct Tar;

impl Kind for Tar {
    const STATUSES: &'static [(u16, &'static str, Option<&'static str>)] =
        &[(200, "The files. An archive that could not be finished has no end.", Some("application/x-tar"))];
}

pub(in crate::server) fn add(api: &mut Api) {
    both!(api, Method::GET, "files/archive", "downloadArchive", "Download files", download);
    both!(api, Method::PUT, "files/archive", "uploadArchive", "Upload files", upload);
}

async fn download(call: Call, which: Which, _: Nothing) -> Result<Whole<Tar>, Problem> {
    let path = path(which.path.as_deref(), which.path_base64.as_deref())?;
    let share = call.stream()?;
    let (tree, path) = files(&call, false, move |opened| {
        // Before the answer begins, so that it can still be an error.
        opened.tree.stat(&path)?;
        Ok((opened.tree, path))
    })
    .await?;
    packed(tree, path, share)
}

/// What is at a path, as an archive that is made while it is sent.
pub(super) fn packed(tree: Tree, path: PathBuf, share: Share) -> Result<Whole<Tar>, Problem> {
    tar(share, move |writer| Ok(tree.pack(&path, "", writer, &mut |_: &Report| {}).map(drop)?))
}

/// An archive that `work` makes while it is sent, and what is held as long.
pub(super) fn tar(
    claims: impl Send + 'static,
    work: impl FnOnce(&mut BodyWriter) -> Result<(), Problem> + Send + 'static,
) -> Result<Whole<Tar>, Problem> {
    let (mut writer, body) = BodyWriter::new();
    // A thread of its own: a client may take its time.
    let thread = std::thread::Builder::new().name("pack".to_owned());
    let packing = move || {
        let packed = work(&mut writer);
        writer.finish(packed);
        drop(claims);
    };
    thread.spawn(packing).map_err(|error| Problem::ours("io", error.to_string()))?;
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    let attached = (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    Ok(([kind, attached], body).into_response().into())
}

async fn upload(call: Call, which: Which, Archive(archive): Archive) -> Result<Data<Unpacked>, Problem> {
    let path = path(which.path.as_deref(), which.path_base64.as_deref())?;
    let _share = call.stream()?;
    files(&call, true, move |opened| {
        opened.check(0)?;
        let report = opened.tree.unpack(&path, archive, &mut |_: &Report| {})?;
        let refused = report
            .refused
            .iter()
            .map(|error| Refused { path: error.path().to_string_lossy().into_owned(), code: error.code().to_owned() });
        let refused = refused.collect();
        let Report { files, directories, links, bytes, .. } = report;
        Ok(Data(Unpacked { files, directories, links, bytes, refused }))
    })
    .await
}
