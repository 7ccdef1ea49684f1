//! `pinfold serve`: the options that bound what clients may do. The server is a program of its own, which this one becomes,
//! so that a service manager's process stays the same.

use super::exit::Exit;
use super::sandbox::{self, SandboxOptions, stored};
use super::{limits, message, value};
use clap::{Args, ValueEnum};
use pinfold::build;
use pinfold::service::{self, Listen, Settings};
use pinfold::{Argv, Job, Limit, Limits, Workspace, parse_duration};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long one command may run where no option says.
const TIME: Duration = Duration::from_secs(600);

/// How many builds are run at once where no option says.
const WORKERS: usize = 2;

/// How many builds of an owner may wait.
const BUILDS: u64 = 1000;

/// What builds of an owner may hold where no option says, in bytes.
const STORED: u64 = 20 << 30;

/// Serve clients over HTTP: runs, sandboxes, files, builds
///
/// All that the library does, as JSON over HTTP. What is allowed is said here, holds for every request, and no client can
/// change it. Without `--listen` it is reached at a Unix socket in the runtime directory, by this user alone. Who asks shows
/// a token: one is made at the first start, in the file `server.tokens` in the state directory. SIGTERM lets what is at
/// work end; sandboxes that were started live on. The exit code is 0, or 125 when it could not serve.
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    after_help = "SIZE: 512M, 1G · TIME: 500ms, 10s, 2m · limits can be `max` · more in --help"
)]
pub(crate) struct ServeOptions {
    /// Listen at this address, such as 127.0.0.1:8080
    ///
    /// One that other hosts reach needs `--token-file`. The server speaks plain HTTP: put a proxy with TLS before it.
    #[arg(long, value_name = "ADDR:PORT", help_heading = "Server", conflicts_with = "socket")]
    listen: Option<SocketAddr>,

    /// Listen at a Unix socket of this path
    ///
    /// By default `server.sock` in the runtime directory. Only this user can connect. A service manager may hand over
    /// sockets instead (LISTEN_FDS).
    #[arg(long, value_name = "PATH", help_heading = "Server")]
    socket: Option<PathBuf>,

    /// Who may use it: lines of NAME TOKEN
    ///
    /// The file must be closed to others (mode 0600). Each name is an owner, who sees nothing of any other's; an owner may
    /// have several tokens. By default one is made, in the state directory.
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    token_file: Option<PathBuf>,

    /// What else clients may call it (repeatable)
    ///
    /// As it stands in `Host`, with the port if there is one: for a server behind a proxy. For example: `--host box.lan:8443`.
    #[arg(long, value_name = "NAME", help_heading = "Server")]
    host: Vec<String>,

    /// Time for work after SIGTERM (default: 30s)
    #[arg(long, value_name = "TIME", help_heading = "Server", value_parser = positive)]
    drain: Option<Duration>,

