//! The transitions. Each is one statement that asks for the state and the fence that it starts from, in a transaction that
//! has the write lock from its beginning.

use super::builds::{COLUMNS, build, get, to_json};
use super::room::make_room;
use super::{milliseconds, signed, unsigned};
use crate::build::clock::Moment;
use crate::build::error::Error;
use crate::build::record::{Build, PhaseResult};
use crate::build::state::{Orders, Report, State, becomes_active, ending, stale};
use crate::build::store::{Claim, NewBuild, QueueBounds, Running};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::time::Duration;

/// The build, and whether others were forgotten for it.
pub(super) fn enqueue(
    transaction: &Transaction<'_>,
    new: &NewBuild,
    bounds: QueueBounds,
    now: &Moment,
) -> Result<(Build, bool), Error> {
    let waiting = "SELECT count(*) FROM builds WHERE state = 'queued' AND owner = ?1";
    let waiting: i64 = transaction.prepare_cached(waiting)?.query_row(params![new.owner], |row| row.get(0))?;
    if unsigned(waiting) >= bounds.waiting {
        return Err(Error::QueueFull { waiting: unsigned(waiting) });
    }
    let sequence = match &new.retry_of {
        None => next_sequence(transaction, new)?,
        Some(old) => sequence_again(transaction, new, old)?,
    };
    let insert =
        "INSERT INTO builds (id, owner, project, sequence, snapshot, plan, state, retry_of, attempts, created_us,
        created_uptime_ms, created_boot, snapshot_bytes, most_stored)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'queued', ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    let (plan, sequence) = (to_json(&new.plan)?, signed(sequence));
    transaction.prepare_cached(insert)?.execute(params![
        new.id,
        new.owner,
        new.project,
        sequence,
        new.snapshot,
        plan,
        new.retry_of,
        new.attempts,
        now.wall_us,
        now.uptime_ms,
        now.boot,
        signed(new.snapshot_bytes),
        bounds.stored.map(signed)
    ])?;
    supersede(transaction, new, sequence, now)?;
    let has_forgotten = match bounds.stored {
        Some(most) => make_room(transaction, &new.owner, &new.id, most)?.or_refuse(most, true)?,
        None => false,
    };
    Ok((get(transaction, &new.owner, &new.id)?, has_forgotten))
}

fn next_sequence(transaction: &Transaction<'_>, new: &NewBuild) -> Result<u64, Error> {
    let count = "INSERT INTO projects (owner, name, snapshots) VALUES (?1, ?2, 1)
        ON CONFLICT (owner, name) DO UPDATE SET snapshots = snapshots + 1 RETURNING snapshots";
    let counted = transaction.prepare_cached(count)?.query_row(params![new.owner, new.project], |row| row.get(0))?;
    Ok(unsigned(counted))
}

/// The number of the snapshot that is built again, which must be the newest.
fn sequence_again(transaction: &Transaction<'_>, new: &NewBuild, old: &str) -> Result<u64, Error> {
    let old = get(transaction, &new.owner, old)?;
    if !old.state.is_terminal() {
        return Err(Error::NotEnded { id: old.id });
    }
    let newest = "SELECT snapshots FROM projects WHERE owner = ?1 AND name = ?2";
    let newest = transaction.prepare_cached(newest)?.query_row(params![new.owner, new.project], |row| row.get(0))?;
    if old.sequence < unsigned(newest) {
        return Err(Error::Superseded { project: old.project });
    }
    Ok(old.sequence)
}

/// Makes older builds of the project stale.
fn supersede(transaction: &Transaction<'_>, new: &NewBuild, sequence: i64, now: &Moment) -> Result<(), Error> {
    let waiting = "UPDATE builds SET state = 'stale', error = ?4, finished_us = ?5
        WHERE owner = ?1 AND project = ?2 AND state = 'queued' AND sequence < ?3";
    let values = params![new.owner, new.project, sequence, to_json(&stale())?, now.wall_us];
    transaction.prepare_cached(waiting)?.execute(values)?;
    let running = "UPDATE builds SET superseded = 1
        WHERE owner = ?1 AND project = ?2 AND state = 'running' AND sequence < ?3";
    transaction.prepare_cached(running)?.execute(params![new.owner, new.project, sequence])?;
    Ok(())
}

