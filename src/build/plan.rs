//! What is done with a snapshot: a project's wishes, granted or refused once, when the build is handed in. What a worker
//! finds here needs no second look.

use super::detect;
use super::error::Error;
use super::limits::{above, boundless};
use super::project::{CacheUse, Phase, PhaseNetwork, ProjectFile};
use pinfold_runner::{Argv, Environment, Limit, Limits, Mount, Network, WorkspacePath};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What whoever runs builds grants, and adds.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The network of phases that fetch, which a project can't say better: `install` phases that were detected, and those with
    /// `network = "fetch"`. None by default.
    pub fetch: Network,
    /// Whether a phase may list names of hosts of the internet itself. Addresses, and the host's network, it gets only if
    /// `fetch` is the host's network.
    pub may_list_hosts: bool,
    /// The limits of a phase that doesn't say otherwise.
    pub usual: Limits,
    /// What no phase may pass.
    pub most: Limits,
    /// How long a build may take from its claim to its artifact; 300 seconds.
    pub time: Duration,
    /// How often workers may try; 2.
    pub attempts: u32,
    /// Variables of all phases, which the project's own don't override.
    pub env: BTreeMap<String, String>,
    /// Paths of the host that all phases see.
    pub mounts: Vec<Mount>,
    /// Toolchains beside those of the project.
    pub toolchains: Vec<String>,
    /// What of an artifact, and of a log, is kept.
    pub bounds: PlanBounds,
}

/// What of a build is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanBounds {
    /// Bytes of an artifact; 1 GiB.
    pub artifact_bytes: u64,
    /// Files and folders of an artifact; 50,000.
    pub artifact_entries: u64,
    /// Bytes of a log; 8 MiB.
    pub log_bytes: u64,
    /// Bytes of a log's line; 8 KiB.
    pub line_bytes: usize,
}

impl Default for PlanBounds {
    fn default() -> Self {
        Self { artifact_bytes: 1 << 30, artifact_entries: 50_000, log_bytes: 8 << 20, line_bytes: 8 << 10 }
    }
}

impl Default for Policy {
    fn default() -> Self {
        let usual = Limits {
            wall_ms: Limit::Max,
            memory_bytes: Limit::At(2 << 30),
            pids: Limit::At(1024),
            open_files: Limit::At(4096),
            workspace_bytes: Some(Limit::At(8 << 30)),
            workspace_inodes: Some(Limit::At(1 << 20)),
            ..Limits::default()
        };
        Self {
            fetch: Network::None,
            may_list_hosts: true,
            usual,
            most: boundless(),
            time: Duration::from_secs(300),
            attempts: 2,
            env: BTreeMap::new(),
            mounts: Vec::new(),
            toolchains: Vec::new(),
            bounds: PlanBounds::default(),
        }
    }
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plan {
    /// The kind of project that it was taken for, where that was asked: `npm`, `cargo`, …
    pub kind: Option<String>,
    /// Where the artifact is looked for: the first of these files and folders that is there.
    pub artifact: Vec<WorkspacePath>,
    /// The phases, in order.
    pub phases: Vec<PhasePlan>,
    /// The toolchains that all of them see.
    pub toolchains: Vec<String>,
    /// Paths of the host that all of them see.
    pub mounts: Vec<Mount>,
    /// How long all of it may take, in milliseconds.
    pub time_ms: u64,
    /// What is kept.
    pub bounds: PlanBounds,
}

/// One phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PhasePlan {
    /// Its name.
    pub name: String,
    /// What is run.
    pub command: Argv,
    /// Its variables.
    pub env: Environment,
    /// Its network.
    pub network: Network,
    /// What it may use.
    pub limits: Limits,
    /// The folders that it keeps.
    pub caches: Vec<CacheUse>,
}

