//! Databases in which every committed state can be told from any other and from a mixture, and
//! processes and threads that write to them.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ballast::source::sqlite::{Captor, Image, NotCaptured, SqliteOptions};
use ballast::source::{At, SourceFile};
use rusqlite::{Connection, OpenFlags};

use crate::place::LateClock;

/// Rows that every transaction changes, all to the same number: they lie on many pages.
const CELLS: i64 = 120;

/// A new database: with a write-ahead log or a rollback journal, and so many bytes that nobody changes.
pub fn create(path: &Path, wal: bool, filler_bytes: usize) -> Connection {
    let db = connect(path);
    let mode = if wal { "wal" } else { "delete" };
    db.pragma_update(None, "journal_mode", mode).unwrap();
    db.execute_batch(
        "PRAGMA synchronous=off; BEGIN;
         CREATE TABLE cell(id INTEGER PRIMARY KEY, n INTEGER NOT NULL, pad BLOB NOT NULL);
         CREATE TABLE log(n INTEGER PRIMARY KEY, pad BLOB NOT NULL);
         CREATE INDEX log_pad ON log(pad);
         CREATE TABLE filler(id INTEGER PRIMARY KEY, pad BLOB NOT NULL);",
    )
    .unwrap();
    for id in 0..CELLS {
        db.execute("INSERT INTO cell VALUES(?1, 0, randomblob(900))", [id]).unwrap();
    }
    for _ in 0..filler_bytes.div_ceil(100_000) {
        db.execute("INSERT INTO filler(pad) VALUES(randomblob(100000))", []).unwrap();
    }
    db.execute_batch("COMMIT").unwrap();
    db
}

/// A connection that waits for others.
pub fn connect(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(Duration::from_secs(60)).unwrap();
    db.pragma_update(None, "synchronous", "off").unwrap();
    db
}

/// One transaction: from state `n` to `n + 1`. It grows, and every few states it shrinks. Then a moment in which
/// others may begin: SQLite's lock is not fair, and who asks again at once keeps everybody else out for minutes.
pub fn step(db: &Connection) {
    db.execute_batch(
        "BEGIN IMMEDIATE;
         UPDATE cell SET n = n + 1;
         INSERT INTO log SELECT n, randomblob(200 + n % 7 * 300) FROM cell WHERE id = 0;
         UPDATE log SET pad = randomblob(700) WHERE n = (SELECT n / 2 FROM cell WHERE id = 0);
         COMMIT;",
    )
    .unwrap();
    std::thread::sleep(Duration::from_millis(2));
}

/// The state that a stored copy is in. It must be whole, one state and no mixture, and need nothing beside
/// it.
pub fn state(path: &Path) -> i64 {
    let first = std::fs::read(path).unwrap();
    assert_eq!(&first[18..20], [1, 1], "a plain database, without a log");
    for suffix in ["-wal", "-shm", "-journal"] {
        let beside = path.with_file_name(format!("{}{suffix}", path.file_name().unwrap().to_str().unwrap()));
        assert!(!beside.exists(), "{}", beside.display());
    }
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let one = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    assert_eq!(one("SELECT count(DISTINCT n) FROM cell"), 1, "a mixture of states");
    assert_eq!(one("SELECT count(*) FROM cell"), CELLS);
    let n = one("SELECT n FROM cell WHERE id = 0");
    assert_eq!(one("SELECT count(*) FROM log"), n);
    assert_eq!(one("SELECT coalesce(max(n), 0) FROM log"), n);
    n
}

/// Writes for ever, with a checkpoint that empties the log now and then.
pub fn write_for_ever(path: &Path, checkpoints: bool) -> ! {
    let db = connect(path);
    for turn in 1u32.. {
        step(&db);
        if checkpoints && turn.is_multiple_of(20) {
            drop(db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
        }
    }
    unreachable!("because nobody counts so far")
}

/// A process that is killed, as hard as can be, when it is dropped.
pub struct Killed(Child);

impl Killed {
    /// `worker` with these words; waits until it says that it is ready.
    pub fn start(worker: &str, words: &[&str]) -> Self {
        let mut child =
            Command::new(worker).args(words).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let out = child.stdout.as_mut().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Temporary files in `temp`.
pub fn options(temp: &Path) -> SqliteOptions {
    SqliteOptions { temp_dir: temp.to_owned(), ..SqliteOptions::default() }
}

/// Captures as a snapshot does.
pub fn capture(path: &Path, options: &SqliteOptions) -> Result<Image, NotCaptured> {
    let at = At::of_path(path).unwrap();
    let source = SourceFile::open(&at, &at.stat().unwrap()).unwrap();
    Captor { options, clock: &LateClock, stop: &|| false }.capture(&at, &source)
}

/// Its bytes, read in pieces that are no multiple of a page.
pub fn bytes_of(image: &mut Image) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(image.size()).unwrap()];
    let mut done = 0;
    while done < bytes.len() {
        let end = bytes.len().min(done + 1_000_003);
        done += image.read_at(done as u64, &mut bytes[done..end]).unwrap();
    }
    assert_eq!(image.close(), None, "nobody changed it");
    bytes
}
