//! The probes: real jobs. What a feature's job does is what every job that requires the feature will do.

use crate::cli::run::failure;
use pinfold::{
    Argv, CgroupVersion, Cpuset, Failure, Groups, Isolation, Job, Limit, Limits, Mechanism, Mode, Outcome, Pinfold,
    Requirement, Status, WorkspaceMechanism,
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
    /// What a job that was refused was told to do about it.
    #[serde(skip)]
    pub(super) hint: Option<String>,
}

impl Feature {
    fn new(name: &'static str, state: State, how: impl Into<String>) -> Self {
        Self { name, state, how: how.into(), hint: None }
    }

    fn refused(name: &'static str, failure: Failure) -> Self {
        Self { name, state: State::Missing, how: failure.message, hint: failure.hint }
    }
}

/// What the jobs did.
#[derive(Debug)]
pub(super) struct Probed {
    /// Why the default job can't be confined, if it can't.
    pub(super) failure: Option<Failure>,
    /// Only that of the landlock mode if it can't.
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
    let landlock = landlock_mode(run(&pinfold, |job| job.mode = Mode::Landlock).await);
    let isolation = match run(&pinfold, |_default| {}).await {
        Ok(outcome) => outcome.isolation,
        Err(failure) => return Ok(Probed { failure: Some(failure), features: vec![landlock] }),
    };
    let mut features = vec![namespaces(&isolation), seccomp(&isolation)];
    for requirement in Requirement::ALL {
        let required = run(&pinfold, |job| job.require.push(requirement)).await;
        features.push(feature(requirement, &isolation, required.err().as_ref()));
    }
    for (name, ask) in ASKED {
        features.push(asked(name, run(&pinfold, |job| ask(&mut job.limits)).await));
    }
    features.push(landlock);
    Ok(Probed { failure: None, features })
}

/// The limits that are held by a controller of their own or not at all, each with a value that does no harm: whoever
/// asks for one that can't be held gets a failure. Named as the options of `pinfold run`.
const ASKED: [(&str, Ask); 5] = [
    ("cpus", |limits| limits.cpus = Limit::At(1.0)),
    ("cpu-weight", |limits| limits.cpu_weight = Limit::At(100)),
    ("cpuset", |limits| limits.cpuset = own_cpu()),
    ("swap", |limits| limits.swap_bytes = Limit::At(1 << 20)),
    ("io", |limits| limits.io_read_bps = Limit::At(1 << 40)),
];

type Ask = fn(&mut Limits);

/// A CPU that we may run on ourselves: not every host has number 0 to give.
fn own_cpu() -> Option<Cpuset> {
    let cpu = rustix::thread::sched_getcpu();
    cpu.to_string().parse().ok()
}

fn asked(name: &'static str, outcome: Result<Outcome, Failure>) -> Feature {
    match outcome {
        Ok(_) => Feature::new(name, State::Enforced, "cgroup"),
        Err(failure) => Feature::refused(name, failure),
    }
}

/// What is left where namespaces are denied; only a job that says so is confined by it.
fn landlock_mode(outcome: Result<Outcome, Failure>) -> Feature {
    let name = "landlock-mode";
    match outcome {
        Ok(outcome) if outcome.isolation.landlock.is_some() => {
            Feature::new(name, State::Enforced, "`--mode landlock`, for where namespaces are denied")
        }
        Ok(_) => Feature::new(name, State::Missing, "Landlock was not in force"),
        Err(failure) => Feature::refused(name, failure),
    }
}

/// Runs the default job with one thing changed; everything but a clean end is a failure.
async fn run(pinfold: &Pinfold, change: impl FnOnce(&mut Job)) -> Result<Outcome, Failure> {
    let argv = Argv::try_from(vec!["true".to_owned()]).map_err(|e| Failure::new("bad_job", e.to_string()))?;
    let mut job = Job::new(argv);
    job.limits.wall_ms = Limit::At(PROBE_MS);
    change(&mut job);
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
    Feature::new("namespaces", State::Enforced, isolation.namespaces.join(", "))
}

fn seccomp(isolation: &Isolation) -> Feature {
    match &isolation.seccomp {
        Some(policy) => Feature::new("seccomp", State::Enforced, format!("policy `{policy}`")),
        None => Feature::new("seccomp", State::Missing, "no policy is in force"),
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
    Feature::new(requirement.name(), state, how.unwrap_or_else(why))
}

fn mechanism(mechanism: Mechanism, rlimit: &str) -> Option<String> {
    match mechanism {
        Mechanism::Cgroup => Some("cgroup".to_owned()),
        Mechanism::Rlimit => Some(rlimit.to_owned()),
        Mechanism::Watched => Some("watched".to_owned()),
        Mechanism::Direct => Some("cgroup, of what goes straight to the disk".to_owned()),
        Mechanism::None => None,
    }
}
