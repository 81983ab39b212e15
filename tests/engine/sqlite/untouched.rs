//! The source stays as it was: names, bytes, times, owners, locks.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::database::{Killed, bytes_of, capture, connect, create, options, state, step};
use support::put;

use crate::{LARGE, WORKER, temp};

type Seen = BTreeMap<PathBuf, (blake3::Hash, Vec<i64>)>;

/// Everything about a directory and what is in it that a reader must not change, times of access too.
fn seen(dir: &Path) -> Seen {
    let of = |path: PathBuf| {
        let meta = path.symlink_metadata().unwrap();
        // Of the directory, that time is of this very look.
        let accessed = if path == dir { [0; 2] } else { [meta.atime(), meta.atime_nsec()] };
        let stamps =
            [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec(), accessed[0], accessed[1]];
        let rest = [meta.ino() as i64, meta.size() as i64, i64::from(meta.uid()), i64::from(meta.mode())];
        (path, stamps.into_iter().chain(rest).collect::<Vec<_>>())
    };
    let files = std::fs::read_dir(dir).unwrap().map(|entry| of(entry.unwrap().path()));
    let stats: Vec<_> = files.chain([of(dir.to_owned())]).collect();
    // Read after all were looked at; without leaving a time of access, which would be ours.
    let hash = |path: &Path| match path.is_dir() {
        true => blake3::hash(b""),
        false => {
            use std::io::Read;
            use std::os::unix::fs::OpenOptionsExt;
            let mut bytes = Vec::new();
            let mut file =
                std::fs::File::options().read(true).custom_flags(libc::O_NOATIME).open(path).unwrap();
            file.read_to_end(&mut bytes).unwrap();
            blake3::hash(&bytes)
        }
    };
    stats.into_iter().map(|(path, stat)| (path.clone(), (hash(&path), stat))).collect()
}

/// Copies the files of a database as a power cut would leave them.
fn cut_off(from: &Path, to: &Path, suffixes: &[&str]) {
    for suffix in suffixes {
        let name = |dir: &Path| dir.join(format!("db{suffix}"));
        std::fs::copy(name(from), name(to)).unwrap();
    }
}

/// A database with a log, in `source`, whose owner died with it open.
pub fn left_behind(top: &Path, filler: usize, suffixes: &[&str]) {
    let other = tempfile::tempdir().unwrap();
    let path = other.path().join("db");
    drop(create(&path, true, filler));
    let owner = Killed::start(WORKER, &["open", path.to_str().unwrap()]);
    cut_off(other.path(), &top.join("source"), suffixes);
    drop(owner);
}

/// The state of an image; the source is the same before and after, and nothing stays anywhere.
fn captured(top: &Path) -> i64 {
    let (source, temp, copy) = (top.join("source"), top.join("temp"), top.join("copy"));
    let before = seen(&source);
    let mut image = capture(&source.join("db"), &options(&temp)).unwrap();
    let bytes = bytes_of(&mut image);
    drop(image);
    assert_eq!(seen(&source), before);
    assert_eq!(std::fs::read_dir(&temp).unwrap().count(), 0);
    put(&copy, &bytes);
    state(&copy)
}

#[test]
fn closed() {
    for (wal, filler) in [(true, 0), (true, LARGE), (false, 0), (false, LARGE)] {
        let (_dir, top) = temp();
        let db = create(&top.join("source/db"), wal, filler);
        step(&db);
        drop(db);
        assert_eq!(captured(&top), 1);
    }
}

#[test]
fn open_elsewhere() {
    for (wal, filler) in [(true, 0), (true, LARGE), (false, 0)] {
        let (_dir, top) = temp();
        let path = top.join("source/db");
        drop(create(&path, wal, filler));
        let _other = Killed::start(WORKER, &["open", path.to_str().unwrap()]);
        assert_eq!(captured(&top), 1);
        assert_eq!(top.join("source/db-shm").exists(), wal);
    }
}

/// The process that had it open is dead: its log, and the shared memory that nobody owns any more.
#[test]
fn a_log_without_an_owner() {
    for filler in [0, LARGE] {
        for suffixes in [&["", "-wal"][..], &["", "-wal", "-shm"]] {
            let (_dir, top) = temp();
            left_behind(&top, filler, suffixes);
            assert_eq!(captured(&top), 1, "{suffixes:?}");
        }
    }
}

