//! What is asked of captures.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use crate::source::file_system::FileSystem;

/// What to do with databases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SqliteMode {
    /// Capture them; where that cannot be, store their bytes as they are, with a problem.
    #[default]
    Auto,
    /// Their bytes as they are, like those of any file.
    Off,
    /// Capture them; one that cannot be captured is not stored, with a problem.
    Require,
}

/// How databases are captured.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// Whether.
    pub mode: SqliteMode,
    /// Where temporary images and copies lie.
    pub temp_dir: PathBuf,
    /// Bytes of one of them, at most; there must be room for it in any case.
    pub temp_max_bytes: Option<u64>,
    /// How long to wait for a lock.
    pub lock_wait: Duration,
    /// How long to hold back those who write to a database without a write-ahead log, the first
    /// time; twice as long the second time, four times the third and last.
    pub lock_hold: Duration,
    /// Read through `sqlite_dbpage` where it is there.
    pub page_table: bool,
    /// Are locks on this file those of everybody who uses it?
    pub locks_hold: fn(&File) -> bool,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            mode: SqliteMode::Auto,
            temp_dir: std::env::temp_dir(),
            temp_max_bytes: None,
            lock_wait: Duration::from_secs(10),
            lock_hold: Duration::from_secs(5),
            page_table: true,
            locks_hold: |file| FileSystem::of(file).is_local(),
        }
    }
}
