//! What nobody asked for: builds whose workers are lost, those that waited too long, and those that nobody needs any more.

use super::builds::{COLUMNS, build, to_json};
use super::{milliseconds, signed, unsigned};
use crate::build::clock::Moment;
use crate::build::error::Error;
use crate::build::state::{Orders, State, after_loss};
use crate::build::store::{Lost, Running, expired};
use crate::held::Process;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use std::collections::BTreeSet;
use std::time::Duration;

pub(super) fn lost(connection: &Connection, is_dead: &dyn Fn(&str) -> bool, now: &Moment) -> Result<Vec<Lost>, Error> {
    let sql = format!(
        "SELECT {COLUMNS}, fence, worker, lease_ms, lease_wall_us, lease_uptime_ms, lease_boot, runner, runner_started
        FROM builds WHERE state = 'running'"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([])?;
    let mut lost = Vec::new();
    while let Some(row) = rows.next()? {
        let worker: Option<String> = row.get(22)?;
        let leased = Moment { wall_us: row.get(24)?, uptime_ms: row.get(25)?, boot: row.get(26)? };
        let lease = Duration::from_millis(unsigned(row.get(23)?));
        let is_over = !now.is_of_same_boot(&leased) || now.since(&leased) >= lease;
        if is_over || worker.as_deref().is_none_or(is_dead) {
            let build = build(row)?;
            let running = if now.is_of_same_boot(&leased) { running(row)? } else { None };
            lost.push(Lost { build, fence: unsigned(row.get(21)?), running });
        }
    }
    Ok(lost)
}

fn running(row: &Row<'_>) -> rusqlite::Result<Option<Running>> {
    let (phase, sandbox): (Option<String>, Option<String>) = (row.get(10)?, row.get(11)?);
    let (runner, started): (Option<i32>, Option<i64>) = (row.get(27)?, row.get(28)?);
    Ok(match (phase, sandbox, runner, started) {
        (Some(phase), Some(sandbox), Some(pid), Some(started)) => {
            Some(Running { phase, sandbox, runner: Process { pid, start: unsigned(started) } })
        }
        _ => None,
    })
}

pub(super) fn reclaim(transaction: &Transaction<'_>, lost: &Lost, now: &Moment) -> Result<Option<State>, Error> {
    let look = "SELECT cancel_requested, superseded, attempt, attempts, lease_wall_us FROM builds
        WHERE id = ?1 AND fence = ?2 AND state = 'running'";
    let (id, fence) = (&lost.build.id, signed(lost.fence));
    let found = transaction.prepare_cached(look)?.query_row(params![id, fence], |row| {
        Ok((Orders { cancel: row.get(0)?, superseded: row.get(1)? }, row.get(2)?, row.get(3)?))
    });
    let Some((orders, attempt, attempts)) = found.optional()? else { return Ok(None) };
    let (state, fault) = after_loss(orders, attempt, attempts);
    let finished = state.is_terminal().then_some(now.wall_us);
    // The fence is raised here too, so that the former worker is told at once, and not when another has the build. It waits
    // anew from now on: that its worker was lost is not its fault.
    let set =
        "UPDATE builds SET state = ?3, fence = fence + 1, error = ?4, finished_us = ?5, worker = NULL, runner = NULL,
            created_uptime_ms = ?6, created_boot = ?7
        WHERE id = ?1 AND fence = ?2 AND state = 'running'";
    let error = fault.as_ref().map(to_json).transpose()?;
    let values = params![id, fence, state.name(), error, finished, now.uptime_ms, now.boot];
    transaction.prepare_cached(set)?.execute(values)?;
    Ok(Some(state))
}

/// The builds that have waited for longer than they may.
pub(super) fn overdue(connection: &Connection, longest: Duration, now: &Moment) -> Result<Vec<i64>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT number, created_us, created_uptime_ms, created_boot FROM builds WHERE state = 'queued'",
    )?;
    let mut rows = statement.query([])?;
    let mut overdue = Vec::new();
    while let Some(row) = rows.next()? {
        let created = Moment { wall_us: row.get(1)?, uptime_ms: row.get(2)?, boot: row.get(3)? };
        if now.since(&created) >= longest {
            overdue.push(row.get(0)?);
        }
    }
    Ok(overdue)
}