/// In the middle of a transaction: main file and journal as they were then.
pub fn interrupted(top: &Path, filler: usize) {
    let other = tempfile::tempdir().unwrap();
    let path = other.path().join("db");
    let db = create(&path, false, filler);
    step(&db);
    drop(db);
    let calm = std::fs::read(&path).unwrap();
    let owner = Killed::start(WORKER, &["interrupt", path.to_str().unwrap()]);
    cut_off(other.path(), &top.join("source"), &["", "-journal"]);
    drop(owner);
    assert!(std::fs::read(top.join("source/db")).unwrap() != calm, "half of a transaction is in the file");
}

#[test]
fn a_hot_journal() {
    for filler in [1 << 20, LARGE] {
        let (_dir, top) = temp();
        interrupted(&top, filler);
        assert_eq!(captured(&top), 1, "rolled back in the copy");
    }
}

/// SQLite removes the super-journal that a journal names, whatever file that is.
#[test]
fn a_journal_cannot_have_another_file_removed() {
    let (_dir, top) = temp();
    interrupted(&top, 1 << 20);
    let precious = top.join("precious");
    put(&precious, b"mine");
    let name = precious.to_str().unwrap().as_bytes();
    let sum: u32 = name.iter().map(|byte| u32::from(*byte)).sum();
    let mut tail = vec![0, 4, 0, 1];
    tail.extend(name);
    tail.extend(u32::try_from(name.len()).unwrap().to_be_bytes());
    tail.extend(sum.to_be_bytes());
    tail.extend([0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
    let journal = top.join("source/db-journal");
    let mut bytes = std::fs::read(&journal).unwrap();
    bytes.extend(&tail);
    put(&journal, &bytes);
    assert_eq!(captured(&top), 1);
    assert_eq!(std::fs::read(&precious).unwrap(), b"mine");
    // Without it the transaction over several databases was committed: nothing is rolled back.
    std::fs::remove_file(&precious).unwrap();
    let image = capture(&top.join("source/db"), &options(&top.join("temp")));
    if let Ok(mut image) = image {
        let main = std::fs::read(top.join("source/db")).unwrap();
        assert!(
            bytes_of(&mut image)[100..] == main[100..main.len().min(usize::try_from(image.size()).unwrap())]
        );
    }
}

#[test]
fn killed_in_the_middle_of_a_capture() {
    for wal in [true, false] {
        let (_dir, top) = temp();
        let (path, temp) = (top.join("source/db"), top.join("temp"));
        drop(create(&path, wal, LARGE));
        let _user = wal.then(|| Killed::start(WORKER, &["open", path.to_str().unwrap()]));
        let words = ["capture", path.to_str().unwrap(), temp.to_str().unwrap()];
        let capture = Killed::start(WORKER, &words);
        let (began, db) = (Instant::now(), connect(&path));
        step(&db);
        assert!(began.elapsed() < Duration::from_secs(5), "writers do not wait for it");
        drop(db);
        let before = seen(&top.join("source"));
        drop(capture);
        assert_eq!(std::fs::read_dir(&temp).unwrap().count(), 0, "nothing is left");
        assert_eq!(seen(&top.join("source")), before);
        let db = connect(&path);
        db.busy_timeout(Duration::ZERO).unwrap();
        db.execute_batch(if wal { "BEGIN IMMEDIATE; COMMIT" } else { "BEGIN EXCLUSIVE; COMMIT" }).unwrap();
        let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
    }
}

/// Whoever writes waits no longer than it takes to copy, and not at all beside a log.
#[test]
fn who_writes_does_not_wait_for_who_stores() {
    for wal in [true, false] {
        let (_dir, top) = temp();
        let path = top.join("source/db");
        drop(create(&path, wal, LARGE));
        let _user = wal.then(|| Killed::start(WORKER, &["open", path.to_str().unwrap()]));
        let options = options(&top.join("temp"));
        let _held = ballast::source::sqlite::Held::of_path(&path).unwrap();
        let mut image = capture(&path, &options).unwrap();
        // A process of its own: in this one, SQLite's shared memory is open for reading only.
        let began = Instant::now();
        drop(Killed::start(WORKER, &["open", path.to_str().unwrap()]));
        assert!(began.elapsed() < Duration::from_secs(5));
        put(top.join("copy"), &bytes_of(&mut image));
        assert_eq!(state(&top.join("copy")), i64::from(wal), "the state before that");
    }
}
