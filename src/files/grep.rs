//! Searching in files, line by line, as grep(1) does.

use super::Error;
use super::entry::Kind;
use super::error::Reason;
use super::glob::{keep, matcher};
use super::list::below;
use super::path::{Inside, c_string};
use super::read::{Line, LineReader};
use super::tree::Tree;
use super::walk::{Next, Visit, Visitor, walk};
use globset::GlobMatcher;
use regex::bytes::{Regex, RegexBuilder};
use rustix::fs::OFlags;
use std::fmt::Write as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What to search for, and where.
#[derive(Clone, Debug)]
pub struct Grep {
    pattern: Pattern,
    path: PathBuf,
    files: Option<String>,
    ignores_case: bool,
    most: usize,
}

#[derive(Clone, Debug)]
enum Pattern {
    Literal(Vec<u8>),
    Regex(String),
}

/// A line that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Match {
    /// The file, relative to the tree's root.
    pub path: PathBuf,
    /// The number of the line, from 1.
    pub line: u64,
    /// The line without its end, or its first 64 KiB.
    pub bytes: Vec<u8>,
    /// Whether the line is longer; what comes later in it was not searched.
    pub is_cut: bool,
}

/// What a search found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Matches {
    /// By path and line.
    pub matches: Vec<Match>,
    /// Binary files that match: those with a NUL byte near their beginning.
    pub binary: Vec<PathBuf>,
    /// Why some files were not searched. The first 100.
    pub skipped: Vec<Error>,
    /// Whether the search was given up before the end: for the number of matches, the bytes read, the time.
    pub is_truncated: bool,
}

const LONGEST_LINE: u64 = 64 << 10;
/// A longer one takes seconds to prepare.
const LONGEST_LITERAL: usize = 4096;

impl Grep {
    /// For these bytes, exactly.
    pub fn literal(text: impl Into<Vec<u8>>) -> Self {
        Self::new(Pattern::Literal(text.into()))
    }

    /// For a regular expression in the syntax of the crate `regex`, which takes linear time whatever it is given.
    pub fn regex(pattern: impl Into<String>) -> Self {
        Self::new(Pattern::Regex(pattern.into()))
    }

    fn new(pattern: Pattern) -> Self {
        Self { pattern, path: PathBuf::from("."), files: None, ignores_case: false, most: 1000 }
    }

    /// In this file, or in all files below this directory; by default in all.
    #[must_use]
    pub fn below(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = path.into();
        self
    }

    /// Only in files whose path below the directory matches as in [`Tree::glob`]; a pattern without `/` is one of the name
    /// in any folder.
    #[must_use]
    pub fn only(mut self, files: impl Into<String>) -> Self {
        self.files = Some(files.into());
        self
    }

    /// Whatever the case of the letters.
    #[must_use]
    pub fn ignore_case(mut self) -> Self {
        self.ignores_case = true;
        self
    }

    /// At most so many matches; 1000 by default.
    #[must_use]
    pub fn at_most(mut self, matches: usize) -> Self {
        self.most = matches;
        self
    }

    fn to_regex(&self) -> Result<Regex, Reason> {
        match &self.pattern {
            Pattern::Literal(text) => literal(text, self.ignores_case),
            Pattern::Regex(pattern) => build(RegexBuilder::new(pattern).case_insensitive(self.ignores_case)),
        }
    }

    fn to_matcher(&self) -> Result<Option<GlobMatcher>, Reason> {
        let whole = |files: &String| if files.contains('/') { files.clone() } else { format!("**/{files}") };
        self.files.as_ref().map(|files| matcher(&whole(files))).transpose()
    }
}

impl Tree {
    /// Searches in files. Links are not followed, and what is no regular file is passed over.
    ///
    /// # Errors
    /// `invalid_pattern`, and what keeps the path itself from being searched.
    pub fn grep(&self, grep: &Grep) -> Result<Matches, Error> {
        self.told("search", &grep.path, |path| {
            let mut search = Search {
                tree: self,
                regex: grep.to_regex()?,
                files: grep.to_matcher()?,
                most: grep.most,
                left: self.bounds.scan_bytes,
                deadline: Instant::now() + self.bounds.time,
                base: path.clone(),
                found: Matches::default(),
            };
            let (start, stat) = self.look(self.root(), &path.to_c()?)?;
            if Kind::of(&stat) != Kind::Directory {
                let (parent, name) = self.parent(path)?;
                search.file(parent.as_fd(), &c_string(name)?, &path.to_path())?;
                return Ok(search.found);
            }
            match walk(self, start.as_fd(), &mut search) {
                Err(Reason::TooMany(_)) => search.found.is_truncated = true,
                other => other?,
            }
            Ok(search.found)
        })
    }
}

