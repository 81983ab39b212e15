//! Databases as `snapshot` stores them, finds them unchanged, and gives them back.

use std::fs;
use std::path::{Path, PathBuf};

use ballast::format::content::Entry;
use ballast::format::record::{SqliteCaptureV1, SqliteFilesV1};
use ballast::format::tree::{CAPTURE_PLAIN, CAPTURE_SQLITE, EXT_SQLITE, EXT_SQLITE_FILES, Node};
use ballast::format::wire::decode;
use ballast::id::{BlobKind, SnapshotId};
use ballast::op::snapshot::{SnapshotOptions, SnapshotReport};
use ballast::repo::reader::Reader;
use ballast::source::sqlite::{SqliteMode, SqliteOptions};
use support::database::{Killed, connect, create, options, state, step};
use support::{Place, assert_same, bytes, look, of, put, read_back, walk_back};

use crate::{LARGE, WORKER, temp};

fn take(place: &Place, top: &Path) -> SnapshotReport {
    let report = place.run(&asked(top, SqliteMode::Auto)).unwrap();
    assert_eq!(report.problems, []);
    report
}

fn asked(top: &Path, mode: SqliteMode) -> SnapshotOptions {
    let sqlite = SqliteOptions { mode, ..options(&top.join("temp")) };
    SnapshotOptions { sqlite, ..of(top.join("source")) }
}

fn node_of(place: &Place, id: SnapshotId, path: &Path) -> Option<Node> {
    let repo = place.open_bare();
    let root = repo.snapshot(id).unwrap().record.root;
    let mut found = None;
    walk_back(&Reader::open(&repo).unwrap(), root, Path::new("/"), &mut |at: PathBuf, node: &Node| {
        if at == path {
            found = Some(node.clone());
        }
        Ok(())
    })
    .unwrap();
    found
}

/// The state that a snapshot holds of a database.
fn stored(place: &Place, top: &Path, report: &SnapshotReport, name: &str) -> i64 {
    let path = top.join("source").join(name);
    let node = node_of(place, report.snapshot.unwrap(), &path).unwrap();
    let mut bytes = Vec::new();
    let reader = Reader::open(&place.open_bare()).unwrap();
    for entry in reader.expand(&node.content) {
        match entry.unwrap() {
            Entry::Chunk { id, .. } => bytes.extend_from_slice(&reader.blob(BlobKind::Chunk, id).unwrap()),
            other => panic!("{other:?} in an image"),
        }
    }
    assert_eq!((node.capture, node.size), (CAPTURE_SQLITE, bytes.len() as u64));
    let record: SqliteCaptureV1 = decode(node.extension(EXT_SQLITE).unwrap()).unwrap();
    assert_eq!(u64::from(record.page_size) * u64::from(record.pages), node.size);
    assert_ne!(record.schema_hash, [0; 32]);
    let files: SqliteFilesV1 = decode(node.extension(EXT_SQLITE_FILES).unwrap()).unwrap();
    assert!(files.main_bytes > 0);
    let copy = top.join("copy");
    put(&copy, &bytes);
    state(&copy)
}

/// Small and large, open and closed; nothing that belongs to them is stored, and all that does not is.
#[test]
fn what_belongs_to_a_database_is_not_stored() {
    for (filler, wal) in [(0, true), (LARGE, true), (0, false), (LARGE, false)] {
        let (_dir, top) = temp();
        let path = top.join("source/db");
        let db = create(&path, wal, filler);
        step(&db);
        drop(db);
        let _other = Killed::start(WORKER, &["open", path.to_str().unwrap()]);
        for name in ["notes-wal", "db-wal.txt", "db2-journal", "other", "other-wal", "db-journal2"] {
            put(top.join("source").join(name), name.as_bytes());
        }
        let place = Place::default();
        for _ in 0..2 {
            let report = take(&place, &top);
            assert_eq!(stored(&place, &top, &report, "db"), 2);
            let found = read_back(&place.open_bare(), report.snapshot.unwrap()).unwrap();
            let mut expected = look(&top.join("source"));
            let own = ["db", "db-wal", "db-shm"].map(|name| top.join("source").join(name));
            expected.retain(|path, _| !own.contains(path));
            let names: Vec<_> =
                found.keys().filter(|p| p.starts_with(top.join("source")) && !own.contains(p)).collect();
            assert_eq!(names, expected.keys().collect::<Vec<_>>());
            assert!(!found.contains_key(&own[1]) && !found.contains_key(&own[2]));
        }
    }
}

