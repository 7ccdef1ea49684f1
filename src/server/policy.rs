//! What a client's job may say. The operator's job is the frame: what it has, every sandbox has; what a client names can only
//! be less. Paths of the host are the operator's alone.

use super::problem::Problem;
use axum::http::StatusCode;
use pinfold::workspace::Quota;
use pinfold::{Job, JobError, Limit, Limits, Mode, Network, Seccomp, Workspace, service};
use serde_json::{Map, Value};
use std::time::Duration;

/// The weight of whoever has none of its own.
const WEIGHT: f64 = 100.0;

/// The frame that the operator set.
#[derive(Debug)]
pub(super) struct Policy {
    job: Job,
    /// The most that each limit may be. One that is missing is not bounded here.
    most: Map<String, Value>,
}

/// What a job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    /// One command.
    Run,
    /// A sandbox that stays, with a workspace of its own.
    Held,
}

impl Policy {
    pub(super) fn new(job: Job, time: Option<Duration>) -> Self {
        let mut most = job.limits.clone();
        most.wall_ms = service::wall_limit(time);
        let quota = service::quota(&most);
        let limit = |most: Option<u64>| Some(most.map_or(Limit::Max, Limit::At));
        (most.workspace_bytes, most.workspace_inodes) = (limit(quota.bytes), limit(quota.inodes));
        Self { job, most: fields(&most) }
    }

    /// The job that a client's JSON means within the frame.
    ///
    /// # Errors
    /// When it is no job, or asks for more than there is.
    pub(super) fn job(&self, json: &[u8], purpose: For) -> Result<Job, Problem> {
        let parsed = match purpose {
            For::Run => Job::from_json(json),
            For::Held => Job::held_from_json(json),
        };
        let mut job = parsed.map_err(invalid)?;
        let given: Map<String, Value> =
            serde_json::from_slice(json).map_err(|error| Problem::invalid(error.to_string()))?;
        self.refuse_what_is_the_operators(&job)?;
        let named = given.get("limits").and_then(Value::as_object).cloned().unwrap_or_default();
        if purpose == For::Held && named.contains_key("wall_ms") {
            let words = "a sandbox that stays has no `wall_ms`: how long it lives is said by `ttl_seconds`";
            return Err(Problem::invalid(words).at("limits.wall_ms"));
        }
        job.limits = self.limits(&job.limits, &named)?;
        job.network = self.network(&job.network)?;
        job.seccomp = self.seccomp(&job.seccomp)?;
        job.root = self.job.root.clone();
        job.mounts = self.job.mounts.clone();
        for (name, value) in self.job.env.iter() {
            if job.env.iter().all(|(given, _)| given != name) {
                job.env.set(name, value)?;
            }
        }
        for requirement in &self.job.require {
            if !job.require.contains(requirement) {
                job.require.push(*requirement);
            }
        }
        if !given.contains_key("user") {
            job.user = self.job.user;
        }
        if !given.contains_key("cwd") {
            job.cwd = self.job.cwd.clone();
        }
        job.id = None;
        Ok(job)
    }

    fn refuse_what_is_the_operators(&self, job: &Job) -> Result<(), Problem> {
        let words = "paths of the host are the operator's to give";
        if let Workspace::Path(_) = job.workspace {
            let problem = Problem::not_allowed("workspace", words);
            return Err(problem.hint("make a workspace, and name it in the query: `?workspace=ID`"));
        }
        if job.root != pinfold::Root::default() {
            return Err(Problem::not_allowed("root", words));
        }
        if !job.mounts.is_empty() {
            return Err(Problem::not_allowed("mounts", words));
        }
        if job.artifacts.is_some() {
            let problem = Problem::not_allowed("artifacts", words);
            return Err(problem.hint("work in a workspace, and read the files from there"));
        }
        if job.mode != Mode::default() {
            return Err(Problem::not_allowed("mode", "by what sandboxes are confined is the operator's to say"));
        }
        Ok(())
    }

