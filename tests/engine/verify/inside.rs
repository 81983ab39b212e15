//! `sqlite`: what is in a stored database, what changed, what it answers.

use std::collections::BTreeSet;
use std::path::Path;

use ballast::error::{Error, Result};
use ballast::id::SnapshotId;
use ballast::op::dump;
use ballast::op::sqlite::{self, DatabaseReport, SqliteOptions, Stored};
use ballast::progress::Silent;
use ballast::source::sqlite::{Cell, Rows, SqliteMode};
use rusqlite::Connection;
use support::Place;
use support::database::{create, step};

use crate::{copies, inside, is_empty, take, take_as, temp};

fn asked(top: &Path, id: SnapshotId) -> SqliteOptions {
    SqliteOptions { snapshot: id, path: inside(top, "db"), since: None, place: copies(top) }
}

fn inspect(place: &Place, options: &SqliteOptions) -> DatabaseReport {
    let report = sqlite::inspect(&place.open(), options, &Silent).unwrap();
    assert!(is_empty(options.place.dir()), "nothing stays");
    report
}

fn image(place: &Place, top: &Path, id: SnapshotId) -> Vec<u8> {
    let mut bytes = Vec::new();
    dump::run(&place.open(), id, &inside(top, "db"), &mut bytes, &Silent).unwrap();
    bytes
}

/// Pages by which two images differ: those that both have, and those that only the second has.
fn differing(old: &[u8], new: &[u8], page: usize) -> (BTreeSet<usize>, BTreeSet<usize>) {
    let both = old.len().min(new.len()) / page;
    let at = |number: usize| number * page..(number + 1) * page;
    let changed = (0..both).filter(|n| old[at(*n)] != new[at(*n)]).map(|n| n + 1).collect();
    (changed, (both + 1..=new.len() / page).collect())
}

#[test]
fn what_a_day_changed() {
    let (_dir, top) = temp();
    let path = top.join("source/db");
    let db = create(&path, true, 1 << 20);
    db.execute_batch("PRAGMA user_version=7; PRAGMA application_id=0x1234").unwrap();
    let place = Place::default();
    let first = take(&place, &top);
    let report = inspect(&place, &asked(&top, first));
    assert!(report.since.is_none() && report.stored == Stored::Image);
    assert_eq!((report.facts.user_version, report.facts.application_id), (7, 0x1234));
    assert_eq!((report.facts.page_size, report.facts.encoding.as_str()), (4096, "UTF-8"));
    assert_eq!(u64::from(report.facts.pages) * 4096, report.bytes);
    assert!(report.wal_bytes.is_some());
    let rows: Vec<_> = report.tables.iter().map(|t| (t.name.as_str(), t.rows)).collect();
    let all = [("sqlite_schema", Some(4)), ("cell", Some(120)), ("filler", Some(11)), ("log", Some(0))];
    assert_eq!(rows, all);
    let pages: u64 = report.tables.iter().map(|t| t.pages).sum();
    assert_eq!(pages + u64::from(report.facts.free_pages), u64::from(report.facts.pages));

    (0..30).for_each(|_| step(&db));
    let second = take(&place, &top);
    let report = inspect(&place, &asked(&top, second));
    let since = report.since.as_ref().unwrap();
    let (changed, added) = differing(&image(&place, &top, first), &image(&place, &top, second), 4096);
    assert_eq!((since.snapshot, since.page_size_was), (first, None));
    assert_eq!((since.changed_pages, since.added_pages), (changed.len() as u64, added.len() as u64));
    assert!(since.added_pages > 0 && since.changed_pages > 10);
    assert_eq!(since.changed_bytes, (since.changed_pages + since.added_pages) * 4096);
    let of = |name: &str| report.tables.iter().find(|t| t.name == name).unwrap().changed_pages;
    assert!(of("cell") > 0 && of("log") > 0);
    assert_eq!(of("filler"), 0, "nobody touched it");
    let told: u64 = report.tables.iter().map(|t| t.changed_pages).sum();
    assert_eq!(told + since.other_pages.unwrap(), since.changed_pages + since.added_pages);

    // Shrunk, and nothing but that.
    db.execute_batch("DELETE FROM filler; VACUUM").unwrap();
    let third = take(&place, &top);
    let report = inspect(&place, &asked(&top, third));
    let since = report.since.unwrap();
    assert!(since.removed_pages > 200 && since.added_pages == 0, "{since:?}");
    let far = SqliteOptions { since: Some(first), ..asked(&top, third) };
    assert_eq!(inspect(&place, &far).since.unwrap().snapshot, first);
    // Equal: no page.
    let report = inspect(&place, &SqliteOptions { since: Some(third), ..asked(&top, third) });
    let since = report.since.unwrap();
    assert_eq!((since.changed_pages, since.changed_bytes, since.other_pages), (0, 0, Some(0)));

    drop(db);
    let db = Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA journal_mode=delete; PRAGMA page_size=8192; VACUUM").unwrap();
    let report = inspect(&place, &asked(&top, take_as(&place, &top, SqliteMode::Off)));
    assert_eq!((report.stored, report.wal_bytes), (Stored::Plain, None));
    assert_eq!(report.since.unwrap().page_size_was, Some(4096));
}

