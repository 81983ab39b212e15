//! `verify`: what is whole is called so, what is not is named, and the ledger has it.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ballast::error::{Error, Result};
use ballast::format::content::Entry;
use ballast::format::ledger::Event;
use ballast::format::record::{METHOD_DATABASE, SqliteCaptureV1};
use ballast::format::tree::{EXT_SQLITE, Node, TreeV1};
use ballast::format::wire::{Bytes, decode, encode};
use ballast::id::{BlobId, BlobKind, ObjectKind, SnapshotId};
use ballast::op::dump;
use ballast::op::ledger::{self, What};
use ballast::op::verify::{self, Verdict, VerifyOptions, VerifyReport};
use ballast::progress::Silent;
use ballast::repo::Repository;
use ballast::repo::reader::Reader;
use ballast::repo::session::Session;
use ballast::source::sqlite::{CopyPlace, SqliteMode};
use rusqlite::Connection;
use support::database::{create, state, step};
use support::{Calls, Place, put};

use crate::{copies, inside, is_empty, take, take_as, temp};

fn asked(top: &Path, id: SnapshotId) -> VerifyOptions {
    VerifyOptions { place: copies(top), ..VerifyOptions::all_of(id) }
}

fn verified(place: &Place, top: &Path, id: SnapshotId) -> VerifyReport {
    let report = verify::run(&place.open(), &asked(top, id), &Silent).unwrap();
    assert!(is_empty(&top.join("temp")), "nothing stays");
    assert_eq!(report.problem_count, report.bad + report.unknown);
    report
}

fn verdicts(report: &VerifyReport) -> Vec<(&str, Verdict)> {
    report.databases.iter().map(|one| (one.path.rsplit('/').next().unwrap(), one.verdict)).collect()
}

/// Captured, plain, and what only looks like one; the ledger tells.
#[test]
fn whole_databases_are_called_whole() {
    let (_dir, top) = temp();
    let source = top.join("source");
    let db = create(&source.join("wal"), true, 3 << 20);
    step(&db);
    drop(create(&source.join("delete"), false, 0));
    put(source.join("model.bin"), &support::bytes(1, 4096));
    put(source.join("below/notes"), b"SQLite format 3, in words");
    let place = Place::default();
    let id = take(&place, &top);
    let report = verified(&place, &top, id);
    assert_eq!(verdicts(&report), [("delete", Verdict::Good), ("wal", Verdict::Good)]);
    assert!(report.databases.iter().all(|one| one.captured && !one.live && one.findings.is_empty()));
    assert_eq!((report.good, report.bad, report.unknown), (2, 0, 0));

    let repo = place.open();
    let history = ledger::run(&repo, None).unwrap();
    let last = history.entries.last().unwrap();
    assert_eq!((Some(last.number), history.head), (report.ledger_entry, last.number));
    let What::Verified { snapshot, databases: Some(databases), .. } = &last.what else { panic!("{last:?}") };
    assert_eq!(*snapshot, Some(id));
    assert_eq!((databases.good, databases.bad, &*databases.path), (2, 0, &b"/"[..]));
    let whole = repo.ledger(true).unwrap();
    let Event::Verified(event) = &whole.entries().last().unwrap().event else { panic!() };
    assert_eq!((event.method, event.good.len() + event.bad.len()), (METHOD_DATABASE, 0));
    assert!(place.names(ObjectKind::Lease).is_empty(), "the lease is given back");

    // One of them, unrecorded; and what is none.
    let one = VerifyOptions { path: Some(inside(&top, "wal")), record: false, ..asked(&top, id) };
    let report = verify::run(&repo, &one, &Silent).unwrap();
    assert_eq!((report.databases.len(), report.ledger_entry, report.not_recorded), (1, None, None));
    assert_eq!(repo.ledger(true).unwrap().head(), history.head);
    let other = VerifyOptions { path: Some(inside(&top, "model.bin")), ..asked(&top, id) };
    assert!(matches!(verify::run(&repo, &other, &Silent), Err(Error::Usage(_))));
    let none = VerifyOptions { path: Some(inside(&top, "below")), ..asked(&top, id) };
    let report = verify::run(&repo, &none, &Silent).unwrap();
    assert_eq!((report.databases.len(), report.ledger_entry), (0, None));
}

/// What `dump` gives is one plain database in the state that was captured, and needs nothing beside it.
#[test]
fn a_dumped_database_opens() {
    for wal in [true, false] {
        let (_dir, top) = temp();
        let db = create(&top.join("source/db"), wal, 0);
        (0..3).for_each(|_| step(&db));
        let place = Place::default();
        let id = take(&place, &top);
        step(&db);
        let mut bytes = Vec::new();
        let len = dump::run(&place.open(), id, &inside(&top, "db"), &mut bytes, &Silent).unwrap();
        assert_eq!(len, bytes.len() as u64);
        put(top.join("copy"), &bytes);
        assert_eq!(state(&top.join("copy")), 3);
        let sum = |path: &Path| -> i64 {
            let sql = "SELECT sum(n * length(pad)) FROM (SELECT n, pad FROM log WHERE n <= 1)";
            Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
        };
        assert_eq!(sum(&top.join("copy")), sum(&top.join("source/db")));
    }
}

