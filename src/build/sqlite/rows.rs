//! Logs: rows that are only ever added, each with the next number.

use super::{signed, unsigned};
use crate::build::error::Error;
use crate::build::record::{LogRow, NewRow, Stream};
use crate::build::store::Claim;
use rusqlite::types::FromSqlError;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

/// What a row takes beside its text, in bytes.
const ROW: u64 = 64;

/// How many rows one call reads at most.
const MOST_READ: u32 = 10_000;

pub(super) fn append(transaction: &Transaction<'_>, claim: &Claim, rows: &[NewRow], is_cut: bool) -> Result<(), Error> {
    let count =
        "UPDATE builds SET log_rows = log_rows + ?3, log_truncated = log_truncated OR ?4, log_bytes = log_bytes + ?5
        WHERE id = ?1 AND fence = ?2 AND state = 'running' RETURNING number, log_rows";
    let added = signed(rows.len() as u64);
    let bytes = rows.iter().map(|row| row.text.len() as u64 + ROW).fold(0, u64::saturating_add);
    let values = params![claim.build.id, signed(claim.fence), added, is_cut, signed(bytes)];
    let counted = transaction.prepare_cached(count)?.query_row(values, |row| Ok((row.get(0)?, row.get(1)?)));
    let (build, last): (i64, i64) = counted.optional()?.ok_or_else(|| Error::lost(&claim.build.id))?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO rows (build, sequence, time_us, phase, stream, text, truncated) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for (row, sequence) in rows.iter().zip(last - added + 1..) {
        insert.execute(params![build, sequence, row.time_us, row.phase, row.stream.name(), row.text, row.truncated])?;
    }
    Ok(())
}

pub(super) fn rows(
    connection: &Connection,
    owner: &str,
    id: &str,
    after: u64,
    limit: u32,
) -> Result<Vec<LogRow>, Error> {
    let find = "SELECT number FROM builds WHERE id = ?1 AND owner = ?2";
    let number: Option<i64> =
        connection.prepare_cached(find)?.query_row(params![id, owner], |row| row.get(0)).optional()?;
    let number = number.ok_or_else(|| Error::not_found("build", id))?;
    let mut read = connection.prepare_cached(
        "SELECT sequence, time_us, phase, stream, text, truncated FROM rows WHERE build = ?1 AND sequence > ?2
         ORDER BY sequence LIMIT ?3",
    )?;
    let rows = read.query_map(params![number, signed(after), limit.clamp(1, MOST_READ)], log_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn log_row(row: &Row<'_>) -> rusqlite::Result<LogRow> {
    let stream: String = row.get(3)?;
    Ok(LogRow {
        sequence: unsigned(row.get(0)?),
        time_us: row.get(1)?,
        phase: row.get(2)?,
        stream: Stream::named(&stream).ok_or(FromSqlError::InvalidType)?,
        text: row.get(4)?,
        truncated: row.get(5)?,
    })
}
