//! Which file of an artifact a path means. Folders have an index; a path of an application that knows its own routes leads to
//! the index of the whole; nothing is ever listed.

use super::super::problem::Problem;
use super::types;
use percent_encoding::percent_decode_str;
use pinfold::build::Builds;
use pinfold::files::{Error, Tree};
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

const INDEX: &str = "index.html";

/// What there is.
#[derive(Debug)]
pub(super) enum Found {
    File {
        file: File,
        size: u64,
        kind: &'static str,
        tag: String,
    },
    /// A folder, whose index is at this path.
    Folder(String),
    Nothing,
}

/// What the preview of this token has at a path of a URL.
pub(super) fn find(builds: &Builds, token: &str, path: &str, is_page: bool) -> Result<Found, Problem> {
    let shown = builds.find_preview(token)?;
    let found = |path: &Path, (file, size): (File, u64)| {
        // The same artifact has the same file at the same path, for ever.
        Found::File { file, size, kind: types::of(path), tag: format!("\"{}\"", shown.active.artifact) }
    };
    let decoded = decoded(path);
    let named = decoded.as_os_str().as_encoded_bytes();
    let is_folder = named.is_empty() || named.ends_with(b"/");
    if !is_folder {
        match opened(&shown.files, &decoded)? {
            Opened::File(file) => return Ok(found(&decoded, file)),
            // What is relative in it is relative to the folder.
            Opened::Folder if is_file(&shown.files, &decoded.join(INDEX))? => {
                return Ok(Found::Folder(format!("{}/", one_slash(path))));
            }
            Opened::Folder | Opened::Nothing => {}
        }
    }
    let is_route = is_page && !decoded.file_name().is_some_and(|name| name.as_encoded_bytes().contains(&b'.'));
    let others = [
        is_folder.then(|| decoded.join(INDEX)),
        (!is_folder && is_route).then(|| decoded.with_extension("html")),
        is_route.then(|| PathBuf::from(INDEX)),
    ];
    for path in others.into_iter().flatten() {
        if let Opened::File(file) = opened(&shown.files, &path)? {
            return Ok(found(&path, file));
        }
    }
    Ok(Found::Nothing)
}

/// The path without its first slash.
fn decoded(path: &str) -> PathBuf {
    let bytes = percent_decode_str(path.strip_prefix('/').unwrap_or(path)).collect();
    PathBuf::from(OsString::from_vec(bytes))
}

/// A path that begins with two slashes would lead to another host.
fn one_slash(path: &str) -> String {
    format!("/{}", path.trim_start_matches('/'))
}

enum Opened {
    File((File, u64)),
    Folder,
    Nothing,
}

fn opened(files: &Tree, path: &Path) -> Result<Opened, Problem> {
    match files.open_file(path) {
        Ok(file) => Ok(Opened::File(file)),
        Err(error) if error.code() == "is_directory" => Ok(Opened::Folder),
        Err(error) if is_absent(&error) => Ok(Opened::Nothing),
        Err(error) => Err(error.into()),
    }
}

fn is_file(files: &Tree, path: &Path) -> Result<bool, Problem> {
    Ok(matches!(opened(files, path)?, Opened::File(_)))
}

/// Whether there is no such file, or can be none.
fn is_absent(error: &Error) -> bool {
    matches!(error.code(), "not_found" | "not_directory" | "invalid_path" | "symlink" | "not_regular")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_once() {
        for (path, expected) in
            [("/a%20b", "a b"), ("/a%2520", "a%20"), ("/", ""), ("/a/", "a/"), ("/%2e%2e/x", "../x")]
        {
            assert_eq!(decoded(path), PathBuf::from(expected), "{path}");
        }
        assert_eq!(one_slash("//evil.example/x"), "/evil.example/x");
    }
}
