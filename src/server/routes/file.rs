//! One file: its bytes, or some of them, and what is done with it.

use super::place::{Item, files};
use crate::server::answer::{Data, Done, Kind, Whole};
use crate::server::api::{About, Api};
use crate::server::body::{Json, NoQuery, Nothing, Raw};
use crate::server::call::Call;
use crate::server::problem::Problem;
use crate::server::ranged::{attached, respond};
use crate::server::schema;
use axum::http::Method;
use pinfold::Content;
use pinfold::files::{Occurrences, Replace};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Which file, or which directory; its root if none is named.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Relative to /workspace.
    pub(super) path: Option<String>,
    /// The same as base64, where it is not UTF-8.
    pub(super) path_base64: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Writing {
    /// Relative to /workspace; folders are made.
    path: Option<String>,
    /// The same as base64, where it is not UTF-8.
    path_base64: Option<String>,
    /// What becomes of a file that is there.
    mode: Option<WriteMode>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum WriteMode {
    /// It is replaced as a whole.
    Replace,
    /// It is an error that it is there.
    Create,
    /// What comes is added to its end.
    Append,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Removing {
    /// Relative to /workspace.
    path: Option<String>,
    /// The same as base64, where it is not UTF-8.
    path_base64: Option<String>,
    /// A directory with all that is in it.
    #[serde(default)]
    recursive: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Edit {
    /// Relative to /workspace.
    path: String,
    /// What is there, exactly.
    #[schemars(schema_with = "schema::content")]
    old: Content,
    /// What is put there.
    #[schemars(schema_with = "schema::content")]
    new: Content,
    /// Replace every occurrence; else there must be only one.
    #[serde(default)]
    all: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Edited {
    replaced: u64,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rename {
    from: String,
    to: String,
    /// What has the new path may be replaced.
    #[serde(default)]
    replace: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Directory {
    /// Relative to /workspace; those on the way to it are made too.
    path: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Permissions {
    /// Relative to /workspace.
    path: String,
    /// The nine permission bits, as a number: 493 is 0o755.
    #[schemars(range(min = 0, max = 511))]
    mode: u32,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LinesOf {
    /// Relative to /workspace.
    path: Option<String>,
    /// The same as base64, where it is not UTF-8.
    path_base64: Option<String>,
    /// Only lines after so many.
    #[serde(default)]
    after: u64,
    /// At most so many lines (1000, if it is left out).
    #[schemars(range(min = 1, max = 100_000))]
    limit: Option<u64>,
}

/// Lines of a file.
#[derive(Debug, Serialize, JsonSchema)]
struct Lines {
    /// The lines with their ends.
    #[schemars(schema_with = "schema::content")]
    content: Content,
    /// The number of the first one, from 1 on.
    first: u64,
    /// How many they are.
    count: u64,
    /// Whether there are more.
    more: bool,
}

/// The bytes of a file.
#[derive(Debug)]
pub(super) struct FileBytes;

impl Kind for FileBytes {
    const STATUSES: &'static [(u16, &'static str, Option<&'static str>)] = &[
        (200, "The whole file.", Some("application/octet-stream")),
        (206, "The range that was asked for.", Some("application/octet-stream")),
        (416, "The file has no such range.", None),
    ];
}

macro_rules! both {
    ($api:expr, $method:expr, $rest:literal, $id:literal, $words:literal, $route:expr) => {
        $api.add(
            &$method,
            concat!("/v1/sandboxes/{sandbox}/", $rest),
            About(concat!($id, "OfSandbox"), concat!($words, " of a sandbox")),
            $route,
        );
        $api.add(
            &$method,
            concat!("/v1/workspaces/{workspace}/", $rest),
            About(concat!($id, "OfWorkspace"), concat!($words, " of a workspace")),
            $route,
        );
    };
}
pub(super) use both;

pub(in crate::server) fn add(api: &mut Api) {
    both!(api, Method::GET, "files/content", "readFile", "Read a file", read);
    both!(api, Method::PUT, "files/content", "writeFile", "Write a file", write);
    both!(api, Method::GET, "files/stat", "stat", "What has a path", stat);
    both!(api, Method::DELETE, "files", "deleteFile", "Remove a file or directory", delete);
    both!(api, Method::POST, "files/edit", "editFile", "Replace a text in a file", edit);
    both!(api, Method::POST, "files/rename", "renameFile", "Rename a file or directory", rename);
    both!(api, Method::GET, "files/lines", "readLines", "Read lines of a file", lines);
    both!(api, Method::POST, "files/mode", "setMode", "Set the permissions of a file or directory", set_mode);
    both!(api, Method::POST, "files/clear", "clearFiles", "Remove all files", clear);
    both!(api, Method::POST, "files/directory", "makeDirectory", "Make a directory", make_directory);
}

/// The path that a query names.
pub(super) fn path(text: Option<&str>, base64: Option<&str>) -> Result<PathBuf, Problem> {
    match (text, base64) {
        (Some(text), None) => Ok(PathBuf::from(text)),
        (None, Some(base64)) => {
            let json = serde_json::json!({"base64": base64});
            let bytes: Result<Content, _> = serde_json::from_value(json);
            let bytes = bytes.map_err(|error| Problem::invalid(error.to_string()).at("path_base64"))?;
            Ok(PathBuf::from(OsString::from_vec(bytes.0)))
        }
        (None, None) => Ok(PathBuf::from(".")),
        (Some(_), Some(_)) => Err(Problem::invalid("give `path` or `path_base64`, and not both").at("path")),
    }
}

/// A path as base64, if it is not UTF-8.
pub(super) fn base64(path: &Path) -> Option<String> {
    if path.to_str().is_some() {
        return None;
    }
    let json = serde_json::to_value(Content(path.as_os_str().as_bytes().to_vec())).ok()?;
    json["base64"].as_str().map(str::to_owned)
}

async fn read(call: Call, which: Which, _: Nothing) -> Result<Whole<FileBytes>, Problem> {
    let path = path(which.path.as_deref(), which.path_base64.as_deref())?;
    let share = call.stream()?;
    let (file, size, tree) = files(&call, false, move |opened| {
        let (file, size) = opened.tree.open_file(&path)?;
        Ok((file, size, opened.tree))
    })
    .await?;
    Ok(attached(respond((file, size), &call.headers, None, (share, tree))).into())
}

async fn write(call: Call, writing: Writing, Raw(bytes): Raw) -> Result<Done, Problem> {
    let path = path(writing.path.as_deref(), writing.path_base64.as_deref())?;
    let mode = writing.mode.unwrap_or(WriteMode::Replace);
    files(&call, true, move |opened| {
        opened.check(bytes.len())?;
        match mode {
            WriteMode::Replace => opened.tree.write(&path, &bytes)?,
            WriteMode::Create => opened.tree.create(&path, &bytes)?,
            WriteMode::Append => opened.tree.append(&path, &bytes)?,
        }
        Ok(Done)
    })
    .await
}

async fn stat(call: Call, which: Which, _: Nothing) -> Result<Data<Item>, Problem> {
    let path = path(which.path.as_deref(), which.path_base64.as_deref())?;
    files(&call, false, move |opened| Ok(Data(Item::of(&opened.tree.stat(&path)?)))).await
}

async fn delete(call: Call, removing: Removing, _: Nothing) -> Result<Done, Problem> {
    if removing.path.is_none() && removing.path_base64.is_none() {
        return Err(Problem::invalid("`path` is missing").at("path"));
    }
    let path = path(removing.path.as_deref(), removing.path_base64.as_deref())?;
    files(&call, true, move |opened| {
        match removing.recursive {
            true => opened.tree.delete_tree(&path)?,
            false => opened.tree.delete(&path)?,
        }
        Ok(Done)
    })
    .await
}

async fn edit(call: Call, _: NoQuery, Json(edit): Json<Edit>) -> Result<Data<Edited>, Problem> {
    files(&call, true, move |opened| {
        opened.check(edit.new.0.len().saturating_sub(edit.old.0.len()))?;
        let which = if edit.all { Occurrences::All } else { Occurrences::One };
        let replaced = opened.tree.edit(&edit.path, &edit.old.0, &edit.new.0, which)?;
        Ok(Data(Edited { replaced }))
    })
    .await
}

async fn rename(call: Call, _: NoQuery, Json(rename): Json<Rename>) -> Result<Done, Problem> {
    files(&call, true, move |opened| {
        let replace = if rename.replace { Replace::Allowed } else { Replace::Refused };
        opened.tree.rename(&rename.from, &rename.to, replace)?;
        Ok(Done)
    })
    .await
}

async fn make_directory(call: Call, _: NoQuery, Json(directory): Json<Directory>) -> Result<Done, Problem> {
    files(&call, true, move |opened| {
        opened.check(0)?;
        opened.tree.make_directory_all(&directory.path)?;
        Ok(Done)
    })
    .await
}

async fn lines(call: Call, which: LinesOf, _: Nothing) -> Result<Data<Lines>, Problem> {
    let path = path(which.path.as_deref(), which.path_base64.as_deref())?;
    let limit = Problem::unless_within("limit", which.limit, 1..=100_000)?.unwrap_or(1000);
    files(&call, false, move |opened| {
        let read = opened.tree.read_lines(&path, which.after, limit)?;
        Ok(Data(Lines { content: Content(read.bytes), first: read.first, count: read.count, more: !read.is_end }))
    })
    .await
}

async fn set_mode(call: Call, _: NoQuery, Json(permissions): Json<Permissions>) -> Result<Done, Problem> {
    let Permissions { path, mode } = permissions;
    Problem::unless_within("mode", Some(mode), 0..=0o777)?;
    files(&call, true, move |opened| Ok(opened.tree.set_mode(&path, mode).map(|()| Done)?)).await
}

async fn clear(call: Call, _: NoQuery, _: Nothing) -> Result<Done, Problem> {
    files(&call, true, move |opened| Ok(opened.tree.clear().map(|()| Done)?)).await
}
