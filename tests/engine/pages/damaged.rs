//! Lost and damaged packs below days of a database: what is lost is told, everything else is right, and no wrong
//! byte comes out; a copy of a lost base that another host stored heals what stands on it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use ballast::format::content::Entry;
use ballast::id::{BlobKind, ObjectKind, ObjectName};
use ballast::op::check::{self, CheckOptions};
use ballast::op::repair::packs::{self, PacksOptions};
use ballast::op::restore;
use ballast::progress::Silent;
use ballast::repo::InitOptions;
use ballast::repo::reader::Reader;
use ballast::repo::session::Session;
use ballast::store::memory::MemoryStore;
use ballast::store::{PutMode, Store};
use support::days::{Shape, grain_frames};
use support::unreadable::unreadable;
use support::{Place, put, weeks};

use crate::scene::{Daily, to};

/// Restores every day; gives those that came back. What does not come back is a problem, and no file.
fn restored(daily: &Daily, what: &str) -> BTreeSet<usize> {
    let mut whole = BTreeSet::new();
    let (repo, dir) = (daily.place.open_bare(), daily.path.parent().unwrap().as_os_str().as_bytes());
    for (day, (id, expected)) in daily.all.iter().enumerate() {
        let target = tempfile::tempdir().unwrap();
        let report = match restore::run(&repo, &to(*id, dir, target.path()), &Silent) {
            Ok(report) => report,
            // Not even its directory can be read.
            Err(_) => continue,
        };
        let found = fs::read(target.path().join("chat.db"));
        match found {
            Ok(bytes) => {
                assert!(bytes == *expected, "{what}: day {day} came back wrong");
                whole.insert(day);
            }
            Err(_) => {
                assert!(!report.problems.is_empty(), "{what}: day {day} is not there, and no word of it")
            }
        }
        let other = fs::read(target.path().join("other"));
        assert!(other.is_ok_and(|o| o == b"beside it") || !report.problems.is_empty(), "{what}: day {day}");
    }
    whole
}

/// Damages every pack in turn; gives how many cases there were, and how many days were lost in them.
fn every_pack(daily: &Daily, flip: bool) -> (usize, usize) {
    let store = &daily.place.store;
    let state = store.snapshot_state();
    let ids: Vec<_> = daily.all.iter().map(|(id, _)| *id).collect();
    let (mut cases, mut lost) = (0, 0);
    for (name, pack) in weeks::packs(&daily.place.open_bare()) {
        let what = format!("{} {name}", if flip { "flipped" } else { "deleted" });
        match flip {
            // The highest frame: what stands below it is whole.
            true => {
                let frame = pack.frames.iter().max_by_key(|f| f.height).unwrap();
                let at = frame.offset + frame.stored_len / 2;
                assert!(store.tamper(&name, |b| b[at as usize] ^= 4));
            }
            false => store.remove(&name).unwrap(),
        }
        let whole = restored(daily, &what);
        let naive = unreadable(&daily.place, &ids);
        assert_eq!(whole.len(), ids.len() - naive.snapshots.len(), "{what}: {naive:?}");
        let options = CheckOptions { threads: 2, read_data: true, ..CheckOptions::default() };
        let report = check::run(&daily.place.open_bare(), &options, &Silent).unwrap();
        let named = report.faults.iter().any(|fault| format!("{fault:?}").contains(&name.name));
        assert!(named, "{what}: {:?}", report.faults);
        assert_eq!(report.touches.snapshots, naive.snapshots.len() as u64, "{what}");
        lost += naive.snapshots.len();
        cases += 1;
        store.restore_state(&state);
    }
    (cases, lost)
}

#[test]
fn days_whose_packs_are_damaged() {
    let mut daily = Daily::new(Shape { first: 1200, ..Shape::default() });
    put(daily.path.parent().unwrap().join("other"), b"beside it");
    (0..5).for_each(|_| drop(daily.go_on()));
    for flip in [false, true] {
        let (cases, lost) = every_pack(&daily, flip);
        assert!(cases > 9 && lost > cases, "{cases} cases, {lost} days lost");
    }
}

/// Frames that stand on lists.
#[test]
fn a_vacuum_whose_packs_are_lost() {
    let init = InitOptions { data_pack_min_bytes: 1 << 20, data_pack_max_bytes: 2 << 20, ..weeks::init() };
    let mut daily = Daily::new(Shape { first: 22_000, tables: 2, vacuum: Some(1), ..Shape::default() });
    daily.place = crate::scene::place(&init);
    put(daily.path.parent().unwrap().join("other"), b"beside it");
    (0..2).for_each(|_| drop(daily.go_on()));
    let frames = grain_frames(&daily.place.open_bare());
    assert!(frames.iter().any(|f| f.edges.iter().any(|e| e.how == 1)), "none stands on a list");
    let (cases, lost) = every_pack(&daily, false);
    assert!(cases > 5 && lost > cases, "{cases} cases, {lost} days lost");
}

