//! A language as data: what one TOML file of `languages/` says of how its programs are named, compiled and run.

use super::time::text_duration;
use super::validator::Grammar;
use crate::byte_size::ByteSize;
use regex::Regex;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// One language, as its TOML file describes it; docs/code.md says what each field means.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Language {
    /// Its name: `python`.
    pub name: String,
    /// Other names for it.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// What the code's file is called.
    pub file: String,
    /// Patterns that find a better stem for that name in the code, by their first group; the first that matches counts.
    #[serde(default, deserialize_with = "patterns")]
    pub named_by: Vec<Regex>,
    /// Whether programs take arguments.
    #[serde(default = "yes")]
    pub arguments: bool,
    /// What to install where none of the toolchains is there.
    pub install: String,
    /// The grammar by which the validator reads it, if it has one.
    #[serde(default)]
    pub grammar: Option<Grammar>,
    /// Rules for the validator beside those that it has: a tree-sitter query.
    #[serde(default)]
    pub rules: String,
    /// The toolchains that will do, best first.
    #[serde(rename = "toolchain")]
    pub toolchains: Vec<Toolchain>,
}

/// One way of running a language's programs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Toolchain {
    /// What it is called among people.
    pub name: String,
    /// The programs that it needs, each with the names that it may have, as `{key}` in the commands below.
    pub programs: BTreeMap<String, Vec<String>>,
    /// A command that must succeed on the host, where the programs alone don't say that this toolchain will do.
    #[serde(default)]
    pub answers: Vec<String>,
    /// The command that tells its version.
    pub version: Vec<String>,
    /// How to ask it where it lives, for those that don't live below `/usr`.
    #[serde(default, rename = "where")]
    pub place: Option<Place>,
    /// What it needs of the host besides, read-only. What is absent is left out.
    #[serde(default)]
    pub mounts: Vec<PathBuf>,
    /// Variables that keep its caches out of the workspace.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What makes a program of the code.
    #[serde(default)]
    pub compile: Option<Step>,
    /// What runs it.
    pub run: Step,
}

/// How to ask a toolchain where it lives.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Place {
    /// The command that prints directories, one a line.
    pub ask: Vec<String>,
    /// What a line has before the directory, where only some lines are the answer.
    #[serde(default)]
    pub prefix: String,
    /// Whether it prints its executable instead of its directory.
    #[serde(default)]
    pub executable: bool,
    /// The variable that names the directory, where programs expect one.
    #[serde(default)]
    pub home: Option<String>,
}

/// One command, with limits of its own. For what runs the program, they are upper bounds beside the configuration's.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Step {
    /// The command, with its placeholders.
    pub command: Vec<String>,
    /// Its environment, beside the toolchain's.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// How long it may take.
    #[serde(default, deserialize_with = "text_duration")]
    pub timeout: Option<Duration>,
    /// How much memory it may use.
    #[serde(default, deserialize_with = "size")]
    pub memory: Option<u64>,
    /// How many processes and threads it may have.
    #[serde(default)]
    pub pids: Option<u64>,
}

impl Language {
    /// Reads a language's TOML.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        let language: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let is_name = |name: &str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+#-_.".contains(&byte))
        };
        if let Some(name) = language.names().find(|name| !is_name(name)) {
            return Err(format!("`{name}` is not a name in small letters"));
        }
        if language.file.contains('/') || !language.file.contains('.') {
            return Err(format!("`{}` is not a file's name with an extension", language.file));
        }
        let steps = language.toolchains.iter().flat_map(|toolchain| toolchain.compile.iter().chain([&toolchain.run]));
        let questions = language.toolchains.iter().filter_map(|toolchain| toolchain.place.as_ref());
        let has_none = steps.map(|step| &step.command).chain(questions.map(|place| &place.ask)).any(Vec::is_empty);
        if language.toolchains.is_empty() || has_none {
            return Err("it has no toolchain, or one without a command".to_owned());
        }
        match (language.grammar, language.rules.trim()) {
            (_, "") => {}
            (Some(grammar), rules) => grammar.check(rules)?,
            (None, _) => return Err("it has rules and no grammar".to_owned()),
        }
        match language.toolchains.iter().find(|toolchain| toolchain.programs.values().any(Vec::is_empty)) {
            Some(toolchain) => Err(format!("toolchain `{}` has a program without a name", toolchain.name)),
            None => Ok(language),
        }
    }

    /// Its name and its other names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name).chain(&self.aliases).map(String::as_str)
    }

    /// What the file of this code is called.
    pub fn file_name(&self, code: &str) -> String {
        let stem = self.named_by.iter().find_map(|pattern| pattern.captures(code)?.get(1));
        match (stem, self.file.rsplit_once('.')) {
            (Some(stem), Some((_, extension))) => format!("{}.{extension}", stem.as_str()),
            _ => self.file.clone(),
        }
    }
}

fn yes() -> bool {
    true
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse::<ByteSize>().map(|size| Some(size.bytes())).map_err(serde::de::Error::custom)
}

fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Regex>, D::Error> {
    let patterns = Vec::<String>::deserialize(deserializer)?;
    patterns.iter().map(|pattern| Regex::new(pattern).map_err(serde::de::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use crate::code::Languages;

    #[test]
    fn a_java_file_is_named_after_its_public_class_or_the_one_with_main() {
        let languages = Languages::embedded();
        let name = |code: &str| languages.get("java").unwrap().file_name(code);
        assert_eq!(name("class Other {}\npublic final class Hello { }"), "Hello.java");
        assert_eq!(name("class Other {}\nclass Start { public static void main(String[] a) {} }"), "Start.java");
        assert_eq!(name("nonsense"), "Main.java");
    }
}
