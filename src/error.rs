//! Why no sandbox was started. How a started one ended, however badly, is an `Outcome` and never one of these.

use std::io;
use std::path::PathBuf;

/// Why no sandbox was started, or why a running one can't be spoken to. Whenever this comes back from
/// [`run`](crate::Pinfold::run) or [`spawn`](crate::Pinfold::spawn), nothing of the job ran.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no runner beside this program or on `PATH`.
    #[error("failed to find `pinfold-runner` beside this program or on `PATH`")]
    RunnerNotFound,
    /// The runner that was named is not an executable file.
    #[error("failed to use `{}` as the runner", path.display())]
    UnusableRunner {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The runner could not be started, for want of memory, processes or descriptors for instance.
    #[error("failed to {step} for the runner `{}`", runner.display())]
    Start {
        /// What was being done: `make a pipe`.
        step: &'static str,
        /// The runner's file.
        runner: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The job is larger than any runner reads: 64 MiB ([`MAX_JOB_BYTES`](crate::MAX_JOB_BYTES)) as JSON.
    #[error("failed to send a job of {bytes} bytes: the runner reads at most {limit}")]
    JobTooBig {
        /// The size of the job in bytes.
        bytes: usize,
        /// The most that would do.
        limit: usize,
    },
    /// The job can't be written as JSON, since somebody put a value into it that no job has.
    #[error("failed to write the job as JSON")]
    InvalidJob(#[source] serde_json::Error),
    /// The job brings its own `stdin` and the caller wants to write it live: only one can be.
    #[error("failed to choose between the job's `stdin` and a live one")]
    TwoStdins,
    /// This was not called on a tokio runtime.
    #[error("failed to find a tokio runtime")]
    NoRuntime(#[source] tokio::runtime::TryCurrentError),
    /// The tokio runtime was shut down while the sandbox ran. The sandbox has ended or is about to.
    #[error("failed to wait for sandbox `{id}`: the tokio runtime was shut down")]
    RuntimeShutDown {
        /// The sandbox.
        id: String,
    },
    /// The sandbox has ended, or is ending: there is nothing to send to any more.
    #[error("failed to reach sandbox `{id}`: it has ended")]
    Ended {
        /// The sandbox.
        id: String,
    },
    /// The runner does not take the message, since it does not read: it may be stopped.
    #[error("failed to send to the runner of sandbox `{id}`")]
    Unreachable {
        /// The sandbox.
        id: String,
        /// What the system said.
        source: io::Error,
    },
    /// No signal has this number: signal(7) knows 1 to 64.
    #[error("failed to send signal {number}: there are 1 to 64")]
    UnknownSignal {
        /// The number.
        number: i32,
    },
}

impl Error {
    /// What to do about it, where we know.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::RunnerNotFound => Some(
                "install `pinfold-runner` into the same directory as this program, or name it with `Pinfold::builder().runner(…)`",
            ),
            Self::UnusableRunner { .. } => Some("name the file `pinfold-runner`, which must be executable"),
            Self::JobTooBig { .. } => {
                Some("mount large inputs from the host instead of sending them as `files` or `stdin`")
            }
            Self::TwoStdins => Some("leave `stdin` out of the job, or use `Stdin::Job`"),
            Self::NoRuntime(_) => Some("call it from a tokio runtime with I/O and time enabled"),
            _ => None,
        }
    }
}
