//! The options that say what a sandbox is, which every command that makes one has: its view, its limits, its fences. The
//! first paragraph of each is its line in `-h`, the whole is what `--help` says.

use crate::cli::limits::{self, requirement_parser};
use crate::cli::toolchain::Toolchain;
use crate::cli::value;
use clap::Args;
use pinfold::{Cpuset, Limit, Mount, Network, User};
use std::path::PathBuf;

/// What a sandbox is.
#[derive(Debug, Args)]
pub(in crate::cli) struct SandboxOptions {
    /// Make DIR the workspace (default: temporary)
    ///
    /// DIR appears as `/workspace`, where the command starts, and keeps what the command leaves there. `tmpfs` means an
    /// empty workspace in memory (a directory of that name is `./tmpfs`), and `ws:ID` the one that `pinfold workspace
    /// create ID` made. For example: `-w .`.
    #[arg(short, long, value_name = "DIR", help_heading = "View")]
    pub(in crate::cli) workspace: Option<PathBuf>,

    /// Show the workspace at DIR too (default: /workspace)
    ///
    /// For programs that know it by another path: the command starts there, and `HOME` is there. For example:
    /// `--workspace-at /home/agent/workspace`.
    #[arg(long, value_name = "DIR", help_heading = "View", hide_short_help = true)]
    pub(in crate::cli) workspace_at: Option<String>,

    /// Show a path of the host, read-only (repeatable)
    ///
    /// At the same path, or at DST. Mounting a directory with a Unix socket in it gives the command that socket. For
    /// example: `--ro ~/.m2:/workspace/.m2`.
    #[arg(long, value_name = "SRC[:DST]", help_heading = "View", value_parser = |text: &str| value::mount(text, false))]
    pub(in crate::cli) ro: Vec<Mount>,

    /// Show a path of the host, writable (repeatable)
    ///
    /// At the same path, or at DST. What the command leaves there belongs to the owner of the directory. For example:
    /// `--rw ~/.cache/ccache:/tmp/ccache`.
    #[arg(long, value_name = "SRC[:DST]", help_heading = "View", value_parser = |text: &str| value::mount(text, true))]
    pub(in crate::cli) rw: Vec<Mount>,

    /// Use an extracted root file system, not /usr
    ///
    /// Read-only. By default the sandbox sees the host's `/usr` and the few files of `/etc` that programs need. For
    /// example: `--root /srv/alpine`.
    #[arg(long, value_name = "DIR", help_heading = "View")]
    pub(in crate::cli) root: Option<PathBuf>,

    /// Mount rust, node, python, go, java, ruby (repeatable)
    ///
    /// The one that is first on `PATH` here, read-only at the same path, wherever it lives (rustup, nvm, pyenv and
    /// their like), with its programs on `PATH` inside. What lies below `/usr` is there already.
    #[arg(long, value_name = "NAME", help_heading = "View", value_enum, hide_possible_values = true)]
    pub(in crate::cli) toolchain: Vec<Toolchain>,

    /// Set a variable (repeatable)
    ///
    /// `K` alone takes the value from here, if there is one. The environment is built from nothing: `PATH`, `HOME`, `LANG`,
    /// `USER`, `TMPDIR`, and what is set here. For example: `--env CI=1 --env TERM`.
    #[arg(long, value_name = "K=V", help_heading = "View")]
    pub(in crate::cli) env: Vec<String>,

    /// Network: none, host or allow=HOST,… (default: none)
    ///
    /// `none` has only a loopback of its own; `host` is the host's network, with all that listens there. With `allow=` only
    /// the hosts that follow can be connected to: names, `*.` for all below one, addresses, CIDR blocks; each with a port, or
    /// at 80 and 443. For example: `--net allow=example.org,*.example.com:443,10.1.2.3:5432`.
    #[arg(long, value_name = "NET", help_heading = "View", value_parser = value::network)]
    pub(in crate::cli) net: Option<Network>,

    /// Who the command is inside (default: 1000:1000)
    ///
    /// In numbers. `0:0` looks like root inside and is nobody on the host: it has no capability.
    #[arg(long, value_name = "UID:GID", help_heading = "View")]
    pub(in crate::cli) user: Option<User>,

    /// Start in DIR (default: the workspace)
    ///
    /// Absolute in the sandbox, or relative to the workspace.
    #[arg(long, value_name = "DIR", help_heading = "View")]
    pub(in crate::cli) cwd: Option<String>,

    /// CPU time of all processes together (default: max)
    ///
    /// When it is used up everything is killed, exit code 124. For example: `--cpu-time 5s`.
    #[arg(long, value_name = "TIME", help_heading = "Limits", value_parser = limits::cpu)]
    pub(in crate::cli) cpu_time: Option<Limit<u64>>,

    /// Memory of the whole sandbox, no swap (default: 512M)
    ///
    /// Files in memory included; swap has a limit of its own, `--swap`. The kernel kills when it is used up, exit code 137. For example: `--memory 2G`.
    #[arg(long, value_name = "SIZE", help_heading = "Limits", value_parser = limits::memory)]
    pub(in crate::cli) memory: Option<Limit<u64>>,

    /// Processes and threads (default: 256)
    ///
    /// One more and fork fails.
    #[arg(long, value_name = "COUNT", help_heading = "Limits", value_parser = limits::pids)]
    pub(in crate::cli) pids: Option<Limit<u64>>,

    /// CPUs, may be fractional (default: max)
    ///
    /// The excess is held back, nothing is killed. For example: `--cpus 1.5`.
    #[arg(long, value_name = "COUNT", help_heading = "Limits", value_parser = limits::cpus)]
    pub(in crate::cli) cpus: Option<Limit<f64>>,

