//! Is a file an SQLite database, and is someone in the middle of changing it?
//!
//! A database with a write-ahead log or a rollback journal beside it is more
//! than its main file: its plain bytes may be no state it ever had.

use std::os::unix::fs::FileExt;

use rustix::fs::OFlags;

use super::at::At;

/// The first bytes of every SQLite 3 database.
pub const SQLITE_MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Do these first bytes of a file say that it is a database?
pub fn is_sqlite_header(first_bytes: &[u8]) -> bool {
    first_bytes.starts_with(SQLITE_MAGIC)
}

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

#[cfg(test)]
mod tests {
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