impl Plan {
    /// Grants what a project asks for, whose root has files of these names, or refuses it.
    ///
    /// # Errors
    /// [`Error::Denied`], and [`Error::ProjectFile`] when it can't be done at all.
    pub fn new(file: &ProjectFile, names: &BTreeSet<Vec<u8>>, policy: &Policy) -> Result<Self, Error> {
        let kind = detect::kind(names).filter(|_| file.detect);
        let phases = detect::phases(file, kind);
        if phases.is_empty() {
            let reason = "it says no `[[phase]]`, and the project is of no kind that is known";
            return Err(Error::ProjectFile(reason.to_owned()));
        }
        let artifact = match (&file.artifact, kind) {
            (Some(path), _) => vec![path.clone()],
            (None, Some(kind)) => kind.artifact.clone(),
            (None, None) => return Err(Error::ProjectFile("`artifact` is missing".to_owned())),
        };
        let path =
            |path: String| WorkspacePath::try_from(path.trim_end_matches('/')).map_err(|error| error.to_string());
        let artifact = artifact.into_iter().map(path).collect::<Result<_, _>>();
        let artifact = artifact.map_err(|reason| Error::ProjectFile(format!("`artifact`: {reason}")))?;
        let mut toolchains =
            file.toolchains.clone().unwrap_or_else(|| kind.map(|kind| kind.toolchains.clone()).unwrap_or_default());
        toolchains.extend(policy.toolchains.iter().cloned());
        toolchains.sort();
        toolchains.dedup();
        let phases = phases.iter().map(|phase| granted(phase, file, policy)).collect::<Result<_, _>>()?;
        let time_ms = u64::try_from(policy.time.as_millis()).unwrap_or(u64::MAX);
        let kind = kind.map(|kind| kind.name.clone());
        Ok(Self { kind, artifact, phases, toolchains, mounts: policy.mounts.clone(), time_ms, bounds: policy.bounds })
    }

    /// Whether all of it would be granted by this policy as well, which may be another one than it was made by.
    pub fn is_within(&self, policy: &Policy) -> bool {
        let reaches = |network: &Network| match (network, &policy.fetch) {
            (Network::None, _) | (_, Network::Host) => true,
            (Network::Allow(list), Network::Allow(most)) if !policy.may_list_hosts => {
                list.rules().iter().all(|rule| most.rules().contains(rule))
            }
            (Network::Allow(list), fetch) => network == fetch || (policy.may_list_hosts && !list.has_addresses()),
            (Network::Host, _) => false,
        };
        self.mounts.iter().all(|mount| policy.mounts.contains(mount))
            && u128::from(self.time_ms) <= policy.time.as_millis()
            && self.phases.iter().all(|phase| above(&phase.limits, &policy.most).is_none() && reaches(&phase.network))
    }
}

fn granted(phase: &Phase, file: &ProjectFile, policy: &Policy) -> Result<PhasePlan, Error> {
    let told = |reason: String| Error::ProjectFile(format!("phase `{}`: {reason}", phase.name));
    let limits = phase.limits.over(&policy.usual).map_err(told)?;
    if let Some(limit) = above(&limits, &policy.most) {
        let what = format!("phase `{}`: `limits.{limit}`", phase.name);
        return Err(Error::Denied { what, reason: "it is above the most that a phase may have here".to_owned() });
    }
    check_network(phase, policy)?;
    let command = Argv::try_from(phase.run.argv()).map_err(|error| told(format!("`run`: {error}")))?;
    let mut env = Environment::default();
    for (name, value) in file.env.iter().chain(&phase.env).chain(&policy.env) {
        env.set(name, value).map_err(|error| told(error.to_string()))?;
    }
    let (network, caches) = (phase.network.with(&policy.fetch), phase.caches.clone());
    Ok(PhasePlan { name: phase.name.clone(), command, env, network, limits, caches })
}

