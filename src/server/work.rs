//! Builds: what the operator grants to those of clients, and the worker that runs them inside of the server.

use super::problem::Problem;
use super::state::{Phase, Shared};
use axum::http::StatusCode;
use pinfold::build::{Policy, Worker, WorkerSettings};
use pinfold::service::Settings;
use pinfold::{Job, Mode, Network, Pinfold, Root, Seccomp};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// How long it waits before it works again, when the store could not be used.
const PAUSE: Duration = Duration::from_secs(5);

/// What builds of clients get.
#[derive(Debug)]
pub(super) struct Grants(Result<Policy, &'static str>);

impl Grants {
    /// No more than every other sandbox of this server gets.
    pub(super) fn of(settings: &Settings) -> Self {
        let job = &settings.job;
        if let Some(option) = beyond(job) {
            return Self(Err(option));
        }
        let limits = settings.build_limits.clone();
        Self(Ok(Policy {
            fetch: job.network.clone(),
            // What a sandbox may not reach, a project can't list.
            may_list_hosts: job.network == Network::Host,
            most: limits.clone(),
            usual: limits,
            time: settings.build_time,
            attempts: settings.build_attempts,
            env: job.env.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            mounts: job.mounts.clone(),
            ..Policy::default()
        }))
    }

    /// # Errors
    /// When the operator set what builds can't have: they don't run without it.
    pub(super) fn policy(&self) -> Result<&Policy, Problem> {
        self.0.as_ref().map_err(|option| {
            let words = format!("this server has no builds: its operator set `{option}`, which builds can't have");
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unsupported", words)
        })
    }
}

/// The first option for all sandboxes that those of builds can't obey.
fn beyond(job: &Job) -> Option<&'static str> {
    let all = [
        ("--root", job.root != Root::default()),
        ("--seccomp", job.seccomp != Seccomp::default()),
        ("--require", !job.require.is_empty()),
        ("--mode", job.mode != Mode::default()),
    ];
    all.into_iter().find(|(_, is_set)| *is_set).map(|(option, _)| option)
}

/// Runs builds until the server ends: then it takes no more, those that run have the time of everything else to end, and what
/// is left goes back to the queue.
pub(super) async fn work(shared: Arc<Shared>) {
    while *shared.phase.borrow() < Phase::Draining {
        let Err(cause) = try_to_work(&shared).await else { return };
        shared.journal.tell("error", "worker", json!({"cause": cause}));
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = shared.draining() => return,
        }
    }
}

async fn try_to_work(shared: &Shared) -> Result<(), String> {
    // Places of its own, so that commands and builds don't take each other's.
    let pinfold =
        Pinfold::builder().max_sandboxes(shared.settings.workers).build().map_err(|error| error.to_string())?;
    let mut settings = WorkerSettings::default();
    (settings.at_once, settings.drain) = (shared.settings.workers, shared.settings.drain);
    (settings.lease, settings.heartbeat) = (shared.settings.build_lease, shared.settings.build_lease / 3);
    settings.longest_wait = shared.settings.build_wait;
    let worker = Worker::new(shared.builds.clone(), pinfold, settings).map_err(|error| error.to_string())?;
    worker.run(shared.draining()).await.map_err(|error| error.to_string())
}
