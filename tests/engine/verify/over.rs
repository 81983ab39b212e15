//! A database restored over another one: the restored state is the one that SQLite sees, nothing of the old one
//! is lost, and nobody's open database is replaced.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ballast::entropy::{Clock, KernelEntropy, Surroundings};
use ballast::id::SnapshotId;
use ballast::op::restore::{self, Overwrite, RestoreOptions, RestoreReport};
use ballast::op::snapshot::{self, SnapshotOptions};
use ballast::progress::Silent;
use ballast::repo::{InitOptions, Repository};
use ballast::source::sqlite::SqliteMode;
use ballast::store::local::LocalStore;
use rusqlite::Connection;
use support::database::{Killed, create, options, state, step};
use support::{PASSWORD, Place, put, surroundings, tiny};

use crate::{WORKER, take, take_as, temp};

fn back(id: SnapshotId, top: &Path) -> RestoreOptions {
    RestoreOptions {
        path: Some(top.join("source").into_os_string().into_encoded_bytes()),
        threads: 2,
        ..RestoreOptions::new(id, top.join("source"))
    }
}

fn restore(place: &Place, options: &RestoreOptions) -> RestoreReport {
    restore::run(&place.open(), options, &Silent).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut all: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    all.sort();
    all
}

fn moved(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let prefix = format!("{prefix}.before-restore-");
    names(dir).into_iter().filter(|n| n.starts_with(&prefix)).map(|n| dir.join(n)).collect()
}

/// A log that its owner left when he was killed: commits that are in no main file.
fn leave_log(db: &Path) {
    drop(Killed::start(WORKER, &["open", db.to_str().unwrap()]));
    assert!(fs::metadata(db.with_file_name("db-wal")).unwrap().len() > 0);
}

/// What the whole matter is about: a restored file beside a stale log gives the newer state.
#[test]
fn a_stale_log_would_be_taken() {
    let (_dir, top) = temp();
    let db = top.join("source/db");
    step(&create(&db, true, 0));
    let old = fs::read(&db).unwrap();
    leave_log(&db);
    fs::write(&db, &old).unwrap();
    let open = Connection::open(&db).unwrap();
    assert_eq!(open.query_row("SELECT n FROM cell WHERE id = 0", [], |row| row.get::<_, i64>(0)), Ok(2));
    let check: String = open.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok", "and nothing shows it");
}

