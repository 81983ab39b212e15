//! What a capture costs those who use the database, and how fast it is.
//!
//! ```text
//! cargo bench -p ballast-benches --bench capture [-- MEGABYTES]     256 by default
//! ```
//!
//! The writer is a process of its own: this program, run again as `write DATABASE SECONDS PAUSE_MS`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ballast::entropy::{Surroundings, SystemClock};
use ballast::op::snapshot::{self, SnapshotOptions};
use ballast::progress::Silent;
use ballast::repo::{InitOptions, OpenOptions, Repository};
use ballast::source::sqlite::{Captor, Image, SqliteOptions};
use ballast::source::{At, SourceFile};
use ballast::store::local::LocalStore;
use rusqlite::Connection;

const SECONDS: u64 = 6;

fn connect(path: &Path) -> Connection {
    let db = Connection::open(path).expect("a database");
    db.busy_timeout(Duration::from_secs(60)).expect("a setting");
    db.pragma_update(None, "synchronous", "normal").expect("a setting");
    db
}

fn create(path: &Path, wal: bool, megabytes: usize) {
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
fn write(path: &Path, seconds: u64, pause: Duration) {
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
    took.sort();
    let ms = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    say(&format!("{:.0} {:.2} {:.2} {:.1}", took.len() as f64 / seconds as f64, ms(0.5), ms(0.99), ms(1.0)));
}

#[allow(clippy::print_stdout, reason = "the result")]
fn say(line: &str) {
    println!("{line}");
}

fn capture(path: &Path) -> Image {
    let at = At::of_path(path).expect("a path");
    let source = SourceFile::open(&at, &at.stat().expect("a file")).expect("a file");
    let options = SqliteOptions::default();
    Captor { options: &options, clock: &SystemClock, stop: &|| false }
        .capture(&at, &source)
        .expect("an image")
}

/// Captures and reads all of it; bytes.
fn read(path: &Path, buffer: &mut [u8]) -> u64 {
    let mut image = capture(path);
    let mut done = 0;
    while done < image.size() {
        done += image.read_at(done, buffer).expect("bytes") as u64;
    }
    let _ = image.close();
    done
}

/// What the writer says, while `beside` runs over and over.
fn writer(path: &Path, pause_ms: u64, beside: &mut dyn FnMut()) -> String {
    let me = std::env::current_exe().expect("a path");
    let words = ["write", path.to_str().expect("a path"), &SECONDS.to_string(), &pause_ms.to_string()];
    let mut child = Command::new(me).args(words).stdout(Stdio::piped()).spawn().expect("a process");
    while child.try_wait().expect("a process").is_none() {
        beside();
    }
    let out = child.wait_with_output().expect("a process").stdout;
    String::from_utf8_lossy(&out).trim().to_owned()
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [verb, path, seconds, pause] = words.as_slice()
        && verb == "write"
    {
        let pause = Duration::from_millis(pause.parse().expect("a number"));
        return write(Path::new(path), seconds.parse().expect("a number"), pause);
    }
    let megabytes = words.first().and_then(|word| word.parse().ok()).unwrap_or(256);
    let dir = tempfile::tempdir().expect("a directory");
    let mut buffer = vec![0; 16 << 20];
    let idle = || std::thread::sleep(Duration::from_millis(50));
    for wal in [true, false] {
        let name = if wal { "log" } else { "rollback journal" };
        let path = dir.path().join(format!("db{wal}"));
        create(&path, wal, megabytes);
        for turn in ["cold or warm", "warm"] {
            let began = Instant::now();
            let bytes = read(&path, &mut buffer) as f64;
            say(&format!("{name}, closed, {turn}: {:.0} MB/s", bytes / 1e6 / began.elapsed().as_secs_f64()));
        }
        let user = connect(&path);
        user.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).expect("a row");
        let began = Instant::now();
        let bytes = read(&path, &mut buffer) as f64;
        say(&format!("{name}, in use: {:.0} MB/s", bytes / 1e6 / began.elapsed().as_secs_f64()));
        for pause_ms in [0, 20] {
            say(&format!("{name}, writer (pause {pause_ms} ms): commits/s, p50, p99, longest in ms"));
            say(&format!("  alone           {}", writer(&path, pause_ms, &mut { idle })));
            let mut captures = 0;
            let beside = writer(&path, pause_ms, &mut || {
                read(&path, &mut buffer);
                captures += 1;
            });
            say(&format!("  beside captures {beside}  ({captures} captures)"));
        }
        let store = Arc::new(LocalStore::new(dir.path().join(format!("repo{wal}"))).expect("a store"));
        let (init, open) = (InitOptions::default(), OpenOptions::default());
        let repo =
            Repository::init(store, b"bench", &init, &open, Surroundings::system()).expect("a repository");
        let options =
            SnapshotOptions { paths: vec![path.clone()], cwd: "/".into(), ..SnapshotOptions::default() };
        let snapshot = || snapshot::run(&repo, &options, &Silent).expect("a snapshot");
        let first = snapshot();
        say(&format!("{name}, first snapshot: {:.0} MB/s", first.read_bytes as f64 / 1e6 / first.seconds));
        drop(std::fs::File::options().write(true).open(&path).map(|f| f.set_modified(std::time::UNIX_EPOCH)));
        let again = snapshot();
        let rate = again.read_bytes as f64 / 1e6 / again.seconds;
        say(&format!("{name}, touched and equal: {rate:.0} MB/s, {} bytes stored", again.stored_bytes));
        let beside = writer(&path, 20, &mut || drop(snapshot()));
        say(&format!("  writer (pause 20 ms) beside snapshots {beside}"));
    }
}