pub(super) fn cancel(transaction: &Transaction<'_>, owner: &str, id: &str, now: &Moment) -> Result<Build, Error> {
    let found = get(transaction, owner, id)?;
    let cancelled = Orders { cancel: true, superseded: false };
    match found.state {
        State::Queued => {
            let fault = ending(cancelled, Report::default()).fault;
            let end = "UPDATE builds SET state = 'cancelled', cancel_requested = 1, error = ?2, finished_us = ?3
                WHERE id = ?1 AND state = 'queued'";
            transaction.prepare_cached(end)?.execute(params![id, to_json(&fault)?, now.wall_us])?;
        }
        State::Running => {
            let ask = "UPDATE builds SET cancel_requested = 1 WHERE id = ?1 AND state = 'running'";
            transaction.prepare_cached(ask)?.execute(params![id])?;
        }
        _ => return Ok(found),
    }
    get(transaction, owner, id)
}

/// The number of the oldest build that waits and may run.
pub(super) fn next(connection: &Connection, only: Option<&str>) -> Result<Option<i64>, Error> {
    let oldest = "SELECT number FROM builds AS waits WHERE state = 'queued' AND (?1 IS NULL OR id = ?1)
        AND NOT EXISTS (SELECT 1 FROM builds AS runs
            WHERE runs.owner = waits.owner AND runs.project = waits.project AND runs.state = 'running')
        ORDER BY number LIMIT 1";
    Ok(connection.prepare_cached(oldest)?.query_row(params![only], |row| row.get(0)).optional()?)
}

pub(super) fn claim(
    transaction: &Transaction<'_>,
    worker: &str,
    only: Option<&str>,
    lease: Duration,
    now: &Moment,
) -> Result<Option<Claim>, Error> {
    let Some(number) = next(transaction, only)? else { return Ok(None) };
    let take = format!(
        "UPDATE builds SET state = 'running', attempt = attempt + 1, fence = fence + 1, worker = ?2, lease_ms = ?3,
            lease_wall_us = ?4, lease_uptime_ms = ?5, lease_boot = ?6, started_us = ?4, phase = NULL, sandbox = NULL,
            runner = NULL, runner_started = NULL, phases = '[]'
        WHERE number = ?1 AND state = 'queued' RETURNING {COLUMNS}, fence"
    );
    let values = params![number, worker, milliseconds(lease), now.wall_us, now.uptime_ms, now.boot];
    let claimed = transaction
        .prepare_cached(&take)?
        .query_row(values, |row| Ok(Claim { build: build(row)?, fence: unsigned(row.get(21)?) }));
    Ok(Some(claimed?))
}

/// A change that only the build's worker may make.
fn as_worker(claim: &Claim, changed: rusqlite::Result<usize>) -> Result<(), Error> {
    if changed? == 1 { Ok(()) } else { Err(Error::lost(&claim.build.id)) }
}

pub(super) fn renew(transaction: &Transaction<'_>, claim: &Claim, lease: Duration, now: &Moment) -> Result<(), Error> {
    let renew = "UPDATE builds SET lease_ms = ?3, lease_wall_us = ?4, lease_uptime_ms = ?5, lease_boot = ?6
        WHERE id = ?1 AND fence = ?2 AND state = 'running'";
    let (id, fence) = (&claim.build.id, signed(claim.fence));
    let values = params![id, fence, milliseconds(lease), now.wall_us, now.uptime_ms, now.boot];
    as_worker(claim, transaction.prepare_cached(renew)?.execute(values))
}

pub(super) fn orders(connection: &Connection, claim: &Claim) -> Result<Orders, Error> {
    let look = "SELECT cancel_requested, superseded FROM builds WHERE id = ?1 AND fence = ?2 AND state = 'running'";
    let orders = connection.prepare_cached(look)?.query_row(params![claim.build.id, signed(claim.fence)], |row| {
        Ok(Orders { cancel: row.get(0)?, superseded: row.get(1)? })
    });
    orders.optional()?.ok_or_else(|| Error::lost(&claim.build.id))
}

pub(super) fn note_running(transaction: &Transaction<'_>, claim: &Claim, running: &Running) -> Result<(), Error> {
    let note = "UPDATE builds SET phase = ?3, sandbox = ?4, runner = ?5, runner_started = ?6
        WHERE id = ?1 AND fence = ?2 AND state = 'running'";
    let (id, fence, started) = (&claim.build.id, signed(claim.fence), signed(running.runner.start));
    let values = params![id, fence, running.phase, running.sandbox, running.runner.pid, started];
    as_worker(claim, transaction.prepare_cached(note)?.execute(values))
}

