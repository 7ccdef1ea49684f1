//! What the operator set: the bounds of every job, every sandbox and every piece of code. A tool can only stay below them.

use super::refusal::Refusal;
use pinfold::code::{CodeError, Executor, Languages};
use pinfold::held::Spec;
use pinfold::workspace::Quota;
use pinfold::{Argv, ByteSize, Job, Limit, Network, Pinfold, Workspace, service};
use std::fmt::Write as _;
use std::time::Duration;

/// How many hosts that can be reached are named.
const HOSTS: usize = 50;

/// The bounds that the server works in.
#[derive(Debug)]
pub(crate) struct Bounds {
    /// What every sandbox is like: its view, its fences, its limits. It has no command.
    pub(crate) job: Job,
    /// How long one command or one piece of code may run.
    pub(crate) time: Option<Duration>,
    /// How much of each output is told, in bytes.
    pub(crate) output: u64,
    /// How many sandboxes there may be at once.
    pub(crate) max_sandboxes: usize,
    /// After how long without use a sandbox ends.
    pub(crate) idle: Duration,
    /// How the ids of the server's workspaces begin.
    pub(crate) prefix: String,
    /// How many of these there may be.
    pub(crate) max_workspaces: usize,
    /// The languages that are known.
    pub(crate) languages: Languages,
    /// Those that may be used; all, if it is empty.
    pub(crate) allowed: Vec<String>,
}

/// How long something may run, and what there is to say of that.
#[derive(Clone, Debug)]
pub(super) struct Time {
    pub(super) limit: Option<Duration>,
    pub(super) note: Option<String>,
}

impl Bounds {
    /// The time that was asked for, or the operator's where that is less.
    pub(super) fn time(&self, asked: Option<f64>) -> Result<Time, Refusal> {
        let Some(seconds) = asked else { return Ok(Time { limit: self.time, note: None }) };
        let asked = Duration::try_from_secs_f64(seconds).ok().filter(|time| *time >= Duration::from_millis(1));
        let asked = asked.ok_or_else(|| Refusal::new("`timeout_seconds` must be a number from 0.001 on"))?;
        match self.time {
            Some(most) if asked > most => {
                let note = format!("timeout_seconds was lowered to {most:?}, the most that is allowed here");
                Ok(Time { limit: Some(most), note: Some(note) })
            }
            _ => Ok(Time { limit: Some(asked), note: None }),
        }
    }

    /// The job of a command in a sandbox of its own.
    pub(super) fn job(&self, command: Vec<String>, time: &Time) -> Result<Job, Refusal> {
        let command = Argv::try_from(command).map_err(|error| Refusal::new(error.to_string()))?;
        let mut job = Job { command, ..self.job.clone() };
        job.limits.wall_ms = time.to_limit();
        job.limits.output_bytes = Limit::At(self.output);
        Ok(job)
    }

    /// What a sandbox that stays is like. It ends when nobody uses it.
    pub(super) fn spec(&self) -> Spec {
        Spec::default().like(self.job.clone()).idle(self.idle)
    }

    /// What a stored workspace may hold.
    pub(super) fn quota(&self) -> Quota {
        service::quota(&self.job.limits)
    }

    /// How much a sandbox may add to a stored workspace of this quota.
    pub(super) fn limit_in(&self, quota: Quota, job: &mut Job) {
        service::limit_in(quota, self.quota(), job);
    }

    /// What runs code within these bounds.
    pub(super) fn executor(&self, pinfold: Pinfold) -> Result<Executor, CodeError> {
        service::executor(&self.job, (self.time, self.output), self.languages.clone(), &self.allowed, pinfold)
    }

    /// The names of the languages that may be used.
    pub(super) fn language_names(&self) -> Vec<String> {
        let all = || self.languages.iter().map(|language| language.name.clone()).collect();
        if self.allowed.is_empty() { all() } else { self.allowed.clone() }
    }

    /// What a model has to know of all tools.
    pub(super) fn instructions(&self) -> String {
        let limits = &self.job.limits;
        let size = |limit: Limit<u64>| limit.value().map_or("no limit".to_owned(), |it| ByteSize::new(it).to_string());
        let mut text = "Runs code and commands on Linux, each in a sandbox that is confined by the kernel. The \
                        workspace is the directory /workspace, where commands start; the rest of the file system is \
                        read-only but for /tmp, which is in memory. "
            .to_owned();
        text += match &self.job.workspace {
            Workspace::Path(_) => {
                "/workspace is one directory that all commands and sandboxes share; what is written \
                                   there stays. run_code has an empty one of its own. "
            }
            _ => {
                "Each run_command and run_code has an empty one that is gone afterwards; that of a sandbox lives as \
                  long as it does. To keep files, make a workspace and name it. "
            }
        };
        text += &match &self.job.network {
            Network::None => "There is no network: nothing can be downloaded. ".to_owned(),
            Network::Host => "The network is the host's. ".to_owned(),
            Network::Allow(list) => {
                let hosts: Vec<_> = list.rules().iter().take(HOSTS).cloned().map(String::from).collect();
                let more = if list.rules().len() > HOSTS { " and others" } else { "" };
                format!("Of the network only these hosts can be reached, by TCP: {}{more}. ", hosts.join(", "))
            }
        };
        let time = self.time.map_or("no limit".to_owned(), |time| format!("{time:?}"));
        // Writing to a String can't fail.
        let _ = write!(
            text,
            "Limits, which no tool can raise: {time} for each command, {} of memory, {} processes, {} of each output \
             stream, {} sandboxes at once. A sandbox that nobody uses for {:?} ends.",
            size(limits.memory_bytes),
            limits.pids.value().map_or("any number of".to_owned(), |pids| pids.to_string()),
            ByteSize::new(self.output),
            self.max_sandboxes,
            self.idle,
        );
        text
    }
}

impl Time {
    pub(super) fn to_limit(&self) -> Limit<u64> {
        service::wall_limit(self.limit)
    }
}
