//! Media that cannot be written to: a mount for reading only of what others write to, as containers get it, and a file
//! system that nobody writes to. Nothing has to be written there to capture a database.

use std::path::Path;
use std::process::Command;

use support::database::{Killed, create, state, step};

use super::untouched::{interrupted, left_behind};
use crate::{LARGE, WORKER, temp};

/// Mounts of one's own for one command.
const UNSHARE: [&str; 4] = ["--user", "--map-root-user", "--mount", "sh"];
/// The directory for reading only; the rest of the system goes on writing to it.
const MOUNT: &str = r#"mount --bind "$1" "$1" && mount -o remount,bind,ro "$1""#;
/// A file system of the same files, to which nobody writes.
const MEDIUM: &str = r#"cp -a "$1" "$2" && mount -t tmpfs none "$1" && cp -a "$2/." "$1" && rm -r "$2" &&
                        mount -o remount,ro "$1""#;

/// The state of an image that a process took of `source/db`, with that directory mounted so. `None`, with a word, where that
/// cannot be.
#[allow(clippy::print_stderr, reason = "why nothing was tested")]
fn captured(top: &Path, mount: &str) -> Option<i64> {
    let (source, copy, temp) = (top.join("source"), top.join("copy"), top.join("temp"));
    let script =
        format!(r#"{mount} || exit; echo mounted; touch "$1/x" 2> /dev/null && exit 78; shift 2; exec "$@""#);
    let mut command = Command::new("unshare");
    command.args(UNSHARE).args(["-c", &script, "sh"]).args([&source, &top.join("moved")]);
    command.args([WORKER, "image"]).args([&source.join("db"), &copy, &temp]);
    match command.output() {
        Ok(out) if out.stdout == b"mounted\n" => assert!(out.status.success(), "{out:?}"),
        cannot => {
            eprintln!("skipped: no mounts of one's own here: {cannot:?}");
            return None;
        }
    }
    assert_eq!(std::fs::read_dir(&temp).unwrap().count(), 0, "nothing is left");
    let state = state(&copy);
    std::fs::remove_file(&copy).unwrap();
    Some(state)
}

#[test]
fn closed() {
    for (wal, filler) in [(true, 0), (true, LARGE), (false, 0), (false, LARGE)] {
        let (_dir, top) = temp();
        let db = create(&top.join("source/db"), wal, filler);
        step(&db);
        drop(db);
        for mount in [MOUNT, MEDIUM] {
            assert!(matches!(captured(&top, mount), None | Some(1)), "{wal} {mount}");
        }
    }
}

/// With a log that holds what was committed last, and with half of a transaction in the main file.
#[test]
fn left_by_a_process_that_died() {
    for suffixes in [&["", "-wal"][..], &["", "-wal", "-shm"]] {
        let (_dir, top) = temp();
        left_behind(&top, LARGE, suffixes);
        for mount in [MOUNT, MEDIUM] {
            assert!(matches!(captured(&top, mount), None | Some(1)), "{suffixes:?} {mount}");
        }
    }
    for filler in [1 << 20, LARGE] {
        let (_dir, top) = temp();
        interrupted(&top, filler);
        for mount in [MOUNT, MEDIUM] {
            assert!(matches!(captured(&top, mount), None | Some(1)), "rolled back: {mount}");
        }
    }
}

/// Locks are those of the file, not of the mount.
#[test]
fn others_write_to_what_is_mounted_for_reading() {
    for (wal, filler) in [(true, LARGE), (false, LARGE), (true, 0), (false, 0)] {
        let (_dir, top) = temp();
        let path = top.join("source/db");
        drop(create(&path, wal, filler));
        let _writer = Killed::start(WORKER, &["write", path.to_str().unwrap()]);
        let _checkpoints = Killed::start(WORKER, &["checkpoint", path.to_str().unwrap()]);
        let states: Vec<_> = (0..3).map_while(|_| captured(&top, MOUNT)).collect();
        assert!(states.is_sorted(), "{states:?}");
        assert!(states.is_empty() || states.first() < states.last(), "nobody wrote meanwhile: {states:?}");
    }
}
