//! How a server is to be: what the operator said to `pinfold serve`, handed on as JSON.

use pinfold_runner::{Job, Limits};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listen {
    /// A Unix socket in the runtime directory.
    Default,
    /// A Unix socket of this path.
    Unix(PathBuf),
    /// An address of TCP.
    Tcp(SocketAddr),
}

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It answers clients and runs builds.
    All,
    /// It answers clients. Builds wait for workers elsewhere.
    Api,
    /// It runs builds, and is reached by nobody.
    Worker,
}

impl Role {
    /// Whether it answers clients.
    pub fn answers(self) -> bool {
        self != Self::Worker
    }

    /// Whether it runs builds.
    pub fn works(self) -> bool {
        self != Self::Api
    }
}

/// Everything that the operator sets. No request can change any of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where it is reached, unless sockets are handed to it.
    pub listen: Listen,
    /// Who may use it: lines of `NAME TOKEN`. None means the file in the state directory, which is made.
    pub token_file: Option<PathBuf>,
    /// What else may stand in `Host`, for those behind a proxy.
    pub hosts: Vec<String>,
    /// What every sandbox is like, and the most that each of its limits may be.
    pub job: Job,
    /// How long one command may run at most.
    pub time: Option<Duration>,
    /// How many sandboxes of each owner may live at once.
    pub max_sandboxes: usize,
    /// After how long without use a sandbox ends.
    pub idle: Duration,
    /// How many workspaces each owner may have.
    pub max_workspaces: usize,
    /// How many commands of all owners may run at once.
    pub max_commands: usize,
    /// How many connections there may be at once.
    pub max_connections: usize,
    /// The most of one request's body that is held in memory, in bytes.
    pub max_body: u64,
    /// The most of one archive that is uploaded, in bytes.
    pub max_archive: u64,
    /// How long what is at work may go on when the server is to end.
    pub drain: Duration,
    /// A folder of languages beside those that are built in.
    pub languages: Option<PathBuf>,
    /// The languages that may be used; all, if it is empty.
    pub allowed_languages: Vec<String>,
    /// What it does.
    pub role: Role,
    /// How many builds it runs at once.
    pub workers: usize,
    /// The limits of a build's phase, where the project says none, and the most that it may say.
    pub build_limits: Limits,
    /// How long a build may take.
    pub build_time: Duration,
    /// How often workers may try a build, if they are lost.
    pub build_attempts: u32,
    /// How long a build is a worker's without a sign of life.
    pub build_lease: Duration,
    /// How long a build may wait for a worker.
    pub build_wait: Duration,
    /// How many builds of each owner may wait.
    pub max_builds: u64,
    /// How many bytes the builds of each owner may hold.
    pub max_stored: u64,
    /// The origin below which each preview has its own, such as `https://previews.example`. None means `localhost`, with the
    /// server's own port.
    pub previews: Option<String>,
}
