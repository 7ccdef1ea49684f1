//! `pinfold exec`: a command in a sandbox that stays. The most common way to run one is in `plain`.

mod plain;

use super::exit::Exit;
use super::run::failure_of;
use super::run::join::{self, Streams};
use super::run::relay::Output;
use super::run::signal::Signals;
use super::run::terminal::{self, RawMode};
use super::run::verdict;
use super::value::{self, reason};
use super::{WIDTH, held, limits, message};
use clap::{Args, FromArgMatches};
use pinfold::held::{Error, Held, Running, Sandboxes, command};
use pinfold::{Cwd, Failure, Job, Limit, Outcome, Status, Stdin, Stdio};
use std::ffi::OsString;
use std::io::IsTerminal;

/// Run a command in a sandbox that stays
///
/// stdout and stderr pass straight through, live; stdin is empty unless `-i` passes it on. Ctrl-C reaches the command; a
/// second one kills it with all that it started. What it leaves running in the background lives on. The exit codes are
/// those of `pinfold run`: the command's own; 128+n when it died of signal n; 124 when the time ran out; 125 when Pinfold
/// failed or there is no such sandbox; 126 when the command can't be executed, 127 when it was not found; 137 out of memory; 130 or 143 when
/// it was cancelled.
#[derive(Debug, Default, Args)]
#[command(
    args_override_self = true,
    override_usage = "pinfold exec [OPTIONS] NAME -- COMMAND [ARG]...",
    after_help = "SIZE: 512M, 1G · TIME: 500ms, 10s, 2m · limits can be `max` · more in --help"
)]
pub(crate) struct ExecOptions {
    /// The sandbox: its name, its id, or how its id begins
    #[arg(value_name = "NAME")]
    name: String,

    /// The command and its arguments
    ///
    /// Looked up on `PATH` inside the sandbox. Write `--` before it.
    #[arg(value_name = "COMMAND", trailing_var_arg = true, required = true)]
    command: Vec<String>,

    /// Pass stdin on to the command
    ///
    /// Without this its stdin is empty, as with docker exec.
    #[arg(short, long)]
    interactive: bool,

    /// Give the command a terminal (as docker exec -it)
    ///
    /// Ours is raw meanwhile: every key goes to the command. With `-i` or without it, stdin must be a terminal.
    #[arg(short, long, conflicts_with_all = ["detach", "json"])]
    tty: bool,

    /// Return when the command runs, and print its number
    ///
    /// `pinfold logs` has its output under that number. It runs until it ends, or the sandbox does.
    #[arg(short, long, conflicts_with_all = ["interactive", "json"])]
    detach: bool,

    /// Print the result as JSON, output included
    ///
    /// As `pinfold run --json` does: the exit code is 0 when the command ran, however it ended, and 125 when it could not.
    #[arg(long)]
    json: bool,

    /// Set a variable (repeatable)
    ///
    /// Beside those that the sandbox was started with. `K` alone takes the value from here, if there is one. For example:
    /// `--env CI=1 --env TERM`.
    #[arg(long, value_name = "K=V")]
    env: Vec<String>,

    /// Start in DIR (default: as the sandbox was started)
    ///
    /// Absolute in the sandbox, or relative to the workspace.
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,

    /// Wall-clock time (default: max)
    ///
    /// When it has passed the command is killed with all that it started, exit code 124. For example: `--time 10s`.
    #[arg(long, value_name = "TIME", help_heading = "Limits", value_parser = limits::wall)]
    time: Option<Limit<u64>>,

    /// CPU time of all its processes (default: max)
    ///
    /// When it is used up they are killed, exit code 124. For example: `--cpu-time 5s`.
    #[arg(long, value_name = "TIME", help_heading = "Limits", value_parser = limits::cpu)]
    cpu_time: Option<Limit<u64>>,

