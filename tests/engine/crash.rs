//! Death at every point of a snapshot: what was committed stays whole, the next run succeeds,
//! and what was finished is not sent again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ballast::chunk::CutParams;
use ballast::id::{ObjectKind, ObjectName, SnapshotId};
use ballast::op::snapshot;
use ballast::progress::Silent;
use ballast::repo::index::Index;
use ballast::repo::reader::Reader;
use ballast::repo::{InitOptions, OpenOptions, Repository};
use ballast::store::call::Method;
use ballast::store::fault::{Death, FaultStore};
use ballast::store::local::LocalStore;
use ballast::store::record::RecordStore;
use ballast::store::simfs::SimFs;
use ballast::store::{PutMode, Store};
use support::{
    PASSWORD, Place, Seen, assert_died_or_done, assert_same, blobs_of, bytes, identity, look, of, open_at,
    put, read_back, surroundings, tiny,
};

/// Chunks that are just large enough for a frame and a pack of their own: two megabytes make more
/// packs than one index object takes while a run goes on.
fn many_packs() -> InitOptions {
    let least = 64 << 10;
    let cut = CutParams { min: least, avg: least + 64, max: least + 128, ..CutParams::default() };
    InitOptions { cut, data_pack_min_bytes: 24 << 10, data_pack_max_bytes: 40 << 10, ..tiny() }
}

fn temp() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap().join("source");
    fs::create_dir(&top).unwrap();
    (dir, top)
}

