//! The local index is equal to the repository whatever became of either: damaged, shared,
//! behind, ahead; and nothing is ever taken for stored that is not there.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ballast::chunk::CutParams;
use ballast::error::Error;
use ballast::id::{BlobKind, BlobRef, ObjectKind};
use ballast::op::snapshot::{self, SnapshotOptions};
use ballast::progress::Silent;
use ballast::repo::index::{Index, Places};
use ballast::repo::reader::Reader;
use ballast::repo::session::Session;
use ballast::repo::{InitOptions, OpenOptions};
use ballast::store::Store;
use ballast::store::call::Method;
use ballast::store::memory::MemoryStore;
use ballast::store::record::RecordStore;
use support::{
    Place, assert_same, blobs_of, bytes, identity, look, of, open_at, put, read_back, repack_everything, tiny,
};

fn temp() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap().join("source");
    fs::create_dir(&top).unwrap();
    (dir, top)
}

fn source(top: &Path) {
    for i in 0..20u64 {
        put(top.join(format!("d{}/f{i}", i % 3)), &bytes(i, 20_000 + i as usize * 3000));
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() { todo.push(entry.path()) } else { all.push(entry.path()) }
        }
    }
    all
}

fn overwrite(path: &Path, content: &[u8]) {
    File::create(path).unwrap().write_all(content).unwrap();
}

#[test]
fn whatever_became_of_the_cache_the_run_works_and_knows_what_is_stored() {
    let spoils: &[(&str, fn(&Path))] = &[
        ("index deleted", |dir| fs::remove_dir_all(dir.join("index")).unwrap()),
        ("index emptied", |dir| files_below(&dir.join("index")).iter().for_each(|f| overwrite(f, b""))),
        ("index cut short", |dir| {
            for file in files_below(&dir.join("index")) {
                let len = file.metadata().unwrap().len();
                File::options().write(true).open(file).unwrap().set_len(len / 2).unwrap();
            }
        }),
        ("garbage in the index", |dir| {
            for file in files_below(&dir.join("index")) {
                let len = file.metadata().unwrap().len() as usize;
                overwrite(&file, &bytes(5, len));
            }
        }),
        ("one bit in the index", |dir| {
            for file in files_below(&dir.join("index")) {
                let mut content = fs::read(&file).unwrap();
                let middle = content.len() / 3;
                if let Some(byte) = content.get_mut(middle) {
                    *byte ^= 4;
                }
                overwrite(&file, &content);
            }
        }),
        ("a file in place of the index", |dir| {
            fs::remove_dir_all(dir.join("index")).unwrap();
            overwrite(&dir.join("index"), b"not a directory");
        }),
        ("catalogue deleted", |dir| fs::remove_file(dir.join("catalogue")).unwrap()),
        ("catalogue emptied", |dir| overwrite(&dir.join("catalogue"), b"")),
        ("garbage catalogue", |dir| overwrite(&dir.join("catalogue"), &bytes(9, 5000))),
        ("catalogue cut short", |dir| {
            let content = fs::read(dir.join("catalogue")).unwrap();
            overwrite(&dir.join("catalogue"), &content[..content.len() - 1]);
        }),
        ("a directory in place of the catalogue", |dir| {
            fs::remove_file(dir.join("catalogue")).unwrap();
            fs::create_dir(dir.join("catalogue")).unwrap();
        }),
        ("head and key are garbage", |dir| {
            overwrite(&dir.join("head"), &bytes(1, 17));
            overwrite(&dir.join("key"), &bytes(1, 200));
        }),
        ("everything deleted", |dir| fs::remove_dir_all(dir).unwrap()),
        ("a file in place of it all", |dir| {
            fs::remove_dir_all(dir).unwrap();
            overwrite(dir, b"in the way");
        }),
    ];
    let (_dir, top) = temp();
    source(&top);
    for (what, spoil) in spoils {
        let place = Place::default();
        place.take(&top);
        let dir = place.cache_of(&place.open());
        spoil(&dir);
        // Every file is read and every blob looked up.
        for turn in 0..2 {
            let report = place.run(&SnapshotOptions { force: true, ..of(&top) }).unwrap();
            assert!(report.new_bytes < 3000, "{what}, turn {turn}: {} bytes new", report.new_bytes);
            assert_same(&place.open(), report.snapshot.unwrap(), &top, &look(&top));
        }
        let quick = place.take(&top);
        assert_eq!((quick.files_unchanged, quick.read_bytes), (20, 0), "{what}");
    }
}

