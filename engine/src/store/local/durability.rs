//! Proofs, on a file system that forgets what was not flushed, that `put` is
//! durable on return and atomic at every instant — and proofs of the proofs:
//! with any one kind of flush left out they must fail.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::*;
use crate::store::simfs::SimFs;

const REPOSITORY: &str = "/srv/backup/repo";

fn open(fs: &SimFs) -> LocalStore {
    LocalStore::with_fs(Arc::new(fs.clone()), REPOSITORY).unwrap()
}

fn prepared() -> SimFs {
    let fs = SimFs::new();
    open(&fs).prepare().unwrap();
    fs
}

fn name(kind: ObjectKind, digit: char) -> ObjectName {
    match kind {
        ObjectKind::Config => ObjectName::config(),
        ObjectKind::Ledger => ObjectName::ledger(u64::from(digit.to_digit(16).unwrap())),
        ObjectKind::Lease => ObjectName::new(kind, digit.to_string().repeat(32)),
        kind => ObjectName::new(kind, digit.to_string().repeat(64)),
    }
}

/// Prepares, then puts objects of each kind, and lets the power fail after each step.
fn durable_on_return(fs: &SimFs) -> Result<(), String> {
    let store = open(fs);
    store.prepare().map_err(|e| e.to_string())?;
    let after_crash = |what: &str| {
        let fs = fs.fork();
        fs.crash();
        fs.stat(Path::new(REPOSITORY)).map_err(|e| format!("the repository is lost after {what}: {e}"))?;
        Ok::<_, String>(open(&fs))
    };
    after_crash("prepare")?;
    for kind in ObjectKind::ALL {
        for (digit, bytes) in [('1', &b"some bytes"[..]), ('2', b"x"), ('3', &[7; 5000])] {
            let name = name(kind, digit);
            let mode = if kind == ObjectKind::Config { PutMode::Replace } else { PutMode::New };
            store.put(&name, bytes, mode).map_err(|e| e.to_string())?;
            let found = after_crash("put")?.get(&name, 10_000).map_err(|e| format!("lost: {e}"))?;
            if found != bytes {
                return Err(format!("{name} is not what was put"));
            }
        }
    }
    Ok(())
}

/// Dies at every call of a `put` and asks what is left, whatever part of the
/// cache had reached the medium.
fn atomic_at_every_instant(fs: &SimFs, mode: PutMode) -> Result<u64, String> {
    let lease = name(ObjectKind::Lease, 'a');
    let pack = name(ObjectKind::Pack, 'b');
    let (name, old) = match mode {
        PutMode::New => (pack, None),
        PutMode::Replace => (lease, Some(&b"the old beat"[..])),
    };
    if let Some(old) = old {
        open(fs).put(&name, old, mode).map_err(|e| e.to_string())?;
    }
    let new = [9; 3000];
    for n in 1.. {
        let dying = fs.fork();
        let store = open(&dying);
        dying.crash_at(n);
        let done = store.put(&name, &new, mode).is_ok();
        for seed in 0..40 {
            let fs = dying.fork();
            if seed == 0 {
                fs.crash()
            } else {
                fs.crash_keeping(seed)
            }
            let store = open(&fs);
            let found = store.get(&name, 1 << 20).ok();
            let whole = found.as_deref() == Some(&new) || (!done && found.as_deref() == old);
            if !whole {
                return Err(format!("call {n}, seed {seed}, done {done}: found {found:?}"));
            }
            if store.list(name.kind).map_err(|e| e.to_string())?.len() > 1 {
                return Err("a temporary name is listed".to_owned());
            }
            store.put(&name, &new, mode).map_err(|e| format!("the next run fails: {e}"))?;
        }
        if done && !dying.is_dead() {
            return Ok(n);
        }
    }
    unreachable!()
}

#[test]
fn put_is_durable_on_return_new_directories_too() {
    let fs = SimFs::new();
    durable_on_return(&fs).unwrap();
    let counts = fs.counts();
    assert_eq!(counts.file_syncs, 3 * 7, "one flush a file");
    // One for each object; one for each of the two directories above the
    // repository, itself (again when first used), six kinds and three shelves.
    assert_eq!(counts.dir_syncs, 3 * 7 + 3 + 1 + 6 + 3);
}

#[test]
fn the_proof_of_durability_needs_every_flush() {
    let seen: Arc<Mutex<BTreeSet<(PathBuf, bool)>>> = Arc::default();
    let honest = SimFs::new();
    let note = seen.clone();
    // What is flushed: a directory itself, or the files in one.
    let class = |path: &Path| match path.extension() {
        Some(_) => (path.parent().unwrap().to_owned(), true),
        None => (path.to_owned(), false),
    };
    honest.swallow_syncs(move |path| {
        note.lock().unwrap().insert(class(path));
        false
    });
    durable_on_return(&honest).unwrap();
    let seen = seen.lock().unwrap().clone();
    assert!(seen.contains(&(PathBuf::from("/"), false)) && seen.contains(&(REPOSITORY.into(), true)));
    for left_out in seen {
        let lying = SimFs::new();
        let lie = left_out.clone();
        lying.swallow_syncs(move |path| class(path) == lie);
        assert!(durable_on_return(&lying).is_err(), "not noticed: {left_out:?}");
    }
}

#[test]
fn put_is_atomic_at_every_instant() {
    for mode in [PutMode::New, PutMode::Replace] {
        let calls = atomic_at_every_instant(&prepared(), mode).unwrap();
        assert!(calls > 5, "only {calls} calls were tried");
    }
}

