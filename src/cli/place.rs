//! Where files can be, besides the user's own: `PLACE:PATH`. A place is a sandbox that lives, by its name or id, a
//! workspace, `ws:ID`, or a directory of the host whose content nobody trusts, written so that it can't be taken for a
//! name: `./dir` or `/srv/dir`.

use super::message;
use pinfold::files::{Error, Tree};
use pinfold::held::{self, Sandboxes};
use pinfold::workspace::{self, InUse, Store};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A place, and a path in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InPlace {
    pub(crate) place: OsString,
    /// As it was written; nothing is `.`.
    pub(crate) path: PathBuf,
}

/// Why something can't be done, for the user.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) hint: Option<&'static str>,
}

impl Refusal {
    pub(crate) fn new(message: impl Into<String>, hint: Option<&'static str>) -> Self {
        Self { message: message.into(), hint }
    }

    /// Tells it, as Pinfold's own failure.
    pub(crate) fn tell(&self) -> super::exit::Exit {
        message::error(&self.message, self.hint);
        super::exit::Exit::Failed
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::new(error.to_string(), hint(&error))
    }
}

fn hint(error: &Error) -> Option<&'static str> {
    match error.code() {
        "invalid_path" => Some("a path in a place is relative to it, or begins with `/workspace/`, and has no `..`"),
        "symlink" => Some("name the file that the link points to, if that is what you want"),
        "too_big" => Some("allow more with `--max-bytes`"),
        _ => None,
    }
}

impl From<workspace::Error> for Refusal {
    fn from(error: workspace::Error) -> Self {
        Self::new(
            error.to_string(),
            (error.code() == "not_found").then_some("`pinfold workspace list` shows those that there are"),
        )
    }
}

impl From<held::Error> for Refusal {
    fn from(error: held::Error) -> Self {
        let is_no_name = matches!(error, held::Error::NotFound { .. } | held::Error::Invalid { .. });
        Self::new(error.into_failure().message, is_no_name.then_some(PLACES))
    }
}

const PLACES: &str = "a place is a sandbox that lives (`pinfold ps`), a workspace such as `ws:ID:path`, or a directory \
                      that begins with `/` or `.`, such as `./dir:path`";

/// What the name of a workspace begins with, as for `run --workspace`.
const WORKSPACE: &[u8] = b"ws:";

impl InPlace {
    /// Reads `PLACE:PATH`, or nothing where there is no colon. The first colon counts, or the second after `ws`.
    pub(crate) fn read(text: &OsStr) -> Option<Self> {
        let bytes = text.as_bytes();
        let of_place = if bytes.starts_with(WORKSPACE) { WORKSPACE.len() } else { 0 };
        let (place, path) = match bytes[of_place..].iter().position(|byte| *byte == b':') {
            Some(colon) => (&bytes[..of_place + colon], &bytes[of_place + colon + 1..]),
            None if of_place > 0 => (bytes, &b""[..]),
            None => return None,
        };
        let path = PathBuf::from(OsStr::from_bytes(if path.is_empty() { b"." } else { path }));
        Some(Self { place: OsStr::from_bytes(place).to_owned(), path })
    }

    /// The same where the colon may be left out, and the whole is the place.
    pub(crate) fn read_lenient(text: &OsStr) -> Self {
        Self::read(text).unwrap_or_else(|| Self { place: text.to_owned(), path: PathBuf::from(".") })
    }

    /// The files of the place, to read.
    pub(crate) fn open(&self) -> Result<Tree, Refusal> {
        open(&self.place, false)
    }

    /// The same to write to.
    pub(crate) fn open_to_write(&self) -> Result<Tree, Refusal> {
        open(&self.place, true)
    }
}

/// The files of a place, wherever it is: the one function that knows what a place can be.
fn open(place: &OsStr, writes: bool) -> Result<Tree, Refusal> {
    let bytes = place.as_bytes();
    if let Some(id) = bytes.strip_prefix(WORKSPACE) {
        let id = std::str::from_utf8(id).map_err(|_not_utf8| {
            Refusal::new(format!("the workspace's id `{}` is not UTF-8", place.display()), None)
        })?;
        let store = Store::new()?;
        let workspace = if writes { open_to_write(&store, id)? } else { store.open_to_read(id)? };
        return Ok(workspace.into_files()?);
    }
    match (bytes, place.to_str()) {
        ([b'/' | b'.', ..], _) => Ok(Tree::open(Path::new(place))?),
        (_, Some(name)) => Ok(Sandboxes::new().get(name)?.files()?),
        (_, None) => Err(Refusal::new(format!("failed to find the place `{}`", place.display()), Some(PLACES))),
    }
}

/// A workspace of the store; where a sandbox works in it that shares it with nobody, that one is the way.
fn open_to_write(store: &Store, id: &str) -> Result<InUse, Refusal> {
    let error = match store.open(id) {
        Err(error @ workspace::Error::Busy { .. }) => error,
        other => return Ok(other?),
    };
    let there = Sandboxes::new().in_workspace(store.state(), id).unwrap_or_default();
    match there.first() {
        Some(held) => Err(Refusal::new(
            format!("{error}: it is sandbox `{}`", held.name()),
            Some("name the sandbox as the place, as in `NAME:path`"),
        )),
        None => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_colon_ends_the_place() {
        for (text, expected) in [
            ("./dir:a/b", Some(("./dir", "a/b"))),
            ("/srv/dir:", Some(("/srv/dir", "."))),
            (".:a:b", Some((".", "a:b"))),
            ("ws:alice/notes:a:b", Some(("ws:alice/notes", "a:b"))),
            ("ws:alice", Some(("ws:alice", "."))),
            ("./dir", None),
        ] {
            let read = InPlace::read(OsStr::new(text));
            let expected = expected.map(|(place, path)| InPlace { place: place.into(), path: path.into() });
            assert_eq!(read, expected, "{text}");
        }
    }

    #[test]
    fn a_name_is_no_directory() {
        let refusal = open(OsStr::new("etc"), false).unwrap_err();
        assert!(refusal.message.contains("`etc`") && refusal.hint.is_some());
    }
}