fn copy_dir(from: &Path, to: &Path) {
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

type Tree = BTreeMap<PathBuf, Seen>;

/// A repository with one snapshot, and a source that has changed since.
struct Scene {
    _dir: tempfile::TempDir,
    top: PathBuf,
    place: Place,
    first: (SnapshotId, Tree),
    now: Tree,
}

fn scene(new_bytes: usize) -> Scene {
    let (dir, top) = temp();
    put(top.join("old"), &bytes(1, 60_000));
    put(top.join("d/old"), &bytes(2, 3000));
    let place = Place::new(&many_packs());
    let id = place.take(&top).snapshot.unwrap();
    let first = (id, look(&top));
    for i in 0..10u64 {
        put(top.join(format!("d/new{i}")), &bytes(10 + i, new_bytes / 10));
    }
    put(top.join("old"), &bytes(3, 50_000));
    let now = look(&top);
    Scene { _dir: dir, top, place, first, now }
}

/// Packs that are whole and that no readable index object names.
fn finished_orphans(place: &Place) -> usize {
    let repo = place.open_bare();
    let ledger = repo.ledger(false).unwrap();
    let index = Index::open(&repo, &ledger).unwrap();
    let orphans = index.orphans(&ledger);
    let whole = |name: &ObjectName| {
        let bytes = place.store.get(name, 1 << 30).unwrap();
        blake3::hash(&bytes).to_hex().as_str() == name.name
    };
    orphans.into_iter().map(ObjectName::from).filter(whole).count()
}

#[test]
fn the_store_dies_at_every_change() {
    let scene = scene(2_000_000);
    let Scene { top, place, first, now, .. } = &scene;
    let state = place.store.snapshot_state();
    let saved = tempfile::tempdir().unwrap();
    copy_dir(place.cache.path(), saved.path());
    let reset = || {
        place.store.restore_state(&state);
        fs::remove_dir_all(place.cache.path()).unwrap();
        copy_dir(saved.path(), place.cache.path());
    };
    let attempt = |death: Option<(u64, Death)>| {
        reset();
        let fault = Arc::new(FaultStore::new(place.store.clone()));
        let record = Arc::new(RecordStore::new(fault.clone()));
        let repo = place.open_through(record.clone());
        if let Some((n, death)) = death {
            fault.die_at(n, death);
        }
        let done = snapshot::run(&repo, &of(top), &Silent);
        assert_died_or_done(&fault, &done);
        (done, fault.mutations(), record)
    };
    let (done, mutations, _) = attempt(None);
    let clean_bytes = place.store.bytes_of(ObjectKind::Pack);
    assert!(done.is_ok() && mutations > 34, "{mutations} changes");
    let indexes = place.names(ObjectKind::Index).len();
    assert!(indexes >= 3, "{indexes} index objects: one of the first run, several of the second");

    let mut adopted = 0;
    for n in 1..=mutations {
        for death in [Death::Before, Death::Torn, Death::After] {
            // Each pair of neighbours has every death with either cache.
            for old_cache in [(n + death as u64).is_multiple_of(2)] {
                let (done, _, record) = attempt(Some((n, death)));
                let last = record.matching(Method::Put, None).into_iter().rfind(|r| !r.ok);
                let hit = last.and_then(|r| r.call.name);
                let removal = hit.is_none();
                // Names of records are given at once or not at all: only what is named by its
                // bytes can be torn, and is found out by its name.
                let kind = hit.as_ref().map(|name| name.kind);
                if death == Death::Torn && kind == Some(ObjectKind::Ledger) {
                    continue;
                }
                let what = format!("{death:?} at {n} ({kind:?}), old cache {old_cache}");
                // After the commit nothing can fail any more.
                assert_eq!(done.is_ok(), removal, "{what}: {done:?}");
                place.let_leases_lapse();
                let orphans = finished_orphans(place);
                assert_same(&place.open_bare(), first.0, top.as_path(), &first.1);
                let repo = if old_cache { place.open() } else { place.open_bare() };
                let report = snapshot::run(&repo, &of(top), &Silent)
                    .unwrap_or_else(|error| panic!("{what}: the next run fails: {error}"));
                assert_eq!(report.adopted_packs, orphans as u64, "{what}");
                adopted += orphans;
                assert_same(&place.open_bare(), report.snapshot.unwrap(), top, now);
                assert_same(&place.open(), first.0, top.as_path(), &first.1);
                assert_eq!(finished_orphans(place), 0, "{what}");
                // Nothing that was finished is stored twice.
                let bare = place.open_bare();
                let reader = Reader::open(&bare).unwrap();
                let root = bare.snapshot(report.snapshot.unwrap()).unwrap().record.root;
                for blob in blobs_of(&reader, root).unwrap() {
                    assert_eq!(reader.places().places(&blob).unwrap().len(), 1, "{what}: {blob}");
                }
                let packs = place.store.bytes_of(ObjectKind::Pack);
                assert!(packs < clean_bytes + 80_000, "{what}: {packs} bytes, {clean_bytes} without a death");
                // No old lease, no uncommitted snapshot does any harm.
                let again = place.take(top);
                assert_eq!((again.read_bytes, again.adopted_packs), (0, 0), "{what}");
            }
        }
    }
    assert!(adopted > 300, "{adopted} packs adopted");
}

#[test]
fn the_power_fails_under_a_local_repository() {
    let (_dir, top) = temp();
    put(top.join("old"), &bytes(1, 50_000));
    let before = look(&top);
    let fs = SimFs::new();
    let open = |fs: &SimFs| -> Repository {
        let store = Arc::new(LocalStore::with_fs(Arc::new(fs.clone()), "/srv/repo").unwrap());
        for lease in store.list(ObjectKind::Lease).unwrap() {
            store.remove(&ObjectName::new(ObjectKind::Lease, lease)).unwrap();
        }
        open_at(store, &OpenOptions::default()).unwrap()
    };
    let store = Arc::new(LocalStore::with_fs(Arc::new(fs.clone()), "/srv/repo").unwrap());
    let options = OpenOptions { identity: identity("here"), ..OpenOptions::default() };
    let repo = Repository::init(store, PASSWORD, &many_packs(), &options, surroundings()).unwrap();
    let first = snapshot::run(&repo, &of(&top), &Silent).unwrap().snapshot.unwrap();
    put(top.join("new"), &bytes(2, 500_000));
    let now = look(&top);
    let clean = fs.fork();
    let begun = clean.counts().mutations;
    snapshot::run(&open(&clean), &of(&top), &Silent).unwrap();
    let changes = clean.counts().mutations - begun;
    assert!(changes > 80, "{changes}");
    let mut adopted = 0;
    for n in 1..=changes {
        let dying = fs.fork();
        let repo = open(&dying);
        dying.crash_at(n);
        let done = snapshot::run(&repo, &of(&top), &Silent);
        for seed in 0..2 {
            let fs = dying.fork();
            if seed == 0 {
                fs.crash()
            } else {
                fs.crash_keeping(n)
            }
            let repo = open(&fs);
            assert_same(&repo, first, &top.join("old"), &before_of(&before, &top));
            let committed = repo.ledger(true).unwrap().committed();
            if let Ok(report) = &done {
                assert_eq!(committed.last(), Some(&report.snapshot.unwrap()), "what was reported is there");
            }
            for id in &committed {
                read_back(&repo, *id).unwrap();
            }
            let report = snapshot::run(&repo, &of(&top), &Silent).unwrap();
            adopted += report.adopted_packs;
            assert_same(&open(&fs), report.snapshot.unwrap(), &top, &now);
        }
    }
    assert!(adopted > 50, "{adopted}");
}

fn before_of(all: &Tree, top: &Path) -> Tree {
    all.iter().filter(|(p, _)| **p == top.join("old")).map(|(p, s)| (p.clone(), s.clone())).collect()
}

/// Invariant 1 and W4, by the order in which calls came to their end.
#[test]
fn packs_then_index_objects_then_the_snapshot_then_its_entry() {
    let scene = scene(2_000_000);
    let place = &scene.place;
    let catalogue = place.cache_of(&place.open()).join("catalogue");
    let before = fs::read(&catalogue).unwrap();
    let fault = Arc::new(FaultStore::new(place.store.clone()));
    let record = Arc::new(RecordStore::new(fault.clone()));
    let watched = catalogue.clone();
    let expected = before.clone();
    fault.set_hook(move |call| {
        if call.method == Method::Put {
            assert_eq!(fs::read(&watched).unwrap(), expected, "nothing is learnt before it is committed");
        }
    });
    let repo = place.open_through(record.clone());
    let report = snapshot::run(&repo, &of(&scene.top), &Silent).unwrap();
    assert_ne!(fs::read(&catalogue).unwrap(), before, "and afterwards it is");
    let puts = record.matching(Method::Put, None);
    assert!(puts.iter().all(|p| p.ok));
    let at = |name: &ObjectName| puts.iter().position(|p| p.call.name.as_ref() == Some(name)).unwrap();
    let of_kind =
        |kind| puts.iter().filter(move |p| p.call.kind == Some(kind)).filter_map(|p| p.call.name.clone());
    let snapshot: ObjectName = report.snapshot.unwrap().into();
    let entry = of_kind(ObjectKind::Ledger).next().unwrap();
    let (mut packs, mut indexes) = (0, 0);
    for name in of_kind(ObjectKind::Index) {
        indexes += 1;
        assert!(at(&name) < at(&snapshot));
        let plain = repo.open_object(&name).unwrap();
        for pack in ballast::format::index::IndexObject::decode(&plain).unwrap().packs {
            packs += 1;
            assert!(at(&pack.id.into()) < at(&name), "a pack is durable before it is named");
        }
    }
    assert_eq!(packs, of_kind(ObjectKind::Pack).count(), "every pack is named once");
    assert!(indexes > 1 && packs > 24, "{indexes} {packs}");
    assert!(at(&snapshot) < at(&entry));
    let leases: Vec<_> = of_kind(ObjectKind::Lease).collect();
    assert_eq!(leases.len(), 2, "start 0, then the head that was read");
    assert_eq!(puts[0].call.kind, Some(ObjectKind::Lease), "before anything else is written");
    let calls = record.calls();
    let listed = |kind| calls.iter().position(|c| c.call.method == Method::List && c.call.kind == Some(kind));
    let begun = |name: &ObjectName| calls.iter().position(|c| c.call.name.as_ref() == Some(name)).unwrap();
    assert!(begun(&leases[0]) < listed(ObjectKind::Index).unwrap(), "W1 before W2");
    assert!(
        calls.iter().rposition(|c| c.call.method == Method::Remove)
            > calls.iter().rposition(|c| c.call.kind == Some(ObjectKind::Ledger))
    );
}

#[test]
fn a_process_killed_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    let (repo_dir, cache, source) = (top.join("repo"), top.join("cache"), top.join("source"));
    put(source.join("first"), &bytes(1, 100_000));
    let options =
        OpenOptions { cache_dir: Some(cache.clone()), identity: identity("here"), ..OpenOptions::default() };
    let store = || Arc::new(LocalStore::new(&repo_dir).unwrap());
    Repository::init(store(), PASSWORD, &tiny(), &options, surroundings()).unwrap();
    let worker = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
        command.arg("snapshot").args([&repo_dir, &cache, &source]).stderr(Stdio::null());
        command
    };
    let began = std::time::Instant::now();
    assert!(worker().status().unwrap().success());
    let usual = began.elapsed().max(Duration::from_millis(20));
    let (mut killed, mut adopted) = (0, 0);
    for n in 0..20u64 {
        put(source.join(format!("d{}/file{n}", n % 3)), &bytes(100 + n, 1_500_000));
        let mut child = worker().spawn().unwrap();
        let random = u64::from(bytes(n, 1)[0]);
        std::thread::sleep(usual.mul_f64(random as f64 / 128.0));
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        let repo = open_at(store(), &options).unwrap();
        for id in repo.ledger(true).unwrap().committed() {
            read_back(&repo, id).unwrap();
        }
        if n % 4 == 3 {
            let report = snapshot::run(&repo, &of(&source), &Silent).unwrap();
            adopted += report.adopted_packs;
            assert_same(&repo, report.snapshot.unwrap(), &source, &look(&source));
            let packs = repo.store().list(ObjectKind::Pack).unwrap().len();
            let bare = OpenOptions { cache_dir: None, ..options.clone() };
            let fresh = open_at(store(), &bare).unwrap();
            let ledger = fresh.ledger(true).unwrap();
            assert_eq!(Index::open(&fresh, &ledger).unwrap().orphans(&ledger).len(), 0, "of {packs} packs");
        }
    }
    // How many were killed in time, and with finished packs, is for the machine to say.
    assert!(killed > 0, "{killed} killed, {adopted} packs adopted");
}

