//! Every kind of damage to every kind of object: never a panic; what errors there are name the
//! object; what is not touched by it can be read; and a copy that is whole is found.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use ballast::chunk::CutParams;
use ballast::error::Error;
use ballast::id::{BlobKind, ObjectKind, ObjectName};
use ballast::op::list;
use ballast::op::snapshot::SnapshotOptions;
use ballast::repo::reader::Reader;
use ballast::repo::snapshots::Filter;
use ballast::repo::{InitOptions, OpenOptions, Repository};
use ballast::store::memory::MemoryState;
use ballast::store::{PutMode, Store};
use support::{
    PASSWORD, Place, assert_same, blobs_of, bytes, look, of, open_at, put, read_back, surroundings,
};

fn temp() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap().join("source");
    fs::create_dir(&top).unwrap();
    (dir, top)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Delete,
    Empty,
    Halve,
    Shorten,
    Extend,
    Flip(usize),
    Swap,
    Replay,
}

const ACTIONS: [Action; 11] = [
    Action::Delete,
    Action::Empty,
    Action::Halve,
    Action::Shorten,
    Action::Extend,
    Action::Flip(3),
    Action::Flip(30),
    Action::Flip(500),
    Action::Flip(50),
    Action::Swap,
    Action::Replay,
];

/// Does it; false where it cannot be done to this object.
fn damage(place: &Place, action: Action, name: &ObjectName, older: &[u8]) -> bool {
    let others: Vec<_> = place.names(name.kind).into_iter().filter(|n| n != name).collect();
    match action {
        Action::Delete => place.store.remove(name).is_ok(),
        Action::Empty => place.store.tamper(name, Vec::clear),
        Action::Halve => place.store.tamper(name, |b| b.truncate(b.len() / 2)),
        Action::Shorten => place.store.tamper(name, |b| b.truncate(b.len() - 1)),
        Action::Extend => place.store.tamper(name, |b| b.extend(bytes(8, 100))),
        Action::Flip(permille) => place.store.tamper(name, |b| {
            let at = b.len() * permille / 1000;
            b[at] ^= 0x10;
        }),
        Action::Swap => others.first().is_some_and(|other| place.store.swap(name, other)),
        Action::Replay => place.store.tamper(name, |b| *b = older.to_vec()),
    }
}

/// A repository with two keys, three snapshots and a lease that somebody left behind.
struct Scene {
    _dir: tempfile::TempDir,
    top: PathBuf,
    place: Place,
    state: MemoryState,
    /// Another repository's objects: what an adversary could put in place of ours.
    foreign: BTreeMap<ObjectKind, Vec<u8>>,
}

fn scene() -> Scene {
    let (dir, top) = temp();
    let (place, foreign) = (Place::default(), Place::default());
    let lease = ObjectName::new(ObjectKind::Lease, "ab".repeat(16));
    for turn in 0..3u64 {
        put(top.join(format!("d{turn}/file")), &bytes(turn, 400_000));
        put(top.join(format!("small{turn}")), &bytes(turn, 3000));
        for place in [&place, &foreign] {
            place.take(&top);
        }
    }
    for place in [&place, &foreign] {
        place.open().add_key(b"another password", "second", &ballast::crypto::kdf::CHEAP).unwrap();
        place.store.put(&lease, &bytes(4, 300), PutMode::New).unwrap();
    }
    let body = |kind| {
        let name = foreign.names(kind).remove(0);
        (kind, foreign.store.get(&name, 1 << 30).unwrap())
    };
    let foreign = ObjectKind::ALL.map(body).into();
    let state = place.store.snapshot_state();
    Scene { _dir: dir, top, place, state, foreign }
}

/// Every snapshot that is listed, as far as it can be read: which ones are whole.
fn readable(repo: &Repository) -> Result<(usize, Vec<Error>), Error> {
    let report = list::run(repo, &Filter::default())?;
    let mut errors = Vec::new();
    let mut whole = 0;
    for snapshot in &report.snapshots {
        match read_back(repo, snapshot.id) {
            Ok(_) => whole += 1,
            Err(error) => errors.push(error),
        }
    }
    for (id, reason) in report.unreadable {
        errors.push(Error::corrupt(ObjectName::from(id), reason));
    }
    Ok((whole, errors))
}

