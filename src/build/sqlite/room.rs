//! What an owner's builds hold, and room for more: where that has a bound, the oldest that have ended are forgotten for it.

use super::sweep::forget_build;
use super::unsigned;
use crate::build::error::Error;
use rusqlite::{Connection, Transaction, params};
use std::collections::HashMap;

/// What a build takes beside its plan, its log and its files, in bytes: its row, and what directories and inodes take.
const BUILD: u64 = 16 << 10;

/// How many builds of one owner are remembered, where what they hold has a bound: each hand-in counts them.
const MOST: usize = 10_000;

/// What a build holds.
struct Held {
    number: i64,
    id: String,
    /// Its snapshot and its artifact, each with its bytes.
    files: [Option<(String, u64)>; 2],
    /// What no other build has a share in.
    own: u64,
    /// Whether it has ended and no project shows it.
    may_go: bool,
}

fn held(connection: &Connection, owner: &str) -> Result<Vec<Held>, Error> {
    let sql = "SELECT number, id, snapshot, snapshot_bytes, artifact, artifact_bytes, log_bytes + octet_length(plan),
            state NOT IN ('queued', 'running') AND NOT EXISTS (SELECT 1 FROM projects WHERE active_build = builds.id)
        FROM builds WHERE owner = ?1 ORDER BY number";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params![owner], |row| {
        let artifact: Option<String> = row.get(4)?;
        let (snapshot_bytes, artifact_bytes) = (unsigned(row.get(3)?), unsigned(row.get(5)?));
        Ok(Held {
            number: row.get(0)?,
            id: row.get(1)?,
            files: [Some((row.get(2)?, snapshot_bytes)), artifact.map(|artifact| (artifact, artifact_bytes))],
            own: unsigned(row.get(6)?) + BUILD,
            may_go: row.get(7)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What builds hold together: a file that several have counts once.
#[derive(Default)]
struct Sum<'h> {
    files: HashMap<&'h str, (u64, usize)>,
    bytes: u64,
}

impl<'h> Sum<'h> {
    fn of(all: &'h [Held]) -> Self {
        let mut sum = Self::default();
        for held in all {
            sum.bytes += held.own;
            for (id, bytes) in held.files.iter().flatten() {
                let (known, users) = sum.files.entry(id).or_default();
                // One that was handed in before sizes were written down counts as of whoever knows it.
                sum.bytes += bytes.saturating_sub(*known);
                (*known, *users) = (bytes.max(known).to_owned(), *users + 1);
            }
        }
        sum
    }

    fn remove(&mut self, held: &Held) {
        self.bytes = self.bytes.saturating_sub(held.own);
        for (id, _) in held.files.iter().flatten() {
            let Some((bytes, users)) = self.files.get_mut(id.as_str()) else { continue };
            *users -= 1;
            if *users == 0 {
                self.bytes = self.bytes.saturating_sub(*bytes);
            }
        }
    }
}

pub(super) fn stored(connection: &Connection, owner: &str) -> Result<u64, Error> {
    Ok(Sum::of(&held(connection, owner)?).bytes)
}

/// What was reached.
pub(super) struct Room {
    stored: u64,
    has_forgotten: bool,
}

impl Room {
    /// Whether something was forgotten for it.
    ///
    /// # Errors
    /// [`Error::StoreFull`] where `needs` more than there is: then the transaction is to be given up, with what it forgot.
    pub(super) fn or_refuse(self, most: u64, needs: bool) -> Result<bool, Error> {
        match needs && self.stored > most {
            true => Err(Error::StoreFull { stored: self.stored, most }),
            false => Ok(self.has_forgotten),
        }
    }
}

/// Forgets the oldest builds of an owner until all hold no more than this; but none that waits or runs, none that a project
/// shows, and not this one.
pub(super) fn make_room(transaction: &Transaction<'_>, owner: &str, but: &str, most: u64) -> Result<Room, Error> {
    let all = held(transaction, owner)?;
    let (mut sum, mut left) = (Sum::of(&all), all.len());
    for held in all.iter().filter(|held| held.may_go && held.id != but) {
        if sum.bytes <= most && left <= MOST {
            break;
        }
        forget_build(transaction, held.number)?;
        sum.remove(held);
        left -= 1;
    }
    Ok(Room { stored: sum.bytes, has_forgotten: left < all.len() })
}
