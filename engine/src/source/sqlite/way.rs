//! Which way leads to a consistent image: a function of what one look saw.

/// How a database is captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Under the lock of a reader, which holds back who commits: copied before, compared under the lock.
    Locked,
    /// From one transaction over database and log, which holds back nobody.
    Transaction,
    /// Nobody uses it, and it has no log: its bytes, if they are the same afterwards.
    Still,
    /// Its log has no owner: in a copy.
    Recovered,
    /// Not at all.
    Plain,
}

/// What one look saw.
#[derive(Debug, Clone, Copy)]
pub struct Sight {
    /// Locks taken here are seen by everybody who uses the file.
    pub locks_hold: bool,
    /// The header says that changes go to a log.
    pub is_wal: bool,
    /// Length of the log, if there is one.
    pub wal_bytes: Option<u64>,
    /// There is shared memory beside it.
    pub has_shm: bool,
}

/// The way to go. A log that is not empty is part of the database whatever the header
/// says: SQLite goes by that too.
pub fn way(sight: Sight) -> Way {
    match sight {
        Sight { locks_hold: false, .. } => Way::Plain,
        Sight { wal_bytes: Some(1..), has_shm: true, .. } => Way::Transaction,
        Sight { wal_bytes: Some(1..), has_shm: false, .. } => Way::Recovered,
        Sight { is_wal: true, wal_bytes: Some(0), has_shm: true, .. } => Way::Transaction,
        Sight { is_wal: true, .. } => Way::Still,
        Sight { is_wal: false, .. } => Way::Locked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sight_has_its_way() {
        let see = |is_wal, wal_bytes, has_shm| way(Sight { locks_hold: true, is_wal, wal_bytes, has_shm });
        assert_eq!(see(false, None, false), Way::Locked);
        assert_eq!(see(false, Some(0), true), Way::Locked);
        assert_eq!(see(false, Some(9), true), Way::Transaction, "as SQLite would");
        assert_eq!(see(true, Some(9), true), Way::Transaction);
        assert_eq!(see(true, Some(0), true), Way::Transaction, "in use, nothing written yet");
        assert_eq!(see(true, Some(9), false), Way::Recovered);
        assert_eq!(see(true, Some(0), false), Way::Still);
        assert_eq!(see(true, None, false), Way::Still);
        assert_eq!(see(true, None, true), Way::Still);
        for is_wal in [false, true] {
            let sight = Sight { locks_hold: false, is_wal, wal_bytes: Some(9), has_shm: true };
            assert_eq!(way(sight), Way::Plain);
        }
    }
}