pub(super) fn expire_waiting(transaction: &Transaction<'_>, longest: Duration, now: &Moment) -> Result<u64, Error> {
    let set =
        "UPDATE builds SET state = 'expired', error = ?2, finished_us = ?3 WHERE number = ?1 AND state = 'queued'";
    let (mut set, mut expiring) = (transaction.prepare_cached(set)?, 0);
    for number in overdue(transaction, longest, now)? {
        expiring += set.execute(params![number, to_json(&expired())?, now.wall_us])?;
    }
    Ok(expiring as u64)
}

pub(super) fn forget(transaction: &Transaction<'_>, older_than: Duration, now: &Moment) -> Result<u64, Error> {
    let age = i64::try_from(older_than.as_micros()).unwrap_or(i64::MAX);
    let oldest = now.wall_us.saturating_sub(age);
    // What was made since the machine was booted is no older than the monotonic clock says: a wall clock that was set forward
    // makes nobody forget it.
    let made_before = now.uptime_ms.saturating_sub(milliseconds(older_than));
    let old = "SELECT number FROM builds WHERE finished_us IS NOT NULL AND finished_us <= ?1
        AND state NOT IN ('queued', 'running') AND (created_boot <> ?2 OR created_uptime_ms <= ?3)
        AND NOT EXISTS (SELECT 1 FROM projects WHERE active_build = builds.id)";
    let values = params![oldest, now.boot, made_before];
    let numbers: Vec<i64> =
        transaction.prepare_cached(old)?.query_map(values, |row| row.get(0))?.collect::<Result<_, _>>()?;
    for number in &numbers {
        forget_build(transaction, *number)?;
    }
    let ended = "DELETE FROM previews WHERE (revoked_us <= ?1 OR expires_us <= ?1)
        AND (created_boot <> ?2 OR created_uptime_ms <= ?3 - iif(revoked_us IS NULL, longest_ms, 0))";
    transaction.prepare_cached(ended)?.execute(params![oldest, now.boot, made_before])?;
    Ok(numbers.len() as u64)
}

/// Forgets a build, with its log and its own previews.
pub(super) fn forget_build(transaction: &Transaction<'_>, number: i64) -> Result<(), Error> {
    transaction.prepare_cached("DELETE FROM rows WHERE build = ?1")?.execute(params![number])?;
    let previews = "DELETE FROM previews WHERE build = (SELECT id FROM builds WHERE number = ?1)";
    transaction.prepare_cached(previews)?.execute(params![number])?;
    transaction.prepare_cached("DELETE FROM builds WHERE number = ?1")?.execute(params![number])?;
    Ok(())
}

pub(super) fn forget_project(transaction: &Transaction<'_>, owner: &str, project: &str) -> Result<u64, Error> {
    let look = "SELECT number, id, state IN ('queued', 'running') FROM builds WHERE owner = ?1 AND project = ?2";
    let mut statement = transaction.prepare_cached(look)?;
    let builds = statement.query_map(params![owner, project], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let builds: Vec<(i64, String, bool)> = builds.collect::<Result<_, _>>()?;
    if let Some((_, id, _)) = builds.iter().find(|(.., is_to_end)| *is_to_end) {
        return Err(Error::NotEnded { id: id.clone() });
    }
    let previews = "DELETE FROM previews WHERE owner = ?1 AND project = ?2";
    transaction.prepare_cached(previews)?.execute(params![owner, project])?;
    let itself = "DELETE FROM projects WHERE owner = ?1 AND name = ?2";
    if transaction.prepare_cached(itself)?.execute(params![owner, project])? == 0 {
        return Err(Error::not_found("project", project));
    }
    for (number, ..) in &builds {
        forget_build(transaction, *number)?;
    }
    Ok(builds.len() as u64)
}

pub(super) fn snapshots(connection: &Connection) -> Result<BTreeSet<String>, Error> {
    names(connection, "SELECT DISTINCT snapshot FROM builds")
}

pub(super) fn artifacts(connection: &Connection) -> Result<BTreeSet<String>, Error> {
    let needed = "SELECT artifact FROM builds WHERE artifact IS NOT NULL
        UNION SELECT active_artifact FROM projects WHERE active_artifact IS NOT NULL";
    names(connection, needed)
}

fn names(connection: &Connection, sql: &str) -> Result<BTreeSet<String>, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    let names = statement.query_map([], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}
