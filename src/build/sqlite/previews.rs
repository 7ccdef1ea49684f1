//! Previews: of their secrets only hashes are kept.

use super::builds::{active, get};
use super::{milliseconds, unsigned};
use crate::build::clock::Moment;
use crate::build::error::Error;
use crate::build::record::{Active, Preview};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use std::time::Duration;

const COLUMNS: &str = "id, project, build, created_us, expires_us, revoked_us";

pub(super) fn add(
    transaction: &Transaction<'_>,
    owner: &str,
    (preview, hash): (&Preview, &str),
    longest: Option<Duration>,
    now: &Moment,
) -> Result<(), Error> {
    let there = "SELECT count(*) FROM projects WHERE owner = ?1 AND name = ?2";
    let there: i64 = transaction.prepare_cached(there)?.query_row(params![owner, preview.project], |row| row.get(0))?;
    if there == 0 {
        return Err(Error::not_found("project", &preview.project));
    }
    if let Some(id) = &preview.build {
        let build = get(transaction, owner, id)?;
        if build.artifact.is_none() || build.project != preview.project {
            return Err(Error::invalid(format!("build `{id}`"), "it has made nothing that can be shown"));
        }
    }
    let insert = "INSERT INTO previews (hash, id, owner, project, build, created_us, created_uptime_ms, created_boot,
        longest_ms, expires_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let longest = longest.map(milliseconds);
    transaction.prepare_cached(insert)?.execute(params![
        hash,
        preview.id,
        owner,
        preview.project,
        preview.build,
        now.wall_us,
        now.uptime_ms,
        now.boot,
        longest,
        preview.expires_us
    ])?;
    Ok(())
}

pub(super) fn find(connection: &Connection, hash: &str, now: &Moment) -> Result<(String, String, Active), Error> {
    let find = "SELECT owner, project, build, created_us, created_uptime_ms, created_boot, longest_ms, revoked_us
        FROM previews WHERE hash = ?1";
    let found = connection.prepare_cached(find)?.query_row(params![hash], |row| {
        let created = Moment { wall_us: row.get(3)?, uptime_ms: row.get(4)?, boot: row.get(5)? };
        let longest: Option<i64> = row.get(6)?;
        let is_over = longest.is_some_and(|longest| now.since(&created) >= Duration::from_millis(unsigned(longest)));
        let revoked: Option<i64> = row.get(7)?;
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get(2)?, is_over || revoked.is_some()))
    });
    let unknown = || Error::not_found("preview", "…");
    let (owner, project, build, has_ended): (String, String, Option<String>, bool) =
        found.optional()?.ok_or_else(unknown)?;
    if has_ended {
        return Err(Error::Gone);
    }
    let shown = match build {
        Some(id) => {
            let build = get(connection, &owner, &id)?;
            build.artifact.map(|artifact| Active { build: id, artifact, sequence: build.sequence })
        }
        None => {
            let look =
                "SELECT active_build, active_artifact, active_sequence FROM projects WHERE owner = ?1 AND name = ?2";
            connection
                .prepare_cached(look)?
                .query_row(params![owner, project], |row| active(row, 0))
                .optional()?
                .flatten()
        }
    };
    let shown = shown.ok_or_else(|| Error::not_found("artifact", &project))?;
    Ok((owner, project, shown))
}

pub(super) fn list(connection: &Connection, owner: &str, project: Option<&str>) -> Result<Vec<Preview>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM previews WHERE owner = ?1 AND (?2 IS NULL OR project = ?2) ORDER BY created_us DESC, id"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![owner, project], preview)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn revoke(transaction: &Transaction<'_>, owner: &str, id: &str, now: &Moment) -> Result<Preview, Error> {
    let set = format!(
        "UPDATE previews SET revoked_us = coalesce(revoked_us, ?3) WHERE owner = ?1 AND id = ?2 RETURNING {COLUMNS}"
    );
    let revoked = transaction.prepare_cached(&set)?.query_row(params![owner, id, now.wall_us], preview).optional()?;
    revoked.ok_or_else(|| Error::not_found("preview", id))
}

fn preview(row: &Row<'_>) -> rusqlite::Result<Preview> {
    Ok(Preview {
        id: row.get(0)?,
        project: row.get(1)?,
        build: row.get(2)?,
        created_us: row.get(3)?,
        expires_us: row.get(4)?,
        revoked_us: row.get(5)?,
    })
}
