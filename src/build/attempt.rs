//! One attempt at a build, from its claim to its end: the workspace, the phases, the artifact. The deadline is over all of it.

use super::artifact::{self, Missing, Unpublished};
use super::builds::Builds;
use super::clock::Moment;
use super::error::{Error, Fault};
use super::guard::{self, Stop, Stops};
use super::log::{Log, Writer};
use super::phase::Stage;
use super::snapshot;
use super::state::Report;
use super::store::Claim;
use super::toolchains;
use super::worker::WorkerSettings;
use crate::code::View;
use crate::pinfold::Pinfold;
use crate::workspace::{How, InUse, Quota, Store};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;

/// How long a worker tries to write down how a build ended, before it leaves the build to be found lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it waits between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// Runs a build that was claimed, to its end or until it is to stop.
pub(crate) async fn run(
    builds: Builds,
    pinfold: Pinfold,
    claim: Claim,
    settings: WorkerSettings,
    stop: Arc<watch::Sender<Stop>>,
) {
    let deadline = Instant::now() + Duration::from_millis(claim.build.plan.time_ms);
    let (claim, stops) = (Arc::new(claim), stop.subscribe());
    let _guard = Guard(tokio::spawn(guard::look_after(builds.clone(), claim.clone(), settings, stop)));
    let (log, writer) = Log::begin(builds.clone(), claim.clone(), claim.build.plan.bounds);
    Attempt { builds, pinfold, claim, deadline, stops }.run(log, writer).await;
}

