//! The options of `pinfold run`: one list, from which come the parser, the help, the man page and the completions.
//! The first paragraph of each is its line in `-h`, the whole is what `--help` says.

use crate::cli::limits;
use crate::cli::sandbox::SandboxOptions;
use clap::Args;
use pinfold::{Limit, Mode, SandboxId};
use std::path::PathBuf;

/// Run a command in a fresh sandbox
///
/// The command's stdin, stdout and stderr pass straight through, live. Ctrl-C reaches the command; a second one kills
/// everything. The exit code is the command's own; 128+n when it died of signal n; 124 when the time ran out; 125 when
/// Pinfold failed, wrong usage included; 126 when the command can't be executed, 127 when it was not found; 137 out of
/// memory; 153 when the workspace grew too large; 130 or 143 when it was cancelled.
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    override_usage = "pinfold run [OPTIONS] -- COMMAND [ARG]...\n       pinfold run --json FILE|-",
    after_help = "SIZE: 512M, 1G · TIME: 500ms, 10s, 2m · limits can be `max` · more in --help"
)]
pub(crate) struct RunOptions {
    /// The command and its arguments
    ///
    /// Looked up on `PATH` inside the sandbox. Write `--` before it.
    #[arg(value_name = "COMMAND", trailing_var_arg = true, required_unless_present = "json")]
    pub(super) command: Vec<String>,

    /// Read a whole job as JSON, print the result as JSON
    ///
    /// `-` reads the job from stdin. The exit code is 0 when the command ran, however it ended, and 125 when it could
    /// not. Everything else is in the job. For example: `pinfold run --json job.json`.
    #[arg(long, value_name = "FILE", exclusive = true)]
    pub(super) json: Option<PathBuf>,

    /// Give the command a terminal of its own
    ///
    /// For shells, editors and whatever else wants one. stdin must be a terminal; stdout and stderr come as one;
    /// `TERM` is passed on.
    /// Without this the command sees pipes, never our terminal.
    #[arg(short, long)]
    pub(super) tty: bool,

    /// Confine by namespaces or landlock (default: namespaces)
    ///
    /// `landlock` is for containers that deny namespaces: paths and processes are the host's, and less is held; docs/job.md
    /// says what. For example: `--mode landlock`.
    #[arg(long, value_name = "MODE", hide_possible_values = true,
        value_parser = clap::builder::PossibleValuesParser::new(["namespaces", "landlock"]))]
    pub(super) mode: Option<String>,

    /// Name the sandbox (default: generated)
    ///
    /// 1 to 128 of `A-Z a-z 0-9 . _ -`. It comes back in the result.
    #[arg(long, value_name = "ID", value_parser = |text: &str| SandboxId::try_from(text))]
    pub(super) id: Option<SandboxId>,

    /// Write the result as JSON into FILE
    ///
    /// Status, usage and what was enforced, beside live stdio. FILE must not lie where the command can write. For
    /// example: `--report result.json`.
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,

    #[command(flatten)]
    pub(super) sandbox: SandboxOptions,

    /// Wall-clock time (default: max)
    ///
    /// When it has passed everything is killed, exit code 124. For example: `--time 10s`. A bare number is seconds.
    #[arg(long, value_name = "TIME", help_heading = "Limits", value_parser = limits::wall)]
    pub(super) time: Option<Limit<u64>>,

    /// Bytes of each of stdout and stderr (default: max)
    ///
    /// The rest is dropped, and a line on stderr says so. For example: `--output 1M`.
    #[arg(long, value_name = "SIZE", help_heading = "Limits", value_parser = limits::output)]
    pub(super) output: Option<Limit<u64>>,

    /// Copy a file or folder out (repeatable)
    ///
    /// Of the workspace, when the command has ended, however it ended. Links and special files are not copied. For example:
    /// `--artifact dist --artifact-dir out`.
    #[arg(long, value_name = "PATH", help_heading = "Result", requires = "artifact_dir")]
    pub(super) artifact: Vec<String>,

    /// Where artifacts go, made if absent
    ///
    /// They keep their paths below the workspace, and nothing is overwritten. It must not lie where the command can write.
    #[arg(long, value_name = "DIR", help_heading = "Result", requires = "artifact")]
    pub(super) artifact_dir: Option<PathBuf>,
}

impl RunOptions {
    /// By what the command is confined.
    pub(super) fn mode(&self) -> Mode {
        if self.mode.as_deref() == Some("landlock") { Mode::Landlock } else { Mode::Namespaces }
    }
}
