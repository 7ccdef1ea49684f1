//! A workspace as a whole, as a tar archive: out of the store, and into it in one step, all of it or nothing.

use super::archive::{Tar, tar};
use crate::server::answer::{Data, Whole};
use crate::server::api::{About, Api};
use crate::server::body::{Archive, NoQuery, Nothing};
use crate::server::call::Call;
use crate::server::problem::Problem;
use axum::http::Method;
use pinfold::workspace::Quota;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most that an archive may have: bytes of files, holes included, and entries.
const BYTES: u64 = 16 << 30;
const ENTRIES: u64 = 1_000_000;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct How {
    /// There may be files, which go then.
    #[serde(default)]
    replace: bool,
}

/// What was imported.
#[derive(Debug, Serialize, JsonSchema)]
struct Imported {
    entries: u64,
    bytes: u64,
    /// Entries whose extended attributes were not taken.
    without_attributes: u64,
}

pub(in crate::server) fn add(api: &mut Api) {
    let about = About("exportWorkspace", "All files of a workspace; the same files make the same bytes");
    api.add(&Method::GET, "/v1/workspaces/{workspace}/export", about, export);
    let about = About("importWorkspace", "Make the files of a workspace those of an archive: all of it, or nothing");
    api.add(&Method::PUT, "/v1/workspaces/{workspace}/import", about, import);
}

async fn export(call: Call, _: NoQuery, _: Nothing) -> Result<Whole<Tar>, Problem> {
    let (id, share) = (call.workspace()?, call.stream()?);
    // Before the answer begins, so that it can still be an error. It is not removed meanwhile.
    let find = id.clone();
    let in_use = call.blocking(move |shared, _| Ok(shared.store.open_to_read(&find)?)).await?;
    let store = call.shared.store.clone();
    tar((share, in_use), move |writer| Ok(store.export(&id, writer, Some(BYTES)).map(drop)?))
}

async fn import(call: Call, how: How, Archive(archive): Archive) -> Result<Data<Imported>, Problem> {
    let (id, _share) = (call.workspace()?, call.stream()?);
    let most = Quota { bytes: Some(BYTES), inodes: Some(ENTRIES) };
    call.blocking(move |shared, _| {
        let done = shared.store.import(&id, archive, most, how.replace)?;
        let (entries, bytes) = (done.entries, done.bytes);
        Ok(Data(Imported { entries, bytes, without_attributes: done.without_attributes }))
    })
    .await
}
