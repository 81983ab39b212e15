//! A private copy of a database that others made, opened to be asked.
//!
//! It is written to a file without a name (mode 0600), which gets a name in a folder of our own only for the moment
//! in which SQLite opens it: however the process ends, nothing of it stays. The connection is read-only and
//! as wary as that of a capture; it takes no locks, as nobody else has the file, and looks for no journal.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode};

use super::connect::{self, Door};
use super::header::{HEADER_BYTES, Header};
use super::room::{Folder, Room};

/// Texts and rows may be so long in any case.
const LEAST_LENGTH_BYTES: u64 = 16 << 20;
/// SQLite's own limit.
const MOST_LENGTH_BYTES: u64 = 1_000_000_000;
/// Steps of SQLite's machine between two looks at what is left of them.
const STEPS: i32 = 10_000;
/// Steps for each byte of a database, and beside them: an honest one takes a tenth of it to be checked.
const STEPS_PER_BYTE: u64 = 256;
const LEAST_STEPS: u64 = 100_000_000;
/// Between two looks whether the user asked to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Where copies lie.
#[derive(Debug, Clone)]
pub struct CopyPlace {
    dir: PathBuf,
    room: Room,
}

impl Default for CopyPlace {
    /// In the system's directory for temporary files, with no other bound than its room.
    fn default() -> Self {
        Self::new(std::env::temp_dir(), None)
    }
}

impl CopyPlace {
    /// In `dir`, each of at most so many bytes.
    pub fn new(dir: PathBuf, max_bytes: Option<u64>) -> Self {
        Self { room: Room::new(dir.clone(), max_bytes), dir }
    }

    /// The directory.
    pub fn dir(&self) -> &std::path::Path {
        &self.dir
    }

    /// An empty file without a name, and room for so many bytes; otherwise why not, in words.
    pub fn blank(&self, bytes: u64) -> Result<File, String> {
        self.room.file(bytes)
    }

    /// Opens the copy that was written to `file`, all of it.
    pub fn open(&self, file: &File) -> Result<Copy, Refusal> {
        let failed = |e: io::Error| Refusal::Cannot(format!("its copy cannot be used: {e}"));
        let bytes = file.metadata().map_err(failed)?.len();
        let mut first = [0; HEADER_BYTES];
        file.read_exact_at(&mut first, 0).map_err(|_| Refusal::Damaged("it is too short".into()))?;
        let header = Header::parse(&first)
            .ok_or_else(|| Refusal::Damaged("only its first bytes are those of a database".into()))?;
        let folder = self.room.folder(0).map_err(Refusal::Cannot)?;
        name_it(file, &folder).map_err(failed)?;
        let mut connection = connect::open(&folder.path(""), Door::Still)
            .map_err(|trouble| Refusal::Cannot(format!("its copy cannot be opened ({trouble:?})")))?;
        drop(folder);
        let length = bytes.clamp(LEAST_LENGTH_BYTES, MOST_LENGTH_BYTES);
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, i32::try_from(length).unwrap_or(i32::MAX))?;
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        connection.pragma_update(None, "query_only", true)?;
        let mut left = bytes.saturating_mul(STEPS_PER_BYTE).saturating_add(LEAST_STEPS);
        let is_over = move || {
            left = left.saturating_sub(u64::from(STEPS.unsigned_abs()));
            left == 0
        };
        connection.progress_handler(STEPS, Some(is_over))?;
        Ok(Copy { connection, header, bytes })
    }
}

/// Gives the file a name in the folder; where one without a name cannot get one, a copy of it.
fn name_it(file: &File, folder: &Folder) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{AtFlags, CWD, linkat};
        use std::os::fd::AsRawFd;
        let by_handle = format!("/proc/self/fd/{}", file.as_raw_fd());
        if linkat(CWD, by_handle, CWD, folder.path(""), AtFlags::SYMLINK_FOLLOW).is_ok() {
            return Ok(());
        }
    }
    let (mut from, mut to) = (file, folder.create("")?);
    from.seek(SeekFrom::Start(0))?;
    io::copy(&mut from, &mut to).map(drop)
}

/// Why a copy did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It is damaged, or no database.
    Damaged(String),
    /// Nothing is known of it: no room, a function or collation of another program, …
    Cannot(String),
    /// The user asked to stop, or it took more steps than any honest database of its size.
    GivenUp,
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => Self::GivenUp,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error.to_string()),
            _ => Self::Cannot(error.to_string()),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged(why) | Self::Cannot(why) => f.write_str(why),
            Self::GivenUp => f.write_str("it takes more work than any honest database of its size"),
        }
    }
}

/// A private copy, open.
#[derive(Debug)]
pub struct Copy {
    connection: Connection,
    header: Header,
    bytes: u64,
}

impl Copy {
    /// What its first page says.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn connection_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// For statements of the user himself: as many steps as they take, and views are followed.
    pub fn for_own_statements(mut self) -> Result<Self, Refusal> {
        use rusqlite::config::DbConfig;
        self.connection.progress_handler(0, None::<fn() -> bool>)?;
        self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, true)?;
        Ok(self)
    }

    /// BLAKE3 of its schema as a capture records it.
    pub fn schema_hash(&self) -> Result<[u8; 32], Refusal> {
        connect::schema_hash(&self.connection)
            .map_err(|trouble| Refusal::Cannot(format!("its schema cannot be read ({trouble:?})")))
    }

    /// Runs `work`; statements end with [`Refusal::GivenUp`] as soon as `stop` says so.
    pub fn until<T>(&mut self, stop: &(dyn Fn() -> bool + Sync), work: impl FnOnce(&mut Self) -> T) -> T {
        let handle = self.connection.get_interrupt_handle();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    if stop() {
                        handle.interrupt();
                    }
                    std::thread::park_timeout(LOOK);
                }
            });
            // Also when `work` panics: the scope waits for the thread.
            let _end = End(&over, watch.thread().clone());
            work(self)
        })
    }
}

struct End<'a>(&'a AtomicBool, std::thread::Thread);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.unpark();
    }
}