    fn seccomp(&self, asked: &Seccomp) -> Result<Seccomp, Problem> {
        let stricter = self.job.seccomp == Seccomp::default() && *asked == Seccomp::Builtin("strict".to_owned());
        match asked {
            asked if stricter => Ok(asked.clone()),
            asked if *asked == Seccomp::default() || *asked == self.job.seccomp => Ok(self.job.seccomp.clone()),
            _ => Err(Problem::not_allowed("seccomp", "only the operator's policy, or `strict`, may be asked for")),
        }
    }

    fn network(&self, asked: &Network) -> Result<Network, Problem> {
        let is_allowed = match (asked, &self.job.network) {
            (Network::None, _) | (_, Network::Host) => true,
            (Network::Allow(asked), Network::Allow(most)) => {
                asked.rules().iter().all(|rule| most.rules().contains(rule))
            }
            _ => false,
        };
        match is_allowed {
            true => Ok(asked.clone()),
            false => Err(Problem::not_allowed("network", "it is more than the operator allows here")),
        }
    }

    /// The limits of a job: those that are named, where they are not more than there may be; the others as by default, or
    /// less.
    pub(super) fn limits(&self, limits: &Limits, named: &Map<String, Value>) -> Result<Limits, Problem> {
        let mut all = fields(limits);
        for (name, most) in &self.most {
            let asked = all.get(name);
            let Some(asked) = asked.filter(|asked| exceeds(name, asked, most)) else {
                if asked.is_none() && !self.may_be_absent(name) {
                    all.insert(name.clone(), most.clone());
                }
                continue;
            };
            if named.contains_key(name) {
                let words = format!("it is {asked}, and at most {most} is allowed here");
                return Err(Problem::not_allowed(&format!("limits.{name}"), words));
            }
            all.insert(name.clone(), most.clone());
        }
        serde_json::from_value(Value::Object(all)).map_err(|error| Problem::ours("limits", error.to_string()))
    }

    /// The limits of a command in a sandbox that stays: what is said beside those of the sandbox itself, which hold too.
    pub(super) fn command_limits(&self, usual: &Limits, named: &Map<String, Value>) -> Result<Limits, Problem> {
        let mut all = fields(usual);
        all.extend(named.clone());
        let told = |error: serde_json::Error| Problem::invalid(error.to_string()).at("limits");
        let mut limits: Limits = serde_json::from_value(Value::Object(all)).map_err(told)?;
        let held: Map<String, Value> = named.iter().filter(|(name, _)| is_of_each(name)).map(clone).collect();
        let bounded = self.limits(&limits, &held)?;
        (limits.wall_ms, limits.output_bytes) = (bounded.wall_ms, bounded.output_bytes);
        Ok(limits)
    }

    /// Of a workspace in memory the default is less than any other, half of the memory.
    fn may_be_absent(&self, name: &str) -> bool {
        matches!(name, "workspace_bytes" | "workspace_inodes") && self.job.limits.workspace_bytes.is_none()
    }

    /// What a stored workspace may hold.
    pub(super) fn quota(&self) -> Quota {
        service::quota(&self.job.limits)
    }

    /// How much a job may add to a stored workspace of this quota.
    pub(super) fn limit_in(&self, quota: Quota, job: &mut Job) {
        service::limit_in(quota, self.quota(), job);
    }
}

/// Whether a limit is each command's own, and not already the sandbox's.
fn is_of_each(name: &str) -> bool {
    matches!(name, "wall_ms" | "output_bytes")
}