    /// Connections that there may be (default: 512)
    #[arg(
        long,
        value_name = "COUNT",
        help_heading = "Server",
        default_value_t = 512,
        hide_default_value = true,
        hide_short_help = true
    )]
    max_connections: usize,

    /// Commands that may run at once (default: 64)
    ///
    /// Where there are several owners, none has more than half of them.
    #[arg(long, value_name = "COUNT", help_heading = "Server", default_value_t = 64, hide_default_value = true)]
    max_commands: usize,

    /// The most of a request's body (default: 16M)
    ///
    /// Archives are not held in memory, and have a limit of their own.
    #[arg(long, value_name = "SIZE", help_heading = "Server", value_parser = size, hide_short_help = true)]
    max_body: Option<u64>,

    /// The most of an uploaded archive (default: 1G)
    #[arg(long, value_name = "SIZE", help_heading = "Server", value_parser = size, hide_short_help = true)]
    max_archive: Option<u64>,

    /// Wall-clock time of each command (default: 10m)
    ///
    /// The most that a client may ask for. A compiler has as much for itself. For example: `--time 1h`.
    #[arg(long, value_name = "TIME", help_heading = "Limits", value_parser = limits::wall)]
    time: Option<Limit<u64>>,

    /// What is kept of each output stream (default: 1M)
    #[arg(long, value_name = "SIZE", help_heading = "Limits", value_parser = limits::output)]
    output: Option<Limit<u64>>,

    /// Sandboxes of each owner at once (default: 10)
    #[arg(long, value_name = "COUNT", help_heading = "Server", default_value_t = 10, hide_default_value = true)]
    max_sandboxes: usize,

    /// End sandboxes unused for so long (default: 30m)
    ///
    /// Whether the server lives or not. A client may ask for less.
    #[arg(long, value_name = "TIME", help_heading = "Server", value_parser = positive)]
    idle: Option<Duration>,

    /// Workspaces of each owner (default: 100)
    ///
    /// Each may hold as much as `--disk` and `--inodes` say, by default 1G and 2^20 files.
    #[arg(long, value_name = "COUNT", help_heading = "Server", default_value_t = 100, hide_default_value = true)]
    max_workspaces: usize,

    /// What it does: all, api or worker (default: all)
    ///
    /// `api` answers clients and leaves builds to workers elsewhere. `worker` runs builds and listens nowhere. They meet in the
    /// state directory, on one host.
    #[arg(
        long,
        value_name = "ROLE",
        help_heading = "Server",
        value_enum,
        hide_possible_values = true,
        hide_short_help = true
    )]
    role: Option<Role>,

    /// Builds that it runs at once (default: 2)
    #[arg(long, value_name = "COUNT", help_heading = "Server", value_parser = at_least_one)]
    workers: Option<usize>,

    /// Time of each build (default: 5m)
    #[arg(long, value_name = "TIME", help_heading = "Server", value_parser = positive, hide_short_help = true)]
    build_time: Option<Duration>,

    /// How often workers may try a build (default: 2)
    ///
    /// A build whose worker was killed goes back to the queue, until it was tried so often. One that fails is not tried again.
    #[arg(long, value_name = "COUNT", help_heading = "Server", value_parser = at_least_one, hide_short_help = true)]
    attempts: Option<usize>,

    /// Silence after which a build is lost (default: 30s)
    #[arg(long, value_name = "TIME", help_heading = "Server", value_parser = positive, hide_short_help = true)]
    lease: Option<Duration>,

    /// How long a build may wait (default: 15m)
    #[arg(long, value_name = "TIME", help_heading = "Server", value_parser = positive, hide_short_help = true)]
    longest_wait: Option<Duration>,

    /// Builds of each owner that may wait (default: 1000)
    #[arg(long, value_name = "COUNT", help_heading = "Server", default_value_t = BUILDS, hide_default_value = true, hide_short_help = true)]
    max_builds: u64,

    /// What builds of each owner may hold (default: 20G)
    ///
    /// Snapshots, artifacts and logs. Where there is more, the oldest builds that have ended are forgotten, but for those that
    /// projects show; where that is not enough, none is handed in.
    #[arg(long, value_name = "SIZE", help_heading = "Server", value_parser = size, hide_short_help = true)]
    max_stored: Option<u64>,

    /// Show previews below this origin (default: localhost)
    ///
    /// Each preview is at `TOKEN.HOST`, an origin of its own. By default that is `TOKEN.localhost` with the server's port,
    /// which browsers find on this host by themselves. Behind a proxy it is a domain that is for nothing else, all of whose
    /// names lead here. For example: `--preview-host https://previews.example`.
    #[arg(long, value_name = "ORIGIN", help_heading = "Server", value_parser = origin, hide_short_help = true)]
    preview_host: Option<String>,

    /// Allow only this language for code (repeatable)
    ///
    /// By default all that `pinfold languages` lists. For example: `--allow python`.
    #[arg(long, value_name = "LANGUAGE", help_heading = "Server")]
    allow: Vec<String>,

    /// Add the languages of a folder of TOML files
    ///
    /// Instead of the user's own, `pinfold/languages` in `$XDG_CONFIG_HOME` or `~/.config`.
    #[arg(long, value_name = "DIR", help_heading = "Server")]
    languages: Option<PathBuf>,

    #[command(flatten)]
    sandbox: SandboxOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    All,
    Api,
    Worker,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| (1..=1000).contains(count)).ok_or_else(|| "it must be from 1 to 1000".to_owned())
}

/// A scheme and a host with or without a port, as it stands before a path.
fn origin(text: &str) -> Result<String, String> {
    let (scheme, host) = match text.split_once("://") {
        Some((scheme @ ("http" | "https"), host)) => (scheme, host),
        Some(_) => return Err("its scheme must be `http` or `https`".to_owned()),
        None => ("http", text),
    };
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    match name.len() <= 200 && name.split('.').all(is_label) && is_port {
        true => Ok(format!("{scheme}://{}", host.to_ascii_lowercase())),
        false => Err("it must be a name, such as `previews.example` or `https://previews.example:8443`".to_owned()),
    }
}