    /// Memory, within the sandbox's (default: max)
    ///
    /// The kernel kills when it is used up, exit code 137. For example: `--memory 256M`.
    #[arg(long, value_name = "SIZE", help_heading = "Limits", value_parser = limits::memory)]
    memory: Option<Limit<u64>>,

    /// Processes, within the sandbox's (default: max)
    ///
    /// One more and fork fails.
    #[arg(long, value_name = "COUNT", help_heading = "Limits", value_parser = limits::pids)]
    pids: Option<Limit<u64>>,

    /// CPUs, may be fractional (default: max)
    ///
    /// The excess is held back, nothing is killed. For example: `--cpus 0.5`.
    #[arg(long, value_name = "COUNT", help_heading = "Limits", value_parser = limits::cpus)]
    cpus: Option<Limit<f64>>,

    /// Bytes of each of stdout and stderr (default: max)
    ///
    /// With `--json`, by default 1M. The rest is dropped. For example: `--output 1M`.
    #[arg(long, value_name = "SIZE", help_heading = "Limits", value_parser = limits::output)]
    output: Option<Limit<u64>>,

    /// Share of the sandbox's CPUs (default: 100)
    ///
    /// From 1 to 10000, beside 100, which every other command in it has.
    #[arg(long, value_name = "N", help_heading = "Limits", value_parser = limits::cpu_weight)]
    cpu_weight: Option<Limit<u64>>,

    /// Stack of each process's first thread (default: the sandbox's)
    ///
    /// Passing it: SIGSEGV.
    #[arg(long, value_name = "SIZE", help_heading = "Limits", value_parser = limits::stack, hide_short_help = true)]
    stack: Option<Limit<u64>>,

    /// Open files of each process (default: the sandbox's)
    ///
    /// One more and open fails.
    #[arg(long, value_name = "COUNT", help_heading = "Limits", value_parser = limits::open_files)]
    open_files: Option<Limit<u64>>,
}

/// The subcommand alone, as it is below `pinfold`.
pub(super) fn subcommand() -> clap::Command {
    ExecOptions::augment_args(clap::Command::new("exec").bin_name("pinfold exec").max_term_width(WIDTH))
}

/// Reads its options from the arguments, of which its name is the first.
pub(super) fn parse(arguments: Vec<OsString>) -> Result<ExecOptions, clap::Error> {
    match without_options(&arguments) {
        Some(options) => Ok(options),
        None => parse_options(arguments),
    }
}

/// Reads `exec NAME -- COMMAND [ARG]...`, as most callers write it, without clap, which takes a twentieth of a millisecond.
fn without_options(arguments: &[OsString]) -> Option<ExecOptions> {
    let [_, name, dashes, command @ ..] = arguments else { return None };
    let name = name.to_str().filter(|name| !name.starts_with('-') && dashes == "--" && !command.is_empty())?;
    let command = command.iter().map(|argument| argument.to_str().map(str::to_owned)).collect::<Option<_>>()?;
    Some(ExecOptions { name: name.to_owned(), command, ..ExecOptions::default() })
}

/// What clap makes of the arguments.
pub(super) fn parse_options(arguments: Vec<OsString>) -> Result<ExecOptions, clap::Error> {
    let mut subcommand = subcommand();
    let matches = subcommand.try_get_matches_from_mut(arguments)?;
    ExecOptions::from_arg_matches(&matches).map_err(|error| error.format(&mut subcommand))
}

pub(super) fn run(options: &ExecOptions) -> Exit {
    match options {
        ExecOptions { detach: true, .. } => on_runtime(detach(options)),
        ExecOptions { tty: true, .. } => on_runtime(on_terminal(options)),
        ExecOptions { json: true, .. } => on_runtime(json(options)),
        ExecOptions { interactive: false, output: None, .. } => or_failed(plain::run(options)),
        _ => on_runtime(live(options)),
    }
}

