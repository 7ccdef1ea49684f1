//! The runner's own command line: how a supervisor hands it descriptors. A pipeline needs none of these.

use std::os::fd::RawFd;

/// What `pinfold-runner` was asked for beside the job. All descriptors are inherited and must be 3 or higher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunnerOptions {
    /// A stream socket (or a pipe's read end). When the other end closes, the sandbox ends. A supervisor may write
    /// [`ControlMessage`]s to it.
    pub lifeline: Option<RawFd>,
    /// Read instead of the job's `stdin` until end-of-file, and passed on to the command as it comes.
    pub stdin: Option<RawFd>,
    /// Where the command's stdout goes as it comes; the result's `stdout` is empty then.
    pub stdout: Option<RawFd>,
    /// Where the command's stderr goes as it comes; the result's `stderr` is empty then. Unused with a terminal.
    pub stderr: Option<RawFd>,
    /// Gives the command a terminal of its own, of so many rows and columns; needs `stdin` and `stdout`.
    pub terminal: Option<(u16, u16)>,
    /// The runner's end of the socket of a held sandbox (`contract::held`); the job on stdin has no command then.
    pub held: Option<RawFd>,
    /// A socket that keeps messages whole (SOCK_SEQPACKET), through which the supervisor gets what it needs to relay the
    /// connections of a job with a list of allowed hosts. Such a job can't be done without it.
    pub network: Option<RawFd>,
    /// Show layers as one directory: a request on stdin, which is a socket, is answered there by a descriptor.
    pub view: bool,
    /// Sweep what crashed runners left behind, and end without reading a job.
    pub sweep: bool,
}

impl RunnerOptions {
    /// The options as command-line arguments.
    pub fn to_args(&self) -> Vec<String> {
        let mut args = Vec::new();
        for (name, fd) in [
            ("--lifeline", self.lifeline),
            ("--stdin", self.stdin),
            ("--stdout", self.stdout),
            ("--stderr", self.stderr),
            ("--held", self.held),
            ("--network", self.network),
        ] {
            if let Some(fd) = fd {
                args.push(format!("{name}={fd}"));
            }
        }
        if let Some((rows, columns)) = self.terminal {
            args.push(format!("--terminal={rows}x{columns}"));
        }
        if self.view {
            args.push("--view".to_owned());
        }
        if self.sweep {
            args.push("--sweep".to_owned());
        }
        args
    }

    /// Reads the options from command-line arguments, without the program's name.
    ///
    /// # Errors
    /// A message that names the argument that is not understood.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        for arg in args {
            let (name, value) = arg.split_once('=').map_or((arg.as_str(), None), |(name, value)| (name, Some(value)));
            match (name, value) {
                ("--lifeline", Some(value)) => options.lifeline = Some(descriptor(name, value)?),
                ("--stdin", Some(value)) => options.stdin = Some(descriptor(name, value)?),
                ("--stdout", Some(value)) => options.stdout = Some(descriptor(name, value)?),
                ("--stderr", Some(value)) => options.stderr = Some(descriptor(name, value)?),
                ("--held", Some(value)) => options.held = Some(descriptor(name, value)?),
                ("--network", Some(value)) => options.network = Some(descriptor(name, value)?),
                ("--terminal", Some(value)) => options.terminal = Some(size(value)?),
                ("--view", None) => options.view = true,
                ("--sweep", None) => options.sweep = true,
                _ => return Err(format!("unknown option `{arg}`")),
            }
        }
        if options.terminal.is_some() && (options.stdin.is_none() || options.stdout.is_none()) {
            return Err("`--terminal` needs `--stdin` and `--stdout`".to_owned());
        }
        Ok(options)
    }
}

fn descriptor(name: &str, value: &str) -> Result<RawFd, String> {
    match value.parse::<RawFd>() {
        Ok(fd) if fd >= 3 => Ok(fd),
        _ => Err(format!("`{name}={value}`: a descriptor's number of 3 or higher is needed")),
    }
}

fn size(value: &str) -> Result<(u16, u16), String> {
    value
        .split_once('x')
        .and_then(|(rows, columns)| Some((rows.parse().ok()?, columns.parse().ok()?)))
        .ok_or_else(|| format!("`--terminal={value}`: ROWSxCOLUMNS is needed, such as 24x80"))
}

/// What a supervisor may ask of a running sandbox over the lifeline: five bytes, a kind and two numbers (little-endian).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlMessage {
    /// The terminal's size changed.
    Resize {
        /// Lines.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// Send this signal to the command and its process group, as a terminal's Ctrl-C does.
    Signal(u16),
    /// End the sandbox; the result says `cancelled`.
    Cancel,
}

impl ControlMessage {
    /// The length of a message on the lifeline.
    pub const BYTES: usize = 5;

    /// The message as bytes.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let (kind, first, second) = match self {
            Self::Resize { rows, columns } => (b'r', rows, columns),
            Self::Signal(number) => (b's', number, 0),
            Self::Cancel => (b'c', 0, 0),
        };
        let ([a, b], [c, d]) = (first.to_le_bytes(), second.to_le_bytes());
        [kind, a, b, c, d]
    }

    /// The message that `bytes` say, or `None` if they say none.
    pub fn decode(bytes: [u8; Self::BYTES]) -> Option<Self> {
        let first = u16::from_le_bytes([bytes[1], bytes[2]]);
        let second = u16::from_le_bytes([bytes[3], bytes[4]]);
        match bytes[0] {
            b'r' => Some(Self::Resize { rows: first, columns: second }),
            b's' => Some(Self::Signal(first)),
            b'c' => Some(Self::Cancel),
            _ => None,
        }
    }
}
