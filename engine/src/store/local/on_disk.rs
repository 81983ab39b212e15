//! [`LocalStore`] on a real file system: modes and owners, things planted in
//! its directories, paths, and each way to publish.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;
use crate::store::os_fs::PublishBy;

fn repository() -> (tempfile::TempDir, LocalStore) {
    let place = tempfile::tempdir().unwrap();
    let store = LocalStore::new(place.path().join("new/repo")).unwrap();
    store.prepare().unwrap();
    (place, store)
}

fn pack(digit: char) -> ObjectName {
    ObjectName::new(ObjectKind::Pack, digit.to_string().repeat(64))
}

fn write(path: &Path, bytes: &[u8]) {
    use std::io::Write;
    fs::File::create(path).unwrap().write_all(bytes).unwrap();
}

/// Mode and owner of everything in the repository.
fn everything(store: &LocalStore) -> Vec<(PathBuf, u32, u32, u32)> {
    let mut found = Vec::new();
    let mut dirs = vec![store.root.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let known = fs::symlink_metadata(&path).unwrap();
            if known.is_dir() {
                dirs.push(path.clone());
            }
            found.push((path, known.mode() & 0o777, known.uid(), known.gid()));
        }
    }
    found
}

fn put_some(store: &LocalStore) {
    store.put(&pack('a'), b"pack", PutMode::New).unwrap();
    store.put(&ObjectName::config(), b"config", PutMode::New).unwrap();
    let lease = ObjectName::new(ObjectKind::Lease, "b".repeat(32));
    store.put(&lease, b"lease", PutMode::Replace).unwrap();
}

#[test]
fn what_is_written_is_private() {
    let (place, store) = repository();
    put_some(&store);
    for dir in [place.path().join("new"), store.root.clone()] {
        assert_eq!(fs::metadata(dir).unwrap().mode() & 0o777, 0o700);
    }
    let found = everything(&store);
    assert_eq!(found.len(), 6 + 1 + 3);
    for (path, mode, ..) in found {
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
    assert!(store.limitations().is_empty());
}

#[test]
fn a_directory_of_a_group_is_shared_with_it() {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o2770)).unwrap();
    let store = LocalStore::new(place.path()).unwrap();
    store.prepare().unwrap();
    put_some(&store);
    for (path, mode, ..) in everything(&store) {
        assert_eq!(mode, if path.is_dir() { 0o770 } else { 0o660 }, "{}", path.display());
    }
}

#[test]
fn what_root_writes_belongs_to_the_owner_of_the_repository() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(place.path(), Some(4321), Some(8765)).unwrap();
    let store = LocalStore::new(place.path()).unwrap();
    store.prepare().unwrap();
    put_some(&store);
    for (path, _, uid, gid) in everything(&store) {
        assert_eq!((uid, gid), (4321, 8765), "{}", path.display());
    }
}