fn on_runtime(future: impl Future<Output = Exit>) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            message::error(&format!("failed to start: {error}"), None);
            return Exit::Failed;
        }
    };
    let exit = runtime.block_on(future);
    // Not a drop, which would wait for whatever still reads or writes for us.
    runtime.shutdown_background();
    exit
}

fn or_failed(exit: Result<Exit, Failure>) -> Exit {
    exit.unwrap_or_else(|failure| {
        verdict::failed(&failure);
        Exit::Failed
    })
}

/// The command's job, and the sandbox.
fn prepare(options: &ExecOptions) -> Result<(Held, Job), Failure> {
    let job = job(options).map_err(|reason| Failure::new("invalid", reason))?;
    let held = Sandboxes::new().get(&options.name).map_err(Error::into_failure)?;
    Ok((held, job))
}

fn job(options: &ExecOptions) -> Result<Job, String> {
    let mut job = command(options.command.clone()).build().map_err(|error| error.to_string())?;
    let limits = &mut job.limits;
    // People are used to commands that take as long and print as much as they like.
    limits.wall_ms = options.time.unwrap_or(Limit::Max);
    let output = if options.json { limits.output_bytes } else { Limit::Max };
    limits.output_bytes = options.output.unwrap_or(output);
    limits.cpu_ms = options.cpu_time.unwrap_or(limits.cpu_ms);
    limits.memory_bytes = options.memory.unwrap_or(limits.memory_bytes);
    limits.pids = options.pids.unwrap_or(limits.pids);
    limits.cpus = options.cpus.unwrap_or(limits.cpus);
    limits.cpu_weight = options.cpu_weight.unwrap_or(limits.cpu_weight);
    limits.stack_bytes = options.stack.unwrap_or(limits.stack_bytes);
    limits.open_files = options.open_files.unwrap_or(limits.open_files);
    if let Some(cwd) = &options.cwd {
        let cwd = Cwd::try_from(cwd.as_str()).map_err(value::named("cwd"))?;
        // The default stands for where the sandbox has its commands start.
        job.cwd = if cwd == Cwd::default() { Cwd::try_from(".").unwrap_or(cwd) } else { cwd };
    }
    for text in &options.env {
        if let Some((name, value)) = value::variable(text).map_err(|error| format!("`--env`: {error}"))? {
            job.env.set(name, value).map_err(value::named("env"))?;
        }
    }
    Ok(job)
}

fn stdin(options: &ExecOptions) -> Stdin {
    if options.interactive { Stdin::Live } else { Stdin::Job }
}

async fn live(options: &ExecOptions) -> Exit {
    or_failed(live_outcome(options).await)
}

async fn live_outcome(options: &ExecOptions) -> Result<Exit, Failure> {
    let (held, job) = prepare(options)?;
    // Before anything runs, so that no signal is lost and none ends us alone.
    let mut signals = Signals::new().map_err(failure_of("catch signals"))?;
    let stdio = Stdio::Live { stdin: stdin(options) };
    let running = held.spawn(job.clone(), stdio).await.map_err(Error::into_failure)?;
    see_through(running, &job, &mut signals, Default::default()).await
}

/// Passes on what is written, and signals, until the end.
async fn see_through(
    mut running: Running,
    job: &Job,
    signals: &mut Signals,
    unwritten: [Vec<u8>; 2],
) -> Result<Exit, Failure> {
    let (stdin, stdout, stderr) = (running.take_stdin(), running.take_stdout(), running.take_stderr());
    let streams = Streams { stdin, stdout, stderr, unwritten };
    let (controller, meter) = (running.controller(), running.meter());
    let joined = join::join(streams, controller, signals, running.wait()).await;
    let (outcome, ended) = joined.map_err(failure_of("pass stdio on"))?;
    let mut outcome = outcome.map_err(Error::into_failure)?;
    // Not all had been read when it ended.
    meter.tell(&mut outcome, job.limits.output_bytes);
    Ok(verdict::tell(&outcome, job, ended))
}

