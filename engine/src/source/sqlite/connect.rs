//! Connections to databases that somebody else has made: read-only, wary, and without a trace.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

/// How long SQLite itself waits for a lock before it is asked again.
const STEP: Duration = Duration::from_millis(50);
/// Longest text or row that a schema may have.
const LONGEST_BYTES: i32 = 16 << 20;
/// Text of a schema that is hashed, at most.
const SCHEMA_BYTES: usize = 16 << 20;

/// In what state a database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Others may be writing to it: with locks, and with the shared memory of those who use its log,
    /// which is only read.
    Shared,
    /// Nobody uses it: without locks and without a log.
    Still,
    /// It is a copy of our own, with what lies beside it: changed at will.
    Own,
}

/// Why a database did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Somebody holds a lock.
    Busy,
    /// A transaction was cut off and must be rolled back, which would change it.
    HotJournal,
    /// Its log must be recovered, which would change it.
    LostLog,
    /// It may go away.
    Other(String),
    /// Who writes to it would have to wait for too long.
    HeldBack,
    /// It will stay.
    Never(String),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        let words = || error.to_string();
        match error.sqlite_error() {
            Some(e) => match (e.extended_code, e.code) {
                (ffi::SQLITE_READONLY_ROLLBACK, _) => Self::HotJournal,
                (ffi::SQLITE_READONLY_RECOVERY | ffi::SQLITE_READONLY_CANTINIT, _) => Self::LostLog,
                (_, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
                (_, ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::TooBig) => {
                    Self::Never(words())
                }
                _ => Self::Other(words()),
            },
            None => Self::Other(words()),
        }
    }
}

/// Opens it; nothing of it is read yet. The caller keeps it from changing anything
/// ([`super::calm::Calm`]), but for [`Door::Own`].
pub fn open(path: &Path, door: Door) -> Result<Connection, Trouble> {
    let (query, flags) = match door {
        // A path whose parents became links leads elsewhere.
        Door::Shared => ("?mode=ro&readonly_shm=1", OpenFlags::SQLITE_OPEN_NOFOLLOW),
        Door::Still => ("?mode=ro&immutable=1", OpenFlags::SQLITE_OPEN_NOFOLLOW),
        Door::Own => ("?mode=rw", OpenFlags::SQLITE_OPEN_READ_WRITE),
    };
    let flags = match door {
        Door::Own => flags,
        _ => flags | OpenFlags::SQLITE_OPEN_READ_ONLY,
    } | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(address(path, query), flags)?;
    connection.busy_timeout(STEP)?;
    // Somebody else wrote its schema.
    for (setting, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true),
    ] {
        connection.set_db_config(setting, on)?;
    }
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, LONGEST_BYTES)?;
    connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, LONGEST_BYTES)?;
    if door == Door::Own {
        // Without it, recovering a log would need shared memory.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    }
    Ok(connection)
}

/// Begins a transaction that reads: from here on the database stands still for this connection. Pages of it.
pub fn begin(connection: &Connection) -> Result<u32, Trouble> {
    connection.execute_batch("BEGIN")?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let pages: u32 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    if pages == 0 {
        return Err(Trouble::Never("it has not a single whole page".into()));
    }
    // Each page is asked for once.
    connection.pragma_update(None, "cache_size", 16)?;
    Ok(pages)
}

/// Does the transaction see a write-ahead log?
pub fn has_log(connection: &Connection) -> Result<bool, Trouble> {
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    Ok(mode.eq_ignore_ascii_case("wal"))
}

/// BLAKE3 of the schema's text: of each table, index, view and trigger its type, name, table and
/// statement, sorted (VACUUM changes their order), without the pages where they begin. Zeros if there is too much of it.
pub fn schema_hash(connection: &Connection) -> Result<[u8; 32], Trouble> {
    let mut statement =
        connection.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2, 3, 4")?;
    let mut rows = statement.query([])?;
    let (mut hash, mut bytes) = (blake3::Hasher::new(), 0usize);
    while let Some(row) = rows.next()? {
        for column in 0..4 {
            let value = row.get_ref(column)?;
            let text = value.as_bytes_or_null().ok().flatten().unwrap_or_default();
            bytes = bytes.saturating_add(text.len());
            hash.update(&(text.len() as u64).to_le_bytes()).update(text);
        }
        if bytes > SCHEMA_BYTES {
            return Ok([0; 32]);
        }
    }
    Ok(*hash.finalize().as_bytes())
}

/// A path as SQLite's URI: everything but plain letters, digits and slashes in hexadecimal.
fn address(path: &Path, query: &str) -> String {
    let mut out = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                out.push(char::from(*byte))
            }
            _ => out.push_str(&format!("%{byte:02x}")),
        }
    }
    out + query
}
