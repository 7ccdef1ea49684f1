//! The program `pinfold`: reads the command line and hands it to one file in `cli/` for each subcommand. What a
//! sandbox is, and how one is run, is the library's business.
#![cfg_attr(not(test), no_main)]

mod cli;
mod mcp;

/// Called by `cli::sys`, which has the entry point. The answer is the exit code.
fn main() -> u8 {
    cli::run().code()
}