/// With a log the main file does not change for a long time: what tells is the log.
#[test]
fn commits_that_leave_the_main_file_alone_are_noticed() {
    for filler in [0, LARGE] {
        let (_dir, top) = temp();
        let path = top.join("source/db");
        let db = create(&path, true, filler);
        // The locks of this process must not go when we read the file.
        let _held = ballast::source::sqlite::Held::of_path(&path).unwrap();
        db.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        step(&db);
        let place = Place::default();
        let first = take(&place, &top);
        let main = look(&path);
        let same = take(&place, &top);
        assert_eq!((same.files_unchanged, same.read_bytes), (1, 0), "{:?}", same.read_again);
        assert_eq!(stored(&place, &top, &same, "db"), 1);
        (0..50).for_each(|_| step(&db));
        assert_eq!(look(&path), main, "the main file is what it was");
        let later = take(&place, &top);
        assert_eq!(later.files_changed, 1);
        assert_eq!((stored(&place, &top, &first, "db"), stored(&place, &top, &later, "db")), (1, 51));
        assert_eq!(take(&place, &top).files_unchanged, 1);
    }
}

/// A day's copy under a new name is the same database.
#[test]
fn renamed() {
    let (_dir, top) = temp();
    drop(create(&top.join("source/db_1"), true, LARGE));
    let place = Place::default();
    take(&place, &top);
    fs::rename(top.join("source/db_1"), top.join("source/db_2")).unwrap();
    let report = take(&place, &top);
    assert_eq!(stored(&place, &top, &report, "db_2"), 0);
    assert!(report.new_bytes < 100_000, "{}", report.new_bytes);
}

/// Touched, and not a byte else: its content is known.
#[test]
fn touched_and_equal() {
    let (_dir, top) = temp();
    let path = top.join("source/db");
    drop(create(&path, true, LARGE));
    let place = Place::default();
    take(&place, &top);
    fs::File::options().write(true).open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let report = take(&place, &top);
    assert_eq!(report.files_changed, 1);
    assert!(report.stored_bytes < 40_000 && report.new_bytes < 10_000, "{report:?}");
}

#[test]
fn modes() {
    let (_dir, top) = temp();
    let path = top.join("source/db");
    drop(create(&path, true, 0));
    put(top.join("source/f"), &bytes(1, 10_000));
    let place = Place::default();
    let report = place.run(&asked(&top, SqliteMode::Off)).unwrap();
    assert_eq!(report.problems, []);
    assert_same(&place.open(), report.snapshot.unwrap(), &top.join("source"), &look(&top.join("source")));
    let node = node_of(&place, report.snapshot.unwrap(), &path).unwrap();
    assert_eq!((node.capture, node.extensions.len()), (CAPTURE_PLAIN, 0));
    // In use since, and the main file is what it was: seen by its log.
    let db = connect(&path);
    let _held = ballast::source::sqlite::Held::of_path(&path).unwrap();
    db.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    step(&db);
    let report = place.run(&asked(&top, SqliteMode::Require)).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(stored(&place, &top, &report, "db"), 1);
    // Asked for bytes again, they are read again.
    let report = place.run(&asked(&top, SqliteMode::Off)).unwrap();
    assert_eq!(report.problem_count, 1, "{:?}", report.problems);
    assert_same(&place.open(), report.snapshot.unwrap(), &top.join("source"), &look(&top.join("source")));
}