#[derive(Default)]
struct Taken {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Rows<Error> for Taken {
    fn columns(&mut self, names: &[&str]) -> Result<()> {
        self.columns = names.iter().map(|n| (*n).to_owned()).collect();
        Ok(())
    }

    fn row(&mut self, cells: &[Cell<'_>]) -> Result<()> {
        self.rows.push(cells.iter().map(|cell| format!("{cell:?}")).collect());
        Ok(())
    }
}

#[test]
fn only_reading_is_answered() {
    let (_dir, top) = temp();
    let path = top.join("source/db");
    let db = create(&path, true, 0);
    step(&db);
    db.execute_batch("CREATE VIEW sum AS SELECT sum(n) AS s FROM cell").unwrap();
    let place = Place::default();
    let id = take(&place, &top);
    let options = asked(&top, id);
    let repo = place.open();
    let ask = |sql: &str| {
        let mut taken = Taken::default();
        let outcome = sqlite::query(&repo, &options, sql, &mut taken, &Silent);
        assert!(is_empty(&top.join("temp")), "{sql}");
        outcome.map(|count| (count, taken))
    };
    let (count, taken) =
        ask("SELECT 1 AS a, NULL, 'x', 2.5, x'00ff' UNION ALL SELECT 2, 3, 4, 5, 6;").unwrap();
    assert_eq!((count, taken.columns[0].as_str(), taken.columns.len()), (2, "a", 5));
    let first = ["Integer(1)", "Null", "Text([120])", "Real(2.5)", "Blob([0, 255])"];
    assert_eq!(taken.rows[0], first);
    assert_eq!(ask("SELECT s FROM sum -- a view").unwrap().1.rows, [["Integer(120)"]]);
    for reading in [
        "PRAGMA table_info(cell)",
        "SELECT name FROM pragma_table_info('cell')",
        "EXPLAIN QUERY PLAN SELECT * FROM log",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<3) SELECT * FROM n",
        "SELECT count(*) FROM dbstat",
        "SELECT json_extract('{\"a\":1}', '$.a')",
    ] {
        assert!(ask(reading).is_ok_and(|(count, _)| count > 0), "{reading}");
    }
    let elsewhere = top.join("elsewhere.db");
    for refused in [
        "",
        "-- nothing",
        "SELECT 1; SELECT 2",
        "SELECT 1; DELETE FROM cell",
        "INSERT INTO cell VALUES(1000, 1, x'')",
        "DELETE FROM cell",
        "CREATE TEMP TABLE t(x)",
        "CREATE TABLE t(x)",
        "DROP TABLE cell",
        "VACUUM",
        &format!("VACUUM INTO '{}'", elsewhere.display()),
        &format!("ATTACH '{}' AS other", elsewhere.display()),
        "PRAGMA query_only=off",
        "PRAGMA writable_schema=on",
        "PRAGMA journal_mode=wal",
        "SELECT * FROM pragma_journal_mode",
        "SELECT load_extension('/tmp/evil.so')",
        "BEGIN",
        "SELECT writefile('/tmp/evil', 'x')",
        "SELECT * FROM nowhere",
        "SELEC 1",
    ] {
        let outcome = ask(refused).map(|(count, _)| count);
        assert!(matches!(outcome, Err(Error::Usage(_))), "{refused}: {outcome:?}");
    }
    assert!(!elsewhere.exists());
    let other =
        SqliteOptions { path: top.join("source").into_os_string().into_encoded_bytes(), ..asked(&top, id) };
    let outcome = sqlite::query(&repo, &other, "SELECT 1", &mut (), &Silent);
    assert!(matches!(outcome, Err(Error::Usage(_))));
}
