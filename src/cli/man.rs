//! `pinfold man`: the manual pages, from the same definitions as the help.

use super::exit::Exit;
use super::{Cli, message};
use clap::{Args, CommandFactory};
use std::path::{Path, PathBuf};

/// Write the manual pages into a directory, or print them all
///
/// One page for `pinfold` and one for each subcommand, such as `pinfold-run.1`. For example:
/// `pinfold man ~/.local/share/man/man1`.
#[derive(Debug, Args)]
pub(crate) struct ManOptions {
    /// Where the pages go; made if absent (default: stdout)
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(crate) fn run(options: &ManOptions) -> Exit {
    let written = match &options.directory {
        Some(directory) => generate_to_directory(directory),
        None => print(),
    };
    match written {
        Ok(()) => Exit::Success,
        Err(error) => {
            let target = options.directory.as_deref().unwrap_or(Path::new("stdout"));
            message::error(&format!("failed to write the manual pages to `{}`: {error}", target.display()), None);
            Exit::Failed
        }
    }
}

fn generate_to_directory(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(Cli::command(), directory)
}

fn print() -> std::io::Result<()> {
    let mut command = Cli::command();
    command.build();
    let mut pages = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut pages)?;
    render_subcommands(&command, &mut pages)?;
    message::data(&pages)
}

fn render_subcommands(command: &clap::Command, pages: &mut Vec<u8>) -> std::io::Result<()> {
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        clap_mangen::Man::new(subcommand.clone()).render(pages)?;
        render_subcommands(subcommand, pages)?;
    }
    Ok(())
}
