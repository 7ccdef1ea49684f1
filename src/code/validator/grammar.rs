//! Grammars and the rules written for them. The grammars are C that tree-sitter's generator wrote; they only ever say where
//! the nodes of a text are.

use super::Finding;
use super::needed::needed;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::time::Instant;
use tree_sitter::{ParseOptions, Parser, Query, QueryCursor, QueryCursorOptions, QueryMatch, StreamingIterator, Tree};

/// How much of one file is looked at, in bytes. A tree takes up to some two hundred times as much.
const LARGEST: usize = 256 << 10;
/// How deep brackets may nest. Where none is closed, the parsers' attempts to recover take a time that nothing interrupts.
const DEEPEST: usize = 1000;
/// How many places of one file are collected. They come about in their order, so that the first are among them.
const MOST_COLLECTED: usize = 10 * super::MOST;
/// How many beginnings of matches are followed at once.
const MOST_BEGUN: u32 = 1 << 14;
/// How much of a finding is shown, in characters.
const EXCERPT: usize = 120;

const JAVASCRIPT: &str = include_str!("../../../languages/rules/javascript.scm");
const TYPESCRIPT: &str = include_str!("../../../languages/rules/typescript.scm");

/// A grammar that the validator has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grammar {
    /// Python 3.
    Python,
    /// JavaScript, JSX included.
    Javascript,
    /// TypeScript.
    Typescript,
    /// Bash and the POSIX shell.
    Bash,
    /// Go.
    Go,
    /// Rust.
    Rust,
}

impl Grammar {
    fn language(self) -> tree_sitter::Language {
        match self {
            Self::Python => tree_sitter_python::LANGUAGE,
            Self::Javascript => tree_sitter_javascript::LANGUAGE,
            Self::Typescript => tree_sitter_typescript::LANGUAGE_TYPESCRIPT,
            Self::Bash => tree_sitter_bash::LANGUAGE,
            Self::Go => tree_sitter_go::LANGUAGE,
            Self::Rust => tree_sitter_rust::LANGUAGE,
        }
        .into()
    }

    /// Looks that these rules can be understood.
    ///
    /// # Errors
    /// Why they can't, and where.
    pub(in crate::code) fn check(self, rules: &str) -> Result<(), String> {
        Rules::read(self, rules).map(|_understood| ())
    }

    /// The rules that Pinfold brings.
    fn rules(self) -> &'static [&'static str] {
        match self {
            Self::Python => &[include_str!("../../../languages/rules/python.scm")],
            Self::Javascript => &[JAVASCRIPT],
            Self::Typescript => &[JAVASCRIPT, TYPESCRIPT],
            Self::Bash => &[include_str!("../../../languages/rules/bash.scm")],
            Self::Go => &[include_str!("../../../languages/rules/go.scm")],
            Self::Rust => &[include_str!("../../../languages/rules/rust.scm")],
        }
    }
}

/// The rules of a language: a query, of which each pattern names its rule.
#[derive(Debug)]
pub(super) struct Rules {
    language: tree_sitter::Language,
    query: Query,
}

impl Rules {
    /// The rules of a grammar, and more of them.
    pub(super) fn read(grammar: Grammar, more: &str) -> Result<Self, String> {
        Self::of(grammar, [grammar.rules(), &[more]].concat().join("\n"))
    }

    /// Those of them that may find something in these texts.
    pub(super) fn read_for(grammar: Grammar, more: &str, texts: &[&[u8]]) -> Result<Self, String> {
        let ours = grammar.rules().iter().map(|rules| needed(rules, texts));
        Self::of(grammar, ours.chain([more.to_owned()]).collect::<Vec<_>>().join("\n"))
    }

    fn of(grammar: Grammar, text: String) -> Result<Self, String> {
        let language = grammar.language();
        let query = Query::new(&language, &text).map_err(|error| format!("rules: {error}"))?;
        let rules = Self { language, query };
        match (0..rules.query.pattern_count()).find(|&pattern| rules.family(pattern).is_none()) {
            Some(pattern) => {
                let start = rules.query.start_byte_for_pattern(pattern);
                let line = text[..start].lines().count();
                Err(format!("rules: the pattern of line {line} has no `(#set! rule \"…\")`"))
            }
            None => Ok(rules),
        }
    }