#[test]
fn logs_of_the_old_database_go_out_of_the_way() {
    for filler in [0, 9 << 20] {
        let (_dir, top) = temp();
        let (source, db) = (top.join("source"), top.join("source/db"));
        step(&create(&db, true, filler));
        put(source.join("notes-wal"), b"mine");
        let place = Place::default();
        let id = take(&place, &top);
        leave_log(&db);
        put(source.join("db-journal"), b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7junk");
        let log = fs::read(source.join("db-wal")).unwrap();
        let report = restore(&place, &back(id, &top));
        assert_eq!(report.problems, []);
        assert_eq!(state(&db), 1);
        assert_eq!((report.moved_aside_count, report.moved_aside.len()), (3, 3), "{:?}", report.moved_aside);
        assert_eq!(fs::read(&moved(&source, "db-wal")[0]).unwrap(), log, "nothing is lost");
        assert_eq!(moved(&source, "db-shm").len() + moved(&source, "db-journal").len(), 2);
        assert!(report.moved_aside.iter().any(|m| Path::new(&m.to) == moved(&source, "db-wal")[0]));
        assert_eq!(fs::read(source.join("notes-wal")).unwrap(), b"mine");
        // Nothing to do, nothing moved.
        let report = restore(&place, &back(id, &top));
        assert_eq!((report.files, report.moved_aside_count), (0, 0));
    }
}

/// The log alone was left; the main file is right already; the log is a link to elsewhere; a directory.
#[test]
fn whatever_lies_beside() {
    let (_dir, top) = temp();
    let (source, db) = (top.join("source"), top.join("source/db"));
    step(&create(&db, true, 0));
    let place = Place::default();
    let id = take(&place, &top);
    leave_log(&db);
    let log = fs::read(source.join("db-wal")).unwrap();
    for overwrite in [Overwrite::Always, Overwrite::Never] {
        let options = RestoreOptions { overwrite, ..back(id, &top) };
        drop(fs::remove_file(&db));
        put(source.join("db-wal"), &log);
        let report = restore(&place, &options);
        assert!(report.moved_aside_count > 0 && report.problems.is_empty(), "{report:?}");
        assert_eq!(state(&db), 1);
    }
    let never = RestoreOptions { overwrite: Overwrite::Never, ..back(id, &top) };
    put(source.join("db-wal"), &log);
    assert_eq!(restore(&place, &never).moved_aside_count, 0, "what is there is left alone");
    let report = restore(&place, &back(id, &top));
    assert_eq!((report.files, report.moved_aside_count), (0, 1), "the main file was right");
    assert_eq!(state(&db), 1);

    let outside = top.join("outside");
    put(&outside, &log);
    symlink(&outside, source.join("db-wal")).unwrap();
    fs::create_dir(source.join("db-journal")).unwrap();
    put(&db, b"something else");
    let report = restore(&place, &back(id, &top));
    assert_eq!((report.files, report.moved_aside_count, report.problem_count), (1, 1, 0));
    assert_eq!(fs::read(&outside).unwrap(), log, "only the link was moved");
    assert!(!source.join("db-wal").is_symlink() && source.join("db-journal").is_dir());
}

/// A journal that would be rolled back into the restored file.
#[test]
fn a_hot_journal_goes_too() {
    let (_dir, top) = temp();
    let (source, db) = (top.join("source"), top.join("source/db"));
    step(&create(&db, false, 1 << 20));
    let place = Place::default();
    let id = take(&place, &top);
    drop(Killed::start(WORKER, &["interrupt", db.to_str().unwrap()]));
    assert!(source.join("db-journal").exists());
    let report = restore(&place, &back(id, &top));
    assert_eq!((report.moved_aside_count, report.problem_count), (1, 0));
    assert_eq!(state(&db), 1);
}

#[derive(Debug)]
struct Stopped;

impl Clock for Stopped {
    fn now_ns(&self) -> i64 {
        2_000_000_000_000_000_000
    }
}

/// In one second twice: no name is used twice; names of full length fit.
#[test]
fn nothing_that_was_moved_is_overwritten() {
    let (_dir, top) = temp();
    let source = top.join("source");
    let long = "n".repeat(240);
    for name in ["db", &long] {
        drop(create(&source.join(name), false, 0));
    }
    let place = Place::default();
    let id = take(&place, &top);
    let world = Surroundings { clock: Arc::new(Stopped), entropy: Arc::new(KernelEntropy) };
    let repo = Repository::open(place.store.clone(), PASSWORD, &place.options(), world).unwrap();
    for content in [b"first", b"other"] {
        for name in ["db-wal", &format!("{long}-wal")] {
            put(source.join(name), content);
        }
        let report = restore::run(&repo, &back(id, &top), &Silent).unwrap();
        assert_eq!((report.moved_aside_count, report.problem_count), (2, 0), "{:?}", report.problems);
    }
    let stamp = "20330518T033320Z";
    assert_eq!(fs::read(source.join(format!("db-wal.before-restore-{stamp}"))).unwrap(), b"first");
    assert_eq!(fs::read(source.join(format!("db-wal.before-restore-{stamp}-2"))).unwrap(), b"other");
    assert_eq!(names(&source).iter().filter(|n| n.starts_with("nnn") && n.contains("restore")).count(), 2);
}

/// In use, even if it rests between two transactions: left alone, with all that is beside it; the rest comes back.
#[test]
#[cfg(target_os = "linux")]
fn nobodys_open_database_is_replaced() {
    for (wal, verb) in [(true, "open"), (false, "open"), (false, "lock"), (false, "interrupt")] {
        for filler in [0, 9 << 20] {
            let (_dir, top) = temp();
            let (source, db) = (top.join("source"), top.join("source/db"));
            drop(create(&db, wal, filler));
            put(source.join("other"), b"as it was");
            let place = Place::default();
            let id = take(&place, &top);
            put(source.join("other"), b"changed");
            step(&support::database::connect(&db));
            let user = Killed::start(WORKER, &[verb, db.to_str().unwrap()]);
            let before = support::look(&source).into_keys().collect::<Vec<_>>();
            let bytes = fs::read(&db).unwrap();
            for in_place in [false, true] {
                let report = restore(&place, &RestoreOptions { in_place, ..back(id, &top) });
                assert_eq!(
                    (report.problem_count, report.moved_aside_count),
                    (1, 0),
                    "{wal} {verb} {report:?}"
                );
                assert!(
                    report.problems[0].message.contains("it is open in process"),
                    "{:?}",
                    report.problems
                );
                assert!(report.problems[0].message.contains("worker"), "{:?}", report.problems);
            }
            assert!(fs::read(&db).unwrap() == bytes);
            assert_eq!(support::look(&source).into_keys().collect::<Vec<_>>(), before);
            assert_eq!(fs::read(source.join("other")).unwrap(), b"as it was");
            drop(user);
            let report = restore(&place, &back(id, &top));
            assert_eq!(report.problems, []);
            assert_eq!(state(&db), 0);
        }
    }
}

/// A connection of this very process counts too, where a lock shows it.
#[test]
#[cfg(target_os = "linux")]
fn nor_is_our_own() {
    let (_dir, top) = temp();
    let db = top.join("source/db");
    drop(create(&db, true, 0));
    let place = Place::default();
    let id = take(&place, &top);
    let _held = ballast::source::sqlite::Held::of_path(&db).unwrap();
    let own = support::database::connect(&db);
    step(&own);
    let report = restore(&place, &back(id, &top));
    assert_eq!(report.problem_count, 1);
    assert!(report.problems[0].message.contains("this process"), "{:?}", report.problems);
    step(&own);
    let n: i64 = own.query_row("SELECT n FROM cell WHERE id = 0", [], |row| row.get(0)).unwrap();
    assert_eq!(n, 2, "its locks are as they were");
}

/// Plain bytes of a database in use come back together with its log, over another database and its log.
#[test]
fn plain_bytes_come_with_their_own_log() {
    let (_dir, top) = temp();
    let (source, db) = (top.join("source"), top.join("source/db"));
    step(&create(&db, true, 0));
    leave_log(&db);
    let place = Place::default();
    let id = take_as(&place, &top, SqliteMode::Off);
    let before = [fs::read(&db).unwrap(), fs::read(source.join("db-wal")).unwrap()];
    for round in 0..20 {
        // Another one, with another log.
        for name in names(&source) {
            fs::remove_file(source.join(name)).unwrap();
        }
        let other = create(&db, true, 0);
        (0..3).for_each(|_| step(&other));
        drop(other);
        leave_log(&db);
        let report = restore(&place, &RestoreOptions { in_place: round % 2 == 1, ..back(id, &top) });
        assert_eq!(report.problems, []);
        assert!(
            [fs::read(&db).unwrap(), fs::read(source.join("db-wal")).unwrap()] == before,
            "round {round}"
        );
        assert!(report.moved_aside_count <= 2);
    }
    // And over itself.
    assert_eq!(restore(&place, &back(id, &top)).problems, []);
    assert!([fs::read(&db).unwrap(), fs::read(source.join("db-wal")).unwrap()] == before);
    // Its log alone is not put beside a database that somebody uses.
    #[cfg(target_os = "linux")]
    {
        let _user = Killed::start(WORKER, &["open", db.to_str().unwrap()]);
        let in_use = fs::read(source.join("db-wal")).unwrap();
        let log = RestoreOptions { include: vec!["db-wal".into()], ..back(id, &top) };
        let report = restore(&place, &log);
        assert_eq!(report.problem_count, 1, "{report:?}");
        assert!(fs::read(source.join("db-wal")).unwrap() == in_use);
    }
}

/// Each of a database's names has its own logs.
#[test]
fn hard_links() {
    let (_dir, top) = temp();
    let source = top.join("source");
    drop(create(&source.join("a"), false, 0));
    fs::hard_link(source.join("a"), source.join("b")).unwrap();
    let place = Place::default();
    let id = take(&place, &top);
    for name in ["a", "b"] {
        fs::remove_file(source.join(name)).unwrap();
        put(source.join(name), b"old");
        put(source.join(format!("{name}-journal")), b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7junk");
    }
    let report = restore(&place, &back(id, &top));
    assert_eq!((report.moved_aside_count, report.problem_count), (2, 0), "{report:?}");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(source.join("a")).unwrap().nlink(), 2);
    assert_eq!((state(&source.join("a")), state(&source.join("b"))), (0, 0));
}

/// Killed at every step: a restored file never stands beside a log that was there before it, and the next run
/// brings everything to its end.
#[test]
fn killed_at_every_step() {
    kill_at_every_step(false);
}

/// In place the file may be half of each, but then no log lies beside it, and the next run makes it whole.
#[test]
fn killed_at_every_step_in_place() {
    kill_at_every_step(true);
}

fn kill_at_every_step(in_place: bool) {
    let (_dir, top) = temp();
    let (store, target) = (top.join("repo"), top.join("target"));
    let (db, image) = (target.join("db"), top.join("image"));
    let options = InitOptions { ..tiny() };
    let open = support::identity("here");
    let open = ballast::repo::OpenOptions { cache_dir: None, accept_older: false, identity: open };
    let local = || Arc::new(LocalStore::new(store.to_str().unwrap()).unwrap());
    Repository::init(local(), PASSWORD, &options, &open, surroundings()).unwrap();
    step(&create(&top.join("source/db"), true, 0));
    let repo = support::open_at(local(), &open).unwrap();
    let from =
        SnapshotOptions { sqlite: self::options(&top.join("temp")), ..support::of(top.join("source")) };
    let id = snapshot::run(&repo, &from, &Silent).unwrap().snapshot.unwrap();
    let path = |name: &str| top.join("source").join(name).into_os_string().into_encoded_bytes();
    let mut bytes = Vec::new();
    ballast::op::dump::run(&repo, id, &path("db"), &mut bytes, &Silent).unwrap();
    put(&image, &bytes);
    leave_log(&top.join("source/db"));
    let old: Vec<_> = ["db", "db-wal", "db-shm"]
        .iter()
        .map(|name| (*name, fs::read(top.join("source").join(name)).unwrap()))
        .chain([("db-journal", b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7junk".to_vec())])
        .collect();
    let mut old = old;
    if in_place {
        // Much is to be written.
        let bytes = &mut old[0].1;
        (4096..bytes.len()).step_by(1024).for_each(|at| bytes[at] ^= 0x55);
    }
    let (mut replaced, mut half, mut mixed) = (0, 0, 0);
    for number in 1.. {
        drop(fs::remove_dir_all(&target));
        old.iter().for_each(|(name, content)| put(target.join(name), content));
        let source = top.join("source");
        let words =
            [store.to_str().unwrap(), &id.to_string(), source.to_str().unwrap(), target.to_str().unwrap()];
        let run = |number: u64| {
            let mut command = Command::new(WORKER);
            command.arg("restore").args(words).arg(number.to_string()).args(in_place.then_some("in-place"));
            command.status().unwrap()
        };
        let ended = run(number);
        let logs: Vec<_> =
            ["db-wal", "db-shm", "db-journal"].iter().filter(|n| target.join(n).exists()).collect();
        let now = fs::read(&db).unwrap();
        if now == bytes {
            assert!(logs.is_empty(), "killed at {number}: {logs:?} beside the restored file");
            replaced += 1;
        } else if now == old[0].1 {
            half += usize::from(logs.len() < 3);
        } else {
            assert!(in_place, "killed at {number}: neither the old file nor the restored one");
            assert!(logs.is_empty(), "killed at {number}: {logs:?} beside half a file");
            mixed += 1;
        }
        // Whatever was moved is there, under one name or another.
        for (name, content) in &old[1..] {
            let mut found = moved(&target, name);
            found.push(target.join(name));
            assert!(found.iter().any(|path| fs::read(path).is_ok_and(|c| c == *content)), "{number} {name}");
        }
        assert!(run(0).success());
        assert_eq!(state(&db), 1);
        if ended.success() {
            break;
        }
    }
    assert!(replaced > 1 && half >= 3 && (mixed > 0) == in_place, "{replaced} {half} {mixed}");
}