pub(super) fn note_phase(transaction: &Transaction<'_>, claim: &Claim, phase: &PhaseResult) -> Result<(), Error> {
    let note = "UPDATE builds SET phases = json_insert(phases, '$[#]', json(?3)), runner = NULL, runner_started = NULL
        WHERE id = ?1 AND fence = ?2 AND state = 'running'";
    let values = params![claim.build.id, signed(claim.fence), to_json(phase)?];
    as_worker(claim, transaction.prepare_cached(note)?.execute(values))
}

/// The build, and whether others were forgotten for it.
pub(super) fn finish(
    transaction: &Transaction<'_>,
    claim: &Claim,
    report: Report,
    now: &Moment,
) -> Result<(Build, bool), Error> {
    let artifact_bytes = report.artifact_bytes;
    let ending = ending(orders(transaction, claim)?, report);
    let error = ending.fault.as_ref().map(to_json).transpose()?;
    let end = "UPDATE builds SET state = ?3, artifact = ?4, error = ?5, finished_us = ?6, artifact_bytes = ?7,
            worker = NULL, runner = NULL
        WHERE id = ?1 AND fence = ?2 AND state = 'running'";
    let (id, fence) = (&claim.build.id, signed(claim.fence));
    let bytes = signed(ending.artifact.as_ref().map_or(0, |_| artifact_bytes));
    let values = params![id, fence, ending.state.name(), ending.artifact, error, now.wall_us, bytes];
    as_worker(claim, transaction.prepare_cached(end)?.execute(values))?;
    if let Some(artifact) = &ending.artifact {
        show(transaction, &claim.build, artifact)?;
    }
    let look = "SELECT most_stored FROM builds WHERE id = ?1";
    let most: Option<i64> = transaction.prepare_cached(look)?.query_row(params![id], |row| row.get(0))?;
    let has_forgotten = match most.map(unsigned) {
        // Of one without an artifact the log is there already.
        Some(most) => {
            make_room(transaction, &claim.build.owner, id, most)?.or_refuse(most, ending.artifact.is_some())?
        }
        None => false,
    };
    Ok((get(transaction, &claim.build.owner, id)?, has_forgotten))
}

/// Makes a build that succeeded what its project shows, unless that is newer.
fn show(transaction: &Transaction<'_>, build: &Build, artifact: &str) -> Result<(), Error> {
    let look = "SELECT active_sequence FROM projects WHERE owner = ?1 AND name = ?2";
    let active: Option<i64> =
        transaction.prepare_cached(look)?.query_row(params![build.owner, build.project], |row| row.get(0))?;
    if becomes_active(build.sequence, active.map(unsigned)) {
        let set = "UPDATE projects SET active_build = ?3, active_artifact = ?4, active_sequence = ?5
            WHERE owner = ?1 AND name = ?2";
        let values = params![build.owner, build.project, build.id, artifact, signed(build.sequence)];
        transaction.prepare_cached(set)?.execute(values)?;
    }
    Ok(())
}

pub(super) fn release(transaction: &Transaction<'_>, claim: &Claim) -> Result<(), Error> {
    // One that is to end is left for its worker to end.
    let back = "UPDATE builds SET state = 'queued', attempt = attempt - 1, worker = NULL, phase = NULL, sandbox = NULL,
            runner = NULL, started_us = NULL, phases = '[]'
        WHERE id = ?1 AND fence = ?2 AND state = 'running' AND cancel_requested = 0 AND superseded = 0";
    let values = params![claim.build.id, signed(claim.fence)];
    as_worker(claim, transaction.prepare_cached(back)?.execute(values))
}

pub(super) fn is_idle(connection: &Connection) -> Result<bool, Error> {
    let look = "SELECT NOT EXISTS (SELECT 1 FROM builds WHERE state = 'queued')";
    Ok(connection.prepare_cached(look)?.query_row([], |row| row.get(0))?)
}

pub(super) fn is_running(connection: &Connection, id: &str, fence: u64) -> Result<bool, Error> {
    let look = "SELECT count(*) FROM builds WHERE id = ?1 AND fence = ?2 AND state = 'running'";
    let count: i64 = connection.prepare_cached(look)?.query_row(params![id, signed(fence)], |row| row.get(0))?;
    Ok(count > 0)
}
