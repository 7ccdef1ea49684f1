//! One phase: a sandbox run of its own over the build's workspace.

use super::builds::Builds;
use super::error::{Error, Fault};
use super::guard::{Stops, stopped};
use super::log::Log;
use super::plan::{PhasePlan, Plan};
use super::record::{PhaseResult, Stream};
use super::store::{Claim, Running};
use crate::code::View;
use crate::held::Process;
use crate::pinfold::Pinfold;
use crate::sandbox::Sandbox;
use crate::stdio::{Stdin, Stdio};
use crate::workspace::InUse;
use pinfold_runner::{AbsolutePath, Job, Limit, Mount, Network, Outcome, SandboxId, Status};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long the rest of the output may take once nothing of the sandbox runs any more.
const DRAIN: Duration = Duration::from_secs(5);

/// What the phases of a build share.
pub(crate) struct Stage<'a> {
    pub(crate) builds: &'a Builds,
    pub(crate) pinfold: &'a Pinfold,
    pub(crate) claim: &'a Arc<Claim>,
    pub(crate) workspace: &'a InUse,
    pub(crate) toolchains: &'a [View],
    pub(crate) log: &'a Log,
    /// When the whole build must be done.
    pub(crate) deadline: Instant,
}

impl Stage<'_> {
    /// Runs a phase. Where it is told to stop, it has killed everything when this returns.
    pub(crate) async fn run(&self, number: usize, phase: &PhasePlan, stops: &mut Stops) -> Result<(), Fault> {
        let job = self.job(number, phase).map_err(|error| Fault::from(&error))?;
        let is_short = job.limits.wall_ms.value() < phase.limits.wall_ms.value().or(Some(u64::MAX));
        self.log.say(Some(&phase.name), format!("phase `{}` begins", phase.name)).await;
        let spawned = self.pinfold.spawn_held_back(job, Stdio::Live { stdin: Stdin::Job });
        let sandbox = tokio::select! {
            spawned = spawned => spawned.map_err(|error| started(&error))?,
            () = stopped(stops) => return Err(Fault::new("cancelled", "the build was told to stop")),
        };
        let outcome = self.watch(sandbox, phase, stops).await.map_err(|error| Fault::from(&error))?;
        let (result, ended) = told(phase, &outcome, is_short);
        let claim = self.claim.clone();
        let noted = self.builds.blocking(move |builds| builds.store().note_phase(&claim, &result)).await;
        noted.map_err(|error| Fault::from(&error))?;
        self.log
            .say(
                Some(&phase.name),
                ended
                    .as_ref()
                    .map_or_else(|| format!("phase `{}` succeeded", phase.name), |fault| fault.message.clone()),
            )
            .await;
        ended.map_or(Ok(()), Err)
    }

    async fn watch(
        &self,
        (mut sandbox, go): (Sandbox, oneshot::Sender<()>),
        phase: &PhasePlan,
        stops: &mut Stops,
    ) -> Result<Outcome, Error> {
        let running = Running {
            phase: phase.name.clone(),
            sandbox: sandbox.id().to_owned(),
            runner: Process::of(sandbox.runner()).unwrap_or(Process { pid: sandbox.runner(), start: 0 }),
        };
        let name = || phase.name.clone();
        let mut readers = tokio::task::JoinSet::new();
        readers.spawn(self.log.clone().read(name(), Stream::Stdout, sandbox.take_stdout()));
        readers.spawn(self.log.clone().read(name(), Stream::Stderr, sandbox.take_stderr()));
        let claim = self.claim.clone();
        let noted = self.builds.blocking(move |builds| builds.store().note_running(&claim, &running));
        // Whoever finds this build lost from here on knows whom to end first. Until then nothing runs.
        noted.await?;
        let _has_ended = go.send(());
        self.builds.wake();
        let controller = sandbox.controller();
        let ended = sandbox.wait();
        tokio::pin!(ended);
        let outcome = tokio::select! {
            outcome = &mut ended => outcome,
            () = stopped(stops) => {
                controller.cancel();
                ended.await
            }
        };
        // Nothing of the sandbox runs any more, so that the streams are at their end but for what we have not read.
        let drained = async { while readers.join_next().await.is_some() {} };
        let _dropped = tokio::time::timeout(DRAIN, drained).await;
        outcome
            .map_err(|error| Error::Io { what: "wait for a sandbox".to_owned(), source: std::io::Error::other(error) })
    }

    fn job(&self, number: usize, phase: &PhasePlan) -> Result<Job, Error> {
        let (plan, build): (&Plan, _) = (&self.claim.build.plan, &self.claim.build);
        let invalid = |reason: String| Error::invalid(format!("phase `{}`", phase.name), reason);
        let mut job = Job::new(phase.command.clone());
        let id = format!("build-{}-{}-{number}", build.id, self.claim.fence);
        job.id = Some(SandboxId::try_from(id).map_err(|error| invalid(error.to_string()))?);
        View::put_into(self.toolchains.iter().cloned(), &mut job).map_err(&invalid)?;
        for (name, value) in phase.env.iter() {
            job.env.set(name, value).map_err(|error| invalid(error.to_string()))?;
        }
        job.mounts.extend(plan.mounts.iter().cloned());
        for cache in &phase.caches {
            let source = self.builds.place().cache(&build.owner, &cache.name)?;
            let source = source.to_str().ok_or_else(|| invalid("its caches' path is not UTF-8".to_owned()))?;
            let source = AbsolutePath::try_from(source).map_err(|error| invalid(error.to_string()))?;
            let (target, writable) = (cache.path.clone(), cache.writable);
            // What one phase wrote is its owner's alone, unless that phase said otherwise.
            job.mounts.push(Mount { source, target, writable, as_owner: true });
        }
        job.network = phase.network.clone();
        job.limits = phase.limits.clone();
        // The log has bounds of its own, and says where it is cut.
        job.limits.output_bytes = Limit::Max;
        self.workspace.put_into(&mut job)?;
        let left = self.deadline.saturating_duration_since(Instant::now()).as_millis();
        let left = u64::try_from(left).unwrap_or(u64::MAX).max(1);
        job.limits.wall_ms = Limit::At(job.limits.wall_ms.value().map_or(left, |own| own.min(left)));
        Ok(job)
    }
}

