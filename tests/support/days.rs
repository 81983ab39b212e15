//! Days of a database in use: messages come in, some are edited, some deleted. The same rows, and so the
//! same bytes, each time.

use std::path::Path;

use ballast::codec;
use ballast::format::frame::FrameRecord;
use ballast::repo::Repository;
use rusqlite::Connection;

use crate::tree::{bytes, put};
use crate::weeks::packs;

/// What a database is made of.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Bytes of a page.
    pub page: u32,
    /// Messages on day 0.
    pub first: u64,
    /// Messages that come in on each day after;
    pub daily: u64,
    /// so many others are edited,
    pub edited: u64,
    /// and so many deleted.
    pub deleted: u64,
    /// On this day it is vacuumed, and nothing else.
    pub vacuum: Option<u64>,
    /// Messages are dealt out to so many tables, whose pages so lie among each other's, until a vacuum.
    pub tables: u64,
}

impl Default for Shape {
    /// Some 1.6 MB, of which a day changes a few dozen pages.
    fn default() -> Self {
        Self { page: 4096, first: 2000, daily: 40, edited: 10, deleted: 6, vacuum: None, tables: 1 }
    }
}

const WORDS: usize = 1024;

/// Words that look like a language's: a few letters each, some rare.
fn text(seed: u64, words: usize) -> String {
    let (noise, letters) = (bytes(seed, 2 * words), b"etaoinshrdlucmfw");
    let mut out = String::new();
    for pair in noise.as_chunks::<2>().0 {
        let mut word = usize::from(u16::from_le_bytes(*pair)) % WORDS;
        word = word * word / WORDS;
        while word > 0 {
            out.push(char::from(letters[word % 16]));
            word /= 7;
        }
        out.push(' ');
    }
    out
}

fn number(id: u64) -> i64 {
    i64::try_from(id).unwrap()
}

impl Shape {
    fn table(&self, id: u64) -> String {
        format!("message_{}", id % self.tables)
    }

    fn insert(&self, db: &Connection, id: u64) {
        let words = 40 + (id * 7919 % 160) as usize;
        let row = (number(id), number(id % 37), text(id, words));
        let insert = format!("INSERT INTO {}(id, chat, body) VALUES(?1, ?2, ?3)", self.table(id));
        db.execute(&insert, row).unwrap();
    }

    fn begin(&self, db: &Connection) {
        db.pragma_update(None, "page_size", self.page).unwrap();
        db.execute_batch("BEGIN").unwrap();
        for table in (0..self.tables).map(|id| self.table(id)) {
            db.execute_batch(&format!(
                "CREATE TABLE {table}(id INTEGER PRIMARY KEY, chat INTEGER NOT NULL, body TEXT NOT NULL);
                 CREATE INDEX {table}_chat ON {table}(chat, id);"
            ))
            .unwrap();
        }
        (0..self.first).for_each(|id| self.insert(db, id));
        db.execute_batch("PRAGMA user_version = 1; COMMIT").unwrap();
    }

    fn pass(&self, db: &Connection, day: u64) {
        if self.vacuum == Some(day) {
            db.execute_batch(&format!("VACUUM; PRAGMA user_version = {}", day + 1)).unwrap();
            return;
        }
        db.execute_batch("BEGIN").unwrap();
        let first = self.first + (day - 1) * self.daily;
        (first..first + self.daily).for_each(|id| self.insert(db, id));
        for n in 0..self.edited {
            let id = (day * 1_000_003 + n * 7919) % first;
            let body = text(day << 32 | id, 60 + (n % 5) as usize * 30);
            let update = format!("UPDATE {} SET body = ?2 WHERE id = ?1", self.table(id));
            db.execute(&update, (number(id), body)).unwrap();
        }
        for n in 0..self.deleted {
            let id = (day * 999_983 + n * 104_729) % first;
            db.execute(&format!("DELETE FROM {} WHERE id = ?1", self.table(id)), [number(id)]).unwrap();
        }
        db.execute_batch(&format!("PRAGMA user_version = {}; COMMIT", day + 1)).unwrap();
    }

    /// Brings the database at `path` to what it is on `day`, from nothing or from an earlier day.
    pub fn write(&self, path: &Path, day: u64) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let db = Connection::open(path).unwrap();
        db.execute_batch("PRAGMA synchronous = off").unwrap();
        let now = |db: &Connection| -> u64 {
            db.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0)).unwrap().into()
        };
        if now(&db) == 0 {
            self.begin(&db);
        }
        (now(&db)..=day).for_each(|next| self.pass(&db, next));
        assert_eq!(now(&db), day + 1, "days do not go back");
        db.close().unwrap();
    }
}

/// Bytes of the grains of 4 KiB of `new` that are not what they were in `old`.
pub fn changed_bytes(old: &[u8], new: &[u8]) -> u64 {
    let same = |(a, b): &(&[u8], &[u8])| a == b;
    let kept: usize = new.chunks(4096).zip(old.chunks(4096)).filter(same).map(|(a, _)| a.len()).sum();
    (new.len() - kept) as u64
}

/// Brings a small source to a day: a database, and something that is dead once the day is forgotten, in the same
/// packs as what later days stand on. For [`crate::weeks::Weeks::take_of`].
pub fn write(top: &Path, day: u64) {
    Shape { first: 900, daily: 30, edited: 8, deleted: 4, ..Shape::default() }
        .write(&top.join("chat.db"), day);
    for old in 0..day {
        drop(std::fs::remove_file(top.join(format!("extra/{old}"))));
    }
    let path = top.join(format!("extra/{day}"));
    if !path.exists() {
        put(path, &bytes(7000 + day, 30_000));
    }
}

/// Frames of units by grains.
pub fn grain_frames(repo: &Repository) -> Vec<FrameRecord> {
    let all = packs(repo).into_values().flat_map(|pack| pack.frames);
    all.filter(|f| codec::is_by_grains(f.encoding, f.codec_version)).collect()
}
