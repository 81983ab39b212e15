//! A writer in a process of its own: this program, run again as `write DATABASE SECONDS PAUSE_MS`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{SECONDS, say};

/// A connection that waits for others.
pub fn connect(path: &Path) -> Connection {
    let db = Connection::open(path).expect("a database");
    db.busy_timeout(Duration::from_secs(60)).expect("a setting");
    db.pragma_update(None, "synchronous", "normal").expect("a setting");
    db
}

/// A database of so many megabytes: half text, half noise.
pub fn create(path: &Path, wal: bool, megabytes: usize) {
    let db = connect(path);
    db.pragma_update(None, "journal_mode", if wal { "wal" } else { "delete" }).expect("a mode");
    let text = "the quick brown fox jumps over the lazy dog and back again ".repeat(20);
    db.execute_batch("BEGIN; CREATE TABLE chat(id INTEGER PRIMARY KEY, text TEXT, noise BLOB)")
        .expect("a table");
    for _ in 0..megabytes * 1024 / 4 {
        db.execute("INSERT INTO chat(text, noise) VALUES(?1, randomblob(2500))", [&text]).expect("a row");
    }
    db.execute_batch("COMMIT").expect("a commit");
}

/// Commits for some seconds, with pauses; prints commits a second, and p50, p99 and the longest in ms.
pub fn write(path: &Path, seconds: u64, pause: Duration) {
    let db = connect(path);
    let (began, mut took) = (Instant::now(), Vec::new());
    while began.elapsed() < Duration::from_secs(seconds) {
        let start = Instant::now();
        db.execute_batch(
            "BEGIN IMMEDIATE; INSERT INTO chat(text, noise) SELECT text, randomblob(2500) FROM chat WHERE id = 7;
             UPDATE chat SET noise = randomblob(2500) WHERE id = (SELECT abs(random()) % max(id) FROM chat); COMMIT",
        )
        .expect("a commit");
        took.push(start.elapsed());
        std::thread::sleep(pause);
    }
    say(&told(&mut took, seconds as f64));
}

/// Commits a second; p50, p99 and the longest in ms.
pub fn told(took: &mut [Duration], seconds: f64) -> String {
    took.sort();
    let last = took.len().saturating_sub(1) as f64;
    let ms = |share: f64| took.get((last * share) as usize).map_or(0.0, |t| t.as_secs_f64() * 1000.0);
    format!("{:.0} {:.2} {:.2} {:.1}", took.len() as f64 / seconds, ms(0.5), ms(0.99), ms(1.0))
}

/// What the writer says, while `work` runs over and over.
pub fn beside(path: &Path, pause_ms: u64, work: &mut dyn FnMut()) -> String {
    let me = std::env::current_exe().expect("a path");
    let words = ["write", path.to_str().expect("a path"), &SECONDS.to_string(), &pause_ms.to_string()];
    let mut child = Command::new(me).args(words).stdout(Stdio::piped()).spawn().expect("a process");
    while child.try_wait().expect("a process").is_none() {
        work();
    }
    let out = child.wait_with_output().expect("a process").stdout;
    String::from_utf8_lossy(&out).trim().to_owned()
}