fn started(error: &crate::Error) -> Fault {
    let mut message = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        message = format!("{message}: {source}");
    }
    let fault = Fault::new("sandbox", message);
    match error.hint() {
        Some(hint) => fault.with_hint(hint),
        None => fault,
    }
}

/// How a phase ended, for the record, and what is wrong with that.
fn told(phase: &PhasePlan, outcome: &Outcome, is_short: bool) -> (PhaseResult, Option<Fault>) {
    let usage = &outcome.usage;
    let cpu_ms = usage.user_ms.zip(usage.system_ms).map(|(user, system)| user + system);
    let status = serde_json::to_value(outcome.status).ok();
    let result = PhaseResult {
        name: phase.name.clone(),
        status: status.as_ref().and_then(|status| status.as_str()).unwrap_or_default().to_owned(),
        exit_code: outcome.exit_code,
        signal: outcome.signal.clone(),
        wall_ms: usage.wall_ms.unwrap_or_default(),
        cpu_ms,
        peak_memory_bytes: usage.peak_memory_bytes,
    };
    let fault = |code: &str, words: &str| Some(Fault::new(code, format!("phase `{}` {words}", phase.name)));
    let ended = match outcome.status {
        Status::Exited if outcome.exit_code == Some(0) => None,
        Status::Exited => {
            let words = format!("ended with exit code {}", outcome.exit_code.unwrap_or_default());
            fault("phase_failed", &words).map(|fault| hinted(fault, phase))
        }
        Status::Signaled => {
            fault("phase_failed", &format!("died of {}", outcome.signal.as_deref().unwrap_or("a signal")))
        }
        Status::TimedOut if is_short => fault("timed_out", "was ended: the time of the whole build was used up"),
        Status::TimedOut => fault("timed_out", "was ended: its time was used up"),
        Status::CpuExceeded => fault("cpu_exceeded", "was ended: its CPU time was used up"),
        Status::OutOfMemory => fault("out_of_memory", "was ended: its memory was used up"),
        Status::WorkspaceExceeded => fault("workspace_exceeded", "was ended: its disk space was used up"),
        Status::Cancelled => fault("cancelled", "was cancelled"),
        Status::Failed => {
            let error = outcome.error.as_ref();
            let words = error.map_or("could not begin", |error| error.message.as_str());
            let made = Fault::new(
                error.map_or("sandbox", |error| error.code.as_str()),
                format!("phase `{}`: {words}", phase.name),
            );
            Some(match error.and_then(|error| error.hint.clone()) {
                Some(hint) => made.with_hint(hint),
                None => made,
            })
        }
    };
    (result, ended)
}

/// A phase that fetches and had no network mostly fails for that.
fn hinted(fault: Fault, phase: &PhasePlan) -> Fault {
    match phase.network {
        Network::None if phase.name == "install" => {
            fault.with_hint("it had no network; phases that fetch have the one that `--net` gives")
        }
        _ => fault,
    }
}
