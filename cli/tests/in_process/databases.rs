//! Databases: what is captured, verified, shown and replaced, what is said, and with which exit code.

use crate::support::{Command, quick};

#[test]
fn databases_are_captured_refused_or_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    std::fs::create_dir(&source).unwrap();
    let path = source.join("chat.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    db.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES('hello')").unwrap();
    assert!(source.join("chat.db-wal").exists());
    let repo = dir.path().join("vault");
    drop(quick(&repo, "p"));
    let run = |args: &[&str]| Command::at(&repo, "p").run(args);
    let take = |more: &[&str]| run(&[&["snapshot", source.to_str().unwrap()], more].concat());

    let outcome = take(&[]);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let listed = run(&["ls", "-l"]).out;
    assert!(listed.contains("a consistent image of an SQLite database"), "{listed}");
    assert!(!listed.contains("chat.db-wal") && !listed.contains("chat.db-shm"), "{listed}");
    let lines = run(&["ls", "--json"]).json_lines();
    assert!(lines.iter().any(|line| line["capture"] == "sqlite"), "{lines:?}");
    assert_eq!(take(&["--sqlite", "require"]).code, 0);

    let outcome = take(&["--sqlite", "off"]);
    assert_eq!(outcome.code, 3, "a live database as bytes is a problem");
    let listed = run(&["ls", "-l"]).out;
    assert!(listed.contains("plain bytes of an SQLite database in use"), "{listed}");
    assert!(listed.contains("chat.db-wal"), "{listed}");

    let odd = [&b"SQLite format 3\0"[..], &[7; 500]].concat();
    std::io::Write::write_all(&mut std::fs::File::create(source.join("odd.db")).unwrap(), &odd).unwrap();
    let outcome = take(&[]);
    assert_eq!(outcome.code, 3);
    assert!(
        outcome.err.contains("odd.db") && outcome.err.contains("could not be captured"),
        "{}",
        outcome.err
    );
    assert!(run(&["ls"]).out.contains("odd.db"));
    let outcome = take(&["--sqlite=require"]);
    assert_eq!(outcome.code, 3);
    assert!(outcome.err.contains("it is not stored"), "{}", outcome.err);
    assert!(!run(&["ls"]).out.contains("odd.db"));
    assert_eq!(take(&["--sqlite=perhaps"]).code, 2);
}

struct Shelf {
    dir: tempfile::TempDir,
}

impl Shelf {
    /// A repository with one snapshot of a directory with one database.
    fn new() -> Self {
        let shelf = Self { dir: tempfile::tempdir().unwrap() };
        drop(quick(&shelf.dir.path().join("vault"), "p"));
        std::fs::create_dir(shelf.dir.path().join("source")).unwrap();
        let db = rusqlite::Connection::open(shelf.path("source/chat.db")).unwrap();
        db.execute_batch(
            "CREATE TABLE chat(id TEXT PRIMARY KEY, title TEXT, size REAL, raw BLOB);
             INSERT INTO chat VALUES('a', 'first', 1.5, x'00ff'), ('b', 'evil \x1b[2J\ttab \\', NULL, NULL);",
        )
        .unwrap();
        let outcome = shelf.run(&["snapshot", &shelf.path("source")]);
        assert_eq!(outcome.code, 0, "{}", outcome.err);
        shelf
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn command(&self) -> Command<'_> {
        Command::at(&self.dir.path().join("vault"), "p")
    }

    fn run(&self, args: &[&str]) -> crate::support::Outcome {
        self.command().run(args)
    }

    fn of(&self, name: &str) -> String {
        format!("latest:{}", self.path(name))
    }
}

#[test]
fn verify_tells_and_the_ledger_remembers() {
    let shelf = Shelf::new();
    let outcome = shelf.run(&["verify"]);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    for words in ["ok ", "chat.db", "1 database of snapshot", "in ledger entry 2", "all of them are whole"] {
        assert!(outcome.out.contains(words), "{words}: {}", outcome.out);
    }
    let json = shelf.run(&["verify", "--json", "--no-record", &shelf.of("source/chat.db")]).json();
    assert_eq!((json["good"].as_u64(), json["ledger_entry"].as_u64()), (Some(1), None));
    assert_eq!(json["databases"][0]["verdict"], "good");
    let ledger = shelf.run(&["ledger"]).out;
    assert!(ledger.contains("verified 1 database of ") && ledger.lines().count() == 3, "{ledger}");
    assert_eq!(shelf.run(&["verify", &shelf.of("nowhere")]).code, 1);

    // Half of a database, and rows that name nothing.
    let bytes = std::fs::read(shelf.path("source/chat.db")).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        std::io::Write::write_all(&mut std::fs::File::create(shelf.path(name)).unwrap(), bytes).unwrap();
    };
    write("source/half \x1b[2J.db", &bytes[..bytes.len() / 2]);
    let db = rusqlite::Connection::open(shelf.path("source/keys.db")).unwrap();
    db.execute_batch(
        "PRAGMA foreign_keys=off; CREATE TABLE a(id INTEGER PRIMARY KEY); CREATE TABLE b(a REFERENCES a);
         INSERT INTO b VALUES(1)",
    )
    .unwrap();
    shelf.run(&["snapshot", &shelf.path("source")]);
    let outcome = shelf.run(&["verify", "latest"]);
    assert_eq!(outcome.code, 3);
    assert!(outcome.err.contains("half \\u{1b}[2J.db: not whole"), "{}", outcome.err);
    assert!(outcome.err.contains("names a row of a that is not there"), "{}", outcome.err);
    assert!(outcome.out.contains("2 NOT WHOLE") && outcome.out.contains("plain bytes"), "{}", outcome.out);
    assert!(!outcome.out.contains('\x1b') && !outcome.err.contains('\x1b'));
    let ledger = shelf.run(&["ledger", "--last", "1"]).out;
    assert!(ledger.contains("verified 3 databases of") && ledger.contains("2 NOT WHOLE"), "{ledger}");
    let keys = shelf.of("source/keys.db");
    assert_eq!(shelf.run(&["verify", &keys]).code, 3);
    assert_eq!(shelf.run(&["verify", "--no-foreign-keys", &keys]).code, 0);
}

