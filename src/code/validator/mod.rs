//! The validator: what of a piece of code a reader should look at twice. It parses, so that strings and comments don't
//! count and a name that only contains another isn't taken for it. It is advice: code that means to hide something can,
//! and the sandbox is the fence.

mod grammar;
mod policy;

pub use grammar::Grammar;
pub use policy::{Level, Policy};

use super::language::Language;
use grammar::Rules;
use pinfold_runner::Content;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many findings are told; who reads so many reads no more.
const MOST: usize = 200;
/// How long the files of one piece of code are looked at, all together.
const PATIENCE: Duration = Duration::from_secs(1);

/// Something that a reader should look at twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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

/// Looks at code. It keeps the rules that it has read.
#[derive(Clone, Debug, Default)]
pub struct Validator(Arc<Mutex<HashMap<String, Arc<Rules>>>>);

impl Validator {
    /// The findings in all files of a language, by file and place; none for a language without rules.
    ///
    /// # Errors
    /// When the language's own rules can't be understood.
    pub fn findings(&self, language: &Language, files: &BTreeMap<String, Content>) -> Result<Vec<Finding>, String> {
        let Some(grammar) = language.grammar else { return Ok(Vec::new()) };
        let rules = self.rules(language, grammar)?;
        let extension = language.file.rsplit_once('.').map(|(_, extension)| extension);
        let is_code = |name: &str| name.rsplit_once('.').map(|(_, extension)| extension) == extension;
        let (mut findings, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        for (name, content) in files.iter().filter(|(name, _)| is_code(name)) {
            findings.extend(rules.look(name, content.as_bytes(), deadline));
            findings.truncate(MOST);
        }
        Ok(findings)
    }

    fn rules(&self, language: &Language, grammar: Grammar) -> Result<Arc<Rules>, String> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rules) = known.get(&language.name) {
            return Ok(rules.clone());
        }
        let rules = Arc::new(Rules::read(grammar, &language.rules)?);
        known.insert(language.name.clone(), rules.clone());
        Ok(rules)
    }
}
