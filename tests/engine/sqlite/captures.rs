//! With real writers, in threads and in processes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ballast::source::sqlite::{Held, SqliteOptions};
use ballast::source::{At, SourceFile};
use support::database::{Killed, bytes_of, capture, connect, create, options, state, step};
use support::put;

use crate::{LARGE, WORKER, temp};

/// Threads of this process that write until they are dropped.
struct Writers(Arc<AtomicBool>, Vec<std::thread::JoinHandle<u64>>);

impl Writers {
    fn start(path: &Path, threads: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let one = |_| {
            let (db, stop) = (connect(path), stop.clone());
            std::thread::spawn(move || {
                let mut steps = 0;
                while !stop.load(Ordering::SeqCst) {
                    step(&db);
                    steps += 1;
                }
                steps
            })
        };
        let threads = (0..threads).map(one).collect();
        Self(stop, threads)
    }

    fn end(self) -> u64 {
        self.0.store(true, Ordering::SeqCst);
        self.1.into_iter().map(|thread| thread.join().unwrap()).sum()
    }
}

/// So many captures beside writers; each is whole, and none is older than the one before.
fn beside_writers(
    wal: bool,
    filler_bytes: usize,
    threads: usize,
    captures: usize,
    change: fn(&mut SqliteOptions),
) {
    let (_dir, top) = temp();
    let path = top.join("source/db");
    drop(create(&path, wal, filler_bytes));
    // This process has connections of its own, whose locks must not go when we read the file.
    let held = Held::of_path(&path).unwrap();
    let writers = Writers::start(&path, threads);
    let processes = [
        Killed::start(WORKER, &["write", path.to_str().unwrap()]),
        Killed::start(WORKER, &["checkpoint", path.to_str().unwrap()]),
    ];
    let mut options = options(&top.join("temp"));
    options.lock_wait = std::time::Duration::from_secs(60);
    change(&mut options);
    let copy = top.join("copy");
    let mut states = Vec::new();
    for _ in 0..captures {
        let mut image = capture(&path, &options).unwrap();
        put(&copy, &bytes_of(&mut image));
        states.push(state(&copy));
        std::fs::remove_file(&copy).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(40));
    }
    let steps = writers.end();
    drop(processes);
    drop(held);
    assert!(states.is_sorted(), "{states:?}");
    assert!(states.first() < states.last(), "nobody wrote meanwhile: {states:?}");
    assert!(threads == 0 || steps > 0);
    let db = connect(&path);
    let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok", "the database itself");
    assert_eq!(std::fs::read_dir(top.join("temp")).unwrap().count(), 0);
}

#[test]
fn with_a_log() {
    beside_writers(true, LARGE, 2, 6, |_| {});
    beside_writers(true, 0, 0, 4, |_| {});
}

#[test]
fn with_a_rollback_journal() {
    beside_writers(false, LARGE, 0, 4, |_| {});
    beside_writers(false, 0, 2, 4, |_| {});
}

#[test]
fn without_the_table_of_pages() {
    beside_writers(true, LARGE, 1, 2, |options| options.page_table = false);
}

#[test]
#[ignore = "minutes"]
fn two_hundred() {
    beside_writers(true, LARGE, 2, 60, |_| {});
    beside_writers(true, 0, 0, 40, |_| {});
    beside_writers(false, LARGE, 0, 40, |_| {});
    beside_writers(false, 0, 2, 40, |_| {});
    beside_writers(true, LARGE, 1, 20, |options| options.page_table = false);
}

/// An image is a state, whichever way led to it.
#[test]
fn equal_states_have_equal_images() {
    for filler in [0, LARGE] {
        let (_dir, top) = temp();
        let path = top.join("source/db");
        let db = create(&path, true, filler);
        (0..5).for_each(|_| step(&db));
        let options = options(&top.join("temp"));
        let held = Held::of_path(&path).unwrap();
        let image = || bytes_of(&mut capture(&path, &options).unwrap());
        let live = image();
        assert_eq!(image(), live, "twice");
        drop(held);
        drop(db);
        assert!(!top.join("source/db-wal").exists(), "checkpointed and closed");
        assert!(image() == live, "closed");
        let copy = top.join("copy");
        put(&copy, &live);
        assert_eq!(state(&copy), 5);
    }
}

/// A process loses its locks with any descriptor of the file that it closes: whoever reads a captured database by another
/// name meanwhile must not unlock it.
#[test]
fn who_reads_its_other_name_does_not_unlock_it() {
    let (_dir, top) = temp();
    let path = top.join("source/db");
    drop(create(&path, true, LARGE));
    std::fs::hard_link(&path, top.join("source/alias")).unwrap();
    let user = Killed::start(WORKER, &["open", path.to_str().unwrap()]);
    let mut image = capture(&path, &options(&top.join("temp"))).unwrap();
    // Its locks go with it; ours are left.
    drop(user);
    let is_alone = || {
        let mut worker = std::process::Command::new(WORKER);
        worker.arg("alone").arg(&path).stderr(std::process::Stdio::null()).status().unwrap().success()
    };
    assert!(!is_alone(), "captured");
    let alias = At::of_path(&top.join("source/alias")).unwrap();
    drop(SourceFile::open(&alias, &alias.stat().unwrap()).unwrap());
    assert!(!is_alone(), "still captured");
    put(top.join("copy"), &bytes_of(&mut image));
    assert_eq!(state(&top.join("copy")), 1);
    drop(image);
    assert!(is_alone());
}