#[test]
fn without_a_cache_with_one_that_cannot_be_written_and_beside_another_run() {
    let (_dir, top) = temp();
    source(&top);
    let place = Place::default();
    place.take(&top);
    let forced = SnapshotOptions { force: true, ..of(&top) };
    let bare = snapshot::run(&place.open_bare(), &forced, &Silent).unwrap();
    assert!(bare.new_bytes < 3000);
    assert_eq!(snapshot::run(&place.open_bare(), &of(&top), &Silent).unwrap().read_bytes, 0);

    let file = place.cache.path().join("file");
    overwrite(&file, b"");
    let nowhere = OpenOptions { cache_dir: Some(file.join("below")), ..place.options() };
    let report = snapshot::run(&place.open_with(&nowhere), &forced, &Silent).unwrap();
    assert!(report.new_bytes < 3000);
    if !rustix::process::geteuid().is_root() {
        use std::os::unix::fs::PermissionsExt;
        let dir = place.cache_of(&place.open());
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o500)).unwrap();
        assert!(place.run(&forced).unwrap().new_bytes < 3000);
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    }

    // Another run has sled open: this one does without, and finds what that one has not seen.
    let held = place.open();
    let index = Index::open(&held, &held.ledger(false).unwrap()).unwrap();
    let blob = BlobRef::new(BlobKind::Chunk, held.blob_id(BlobKind::Chunk, b"x"));
    index.places(&blob).unwrap();
    put(top.join("more"), &bytes(77, 50_000));
    let report = place.run(&forced).unwrap();
    assert!((50_000..55_000).contains(&report.new_bytes), "{}", report.new_bytes);
    drop(index);
    let report = place.run(&forced).unwrap();
    assert!(report.new_bytes < 3000, "the entries of the other run were taken in: {}", report.new_bytes);
    assert_same(&place.open(), report.snapshot.unwrap(), &top, &look(&top));
}

#[test]
fn two_copies_of_a_repository_in_turn_with_one_cache_directory() {
    let (_dir, top) = temp();
    source(&top);
    let place = Place::default();
    place.take(&top);
    let copy = Arc::new(MemoryStore::from_state(&place.store.snapshot_state()));
    for turn in 0..4u64 {
        // What one copy got the other has not.
        let store: Arc<MemoryStore> = if turn % 2 == 0 { copy.clone() } else { place.store.clone() };
        put(top.join(format!("turn{turn}")), &bytes(1000 + turn / 2, 60_000));
        let repo = open_at(store, &place.options()).unwrap();
        let report = snapshot::run(&repo, &of(&top), &Silent).unwrap();
        assert_same(&repo, report.snapshot.unwrap(), &top, &look(&top));
        assert!(report.new_bytes >= 60_000 * u64::from(turn != 3), "nothing assumed of the other copy");
        assert_eq!(repo.take_notices(), [""; 0]);
    }
}

#[test]
fn a_repository_set_back_to_last_week() {
    let (_dir, top) = temp();
    source(&top);
    let place = Place::default();
    place.take(&top);
    let last_week = place.store.snapshot_state();
    put(top.join("since"), &bytes(55, 90_000));
    place.take(&top);
    place.take(&top);
    place.store.restore_state(&last_week);
    let refused = place.run(&of(&top));
    assert!(matches!(refused, Err(Error::RolledBack { remembered: 3, found: 1 })), "{refused:?}");
    assert_eq!(place.store.count_of(ObjectKind::Lease), 0);
    // Reading goes on, and says so.
    let reading = place.open();
    assert_eq!(ballast::op::list::run(&reading, &Default::default()).unwrap().snapshots.len(), 1);
    assert!(reading.take_notices().iter().any(|n| n.contains("set back")));
    assert!(place.run(&of(&top)).is_err(), "nor is it forgotten by reading");

    let accepting = OpenOptions { accept_older: true, ..place.options() };
    let repo = place.open_with(&accepting);
    let report = snapshot::run(&repo, &of(&top), &Silent).unwrap();
    assert!(report.new_bytes >= 90_000, "what went away is stored again");
    assert_same(&place.open(), report.snapshot.unwrap(), &top, &look(&top));
    let next = place.take(&top);
    assert_eq!(next.read_bytes, 0, "accepted once is accepted");
}

