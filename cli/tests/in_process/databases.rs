//! `snapshot --sqlite`: what is captured, what is said, and with which exit code.

use crate::support::Command;

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
    let run = |args: &[&str]| Command::at(&repo, "p").run(args);
    let take = |more: &[&str]| run(&[&["snapshot", "--init", source.to_str().unwrap()], more].concat());

    let outcome = take(&[]);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let listed = run(&["ls", "-l"]).out;
    assert!(listed.contains("a consistent image of an SQLite database"), "{listed}");
    assert!(!listed.contains("chat.db-wal") && !listed.contains("chat.db-shm"), "{listed}");
    let json = run(&["ls", "--json"]).json().to_string();
    assert!(json.contains(r#""capture":"sqlite""#), "{json}");
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