fn check_network(phase: &Phase, policy: &Policy) -> Result<(), Error> {
    let denied = |reason: &str| {
        let what = format!("phase `{}`: its `network`", phase.name);
        Err(Error::Denied { what, reason: reason.to_owned() })
    };
    match &phase.network {
        _ if policy.fetch == Network::Host => Ok(()),
        PhaseNetwork::Host => denied("the host's network is only for phases where whoever runs builds gives it"),
        PhaseNetwork::Hosts(_) if !policy.may_list_hosts => denied("a project may not list hosts here"),
        // An address is dialled as it stands, the host's own loopback too.
        PhaseNetwork::Hosts(list) if list.has_addresses() => denied("a project may list names of hosts, no addresses"),
        PhaseNetwork::None | PhaseNetwork::Fetch | PhaseNetwork::Hosts(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str, policy: &Policy) -> Result<Plan, Error> {
        Plan::new(&ProjectFile::parse(text.as_bytes()).unwrap(), &BTreeSet::new(), policy)
    }

    fn phase(more: &str) -> String {
        format!("artifact = 'out'\n[[phase]]\nname = 'a'\nrun = 'true'\n{more}")
    }

    #[test]
    fn a_project_gets_no_network_that_nobody_grants() {
        let mut policy = Policy::default();
        let network =
            |more: &str, policy: &Policy| plan(&phase(more), policy).map(|plan| plan.phases[0].network.clone());
        assert_eq!(network("", &policy).unwrap(), Network::None);
        assert_eq!(network("network = 'fetch'", &policy).unwrap(), Network::None);
        assert!(matches!(network("network = ['a.example']", &policy).unwrap(), Network::Allow(_)));
        for denied in ["'host'", "['127.0.0.1:22']", "['a.example', '[::1]:80']", "['10.0.0.0/8']"] {
            assert_eq!(network(&format!("network = {denied}"), &policy).unwrap_err().code(), "denied", "{denied}");
        }
        policy.may_list_hosts = false;
        assert_eq!(network("network = ['a.example']", &policy).unwrap_err().code(), "denied");
        policy.fetch = Network::Host;
        assert_eq!(network("network = 'fetch'", &policy).unwrap(), Network::Host);
        assert_eq!(network("network = 'host'", &policy).unwrap(), Network::Host);
        assert_eq!(network("", &policy).unwrap(), Network::None);
    }

    #[test]
    fn a_project_gets_no_more_than_the_most() {
        let most = Limits { memory_bytes: Limit::At(4 << 30), ..boundless() };
        let policy = Policy { most, ..Policy::default() };
        assert!(plan(&phase("limits = { memory = '4G' }"), &policy).is_ok());
        let denied = plan(&phase("limits = { memory = 'max' }"), &policy).unwrap_err();
        assert!(denied.code() == "denied" && denied.to_string().contains("limits.memory"), "{denied}");
    }

    #[test]
    fn the_operators_variables_have_the_last_word_and_the_artifact_stays_inside() {
        let policy = Policy { env: BTreeMap::from([("A".into(), "operator".into())]), ..Policy::default() };
        let made = plan(&phase("env = { A = 'phase', B = 'phase' }"), &policy).unwrap();
        assert_eq!(made.phases[0].env.iter().collect::<Vec<_>>(), [("A", "operator"), ("B", "phase")]);
        for outside in ["/etc", "../x", "a/../..", ""] {
            let text = phase("").replace("'out'", &format!("'{outside}'"));
            assert_eq!(plan(&text, &policy).unwrap_err().code(), "project_file", "{outside}");
        }
        assert_eq!(plan("", &policy).unwrap_err().code(), "project_file");
    }

    #[test]
    fn what_was_granted_once_is_seen_to_be_more_than_is_granted_now() {
        let (usual, host) = (Policy::default(), Policy { fetch: Network::Host, ..Policy::default() });
        let small = Policy { most: Limits { pids: Limit::At(7), ..boundless() }, ..Policy::default() };
        let short = Policy { time: Duration::from_secs(1), ..Policy::default() };
        let closed = Policy { may_list_hosts: false, ..Policy::default() };
        let plain = plan(&phase(""), &usual).unwrap();
        assert!(plain.is_within(&usual) && plain.is_within(&host) && plain.is_within(&closed));
        assert!(!plain.is_within(&small) && !plain.is_within(&short));
        let listed = plan(&phase("network = ['a.example']"), &usual).unwrap();
        assert!(listed.is_within(&usual) && listed.is_within(&host) && !listed.is_within(&closed));
        let fetched = Policy { fetch: listed.phases[0].network.clone(), may_list_hosts: false, ..Policy::default() };
        assert!(listed.is_within(&fetched));
        for more in ["network = 'host'", "network = ['10.0.0.1:80']"] {
            let all = plan(&phase(more), &host).unwrap();
            assert!(all.is_within(&host) && !all.is_within(&usual) && !all.is_within(&fetched), "{more}");
        }
        let opt = || "/opt".try_into().unwrap();
        let mounts = vec![Mount { source: opt(), target: opt(), writable: false, as_owner: false }];
        let mounted = Policy { mounts, ..Policy::default() };
        let plan = plan(&phase(""), &mounted).unwrap();
        assert!(plan.is_within(&mounted) && !plan.is_within(&usual));
    }

    #[test]
    fn a_plan_survives_being_written_down() {
        let made =
            plan(&phase("network = ['a.example']\ncaches = [{ name = 'c', path = '/tmp/c' }]"), &Policy::default());
        let made = made.unwrap();
        let json = serde_json::to_string(&made).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), made);
    }
}