/// A time that is a second at least.
pub(super) fn positive(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(time) if time >= Duration::from_secs(1) => Ok(time),
        Ok(_) => Err("it must be 1s or more".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn size(text: &str) -> Result<u64, String> {
    match value::size(text)? {
        Limit::At(bytes) if bytes >= 1 << 10 => Ok(bytes),
        _ => Err("it must be 1K or more, and not `max`".to_owned()),
    }
}

pub(super) fn run(options: &ServeOptions) -> Exit {
    // It comes back only if there is no server.
    let reason = settings(options).and_then(|settings| become_server(&settings)).err().unwrap_or_default();
    message::error(&reason, None);
    Exit::Failed
}

fn become_server(settings: &Settings) -> Result<(), String> {
    let program = service::program();
    let program = program.ok_or("failed to find `pinfold-server` beside this program or on `PATH`")?;
    let json = serde_json::to_string(settings).map_err(|error| format!("failed to write the settings: {error}"))?;
    let error = Command::new(&program).env(service::SETTINGS, json).exec();
    Err(format!("failed to execute `{}`: {error}", program.display()))
}

fn settings(options: &ServeOptions) -> Result<Settings, String> {
    if stored::id(options.sandbox.workspace.as_deref())?.is_some() {
        return Err("`--workspace`: workspaces of the store are named by clients".to_owned());
    }
    let mut job = Job::new(Argv::none());
    sandbox::describe(&mut job, &options.sandbox, None)?;
    if let Workspace::Path(_) = job.workspace {
        return Err("`--workspace`: one directory for all clients would join what is each one's own".to_owned());
    }
    if let Some(output) = options.output {
        job.limits.output_bytes = output;
    }
    if job.limits.output_bytes == Limit::Max {
        return Err("`--output`: what is kept in memory has a bound".to_owned());
    }
    let time = match options.time {
        Some(Limit::At(milliseconds)) => Some(Duration::from_millis(milliseconds)),
        Some(Limit::Max) => None,
        None => Some(TIME),
    };
    let listen = match (options.listen, &options.socket) {
        (Some(address), _) => Listen::Tcp(address),
        (None, Some(path)) => Listen::Unix(absolute(path)?),
        (None, None) => Listen::Default,
    };
    let role = options.role.unwrap_or(Role::All);
    if role == Role::Worker && listen != Listen::Default {
        return Err("`--role worker` listens nowhere: leave `--listen` and `--socket` out".to_owned());
    }
    if role == Role::Api && options.workers.is_some() {
        return Err("`--role api` runs no builds: leave `--workers` out".to_owned());
    }
    let (usual, work) = (build::Policy::default(), build::WorkerSettings::default());
    Ok(Settings {
        listen,
        token_file: options.token_file.as_deref().map(absolute).transpose()?,
        hosts: options.host.clone(),
        job,
        time,
        max_sandboxes: options.max_sandboxes,
        idle: options.idle.unwrap_or(Duration::from_secs(1800)),
        max_workspaces: options.max_workspaces,
        max_commands: options.max_commands,
        max_connections: options.max_connections,
        max_body: options.max_body.unwrap_or(16 << 20),
        max_archive: options.max_archive.unwrap_or(1 << 30),
        drain: options.drain.unwrap_or(Duration::from_secs(30)),
        languages: options.languages.as_deref().map(absolute).transpose()?,
        allowed_languages: options.allow.clone(),
        role: match role {
            Role::All => service::Role::All,
            Role::Api => service::Role::Api,
            Role::Worker => service::Role::Worker,
        },
        workers: options.workers.unwrap_or(WORKERS),
        build_limits: build_limits(&options.sandbox)?,
        build_time: options.build_time.unwrap_or(usual.time),
        build_attempts: options.attempts.and_then(|count| u32::try_from(count).ok()).unwrap_or(usual.attempts),
        build_lease: options.lease.unwrap_or(work.lease),
        build_wait: options.longest_wait.unwrap_or(work.longest_wait),
        max_builds: options.max_builds,
        max_stored: options.max_stored.unwrap_or(STORED),
        previews: options.preview_host.clone(),
    })
}

/// Of builds: those that the options name, and for the others what a build usually has, which is more than a command has.
fn build_limits(options: &SandboxOptions) -> Result<Limits, String> {
    let mut job = Job::new(Argv::none());
    job.limits = build::Policy::default().usual;
    sandbox::describe(&mut job, options, None)?;
    Ok(job.limits)
}

fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("`{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previews_are_below_a_name_and_nothing_else() {
        assert_eq!(origin("previews.Example:8443").unwrap(), "http://previews.example:8443");
        assert_eq!(origin("https://p.example").unwrap(), "https://p.example");
        for text in
            ["", "*.p.example", "p.example/x", "ftp://p", "p..example", "p:0", "p:x", "p.example:", "a b", "p'; x"]
        {
            assert!(origin(text).is_err(), "{text}");
        }
    }
}