/// A full disk ends the run with a clear word; nothing earlier is harmed, and with room the next
/// run goes on where it was.
#[test]
fn a_full_repository() {
    let scene = scene(1_000_000);
    let Scene { top, place, first, now, .. } = &scene;
    let fault = Arc::new(FaultStore::new(place.store.clone()));
    let repo = place.open_through(fault.clone());
    fault.set_quota(Some(300_000));
    let error = snapshot::run(&repo, &of(top), &Silent).unwrap_err();
    assert!(error.to_string().contains("quota"), "{error}");
    assert_eq!(place.store.count_of(ObjectKind::Lease), 0, "the lease is gone all the same");
    assert_same(&repo, first.0, top.as_path(), &first.1);
    fault.set_quota(None);
    let report = snapshot::run(&repo, &of(top), &Silent).unwrap();
    assert!(report.adopted_packs > 0);
    assert_same(&repo, report.snapshot.unwrap(), top, now);
    fault.set_read_only(true);
    assert!(snapshot::run(&repo, &of(top), &Silent).is_err());
    assert_same(&place.open_through(fault), report.snapshot.unwrap(), top, now);
    let lie = ObjectName::new(ObjectKind::Pack, "0".repeat(64));
    place.store.put(&lie, b"not a pack", PutMode::New).unwrap();
    assert_eq!(place.take(top).adopted_packs, 0, "garbage in data/ is passed over");
}
