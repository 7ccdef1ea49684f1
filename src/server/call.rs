//! One request, as a route sees it: whose it is, what its path names, and how it gets its share of the server.

use super::problem::Problem;
use super::state::{Owner, Phase, Shared};
use axum::http::HeaderMap;
use pinfold::held::Held;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a request waits for its turn where many want the same.
const TURN: Duration = Duration::from_secs(10);

/// Who asks: the number of the token that was shown, and whose it is.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) token: usize,
    pub(super) owner: Arc<Owner>,
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) shared: Arc<Shared>,
    pub(super) owner: Arc<Owner>,
    token: usize,
    pub(super) headers: HeaderMap,
    parameters: Arc<[(String, String)]>,
}

/// A share of something that there is not enough of for everybody, counted for as long as it is held.
#[derive(Debug)]
pub(super) struct Share {
    _permits: [OwnedSemaphorePermit; 2],
    shared: Arc<Shared>,
    gauge: fn(&Shared) -> &AtomicI64,
}

impl Drop for Share {
    fn drop(&mut self) {
        (self.gauge)(&self.shared).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Call {
    pub(super) fn new(
        shared: Arc<Shared>,
        caller: Caller,
        headers: HeaderMap,
        parameters: Vec<(String, String)>,
    ) -> Self {
        let Caller { token, owner } = caller;
        Self { shared, owner, token, headers, parameters: parameters.into() }
    }

    /// Whether the token that it was asked with was not withdrawn, and the server does not end.
    pub(super) fn goes_on(&self) -> bool {
        let is_good = self.shared.tokens().owner_of(self.token).is_some();
        is_good && *self.shared.phase.borrow() < Phase::Draining
    }

    /// Returns when what would go on for ever is to end.
    pub(super) async fn ended(&self) {
        self.shared.ended_for(self.token).await;
    }

    /// Returns when the token that it was asked with is withdrawn.
    pub(super) async fn withdrawn(&self) {
        self.shared.withdrawn(self.token).await;
    }

    /// What the path has in the place of `{name}`.
    pub(super) fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }

    /// Does what blocks where that holds nobody up.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared, &Owner) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let permit = tokio::time::timeout(TURN, self.shared.blocking.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = permit else { return Err(Problem::busy("the server has too much to do")) };
        let (shared, owner) = (self.shared.clone(), self.owner.clone());
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&shared, &owner)
        });
        done.await.unwrap_or_else(|error| Err(Problem::ours("panic", error.to_string())))
    }

    /// The sandbox that the path names, if it lives.
    pub(super) async fn held(&self) -> Result<Held, Problem> {
        let name = self.owner.sandbox(self.parameter("sandbox"))?;
        self.blocking(move |shared, _| Ok(shared.sandboxes.get(name.as_str())?)).await
    }

    /// The id of the workspace that the path names.
    pub(super) fn workspace(&self) -> Result<String, Problem> {
        self.owner.workspace(self.parameter("workspace"))
    }

    /// The right to run one more command.
    pub(super) fn command(&self) -> Result<Share, Problem> {
        let (all, words) = ([&self.owner.commands, &self.shared.commands], "as many commands run as may at once");
        let share = self.share(all, |shared| &shared.metrics.commands, words)?;
        let most = self.shared.settings.max_commands;
        // One owner among several leaves some for the others.
        let own = if self.shared.tokens().askers() > 1 { most.div_ceil(2) } else { most };
        match most - self.owner.commands.available_permits() <= own {
            true => Ok(share),
            false => Err(Problem::busy(words)),
        }
    }

    /// The right to one more stream of events or one more terminal.
    pub(super) fn stream(&self) -> Result<Share, Problem> {
        let all = [&self.owner.streams, &self.shared.streams];
        self.share(all, |shared| &shared.metrics.streams, "as many streams are open as may be at once")
    }

    fn share(
        &self,
        all: [&Arc<Semaphore>; 2],
        gauge: fn(&Shared) -> &AtomicI64,
        words: &str,
    ) -> Result<Share, Problem> {
        let take = |of: &Arc<Semaphore>| of.clone().try_acquire_owned().map_err(|_full| Problem::busy(words));
        let permits = [take(all[0])?, take(all[1])?];
        gauge(&self.shared).fetch_add(1, Ordering::Relaxed);
        Ok(Share { _permits: permits, shared: self.shared.clone(), gauge })
    }
}
