//! What cannot be captured: the bytes as they are, with a problem; or nothing, where captures are required.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ballast::error::ProblemKind;
use ballast::op::snapshot::{SnapshotOptions, SnapshotReport};
use ballast::source::sqlite::{NotCaptured, SqliteMode, SqliteOptions};
use support::database::{Killed, capture, create, options, state, step};
use support::{Place, assert_same, bytes, look, of, put, read_back};

use crate::{LARGE, WORKER, temp};

/// A snapshot with these options; then one for which captures are required.
fn refused(top: &Path, sqlite: &SqliteOptions) -> SnapshotReport {
    let source = top.join("source");
    let place = Place::default();
    let asked = SnapshotOptions { sqlite: sqlite.clone(), ..of(&source) };
    let report = place.run(&asked).unwrap();
    assert_eq!(report.problem_count, 1, "{:?}", report.problems);
    let problem = &report.problems[0];
    assert_eq!(problem.kind, ProblemKind::LiveDatabase);
    assert!(problem.message.contains("could not be captured"), "{problem}");
    assert_same(&place.open(), report.snapshot.unwrap(), &source, &look(&source));

    let sqlite = SqliteOptions { mode: SqliteMode::Require, ..sqlite.clone() };
    let place = Place::default();
    let required = place.run(&SnapshotOptions { sqlite, ..of(&source) }).unwrap();
    let repo = place.open();
    assert!(required.problems.iter().any(|p| p.kind == ProblemKind::Unreadable), "{:?}", required.problems);
    assert!(repo.snapshot(required.snapshot.unwrap()).unwrap().record.partial);
    assert!(!read_back(&repo, required.snapshot.unwrap()).unwrap().contains_key(&source.join("db")));
    report
}

#[test]
fn where_locks_are_not_shared() {
    for filler in [0, LARGE] {
        let (_dir, top) = temp();
        let db = create(&top.join("source/db"), true, filler);
        step(&db);
        let apart = SqliteOptions { locks_hold: |_| false, ..options(&top.join("temp")) };
        // Its log is stored with it: together they may still be whole.
        let report = refused(&top, &apart);
        assert!(report.problems[0].message.contains("share locks"), "{}", report.problems[0]);
        assert!(report.problems[0].message.contains("no state"), "{}", report.problems[0]);
    }
}

#[test]
fn locked_for_good() {
    for wal in [false, true] {
        let (_dir, top) = temp();
        let path = top.join("source/db");
        drop(create(&path, false, 0));
        let _other = Killed::start(WORKER, &["lock", path.to_str().unwrap()]);
        let wait = Duration::from_millis(300 + 400 * u64::from(wal));
        let patient = SqliteOptions { lock_wait: wait, ..options(&top.join("temp")) };
        let began = Instant::now();
        let NotCaptured { why, live } = capture(&path, &patient).unwrap_err();
        assert!(why.contains("locked") && live, "{why}");
        assert!(began.elapsed() >= wait && began.elapsed() < wait + Duration::from_secs(3));
        let report = refused(&top, &patient);
        assert!(report.problems[0].message.contains("locked"), "{}", report.problems[0]);
    }
}

#[test]
fn damaged_or_none_at_all() {
    let whole = |top: &Path| {
        let db = create(&top.join("source/db"), false, 0);
        step(&db);
        drop(db);
        fs::read(top.join("source/db")).unwrap()
    };
    let only_the_mark = [&b"SQLite format 3\0"[..], &bytes(1, 5000)].concat();
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 4] = [
        ("a root page of the schema", |b| b[100..140].fill(0xff)),
        ("an impossible page size", |b| b[16..18].copy_from_slice(&[0x12, 0x34])),
        ("cut short", |b| b.truncate(700)),
        ("a format of the future", |b| b[47] = 99),
    ];
    for (what, damage) in damages {
        let (_dir, top) = temp();
        let mut bytes = whole(&top);
        damage(&mut bytes);
        put(top.join("source/db"), &bytes);
        let quick = SqliteOptions { lock_wait: Duration::from_millis(50), ..options(&top.join("temp")) };
        let problem = refused(&top, &quick).problems.remove(0);
        assert!(!problem.message.contains("no state"), "{what}: {problem}");
    }
    let (_dir, top) = temp();
    put(top.join("source/db"), &only_the_mark);
    refused(&top, &options(&top.join("temp")));
}

/// Encrypted, it looks like anything; its log does not.
#[test]
fn encrypted_and_in_use() {
    let (_dir, top) = temp();
    let db = create(&top.join("source/db"), true, 0);
    step(&db);
    let noise = bytes(5, 20 * 4096);
    put(top.join("source/cipher"), &noise);
    fs::copy(top.join("source/db-wal"), top.join("source/cipher-wal")).unwrap();
    drop(db);
    fs::remove_file(top.join("source/db")).unwrap();
    let place = Place::default();
    let report = place.take(top.join("source"));
    assert_eq!(report.problem_count, 1, "{:?}", report.problems);
    assert!(report.problems[0].message.contains("encrypted"), "{}", report.problems[0]);
    assert_same(&place.open(), report.snapshot.unwrap(), &top.join("source"), &look(&top.join("source")));
}

#[test]
fn no_room_for_a_copy() {
    let (_dir, top) = temp();
    drop(create(&top.join("source/db"), false, LARGE));
    let narrow = SqliteOptions { temp_max_bytes: Some(1 << 20), ..options(&top.join("temp")) };
    let report = refused(&top, &narrow);
    assert!(report.problems[0].message.contains("temporary copy"), "{}", report.problems[0]);
}

/// By its other name a database in use has no log beside it.
#[test]
fn a_hard_link_of_a_database() {
    let (_dir, top) = temp();
    let path = top.join("source/db");
    let db = create(&path, true, 0);
    step(&db);
    drop(db);
    fs::hard_link(&path, top.join("source/alias")).unwrap();
    let options = options(&top.join("temp"));
    let state_of = |name: &str| {
        let mut image = capture(&top.join("source").join(name), &options)?;
        put(top.join("copy"), &support::database::bytes_of(&mut image));
        Ok::<_, NotCaptured>(state(&top.join("copy")))
    };
    assert_eq!((state_of("db"), state_of("alias")), (Ok(1), Ok(1)), "nobody uses it");
    let other = Killed::start(WORKER, &["open", path.to_str().unwrap()]);
    assert_eq!(state_of("db"), Ok(2));
    assert!(state_of("alias").unwrap_err().why.contains("another name"));
    drop(other);
}
