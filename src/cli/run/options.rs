//! The options of `pinfold run`: one list, from which come the parser, the help, the man page and the completions.
//! The first paragraph of each is its line in `-h`, the whole is what `--help` says.

use crate::cli::toolchain::Toolchain;
use crate::cli::value;
use clap::Args;
use pinfold::{Cpuset, Limit, Mode, Mount, Network, Requirement, SandboxId, User};
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

    /// Make DIR the workspace (default: temporary)
    ///
    /// DIR appears as `/workspace`, where the command starts, and keeps what the command leaves there. `tmpfs` means an
    /// empty workspace in memory (a directory of that name is `./tmpfs`), and `ws:ID` the one that `pinfold workspace
    /// create ID` made. For example: `-w .`.
    #[arg(short, long, value_name = "DIR", help_heading = "View")]
    pub(super) workspace: Option<PathBuf>,

    /// Show a path of the host, read-only (repeatable)
    ///
    /// At the same path, or at DST. Mounting a directory with a Unix socket in it gives the command that socket. For
    /// example: `--ro ~/.m2:/workspace/.m2`.
    #[arg(long, value_name = "SRC[:DST]", help_heading = "View", value_parser = |text: &str| value::mount(text, false))]
    pub(super) ro: Vec<Mount>,

    /// Show a path of the host, writable (repeatable)
    ///
    /// At the same path, or at DST. What the command leaves there belongs to the owner of the directory. For example:
    /// `--rw ~/.cache/ccache:/tmp/ccache`.
    #[arg(long, value_name = "SRC[:DST]", help_heading = "View", value_parser = |text: &str| value::mount(text, true))]
    pub(super) rw: Vec<Mount>,

    /// Use an extracted root file system, not /usr
    ///
    /// Read-only. By default the sandbox sees the host's `/usr` and the few files of `/etc` that programs need. For
    /// example: `--root /srv/alpine`.
    #[arg(long, value_name = "DIR", help_heading = "View")]
    pub(super) root: Option<PathBuf>,

    /// Mount rust, node, python, go, java, ruby (repeatable)
    ///
    /// The one that is first on `PATH` here, read-only at the same path, wherever it lives (rustup, nvm, pyenv and
    /// their like), with its programs on `PATH` inside. What lies below `/usr` is there already.
    #[arg(long, value_name = "NAME", help_heading = "View", value_enum, hide_possible_values = true)]
    pub(super) toolchain: Vec<Toolchain>,

    /// Set a variable (repeatable)
    ///
    /// `K` alone takes the value from here, if there is one. The environment is built from nothing: `PATH`, `HOME`, `LANG`,
    /// `USER`, `TMPDIR`, and what is set here. For example: `--env CI=1 --env TERM`.
    #[arg(long, value_name = "K=V", help_heading = "View")]
    pub(super) env: Vec<String>,

    /// Start in DIR (default: the workspace)
    ///
    /// Absolute in the sandbox, or relative to the workspace.
    #[arg(long, value_name = "DIR", help_heading = "View")]
    pub(super) cwd: Option<String>,

    /// Network: none or host (default: none)
    ///
    /// `none` has only a loopback of its own; `host` is the host's network, with all that listens there.
    #[arg(long, value_name = "NET", help_heading = "View", hide_possible_values = true,
        value_parser = clap::builder::PossibleValuesParser::new(["none", "host"]))]
    pub(super) net: Option<String>,

    /// Who the command is inside (default: 1000:1000)
    ///
    /// In numbers. `0:0` looks like root inside and is nobody on the host: it has no capability.
    #[arg(long, value_name = "UID:GID", help_heading = "View")]
    pub(super) user: Option<User>,

    /// Wall-clock time (default: max)
    ///
    /// When it has passed everything is killed, exit code 124. For example: `--time 10s`. A bare number is seconds.
    #[arg(long, value_name = "TIME", help_heading = "Limits", value_parser = wall)]
    pub(super) time: Option<Limit<u64>>,

    /// CPU time of all processes together (default: max)
    ///
    /// When it is used up everything is killed, exit code 124. For example: `--cpu-time 5s`.
    #[arg(long, value_name = "TIME", help_heading = "Limits", value_parser = cpu)]
    pub(super) cpu_time: Option<Limit<u64>>,

    /// Memory of the whole sandbox, no swap (default: 512M)
    ///
    /// Files in memory included; swap has a limit of its own, `--swap`. The kernel kills when it is used up, exit code 137. For example: `--memory 2G`.
    #[arg(long, value_name = "SIZE", help_heading = "Limits", value_parser = memory)]
    pub(super) memory: Option<Limit<u64>>,

    /// Processes and threads (default: 256)
    ///
    /// One more and fork fails.
    #[arg(long, value_name = "COUNT", help_heading = "Limits", value_parser = pids)]
    pub(super) pids: Option<Limit<u64>>,

    /// CPUs, may be fractional (default: max)
    ///
    /// The excess is held back, nothing is killed. For example: `--cpus 1.5`.
    #[arg(long, value_name = "COUNT", help_heading = "Limits", value_parser = cpus)]
    pub(super) cpus: Option<Limit<f64>>,

    /// Share of CPUs that are short (default: 100)
    ///
    /// From 1 to 10000, beside 100, which every other group has. It holds nobody back while a CPU is idle. For example:
    /// `--cpu-weight 10` for work that can wait.
    #[arg(long, value_name = "N", help_heading = "Limits", value_parser = cpu_weight)]
    pub(super) cpu_weight: Option<Limit<u64>>,

    /// The CPUs that it may run on (default: all)
    ///
    /// A list of numbers and ranges, as taskset has it. For example: `--cpuset 0-3,8`.
    #[arg(long, value_name = "LIST", help_heading = "Limits", value_parser = |text: &str| text.parse::<Cpuset>())]
    pub(super) cpuset: Option<Cpuset>,

    /// Swap beside the memory (default: 0)
    ///
    /// Fails where the kernel can't hold it; none at all is asked for by default, and the report says whether that is
    /// held. For example: `--swap 1G`.
    #[arg(long, value_name = "SIZE", help_heading = "Limits", value_parser = swap, hide_short_help = true)]
    pub(super) swap: Option<Limit<u64>>,

    /// Stack of each process's first thread (default: 8M)
    ///
    /// By custom that of every other thread, too. Passing it: SIGSEGV. For example: `--stack 64M`.
    #[arg(long, value_name = "SIZE", help_heading = "Limits", value_parser = stack, hide_short_help = true)]
    pub(super) stack: Option<Limit<u64>>,

    /// Bytes a second read from each disk (default: max)
    ///
    /// Each disk that carries the workspace, the root or a mount. The excess waits; what is in the page cache already is
    /// not read. For example: `--io-read-bps 50M`.
    #[arg(long, value_name = "SIZE", help_heading = "Limits", value_parser = io_read_bps, hide_short_help = true)]
    pub(super) io_read_bps: Option<Limit<u64>>,

    /// Bytes a second written to each disk (default: max)
    ///
    /// The excess waits. On cgroup v1 only what the command writes through to the disk counts (fsync, O_DIRECT), not what
    /// the kernel writes later. For example: `--io-write-bps 20M`.
    #[arg(long, value_name = "SIZE", help_heading = "Limits", value_parser = io_write_bps, hide_short_help = true)]
    pub(super) io_write_bps: Option<Limit<u64>>,

    /// Reads a second from each disk (default: max)
    ///
    /// The excess waits. For example: `--io-read-iops 500`.
    #[arg(long, value_name = "N", help_heading = "Limits", value_parser = io_read_iops, hide_short_help = true)]
    pub(super) io_read_iops: Option<Limit<u64>>,

    /// Writes a second to each disk (default: max)
    ///
    /// The excess waits; for what counts see `--io-write-bps`. For example: `--io-write-iops 500`.
    #[arg(long, value_name = "N", help_heading = "Limits", value_parser = io_write_iops, hide_short_help = true)]
    pub(super) io_write_iops: Option<Limit<u64>>,

    /// Bytes of each of stdout and stderr (default: max)
    ///
    /// The rest is dropped, and a line on stderr says so. For example: `--output 1M`.
    #[arg(long, value_name = "SIZE", help_heading = "Limits", value_parser = output)]
    pub(super) output: Option<Limit<u64>>,

    /// Bytes in the workspace (default: 1G; a DIR: max)
    ///
    /// Of an existing directory only growth counts. Passing it: the command is told that the disk is full, or
    /// everything is killed, exit code 153. In memory (`-w tmpfs`) the default is half of the memory limit.
    #[arg(long, value_name = "SIZE", help_heading = "Limits", value_parser = disk)]
    pub(super) disk: Option<Limit<u64>>,

    /// Files in the workspace (default: 2^20; a DIR: max)
    ///
    /// Directories and links too; of an existing directory only growth counts. Passing it is told as with `--disk`. In
    /// memory (`-w tmpfs`) the default is one for each 2 KiB.
    #[arg(long, value_name = "COUNT", help_heading = "Limits", value_parser = inodes)]
    pub(super) inodes: Option<Limit<u64>>,

    /// Bytes in /tmp (default: half of the memory)
    ///
    /// `/tmp` is in memory and counts as memory.
    #[arg(long, value_name = "SIZE", help_heading = "Limits", value_parser = tmp)]
    pub(super) tmp: Option<Limit<u64>>,

    /// Bytes in /dev/shm (default: 64M)
    ///
    /// `/dev/shm` is in memory and counts as memory.
    #[arg(long, value_name = "SIZE", help_heading = "Limits", value_parser = shm)]
    pub(super) shm: Option<Limit<u64>>,

    /// Open files of each process (default: 1024)
    ///
    /// One more and open fails.
    #[arg(long, value_name = "COUNT", help_heading = "Limits", value_parser = open_files)]
    pub(super) open_files: Option<Limit<u64>>,

    /// System call policy (default: default)
    ///
    /// A built-in policy or a file: a file has a `/` in its name or ends in `.json`, and is in the OCI form, as
    /// Docker's are. For example: `--seccomp strict`, `--seccomp ./mine.json`.
    #[arg(long, value_name = "NAME|FILE", help_heading = "Fences")]
    pub(super) seccomp: Option<String>,

    /// Fail unless a feature is in force (repeatable)
    ///
    /// One of cgroup, landlock, memory, pids, cpu, workspace, groups. `pinfold doctor` says which this host has.
    #[arg(long, value_name = "FEATURE", help_heading = "Fences", hide_possible_values = true, value_parser = requirement_parser())]
    pub(super) require: Vec<String>,

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

    /// The network, which is none unless asked for.
    pub(super) fn network(&self) -> Network {
        if self.net.as_deref() == Some("host") { Network::Host } else { Network::None }
    }
}