/// The first page of an index becomes zeros.
fn spoil(path: &Path) {
    let db = Connection::open(path).unwrap();
    let root: i64 = db
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'log_pad'", [], |row| row.get(0))
        .unwrap();
    let size: i64 = db.query_row("PRAGMA page_size", [], |row| row.get(0)).unwrap();
    drop(db);
    let file = fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&vec![0; size as usize], ((root - 1) * size) as u64).unwrap();
}

#[test]
fn damaged_databases_are_named() {
    for mode in [SqliteMode::Auto, SqliteMode::Off] {
        let (_dir, top) = temp();
        for name in ["good", "spoiled"] {
            let db = create(&top.join("source").join(name), false, 0);
            (0..20).for_each(|_| step(&db));
        }
        spoil(&top.join("source/spoiled"));
        put(top.join("source/short"), &[&b"SQLite format 3\0"[..], &[7; 496]].concat());
        let place = Place::default();
        let id = take_as(&place, &top, mode);
        let report = verified(&place, &top, id);
        let all = [("good", Verdict::Good), ("short", Verdict::Bad), ("spoiled", Verdict::Bad)];
        assert_eq!(verdicts(&report), all, "{:?}", report.problems);
        assert!(report.databases[2].finding_count > 0 && !report.databases[2].findings.is_empty());
        assert_eq!(report.databases[0].captured, mode == SqliteMode::Auto, "and it is said");
        let history = ledger::run(&place.open(), Some(1)).unwrap();
        let What::Verified { databases: Some(databases), .. } = &history.entries[0].what else { panic!() };
        assert_eq!((databases.good, databases.bad, databases.failed.len()), (1, 2, 2));
        assert!(databases.failed[0].path.ends_with(b"/short"));
    }
}

#[test]
fn rows_that_name_nothing_are_found() {
    let (_dir, top) = temp();
    let db = Connection::open(top.join("source/db")).unwrap();
    db.execute_batch(
        "PRAGMA foreign_keys=off;
         CREATE TABLE a(id INTEGER PRIMARY KEY);
         CREATE TABLE b(a REFERENCES a(id));
         INSERT INTO a VALUES(1);
         INSERT INTO b VALUES(1), (2), (3);",
    )
    .unwrap();
    let place = Place::default();
    let id = take(&place, &top);
    let report = verified(&place, &top, id);
    let one = &report.databases[0];
    assert_eq!((one.verdict, one.finding_count, one.foreign_key_violations), (Verdict::Bad, 2, 2));
    assert_eq!(one.findings[0], "row 2 of b names a row of a that is not there");
    let without = VerifyOptions { foreign_keys: false, ..asked(&top, id) };
    let report = verify::run(&place.open(), &without, &Silent).unwrap();
    assert_eq!(report.databases[0].verdict, Verdict::Good);
    // A key that names no key is a fault of the schema, which the copy has from its source.
    db.execute_batch("DELETE FROM b; CREATE TABLE c(x); CREATE TABLE d(y REFERENCES c(x))").unwrap();
    let report = verified(&place, &top, take(&place, &top));
    let one = &report.databases[0];
    assert_eq!(one.verdict, Verdict::Good);
    assert!(one.foreign_keys_unknown.as_ref().unwrap().contains("mismatch"), "{one:?}");
}

/// What this SQLite does not know is no damage, and no proof either.
#[test]
fn what_cannot_be_asked_is_not_called_whole() {
    let (_dir, top) = temp();
    let db = Connection::open(top.join("source/db")).unwrap();
    db.execute_batch(
        "CREATE TABLE t(x COLLATE nocase); CREATE INDEX i ON t(x); INSERT INTO t VALUES('a');
         PRAGMA writable_schema=on; UPDATE sqlite_schema SET sql = replace(sql, 'nocase', 'theirs');",
    )
    .unwrap();
    let place = Place::default();
    let id = take(&place, &top);
    let report = verified(&place, &top, id);
    assert_eq!(report.databases[0].verdict, Verdict::Unknown, "{:?}", report.databases);
    assert!(report.databases[0].findings[0].contains("theirs"));
    // No room.
    drop(create(&top.join("source/other"), false, 0));
    let id = take(&place, &top);
    let tight = VerifyOptions { place: CopyPlace::new(top.join("temp"), Some(5000)), ..asked(&top, id) };
    let report = verify::run(&place.open(), &tight, &Silent).unwrap();
    assert_eq!((report.good, report.bad, report.unknown), (0, 0, 2));
    assert!(report.databases[1].findings[0].contains("5000 allowed"), "{:?}", report.databases[1]);
}