    /// Share of CPUs that are short (default: 100)
    ///
    /// From 1 to 10000, beside 100, which every other group has. It holds nobody back while a CPU is idle. For example:
    /// `--cpu-weight 10` for work that can wait.
    #[arg(long, value_name = "N", help_heading = "Limits", value_parser = limits::cpu_weight)]
    pub(in crate::cli) cpu_weight: Option<Limit<u64>>,

    /// The CPUs that it may run on (default: all)
    ///
    /// A list of numbers and ranges, as taskset has it. For example: `--cpuset 0-3,8`.
    #[arg(long, value_name = "LIST", help_heading = "Limits", value_parser = |text: &str| text.parse::<Cpuset>())]
    pub(in crate::cli) cpuset: Option<Cpuset>,

    /// Swap beside the memory (default: 0)
    ///
    /// Fails where the kernel can't hold it; none at all is asked for by default, and the report says whether that is
    /// held. For example: `--swap 1G`.
    #[arg(long, value_name = "SIZE", help_heading = "Limits", value_parser = limits::swap, hide_short_help = true)]
    pub(in crate::cli) swap: Option<Limit<u64>>,

    /// Stack of each process's first thread (default: 8M)
    ///
    /// By custom that of every other thread, too. Passing it: SIGSEGV. For example: `--stack 64M`.
    #[arg(long, value_name = "SIZE", help_heading = "Limits", value_parser = limits::stack, hide_short_help = true)]
    pub(in crate::cli) stack: Option<Limit<u64>>,

    /// Bytes a second read from each disk (default: max)
    ///
    /// Each disk that carries the workspace, the root or a mount. The excess waits; what is in the page cache already is
    /// not read. For example: `--io-read-bps 50M`.
    #[arg(long, value_name = "SIZE", help_heading = "Limits", value_parser = limits::io_read_bps, hide_short_help = true)]
    pub(in crate::cli) io_read_bps: Option<Limit<u64>>,

    /// Bytes a second written to each disk (default: max)
    ///
    /// The excess waits. On cgroup v1 only what the command writes through to the disk counts (fsync, O_DIRECT), not what
    /// the kernel writes later. For example: `--io-write-bps 20M`.
    #[arg(long, value_name = "SIZE", help_heading = "Limits", value_parser = limits::io_write_bps, hide_short_help = true)]
    pub(in crate::cli) io_write_bps: Option<Limit<u64>>,

    /// Reads a second from each disk (default: max)
    ///
    /// The excess waits. For example: `--io-read-iops 500`.
    #[arg(long, value_name = "N", help_heading = "Limits", value_parser = limits::io_read_iops, hide_short_help = true)]
    pub(in crate::cli) io_read_iops: Option<Limit<u64>>,

    /// Writes a second to each disk (default: max)
    ///
    /// The excess waits; for what counts see `--io-write-bps`. For example: `--io-write-iops 500`.
    #[arg(long, value_name = "N", help_heading = "Limits", value_parser = limits::io_write_iops, hide_short_help = true)]
    pub(in crate::cli) io_write_iops: Option<Limit<u64>>,

    /// Bytes in the workspace (default: 1G; a DIR: max)
    ///
    /// Of an existing directory only growth counts. Passing it: the command is told that the disk is full, or
    /// everything is killed, exit code 153. In memory (`-w tmpfs`) the default is half of the memory limit.
    #[arg(long, value_name = "SIZE", help_heading = "Limits", value_parser = limits::disk)]
    pub(in crate::cli) disk: Option<Limit<u64>>,

    /// Files in the workspace (default: 2^20; a DIR: max)
    ///
    /// Directories and links too; of an existing directory only growth counts. Passing it is told as with `--disk`. In
    /// memory (`-w tmpfs`) the default is one for each 2 KiB.
    #[arg(long, value_name = "COUNT", help_heading = "Limits", value_parser = limits::inodes)]
    pub(in crate::cli) inodes: Option<Limit<u64>>,

    /// Bytes in /tmp (default: half of the memory)
    ///
    /// `/tmp` is in memory and counts as memory.
    #[arg(long, value_name = "SIZE", help_heading = "Limits", value_parser = limits::tmp)]
    pub(in crate::cli) tmp: Option<Limit<u64>>,

    /// Bytes in /dev/shm (default: 64M)
    ///
    /// `/dev/shm` is in memory and counts as memory.
    #[arg(long, value_name = "SIZE", help_heading = "Limits", value_parser = limits::shm)]
    pub(in crate::cli) shm: Option<Limit<u64>>,

    /// Open files of each process (default: 1024)
    ///
    /// One more and open fails.
    #[arg(long, value_name = "COUNT", help_heading = "Limits", value_parser = limits::open_files)]
    pub(in crate::cli) open_files: Option<Limit<u64>>,

    /// System call policy (default: default)
    ///
    /// A built-in policy or a file: a file has a `/` in its name or ends in `.json`, and is in the OCI form, as
    /// Docker's are. For example: `--seccomp strict`, `--seccomp ./mine.json`.
    #[arg(long, value_name = "NAME|FILE", help_heading = "Fences")]
    pub(in crate::cli) seccomp: Option<String>,

    /// Fail unless a feature is in force (repeatable)
    ///
    /// One of cgroup, landlock, memory, pids, cpu, workspace, groups. `pinfold doctor` says which this host has.
    #[arg(long, value_name = "FEATURE", help_heading = "Fences", hide_possible_values = true, value_parser = requirement_parser())]
    pub(in crate::cli) require: Vec<String>,
}

impl SandboxOptions {
    /// The network, which is none unless asked for.
    pub(in crate::cli) fn network(&self) -> Network {
        self.net.clone().unwrap_or_default()
    }
}
