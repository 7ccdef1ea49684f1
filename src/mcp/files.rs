//! Files of sandboxes and workspaces. Paths never lead out of them: the library sees to that.

use super::answer::{told, whole_characters, within};
use super::place::Place;
use super::refusal::Refusal;
use super::sandboxes::{Done, done};
use super::server::Server;
use pinfold::Content;
use pinfold::files::{Entry, Grep, Occurrences, Tree};
use rmcp::handler::server::tool::schema_for_output;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::CallToolResult;
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many lines, entries and matches there are where nobody says, and at most.
const LINES: u64 = 2000;
const ENTRIES: usize = 500;
const MATCHES: usize = 100;
const MOST: usize = 5000;
/// How much of a line that matches is shown.
const LINE: usize = 500;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Read {
    #[serde(flatten)]
    place: Place,
    /// The file, relative to /workspace
    path: String,
    /// Begin after so many lines, or bytes with `binary`
    #[serde(default)]
    offset: u64,
    /// At most so many lines (2000 if it is left out), or bytes with `binary`
    limit: Option<u64>,
    /// Read bytes instead of lines: the answer is base64 where they are no text
    #[serde(default)]
    binary: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Text {
    /// The text, if it is text
    content: Option<String>,
    /// The bytes, if they are none and were asked for
    base64: Option<String>,
    /// Whether there is more after it
    more: bool,
    /// The offset with which to go on
    next_offset: u64,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Write {
    #[serde(flatten)]
    place: Place,
    /// The file, relative to /workspace; folders are made
    path: String,
    /// The text. Give this or `base64`
    content: Option<String>,
    /// The bytes
    base64: Option<String>,
    /// Add to the end of the file instead of replacing it
    #[serde(default)]
    append: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Edit {
    #[serde(flatten)]
    place: Place,
    /// The file, relative to /workspace
    path: String,
    /// The text that is there, exactly
    old: String,
    /// The text to put there
    new: String,
    /// Replace every occurrence; else there must be only one
    #[serde(default)]
    all: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct List {
    #[serde(flatten)]
    place: Place,
    /// The directory, relative to /workspace
    #[serde(default = "root")]
    path: String,
    /// At most so many (500 if it is left out)
    limit: Option<usize>,
}

fn root() -> String {
    ".".to_owned()
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Find {
    #[serde(flatten)]
    place: Place,
    /// Such as `src/**/*.rs`: `*` and `?` within a name, `**` across folders, `[a-z]`, `{one,other}`
    pattern: String,
    /// At most so many (500 if it is left out)
    limit: Option<usize>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Search {
    #[serde(flatten)]
    place: Place,
    /// What to search for, exactly
    pattern: String,
    /// It is a regular expression
    #[serde(default)]
    regex: bool,
    /// Whatever the case of the letters
    #[serde(default)]
    ignore_case: bool,
    /// In this file, or below this directory
    #[serde(default = "root")]
    path: String,
    /// Only in files of such names, such as `*.py`
    files: Option<String>,
    /// At most so many lines (100 if it is left out)
    limit: Option<usize>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Delete {
    #[serde(flatten)]
    place: Place,
    /// The file or directory, relative to /workspace
    path: String,
    /// A directory with all that is in it
    #[serde(default)]
    recursive: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Entries {
    entries: Vec<Item>,
    /// Whether there are more
    more: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Item {
    /// Relative to /workspace
    path: String,
    /// file, directory, symlink, fifo, socket, device
    kind: String,
    bytes: u64,
    /// Where a symlink points
    target: Option<String>,
}

impl Item {
    fn of(entry: &Entry) -> Self {
        let kind = serde_json::to_value(entry.kind).unwrap_or_default();
        Self {
            path: entry.path.to_string_lossy().into_owned(),
            kind: kind.as_str().unwrap_or_default().to_owned(),
            bytes: entry.size,
            target: entry.target.as_ref().map(|target| target.to_string_lossy().into_owned()),
        }
    }

    fn line(&self) -> String {
        let target = self.target.as_ref().map(|target| format!(" -> {target}")).unwrap_or_default();
        format!("{:>9} {:>12} {}{target}\n", self.kind, self.bytes, self.path)
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Found {
    matches: Vec<Line>,
    /// Whether the search was given up before its end
    more: bool,
    /// Binary files that match
    binary: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Line {
    /// Relative to /workspace
    path: String,
    /// From 1
    line: u64,
    /// The line, or its beginning
    text: String,
}

#[tool_router(router = file_tools, vis = "pub(super)")]
impl Server {
    /// Read a text file of a sandbox or a workspace by lines, or any file by bytes.
    #[tool(
        output_schema = schema_for_output::<Text>(),
        annotations(title = "Read a file", read_only_hint = true, open_world_hint = false)
    )]
    async fn file_read(&self, Parameters(read): Parameters<Read>) -> Result<CallToolResult, Refusal> {
        let cap = self.bounds.output;
        let text = self.files(read.place.clone(), false, move |opened| match read.binary {
            true => bytes(&opened.tree, &read, cap),
            false => lines(&opened.tree, &read, cap),
        });
        let text = text.await?;
        let mut words = text.content.clone().unwrap_or_else(|| text.base64.clone().unwrap_or_default());
        if text.more {
            words += &format!("\n[there is more: go on with offset {}]", text.next_offset);
        }
        told(words, &text)
    }

    /// Write a file of a sandbox or a workspace, and make its folders.
    #[tool(
        output_schema = schema_for_output::<Done>(),
        annotations(title = "Write a file", destructive_hint = true, open_world_hint = false)
    )]
    async fn file_write(&self, Parameters(write): Parameters<Write>) -> Result<CallToolResult, Refusal> {
        let bytes = match (write.content, write.base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(base64)) => {
                let decoded = serde_json::from_value::<Content>(serde_json::json!({ "base64": base64 }));
                decoded.map_err(|error| Refusal::new(format!("`base64`: {error}")))?.0
            }
            _ => return Err(Refusal::new("give `content` or `base64`, and not both")),
        };
        let sentence = format!("{} bytes were written to {}", bytes.len(), write.path);
        self.files(write.place, true, move |opened| {
            opened.check(bytes.len())?;
            match write.append {
                true => opened.tree.append(&write.path, &bytes)?,
                false => opened.tree.write(&write.path, &bytes)?,
            }
            Ok(())
        })
        .await?;
        done(sentence)
    }

    /// Replace a piece of text in a file of a sandbox or a workspace.
    #[tool(
        output_schema = schema_for_output::<Done>(),
        annotations(title = "Edit a file", destructive_hint = true, open_world_hint = false)
    )]
    async fn file_edit(&self, Parameters(edit): Parameters<Edit>) -> Result<CallToolResult, Refusal> {
        let path = edit.path.clone();
        let count = self.files(edit.place, true, move |opened| {
            opened.check(edit.new.len().saturating_sub(edit.old.len()))?;
            let which = if edit.all { Occurrences::All } else { Occurrences::One };
            Ok(opened.tree.edit(&edit.path, edit.old.as_bytes(), edit.new.as_bytes(), which)?)
        });
        let count = count.await?;
        done(format!("{count} replaced in {path}"))
    }

    /// List a directory of a sandbox or a workspace.
    #[tool(
        output_schema = schema_for_output::<Entries>(),
        annotations(title = "List a directory", read_only_hint = true, open_world_hint = false)
    )]
    async fn file_list(&self, Parameters(list): Parameters<List>) -> Result<CallToolResult, Refusal> {
        let room = self.bounds.output;
        let found = self.files(list.place, false, move |opened| {
            let listing = opened.tree.list(&list.path)?;
            Ok(entries(&listing.entries, list.limit, room, listing.is_truncated))
        });
        tell_entries(&found.await?)
    }

    /// Find files of a sandbox or a workspace by their paths.
    #[tool(
        output_schema = schema_for_output::<Entries>(),
        annotations(title = "Find files", read_only_hint = true, open_world_hint = false)
    )]
    async fn file_find(&self, Parameters(find): Parameters<Find>) -> Result<CallToolResult, Refusal> {
        let room = self.bounds.output;
        let found = self.files(find.place, false, move |opened| {
            let found = opened.tree.glob(&find.pattern)?;
            Ok(entries(&found.entries, find.limit, room, found.is_truncated))
        });
        tell_entries(&found.await?)
    }

    /// Search in the files of a sandbox or a workspace, line by line.
    #[tool(
        output_schema = schema_for_output::<Found>(),
        annotations(title = "Search in files", read_only_hint = true, open_world_hint = false)
    )]
    async fn file_search(&self, Parameters(search): Parameters<Search>) -> Result<CallToolResult, Refusal> {
        let room = self.bounds.output;
        let found = self.files(search.place.clone(), false, move |opened| grep(&opened.tree, search, room)).await?;
        let lines = found.matches.iter().map(|line| format!("{}:{}: {}\n", line.path, line.line, line.text));
        let mut words = lines.collect::<String>();
        for path in &found.binary {
            words += &format!("{path}: the binary file matches\n");
        }
        if found.more {
            words += "[there may be more matches]\n";
        }
        told(if words.is_empty() { "nothing matches\n".to_owned() } else { words }, &found)
    }

    /// Remove a file or a directory of a sandbox or a workspace.
    #[tool(
        output_schema = schema_for_output::<Done>(),
        annotations(title = "Remove a file", destructive_hint = true, open_world_hint = false)
    )]
    async fn file_delete(&self, Parameters(delete): Parameters<Delete>) -> Result<CallToolResult, Refusal> {
        let path = delete.path.clone();
        self.files(delete.place, true, move |opened| {
            match delete.recursive {
                true => opened.tree.delete_tree(&delete.path)?,
                false => opened.tree.delete(&delete.path)?,
            }
            Ok(())
        })
        .await?;
        done(format!("{path} is gone"))
    }
}

