//! What files there are: directories, and what is found by name or by content.

use super::file::{both, path};
use super::place::{Item, files};
use crate::server::answer::Data;
use crate::server::api::{About, Api};
use crate::server::body::{Json, NoQuery, Nothing};
use crate::server::call::Call;
use crate::server::problem::Problem;
use axum::http::Method;
use pinfold::files::{Entry, Grep};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many entries and matches there are where nobody says, and at most.
const ENTRIES: usize = 1000;
const MATCHES: usize = 1000;
const MOST: usize = 10_000;
/// How much of a line that matches is told, in bytes.
const LINE: usize = 4096;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct List {
    /// The directory, relative to /workspace.
    path: Option<String>,
    /// The same as base64, where it is not UTF-8.
    path_base64: Option<String>,
    /// At most so many (1000, if it is left out).
    #[schemars(range(min = 1, max = 10000))]
    limit: Option<usize>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Find {
    /// Such as `src/**/*.rs`: `*` and `?` within a name, `**` across folders, `[a-z]`, `{one,other}`.
    pattern: String,
    /// At most so many (1000, if it is left out).
    #[schemars(range(min = 1, max = 10000))]
    limit: Option<usize>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Search {
    /// What to search for, exactly.
    pattern: String,
    /// It is a regular expression.
    #[serde(default)]
    regex: bool,
    /// Whatever the case of the letters.
    #[serde(default)]
    ignore_case: bool,
    /// In this file, or below this directory.
    path: Option<String>,
    /// Only in files of such names, such as `*.py`.
    files: Option<String>,
    /// At most so many lines (1000, if it is left out).
    #[schemars(range(min = 1, max = 10000))]
    limit: Option<usize>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Entries {
    entries: Vec<Item>,
    /// Whether there are more.
    more: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Found {
    matches: Vec<Line>,
    /// Whether the search was given up before its end.
    more: bool,
    /// Binary files that match.
    binary: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Line {
    /// Relative to /workspace.
    path: String,
    /// From 1.
    line: u64,
    /// The line, or its beginning.
    text: String,
}

pub(in crate::server) fn add(api: &mut Api) {
    both!(api, Method::GET, "files", "listFiles", "List a directory", list);
    both!(api, Method::GET, "files/find", "findFiles", "Find files by their names", find);
    both!(api, Method::POST, "files/search", "searchFiles", "Search in the files", search);
}

fn limit(asked: Option<usize>, usual: usize) -> Result<usize, Problem> {
    Ok(Problem::unless_within("limit", asked, 1..=MOST)?.unwrap_or(usual))
}

fn told(all: &[Entry], limit: usize, is_truncated: bool) -> Data<Entries> {
    let entries = all.iter().take(limit).map(Item::of).collect();
    Data(Entries { entries, more: is_truncated || all.len() > limit })
}

async fn list(call: Call, list: List, _: Nothing) -> Result<Data<Entries>, Problem> {
    let path = path(list.path.as_deref(), list.path_base64.as_deref())?;
    let limit = limit(list.limit, ENTRIES)?;
    files(&call, false, move |opened| {
        let listing = opened.tree.list(&path)?;
        Ok(told(&listing.entries, limit, listing.is_truncated))
    })
    .await
}

async fn find(call: Call, find: Find, _: Nothing) -> Result<Data<Entries>, Problem> {
    let limit = limit(find.limit, ENTRIES)?;
    files(&call, false, move |opened| {
        let found = opened.tree.glob(&find.pattern)?;
        Ok(told(&found.entries, limit, found.is_truncated))
    })
    .await
}

async fn search(call: Call, _: NoQuery, Json(search): Json<Search>) -> Result<Data<Found>, Problem> {
    let limit = limit(search.limit, MATCHES)?;
    files(&call, false, move |opened| {
        let mut grep = match search.regex {
            true => Grep::regex(search.pattern),
            false => Grep::literal(search.pattern),
        };
        grep = grep.below(search.path.as_deref().unwrap_or("."));
        grep = grep.at_most(limit);
        if let Some(files) = search.files {
            grep = grep.only(files);
        }
        if search.ignore_case {
            grep = grep.ignore_case();
        }
        let found = opened.tree.grep(&grep)?;
        let line = |line: &pinfold::files::Match| Line {
            path: line.path.to_string_lossy().into_owned(),
            line: line.line,
            text: String::from_utf8_lossy(&line.bytes[..line.bytes.len().min(LINE)]).into_owned(),
        };
        let binary = found.binary.iter().take(MATCHES).map(|path| path.to_string_lossy().into_owned()).collect();
        Ok(Data(Found { matches: found.matches.iter().map(line).collect(), more: found.is_truncated, binary }))
    })
    .await
}