#[test]
fn the_matrix() {
    let scene = scene();
    let Scene { top, place, state, foreign, .. } = &scene;
    let now = look(top);
    let mut cases = 0;
    for kind in ObjectKind::ALL {
        let names = place.names(kind);
        assert!(!names.is_empty(), "{kind:?}");
        for (at, name) in names.iter().enumerate() {
            for action in ACTIONS {
                place.store.restore_state(state);
                if !damage(place, action, name, &foreign[&kind]) {
                    continue;
                }
                cases += 1;
                let what = format!("{action:?} on {name} ({} of {})", at + 1, names.len());
                let outcome = catch_unwind(AssertUnwindSafe(|| {
                    let bare = OpenOptions { cache_dir: None, ..place.options() };
                    let repo = match open_at(place.store.clone(), &bare) {
                        Ok(repo) => repo,
                        // The one key that has this password.
                        Err(error) if kind == ObjectKind::Key => {
                            let other = Repository::open(
                                place.store.clone(),
                                b"another password",
                                &bare,
                                surroundings(),
                            );
                            assert!(other.is_ok() || action == Action::Swap, "{what}: {error}");
                            return None;
                        }
                        Err(error) => panic!("{what}: cannot be opened: {error}"),
                    };
                    let notices = repo.take_notices();
                    if kind == ObjectKind::Config {
                        assert!(notices.iter().any(|n| n.contains("config")), "{what}: {notices:?}");
                    }
                    let (whole, errors) = readable(&repo).unwrap_or_else(|e| panic!("{what}: {e}"));
                    for error in &errors {
                        assert!(
                            matches!(error, Error::Corrupt { .. } | Error::Missing { .. } | Error::Store(_)),
                            "{what}: {error:?}"
                        );
                        assert!(names_an_object(error), "{what}: {error}");
                    }
                    match kind {
                        ObjectKind::Config | ObjectKind::Key | ObjectKind::Lease => {
                            assert_eq!((whole, errors.len()), (3, 0), "{what}: {errors:?}")
                        }
                        // One commit is not known any more; a swap takes two.
                        ObjectKind::Ledger => {
                            assert!(whole >= 1 && errors.is_empty(), "{what}: {whole} {errors:?}");
                            let said = repo.take_notices().join("\n");
                            let last = action == Action::Delete && at + 1 == names.len();
                            assert!(last || said.contains("ledger/"), "{what}: {said}");
                        }
                        ObjectKind::Snapshot => assert!(whole >= 1 && !errors.is_empty(), "{what}"),
                        ObjectKind::Pack | ObjectKind::Index => {}
                    }
                    Some(repo)
                }));
                let Ok(repo) = outcome else { panic!("{what}: panicked") };
                let Some(_) = repo else { continue };
                // And a snapshot is taken all the same, with the old cache and without; whole,
                // unless the damage is one that only `check` can find. A damaged ledger is an
                // error by its name: nobody writes on a history with a hole.
                let options = of(top);
                for cached in [false, true] {
                    let state = place.store.snapshot_state();
                    let saved = tempfile::tempdir().unwrap();
                    copy_dir(place.cache.path(), saved.path());
                    let cache_dir = cached.then(|| saved.path().to_owned());
                    let repo =
                        open_at(place.store.clone(), &OpenOptions { cache_dir, ..place.options() }).unwrap();
                    let result = catch_unwind(AssertUnwindSafe(|| {
                        ballast::op::snapshot::run(&repo, &options, &ballast::progress::Silent)
                    }))
                    .unwrap_or_else(|_| panic!("{what}: snapshot panicked"));
                    match result {
                        Ok(report) => {
                            // The cache knows what a bad index object said.
                            let silent = action != Action::Delete
                                && (kind == ObjectKind::Pack || (kind == ObjectKind::Index && cached));
                            if !silent {
                                let id = report.snapshot.unwrap();
                                assert_same(
                                    &open_at(place.store.clone(), &bare(place)).unwrap(),
                                    id,
                                    top,
                                    &now,
                                );
                            }
                        }
                        Err(error) => {
                            assert_eq!(kind, ObjectKind::Ledger, "{what}: {error}");
                            assert!(error.to_string().contains("ledger"), "{what}: {error}");
                        }
                    }
                    place.store.restore_state(&state);
                }
            }
        }
    }
    assert!(cases > 150, "{cases}");
}

