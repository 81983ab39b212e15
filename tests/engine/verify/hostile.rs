//! Files made by who wants harm: an answer or a refusal in bounded time, never a panic, and nothing is run or left.

use std::io::Write;
use std::time::{Duration, Instant};

use ballast::source::sqlite::{CopyPlace, PageSet, Refusal, facts, integrity, tables};
use rusqlite::Connection;

use crate::{is_empty, temp};

/// A small database with all that has a parser of its own: full text, trees of boxes, generated columns.
fn rich(path: &std::path::Path) -> Vec<u8> {
    let db = Connection::open(path).unwrap();
    db.execute_batch(
        "PRAGMA page_size=512; PRAGMA auto_vacuum=FULL;
         CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b AS (length(a)) STORED, c CHECK(c > 0));
         CREATE INDEX t_a ON t(a) WHERE c > 1; CREATE INDEX t_e ON t(length(a));
         CREATE TABLE w(k PRIMARY KEY, v) WITHOUT ROWID;
         CREATE TABLE child(t REFERENCES t(id));
         CREATE VIRTUAL TABLE f USING fts5(x);
         CREATE VIRTUAL TABLE r USING rtree(id, x0, x1);
         CREATE VIEW v AS SELECT * FROM t;
         CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM w; END;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60)
         INSERT INTO t(a, c) SELECT hex(randomblob(i * 20)), i FROM n;
         INSERT INTO w SELECT a, id FROM t; INSERT INTO child SELECT id FROM t;
         INSERT INTO f SELECT a FROM t; INSERT INTO r SELECT id, id, id + 1 FROM t;",
    )
    .unwrap();
    drop(db);
    std::fs::read(path).unwrap()
}

fn judge(place: &CopyPlace, bytes: &[u8]) -> Result<bool, Refusal> {
    let mut file = place.blank(bytes.len() as u64).unwrap();
    file.write_all(bytes).unwrap();
    let mut copy = place.open(&file)?;
    copy.until(&|| false, |copy| {
        let whole = integrity(copy, true)?.finding_count == 0;
        facts(copy)?;
        let mut pages = PageSet::default();
        (1..40).for_each(|page| pages.insert(page));
        tables(copy, &pages)?;
        Ok(whole)
    })
}

#[test]
fn spoiled_bytes_are_answered() {
    let (_dir, top) = temp();
    let place = CopyPlace::new(top.join("temp"), None);
    let good = rich(&top.join("db"));
    assert_eq!(judge(&place, &good), Ok(true));
    let mut noise = support::bytes(7, 60_000).into_iter();
    let mut draw = |below: usize| {
        let n = noise.by_ref().take(4).fold(0usize, |n, byte| n << 8 | usize::from(byte));
        n % below
    };
    let (mut whole, mut bad, mut refused) = (0, 0, 0);
    let begun = Instant::now();
    for round in 0..400 {
        let mut bytes = good.clone();
        // Headers of pages and of the file are where it hurts.
        for _ in 0..1 + round % 5 {
            let page = draw(bytes.len() / 512) * 512;
            let at = match draw(3) {
                0 => draw(100),
                1 => page + draw(16),
                _ => page + draw(512),
            };
            bytes[at] = draw(256) as u8;
        }
        if round % 10 == 0 {
            bytes.truncate(draw(bytes.len()));
        }
        match judge(&place, &bytes) {
            Ok(true) => whole += 1,
            Ok(false) => bad += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(bad > 50 && refused > 20, "{whole} whole, {bad} bad, {refused} refused");
    assert!(begun.elapsed() < Duration::from_secs(120));
    assert!(is_empty(&top.join("temp")));
}

/// A schema may hold expressions that take for ever, in an index or a check; SQLite is stopped.
#[test]
fn endless_work_is_given_up() {
    let (_dir, top) = temp();
    let place = CopyPlace::new(top.join("temp"), None);
    let path = top.join("db");
    let db = Connection::open(&path).unwrap();
    // A view that joins a table with itself is not followed at all when rows are counted.
    db.execute_batch(
        "CREATE TABLE t(x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
         INSERT INTO t SELECT i FROM n; CREATE VIEW v AS SELECT count(*) FROM t, t AS a, t AS b, t AS c;",
    )
    .unwrap();
    drop(db);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(judge(&place, &bytes), Ok(true));
    // Asked to stop, a statement stops.
    let mut file = place.blank(bytes.len() as u64).unwrap();
    file.write_all(&bytes).unwrap();
    let mut copy = place.open(&file).unwrap().for_own_statements().unwrap();
    let begun = Instant::now();
    let stop = || begun.elapsed() > Duration::from_millis(300);
    let asked = copy.until(&stop, |copy| ballast::source::sqlite::ask(copy, "SELECT * FROM v", &mut ()));
    assert!(matches!(asked, Err(ballast::source::sqlite::Unanswered::Copy(Refusal::GivenUp))), "{asked:?}");
    // And without being asked, where an honest database would have answered long ago.
    drop(copy);
    let mut copy = place.open(&file).unwrap();
    let sql = "SELECT count(*) FROM t, t AS a, t AS b";
    let asked = copy.until(&|| false, |copy| ballast::source::sqlite::ask(copy, sql, &mut ()));
    assert!(matches!(asked, Err(ballast::source::sqlite::Unanswered::Copy(Refusal::GivenUp))), "{asked:?}");
}
