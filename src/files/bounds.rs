//! How much an operation on files may take, whatever lies in the tree.

use std::time::Duration;

/// The most that one call reads, writes, looks at and waits for. What exceeds them is an error, or a result that says that
/// it is cut short; nothing that lies in the tree decides how much memory or time a call takes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bounds {
    /// Of one file that is held in memory: by `read`, `write`, `edit`. 64 MiB.
    pub file_bytes: u64,
    /// Read by one `grep` or `read_lines` altogether. 1 GiB.
    pub scan_bytes: u64,
    /// Copied by one `copy`, `pack` or `unpack` altogether. 16 GiB.
    pub copy_bytes: u64,
    /// Entries that one call lists, finds, looks at or copies. 1,000,000.
    pub entries: u64,
    /// Levels of directories that are looked into below where a call starts. 128.
    pub depth: u64,
    /// For one `glob` or `grep`. 60 seconds.
    pub time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            file_bytes: 64 << 20,
            scan_bytes: 1 << 30,
            copy_bytes: 16 << 30,
            entries: 1_000_000,
            depth: 128,
            time: Duration::from_secs(60),
        }
    }
}
