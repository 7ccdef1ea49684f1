//! What is said of a new checkpoint, and which ones are listed: the same for workspaces and for threads without files.

use crate::server::problem::Problem;
use crate::server::schema;
use pinfold::checkpoint::{Filter, New, Retention};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// The most that a label may have, in characters, and how many there may be.
const LABELS: (usize, usize) = (200, 32);
/// How many checkpoints may be kept, and how long, in seconds.
const KEEP: u64 = 1000;
const TTL: u64 = 31_622_400;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Save {
    /// Its id; random, if it is left out.
    #[serde(default)]
    #[schemars(schema_with = "schema::id")]
    id: Option<String>,
    /// A number of the caller's; that of the checkpoint before and one, if it is left out.
    step: Option<u64>,
    /// Words to know it by.
    #[serde(default)]
    labels: Vec<String>,
    /// Anything of the caller's that comes back with it.
    #[serde(default)]
    state: Value,
    /// Keep so many (100, if it was never said); the oldest go first. Of a workspace it holds from now on, of a thread without
    /// files for one that this makes.
    #[schemars(range(min = 1, max = 1000))]
    keep: Option<u64>,
    /// Keep each so long (a day, if it was never said), likewise.
    #[schemars(range(min = 1, max = 31_622_400))]
    ttl_seconds: Option<u64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// At most so many.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<usize>,
    /// The oldest first.
    #[serde(default)]
    oldest_first: bool,
    /// Made at this time or before, in milliseconds since 1970.
    before_ms: Option<u64>,
    /// Made at this time or after, in milliseconds since 1970.
    after_ms: Option<u64>,
}

/// How many are kept, and how long, as far as it is said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    most: Option<u64>,
    ttl_ms: Option<u64>,
}

impl Keep {
    /// What is kept from now on: as before, where nothing else is said.
    pub(super) fn within(self, before: Retention) -> Retention {
        Retention { most: self.most.or(before.most), ttl_ms: self.ttl_ms.or(before.ttl_ms), ..before }
    }
}

impl Save {
    /// What is said of how long anything is kept, if something is.
    pub(super) fn keep(&self) -> Result<Option<Keep>, Problem> {
        let most = Problem::unless_within("keep", self.keep, 1..=KEEP)?;
        let ttl_ms = Problem::unless_within("ttl_seconds", self.ttl_seconds, 1..=TTL)?.map(|seconds| seconds * 1000);
        Ok((most.is_some() || ttl_ms.is_some()).then_some(Keep { most, ttl_ms }))
    }

    /// The checkpoint to be.
    pub(super) fn checkpoint(self) -> Result<New, Problem> {
        let Self { id, step, labels, state, .. } = self;
        let (longest, most) = LABELS;
        if labels.len() > most || labels.iter().any(|label| label.chars().count() > longest) {
            let words = format!("there may be {most} labels, of {longest} characters each");
            return Err(Problem::invalid(words).at("labels"));
        }
        if id.as_deref().is_some_and(|id| !is_id(id)) {
            let words = "a checkpoint's id has 1 to 40 of A-Z a-z 0-9 . _ -, the first a letter or a digit";
            return Err(Problem::new(axum::http::StatusCode::BAD_REQUEST, "invalid_name", words).at("id"));
        }
        Ok(New { id, step, labels: labels.into_iter().collect(), state })
    }
}

/// Whether it is as the description of paths has ids.
fn is_id(id: &str) -> bool {
    let is_first = |first: char| first.is_ascii_alphanumeric();
    let is_good = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    id.len() <= 40 && id.starts_with(is_first) && id.chars().all(is_good)
}

impl Which {
    pub(super) fn filter(self) -> Result<Filter, Problem> {
        let limit = Problem::unless_within("limit", self.limit, 1..=1000)?.unwrap_or(0);
        Ok(Filter { limit, oldest_first: self.oldest_first, before_ms: self.before_ms, after_ms: self.after_ms })
    }
}