#[test]
fn nothing_planted_is_followed_or_waited_for() {
    let (place, store) = repository();
    put_some(&store);
    let secret = place.path().join("secret");
    write(&secret, b"secret");
    let at = |name: &ObjectName| store.path_of(name);
    for digit in ['b', 'c', 'd', 'e'] {
        fs::create_dir_all(at(&pack(digit)).parent().unwrap()).unwrap();
    }
    symlink(&secret, at(&pack('b'))).unwrap();
    mknodat(CWD, at(&pack('c')), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    fs::create_dir(at(&pack('d'))).unwrap();
    symlink(place.path().join("nowhere"), at(&pack('e'))).unwrap();
    for digit in ['b', 'c', 'd', 'e'] {
        let name = pack(digit);
        assert_eq!(store.get(&name, 100).unwrap_err().kind, StoreErrorKind::Other, "{digit}");
        assert_eq!(store.get_range(&name, 0, 1).unwrap_err().kind, StoreErrorKind::Other, "{digit}");
        assert_eq!(store.stat(&name).unwrap_err().kind, StoreErrorKind::Other, "{digit}");
        assert!(store.put(&name, b"pack", PutMode::New).is_err(), "{digit}");
    }
    assert_eq!(store.list(ObjectKind::Pack).unwrap(), [pack('a').name]);
    assert_eq!(fs::read(&secret).unwrap(), b"secret");
    assert!(!place.path().join("nowhere").exists());
}

#[test]
fn what_is_not_ours_is_not_listed() {
    let (_place, store) = repository();
    put_some(&store);
    let root = &store.root;
    fs::create_dir(root.join("data/zz")).unwrap();
    fs::create_dir(root.join("data/ff")).unwrap();
    write(&root.join("data/README"), b"");
    write(&root.join("data/ee"), b"");
    write(&root.join("data/aa").join(format!(".{}.0123.tmp", pack('a').name)), b"");
    write(&root.join("data/ff").join(pack('a').name), b"on another shelf");
    write(&root.join("ledger/note.txt"), b"");
    write(&root.join("ledger/007"), b"");
    fs::create_dir(root.join("checks")).unwrap();
    assert_eq!(store.list(ObjectKind::Pack).unwrap(), [pack('a').name]);
    assert!(store.list(ObjectKind::Ledger).unwrap().is_empty());
    assert_eq!(store.list(ObjectKind::Config).unwrap(), ["config"]);
}

#[test]
fn missing_directories_are_empty_but_a_missing_repository_is_not() {
    let (_place, store) = repository();
    put_some(&store);
    for dir in ["data", "index", "ledger"] {
        fs::remove_dir_all(store.root.join(dir)).unwrap();
    }
    assert!(store.list(ObjectKind::Pack).unwrap().is_empty());
    assert!(store.list(ObjectKind::Index).unwrap().is_empty());
    store.put(&pack('a'), b"pack", PutMode::New).unwrap();
    assert_eq!(store.list(ObjectKind::Pack).unwrap(), [pack('a').name]);
    fs::remove_dir_all(&store.root).unwrap();
    assert!(store.list(ObjectKind::Pack).unwrap_err().is_not_found());
    assert!(store.put(&pack('b'), b"pack", PutMode::New).unwrap_err().is_not_found());
    assert!(!store.root.exists(), "only prepare makes a repository");
}

#[test]
fn the_location_is_one_path_before_and_after() {
    let place = tempfile::tempdir().unwrap();
    let real = place.path().canonicalize().unwrap();
    symlink(&real, real.join("link")).unwrap();
    let before = LocalStore::new(real.join("link/./a/b/../repo")).unwrap();
    assert_eq!(before.location(), real.join("a/repo").to_str().unwrap());
    assert!(before.free_bytes().is_some_and(|bytes| bytes > 0));
    before.prepare().unwrap();
    let after = LocalStore::new(real.join("link/a/repo")).unwrap();
    assert_eq!(after.location(), before.location());
    assert_eq!(after.local_path(), Some(real.join("a/repo")));
    write(&real.join("file"), b"");
    assert!(LocalStore::new(real.join("file/repo")).is_err());
    assert!(LocalStore::new(real.join("file")).unwrap().prepare().is_err());
}

/// Two programs, each with its own idea of the file system, every way to publish.
#[test]
fn one_of_two_programs_wins_however_names_are_given() {
    for by in [PublishBy::Rename, PublishBy::Link, PublishBy::Lock] {
        let place = tempfile::tempdir().unwrap();
        let open = || LocalStore::with_fs(Arc::new(OsFs::with_publish(by)), place.path()).unwrap();
        let stores = [open(), open()];
        stores[0].prepare().unwrap();
        for n in 1..=40 {
            let name = ObjectName::ledger(n);
            let start = std::sync::Barrier::new(2);
            let won: Vec<bool> = std::thread::scope(|scope| {
                let put = |i: usize| {
                    let (store, name, start) = (&stores[i], &name, &start);
                    scope.spawn(move || {
                        start.wait();
                        store.put(name, &[i as u8; 100], PutMode::New).is_ok()
                    })
                };
                [put(0), put(1)].map(|thread| thread.join().unwrap()).into()
            });
            assert_ne!(won[0], won[1], "{by:?}: one wins, one does not");
            let winner = u8::from(won[1]);
            assert_eq!(stores[0].get(&name, 100).unwrap(), [winner; 100], "{by:?}");
        }
        let left = fs::read_dir(place.path().join("ledger")).unwrap().count();
        assert_eq!(left, 40, "{by:?}: no temporary name stays");
    }
}
