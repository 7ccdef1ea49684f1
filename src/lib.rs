//! Runs other people's code on a Linux host in a fresh native sandbox: no Docker, no daemon, no root.
//!
//! A [`Job`] says what to run, in which view of the file system and under which limits; [`job`] builds one. [`Pinfold`]
//! runs it in a sandbox of its own, made by the separate program `pinfold-runner` in some milliseconds, and answers with
//! an [`Outcome`]: what happened, what it cost, and what was enforced.
//!
//! ```
//! use pinfold::{ByteSize, Pinfold, Status, job};
//! use std::time::Duration;
//!
//! async fn answer(pinfold: &Pinfold) -> Result<String, Box<dyn std::error::Error>> {
//!     let job = job(["sh", "ask.sh"])
//!         .file("ask.sh", "read question; echo \"$question 42\"")
//!         .stdin("What is six times seven?\n")
//!         .wall(Duration::from_secs(10))
//!         .memory(ByteSize::mebibytes(64))
//!         .build()?;
//!     let outcome = pinfold.run(job).await?;
//!     assert_eq!((outcome.status, outcome.exit_code), (Status::Exited, Some(0)));
//!     Ok(outcome.stdout.to_text().into_owned())
//! }
//! #
//! # // A documentation test lives in a temporary directory, so that the runner that cargo built is not beside it.
//! # let target = std::env::var("CARGO_TARGET_DIR").unwrap_or(concat!(env!("CARGO_MANIFEST_DIR"), "/target").to_owned());
//! # let profiles = ["debug", "release"].map(|profile| format!("{target}/{}-unknown-linux-gnu/{profile}", std::env::consts::ARCH));
//! # let built = profiles.iter().map(|folder| format!("{folder}/pinfold-runner")).find(|it| std::fs::exists(it).unwrap_or(false));
//! # let Some(built) = built else { return eprintln!("skipped: cargo has not built `pinfold-runner`") };
//! # let pinfold = Pinfold::builder().runner(built).build().unwrap();
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! # assert_eq!(runtime.block_on(answer(&pinfold)).unwrap(), "What is six times seven? 42\n");
//! ```
//!
//! [`Pinfold::new`] finds the runner beside the program or on `PATH`; [`Pinfold::builder`] is told where it is. Make one
//! `Pinfold` and share it, since it also bounds how many sandboxes run at once.
//!
//! # Live streams
//!
//! [`Pinfold::spawn`] starts a job and leaves its stdio to the host: [`Stdio::live`] streams all three with backpressure,
//! [`Stdio::terminal`] gives the command a terminal. The [`Sandbox`] takes signals, a new terminal size, or the wish to
//! end; a [`Controller`] does the same from elsewhere.
//!
//! ```no_run
//! # async fn example(pinfold: pinfold::Pinfold) -> Result<(), Box<dyn std::error::Error>> {
//! use pinfold::{Stdio, job};
//!
//! let mut sandbox = pinfold.spawn(job(["make", "-j4"]).workspace("/srv/build").build()?, Stdio::live()).await?;
//! let mut stdout = sandbox.take_stdout().ok_or("streamed")?;
//! let relay = tokio::spawn(async move { tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await });
//! let outcome = sandbox.wait().await?;
//! relay.await??;
//! # Ok(())
//! # }
//! ```
//!
//! # What holds, whatever happens
//!
//! - Dropping a [`Sandbox`], or the future of [`Pinfold::run`], ends the sandbox. So does the end of this process, however
//!   it ends: the runner notices that its lifeline, a socket, has closed.
//! - The runner holds every limit itself. The library holds the wall clock a second time, from outside, so that a runner
//!   that was stopped or hangs still ends: [`PinfoldBuilder::grace`].
//! - The runner's answer is checked and never taken on trust. What can't be is an outcome `failed`, code `bad_answer`.
//! - Output is bounded by the job's `output_bytes`, the answer as a whole by 1 GiB, streams by the pipes they run through.
//! - No zombie and no sandbox outlives the tokio runtime: what is left when it shuts down is given the same grace on a
//!   thread of its own. Only if the process ends before that does a runner finish by itself, as an orphan.
//!
//! Which features of the host a sandbox needs, what it confines and what it does not is in the project's README.

mod answer;
pub mod build;
mod byte_size;
pub mod checkpoint;
pub mod code;
mod duration;
mod error;
pub mod files;
pub mod held;
mod job_builder;
mod job_limits;
#[doc(hidden)]
pub mod keeper;
mod lifeline;
mod locate;
pub mod network;
mod pinfold;
mod quantity;
mod runner_process;
mod sandbox;
#[doc(hidden)]
pub mod service;
mod stdio;
mod supervision;
mod sys;
mod tar;
pub mod workspace;

pub use crate::byte_size::ByteSize;
pub use crate::duration::{parse_duration, parse_duration_limit};
pub use crate::error::Error;
pub use crate::job_builder::{JobBuilder, job};
pub use crate::job_limits::IntoLimit;
pub use crate::pinfold::{Pinfold, PinfoldBuilder};
pub use crate::quantity::InvalidText;
pub use crate::sandbox::{Controller, Sandbox};
pub use crate::stdio::{SandboxStderr, SandboxStdin, SandboxStdout, Stdin, Stdio};
pub use pinfold_runner::{
    AbsolutePath, AddressRange, AllowList, Argv, ArtifactError, ArtifactErrorCode, ArtifactFile, Artifacts,
    CONTRACT_VERSION, CgroupVersion, Connection, Content, ControlMessage, Cpuset, Cwd, Environment, Failure, FileEntry,
    Groups, InvalidValue, Isolation, Job, JobError, Layers, Lifetime, Limit, Limits, MAX_JOB_BYTES, MAX_LAYERS,
    Mechanism, MemoryUse, Mode, Mount, Network, NetworkFence, Outcome, RefusalReason, Requirement, Root, Rule,
    RunnerOptions, SandboxId, Seccomp, Status, Usage, User, WORKSPACE, Workspace, WorkspaceFiles, WorkspaceMechanism,
    WorkspacePath,
};