#[test]
fn sqlite_shows_and_answers() {
    let shelf = Shelf::new();
    let of = shelf.of("source/chat.db");
    let shown = shelf.run(&["sqlite", &of]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    for words in ["of 4096 bytes", "UTF-8", "no earlier snapshot has it", "chat ", "user_version 0"] {
        assert!(shown.out.contains(words), "{words}: {}", shown.out);
    }
    let db = rusqlite::Connection::open(shelf.path("source/chat.db")).unwrap();
    db.execute_batch("INSERT INTO chat(id) VALUES('c')").unwrap();
    drop(db);
    assert_eq!(shelf.run(&["snapshot", &shelf.path("source")]).code, 0);
    let shown = shelf.run(&["sqlite", &of]).out;
    assert!(shown.contains("3 pages: 12.0 KiB (snapshot "), "{shown}");
    let json = shelf.run(&["sqlite", "--json", &of]).json();
    assert_eq!(json["since"]["changed_pages"], 3);
    assert_eq!(json["tables"][1]["rows"], 3);
    assert_eq!(json["page_size"], 4096);

    let sql = "SELECT * FROM chat ORDER BY id LIMIT 2";
    let piped = shelf.run(&["sqlite", &of, sql]).out;
    let lines = ["id\ttitle\tsize\traw", "a\tfirst\t1.5\tx'00ff'", "b\tevil \\x1b[2J\\ttab \\\\\t\\N\t\\N"];
    assert_eq!(piped.lines().collect::<Vec<_>>(), lines);
    let screen = shelf.command().on_screen().run(&["sqlite", &of, sql]).out;
    assert!(!screen.contains('\x1b') && screen.contains("NULL"), "{screen}");
    assert_eq!(screen.lines().nth(2), Some("a   first                  1.5  x'00ff'"), "{screen}");
    let long = shelf.command().on_screen().run(&["sqlite", &of, "SELECT hex(zeroblob(1000)) AS h"]).out;
    assert!(long.lines().all(|line| line.chars().count() <= 60) && long.contains('…'), "{long}");
    let outcome = shelf.run(&["sqlite", "--json", &of, sql]);
    assert!(!outcome.out.contains('\x1b'));
    let lines = outcome.json_lines();
    assert_eq!((lines.len(), &lines[0]["names"][1], &lines[3]["rows"]), (4, &"title".into(), &2.into()));
    assert_eq!(lines[1]["values"][3]["hex"], "00ff");
    assert_eq!(lines[2]["values"][1], "evil \x1b[2J\ttab \\");
    let none = shelf.run(&["sqlite", "--json", &of, "SELECT 1 WHERE 0"]).json_lines();
    assert_eq!((none.len(), &none[1]["rows"]), (2, &0.into()));

    for refused in ["DELETE FROM chat", "SELECT 1; SELECT 2", "ATTACH '/tmp/x' AS x", "nonsense"] {
        let outcome = shelf.run(&["sqlite", &of, refused]);
        assert_eq!(outcome.code, 2, "{refused}: {}", outcome.err);
        assert!(outcome.err.contains("the statement was not run"), "{}", outcome.err);
        assert_eq!(shelf.run(&["sqlite", "--json", &of, refused]).json()["exit_code"], 2);
    }
    assert_eq!(shelf.run(&["sqlite", "latest"]).code, 2);
    // Half an answer: rows, then a row that cannot be had.
    let broken = shelf.run(&[
        "sqlite",
        "--json",
        &of,
        "SELECT abs(-9223372036854775808 + (id > 'a')) FROM chat ORDER BY id DESC",
    ]);
    assert_eq!(broken.code, 2);
    assert_eq!(broken.json_lines().last().unwrap()["exit_code"], 2, "{}", broken.out);
}

#[test]
fn restore_says_what_it_moved() {
    let shelf = Shelf::new();
    std::io::Write::write_all(&mut std::fs::File::create(shelf.path("source/chat.db-wal")).unwrap(), b"old")
        .unwrap();
    let (from, to) = (shelf.of("source"), shelf.path("source"));
    let outcome = shelf.run(&["restore", &from, "-t", &to]);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(outcome.err.contains("chat.db-wal belonged to the database that is replaced"), "{}", outcome.err);
    assert!(outcome.out.contains("moved aside") && outcome.out.contains("1 file"), "{}", outcome.out);
    std::io::Write::write_all(&mut std::fs::File::create(shelf.path("source/chat.db-wal")).unwrap(), b"old")
        .unwrap();
    let json = shelf.run(&["restore", &from, "-t", &to, "--json"]).json();
    assert_eq!(json["moved_aside_count"], 1);
    assert!(json["moved_aside"][0]["to"].as_str().unwrap().contains("chat.db-wal.before-restore-"));
}
