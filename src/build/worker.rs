//! Workers: whoever runs builds. Any number of them, in any number of processes, share one queue.

use super::attempt::{self, remove_workspace, workspace_id};
use super::builds::Builds;
use super::clock::Moment;
use super::error::Error;
use super::guard::{Stop, tell};
use super::runner;
use super::store::Claim;
use crate::pinfold::Pinfold;
use crate::workspace::record::milliseconds;
use crate::workspace::{Listed, Store};
use std::future::Future;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How a worker works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerSettings {
    /// How many builds it runs at once; 2.
    pub at_once: usize,
    /// How long a build is its own without a sign of life; 30 seconds.
    pub lease: Duration,
    /// How often it gives one; 10 seconds.
    pub heartbeat: Duration,
    /// How long a build may wait for a worker; 15 minutes.
    pub longest_wait: Duration,
    /// How often it looks for builds that other processes handed in; 200 ms.
    pub look: Duration,
    /// How long builds that run may go on when it is to end, before they go back to the queue; 30 seconds.
    pub drain: Duration,
    /// After how long builds are forgotten that ended, but for those that projects show; 30 days.
    pub forget_after: Option<Duration>,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            at_once: 2,
            lease: Duration::from_secs(30),
            heartbeat: Duration::from_secs(10),
            longest_wait: Duration::from_secs(15 * 60),
            look: Duration::from_millis(200),
            drain: Duration::from_secs(30),
            forget_after: Some(Duration::from_secs(30 * 24 * 3600)),
        }
    }
}

/// How often it clears up.
const CLEARS: Duration = Duration::from_secs(3600);

/// After how long an archive is unpacked, however slowly it comes.
const UNPACKED: Duration = Duration::from_secs(24 * 3600);

/// One worker. Dropping it, or the future of one of its methods, ends what runs; builds that it had are found lost.
#[derive(Debug)]
pub struct Worker {
    builds: Builds,
    pinfold: Pinfold,
    settings: WorkerSettings,
    id: String,
    /// Whoever finds this unlocked knows that the worker is dead.
    _signed_on: OwnedFd,
}

impl Worker {
    /// Signs a worker on. It runs nothing before it is told to.
    ///
    /// # Errors
    /// When it can't be signed on.
    pub fn new(builds: Builds, pinfold: Pinfold, settings: WorkerSettings) -> Result<Self, Error> {
        let (id, signed_on) = builds.place().sign_on()?;
        Ok(Self { builds, pinfold, settings, id, _signed_on: signed_on })
    }

    /// Runs builds until `stop` is done. Then it takes no more; those that run have [`WorkerSettings::drain`] to end, and go
    /// back to the queue after that.
    ///
    /// # Errors
    /// When the store can't be used for longer than a lease.
    pub async fn run(&self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        self.work(stop, false, None).await
    }

    /// Runs builds until none waits and none runs here.
    ///
    /// # Errors
    /// As of [`run`](Self::run).
    pub async fn run_until_idle(&self) -> Result<(), Error> {
        self.work(std::future::pending(), true, None).await
    }

    /// Runs this build, unless another worker takes it first, and returns when it has ended or `stop` is done.
    ///
    /// # Errors
    /// As of [`run`](Self::run), and [`Error::NotFound`].
    pub async fn run_one(&self, owner: &str, id: &str, stop: impl Future<Output = ()>) -> Result<(), Error> {
        self.work(stop, false, Some((owner, id))).await
    }

    async fn work(
        &self,
        stop: impl Future<Output = ()>,
        until_idle: bool,
        only: Option<(&str, &str)>,
    ) -> Result<(), Error> {
        tokio::pin!(stop);
        let stops = Arc::new(watch::Sender::new(Stop::No));
        let (mut running, mut swept, mut cleared) = (JoinSet::new(), None, None);
        let mut well = Instant::now();
        loop {
            let is_due = |last: Option<Instant>, every| last.is_none_or(|last: Instant| last.elapsed() >= every);
            if is_due(swept, self.settings.heartbeat.min(self.settings.lease / 3)) {
                swept = Some(Instant::now());
                let _next_time = self.sweep().await;
            }
            if only.is_none() && is_due(cleared, CLEARS) {
                cleared = Some(Instant::now());
                let _next_time = self.clear().await;
            }
            match self.take(&mut running, &stops, only.map(|(_, id)| id)).await {
                Ok(()) => well = Instant::now(),
                // A full disk, or a lock that somebody keeps, may pass.
                Err(error) if well.elapsed() > self.settings.lease => return Err(error),
                Err(_) => {}
            }
            let is_done = match only {
                Some((owner, id)) => running.is_empty() && self.has_ended(owner, id).await?,
                None => until_idle && running.is_empty() && !self.is_waiting().await?,
            };
            if is_done {
                return Ok(());
            }
            tokio::select! {
                () = &mut stop => break,
                Some(_) = running.join_next() => {}
                () = self.builds.changed_within(self.settings.look) => {}
            }
        }
        self.drain(running, &stops).await;
        Ok(())
    }

