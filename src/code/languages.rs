//! The languages that are known: those that Pinfold brings, and the user's own, which go first.

use super::language::Language;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What Pinfold brings, by file.
const EMBEDDED: [(&str, &str); 15] = [
    ("python", include_str!("../../languages/python.toml")),
    ("javascript", include_str!("../../languages/javascript.toml")),
    ("typescript", include_str!("../../languages/typescript.toml")),
    ("go", include_str!("../../languages/go.toml")),
    ("rust", include_str!("../../languages/rust.toml")),
    ("bash", include_str!("../../languages/bash.toml")),
    ("c", include_str!("../../languages/c.toml")),
    ("cpp", include_str!("../../languages/cpp.toml")),
    ("java", include_str!("../../languages/java.toml")),
    ("ruby", include_str!("../../languages/ruby.toml")),
    ("perl", include_str!("../../languages/perl.toml")),
    ("php", include_str!("../../languages/php.toml")),
    ("lua", include_str!("../../languages/lua.toml")),
    ("r", include_str!("../../languages/r.toml")),
    ("sqlite", include_str!("../../languages/sqlite.toml")),
];

/// Why a language's file can't be used.
#[derive(Debug, thiserror::Error)]
#[error("failed to read the language `{}`: {reason}", path.display())]
pub struct LanguageError {
    /// The file, or the folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// A set of languages.
#[derive(Clone, Debug, Default)]
pub struct Languages(Vec<Arc<Language>>);

impl Languages {
    /// Those that Pinfold brings.
    pub fn embedded() -> Self {
        let read = |(name, text): (&str, &str)| match Language::from_toml(text) {
            Ok(language) => Arc::new(language),
            Err(reason) => unreachable!("languages/{name}.toml, which a test reads: {reason}"),
        };
        Self(EMBEDDED.into_iter().map(read).collect())
    }

    /// Adds the languages of a folder: each `.toml` in it replaces the language of its name, or is a new one.
    ///
    /// # Errors
    /// The first file that can't be read or understood, or whose other names belong to another language.
    pub fn add_folder(&mut self, folder: &Path) -> Result<(), LanguageError> {
        let told = |path: &Path, error: io::Error| LanguageError { path: path.to_owned(), reason: error.to_string() };
        let entries = std::fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        let mut paths: Vec<_> =
            entries.map_err(|error| told(folder, error))?.iter().map(std::fs::DirEntry::path).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
        paths.sort();
        for path in paths {
            let text = std::fs::read_to_string(&path).map_err(|error| told(&path, error))?;
            let added = Language::from_toml(&text).and_then(|language| self.add(language));
            added.map_err(|reason| LanguageError { path, reason })?;
        }
        Ok(())
    }

    /// Adds the languages of the user's own folder, `pinfold/languages` in `$XDG_CONFIG_HOME` or `~/.config`, if it is there.
    ///
    /// # Errors
    /// As of [`add_folder`](Self::add_folder).
    pub fn add_users_own(&mut self) -> Result<(), LanguageError> {
        let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let config = config.or_else(|| std::env::home_dir().map(|home| home.join(".config")));
        match config.map(|config| config.join("pinfold/languages")).filter(|folder| folder.is_dir()) {
            Some(folder) => self.add_folder(&folder),
            None => Ok(()),
        }
    }

    /// Adds a language, in the place of the one that has its name.
    ///
    /// # Errors
    /// When a name of it is another language's.
    pub fn add(&mut self, language: Language) -> Result<(), String> {
        let others = self.0.iter().filter(|other| other.name != language.name);
        let taken = others.into_iter().find_map(|other| {
            let name = other.names().find(|name| language.names().any(|its| its == *name))?;
            Some(format!("`{name}` is a name of the language `{}`", other.name))
        });
        if let Some(reason) = taken {
            return Err(reason);
        }
        match self.0.iter_mut().find(|other| other.name == language.name) {
            Some(other) => *other = Arc::new(language),
            None => self.0.push(Arc::new(language)),
        }
        Ok(())
    }

    /// The language of this name, in whatever case it is written.
    pub fn get(&self, name: &str) -> Option<&Arc<Language>> {
        let name = name.to_ascii_lowercase();
        self.0.iter().find(|language| language.names().any(|its| its == name))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Language>> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_languages_share_a_name() {
        let mut languages = Languages::default();
        for (file, text) in EMBEDDED {
            languages.add(Language::from_toml(text).unwrap_or_else(|error| panic!("{file}: {error}"))).unwrap();
        }
        assert_eq!(languages.iter().count(), EMBEDDED.len());
        assert!(
            languages.get("Python").is_some() && languages.get("C++").is_some() && languages.get("cobol").is_none()
        );
    }

    #[test]
    fn what_is_no_language_is_refused_with_its_reason() {
        let refusal = |text: &str| Language::from_toml(text).unwrap_err();
        assert!(refusal("name = 'x'\nfile = 'x.x'\ninstall = 'x'\ncolour = 1").contains("colour"));
        assert!(refusal("name = 'X y'\nfile = 'x.x'\ninstall = 'x'\ntoolchain = []").contains("small letters"));
        assert!(refusal("name = 'x'\nfile = 'x.x'\ninstall = 'x'\ntoolchain = []").contains("toolchain"));
    }
}
