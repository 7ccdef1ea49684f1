//! The command line on top of the library: one file a subcommand, and the few things that they share. Nothing here
//! confines anything.

mod attach;
mod build;
mod checkpoint;
mod code;
mod completions;
mod cp;
mod doctor;
mod exec;
mod exit;
mod held;
mod jobs;
mod languages;
mod limits;
mod logs;
mod ls;
mod man;
mod mcp;
mod message;
mod place;
mod preview;
mod progress;
mod ps;
mod run;
mod sandbox;
mod serve;
mod start;
mod stats;
mod stop;
#[cfg(not(test))]
mod sys;
#[cfg(test)]
mod tests;
mod tool;
mod toolchain;
mod value;
mod workspace;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use exit::Exit;

/// The widest that help becomes.
const WIDTH: usize = 100;

/// Runs other people's code on a Linux host in a fresh native sandbox
///
/// Each command gets a sandbox of its own, made of the kernel's namespaces, cgroups, seccomp and Landlock, in some
/// milliseconds: no daemon, no image, no root.
#[derive(Debug, Parser)]
#[command(name = "pinfold", version, disable_help_subcommand = true, max_term_width = WIDTH)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

// Deferred: the options of the subcommand that is meant are put together, and not those of all, which takes longer than
// a whole command in a held sandbox.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Command {
    Run(Box<run::RunOptions>),
    Start(Box<start::StartOptions>),
    Exec(Box<exec::ExecOptions>),
    Attach(attach::AttachOptions),
    Ps(ps::PsOptions),
    Stats(stats::StatsOptions),
    Logs(logs::LogsOptions),
    Stop(stop::StopOptions),
    Code(Box<code::CodeOptions>),
    Languages(languages::LanguagesOptions),
    Tool(Box<tool::ToolOptions>),
    Mcp(Box<mcp::McpOptions>),
    Serve(Box<serve::ServeOptions>),
    Build(Box<build::BuildOptions>),
    Jobs(jobs::JobsOptions),
    Preview(preview::PreviewOptions),
    Workspace(workspace::WorkspaceOptions),
    Checkpoint(checkpoint::CheckpointOptions),
    Cp(cp::CpOptions),
    Ls(ls::LsOptions),
    Doctor(doctor::DoctorOptions),
    Completions(completions::CompletionsOptions),
    Man(man::ManOptions),
}

/// Does what the program's arguments say. Only the options of `exec` are read where that is the subcommand: to put together what
/// clap has to know of the others takes a tenth of the time that a short command takes.
pub(crate) fn run() -> Exit {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let done = match arguments.first() {
        Some(first) if first == "exec" => exec::parse(arguments).map(|options| exec::run(&options)),
        Some(first) if !first.as_encoded_bytes().starts_with(b"-") => Cli::try_parse().map(Cli::run),
        _ => Cli::parse_with_what_each_subcommand_is_for().map(Cli::run),
    };
    done.unwrap_or_else(|refusal| refuse(&refusal))
}

impl Cli {
    /// The program's own help has a line for each subcommand, which one that is deferred does not have yet.
    fn parse_with_what_each_subcommand_is_for() -> Result<Self, clap::Error> {
        let mut command = Self::command();
        command.build();
        Self::from_arg_matches(&command.try_get_matches()?)
    }

    /// Does what was asked for. Not a part of `run`, whose stack would be as large as that of all subcommands.
    #[inline(never)]
    fn run(self) -> Exit {
        match self.command {
            Command::Run(options) => run::run(*options),
            Command::Start(options) => start::run(&options),
            Command::Exec(options) => exec::run(&options),
            Command::Attach(options) => attach::run(&options),
            Command::Ps(options) => ps::run(&options),
            Command::Stats(options) => stats::run(&options),
            Command::Logs(options) => logs::run(&options),
            Command::Stop(options) => stop::run(&options),
            Command::Code(options) => code::run(*options),
            Command::Languages(options) => languages::run(&options),
            Command::Tool(options) => tool::run(&options),
            Command::Mcp(options) => mcp::run(&options),
            Command::Serve(options) => serve::run(&options),
            Command::Build(options) => build::run(&options),
            Command::Jobs(options) => jobs::run(&options),
            Command::Preview(options) => preview::run(&options),
            Command::Workspace(options) => workspace::run(options),
            Command::Checkpoint(options) => checkpoint::run(options),
            Command::Cp(options) => cp::run(&options),
            Command::Ls(options) => ls::run(&options),
            Command::Doctor(options) => doctor::run(&options),
            Command::Completions(options) => completions::run(&options),
            Command::Man(options) => man::run(&options),
        }
    }
}

/// Prints what clap has to say instead of a parsed command line: help and the version are a success on stdout, wrong
/// usage is Pinfold's own failure on stderr.
fn refuse(refusal: &clap::Error) -> Exit {
    // Nobody is left to tell when the output is closed.
    let _ = refusal.print();
    if refusal.use_stderr() { Exit::Failed } else { Exit::Success }
}