/// What another host stored alone, not knowing of this one: its packs and index objects.
fn stored_elsewhere(daily: &Daily, before: &Arc<MemoryStore>, which: &[Vec<u8>]) -> Vec<ObjectName> {
    let other = Place { store: before.clone(), cache: tempfile::tempdir().unwrap() };
    let there: BTreeSet<ObjectName> = before.names().into_iter().collect();
    let repo = other.open_bare();
    let mut session = Session::begin(&repo, "snapshot", false, &Silent).unwrap();
    for bytes in which {
        assert!(session.store(BlobKind::Chunk, bytes).unwrap().new);
    }
    session.flush().unwrap();
    drop(session);
    let new: Vec<ObjectName> = before
        .names()
        .into_iter()
        .filter(|name| matches!(name.kind, ObjectKind::Pack | ObjectKind::Index) && !there.contains(name))
        .collect();
    for name in &new {
        let bytes = before.get(name, u64::MAX).unwrap();
        daily.place.store.put(name, &bytes, PutMode::New).unwrap();
    }
    new.into_iter().filter(|name| name.kind == ObjectKind::Pack).collect()
}

fn chunk(reader: &Reader, entry: &Entry) -> Vec<u8> {
    match entry {
        Entry::Chunk { id, .. } => reader.blob(BlobKind::Chunk, *id).unwrap().to_vec(),
        other => panic!("{other:?}"),
    }
}

/// What all stands on is there twice, and one copy is bad: whichever is tried first.
#[test]
fn either_copy_of_a_base_will_do() {
    let mut daily = Daily::new(Shape { first: 1500, edited: 20, ..Shape::default() });
    put(daily.path.parent().unwrap().join("other"), b"beside it");
    let before = Arc::new(MemoryStore::from_state(&daily.place.store.snapshot_state()));
    daily.go_on();
    let of_day_0 = weeks::packs(&daily.place.open_bare()).into_iter();
    let one: Vec<ObjectName> =
        of_day_0.filter(|(_, p)| p.frames.iter().any(|f| f.blobs.len() > 8)).map(|(name, _)| name).collect();
    let reader = Reader::open(&daily.place.open_bare()).unwrap();
    let units: Vec<Vec<u8>> = daily.entries(0).iter().map(|entry| chunk(&reader, entry)).collect();
    (1..5).for_each(|_| drop(daily.go_on()));
    let other = stored_elsewhere(&daily, &before, &units);
    assert!(!one.is_empty() && !other.is_empty());
    let state = daily.place.store.snapshot_state();
    let packs = weeks::packs(&daily.place.open_bare());
    for bad in [one, other] {
        daily.place.store.restore_state(&state);
        for name in &bad {
            let spoil = |b: &mut Vec<u8>| {
                packs[name].frames.iter().for_each(|f| b[(f.offset + f.stored_len / 2) as usize] ^= 1);
            };
            assert!(daily.place.store.tamper(name, spoil));
        }
        daily.assert_back(0..5);
        let options = PacksOptions { read_data: true, ..PacksOptions::default() };
        packs::run(&daily.place.open_bare(), &options, &Silent).unwrap();
        daily.prune(&support::world::all());
        daily.assert_back(0..5);
        daily.assert_sound();
    }
}

#[test]
fn a_copy_of_a_lost_base_heals_what_stands_on_it() {
    let mut daily = Daily::new(Shape { first: 1500, edited: 20, ..Shape::default() });
    put(daily.path.parent().unwrap().join("other"), b"beside it");
    daily.go_on();
    let before = Arc::new(MemoryStore::from_state(&daily.place.store.snapshot_state()));
    (1..5).for_each(|_| drop(daily.go_on()));
    // All that is new on day 2.
    let reader = Reader::open(&daily.place.open_bare()).unwrap();
    let old = [daily.entries(0), daily.entries(1)].concat();
    let new: Vec<Vec<u8>> = daily
        .entries(2)
        .iter()
        .filter(|entry| !old.contains(entry))
        .map(|entry| chunk(&reader, entry))
        .collect();
    assert!(new.len() > 3);
    let repo = daily.place.open_bare();
    let second = weeks::packs(&repo).into_iter().find(|(_, pack)| {
        pack.frames.iter().any(|f| f.blobs.iter().any(|b| b.id == repo.blob_id(BlobKind::Chunk, &new[0])))
    });
    let (second, _) = second.unwrap();
    assert!(daily.place.store.tamper(&second, |b| {
        let at = b.len() / 3;
        b[at] ^= 1;
    }));
    assert_eq!(restored(&daily, "lost"), BTreeSet::from([0, 1]));
    let lost = daily.place.store.snapshot_state();
    for deleted in [false, true] {
        daily.place.store.restore_state(&lost);
        if deleted {
            daily.place.store.remove(&second).unwrap();
        }
        let before = Arc::new(MemoryStore::from_state(&before.snapshot_state()));
        stored_elsewhere(&daily, &before, &new);
        daily.assert_back(0..5);
        daily.place.let_leases_lapse();
        let options = PacksOptions { read_data: true, ..PacksOptions::default() };
        packs::run(&daily.place.open_bare(), &options, &Silent).unwrap();
        daily.prune(&support::world::all());
        daily.assert_back(0..5);
        daily.assert_sound();
    }
}