fn bare(place: &Place) -> OpenOptions {
    OpenOptions { cache_dir: None, ..place.options() }
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn names_an_object(error: &Error) -> bool {
    let text = error.to_string();
    ["data/", "index/", "snapshots/", "ledger/", "keys/", "tree", "chunk", "content list"]
        .iter()
        .any(|word| text.contains(word))
}

/// A bad pack costs what is in it and nothing else.
#[test]
fn what_a_bad_pack_does_not_hold_can_be_read() {
    let scene = scene();
    let Scene { place, state, .. } = &scene;
    let id = place.open_bare().ledger(true).unwrap().committed()[2];
    let root = place.open_bare().snapshot(id).unwrap().record.root;
    let blobs = blobs_of(&Reader::open(&place.open_bare()).unwrap(), root).unwrap();
    for name in place.names(ObjectKind::Pack) {
        place.store.restore_state(state);
        place.store.tamper(&name, |b| b.iter_mut().for_each(|byte| *byte ^= 0x55));
        let reader = Reader::open(&place.open_bare()).unwrap();
        let index = reader.places();
        for blob in &blobs {
            let packs: Vec<ObjectName> = index
                .places(blob)
                .unwrap()
                .iter()
                .filter_map(|p| index.pack(p.pack))
                .map(|p| p.id.into())
                .collect();
            match reader.blob(blob.kind, blob.id) {
                Ok(bytes) => {
                    assert!(!packs.contains(&name));
                    assert_eq!(reader.repo().blob_id(blob.kind, &bytes), blob.id);
                }
                Err(error) => {
                    assert!(packs.contains(&name) && error.to_string().contains(&name.name), "{error}");
                }
            }
        }
    }
}

/// Stored twice, by two that did not know of each other: either copy will do.
#[test]
fn a_second_copy_is_used_when_the_first_is_bad() {
    let (_dir, top) = temp();
    put(top.join("file"), &bytes(1, 300_000));
    let place = Place::default();
    let empty = place.store.snapshot_state();
    let theirs = place.take(&top).snapshot.unwrap();
    let copies: Vec<_> = [ObjectKind::Pack, ObjectKind::Index]
        .into_iter()
        .flat_map(|kind| place.names(kind))
        .map(|name| (name.clone(), place.store.get(&name, 1 << 30).unwrap()))
        .collect();
    place.store.restore_state(&empty);
    let other = tempfile::tempdir().unwrap();
    let options = OpenOptions { cache_dir: Some(other.path().into()), ..place.options() };
    let repo = place.open_with(&options);
    let ours = ballast::op::snapshot::run(&repo, &of(&top), &ballast::progress::Silent).unwrap();
    assert_ne!(ours.snapshot, Some(theirs));
    let own = place.names(ObjectKind::Pack);
    copies.iter().for_each(|(name, bytes)| place.store.put(name, bytes, PutMode::New).unwrap());
    let both = place.store.snapshot_state();
    // All but the directories above the source, which other tests touch.
    let reader = Reader::open(&place.open_bare()).unwrap();
    let root = place.open_bare().snapshot(ours.snapshot.unwrap()).unwrap().record.root;
    let mut twice = blobs_of(&reader, root).unwrap();
    twice.retain(|blob| reader.places().places(blob).unwrap().len() == 2);
    assert!(twice.len() > 10);
    let copied = copies.iter().map(|(n, _)| n.clone()).filter(|n| n.kind == ObjectKind::Pack).collect();
    for bad in [own, copied] {
        for gone in [false, true] {
            place.store.restore_state(&both);
            for name in &bad {
                if gone {
                    place.store.remove(name).unwrap();
                } else {
                    place.store.tamper(name, |b| b.iter_mut().for_each(|byte| *byte ^= 1));
                }
            }
            let reader = Reader::open(&place.open_bare()).unwrap();
            twice.iter().for_each(|blob| drop(reader.blob(blob.kind, blob.id).unwrap()));
        }
    }
}

/// A parent whose trees cannot be read is no reason to write a snapshot whose trees cannot be read.
#[test]
fn trees_that_cannot_be_read_are_stored_again() {
    let (_dir, top) = temp();
    for i in 0..600u64 {
        put(top.join(format!("many/f{i}")), &bytes(i, 200));
    }
    put(top.join("large"), &bytes(9, 3 << 20));
    let place = Place::default();
    place.take(&top);
    let now = look(&top);
    let state = place.store.snapshot_state();
    let saved = tempfile::tempdir().unwrap();
    copy_dir(place.cache.path(), saved.path());
    let repo = place.open_bare();
    let index = ballast::repo::index::Index::open(&repo, &repo.ledger(true).unwrap()).unwrap();
    let metadata: Vec<ObjectName> =
        index.packs().iter().filter(|p| p.pack_kind == 2).map(|p| p.id.into()).collect();
    assert!(!metadata.is_empty());
    for cached in [true, false] {
        place.store.restore_state(&state);
        for name in &metadata {
            place.store.tamper(name, |b| b.iter_mut().for_each(|byte| *byte ^= 1));
        }
        let cache_dir = cached.then(|| saved.path().to_owned());
        let repo = open_at(place.store.clone(), &OpenOptions { cache_dir, ..place.options() }).unwrap();
        let options = SnapshotOptions { ..of(&top) };
        let report = ballast::op::snapshot::run(&repo, &options, &ballast::progress::Silent).unwrap();
        assert_same(&place.open_bare(), report.snapshot.unwrap(), &top, &now);
        let files = now.values().filter(|s| s.kind == "file").count();
        assert_eq!(report.files_new, files as u64, "the parent told nothing");
    }
}

/// Losing a lease, or one of two keys, harms nothing; losing all keys is said.
#[test]
fn keys_and_leases() {
    let scene = scene();
    let place = &scene.place;
    let keys = place.names(ObjectKind::Key);
    assert_eq!(keys.len(), 2);
    let opens =
        |password: &[u8]| Repository::open(place.store.clone(), password, &bare(place), surroundings());
    for lost in &keys {
        place.store.restore_state(&scene.state);
        place.store.remove(lost).unwrap();
        let by_either = [PASSWORD, b"another password"].map(|p| opens(p).is_ok());
        assert_eq!(by_either.iter().filter(|ok| **ok).count(), 1);
        assert!(matches!(opens(b"neither"), Err(Error::WrongPassword { tried: 1, present: 1 })));
    }
    keys.iter().for_each(|key| place.store.remove(key).unwrap());
    let error = opens(PASSWORD).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { object, .. } if object == "keys/"), "{error}");
}

