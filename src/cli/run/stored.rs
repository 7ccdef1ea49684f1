//! `-w ws:ID`: a workspace of the store, in use for as long as the job runs, so that nobody removes it meanwhile.

use crate::cli::value;
use pinfold::workspace::{Error, InUse, Store};
use pinfold::{Job, Limit, Workspace};
use std::path::Path;

/// What stands before an id. A directory of such a name is `./ws:…`.
const PREFIX: &str = "ws:";

/// The least that a job's limits can say.
const LEAST_BYTES: u64 = 4096;
const LEAST_INODES: u64 = 1;

/// Opens the workspace if the option names one of the store.
///
/// # Errors
/// In words.
pub(super) fn open(option: Option<&Path>) -> Result<Option<InUse>, String> {
    let Some(path) = option.filter(|path| path.as_os_str().as_encoded_bytes().starts_with(PREFIX.as_bytes())) else {
        return Ok(None);
    };
    let text = path.to_str().ok_or("`--workspace`: an id must be UTF-8")?;
    if path.exists() {
        return Err(format!(
            "`--workspace`: `{text}` is a stored workspace and a directory here, write `./{text}` for that"
        ));
    }
    let stored = Store::new().and_then(|store| store.open(&text[PREFIX.len()..]));
    stored.map(Some).map_err(words)
}

/// Makes it the job's workspace. Of its quota the job gets what is left, where no limit is given.
///
/// # Errors
/// In words.
pub(super) fn put(job: &mut Job, stored: &InUse) -> Result<(), String> {
    job.workspace = stored.workspace().map_err(words)?;
    if let Workspace::Path(path) = &job.workspace {
        value::existing_directory(Path::new(path.as_str())).map_err(|error| format!("`--workspace`: {error}"))?;
    }
    let (limits, remaining) = (&mut job.limits, stored.remaining().map_err(words)?);
    let at_least = |left: Option<u64>, least: u64| left.map(|left| Limit::At(left.max(least)));
    limits.workspace_bytes = limits.workspace_bytes.or(at_least(remaining.bytes, LEAST_BYTES));
    limits.workspace_inodes = limits.workspace_inodes.or(at_least(remaining.inodes, LEAST_INODES));
    Ok(())
}

fn words(error: Error) -> String {
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("`--workspace`: {error}{cause}")
}
