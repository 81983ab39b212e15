//! What lies beside a database and belongs to it.
//!
//! A database with a write-ahead log or a rollback journal beside it is more
//! than its main file: its plain bytes may be no state it ever had.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::OFlags;

use crate::source::at::At;
use crate::source::stat::Stat;

/// A file beside a database that holds part of its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journal {
    /// `-wal`: committed changes that are not in the main file yet.
    WriteAheadLog,
    /// `-journal`: what the main file held before a change that is under way.
    Rollback,
}

impl Journal {
    /// What its name has behind the database's.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::WriteAheadLog => "-wal",
            Self::Rollback => "-journal",
        }
    }
}

/// Journals in use beside the database at `at`, with their length in bytes. An
/// empty one is not in use; nor is a rollback journal that begins with a zero,
/// which is how SQLite retires one that it keeps. One that cannot be opened counts.
pub fn live_journals(at: &At) -> Vec<(Journal, u64)> {
    let length = |journal: Journal| {
        let beside = at.sibling(journal.suffix());
        let stat = beside.stat().ok().filter(|s| s.is_file() && s.size > 0)?;
        let retired = journal == Journal::Rollback && {
            let mut first = [1];
            beside
                .open(OFlags::empty())
                .is_ok_and(|fd| std::fs::File::from(fd).read_exact_at(&mut first, 0).is_ok() && first == [0])
        };
        (!retired).then_some((journal, stat.size))
    };
    [Journal::WriteAheadLog, Journal::Rollback].into_iter().filter_map(length).collect()
}

/// The files beside a database, as one look saw them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Beside {
    /// `-wal`.
    pub wal: Option<Stat>,
    /// `-shm`: where those who have the database open agree about its log.
    pub shm: Option<Stat>,
    /// `-journal`.
    pub journal: Option<Stat>,
}

impl Beside {
    /// Looks. What is no regular file does not belong to a database.
    pub fn of(at: &At) -> Self {
        let look = |suffix| at.sibling(suffix).stat().ok().filter(Stat::is_file);
        Self { wal: look("-wal"), shm: look("-shm"), journal: look("-journal") }
    }

    /// Length of the log, 0 if there is none.
    pub fn wal_bytes(&self) -> u64 {
        self.wal.map_or(0, |stat| stat.size)
    }
}

/// First bytes of a log: one of two, by the order of bytes in its checksums.
const WAL_MAGIC: [[u8; 4]; 2] = [[0x37, 0x7f, 0x06, 0x82], [0x37, 0x7f, 0x06, 0x83]];
/// First bytes of a rollback journal.
const JOURNAL_MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
/// Shared memory grows by this.
const SHM_BYTES: u64 = 32 << 10;

/// Length of the log beside a database.
pub fn wal_bytes_of(database: &At) -> u64 {
    Beside::of(database).wal_bytes()
}

/// Path of the database that this file would belong to, by its name and its first bytes: what only has such a
/// name is somebody's own.
pub fn belongs_to(at: &At, stat: &Stat) -> Option<PathBuf> {
    let path = at.path().as_os_str().as_bytes();
    let starts = |with: &dyn Fn(&[u8]) -> bool| {
        let mut first = [0; 8];
        let opened = at.open(OFlags::empty()).map(std::fs::File::from);
        let got = opened.and_then(|file| file.read_at(&mut first, 0));
        stat.size == 0 || got.is_ok_and(|got| with(&first[..got]))
    };
    let (database, belongs) = if let Some(database) = path.strip_suffix(b"-wal") {
        (database, starts(&|first| WAL_MAGIC.iter().any(|magic| first.starts_with(magic))))
    } else if let Some(database) = path.strip_suffix(b"-journal") {
        // All zeros: retired, and kept for the next time.
        (database, starts(&|first| first == JOURNAL_MAGIC || first == [0; 8]))
    } else if let Some(database) = path.strip_suffix(b"-shm") {
        // Not opened: its locks would go. 3 bytes while it is being set up.
        (database, stat.size.is_multiple_of(SHM_BYTES) || stat.size == 3)
    } else {
        return None;
    };
    belongs.then(|| OsStr::from_bytes(database).into())
}

/// Is there a log in use beside a file that is no database to us? Then it may be one that is encrypted.
pub fn has_foreign_log(database: &At) -> bool {
    let log = database.sibling(Journal::WriteAheadLog.suffix());
    log.stat().is_ok_and(|stat| stat.is_file() && stat.size > 0 && belongs_to(&log, &stat).is_some())
}

#[cfg(test)]
mod tests {
    use super::super::header::{SQLITE_MAGIC, is_sqlite_header};
    use super::*;
    use std::io::Write;

    #[test]
    fn journals_in_use_are_found() {
        assert!(is_sqlite_header(b"SQLite format 3\0\x10\0"));
        assert!(!is_sqlite_header(b"SQLite format 3"));
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| {
            std::fs::File::create(dir.path().join(name)).unwrap().write_all(bytes).unwrap();
        };
        put("db", SQLITE_MAGIC);
        let at = At::of_path(&dir.path().join("db")).unwrap();
        assert!(live_journals(&at).is_empty());
        put("db-wal", b"");
        put("db-journal", b"\0\0\0\0");
        assert!(live_journals(&at).is_empty(), "retired");
        put("db-wal", b"xyz");
        put("db-journal", b"\xd9\xd5");
        assert_eq!(live_journals(&at), [(Journal::WriteAheadLog, 3), (Journal::Rollback, 2)]);
    }
}
