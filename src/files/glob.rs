//! Finding files by a pattern of their path. The pattern is matched against names that were read from directories; it is
//! never resolved as a path itself.

use super::Error;
use super::entry::Entry;
use super::error::Reason;
use super::list::{below, entry};
use super::path::Inside;
use super::tree::Tree;
use super::walk::{Next, Visit, Visitor, walk};
use globset::{Candidate, GlobBuilder, GlobMatcher};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What was found by a pattern.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Found {
    /// In the order of the path's names.
    pub entries: Vec<Entry>,
    /// Why some were not looked at: a directory that may not be read, or one that is too deep. The first 100.
    pub skipped: Vec<Error>,
    /// Whether the search was given up before the end, for the time or the number of entries.
    pub is_truncated: bool,
}

/// How many reasons are kept.
const MOST_SKIPPED: usize = 100;

impl Tree {
    /// Finds everything whose path matches: `*` and `?` within a name, `**` across folders, `[a-z]`, `{one,other}`, and a
    /// backslash before what is meant as it stands. Hidden names match as all others do; links are found and not followed.
    ///
    /// # Errors
    /// `invalid_pattern`, and `invalid_path` for one that begins with `/` or contains `..`.
    pub fn glob(&self, pattern: &str) -> Result<Found, Error> {
        self.search(self.below(pattern)).map_err(|reason| reason.when("find", pattern))
    }

    /// A pattern relative to the root.
    fn below<'p>(&self, pattern: &'p str) -> &'p str {
        let mut names = [Some(pinfold_runner::WORKSPACE), self.root_name()].into_iter().flatten();
        let below = names.find_map(|name| pattern.strip_prefix(name).filter(|rest| rest.starts_with('/')));
        below.map_or(pattern, |rest| rest.trim_start_matches('/'))
    }

    fn search(&self, pattern: &str) -> Result<Found, Reason> {
        // Checked as a path, since no name that was read from a directory would match it.
        Inside::relative(pattern.as_bytes())?;
        let pattern = pattern.split('/').filter(|name| !matches!(*name, "" | ".")).collect::<Vec<_>>().join("/");
        let matcher = matcher(&pattern)?;
        let base = literal_folder(&pattern);
        let mut search = Search {
            matcher,
            levels: levels_below(&pattern, &base),
            deadline: Instant::now() + self.bounds.time,
            found: Found::default(),
            base: Inside::root(),
        };
        if !base.is_empty() {
            search.base = Inside::relative(base.as_bytes())?;
        }
        match self.pass(self.root(), &search.base.to_c()?) {
            Ok(start) => match walk(self, std::os::fd::AsFd::as_fd(&start), &mut search) {
                Err(Reason::TooMany(_)) => search.found.is_truncated = true,
                other => other?,
            },
            Err(Reason::NotFound | Reason::NotDirectory) => {}
            Err(reason) => return Err(reason),
        }
        Ok(search.found)
    }
}

/// A pattern of a whole path.
pub(crate) fn matcher(pattern: &str) -> Result<GlobMatcher, Reason> {
    let built = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).empty_alternates(true).build();
    built.map(|glob| glob.compile_matcher()).map_err(|error| Reason::InvalidPattern(error.to_string()))
}

/// The folder that everything that matches is in: the names before the first that is a pattern, and not the last.
fn literal_folder(pattern: &str) -> String {
    let names: Vec<_> = pattern.split('/').collect();
    let folders = names.len().saturating_sub(1);
    let literal = names.iter().take(folders).take_while(|name| !name.contains(['*', '?', '[', ']', '{', '}', '\\']));
    literal.copied().collect::<Vec<_>>().join("/")
}

/// How many levels below the folder a match can be at most.
fn levels_below(pattern: &str, base: &str) -> usize {
    let count = |path: &str| path.split('/').filter(|name| !name.is_empty()).count();
    if pattern.contains("**") || pattern.contains('{') { usize::MAX } else { count(pattern) - count(base) }
}

struct Search {
    matcher: GlobMatcher,
    levels: usize,
    deadline: Instant,
    found: Found,
    base: Inside,
}

impl Visitor for Search {
    fn visit(&mut self, visit: &Visit<'_>) -> Result<Next, Reason> {
        if Instant::now() > self.deadline {
            self.found.is_truncated = true;
            return Ok(Next::Stop);
        }
        let path: PathBuf = below(&self.base, visit.path);
        if self.matcher.is_match_candidate(&Candidate::new(&path)) {
            self.found.entries.push(entry(visit.directory, visit.name, visit.stat, path));
        }
        Ok(if visit.path.components().count() < self.levels { Next::Into } else { Next::Past })
    }

    fn refused(&mut self, path: &Path, reason: Reason) -> Result<(), Reason> {
        keep(&mut self.found.skipped, reason.when("look into", below(&self.base, path)));
        Ok(())
    }
}

/// Keeps a reason, as long as there are not too many.
pub(crate) fn keep(skipped: &mut Vec<Error>, error: Error) {
    if skipped.len() < MOST_SKIPPED {
        skipped.push(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_begins_where_the_pattern_does() {
        for (pattern, folder) in
            [("*.rs", ""), ("src/**/*.rs", "src"), ("a/b/c", "a/b"), ("a/{b/c,d}/e", "a"), ("a/b*/c/d", "a"), ("x", "")]
        {
            assert_eq!(literal_folder(pattern), folder, "{pattern}");
        }
    }

    #[test]
    fn a_star_stays_within_a_name_and_two_do_not() {
        let matches = |pattern: &str, path: &str| matcher(pattern).unwrap().is_match(path);
        assert!(matches("*.rs", "a.rs") && !matches("*.rs", "src/a.rs"));
        assert!(matches("**/*.rs", "a.rs") && matches("**/*.rs", "a/b/c.rs"));
        assert!(matches("a/**", "a/b/c") && !matches("a/?", "a/bc"));
        assert!(matches("{a,b/c}", "b/c") && matches("\\*", "*") && !matches("\\*", "a"));
        assert!(matcher("[").is_err());
    }
}