async fn on_terminal(options: &ExecOptions) -> Exit {
    if !std::io::stdin().is_terminal() {
        let failure = Failure::new("invalid", "`--tty` needs a terminal on stdin");
        verdict::failed(&failure);
        return Exit::Failed;
    }
    or_failed(terminal_outcome(options).await)
}

async fn terminal_outcome(options: &ExecOptions) -> Result<Exit, Failure> {
    let (held, mut job) = prepare(options)?;
    if job.env.iter().all(|(name, _)| name != "TERM") {
        // The command's terminal is ours in the end, and has its abilities.
        let term = std::env::var("TERM").ok().filter(|term| !term.is_empty());
        let set = job.env.set("TERM", term.unwrap_or_else(|| "xterm".to_owned()));
        set.map_err(|error| Failure::new("invalid", error.to_string()))?;
    }
    let mut signals = Signals::new().map_err(failure_of("catch signals"))?;
    let (rows, columns) = terminal::size();
    let mut running = held.exec_on_terminal(job.clone(), rows, columns).await.map_err(Error::into_failure)?;
    let raw = RawMode::enter().map_err(failure_of("make the terminal raw"))?;
    let resize = running.resizer();
    terminal::follow_size(resize).map_err(failure_of("follow the terminal's size"))?;
    let mut output = None;
    if let Some(attached) = running.take_terminal() {
        let (shown, keys) = tokio::io::split(attached);
        let passed = join::pass_stdin(keys).and_then(|()| Output::pass(shown, std::io::stdout()));
        output = Some(passed.map_err(failure_of("pass stdio on"))?);
    }
    let outcome = tokio::select! {
        outcome = running.wait() => outcome.map_err(Error::into_failure)?,
        // Ctrl-C is a key here; whoever sends a signal means us, and the command ends with us.
        number = signals.next() => {
            drop(raw);
            return Ok(Exit::Signal(u8::try_from(number).unwrap_or(0)));
        }
    };
    if let Some(output) = &mut output {
        // Who does not read any more has had enough.
        let _enough = output.drain().await;
    }
    drop(raw);
    Ok(verdict::tell(&outcome, &job, verdict::Ended::Itself))
}

async fn detach(options: &ExecOptions) -> Exit {
    let (held, job) = match prepare(options) {
        Ok(prepared) => prepared,
        Err(failure) => {
            verdict::failed(&failure);
            return Exit::Failed;
        }
    };
    let id = job.id.clone().map(String::from).unwrap_or_default();
    match held.detach(job.clone()).await {
        Ok(number) => held::data(&format!("{number}\n")),
        // A command that is not there is told as with every other way to run one.
        Err(Error::Failed(failure)) => verdict::tell(&Outcome::failed(id, failure), &job, verdict::Ended::Itself),
        Err(error) => held::refuse(error),
    }
}

async fn json(options: &ExecOptions) -> Exit {
    let outcome = captured(options).await.unwrap_or_else(|failure| Outcome::failed("", failure));
    match held::json(&outcome) {
        Exit::Success if outcome.status == Status::Failed => Exit::Failed,
        exit => exit,
    }
}

async fn captured(options: &ExecOptions) -> Result<Outcome, Failure> {
    let (held, job) = prepare(options)?;
    let mut signals = Signals::new().map_err(failure_of("catch signals"))?;
    let mut running = held.spawn(job, Stdio::Captured { stdin: stdin(options) }).await.map_err(Error::into_failure)?;
    if let Some(stdin) = running.take_stdin() {
        join::pass_stdin(stdin).map_err(|error| Failure::new("host_error", reason(&error)))?;
    }
    let controller = running.controller();
    let mut end = std::pin::pin!(running.wait());
    loop {
        tokio::select! {
            outcome = &mut end => return outcome.map_err(Error::into_failure),
            // Whoever gives up, in whatever way, still gets the result.
            _ = signals.next() => {
                let _has_ended = controller.cancel();
            }
        }
    }
}
