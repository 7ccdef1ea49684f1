//! The probes: real jobs. What a feature's job does is what every job that requires the feature will do.

use crate::cli::run::failure;
use pinfold::{
    Argv, CgroupVersion, Failure, Groups, Isolation, Job, Limit, Mechanism, Outcome, Pinfold, Requirement, Status,
    WorkspaceMechanism,
};
use serde::Serialize;

/// How well a feature is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// By its first mechanism: what `--require` asks for.
    Enforced,
    /// By a lesser one, which `how` names.
    Weaker,
    /// Not at all.
    Missing,
}

/// One line of the table.
#[derive(Debug, Serialize)]
pub(super) struct Feature {
    pub(super) name: &'static str,
    pub(super) state: State,
    /// The mechanism, or why there is none.
    pub(super) how: String,
}

/// What the jobs did.
#[derive(Debug)]
pub(super) struct Probed {
    /// Why the default job can't be confined, if it can't.
    pub(super) failure: Option<Failure>,
    /// Empty if it can't.
    pub(super) features: Vec<Feature>,
}

/// A probe does next to nothing, but the host may be slow, an emulated one for instance.
const PROBE_MS: u64 = 60_000;

pub(super) fn probe() -> Probed {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return unfit(Failure::new("host_error", format!("failed to start: {error}"))),
    };
    runtime.block_on(probe_all()).unwrap_or_else(unfit)
}

fn unfit(failure: Failure) -> Probed {
    Probed { failure: Some(failure), features: Vec::new() }
}

async fn probe_all() -> Result<Probed, Failure> {
    let pinfold = Pinfold::new().map_err(|error| failure("host_error", &error))?;
    let isolation = run(&pinfold, Vec::new()).await?.isolation;
    let mut features = vec![namespaces(&isolation), seccomp(&isolation)];
    for requirement in Requirement::ALL {
        let required = run(&pinfold, vec![requirement]).await;
        features.push(feature(requirement, &isolation, required.err().as_ref()));
    }
    Ok(Probed { failure: None, features })
}

/// Runs the default job; everything but a clean end is a failure.
async fn run(pinfold: &Pinfold, require: Vec<Requirement>) -> Result<Outcome, Failure> {
    let argv = Argv::try_from(vec!["true".to_owned()]).map_err(|e| Failure::new("bad_job", e.to_string()))?;
    let mut job = Job::new(argv);
    job.limits.wall_ms = Limit::At(PROBE_MS);
    job.require = require;
    let outcome = pinfold.run(job).await.map_err(|error| failure("host_error", &error))?;
    match (outcome.status, outcome.exit_code, outcome.error.clone()) {
        (Status::Exited, Some(0), None) => Ok(outcome),
        (_, _, Some(failure)) => Err(failure),
        (status, _, None) => {
            let words = outcome.stderr.to_text();
            let words = words.lines().next().unwrap_or("it says nothing");
            Err(Failure::new("probe", format!("`true` in a sandbox did not end well ({status:?}): {words}")))
        }
    }
}

fn namespaces(isolation: &Isolation) -> Feature {
    Feature { name: "namespaces", state: State::Enforced, how: isolation.namespaces.join(", ") }
}

fn seccomp(isolation: &Isolation) -> Feature {
    match &isolation.seccomp {
        Some(policy) => Feature { name: "seccomp", state: State::Enforced, how: format!("policy `{policy}`") },
        None => Feature { name: "seccomp", state: State::Missing, how: "no policy is in force".to_owned() },
    }
}

/// A feature is enforced when a job that requires it runs; how, the result of a job that does not says.
fn feature(requirement: Requirement, isolation: &Isolation, refusal: Option<&Failure>) -> Feature {
    let how = match requirement {
        Requirement::Cgroup => isolation.cgroup.map(|version| match version {
            CgroupVersion::V1 => "v1".to_owned(),
            CgroupVersion::V2 => "v2".to_owned(),
        }),
        Requirement::Landlock => isolation.landlock.map(|abi| format!("ABI {abi}")),
        Requirement::Memory => mechanism(isolation.memory, "rlimit, for each process alone"),
        // Counted per user and user namespace, of which the sandbox has its own.
        Requirement::Pids => mechanism(isolation.pids, "rlimit, of the sandbox's own user"),
        // The job that was tried has no limit on CPU time; with one it would be watched.
        Requirement::Cpu => mechanism(isolation.cpu, "rlimit")
            .or_else(|| Some("`--cpu-time` is watched, `--cpus` can't be had".to_owned())),
        Requirement::Workspace => match isolation.workspace {
            WorkspaceMechanism::Tmpfs => Some("tmpfs".to_owned()),
            WorkspaceMechanism::Quota => Some("quota".to_owned()),
            WorkspaceMechanism::Watched => Some("watched; `-w tmpfs` is exact".to_owned()),
            WorkspaceMechanism::None => None,
        },
        Requirement::Groups => match isolation.groups {
            Groups::None => Some("no supplementary groups".to_owned()),
            Groups::Caller => Some("the caller's supplementary groups stay".to_owned()),
        },
    };
    let state = match (refusal, &how) {
        (None, _) => State::Enforced,
        (Some(_), Some(_)) => State::Weaker,
        (Some(_), None) => State::Missing,
    };
    let why = || match refusal {
        Some(failure) if failure.code == "requirement" => "nothing holds it".to_owned(),
        Some(failure) => failure.message.clone(),
        None => "in force".to_owned(),
    };
    Feature { name: requirement.name(), state, how: how.unwrap_or_else(why) }
}

fn mechanism(mechanism: Mechanism, rlimit: &str) -> Option<String> {
    match mechanism {
        Mechanism::Cgroup => Some("cgroup".to_owned()),
        Mechanism::Rlimit => Some(rlimit.to_owned()),
        Mechanism::Watched => Some("watched".to_owned()),
        Mechanism::None => None,
    }
}
