//! The recipe of `docs/sqlite.md` puts one lost chat back. Its statements are taken from there.

use std::path::Path;

use ballast::op::dump;
use ballast::progress::Silent;
use rusqlite::Connection;
use support::{Place, put};

use crate::{inside, take, temp};

/// Tables as Open WebUI has them.
const SCHEMA: &str = "
CREATE TABLE user(id TEXT PRIMARY KEY, name TEXT, email TEXT, role TEXT, settings TEXT, created_at INTEGER,
    updated_at INTEGER, last_active_at INTEGER);
CREATE TABLE chat(id TEXT NOT NULL PRIMARY KEY, user_id TEXT NOT NULL, title TEXT NOT NULL, archived INTEGER NOT NULL,
    created_at INTEGER, updated_at INTEGER, chat JSON, pinned BOOLEAN, meta JSON NOT NULL);
CREATE INDEX chat_user ON chat(user_id);
CREATE TABLE chatidtag(id TEXT PRIMARY KEY, tag_name TEXT, chat_id TEXT, user_id TEXT, timestamp INTEGER);";

/// The statements of the recipe: what stands between its marks.
fn recipe() -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sqlite.md");
    let text = std::fs::read_to_string(docs).unwrap();
    let (_, after) = text.split_once("```sql\n").expect("the recipe is there");
    after.split_once("```").unwrap().0.to_owned()
}

type Row = Vec<rusqlite::types::Value>;

fn rows(db: &Connection, sql: &str) -> Vec<Row> {
    let mut statement = db.prepare(sql).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect()).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn one_lost_chat_comes_back() {
    let (_dir, top) = temp();
    let path = top.join("source/webui.db");
    let db = Connection::open(&path).unwrap();
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    db.execute_batch(SCHEMA).unwrap();
    for n in 0..50 {
        let chat = format!(r#"{{"title":"chat {n}","history":{{"messages":{{}}}}}}"#);
        db.execute(
            "INSERT INTO chat VALUES(?1, 'u1', ?2, 0, 1, 1, ?3, 0, '{}')",
            (format!("c{n}"), format!("chat {n}"), chat),
        )
        .unwrap();
        db.execute(
            "INSERT INTO chatidtag VALUES(?1, 'general', ?2, 'u1', 1)",
            (format!("t{n}"), format!("c{n}")),
        )
        .unwrap();
    }
    let place = Place::default();
    let id = take(&place, &top);
    let lost = |db: &Connection| {
        (
            rows(db, "SELECT * FROM chat WHERE id = 'c7'"),
            rows(db, "SELECT * FROM chatidtag WHERE chat_id = 'c7'"),
        )
    };
    let before = lost(&db);
    assert_eq!((before.0.len(), before.1.len()), (1, 1));
    // It is deleted, and life goes on: what came later must stay.
    db.execute_batch(
        "DELETE FROM chat WHERE id = 'c7'; DELETE FROM chatidtag WHERE chat_id = 'c7';
         UPDATE chat SET title = 'renamed since' WHERE id = 'c8';
         INSERT INTO chat SELECT 'new', user_id, 'new', 0, 2, 2, chat, 0, meta FROM chat WHERE id = 'c9';",
    )
    .unwrap();
    let copy = top.join("old.db");
    let mut bytes = Vec::new();
    dump::run(&place.open(), id, &inside(&top, "webui.db"), &mut bytes, &Silent).unwrap();
    put(&copy, &bytes);

    let sql = recipe().replace("/tmp/old.db", copy.to_str().unwrap()).replace("CHAT-ID", "c7");
    for _ in 0..2 {
        // By the shell on the live database, as the recipe says; twice does no harm.
        Connection::open(&path).unwrap().execute_batch(&sql).unwrap();
        assert_eq!(lost(&db), before);
        assert_eq!(rows(&db, "SELECT * FROM chat").len(), 51);
        let since = rows(&db, "SELECT title FROM chat WHERE id = 'c8'");
        assert_eq!(since, [[rusqlite::types::Value::Text("renamed since".into())]]);
    }
    let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}