#[test]
fn another_history_of_the_same_length() {
    let (_dir, top) = temp();
    source(&top);
    let place = Place::default();
    place.take(&top);
    let before = place.store.snapshot_state();
    put(top.join("ours"), &bytes(60, 70_000));
    place.take(&top);
    place.store.restore_state(&before);
    let elsewhere = tempfile::tempdir().unwrap();
    let other = OpenOptions { cache_dir: Some(elsewhere.path().into()), ..place.options() };
    snapshot::run(&place.open_with(&other), &of(top.join("d0")), &Silent).unwrap();
    let refused = place.run(&of(&top));
    assert!(matches!(refused, Err(Error::HistoryReplaced { number: 2 })), "{refused:?}");
    let accepting = OpenOptions { accept_older: true, ..place.options() };
    let repo = place.open_with(&accepting);
    let report = snapshot::run(&repo, &of(&top), &Silent).unwrap();
    assert_same(&place.open(), report.snapshot.unwrap(), &top, &look(&top));
}

#[test]
fn another_host_prunes_between_two_runs() {
    let (_dir, top) = temp();
    source(&top);
    for forced in [false, true] {
        let place = Place::default();
        let first = place.take(&top);
        let old = place.names(ObjectKind::Pack);
        repack_everything(&place.open_bare());
        assert!(place.names(ObjectKind::Pack).iter().all(|n| !old.contains(n)));
        let report = place.run(&SnapshotOptions { force: forced, ..of(&top) }).unwrap();
        assert_eq!(report.parent, first.snapshot);
        assert!(report.new_bytes < 3000, "its new places are known: {}", report.new_bytes);
        let repo = place.open();
        assert_same(&repo, report.snapshot.unwrap(), &top, &look(&top));
        assert_same(&repo, first.snapshot.unwrap(), &top, &look(&top));
    }
}