fn clone((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

fn fields(limits: &Limits) -> Map<String, Value> {
    match serde_json::to_value(limits) {
        Ok(Value::Object(mut fields)) => {
            fields.retain(|_, value| !value.is_null());
            fields
        }
        _ => Map::new(),
    }
}

/// Whether a limit is laxer than another.
fn exceeds(name: &str, asked: &Value, most: &Value) -> bool {
    if name == "cpuset" {
        return asked != most;
    }
    // Nobody has a weight of its own by default, which is as good as this one.
    let lifted = if name == "cpu_weight" { WEIGHT } else { f64::INFINITY };
    let number = |value: &Value| value.as_f64().unwrap_or(lifted);
    number(asked) > number(most)
}

fn invalid(error: JobError) -> Problem {
    let problem = Problem::new(StatusCode::BAD_REQUEST, "invalid_job", error.reason);
    match error.path {
        Some(path) => problem.at(&path),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinfold::Argv;
    use serde_json::json;

    fn policy(change: impl FnOnce(&mut Job)) -> Policy {
        let mut job = Job::new(Argv::none());
        change(&mut job);
        Policy::new(job, Some(Duration::from_secs(60)))
    }

    fn refused(policy: &Policy, mut job: Value) -> String {
        job["command"] = json!(["true"]);
        let problem = policy.job(job.to_string().as_bytes(), For::Run).unwrap_err();
        assert_eq!((problem.status.as_u16(), problem.code.as_str()), (403, "not_allowed"), "{job}: {problem:?}");
        problem.field.unwrap().into_string()
    }

    #[test]
    fn what_is_the_operators_is_refused_by_name() {
        let policy = policy(|_| {});
        for (field, job) in [
            ("workspace", json!({"workspace": {"path": "/etc"}})),
            ("root", json!({"root": {"path": "/"}})),
            ("mounts", json!({"mounts": [{"source": "/etc", "target": "/x"}]})),
            ("artifacts", json!({"artifacts": {"paths": ["a"], "directory": "/tmp/x"}})),
            ("mode", json!({"mode": "landlock"})),
            ("seccomp", json!({"seccomp": {"path": "/x.json"}})),
            ("seccomp", json!({"seccomp": "debug"})),
            ("network", json!({"network": "host"})),
            ("network", json!({"network": {"allow": ["example.org"]}})),
            ("limits.wall_ms", json!({"limits": {"wall_ms": 60001}})),
            ("limits.wall_ms", json!({"limits": {"wall_ms": "max"}})),
            ("limits.memory_bytes", json!({"limits": {"memory_bytes": 536_870_913}})),
            ("limits.swap_bytes", json!({"limits": {"swap_bytes": 1}})),
            ("limits.cpu_weight", json!({"limits": {"cpu_weight": 101}})),
            ("limits.workspace_bytes", json!({"limits": {"workspace_bytes": "max"}})),
        ] {
            assert_eq!(refused(&policy, job), field);
        }
    }

    #[test]
    fn every_limit_of_the_operators_holds_for_every_job() {
        let policy = policy(|job| job.limits.memory_bytes = Limit::At(64 << 20));
        let job = policy.job(br#"{"command": ["true"], "limits": {"pids": 7, "cpu_weight": 5}}"#, For::Run).unwrap();
        let limits = &job.limits;
        assert_eq!(
            (limits.memory_bytes, limits.pids, limits.wall_ms),
            (Limit::At(64 << 20), Limit::At(7), Limit::At(30_000))
        );
        assert_eq!((limits.cpu_weight, limits.workspace_bytes), (Limit::At(5), None));
        for name in Limits::NAMES {
            let most = policy.most.get(*name);
            let absent = ["cpuset", "tmp_bytes"].contains(name);
            assert_eq!(most.is_none(), absent, "{name} is bounded by the operator, or by another limit");
        }
    }

    #[test]
    fn hosts_of_the_operators_list_may_be_asked_for_one_by_one() {
        let list = |hosts: &[&str]| {
            let rules = hosts.iter().map(|host| host.parse().unwrap()).collect();
            Network::Allow(pinfold::AllowList::new(rules).unwrap())
        };
        let policy = policy(|job| job.network = list(&["a.example", "b.example"]));
        let job = policy.job(br#"{"command": ["true"], "network": {"allow": ["b.example"]}}"#, For::Run).unwrap();
        assert_eq!(job.network, list(&["b.example"]));
        assert_eq!(refused(&policy, json!({"network": {"allow": ["c.example"]}})), "network");
    }
}
