//! The validator: what of a piece of code a reader should look at twice. It parses, so that strings and comments don't
//! count and a name that only contains another isn't taken for it. It is advice: code that means to hide something can,
//! and the sandbox is the fence.

mod apart;
mod grammar;
mod needed;
mod policy;

#[doc(hidden)]
pub use apart::main;
pub use grammar::Grammar;
pub use policy::{Level, Policy};

use super::language::Language;
use pinfold_runner::Content;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How many findings are told; who reads so many reads no more.
const MOST: usize = 200;
/// How long the files of one piece of code are looked at, all together.
const PATIENCE: Duration = Duration::from_secs(1);

/// Something that a reader should look at twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Finding {
    /// The rule, `import:os`: its family and what of it.
    pub rule: String,
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The beginning of what was found, one line at most.
    pub excerpt: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, file, line, column, excerpt } = self;
        write!(f, "potentially dangerous pattern: {rule} ({file}:{line}:{column}: {excerpt})")
    }
}

impl Finding {
    /// What is told of a file that was not looked at, or not to its end.
    fn too_much(file: &str) -> Self {
        let excerpt = "it is too large, nests too deep, or takes too much to be looked at".to_owned();
        Self { rule: "too-much".to_owned(), file: file.to_owned(), line: 1, column: 1, excerpt }
    }
}

/// Looks at code, in a process apart.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Validator {}

impl Validator {
    /// The findings in all files of a language, by file and place; none for a language without rules.
    ///
    /// # Errors
    /// When the language's own rules can't be understood, and when there is no program `pinfold-validator`.
    pub fn findings(&self, language: &Language, files: &BTreeMap<String, Content>) -> Result<Vec<Finding>, String> {
        let Some(grammar) = language.grammar else { return Ok(Vec::new()) };
        let extension = language.file.rsplit_once('.').map(|(_, extension)| extension);
        let is_code = |name: &str| name.rsplit_once('.').map(|(_, extension)| extension) == extension;
        let code = files.iter().filter(|(name, _)| is_code(name));
        let (bearable, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
            code.partition(|(_, content)| grammar::is_bearable(content.as_bytes()));
        let mut findings: Vec<_> = others.keys().map(|name| Finding::too_much(name)).collect();
        if !bearable.is_empty() {
            findings.extend(apart::look(&apart::Request { grammar, rules: &language.rules, files: bearable })?);
        }
        // Those of one file keep their order.
        findings.sort_by(|one, other| one.file.cmp(&other.file));
        findings.truncate(MOST);
        Ok(findings)
    }
}
