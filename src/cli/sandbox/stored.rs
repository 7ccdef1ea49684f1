//! `-w ws:ID`: a workspace of the store.

use pinfold::workspace::{InUse, Store};
use std::path::Path;

/// What stands before an id. A directory of such a name is `./ws:…`.
const PREFIX: &str = "ws:";

/// The id of the workspace of the store that the option names, if it names one.
///
/// # Errors
/// In words.
pub(in crate::cli) fn id(option: Option<&Path>) -> Result<Option<&str>, String> {
    let Some(path) = option.filter(|path| path.as_os_str().as_encoded_bytes().starts_with(PREFIX.as_bytes())) else {
        return Ok(None);
    };
    let text = path.to_str().ok_or("`--workspace`: an id must be UTF-8")?;
    if path.exists() {
        return Err(format!(
            "`--workspace`: `{text}` is a stored workspace and a directory here, write `./{text}` for that"
        ));
    }
    Ok(Some(&text[PREFIX.len()..]))
}

/// Opens the workspace if the option names one of the store: in use as long as the job runs, so that nobody removes it.
///
/// # Errors
/// In words.
pub(in crate::cli) fn open(option: Option<&Path>) -> Result<Option<InUse>, String> {
    let Some(id) = id(option)? else { return Ok(None) };
    Store::new().and_then(|store| store.open(id)).map(Some).map_err(|error| words(&error))
}

/// Why the workspace can't be had.
pub(in crate::cli) fn words(error: &pinfold::workspace::Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("`--workspace`: {error}{cause}")
}