#[test]
fn a_pack_that_is_gone_makes_its_data_be_stored_again() {
    let (_dir, top) = temp();
    source(&top);
    let place = Place::default();
    place.take(&top);
    let state = place.store.snapshot_state();
    let mut reread = 0;
    for pack in place.names(ObjectKind::Pack) {
        place.store.restore_state(&state);
        place.store.remove(&pack).unwrap();
        // Two histories of the cache would be a repository set back: each gets its own.
        let cache = tempfile::tempdir().unwrap();
        copy_dir(place.cache.path(), cache.path());
        let repo = open_at(
            place.store.clone(),
            &OpenOptions { cache_dir: Some(cache.path().into()), ..place.options() },
        )
        .unwrap();
        let report = snapshot::run(&repo, &of(&top), &Silent).unwrap();
        assert_same(&repo, report.snapshot.unwrap(), &top, &look(&top));
        assert_eq!(report.files_unchanged + report.files_changed + report.files_new, 20);
        assert!(report.new_bytes > 1000, "{pack} held something");
        reread += report.files_changed;
        let found = read_back(&place.open_bare(), report.snapshot.unwrap()).unwrap();
        assert!(found.len() > 20);
    }
    assert!(reread >= 20, "every file was in some pack");
    // The same for an index object: its packs are adopted.
    place.store.restore_state(&state);
    for index in place.names(ObjectKind::Index) {
        place.store.remove(&index).unwrap();
    }
    let report = place.take(&top);
    assert!(report.adopted_packs > 0 && report.new_bytes < 3000);
    assert_same(&place.open(), report.snapshot.unwrap(), &top, &look(&top));
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Does an index of its own, on this cache, know every blob of the snapshot?
fn knows_all(place: &Place, id: ballast::id::SnapshotId) {
    let root = place.open_bare().snapshot(id).unwrap().record.root;
    let blobs = blobs_of(&Reader::open(&place.open_bare()).unwrap(), root).unwrap();
    let repo = place.open();
    let index = Arc::new(Index::open(&repo, &repo.ledger(false).unwrap()).unwrap());
    let reader = Reader::with_index(&repo, index.clone());
    for blob in blobs {
        assert!(index.rely_on(&blob, &reader).unwrap().is_some(), "{blob}");
        assert!(!index.places(&blob).unwrap().is_empty(), "{blob}");
    }
}

/// A pack has a number from earlier, its index object is lost, the look-up is built anew without
/// it, and then a session adopts the pack: it must be taken in again.
#[test]
fn an_adopted_pack_is_taken_in_though_it_had_a_number() {
    let (_dir, top) = temp();
    source(&top);
    let place = Place::default();
    let first = place.take(&top);
    let lost = place.names(ObjectKind::Index);
    put(top.join("second"), &bytes(70, 50_000));
    place.take(&top);
    lost.iter().for_each(|index| place.store.remove(index).unwrap());
    fs::remove_dir_all(place.cache_of(&place.open()).join("index")).unwrap();
    // A run that looks something up and stores something, so that all is built anew.
    put(top.join("third"), &bytes(71, 50_000));
    let report = place.take(&top);
    assert!(report.adopted_packs > 0);
    knows_all(&place, first.snapshot.unwrap());
    knows_all(&place, report.snapshot.unwrap());
}

/// Built anew once, it must not be built anew at every run.
#[test]
fn an_index_built_anew_stays() {
    let (_dir, top) = temp();
    source(&top);
    let place = Place::default();
    place.take(&top);
    let lost = place.names(ObjectKind::Index);
    repack_everything(&place.open_bare());
    assert!(lost.iter().all(|name| !place.names(ObjectKind::Index).contains(name)));
    let dir = place.cache_of(&place.open()).join("index");
    let forced = SnapshotOptions { force: true, ..of(&top) };
    place.run(&forced).unwrap();
    fs::remove_dir_all(&dir).unwrap();
    place.run(&forced).unwrap();
    overwrite(&dir.join("mark"), b"");
    place.run(&forced).unwrap();
    let report = place.run(&forced).unwrap();
    assert!(dir.join("mark").exists(), "it was made anew without need");
    knows_all(&place, report.snapshot.unwrap());
}

#[test]
fn what_did_not_change_costs_no_reading_of_packs_or_index() {
    let (_dir, top) = temp();
    source(&top);
    let place = Place::default();
    place.take(&top);
    let record = Arc::new(RecordStore::new(place.store.clone()));
    let repo = place.open_through(record.clone());
    let report = snapshot::run(&repo, &of(&top), &Silent).unwrap();
    assert_eq!(report.files_unchanged, 20);
    assert_eq!(record.count(Method::Get, Some(ObjectKind::Index)), 0, "no index object is read");
    let read = record.bytes(Method::GetRange, Some(ObjectKind::Pack));
    assert!(read < 50_000, "only trees are read: {read} bytes");
}

/// Records of tiny blobs weigh as much as the blobs: index objects must stay far below what a
/// reader takes, however many packs of them there are.
#[test]
fn index_objects_stay_readable_with_tiny_blobs() {
    let cut = CutParams { min: 64, avg: 1 << 10, max: 4 << 10, ..CutParams::default() };
    let options = InitOptions { cut, data_pack_min_bytes: 512 << 10, data_pack_max_bytes: 1 << 20, ..tiny() };
    let place = Place::new(&options);
    let mut session = Session::begin(&place.open(), "test", false, &Silent).unwrap();
    let mut neighbours = session.neighbours();
    for i in 0..200_000u64 {
        neighbours.store(&blake3::hash(&i.to_le_bytes()).as_bytes()[..]).unwrap();
    }
    neighbours.finish().unwrap();
    session.flush().unwrap();
    drop(session);
    let objects = place.names(ObjectKind::Index);
    for name in &objects {
        let size = place.store.stat(name).unwrap().size_bytes;
        assert!(size < 6 << 20, "{name} has {size} bytes");
    }
    let total: u64 = place.store.bytes_of(ObjectKind::Index);
    assert!(total > 200_000 * 37 && objects.len() >= 2, "{total} bytes in {}", objects.len());
    let repo = place.open_bare();
    let index = Arc::new(Index::open(&repo, &repo.ledger(false).unwrap()).unwrap());
    let reader = Reader::with_index(&repo, index.clone());
    for i in (0..200_000u64).step_by(997) {
        let id = repo.blob_id(BlobKind::Chunk, blake3::hash(&i.to_le_bytes()).as_bytes());
        assert!(index.rely_on(&BlobRef::new(BlobKind::Chunk, id), &reader).unwrap().is_some());
    }
}

#[test]
fn sizes_that_cannot_be_are_refused_at_init() {
    let bad = InitOptions { data_pack_min_bytes: 2 << 20, data_pack_max_bytes: 1 << 20, ..tiny() };
    let store = Arc::new(MemoryStore::new());
    let made = ballast::repo::Repository::init(
        store.clone(),
        b"p",
        &bad,
        &OpenOptions { identity: identity("x"), ..OpenOptions::default() },
        support::surroundings(),
    );
    assert!(matches!(made, Err(Error::Usage(_))), "{made:?}");
    assert!(store.names().is_empty());
}