fn requirement_parser() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(Requirement::ALL.map(Requirement::name))
}

/// One parser an option: the spelling of the value, then the contract's range of the limit.
macro_rules! limit_parsers {
    ($( $option:ident: $spelling:path, $field:ident, $wrap:expr, $type:ty; )*) => {
        $( fn $option(text: &str) -> Result<Limit<$type>, String> {
            value::in_range($spelling(text)?, stringify!($field), |limits, limit| limits.$field = ($wrap)(limit))
        } )*
    };
}

limit_parsers! {
    wall: value::time, wall_ms, std::convert::identity, u64;
    cpu: value::time, cpu_ms, std::convert::identity, u64;
    memory: value::size, memory_bytes, std::convert::identity, u64;
    pids: value::count, pids, std::convert::identity, u64;
    cpus: value::cpus, cpus, std::convert::identity, f64;
    cpu_weight: value::count, cpu_weight, std::convert::identity, u64;
    swap: value::size, swap_bytes, std::convert::identity, u64;
    stack: value::size, stack_bytes, std::convert::identity, u64;
    io_read_bps: value::size, io_read_bps, std::convert::identity, u64;
    io_write_bps: value::size, io_write_bps, std::convert::identity, u64;
    io_read_iops: value::count, io_read_iops, std::convert::identity, u64;
    io_write_iops: value::count, io_write_iops, std::convert::identity, u64;
    output: value::size, output_bytes, std::convert::identity, u64;
    disk: value::size, workspace_bytes, Some, u64;
    inodes: value::count, workspace_inodes, Some, u64;
    tmp: value::size, tmp_bytes, Some, u64;
    shm: value::size, shm_bytes, std::convert::identity, u64;
    open_files: value::count, open_files, std::convert::identity, u64;
}