/// Every database is judged, also beside one of which a chunk is lost.
#[test]
fn a_lost_chunk_costs_one_database() {
    let (_dir, top) = temp();
    drop(create(&top.join("source/a"), false, 0));
    let place = Place::default();
    take(&place, &top);
    let first = place.names(ObjectKind::Pack);
    drop(create(&top.join("source/b"), false, 4 << 20));
    let id = take(&place, &top);
    let repo = place.open_bare();
    let later: Vec<_> = place.names(ObjectKind::Pack).into_iter().filter(|n| !first.contains(n)).collect();
    let largest = later.iter().max_by_key(|n| repo.store().get(n, 1 << 30).unwrap().len()).unwrap();
    repo.store().remove(largest).unwrap();
    let report = verified(&place, &top, id);
    assert_eq!(verdicts(&report), [("a", Verdict::Good), ("b", Verdict::Bad)], "{:?}", report.problems);
}

/// While it works its copies have no names; asked to stop it stops, and records nothing.
#[test]
fn copies_have_no_names_and_a_stop_is_obeyed() {
    let (_dir, top) = temp();
    drop(create(&top.join("source/db"), true, 6 << 20));
    let place = Place::default();
    let id = take(&place, &top);
    let seen = Arc::new(AtomicU64::new(0));
    let (dir, counted) = (top.join("temp"), seen.clone());
    let calls = Calls::with_hook(move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        assert!(is_empty(&dir));
    });
    verify::run(&place.open(), &asked(&top, id), &calls).unwrap();
    assert!(seen.load(Ordering::SeqCst) > 10);
    let head = place.open().ledger(true).unwrap().head();
    let mut stopped = 0;
    for n in (1..).step_by(7) {
        let calls = Calls::stopping_at(n);
        match verify::run(&place.open(), &VerifyOptions { record: false, ..asked(&top, id) }, &calls) {
            Err(Error::Interrupted) => stopped += 1,
            Err(other) => panic!("{other}"),
            Ok(_) => break,
        }
        assert!(is_empty(&top.join("temp")));
    }
    assert!(stopped > 3);
    assert_eq!(place.open().ledger(true).unwrap().head(), head);
}

/// A snapshot whose nodes claim another state than their content is found out.
#[test]
fn another_state_than_was_captured_is_noticed() {
    let (_dir, top) = temp();
    drop(create(&top.join("source/db"), false, 0));
    let place = Place::default();
    let id = take(&place, &top);
    let claims: [fn(&mut SqliteCaptureV1); 4] = [
        |record| record.schema_hash[0] ^= 1,
        |record| record.change_counter += 1,
        |record| record.pages += 1,
        |record| record.user_version += 1,
    ];
    for claim in claims {
        let forged = forge(&place, id, &mut |node| {
            let at = node.extensions.iter().position(|e| e.tag == EXT_SQLITE).unwrap();
            let mut record: SqliteCaptureV1 = decode(&node.extensions[at].data).unwrap();
            claim(&mut record);
            node.extensions[at].data = Bytes(encode(&record));
        })
        .unwrap();
        let report = verified(&place, &top, forged);
        assert_eq!(report.databases[0].verdict, Verdict::Bad);
        assert!(report.databases[0].findings[0].contains("not the state that was captured"));
    }
}

/// The same snapshot with other nodes for its files.
fn forge(place: &Place, id: SnapshotId, change: &mut dyn FnMut(&mut Node)) -> Result<SnapshotId> {
    let repo: Repository = place.open_bare();
    let mut record = repo.snapshot(id)?.record;
    let reader = Reader::open(&repo)?;
    let mut session = Session::begin(&repo, "test", false, &Silent)?;
    record.root = forge_tree(&reader, &session, record.root, change)?;
    let flushed = session.flush()?;
    session.commit(&record, None, flushed)
}

fn forge_tree(
    reader: &Reader,
    session: &Session,
    tree: BlobId,
    change: &mut dyn FnMut(&mut Node),
) -> Result<BlobId> {
    let mut nodes = reader.tree(tree)?;
    for node in &mut nodes {
        match node.subtree() {
            Some(below) => {
                node.content = vec![Entry::Tree { id: forge_tree(reader, session, below, change)? }];
            }
            None => change(node),
        }
    }
    let bytes = encode(&TreeV1::of_nodes(nodes));
    session.store(BlobKind::Tree, &bytes)?;
    Ok(reader.repo().blob_id(BlobKind::Tree, &bytes))
}
