//! What a held sandbox is to be: a job without a command, and what only a sandbox that stays has.

use super::name::Name;
use crate::workspace::Store;
use pinfold_runner::{Argv, Job, Limit};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// A workspace of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredWorkspace {
    /// The state directory of its store.
    pub state: PathBuf,
    /// Its id.
    pub id: String,
}

/// What a held sandbox is to be. What is not said has the defaults of a job, but for the wall clock: it lives until it is
/// stopped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// What it is called; its id if that is left out.
    pub name: Option<Name>,
    /// The view, the fences and the limits; the environment is that of each command in it. It has no command, no
    /// artifacts, and no `wall_ms`, which is `ttl`.
    pub job: Job,
    /// The workspace of a store that becomes its workspace. It is in use for as long as the sandbox lives.
    pub workspace: Option<StoredWorkspace>,
    /// The workspace is made ready for checkpoints before the sandbox starts, so that it can be saved while the sandbox
    /// works. From then on it takes one command or sandbox at a time, as any with checkpoints.
    #[serde(default)]
    pub checkpoints: bool,
    /// It ends when for so long no command ran and nobody was attached.
    pub idle: Option<Duration>,
    /// It ends when it has lived so long.
    pub ttl: Option<Duration>,
}

impl Default for Spec {
    fn default() -> Self {
        let mut job = Job::new(Argv::none());
        job.limits.wall_ms = Limit::Max;
        Self { name: None, job, workspace: None, checkpoints: false, idle: None, ttl: None }
    }
}

impl Spec {
    /// A sandbox of this name with every default.
    pub fn named(name: Name) -> Self {
        Self { name: Some(name), ..Self::default() }
    }

    /// Takes view, fences and limits from a job, as [`job`](crate::job) builds it. Its command, if it has one, is left out.
    #[must_use]
    pub fn like(mut self, job: Job) -> Self {
        self.job = Job { command: Argv::none(), id: None, ..job };
        self.job.limits.wall_ms = Limit::Max;
        self
    }

    /// Makes a workspace of a store its workspace.
    #[must_use]
    pub fn in_workspace(mut self, store: &Store, id: impl Into<String>) -> Self {
        self.workspace = Some(StoredWorkspace { state: store.state().to_owned(), id: id.into() });
        self
    }

    /// Makes the workspace ready for checkpoints while the sandbox works in it. One that has checkpoints is ready.
    #[must_use]
    pub fn with_checkpoints(mut self) -> Self {
        self.checkpoints = true;
        self
    }

    /// Ends it when it was idle for so long.
    #[must_use]
    pub fn idle(mut self, limit: Duration) -> Self {
        self.idle = Some(limit);
        self
    }

    /// Ends it when it has lived so long.
    #[must_use]
    pub fn ttl(mut self, limit: Duration) -> Self {
        self.ttl = Some(limit);
        self
    }

    /// In what a sandbox that lives is not as asked for here. What is as by default here was not asked for.
    pub(crate) fn differs_from(&self, there: &Self) -> Vec<String> {
        let json = |spec: &Self| serde_json::to_value(Self { name: None, ..spec.clone() }).unwrap_or_default();
        let mut found = Vec::new();
        compare("", &json(self), &json(there), &json(&Self::default()), &mut found);
        found
    }
}

/// Walks through objects, name by name; anything else is compared as a whole.
fn compare(path: &str, wanted: &Value, there: &Value, default: &Value, found: &mut Vec<String>) {
    if wanted == default || wanted == there {
        return;
    }
    let (Value::Object(fields), Value::Object(_)) = (wanted, default) else {
        return found.push(format!("`{}` (it is {there}, {wanted} is asked for)", path.trim_start_matches("job.")));
    };
    for (name, wanted) in fields {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let of = |value: &Value| value.get(name).cloned().unwrap_or_default();
        compare(&path, wanted, &of(there), &of(default), found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_can_differ() {
        let built = |memory: u64| {
            let job = crate::job(["x"]).memory(crate::ByteSize::mebibytes(memory)).env("A", "1").build().unwrap();
            Spec::default().like(job).idle(Duration::from_secs(60))
        };
        assert_eq!(Spec::default().differs_from(&built(64)), Vec::<String>::new());
        assert_eq!(built(64).differs_from(&built(64)), Vec::<String>::new());
        let found = built(32).differs_from(&built(64));
        assert_eq!(found, ["`limits.memory_bytes` (it is 67108864, 33554432 is asked for)"]);
        let found = built(64).differs_from(&Spec::default());
        assert!(found.len() == 3 && found.iter().any(|field| field.starts_with("`idle`")), "{found:?}");
    }
}
