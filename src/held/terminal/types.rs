//! What a terminal is to be, what it is doing, and how a command in it ended.

use crate::held::Error;
use pinfold_runner::{Content, Cwd, Environment};
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use std::time::Duration;

/// A shell. The sandbox has to have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shell {
    /// `bash`.
    #[default]
    Bash,
    /// `zsh`.
    Zsh,
    /// `sh`: dash, or whatever the sandbox has for a POSIX shell.
    Sh,
}

impl Shell {
    /// Its name, which is that of its program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Sh => "sh",
        }
    }
}

impl FromStr for Shell {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        [Self::Bash, Self::Zsh, Self::Sh]
            .into_iter()
            .find(|shell| shell.name() == name)
            .ok_or_else(|| Error::invalid("the shell", "it is one of bash, zsh and sh"))
    }
}

/// What a terminal is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TerminalOptions {
    /// What it is called within its sandbox: letters, digits, `.`, `_` and `-`, at most 63.
    pub name: String,
    /// Its shell.
    pub shell: Shell,
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
    /// Variables beside those of the sandbox.
    pub env: Environment,
    /// Where the shell starts; the workspace unless something is said.
    pub cwd: Cwd,
}

impl Default for TerminalOptions {
    fn default() -> Self {
        let cwd = Cwd::default();
        Self { name: "main".to_owned(), shell: Shell::Bash, rows: 24, columns: 80, env: Environment::default(), cwd }
    }
}

impl TerminalOptions {
    /// A terminal of this name with every default.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Chooses the shell.
    #[must_use]
    pub fn shell(mut self, shell: Shell) -> Self {
        self.shell = shell;
        self
    }

    /// Checks what a sandbox can't know.
    pub(crate) fn check(&self) -> Result<(), String> {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if self.name.is_empty() || self.name.len() > 63 || !self.name.bytes().all(is_good) {
            return Err("a terminal's name has 1 to 63 letters, digits, `.`, `_` and `-`".to_owned());
        }
        Ok(())
    }
}

/// What a terminal is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TerminalState {
    /// Its shell is not there yet.
    Starting,
    /// Its shell takes a command.
    Idle,
    /// Something runs in it.
    Running,
    /// Something runs in it, and waits for somebody to type.
    WaitingForInput,
    /// Its shell has ended.
    Ended,
}

/// A terminal as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TerminalInfo {
    /// What it is called.
    pub name: String,
    /// Its shell.
    pub shell: Shell,
    /// What it is doing.
    pub state: TerminalState,
    /// Whether something in it waits for input; null where that can't be told.
    pub waiting_for_input: Option<bool>,
    /// Lines, as last set.
    pub rows: u16,
    /// Columns, as last set.
    pub columns: u16,
    /// How many clients are attached.
    pub clients: usize,
    /// How often its shell had to be replaced.
    pub replaced: u64,
    /// The exit code of its shell, or 128 and the signal's number, once it has ended.
    pub exit_code: Option<i32>,
    /// How its shell ended, in words.
    pub ended: Option<String>,
}

/// How a command in a terminal ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunOutput {
    /// What was written to the terminal while it ran, byte by byte: stdout and stderr as they came.
    pub output: Content,
    /// Whether there was more than was asked for.
    pub truncated: bool,
    /// The shell's `$?`. Null when the shell ended or was replaced before it could tell.
    pub exit_code: Option<i32>,
    /// Whether it was interrupted because its time was over.
    pub timed_out: bool,
    /// Whether nothing less than a new shell could end it: variables, directory and jobs of the old one are gone.
    pub replaced: bool,
    /// Whether the shell has ended with it, so that the terminal takes no more commands.
    pub ended: bool,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
}

/// How a command is run in a terminal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunOptions {
    /// When it is interrupted.
    pub timeout: Option<Duration>,
    /// So much of its output is kept, in bytes.
    pub output_bytes: u64,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { timeout: None, output_bytes: 1 << 20 }
    }
}
