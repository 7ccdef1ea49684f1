//! `pinfold completions`: a shell's completion script, from the same definitions as the help.

use super::exit::Exit;
use super::{Cli, message};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Print the completions of a shell
///
/// For example: `pinfold completions bash > ~/.local/share/bash-completion/completions/pinfold`, or
/// `pinfold completions fish > ~/.config/fish/completions/pinfold.fish`, or for zsh a file `_pinfold` in a directory
/// of `$fpath`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsOptions {
    /// The shell: bash, elvish, fish, powershell or zsh
    #[arg(value_name = "SHELL", hide_possible_values = true)]
    shell: Shell,
}

pub(crate) fn run(options: &CompletionsOptions) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "pinfold", &mut script);
    match message::data(&script) {
        Ok(()) => Exit::Success,
        Err(error) => {
            message::error(&format!("failed to write to stdout: {error}"), None);
            Exit::Failed
        }
    }
}