    /// Takes builds for as long as there is room.
    async fn take(
        &self,
        running: &mut JoinSet<()>,
        stops: &Arc<watch::Sender<Stop>>,
        only: Option<&str>,
    ) -> Result<(), Error> {
        while running.len() < self.settings.at_once.max(1) {
            let Some(claim) = self.claim(only).await? else { return Ok(()) };
            self.builds.wake();
            let (builds, pinfold) = (self.builds.clone(), self.pinfold.clone());
            // Each build has a word of its own, and hears when all are to go back to the queue.
            let (stop, mut all) = (Arc::new(watch::Sender::new(Stop::No)), stops.subscribe());
            let settings = self.settings;
            running.spawn(async move {
                let attempt = attempt::run(builds, pinfold, claim, settings, stop.clone());
                tokio::pin!(attempt);
                tokio::select! {
                    () = &mut attempt => return,
                    _ = all.wait_for(|all| *all == Stop::Drained) => tell(&stop, Stop::Drained),
                }
                attempt.await;
            });
        }
        Ok(())
    }

    async fn claim(&self, only: Option<&str>) -> Result<Option<Claim>, Error> {
        let (id, only, lease) = (self.id.clone(), only.map(str::to_owned), self.settings.lease);
        self.builds.blocking(move |builds| builds.store().claim(&id, only.as_deref(), lease, &Moment::now())).await
    }

    async fn drain(&self, mut running: JoinSet<()>, stops: &watch::Sender<Stop>) {
        let all = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout(self.settings.drain, all).await.is_err() {
            stops.send_replace(Stop::Drained);
            while running.join_next().await.is_some() {}
        }
    }

    async fn is_waiting(&self) -> Result<bool, Error> {
        // A build whose project has one that runs elsewhere waits as well, and so does one that was lost.
        self.builds.blocking(|builds| builds.store().is_idle().map(|idle| !idle)).await
    }

    async fn has_ended(&self, owner: &str, id: &str) -> Result<bool, Error> {
        let (owner, id) = (owner.to_owned(), id.to_owned());
        self.builds.blocking(move |builds| Ok(builds.get(&owner, &id)?.state.is_terminal())).await
    }

    /// Finds builds whose workers are lost, ends what still runs of them, and puts them back or ends them; and lets builds
    /// expire that have waited too long.
    ///
    /// # Errors
    /// When the store can't be used.
    pub async fn sweep(&self) -> Result<(), Error> {
        let longest = self.settings.longest_wait;
        self.builds
            .blocking(move |builds| {
                let place = builds.place();
                for lost in builds.store().lost(&|worker| place.is_dead(worker), &Moment::now())? {
                    if lost.running.as_ref().is_some_and(|running| !runner::end(running)) {
                        // It can't be told that nothing runs any more: the next sweep tries again.
                        continue;
                    }
                    builds.store().reclaim(&lost, &Moment::now())?;
                    let _cleared_up_later = remove_workspace(builds, &workspace_id(&lost.build.id, lost.fence));
                }
                builds.store().expire_waiting(longest, &Moment::now())?;
                builds.wake();
                builds.tidy()
            })
            .await
    }

    /// Clears up what dead processes left, and forgets what is old.
    async fn clear(&self) -> Result<(), Error> {
        let forget_after = self.settings.forget_after;
        self.builds
            .blocking(move |builds| {
                sweep_workspaces(builds)?;
                forget_after.map_or(Ok(()), |age| builds.clear(age).map(drop))
            })
            .await
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.builds.place().sign_off(&self.id);
    }
}

/// Removes the workspaces of builds that don't run, and those of archives whose unpacking somebody died in. Whoever works in one
/// holds its lock.
fn sweep_workspaces(builds: &Builds) -> Result<(), Error> {
    let workspaces = Store::at(builds.place().path())?;
    let unpacked = milliseconds(SystemTime::now().checked_sub(UNPACKED).unwrap_or(SystemTime::UNIX_EPOCH));
    for listed in workspaces.list()? {
        let Listed::Workspace(info) = listed else { continue };
        let is_needed = match info.id.split(' ').collect::<Vec<_>>()[..] {
            ["build", id, fence] => match fence.parse() {
                Ok(fence) => builds.store().is_running(id, fence)?,
                Err(_) => continue,
            },
            ["input", _] => info.last_used_ms >= unpacked,
            _ => continue,
        };
        if !is_needed {
            let _in_use = workspaces.remove(&info.id, false);
        }
    }
    Ok(())
}
