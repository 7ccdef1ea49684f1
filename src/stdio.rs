//! How a sandbox's stdin, stdout and stderr reach the host, and the live streams. They are relayed by the runner, but for
//! commands in held sandboxes, which hold the other ends of fresh pipes: never one of the host's descriptors.

use crate::held::output::Live;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

/// Where the command's stdin comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stdin {
    /// The job's `stdin`, then end-of-file.
    #[default]
    Job,
    /// What the host writes to [`SandboxStdin`](crate::SandboxStdin); end-of-file when that is shut down or dropped. The
    /// job's own `stdin` must be empty.
    Live,
}

/// How the command's stdio reaches the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdio {
    /// The result brings stdout and stderr, up to `output_bytes` of each.
    Captured {
        /// Where stdin comes from.
        stdin: Stdin,
    },
    /// stdout and stderr are streamed, with backpressure: what the host does not read in time holds the command up.
    Live {
        /// Where stdin comes from.
        stdin: Stdin,
    },
    /// The command has a terminal of its own. stdin is streamed to it; all output comes as one stream, stdout.
    Terminal {
        /// Lines.
        rows: u16,
        /// Columns.
        columns: u16,
    },
}

impl Stdio {
    /// stdin from the job, output in the result.
    pub const fn captured() -> Self {
        Self::Captured { stdin: Stdin::Job }
    }

    /// All three streamed.
    pub const fn live() -> Self {
        Self::Live { stdin: Stdin::Live }
    }

    /// A terminal of so many rows and columns.
    pub const fn terminal(rows: u16, columns: u16) -> Self {
        Self::Terminal { rows, columns }
    }

    pub(crate) fn streams_stdin(self) -> bool {
        matches!(
            self,
            Self::Captured { stdin: Stdin::Live } | Self::Live { stdin: Stdin::Live } | Self::Terminal { .. }
        )
    }

    pub(crate) fn streams_stdout(self) -> bool {
        !matches!(self, Self::Captured { .. })
    }

    pub(crate) fn streams_stderr(self) -> bool {
        matches!(self, Self::Live { .. })
    }

    pub(crate) fn terminal_size(self) -> Option<(u16, u16)> {
        match self {
            Self::Terminal { rows, columns } => Some((rows, columns)),
            Self::Captured { .. } | Self::Live { .. } => None,
        }
    }
}

/// What the command reads on stdin. Shut it down or drop it for end-of-file. Writing waits while the command does not
/// read, and fails with `BrokenPipe` when it never will.
#[derive(Debug)]
pub struct SandboxStdin(Sink);

/// Where it goes.
#[derive(Debug)]
enum Sink {
    /// To the runner, which passes it on.
    Runner(UnixStream),
    /// To a command in a held sandbox itself.
    Command(pipe::Sender),
    /// Nowhere: only closing a pipe is end-of-file to who reads it.
    Closed,
}

impl SandboxStdin {
    pub(crate) fn new(socket: UnixStream) -> Self {
        Self(Sink::Runner(socket))
    }

    pub(crate) fn of_command(pipe: pipe::Sender) -> Self {
        Self(Sink::Command(pipe))
    }
}

impl AsyncWrite for SandboxStdin {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Sink::Runner(socket) => Pin::new(socket).poll_write(context, bytes),
            Sink::Command(pipe) => Pin::new(pipe).poll_write(context, bytes),
            Sink::Closed => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Neither a socket nor a pipe keeps anything back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Sink::Runner(socket) = &mut self.0 {
            return Pin::new(socket).poll_shutdown(context);
        }
        self.0 = Sink::Closed;
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Sink::Runner(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Sink::Command(pipe) => Pin::new(pipe).poll_write_vectored(context, slices),
            Sink::Closed => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

macro_rules! output {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            pipe: pipe::Receiver,
            /// In a held sandbox nobody stands between the command and us.
            live: Option<Live>,
        }

        impl $name {
            pub(crate) fn new(pipe: pipe::Receiver) -> Self {
                Self { pipe, live: None }
            }

            pub(crate) fn of_command(pipe: pipe::Receiver, live: Live) -> Self {
                Self { pipe, live: Some(live) }
            }
        }

        impl AsyncRead for $name {
            fn poll_read(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                let Self { pipe, live } = &mut *self;
                match live {
                    None => Pin::new(pipe).poll_read(context, buffer),
                    Some(live) => live.poll_read(pipe, context, buffer),
                }
            }
        }
    };
}

output! {
    /// What the command writes to stdout, or to its terminal, as it comes; end-of-file when the sandbox has ended.
    SandboxStdout
}

output! {
    /// What the command writes to stderr, as it comes; end-of-file when the sandbox has ended.
    SandboxStderr
}
