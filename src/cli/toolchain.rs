//! `--toolchain`: finds a toolchain of the host through the caller's `PATH`, past the shims of version managers, and
//! mounts it read-only where it lives. It installs nothing and runs nothing of the workspace.
//!
//! A shim answers for the directory in which it is asked: a `rust-toolchain.toml` or `.python-version` of somebody
//! else's project may name a program of its own, which would then run on the host. So every question is asked in `/`.

use super::value::reason;
use clap::ValueEnum;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

/// What a toolchain needs in a sandbox.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// Directories of the host to mount read-only at the same path; none below `/usr`, which is there already.
    pub(crate) mounts: Vec<PathBuf>,
    /// Directories to put first on `PATH`.
    pub(crate) path: Vec<PathBuf>,
    /// Variables that keep its caches out of the workspace and tell where it lives.
    pub(crate) env: Vec<(&'static str, String)>,
}

/// How to ask a toolchain where it lives.
struct Question {
    /// The programs to look for, the first one found answers.
    programs: &'static [&'static str],
    /// The arguments that make it print directories, one a line.
    args: &'static [&'static str],
    /// What a line has before the directory, where only some lines are the answer.
    prefix: &'static str,
    /// Whether it prints its executable instead of its directory.
    executable: bool,
    /// The variable that names the directory, where programs expect one.
    home: Option<&'static str>,
    /// Further variables. `/tmp` is writable and gone with the sandbox: a caller's workspace stays clean.
    env: &'static [(&'static str, &'static str)],
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

    fn question(self) -> Question {
        let plain = Question { programs: &[], args: &[], prefix: "", executable: false, home: None, env: &[] };
        match self {
            Self::Rust => Question {
                programs: &["rustc"],
                args: &["--print", "sysroot"],
                env: &[("CARGO_HOME", "/tmp/cargo")],
                ..plain
            },
            Self::Node => Question {
                programs: &["node", "nodejs"],
                args: &["--print", "process.execPath"],
                executable: true,
                env: &[("npm_config_cache", "/tmp/npm")],
                ..plain
            },
            // -I: no module of the directory or the environment is imported.
            Self::Python => Question {
                programs: &["python3", "python"],
                args: &["-I", "-c", "import sys; print(sys.prefix); print(sys.base_prefix)"],
                env: &[("PIP_CACHE_DIR", "/tmp/pip")],
                ..plain
            },
            Self::Go => Question {
                programs: &["go"],
                args: &["env", "GOROOT"],
                env: &[("GOPATH", "/tmp/go"), ("GOCACHE", "/tmp/go-build")],
                ..plain
            },
            Self::Java => Question {
                programs: &["java"],
                args: &["-XshowSettings:properties", "-version"],
                prefix: "java.home = ",
                home: Some("JAVA_HOME"),
                ..plain
            },
            Self::Ruby => Question {
                programs: &["ruby"],
                args: &["-e", "puts RbConfig::CONFIG['prefix']"],
                env: &[("GEM_SPEC_CACHE", "/tmp/gem-specs")],
                ..plain
            },
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
        trusted: impl Fn(&Path) -> Result<(), String>,
    ) -> Result<View, String> {
        let question = self.question();
        let program =
            question.programs.iter().find_map(|name| look_up(name, path)).ok_or_else(|| {
                format!("no toolchain `{}`: `{}` is not on `PATH`", self.name(), question.programs[0])
            })?;
        trusted(&program)?;
        let mut view = View::default();
        for directory in ask(&program, &question)? {
            check(&directory, home).map_err(|reason| {
                format!("toolchain `{}` lives in `{}`: {reason}", self.name(), directory.display())
            })?;
            view.add(directory, question.home);
        }
        if view.path.is_empty() {
            return Err(format!("`{}` does not say where it lives", program.display()));
        }
        view.env.extend(question.env.iter().map(|(name, value)| (*name, (*value).to_owned())));
        Ok(view)
    }
}

impl View {
    fn add(&mut self, directory: PathBuf, home: Option<&'static str>) {
        if let (Some(variable), Some(text)) = (home, directory.to_str()) {
            self.env.push((variable, text.to_owned()));
        }
        let bin = directory.join("bin");
        if !self.path.contains(&bin) {
            self.path.push(bin);
        }
        if !directory.starts_with("/usr") && !self.mounts.iter().any(|mount| directory.starts_with(mount)) {
            self.mounts.push(directory);
        }
    }
}

/// The first executable file of that name on `path`. Relative directories are passed over: they would make the answer
/// depend on a directory that may be somebody else's.
fn look_up(name: &str, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path).filter(|directory| directory.is_absolute()).map(|directory| directory.join(name)).find(
        |candidate| candidate.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0),
    )
}

/// Asks a program where it lives, in `/`.
fn ask(program: &Path, question: &Question) -> Result<Vec<PathBuf>, String> {
    let answer = Command::new(program)
        .args(question.args)
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("failed to ask `{}` where it lives: {}", program.display(), reason(&error)))?;
    if !answer.status.success() {
        let words = String::from_utf8_lossy(&answer.stderr);
        let words = words.lines().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
        return Err(format!("failed to ask `{}` where it lives: {words}", program.display()));
    }
    // A JVM prints its settings on stderr.
    let text = [answer.stdout, answer.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix(question.prefix));
    let paths = lines.map(PathBuf::from).filter(|path| path.is_absolute());
    // /opt/node/bin/node lives in /opt/node.
    let directory = |path: PathBuf| match question.executable {
        true => path.canonicalize().ok()?.parent()?.parent().map(Path::to_path_buf),
        false => Some(path),
    };
    Ok(paths.filter_map(directory).collect())
}

/// Refuses directories that hold more than a toolchain.
fn check(directory: &Path, home: Option<&Path>) -> Result<(), String> {
    let holds_home = home.is_some_and(|home| home.starts_with(directory));
    if directory == Path::new("/") || directory == Path::new("/home") || holds_home {
        return Err("that is not a directory of its own, and mounting it would show more than the toolchain".to_owned());
    }
    match directory.is_dir() {
        true => Ok(()),
        false => Err("there is no such directory".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_directory_on_the_path_is_passed_over() {
        assert_eq!(look_up("sh", OsStr::new(".:bin:/bin")), Some(PathBuf::from("/bin/sh")));
        assert_eq!(look_up("sh", OsStr::new(".:bin")), None);
    }

    #[test]
    fn a_toolchain_that_is_a_home_directory_is_refused() {
        let home = Path::new("/tmp/somebody");
        assert!(check(Path::new("/"), Some(home)).is_err());
        assert!(check(Path::new("/tmp"), Some(home)).unwrap_err().contains("more than the toolchain"));
        assert!(check(Path::new("/usr"), Some(home)).is_ok());
    }

    #[test]
    fn what_lies_below_usr_needs_no_mount() {
        let mut view = View::default();
        view.add(PathBuf::from("/usr/local/go"), None);
        view.add(PathBuf::from("/opt/go"), None);
        view.add(PathBuf::from("/opt/go"), None);
        assert_eq!(view.mounts, [PathBuf::from("/opt/go")]);
        assert_eq!(view.path, [PathBuf::from("/usr/local/go/bin"), PathBuf::from("/opt/go/bin")]);
    }
}