fn lines(tree: &Tree, read: &Read, cap: u64) -> Result<Text, Refusal> {
    let binary = || Refusal::new(format!("`{}` is no text", read.path)).hint("read it with `binary`, or by a command");
    let lines = tree.read_lines(&read.path, read.offset, read.limit.unwrap_or(LINES).min(MOST as u64))?;
    let cap = usize::try_from(cap).unwrap_or(usize::MAX);
    let (mut kept, mut count, mut more) = (lines.bytes, lines.count, !lines.is_end);
    let mut note = String::new();
    if kept.len() > cap {
        // Whole lines, or the beginning of the first.
        let end = kept[..cap].iter().rposition(|byte| *byte == b'\n').map(|newline| newline + 1);
        more = more || count > 1 || end.is_some();
        kept.truncate(end.unwrap_or_else(|| whole_characters(&kept[..cap]).len()));
        count = memchr::memchr_iter(b'\n', &kept).count().max(1) as u64;
        if end.is_none() {
            note = format!("\n[line {} is longer than {cap} bytes: read all of it with `binary`]\n", read.offset + 1);
        }
    }
    if kept.contains(&0) {
        return Err(binary());
    }
    let content = String::from_utf8(kept).map_err(|_no_text| binary())? + &note;
    Ok(Text { content: Some(content), base64: None, more, next_offset: read.offset.saturating_add(count) })
}

