//! What a capture costs those who use the database, and how fast it is.
//!
//! ```text
//! cargo bench -p ballast-benches --bench capture [-- WHAT...]
//! ```
//!
//! WHAT, all of it by default: `writers` (beside a database of 256 MB), `touched` (one of 1 GB of which not a byte
//! changes), `service` (beside `chatdb.py --live`, in `shared/tools` beside the repository). TMPDIR says where; commits
//! are told as commits a second, and p50, p99 and the longest in ms.

mod service;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ballast::entropy::{Clock, Surroundings, SystemClock};
use ballast::op::snapshot::{self, SnapshotOptions, SnapshotReport};
use ballast::progress::Silent;
use ballast::repo::{InitOptions, OpenOptions, Repository};
use ballast::source::sqlite::{Captor, Image, SqliteOptions};
use ballast::source::{At, SourceFile};
use ballast::store::local::LocalStore;
use writer::{beside, connect, create, write};

const SECONDS: u64 = 6;

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

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [verb, path, seconds, pause] = words.as_slice()
        && verb == "write"
    {
        let pause = Duration::from_millis(pause.parse().expect("a number"));
        return write(Path::new(path), seconds.parse().expect("a number"), pause);
    }
    let dir = tempfile::tempdir().expect("a directory");
    let asked = |what: &str| words.is_empty() || words.iter().any(|word| word == what);
    if asked("writers") {
        for wal in [true, false] {
            writers(dir.path(), wal);
        }
    }
    if asked("touched") {
        for wal in [true, false] {
            touched(dir.path(), wal);
        }
    }
    if asked("service") {
        service::run(dir.path());
    }
}

fn name(wal: bool) -> &'static str {
    if wal { "log" } else { "rollback journal" }
}

/// Captures beside writers of a database of 256 MB.
fn writers(dir: &Path, wal: bool) {
    let (name, path, mut buffer) = (name(wal), dir.join("db"), vec![0; 16 << 20]);
    create(&path, wal, 256);
    let mut told = |what: &str| {
        let began = Instant::now();
        let bytes = read(&path, &mut buffer) as f64;
        say(&format!("{name}, {what}: {:.0} MB/s", bytes / 1e6 / began.elapsed().as_secs_f64()));
    };
    told("closed");
    let user = connect(&path);
    user.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).expect("a row");
    told("in use");
    let idle = || std::thread::sleep(Duration::from_millis(50));
    for pause_ms in [0, 20] {
        say(&format!("{name}, writer (pause {pause_ms} ms)"));
        say(&format!("  alone                    {}", beside(&path, pause_ms, &mut { idle })));
        for (what, every) in [("captures", Duration::ZERO), ("a capture a second", Duration::from_secs(1))] {
            let mut captures = 0;
            let line = beside(&path, pause_ms, &mut || {
                let began = Instant::now();
                read(&path, &mut buffer);
                captures += 1;
                std::thread::sleep(every.saturating_sub(began.elapsed()));
            });
            say(&format!("  beside {what:<18}{line}  ({captures} captures)"));
        }
    }
    let store = tempfile::tempdir_in(dir).expect("a directory");
    let snapshot = snapshots(store.path(), &path);
    let first = snapshot();
    say(&format!("{name}, first snapshot: {:.0} MB/s", first.read_bytes as f64 / 1e6 / first.seconds));
    say(&format!("  beside whole snapshots   {}", beside(&path, 20, &mut || drop(snapshot()))));
    drop(user);
    std::fs::remove_file(path).expect("a file");
}

/// A gigabyte of which nothing changes but its time.
fn touched(dir: &Path, wal: bool) {
    let (name, path) = (name(wal), dir.join("db"));
    create(&path, wal, 1000);
    let store = tempfile::tempdir_in(dir).expect("a directory");
    let snapshot = snapshots(store.path(), &path);
    snapshot();
    for _ in 0..3 {
        let now = std::time::SystemTime::UNIX_EPOCH + Duration::from_nanos(SystemClock.now_ns() as u64);
        let file = std::fs::File::options().write(true).open(&path).expect("a file");
        file.set_modified(now - Duration::from_secs(60)).expect("a time");
        let again = snapshot();
        let rate = again.read_bytes as f64 / 1e6 / again.seconds;
        say(&format!(
            "{name}, {:.2} GB touched and equal: {rate:.0} MB/s, {} bytes stored",
            again.read_bytes as f64 / 1e9,
            again.stored_bytes
        ));
    }
    std::fs::remove_file(path).expect("a file");
}

/// Takes snapshots of one file into a new repository.
fn snapshots(store: &Path, path: &Path) -> impl Fn() -> SnapshotReport + use<> {
    let store = Arc::new(LocalStore::new(store.join("repository")).expect("a store"));
    let (init, open) = (InitOptions::default(), OpenOptions::default());
    let repo = Repository::init(store, b"bench", &init, &open, Surroundings::system()).expect("a repository");
    let options =
        SnapshotOptions { paths: vec![path.to_owned()], cwd: "/".into(), ..SnapshotOptions::default() };
    move || snapshot::run(&repo, &options, &Silent).expect("a snapshot")
}
