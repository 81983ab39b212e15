//! A process that tests may stop and kill: `worker snapshot REPO CACHE SOURCE`,
//! `worker prune REPO CACHE`, `worker check REPO` and `worker forget REPO CACHE NUMBER` with a cheap key and the clock of
//! the tests, `worker memory BYTES`, `worker image DATABASE COPY TEMP`, which captures a database, or `worker alone DATABASE`, which fails if anybody
//! else has it locked, for reading too. Those that say `ready` and go on until they are killed: `worker write
//! DATABASE` and `worker checkpoint DATABASE` write to it, `worker open DATABASE` has it open, `worker lock DATABASE` locks it, `worker
//! interrupt DATABASE` is in the middle of a large transaction, `worker capture DATABASE TEMP` of a capture. `worker restore REPO SNAPSHOT PATH TARGET NUMBER [in-place]` restores, and
//! is killed when it says something for the time of that number. With `WORKER_SPOOL_BYTES` so much memory is used before a
//! temporary file. A run that fails says why and ends with 1; a panic is none
//! of the ways in which it may end.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ballast::error::Result;
use ballast::op::{check, prune, restore, snapshot};
use ballast::progress::{Progress, Silent};
use ballast::repo::{OpenOptions, Repository};
use ballast::store::local::LocalStore;
use support::{database, identity, of, open_at, world};

fn open(repo: &str, cache: &str) -> Result<Repository> {
    let options = OpenOptions {
        cache_dir: (!cache.is_empty()).then(|| PathBuf::from(cache)),
        identity: identity("here"),
        ..OpenOptions::default()
    };
    open_at(Arc::new(LocalStore::new(repo)?), &options)
}

fn run(words: &[&str]) -> Result<()> {
    match words {
        ["snapshot", repo, cache, source] => {
            let report = snapshot::run(&open(repo, cache)?, &of(source), &Silent)?;
            assert_eq!(report.problems, []);
        }
        ["prune", repo, cache] => drop(prune::run(&open(repo, cache)?, &world::all(), &Silent)?),
        ["check", repo] => {
            let options = check::CheckOptions { read_data: true, ..check::CheckOptions::default() };
            let report = check::run(&open(repo, "")?, &options, &Silent)?;
            assert_eq!(report.faults, []);
        }
        ["forget", repo, cache, number] => {
            let number = number.parse().expect("because tests give numbers");
            world::forget(&open(repo, cache)?, number)?;
        }
        ["memory", bytes] => support::memory::snapshot_of_generated_bytes(bytes.parse().unwrap()),
        ["alone", database] => return alone(Path::new(database)),
        [verb, database] => database_work(verb, Path::new(database)),
        ["image", database, copy, temp] => image(Path::new(database), Path::new(copy), Path::new(temp)),
        ["capture", database, temp] => capture(Path::new(database), Path::new(temp)),
        ["restore", repo, snapshot, path, target, number, how @ ..] => {
            let options = restore::RestoreOptions {
                path: Some(path.as_bytes().to_vec()),
                in_place: how.contains(&"in-place"),
                threads: 1,
                ..restore::RestoreOptions::new(
                    snapshot.parse().expect("because tests give ids"),
                    PathBuf::from(target),
                )
            };
            let left = AtomicU64::new(number.parse().expect("because tests give numbers"));
            let report = restore::run(&open(repo, "")?, &options, &Mortal(left))?;
            assert_eq!(report.problems, []);
        }
        _ => return Err(ballast::error::Error::Usage("no such work".into())),
    }
    Ok(())
}

/// Kills this process when it is called for the n-th time.
struct Mortal(AtomicU64);

impl Mortal {
    fn live_on(&self) {
        if self.0.fetch_sub(1, Ordering::SeqCst) == 1 {
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, rustix::process::Signal::KILL).unwrap();
        }
    }
}

impl Progress for Mortal {
    fn phase(&self, _name: &'static str, _files: Option<u64>, _bytes: Option<u64>) {
        self.live_on();
    }

    fn advance(&self, _files: u64, _bytes: u64) {
        self.live_on();
    }

    fn note(&self, _message: &str) {
        self.live_on();
    }
}

#[allow(clippy::print_stdout, reason = "the parent process waits for it")]
fn ready() {
    println!("ready");
}

fn for_ever<T>(_held: T) -> ! {
    loop {
        std::thread::park();
    }
}

fn database_work(verb: &str, path: &Path) -> ! {
    if verb == "write" || verb == "checkpoint" {
        ready();
        database::write_for_ever(path, verb == "checkpoint");
    }
    let db = database::connect(path);
    match verb {
        "open" => database::step(&db),
        "lock" => db.execute_batch("BEGIN EXCLUSIVE").unwrap(),
        "interrupt" => db
            .execute_batch(
                "PRAGMA cache_size=10; BEGIN IMMEDIATE; UPDATE cell SET n = n + 1, pad = randomblob(900);
                 UPDATE filler SET pad = randomblob(100000)",
            )
            .unwrap(),
        _ => panic!("no such work"),
    }
    ready();
    for_ever(db)
}

/// Locks the whole file, as nobody can while SQLite holds one of its locks for somebody else.
fn alone(path: &Path) -> Result<()> {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let all = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    rustix::fs::fcntl_lock(&file, all).map_err(|_| ballast::error::Error::Usage("others use it".into()))
}

/// Captures all of it into a file.
fn image(path: &Path, copy: &Path, temp: &Path) {
    let mut image = database::capture(path, &database::options(temp)).unwrap();
    support::put(copy, &database::bytes_of(&mut image));
}

/// Begins to capture, reads half of it, and stays there.
fn capture(path: &Path, temp: &Path) -> ! {
    let image = database::capture(path, &database::options(temp)).unwrap();
    let mut bytes = vec![0; usize::try_from(image.size() / 2).unwrap()];
    image.read_at(0, &mut bytes).unwrap();
    ready();
    for_ever(image)
}

#[allow(clippy::print_stderr, reason = "the parent process reads it")]
fn main() -> ExitCode {
    if let Some(bytes) = std::env::var("WORKER_SPOOL_BYTES").ok().and_then(|bytes| bytes.parse().ok()) {
        ballast::repo::loom::TESTED_MEMORY_BYTES.store(bytes, Ordering::Relaxed);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