#[test]
fn the_proof_of_atomicity_needs_the_flushes_of_file_and_directory() {
    let lies: [fn(&Path) -> bool; 2] = [|path| path.extension().is_some(), |path| path.ends_with("data/bb")];
    for lie in lies {
        let fs = prepared();
        fs.swallow_syncs(lie);
        assert!(atomic_at_every_instant(&fs, PutMode::New).is_err());
    }
    let fs = prepared();
    fs.swallow_syncs(|path| path.ends_with("locks"));
    assert!(atomic_at_every_instant(&fs, PutMode::Replace).is_err());
}

/// Of another program, killed or slow: the directory is made, not flushed.
#[test]
fn a_directory_that_is_merely_there_is_not_trusted() {
    let lost = |lie: bool| {
        let fs = prepared();
        let pack = name(ObjectKind::Pack, 'c');
        let access = Access { mode: 0o700, owner: None };
        fs.make_dir(&Path::new(REPOSITORY).join("data/cc"), access).unwrap();
        let store = open(&fs);
        fs.swallow_syncs(move |path| lie && path.ends_with("data"));
        store.put(&pack, b"pack", PutMode::New).unwrap();
        fs.crash();
        open(&fs).get(&pack, 10).is_err()
    };
    assert!(!lost(false));
    assert!(lost(true), "the proof does not see a flush left out");
}

/// Of another program: the same object, published and flushed nowhere.
#[test]
fn an_object_that_is_merely_there_is_not_trusted() {
    let lost = |lie: fn(&Path) -> bool| {
        let fs = prepared();
        let index = name(ObjectKind::Index, 'd');
        let path = Path::new(REPOSITORY).join("index").join(&index.name);
        let access = Access { mode: 0o600, owner: None };
        fs.create(&path, access).unwrap().write(b"index").unwrap();
        fs.swallow_syncs(lie);
        open(&fs).put(&index, b"index", PutMode::New).unwrap();
        fs.crash();
        open(&fs).get(&index, 10).ok() != Some(b"index".to_vec())
    };
    assert!(!lost(|_| false));
    assert!(lost(|path| path.ends_with("index")));
    assert!(lost(|path| path.ends_with("d".repeat(64))));
}

#[test]
fn removal_is_durable_but_for_packs() {
    let fs = prepared();
    let store = open(&fs);
    for kind in [ObjectKind::Index, ObjectKind::Pack] {
        store.put(&name(kind, 'e'), b"bytes", PutMode::New).unwrap();
        store.remove(&name(kind, 'e')).unwrap();
    }
    fs.crash();
    assert!(open(&fs).get(&name(ObjectKind::Index, 'e'), 10).unwrap_err().is_not_found());
    assert_eq!(open(&fs).get(&name(ObjectKind::Pack, 'e'), 10).unwrap(), b"bytes");
}

#[test]
fn after_a_directory_failed_to_flush_nothing_is_promised_any_more() {
    let fs = prepared();
    let store = open(&fs);
    fs.fail_syncs(|path| path.ends_with("ledger"));
    assert!(!store.put(&ObjectName::ledger(1), b"one", PutMode::New).unwrap_err().is_transient());
    fs.fail_syncs(|_| false);
    // The system has dropped what it could not write, and would now say yes.
    store.put(&ObjectName::ledger(1), b"one", PutMode::New).unwrap_err();
    store.put(&ObjectName::ledger(2), b"two", PutMode::New).unwrap_err();
    open(&fs).put(&ObjectName::ledger(1), b"one", PutMode::New).unwrap();
}

#[test]
fn a_file_that_fails_to_flush_is_never_published() {
    let fs = prepared();
    let store = open(&fs);
    fs.fail_syncs(|path| path.extension().is_some());
    store.put(&ObjectName::ledger(1), b"one", PutMode::New).unwrap_err();
    fs.fail_syncs(|_| false);
    assert!(fs.list(&Path::new(REPOSITORY).join("ledger")).unwrap().is_empty());
    store.put(&ObjectName::ledger(1), b"one", PutMode::New).unwrap();
}

#[test]
fn a_full_disk_leaves_no_trace_and_all_that_was() {
    let fs = prepared();
    fs.work_in_pieces(100);
    let store = open(&fs);
    store.put(&name(ObjectKind::Pack, 'a'), &[1; 1000], PutMode::New).unwrap();
    fs.set_capacity(Some(1500));
    assert_eq!(store.free_bytes(), Some(500));
    let error = store.put(&name(ObjectKind::Pack, 'b'), &[2; 1000], PutMode::New).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Full);
    assert_eq!(store.free_bytes(), Some(500));
    assert_eq!(store.list(ObjectKind::Pack).unwrap(), [name(ObjectKind::Pack, 'a').name]);
    assert!(fs.list(&Path::new(REPOSITORY).join("data/bb")).unwrap().is_empty());
    store.put(&name(ObjectKind::Pack, 'b'), &[2; 500], PutMode::New).unwrap();
}

#[test]
fn a_read_only_repository_is_read() {
    let fs = prepared();
    let pack = name(ObjectKind::Pack, 'a');
    open(&fs).put(&pack, b"pack", PutMode::New).unwrap();
    fs.set_read_only(true);
    let store = open(&fs);
    store.prepare().unwrap();
    assert_eq!(store.list(ObjectKind::Pack).unwrap(), std::slice::from_ref(&pack.name));
    assert_eq!(store.get(&pack, 10).unwrap(), b"pack");
    assert_eq!(store.get_range(&pack, 1, 2).unwrap(), b"ac");
    store.put(&pack, b"pack", PutMode::New).unwrap();
    let other = name(ObjectKind::Pack, 'b');
    assert_eq!(store.put(&other, b"x", PutMode::New).unwrap_err().kind, StoreErrorKind::Denied);
    assert_eq!(store.remove(&pack).unwrap_err().kind, StoreErrorKind::Denied);
}
