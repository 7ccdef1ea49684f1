//! The program `pinfold`: reads the command line and hands it to one file in `cli/` for each subcommand. What a
//! sandbox is, and how one is run, is the library's business.

mod cli;
mod mcp;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let exit = match cli::Cli::try_parse() {
        Ok(cli) => cli.run(),
        Err(refusal) => cli::refuse(&refusal),
    };
    exit.into()
}
