//! Reading builds and projects.

use super::unsigned;
use crate::build::error::Error;
use crate::build::record::{Active, Build, Filter, Project};
use crate::build::state::State;
use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// The columns of a build, in the order in which [`build`] reads them.
pub(super) const COLUMNS: &str = "id, owner, project, sequence, snapshot, plan, state, retry_of, attempt, attempts, phase, \
    sandbox, cancel_requested, created_us, started_us, finished_us, phases, artifact, error, log_rows, log_truncated";

/// How many builds a list has at most.
const MOST_LISTED: u32 = 1000;

/// Reads a build from the first columns of a row.
pub(super) fn build(row: &Row<'_>) -> rusqlite::Result<Build> {
    let state: String = row.get(6)?;
    let error: Option<String> = row.get(18)?;
    Ok(Build {
        id: row.get(0)?,
        owner: row.get(1)?,
        project: row.get(2)?,
        sequence: unsigned(row.get(3)?),
        snapshot: row.get(4)?,
        plan: json(5, &row.get::<_, String>(5)?)?,
        state: State::named(&state).ok_or(FromSqlError::InvalidType)?,
        retry_of: row.get(7)?,
        attempt: row.get(8)?,
        attempts: row.get(9)?,
        phase: row.get(10)?,
        sandbox: row.get(11)?,
        cancel_requested: row.get(12)?,
        created_us: row.get(13)?,
        started_us: row.get(14)?,
        finished_us: row.get(15)?,
        phases: json(16, &row.get::<_, String>(16)?)?,
        artifact: row.get(17)?,
        error: error.map(|text| json(18, &text)).transpose()?,
        log_rows: unsigned(row.get(19)?),
        log_truncated: row.get(20)?,
    })
}

fn json<T: serde::de::DeserializeOwned>(column: usize, text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

pub(super) fn to_json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Store(error.to_string()))
}

pub(super) fn get(connection: &Connection, owner: &str, id: &str) -> Result<Build, Error> {
    let sql = format!("SELECT {COLUMNS} FROM builds WHERE id = ?1 AND owner = ?2");
    let found = connection.prepare_cached(&sql)?.query_row(params![id, owner], build).optional()?;
    found.ok_or_else(|| Error::not_found("build", id))
}

pub(super) fn list(connection: &Connection, owner: &str, filter: &Filter) -> Result<Vec<Build>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM builds WHERE owner = ?1 AND (?2 IS NULL OR project = ?2) AND (?3 IS NULL OR state = ?3)
         AND (?4 IS NULL OR number < (SELECT number FROM builds WHERE id = ?4 AND owner = ?1))
         ORDER BY number DESC LIMIT ?5"
    );
    let limit = if filter.limit == 0 { 100 } else { filter.limit.min(MOST_LISTED) };
    let state = filter.state.map(State::name);
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![owner, filter.project, state, filter.before, limit], build)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn projects(connection: &Connection, owner: &str) -> Result<Vec<Project>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT name, snapshots, active_build, active_artifact, active_sequence FROM projects WHERE owner = ?1 ORDER BY name",
    )?;
    let rows = statement.query_map(params![owner], |row| {
        Ok(Project { name: row.get(0)?, snapshots: unsigned(row.get(1)?), active: active(row, 2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What a project shows, read from three columns from this one on.
pub(super) fn active(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Active>> {
    let (build, artifact, sequence): (Option<String>, Option<String>, Option<i64>) =
        (row.get(first)?, row.get(first + 1)?, row.get(first + 2)?);
    Ok(match (build, artifact, sequence) {
        (Some(build), Some(artifact), Some(sequence)) => Some(Active { build, artifact, sequence: unsigned(sequence) }),
        _ => None,
    })
}
