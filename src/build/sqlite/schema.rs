//! The tables. A database of an older version would be brought up to date here; one of a newer version is refused.

use crate::build::error::Error;
use rusqlite::{Connection, TransactionBehavior};

/// The version that this program reads and writes.
const VERSION: i64 = 2;

const TABLES: &str = "
CREATE TABLE projects (
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    snapshots INTEGER NOT NULL DEFAULT 0,
    active_build TEXT,
    active_artifact TEXT,
    active_sequence INTEGER,
    PRIMARY KEY (owner, name)
) WITHOUT ROWID;

CREATE TABLE builds (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    project TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    snapshot TEXT NOT NULL,
    plan TEXT NOT NULL,
    state TEXT NOT NULL,
    retry_of TEXT,
    attempt INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL,
    fence INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    lease_ms INTEGER,
    lease_wall_us INTEGER,
    lease_uptime_ms INTEGER,
    lease_boot TEXT,
    phase TEXT,
    sandbox TEXT,
    runner INTEGER,
    runner_started INTEGER,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    superseded INTEGER NOT NULL DEFAULT 0,
    created_us INTEGER NOT NULL,
    created_uptime_ms INTEGER NOT NULL,
    created_boot TEXT NOT NULL,
    started_us INTEGER,
    finished_us INTEGER,
    phases TEXT NOT NULL DEFAULT '[]',
    artifact TEXT,
    error TEXT,
    log_rows INTEGER NOT NULL DEFAULT 0,
    log_truncated INTEGER NOT NULL DEFAULT 0,
    snapshot_bytes INTEGER NOT NULL DEFAULT 0,
    artifact_bytes INTEGER NOT NULL DEFAULT 0,
    log_bytes INTEGER NOT NULL DEFAULT 0,
    most_stored INTEGER
);
CREATE INDEX builds_by_state ON builds (state, number);
CREATE INDEX builds_by_project ON builds (owner, project, state);
CREATE INDEX builds_by_owner ON builds (owner, number);

CREATE TABLE rows (
    build INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    time_us INTEGER NOT NULL,
    phase TEXT,
    stream TEXT NOT NULL,
    text TEXT NOT NULL,
    truncated INTEGER NOT NULL,
    PRIMARY KEY (build, sequence)
) WITHOUT ROWID;

CREATE TABLE previews (
    hash TEXT PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    project TEXT NOT NULL,
    build TEXT,
    created_us INTEGER NOT NULL,
    created_uptime_ms INTEGER NOT NULL,
    created_boot TEXT NOT NULL,
    longest_ms INTEGER,
    expires_us INTEGER,
    revoked_us INTEGER
) WITHOUT ROWID;
CREATE INDEX previews_by_project ON previews (owner, project, created_us);
";

/// From version 1 on it is known what builds hold. Of those that were there, that counts as nothing.
const FROM_1: &str = "
ALTER TABLE builds ADD COLUMN snapshot_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE builds ADD COLUMN artifact_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE builds ADD COLUMN log_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE builds ADD COLUMN most_stored INTEGER;
";

/// Makes the tables of a new database, brings an older one up to date, and refuses one that is newer than this program.
pub(super) fn prepare(connection: &mut Connection) -> Result<(), Error> {
    let version = |connection: &Connection| connection.pragma_query_value(None, "user_version", |row| row.get(0));
    if version(connection)? == VERSION {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Somebody else may have made them meanwhile.
    match version(&transaction)? {
        VERSION => {}
        0 => transaction.execute_batch(TABLES)?,
        1 => transaction.execute_batch(FROM_1)?,
        found => return Err(Error::Newer { found, known: VERSION }),
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_of_version_1_is_brought_up_to_date() {
        let columns = |connection: &Connection| -> Vec<String> {
            let mut statement =
                connection.prepare("SELECT name FROM pragma_table_info('builds') ORDER BY name").unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let mut fresh = Connection::open_in_memory().unwrap();
        prepare(&mut fresh).unwrap();
        let mut old = Connection::open_in_memory().unwrap();
        prepare(&mut old).unwrap();
        for column in ["snapshot_bytes", "artifact_bytes", "log_bytes", "most_stored"] {
            old.execute_batch(&format!("ALTER TABLE builds DROP COLUMN {column}")).unwrap();
        }
        old.pragma_update(None, "user_version", 1).unwrap();
        prepare(&mut old).unwrap();
        assert_eq!(columns(&old), columns(&fresh));
        assert_eq!(old.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap(), VERSION);
    }
}