/// A search for exactly these bytes.
fn literal(text: &[u8], ignores_case: bool) -> Result<Regex, Reason> {
    if text.len() > LONGEST_LITERAL {
        return Err(Reason::InvalidPattern(format!("it is longer than {LONGEST_LITERAL} bytes")));
    }
    let (pattern, is_text) = match std::str::from_utf8(text) {
        Ok(text) => (regex::escape(text), true),
        Err(_not_utf8) => {
            let mut pattern = String::with_capacity(text.len() * 4);
            for byte in text {
                // Writing to a String can't fail.
                let _ = write!(pattern, "\\x{byte:02x}");
            }
            (pattern, false)
        }
    };
    build(RegexBuilder::new(&pattern).case_insensitive(ignores_case).unicode(is_text))
}

fn build(builder: &RegexBuilder) -> Result<Regex, Reason> {
    builder.build().map_err(|error| Reason::InvalidPattern(error.to_string()))
}

struct Search<'t> {
    tree: &'t Tree,
    regex: Regex,
    files: Option<GlobMatcher>,
    most: usize,
    left: u64,
    deadline: Instant,
    base: Inside,
    found: Matches,
}

impl Search<'_> {
    fn is_over(&mut self) -> bool {
        let found = self.found.matches.len() + self.found.binary.len();
        self.found.is_truncated |= found >= self.most || self.left == 0 || Instant::now() > self.deadline;
        self.found.is_truncated
    }

    fn file(&mut self, directory: BorrowedFd<'_>, name: &std::ffi::CStr, path: &Path) -> Result<(), Reason> {
        let (file, _) = self.tree.regular(directory, name, OFlags::RDONLY)?;
        let mut lines = LineReader::new(file, self.left);
        let is_binary = lines.head()?.contains(&0);
        let (mut line, mut number) = (Vec::new(), 0);
        while let Some(kept) = lines.next(&mut line, LONGEST_LINE)? {
            number += 1;
            self.left = lines.left();
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            if self.regex.is_match(text) {
                if self.is_over() {
                    return Ok(());
                }
                if is_binary {
                    self.found.binary.push(path.to_owned());
                    return Ok(());
                }
                let is_cut = kept == Line::Cut;
                self.found.matches.push(Match { path: path.to_owned(), line: number, bytes: text.to_owned(), is_cut });
            } else if self.left == 0 || Instant::now() > self.deadline {
                self.found.is_truncated = true;
                return Ok(());
            }
            line.clear();
        }
        Ok(())
    }
}

impl Visitor for Search<'_> {
    fn visit(&mut self, visit: &Visit<'_>) -> Result<Next, Reason> {
        let is_wanted = || self.files.as_ref().is_none_or(|files| files.is_match(visit.path));
        if Kind::of(visit.stat) == Kind::File && is_wanted() {
            let path = below(&self.base, visit.path);
            match self.file(visit.directory, visit.name, &path) {
                Ok(()) | Err(Reason::NotFound) => {}
                Err(reason) => keep(&mut self.found.skipped, reason.when("search", path)),
            }
        }
        let is_over = self.found.is_truncated || self.left == 0 || Instant::now() > self.deadline;
        self.found.is_truncated |= is_over;
        Ok(if is_over { Next::Stop } else { Next::Into })
    }

    fn refused(&mut self, path: &Path, reason: Reason) -> Result<(), Reason> {
        keep(&mut self.found.skipped, reason.when("look into", below(&self.base, path)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_is_found_as_it_stands() {
        for text in [&b"a.b*c"[..], b"(", b"\xff\x00[", "é".as_bytes(), b"\\n", b" # x", b"\n"] {
            let regex = literal(text, false).unwrap();
            assert_eq!(regex.find(text).map(|found| found.range()), Some(0..text.len()), "{text:?}");
            assert!(!regex.is_match(b"other"), "{text:?}");
        }
        assert!(literal("É".as_bytes(), true).unwrap().is_match("é".as_bytes()));
    }

    #[test]
    fn a_long_literal_is_refused_before_it_takes_time() {
        let text = vec![b'a'; LONGEST_LITERAL + 1];
        assert!(literal(&text, true).is_err());
        assert!(literal(&text[1..], true).unwrap().is_match(&text));
    }
}
