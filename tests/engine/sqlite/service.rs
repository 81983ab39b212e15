//! Beside a real service's way of writing: `chatdb.py --live`, where it is there.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use support::database::{bytes_of, capture, options};
use support::put;

use crate::temp;

/// Chats before it begins to write.
const CHATS: i64 = 400;

struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Starts it in `dir` and waits until it writes. Path of its database.
fn start(program: &Path, dir: &Path) -> (Service, PathBuf) {
    let mut command = Command::new("python3");
    command.arg(program).arg(dir).args(["--chats", &CHATS.to_string(), "--days", "0", "--live"]);
    let mut service = Service(command.stdout(Stdio::null()).spawn().unwrap());
    let began = Instant::now();
    // The last thing it makes before that.
    while !dir.join("vacuumed.db").exists() {
        assert!(service.0.try_wait().unwrap().is_none(), "it ended");
        assert!(began.elapsed() < Duration::from_secs(120), "it does not begin");
        std::thread::sleep(Duration::from_millis(50));
    }
    (service, dir.join("live.db"))
}

/// Every commit brings one chat and one tag, in this order; none is taken away. Both numbers.
fn counts(path: &Path) -> (i64, i64) {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let one = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    assert_eq!(one("SELECT count(*) FROM chat WHERE NOT json_valid(chat)"), 0);
    (one("SELECT count(*) FROM chat"), one("SELECT count(*) FROM chatidtag"))
}

fn beside_the_service(captures: usize) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/tools/chatdb.py");
    let python = Command::new("python3").arg("--version").output().is_ok();
    if !program.exists() || !python {
        skipped();
        return;
    }
    let (_dir, top) = temp();
    let (service, path) = start(&program, &top.join("source"));
    let options = options(&top.join("temp"));
    let copy = top.join("copy");
    let mut chats = Vec::new();
    for _ in 0..captures {
        put(&copy, &bytes_of(&mut capture(&path, &options).unwrap()));
        let (found, tags) = counts(&copy);
        assert_eq!(found, tags, "between two commits");
        chats.push(found);
        std::fs::remove_file(&copy).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(chats.is_sorted() && chats.first() < chats.last(), "{chats:?}");
    drop(service);
    assert_eq!(counts(&path).0, counts(&path).1, "the database itself");
}

#[allow(clippy::print_stderr, reason = "why nothing was tested")]
fn skipped() {
    eprintln!("skipped: no chatdb.py or no python3 here");
}

#[test]
fn twenty() {
    beside_the_service(20);
}

#[test]
#[ignore = "minutes"]
fn two_hundred() {
    beside_the_service(200);
}
