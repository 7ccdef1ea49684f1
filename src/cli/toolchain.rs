//! `--toolchain`: finds a toolchain of the host through the caller's `PATH` and mounts it read-only where it lives. What
//! each is asked stands with its language, in `languages/`.

use clap::ValueEnum;
use pinfold::code::{Host, Languages, View};
use std::ffi::OsStr;
use std::path::Path;

/// A toolchain that `--toolchain` can find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Toolchain {
    /// rustc and cargo
    Rust,
    /// Node.js with its npm
    Node,
    /// Python, and the virtual environment if one is first on PATH
    Python,
    /// Go
    Go,
    /// A JDK or JRE
    Java,
    /// Ruby with its gem and bundle
    Ruby,
}

impl Toolchain {
    fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Node => "node",
            Self::Python => "python",
            Self::Go => "go",
            Self::Java => "java",
            Self::Ruby => "ruby",
        }
    }

    /// Finds it through `path`, the caller's `PATH`. What answers runs on the host, so it must be `trusted`.
    ///
    /// # Errors
    /// When it is not there, is not trusted, does not answer, or lives where mounting it would show the caller's home or
    /// more.
    pub(crate) fn find(
        self,
        path: &OsStr,
        home: Option<&Path>,
        trusted: &(dyn Fn(&Path) -> Result<(), String> + Sync),
    ) -> Result<View, String> {
        let languages = Languages::embedded();
        let toolchain = languages.get(self.name()).and_then(|language| language.toolchains.first());
        let toolchain = toolchain.ok_or_else(|| format!("no toolchain `{}` is known", self.name()))?;
        toolchain.view(Host { path, home, trusted }).map_err(|reason| format!("toolchain `{}`: {reason}", self.name()))
    }
}