/// Nothing in a frame knows its place: only the recomputed id tells two of them apart.
#[test]
fn frames_that_changed_places_are_found_out() {
    let (_dir, top) = temp();
    put(top.join("file"), &bytes(1, 2 << 20));
    let least = 64 << 10;
    let cut = CutParams { min: least, avg: least + 64, max: least + 128, ..CutParams::default() };
    let place = Place::new(&InitOptions {
        cut,
        data_pack_min_bytes: 1 << 20,
        data_pack_max_bytes: 4 << 20,
        ..support::tiny()
    });
    let id = place.take(&top).snapshot.unwrap();
    let repo = place.open_bare();
    let reader = Reader::open(&repo).unwrap();
    let index = reader.places();
    let mut seen: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for blob in blobs_of(&reader, repo.snapshot(id).unwrap().record.root).unwrap() {
        if blob.kind == BlobKind::Chunk {
            let place = index.places(&blob).unwrap().remove(0);
            seen.entry((place.pack, place.stored_len, place.encoding)).or_default().push((blob, place));
        }
    }
    let alike = seen.into_values().find(|places| places.len() > 1).unwrap();
    let [(one, a), (other, b)] = [&alike[0], &alike[1]];
    let name: ObjectName = index.pack(a.pack).unwrap().id.into();
    let (len, low, high) =
        (a.stored_len as usize, a.offset.min(b.offset) as usize, a.offset.max(b.offset) as usize);
    place.store.tamper(&name, |pack| {
        let (head, tail) = pack.split_at_mut(high);
        head[low..low + len].swap_with_slice(&mut tail[..len]);
    });
    for blob in [one, other] {
        let error = Reader::open(&repo).unwrap().blob(blob.kind, blob.id).unwrap_err();
        assert!(error.to_string().contains("holds another"), "{error}");
    }
}