/// A task that ends with whoever started it.
struct Guard(tokio::task::JoinHandle<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Attempt {
    builds: Builds,
    pinfold: Pinfold,
    claim: Arc<Claim>,
    deadline: Instant,
    stops: Stops,
}

/// The name of a claim's workspace. Each has its own, so that a worker who has lost a build can't disturb the next one.
pub(crate) fn workspace_id(build: &str, fence: u64) -> String {
    format!("build {build} {fence}")
}

impl Attempt {
    async fn run(mut self, log: Log, writer: Writer) {
        let build = &self.claim.build;
        log.say(None, format!("attempt {} of {} begins", build.attempt, build.attempts)).await;
        let mut made = self.make(&log).await;
        if self.why() == Stop::No {
            log.say(None, last_words(&made)).await;
        }
        drop(log);
        if let Ok(Err(error)) = writer.await
            && made.is_ok()
        {
            made = Err(Fault::from(&error));
        }
        self.end(made).await;
        let id = workspace_id(&self.claim.build.id, self.claim.fence);
        let _cleared_up_later = self.builds.blocking(move |builds| remove_workspace(builds, &id)).await;
        let _next_time = self.builds.blocking(Builds::tidy).await;
        self.builds.wake();
    }

    fn why(&self) -> Stop {
        *self.stops.borrow()
    }

    fn go_on(&self) -> Result<(), Fault> {
        if self.why() != Stop::No {
            return Err(Fault::new("cancelled", "the build was told to stop"));
        }
        if Instant::now() >= self.deadline {
            return Err(Fault::new("timed_out", "the time of the whole build was used up"));
        }
        Ok(())
    }

    async fn make(&mut self, log: &Log) -> Result<Unpublished, Fault> {
        let (workspace, toolchains) = self.prepare().await?;
        let claim = self.claim.clone();
        for (number, phase) in claim.build.plan.phases.iter().enumerate() {
            self.go_on()?;
            let stage = Stage {
                builds: &self.builds,
                pinfold: &self.pinfold,
                claim: &claim,
                workspace: &workspace,
                toolchains: &toolchains,
                log,
                deadline: self.deadline,
            };
            stage.run(number, phase, &mut self.stops).await?;
        }
        self.go_on()?;
        let deadline = self.deadline;
        let collected = self.builds.blocking(move |builds| {
            let tree = workspace.into_files()?;
            match artifact::collect(builds.place(), &tree, &claim.build.plan, deadline) {
                Ok(artifact) => Ok(Ok(artifact)),
                Err(Missing::Fault(fault)) => Ok(Err(fault)),
                Err(Missing::Error(error)) => Err(error),
            }
        });
        collected.await.map_err(|error| Fault::from(&error))?
    }

    /// Makes the workspace of the snapshot, and finds the toolchains meanwhile.
    async fn prepare(&self) -> Result<(InUse, Vec<View>), Fault> {
        let (claim, again) = (self.claim.clone(), self.claim.clone());
        let workspace = self.builds.blocking(move |builds| hydrate(builds, &claim));
        let toolchains =
            self.builds.blocking(move |builds| Ok(toolchains::find(&again.build.plan, builds.place().state())));
        let (workspace, toolchains) = tokio::join!(workspace, toolchains);
        let told = |error: Error| Fault::from(&error);
        Ok((workspace.map_err(told)?, toolchains.map_err(told)??))
    }

    async fn end(&self, made: Result<Unpublished, Fault>) {
        let (made, fault) = match made {
            Ok(made) => (Some(made), None),
            Err(fault) => (None, Some(fault)),
        };
        let (claim, why) = (self.claim.clone(), self.why());
        let ended = self.builds.blocking(move |builds| {
            // The workspace may be what the disk is full of.
            let room = || _ = remove_workspace(builds, &workspace_id(&claim.build.id, claim.fence));
            match why {
                Stop::Lost => {
                    made.into_iter().for_each(Unpublished::discard);
                    Ok(())
                }
                Stop::Drained => {
                    made.into_iter().for_each(Unpublished::discard);
                    match patiently(&room, || builds.store().release(&claim)) {
                        // Somebody wants it to end, too.
                        Err(Error::LeaseLost { .. }) => finish(builds, &room, &claim, Report::default()),
                        other => other,
                    }
                }
                Stop::No | Stop::Ordered => {
                    // Nobody clears an artifact up between its publication and the word that it is needed.
                    let _kept = patiently(&room, || builds.place().keep())?;
                    let artifact_bytes = made.as_ref().map_or(0, |made| made.bytes);
                    let artifact = made.map(|made| made.publish(builds.place())).transpose();
                    let report = match artifact {
                        Ok(artifact) => Report { fault, artifact, artifact_bytes },
                        Err(error) => Report { fault: Some(Fault::from(&error)), ..Report::default() },
                    };
                    finish(builds, &room, &claim, report)
                }
            }
        });
        // A build that could not be ended is found lost when its lease is over.
        let _found_lost = ended.await;
    }
}

fn finish(builds: &Builds, room: &dyn Fn(), claim: &Claim, report: Report) -> Result<(), Error> {
    patiently(room, || builds.store().finish(claim, report.clone(), &Moment::now())).map(drop)
}

/// Tries again for a while, since the disk may be full for a moment only, and makes room first; but not where the build is
/// somebody else's.
pub(crate) fn patiently<T>(room: &dyn Fn(), mut work: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match work() {
            Err(error @ Error::LeaseLost { .. }) => return Err(error),
            Err(_) if Instant::now() < deadline => {
                room();
                std::thread::sleep(PAUSE);
            }
            other => return other,
        }
    }
}

fn last_words(made: &Result<Unpublished, Fault>) -> String {
    match made {
        Ok(made) => {
            let size = crate::ByteSize::new(made.bytes);
            format!("the build succeeded: artifact {}, {} files, {size}", made.id, made.files)
        }
        Err(fault) => format!("the build failed: {}", fault.message),
    }
}

/// Makes the workspace. No crash is to leave it, so that nothing is waited for until it is on disk. Everything in it is of
/// now, since tools compare files with what earlier builds left in caches.
fn hydrate(builds: &Builds, claim: &Claim) -> Result<InUse, Error> {
    let store = Store::at(builds.place().path())?;
    let id = workspace_id(&claim.build.id, claim.fence);
    store.create(&id, None)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let how = How { replace: false, is_durable: false, modified: i64::try_from(now.as_secs()).ok() };
    let archive = snapshot::open(builds.place(), &claim.build.snapshot)?;
    store.import_as(&id, archive, Quota::default(), how)?;
    Ok(store.open(&id)?)
}

pub(crate) fn remove_workspace(builds: &Builds, id: &str) -> Result<(), Error> {
    Ok(Store::at(builds.place().path())?.remove(id, false)?)
}