fn bytes(tree: &Tree, read: &Read, cap: u64) -> Result<Text, Refusal> {
    let length = read.limit.unwrap_or(cap).min(cap);
    let size = tree.stat(&read.path)?.size;
    let bytes = tree.read_range(&read.path, read.offset, length)?;
    let next_offset = read.offset.saturating_add(bytes.len() as u64);
    let json = serde_json::to_value(Content(bytes)).map_err(|error| Refusal::new(error.to_string()))?;
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    Ok(Text { content: text(&json), base64: text(&json["base64"]), more: next_offset < size, next_offset })
}

fn entries(all: &[Entry], limit: Option<usize>, room: u64, is_truncated: bool) -> Entries {
    let length = |item: &Item| item.path.len() + item.target.as_ref().map_or(0, String::len);
    let (entries, more) = within(all.iter().map(Item::of), limit.unwrap_or(ENTRIES).min(MOST), room, length);
    Entries { entries, more: more || is_truncated }
}

fn tell_entries(entries: &Entries) -> Result<CallToolResult, Refusal> {
    let mut words = entries.entries.iter().map(Item::line).collect::<String>();
    if entries.more {
        words += "[there are more]\n";
    }
    told(if words.is_empty() { "there is nothing\n".to_owned() } else { words }, entries)
}

fn grep(tree: &Tree, search: Search, room: u64) -> Result<Found, Refusal> {
    let mut grep = match search.regex {
        true => Grep::regex(search.pattern),
        false => Grep::literal(search.pattern),
    };
    grep = grep.below(search.path).at_most(search.limit.unwrap_or(MATCHES).min(MOST));
    if let Some(files) = search.files {
        grep = grep.only(files);
    }
    if search.ignore_case {
        grep = grep.ignore_case();
    }
    let found = tree.grep(&grep)?;
    let lines = found.matches.iter().map(|line| {
        let shown = whole_characters(&line.bytes[..line.bytes.len().min(LINE)]);
        let more = if shown.len() < line.bytes.len() { "…" } else { "" };
        let text = format!("{}{more}", String::from_utf8_lossy(shown));
        Line { path: line.path.to_string_lossy().into_owned(), line: line.line, text }
    });
    let (matches, more) = within(lines, MOST, room, |line| line.path.len() + line.text.len());
    let binary = found.binary.iter().map(|path| path.to_string_lossy().into_owned());
    let (binary, more_binary) = within(binary, MATCHES, room, String::len);
    Ok(Found { matches, more: found.is_truncated || more || more_binary, binary })
}