    /// What is to be looked at twice in a file.
    pub(super) fn look(&self, file: &str, text: &[u8], deadline: Instant) -> Vec<Finding> {
        let Some(tree) = self.parse(text, deadline) else { return vec![Finding::too_much(file)] };
        let mut cursor = QueryCursor::new();
        cursor.set_match_limit(MOST_BEGUN);
        // Past the deadline it stops at what it has found, and says so.
        let mut in_time =
            |_: &_| if Instant::now() < deadline { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
        let options = QueryCursorOptions::new().progress_callback(&mut in_time);
        let mut matches = cursor.matches_with_options(&self.query, tree.root_node(), text, options);
        let mut found = Vec::new();
        while let (true, Some(matched)) = (found.len() < MOST_COLLECTED, matches.next()) {
            found.extend(self.finding(file, text, matched));
        }
        found.sort_by_key(|(place, _)| *place);
        let mut findings: Vec<_> = found.into_iter().map(|(_, finding)| finding).collect();
        findings.dedup();
        if Instant::now() >= deadline || cursor.did_exceed_match_limit() {
            findings.insert(0, Finding::too_much(file));
        }
        findings
    }

    fn parse(&self, text: &[u8], deadline: Instant) -> Option<Tree> {
        if Instant::now() >= deadline {
            return None;
        }
        let mut parser = Parser::new();
        parser.set_language(&self.language).ok()?;
        let mut in_time =
            |_: &_| if Instant::now() < deadline { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
        let options = ParseOptions::new().progress_callback(&mut in_time);
        parser.parse_with_options(&mut |at, _| text.get(at..).unwrap_or_default(), None, Some(options))
    }

    fn finding(&self, file: &str, text: &[u8], matched: &QueryMatch<'_, '_>) -> Option<((usize, usize), Finding)> {
        let family = self.family(matched.pattern_index)?;
        let node = |name: &str| {
            let index = self.query.capture_index_for_name(name)?;
            matched.nodes_for_capture_index(index).next()
        };
        let what = node("finding")?;
        let name = node("name").and_then(|node| node.utf8_text(text).ok()).map(plain);
        let rule = name.map_or_else(|| family.to_owned(), |name| format!("{family}:{name}"));
        let shown = &text[what.byte_range()];
        // The grammar of shells has the line's end before some words in them.
        let blank = shown.len() - shown.trim_ascii_start().len();
        let start = what.start_byte() + blank;
        let line = what.start_position().row + memchr::memchr_iter(b'\n', &shown[..blank]).count() + 1;
        let before = &text[memchr::memrchr(b'\n', &text[..start]).map_or(0, |end| end + 1)..start];
        let column = String::from_utf8_lossy(before).chars().count() + 1;
        let shown = String::from_utf8_lossy(&shown[blank..]);
        let excerpt = shown.lines().next().unwrap_or_default().chars().take(EXCERPT).collect();
        let finding = Finding { rule, file: file.to_owned(), line, column, excerpt };
        Some(((what.start_byte(), what.end_byte()), finding))
    }

    fn family(&self, pattern: usize) -> Option<&str> {
        let settings = self.query.property_settings(pattern);
        settings.iter().find(|setting| &*setting.key == "rule")?.value.as_deref()
    }
}

/// A name without quotes, without Node's scheme, and without the folders before a program.
fn plain(name: &str) -> String {
    let name = name.trim().trim_matches(['"', '\'', '`', '\\']);
    let name = name.strip_prefix("node:").unwrap_or(name);
    let last =
        name.rsplit('/').next().filter(|last| name.starts_with('/') && name.contains("/bin/") && !last.is_empty());
    last.unwrap_or(name).to_owned()
}

/// Whether a text is one that the parsers get through in time. With NULs in it, which no honest code has, that of shells does not.
pub(super) fn is_bearable(text: &[u8]) -> bool {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    text.len() <= LARGEST && deepest <= DEEPEST && memchr::memchr(0, text).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_of_ours_is_there_when_it_is_needed() {
        use Grammar::{Bash, Go, Javascript, Python, Rust, Typescript};
        for grammar in [Python, Javascript, Typescript, Bash, Go, Rust] {
            let count = |rules: Rules| rules.query.pattern_count();
            let all = count(Rules::read(grammar, "").unwrap());
            // A text that has all the words: the rules themselves.
            let words = grammar.rules().join("\n");
            assert_eq!(count(Rules::read_for(grammar, "", &[b"", words.as_bytes()]).unwrap()), all, "{grammar:?}");
            let least = count(Rules::read_for(grammar, "", &[b"x"]).unwrap());
            assert!(least < all, "{grammar:?}: {least} of {all}");
            println!("{grammar:?}: {least} of {all}");
        }
    }
}
