//! `prune`: what goes, what stays, and that it may be killed anywhere and stand beside anyone.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ballast::error::Error;
use ballast::format::content::Entry;
use ballast::format::ledger::{Event, ForgetV1};
use ballast::format::snapshot::SnapshotV1;
use ballast::format::tree::{Node, NodeKind};
use ballast::id::{BlobId, BlobKind, BlobRef, ObjectKind, SessionId, SnapshotId};
use ballast::op::check::{self, CheckOptions};
use ballast::op::prune::{self, MaxUnused, PruneOptions, PruneReport};
use ballast::op::snapshot;
use ballast::progress::Silent;
use ballast::repo::Repository;
use ballast::repo::ledger::{Append, Ledger};
use ballast::repo::reader::Reader;
use ballast::repo::session::Session;
use ballast::store::Store;
use ballast::store::call::Method;
use ballast::store::fault::{Death, Effect, Fault, FaultStore};
use support::{
    Place, Seen, assert_died_or_done, assert_same, blobs_of, bytes, look, of, put, read_back, store_against,
};

fn temp() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap().join("source");
    fs::create_dir(&top).unwrap();
    (dir, top)
}

fn append(repo: &Repository, event: &Event) {
    let mut ledger = Ledger::read(repo).unwrap();
    assert_eq!(ledger.append(repo, SessionId([7; 16]), event).unwrap(), Append::Done);
}

fn forget(place: &Place, ids: &[SnapshotId]) {
    let event = Event::Forget(ForgetV1 { snapshots: ids.to_vec(), reason: "test".into() });
    append(&place.open_bare(), &event);
    ids.iter().for_each(|id| place.store.remove(&(*id).into()).unwrap());
}

fn all() -> PruneOptions {
    PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() }
}

fn pruned(place: &Place, options: &PruneOptions) -> PruneReport {
    prune::run(&place.open(), options, &Silent).unwrap()
}

fn committed(place: &Place) -> Vec<SnapshotId> {
    place.open_bare().ledger(true).unwrap().committed()
}

type Tree = BTreeMap<PathBuf, Seen>;

/// Nothing stands that no snapshot needs, but for trailers and padding.
fn assert_tight(place: &Place) {
    let report = prune::run(&place.open_bare(), &PruneOptions { dry_run: true, ..all() }, &Silent).unwrap();
    let plan = &report.plan;
    assert_eq!((plan.dead_packs, plan.unlisted_packs, plan.repack_packs, plan.waiting_packs), (0, 0, 0, 0));
    assert_eq!(plan.duplicate_bytes, 0, "{plan:?}");
}

/// Three snapshots, two of them forgotten: whole packs are dead, others in part.
struct Scene {
    _dir: tempfile::TempDir,
    top: PathBuf,
    place: Arc<Place>,
    kept: Vec<(SnapshotId, Tree)>,
}

fn scene() -> Scene {
    let (dir, top) = temp();
    let place = Arc::new(Place::default());
    for i in 0..30u64 {
        put(top.join(format!("d{}/f{i}", i % 4)), &bytes(i, 20_000 + i as usize * 900));
    }
    let first = place.take(&top).snapshot.unwrap();
    for i in 0..20u64 {
        put(top.join(format!("d{}/f{i}", i % 4)), &bytes(100 + i, 20_000));
    }
    let second = place.take(&top).snapshot.unwrap();
    let seen = look(&top);
    for i in 0..10u64 {
        fs::remove_file(top.join(format!("d{}/f{i}", i % 4))).unwrap();
    }
    let third = place.take(&top).snapshot.unwrap();
    forget(&place, &[first, third]);
    put(top.join("small"), b"a few words");
    let fourth = place.take(&top).snapshot.unwrap();
    let kept = vec![(second, seen), (fourth, look(&top))];
    Scene { _dir: dir, top, place, kept }
}

impl Scene {
    /// Back to a state, with a machine that has seen nothing else.
    fn reset(&self, state: &ballast::store::memory::MemoryState) {
        self.place.store.restore_state(state);
        fs::remove_dir_all(self.place.cache.path()).unwrap();
        fs::create_dir(self.place.cache.path()).unwrap();
    }

    fn assert_whole(&self, what: &str) {
        for (id, seen) in &self.kept {
            let got = read_back(&self.place.open_bare(), *id);
            let got = got.unwrap_or_else(|error| panic!("{what}: {error}"));
            let below: Tree = got
                .into_iter()
                .filter_map(|(path, seen)| Some((path.strip_prefix(&self.top).ok()?.to_owned(), seen)))
                .collect();
            assert!(!below.is_empty() && seen.len() > 3, "{what}");
            assert_same(&self.place.open_bare(), *id, &self.top, seen);
        }
        assert_same(&self.place.open(), self.kept[1].0, &self.top, &self.kept[1].1);
    }
}

#[test]
fn what_nothing_needs_goes_and_all_else_stays() {
    let scene = scene();
    let place = &scene.place;
    let before = place.store.bytes_of(ObjectKind::Pack);
    let state = place.store.snapshot_state();
    let dry = pruned(place, &PruneOptions { dry_run: true, ..all() });
    assert_eq!(place.store.names(), state_names(place, &state), "a dry run changes nothing");
    assert!(dry.plan.repack_packs > 0 && dry.plan.dead_packs > 0, "{:?}", dry.plan);
    let report = pruned(place, &all());
    assert_eq!(report.plan, dry.plan);
    let after = place.store.bytes_of(ObjectKind::Pack);
    assert!(after < before * 3 / 4, "{before} -> {after}");
    let gain = before - after;
    let told = report.plan.freed_bytes;
    assert!(told.abs_diff(gain) < gain / 4, "{gain} bytes less, {told} told");
    assert_eq!(report.waiting_packs, 0);
    scene.assert_whole("after");
    assert_tight(place);
    // Nothing left to do, and nothing written but the lease.
    let names = place.store.names();
    let again = pruned(place, &all());
    assert_eq!((again.condemned_packs, again.deleted_packs, again.new_bytes), (0, 0, 0), "{again:?}");
    assert_eq!(place.store.names(), names);
    // The next snapshot stores nothing twice.
    let next = place.take(&scene.top);
    // Directories above the source may change at any time.
    assert!(next.new_bytes < 1000, "{}", next.new_bytes);
}

fn state_names(place: &Place, state: &ballast::store::memory::MemoryState) -> Vec<ballast::id::ObjectName> {
    let now = place.store.snapshot_state();
    place.store.restore_state(state);
    let names = place.store.names();
    place.store.restore_state(&now);
    names
}

#[test]
fn unused_bytes_may_stay_within_the_limit() {
    for (options, repacks) in [
        (PruneOptions { max_unused: MaxUnused::Unlimited, ..PruneOptions::default() }, false),
        (PruneOptions { max_unused: MaxUnused::Percent(100.0), ..PruneOptions::default() }, false),
        (PruneOptions { max_repack_bytes: Some(1000), ..all() }, false),
        (PruneOptions::default(), true),
    ] {
        let scene = scene();
        let report = pruned(&scene.place, &options);
        assert_eq!(report.repacked_packs > 0, repacks, "{options:?}");
        assert!(report.deleted_packs > 0);
        let left = report.plan.left_unused_bytes;
        let limit = options.max_unused.bytes(report.plan.used_bytes);
        // Beyond the limit stands only what copying would not win: frames of which half is needed. How
        // many there are is for the random choice of packs to say.
        assert!(!repacks || left <= limit + 200_000, "{left} of {limit}");
        scene.assert_whole("after");
    }
}

/// Invariant 6, and 9: killed at any of its changes, and run again.
#[test]
fn the_store_dies_at_every_change_of_a_prune() {
    let scene = scene();
    let place = &scene.place;
    // A run that never finished, an uncommitted snapshot, a lease that stays.
    put(scene.top.join("more"), &bytes(77, 300_000));
    let fault = Arc::new(FaultStore::new(place.store.clone()));
    let denied = || Effect::Fail(ballast::error::StoreErrorKind::Denied);
    fault.add(Fault::new(Method::Put, denied()).on(ObjectKind::Ledger));
    fault.add(Fault::new(Method::Remove, denied()).for_ever());
    snapshot::run(&place.open_through(fault.clone()), &of(&scene.top), &Silent).unwrap_err();
    fault.assert_all_hit();
    place.let_leases_lapse();
    fs::remove_file(scene.top.join("more")).unwrap();

    let state = place.store.snapshot_state();
    let total = {
        let fault = Arc::new(FaultStore::new(place.store.clone()));
        let report = prune::run(&place.open_through(fault.clone()), &all(), &Silent).unwrap();
        assert!(report.repacked_packs > 1 && report.deleted_snapshots == 1, "{report:?}");
        fault.mutations()
    };
    assert!(total > 12, "{total} changes");
    for n in 1..=total {
        for death in [Death::Before, Death::Torn, Death::After] {
            scene.reset(&state);
            let fault = Arc::new(FaultStore::new(place.store.clone()));
            let repo = place.open_through(fault.clone());
            fault.die_at(n, death);
            let result = prune::run(&repo, &all(), &Silent);
            assert_died_or_done(&fault, &result);
            let what = format!("{death:?} at {n} of {total}: {:?}", result.err().map(|e| e.to_string()));
            // Names of ledger entries are given at once or not at all, whatever the store.
            if death == Death::Torn && torn_record(place) {
                continue;
            }
            scene.assert_whole(&what);
            place.let_leases_lapse();
            let report = prune::run(&place.open_bare(), &all(), &Silent)
                .unwrap_or_else(|error| panic!("{what}: the next prune fails: {error}"));
            assert_eq!(report.waiting_packs, 0, "{what}");
            scene.assert_whole(&what);
            assert_tight(place);
            assert_eq!(place.store.count_of(ObjectKind::Lease), 0, "{what}");
            let next = snapshot::run(&place.open_bare(), &of(&scene.top), &Silent).unwrap();
            // A directory changed since; of the files nothing is stored twice.
            assert!(next.new_bytes < 1000, "{what}: {}", next.new_bytes);
        }
    }
}

fn torn_record(place: &Place) -> bool {
    place.open_bare().ledger(false).is_ok_and(|ledger| !ledger.damage().is_empty())
}

/// While somebody may rely on it nothing is deleted; afterwards it is.
#[test]
fn deletion_waits_for_those_who_began_before() {
    let scene = scene();
    let place = &scene.place;
    let repo = place.open_bare();
    let running = Session::begin(&repo, "snapshot", false, &Silent).unwrap();
    let packs = place.store.count_of(ObjectKind::Pack);
    let report = pruned(place, &all());
    assert!(report.condemned_packs > 0 && report.deleted_packs == 0, "{report:?}");
    assert_eq!(report.waiting_packs, report.condemned_packs);
    assert_eq!(report.waiting_for.len(), 1);
    assert_eq!(
        (report.waiting_for[0].operation.as_str(), report.waiting_for[0].host.as_str()),
        ("snapshot", "here")
    );
    assert!(place.store.count_of(ObjectKind::Pack) >= packs);
    scene.assert_whole("condemned");
    // One that begins now does not rely on it, so it holds nobody up.
    drop(running);
    let later = Session::begin(&repo, "snapshot", false, &Silent).unwrap();
    let report = pruned(place, &all());
    assert!(report.deleted_packs > 0 && report.waiting_packs == 0, "{report:?}");
    drop(later);
    scene.assert_whole("deleted");
    assert_tight(place);
}

/// The repository through a store that runs `act` once, at the `nth` put of `kind`.
fn interrupted_at(
    place: &Place,
    kind: ObjectKind,
    nth: u64,
    act: impl Fn() + Send + Sync + 'static,
) -> (Repository, Arc<AtomicBool>) {
    let fault = Arc::new(FaultStore::new(place.store.clone()));
    let (seen, done) = (AtomicU64::new(0), Arc::new(AtomicBool::new(false)));
    let said = done.clone();
    fault.set_hook(move |call| {
        if call.method == Method::Put
            && call.kind == Some(kind)
            && seen.fetch_add(1, Ordering::SeqCst) + 1 == nth
        {
            act();
            done.store(true, Ordering::SeqCst);
        }
    });
    (place.open_through(fault), said)
}

/// A snapshot is committed between the mark and the condemnation, on data that was dead: P5 spares
/// what it needs.
#[test]
fn a_snapshot_committed_before_the_condemnation_keeps_its_data() {
    for old in [true, false] {
        let scene = scene();
        let place = &scene.place;
        let other = tempfile::tempdir().unwrap();
        let again = other.path().canonicalize().unwrap();
        // The very files of a forgotten snapshot.
        for i in 0..20u64 {
            put(again.join(format!("f{i}")), &bytes(i, 20_000 + i as usize * 900));
        }
        let (theirs, below) = (place.clone(), again.clone());
        let (repo, hit) = interrupted_at(place, ObjectKind::Ledger, 1, move || {
            let report = theirs.take(&below);
            assert!(old || report.new_bytes < 300_000, "{report:?}");
        });
        let report = prune::run(&repo, &all(), &Silent).unwrap();
        assert!(hit.load(Ordering::SeqCst));
        let newest = *committed(place).last().unwrap();
        assert_same(&place.open_bare(), newest, &again, &look(&again));
        scene.assert_whole("spared");
        assert!(report.condemned_packs > 0, "{report:?}");
        place.let_leases_lapse();
        pruned(place, &all());
        assert_same(&place.open_bare(), newest, &again, &look(&again));
        assert_tight(place);
    }
}

/// The writer was taken for dead: what it deduplicated against is condemned before it commits. It
/// copies what still stands; where that is gone too, it reads the source again.
#[test]
fn a_writer_that_was_overtaken_copies_what_was_condemned() {
    for (kind, deleted) in [
        (ObjectKind::Snapshot, false),
        (ObjectKind::Ledger, false),
        (ObjectKind::Snapshot, true),
        (ObjectKind::Pack, true),
        (ObjectKind::Index, false),
    ] {
        let scene = scene();
        let place = &scene.place;
        let other = tempfile::tempdir().unwrap();
        let again = other.path().canonicalize().unwrap();
        for i in 0..20u64 {
            put(again.join(format!("f{i}")), &bytes(i, 20_000 + i as usize * 900));
        }
        put(again.join("new"), &bytes(500, 90_000));
        let theirs = place.clone();
        let (repo, hit) = interrupted_at(place, kind, 1, move || {
            let guard = (!deleted).then(|| {
                // Somebody else began before: nothing is deleted yet.
                let repo = theirs.open_bare();
                Session::begin(&repo, "snapshot", true, &Silent).unwrap();
                lease(&theirs)
            });
            let mine = theirs.names(ObjectKind::Lease);
            theirs.let_leases_lapse();
            if let Some(lease) = &guard {
                theirs.store.put(&lease.0, &lease.1, ballast::store::PutMode::Replace).unwrap();
            }
            let report = prune::run(&theirs.open_bare(), &all(), &Silent).unwrap();
            assert!(report.condemned_packs > 0);
            assert_eq!(report.deleted_packs > 0, deleted, "{report:?}");
            drop(mine);
        });
        let reads = Arc::new(AtomicU64::new(0));
        let report = snapshot::run(&repo, &of(&again), &Silent).unwrap();
        assert!(hit.load(Ordering::SeqCst));
        let _ = reads;
        assert_same(&place.open_bare(), report.snapshot.unwrap(), &again, &look(&again));
        scene.assert_whole("overtaken");
        place.store.names().iter().filter(|n| n.kind == ObjectKind::Lease).for_each(|n| {
            place.store.remove(n).unwrap();
        });
        pruned(place, &all());
        assert_same(&place.open_bare(), report.snapshot.unwrap(), &again, &look(&again));
        scene.assert_whole("pruned after");
        assert_tight(place);
    }
}

/// A lease of another session that began with the repository.
fn lease(place: &Place) -> (ballast::id::ObjectName, Vec<u8>) {
    let before = place.names(ObjectKind::Lease);
    let repo = place.open_with(&ballast::repo::OpenOptions {
        cache_dir: None,
        identity: support::identity("elsewhere"),
        ..place.options()
    });
    let session = Session::begin(&repo, "snapshot", false, &Silent).unwrap();
    let name = place.names(ObjectKind::Lease).into_iter().find(|n| !before.contains(n)).unwrap();
    let bytes = place.store.get(&name, 1 << 20).unwrap();
    drop(session);
    (name, bytes)
}

/// Two prunes at once: whoever condemns second begins anew.
#[test]
fn two_prunes_at_once() {
    for (kind, nth) in [(ObjectKind::Ledger, 1), (ObjectKind::Pack, 1), (ObjectKind::Index, 1)] {
        let scene = scene();
        let place = &scene.place;
        let theirs = place.clone();
        let (repo, hit) = interrupted_at(place, kind, nth, move || {
            let report = prune::run(&theirs.open_bare(), &all(), &Silent).unwrap();
            // The other one lives.
            assert_eq!(report.deleted_packs, 0, "{report:?}");
        });
        prune::run(&repo, &all(), &Silent).unwrap();
        assert!(hit.load(Ordering::SeqCst));
        scene.assert_whole("both");
        pruned(place, &all());
        scene.assert_whole("once more");
        assert_tight(place);
    }
}

/// P2: damage of any kind ends it before anything is touched.
#[test]
fn a_repository_that_is_not_whole_is_not_touched() {
    let scene = scene();
    let place = &scene.place;
    let state = place.store.snapshot_state();
    let mut refused = 0;
    for name in place.store.names() {
        if !matches!(
            name.kind,
            ObjectKind::Pack | ObjectKind::Index | ObjectKind::Snapshot | ObjectKind::Ledger
        ) {
            continue;
        }
        place.store.restore_state(&state);
        place.store.remove(&name).unwrap();
        let names = place.store.names();
        match prune::run(&place.open_bare(), &all(), &Silent) {
            Err(Error::NotWhole { .. } | Error::Corrupt { .. }) => {
                assert_eq!(place.store.names(), names, "{name}");
                refused += 1;
            }
            // Of a pack, or an index object, that nothing needs. The last entry of a ledger may be
            // missing without trace, for who has no cache; then its snapshot never counted.
            Ok(_) => assert_ne!(name.kind, ObjectKind::Snapshot, "{name}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
    assert!(refused >= 8, "{refused}");
}

/// A repository in which chunks are differences to others: v0 alone, v1 against v0, v2 against v1.
fn chained(place: &Place, versions: u64) -> Vec<(SnapshotId, Vec<u8>, BlobId)> {
    let mut out: Vec<(SnapshotId, Vec<u8>, BlobId)> = Vec::new();
    let mut content = bytes(9, 100_000);
    for version in 0..versions {
        for at in 0..40 {
            content[at * 2000 + version as usize] ^= 0x5a;
        }
        let repo = place.open();
        let mut session = Session::begin(&repo, "snapshot", false, &Silent).unwrap();
        let reader = Reader::with_index(&repo, session.index().clone());
        let bases: Vec<BlobRef> =
            out.last().map(|(_, _, id)| BlobRef::new(BlobKind::Chunk, *id)).into_iter().collect();
        let stored = store_against(&session, &reader, &content, &bases).unwrap();
        let mut node = Node::blank(b"model", NodeKind::File);
        node.content = vec![Entry::Chunk { id: stored.id, len: content.len() as u32 }];
        node.size = content.len() as u64;
        let root = session.store_tree(vec![node]).unwrap();
        let snapshot = snapshot_of(root);
        let flushed = session.flush().unwrap();
        let id = session.commit(&snapshot, None, flushed).unwrap();
        out.push((id, content.clone(), stored.id));
    }
    out
}

fn snapshot_of(root: BlobId) -> SnapshotV1 {
    SnapshotV1 {
        time: ballast::format::wire::Stamp::from_ns(1_700_000_000_000_000_000),
        utc_offset_secs: 0,
        host: "here".into(),
        user: "tester".into(),
        paths: Vec::new(),
        tags: Vec::new(),
        description: "".into(),
        parent: None,
        program: "test".into(),
        partial: false,
        root,
        counts: Default::default(),
        problem_count: 0,
        problems: Vec::new(),
        extensions: Vec::new(),
    }
}

fn assert_chain(place: &Place, chain: &[(SnapshotId, Vec<u8>, BlobId)]) {
    for (id, content, chunk) in chain {
        let repo = place.open_bare();
        let reader = Reader::open(&repo).unwrap();
        let root = repo.snapshot(*id).unwrap().record.root;
        assert_eq!(blobs_of(&reader, root).unwrap().len(), 2);
        assert_eq!(&*reader.blob(BlobKind::Chunk, *chunk).unwrap(), content.as_slice());
    }
}

fn heights(place: &Place, chain: &[(SnapshotId, Vec<u8>, BlobId)]) -> Vec<u8> {
    let reader = Reader::open(&place.open_bare()).unwrap();
    let height = |id: &BlobId| {
        let places = reader.places().places(&BlobRef::new(BlobKind::Chunk, *id)).unwrap();
        places.first().map_or(u8::MAX, |p| p.height)
    };
    chain.iter().map(|(_, _, id)| height(id)).collect()
}

#[test]
fn bases_stay_while_something_is_stored_as_the_difference_to_them() {
    let place = Place::default();
    let chain = chained(&place, 4);
    assert_eq!(heights(&place, &chain), [0, 1, 2, 3]);
    // Two in the middle go: the newest needs both as bases, and the oldest anyway.
    forget(&place, &[chain[1].0, chain[2].0]);
    let report = pruned(&place, &all());
    assert_eq!(report.plan.base_blobs, 2, "{:?}", report.plan);
    assert_chain(&place, &[chain[0].clone(), chain[3].clone()]);
    assert_eq!(heights(&place, &chain), [0, 1, 2, 3]);
    // All but the newest: its root is kept for it alone, which costs more than it saves.
    forget(&place, &[chain[0].0]);
    let report = pruned(&place, &all());
    assert_eq!(report.plan.unchained_blobs, 1, "{:?}", report.plan);
    assert_chain(&place, &chain[3..]);
    assert_eq!(heights(&place, &chain)[3], 0);
    pruned(&place, &all());
    assert_tight(&place);
    assert_eq!(heights(&place, &chain), [u8::MAX, u8::MAX, u8::MAX, 0]);
    assert!(place.store.bytes_of(ObjectKind::Pack) < 115_000);
}

/// A dead blob in a pack that stays may have lost its base to a prune: nobody may rely on it.
#[test]
fn a_difference_without_its_base_is_not_known() {
    let place = Place::default();
    let chain = chained(&place, 2);
    // Something else that is needed stands in the pack of the second.
    let repo = place.open();
    let name = |id: &BlobId| {
        let reader = Reader::open(&repo).unwrap();
        let all = reader.places();
        let place = all.places(&BlobRef::new(BlobKind::Chunk, *id)).unwrap().remove(0);
        all.pack(place.pack).unwrap().id
    };
    let (base_pack, delta_pack) = (name(&chain[0].2), name(&chain[1].2));
    assert_ne!(base_pack, delta_pack);
    forget(&place, &[chain[0].0, chain[1].0]);
    let condemned = ballast::format::ledger::CondemnV1 {
        packs: vec![base_pack],
        indexes: Vec::new(),
        snapshots: Vec::new(),
    };
    append(&place.open_bare(), &Event::Condemn(condemned));
    place.store.remove(&base_pack.into()).unwrap();
    let (_dir, top) = temp();
    put(top.join("again"), &chain[1].1);
    let repo = place.open();
    let session = Session::begin(&repo, "snapshot", false, &Silent).unwrap();
    assert!(!session.is_known(&BlobRef::new(BlobKind::Chunk, chain[1].2)).unwrap());
    let stored = session.store(BlobKind::Chunk, &chain[1].1).unwrap();
    assert!(stored.new);
    drop(session);
    let id = place.take(&top).snapshot.unwrap();
    assert_same(&place.open_bare(), id, &top, &look(&top));
    // Nor is it a fault of the pack that it stands in, as long as nothing needs it.
    let options = CheckOptions { read_data: true, ..CheckOptions::default() };
    let report = check::run(&place.open_bare(), &options, &Silent).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

/// Two hosts stored the same blob, each as the difference to something else. The lower copy has lost its
/// base: what is made against the blob must stand above the other one.
#[test]
fn a_base_is_as_high_as_the_copy_that_can_be_decoded() {
    let place = Place::default();
    let chunk = |id: BlobId| BlobRef::new(BlobKind::Chunk, id);
    let variant = |seed: u64, version: u8| {
        let mut content = bytes(seed, 100_000);
        (0..40).for_each(|at| content[at * 2000 + usize::from(version)] ^= version);
        content
    };
    // One session, and the blob that it stores as the difference to `base`.
    let begin = || {
        let repo = place.open_bare();
        let session = Session::begin(&repo, "snapshot", false, &Silent).unwrap();
        let reader = Reader::with_index(&repo, session.index().clone());
        (session, reader)
    };
    let store = |(mut session, reader): (Session, Reader), plain: &[u8], base: Option<BlobId>| {
        let bases: Vec<BlobRef> = base.map(chunk).into_iter().collect();
        let stored = store_against(&session, &reader, plain, &bases).unwrap();
        assert!(stored.new && stored.sources == bases.len());
        session.flush().unwrap();
        stored.id
    };
    let height = |id: BlobId| {
        let places = Reader::open(&place.open_bare()).unwrap().places();
        places.places(&chunk(id)).unwrap().iter().map(|place| place.height).collect::<Vec<_>>()
    };
    let below = store(begin(), &variant(1, 1), None);
    let root = store(begin(), &variant(1, 2), None);
    let middle = store(begin(), &variant(1, 3), Some(root));
    let (here, there) = (begin(), begin());
    let twice = store(here, &variant(1, 4), Some(below));
    assert_eq!(store(there, &variant(1, 4), Some(middle)), twice);
    assert_eq!(height(twice), [1, 2]);
    let lost = {
        let places = Reader::open(&place.open_bare()).unwrap().places();
        let at = places.places(&chunk(below)).unwrap().remove(0);
        places.pack(at.pack).unwrap().id
    };
    let condemned =
        ballast::format::ledger::CondemnV1 { packs: vec![lost], indexes: Vec::new(), snapshots: Vec::new() };
    append(&place.open_bare(), &Event::Condemn(condemned));
    place.store.remove(&lost.into()).unwrap();
    let new = store(begin(), &variant(1, 5), Some(twice));
    assert_eq!(height(new), [3]);
    let reader = Reader::open(&place.open_bare()).unwrap();
    assert!(*reader.blob(BlobKind::Chunk, new).unwrap() == *variant(1, 5));
}

/// A full disk: dead packs go first, and what is left is copied once there is room.
#[test]
fn with_too_little_room_dead_packs_go_first() {
    let scene = scene();
    let place = &scene.place;
    // One that nothing needs at all, of a run that never came to its end.
    let mut session = Session::begin(&place.open_bare(), "snapshot", false, &Silent).unwrap();
    session.store(BlobKind::Chunk, &bytes(900, 80_000)).unwrap();
    session.flush().unwrap();
    drop(session);
    let fault = Arc::new(FaultStore::new(place.store.clone()));
    fault.set_quota(Some((48 << 20) + 20_000));
    let report = prune::run(&place.open_through(fault), &all(), &Silent).unwrap();
    assert!(report.plan.short_of_room && report.plan.repack_packs == 0, "{:?}", report.plan);
    assert!(report.deleted_packs > 0, "{report:?}");
    scene.assert_whole("full");
    pruned(place, &all());
    scene.assert_whole("with room");
    assert_tight(place);
}

/// Stopped at any question it is simply run again.
#[test]
fn stopped_at_any_question() {
    let scene = scene();
    let place = &scene.place;
    let state = place.store.snapshot_state();
    let questions = {
        let calls = support::Calls::default();
        prune::run(&place.open_bare(), &all(), &calls).unwrap();
        calls.asked()
    };
    assert!(questions > 10);
    for n in 1..=questions {
        scene.reset(&state);
        let result = prune::run(&place.open_bare(), &all(), &support::Calls::stopping_at(n));
        assert!(matches!(result, Err(Error::Interrupted) | Ok(_)), "{result:?}");
        scene.assert_whole("stopped");
        pruned(place, &all());
        scene.assert_whole("again");
        assert_tight(place);
    }
}

/// Many small snapshots leave many small packs and index objects: they are merged.
#[test]
fn small_packs_and_index_objects_are_merged() {
    let (_dir, top) = temp();
    let place = Place::default();
    for i in 0..24u64 {
        put(top.join(format!("f{i}")), &bytes(i, 15_000));
        place.take(&top);
    }
    let before = (place.store.count_of(ObjectKind::Pack), place.store.count_of(ObjectKind::Index));
    let ids = committed(&place);
    pruned(&place, &PruneOptions::default());
    let after = (place.store.count_of(ObjectKind::Pack), place.store.count_of(ObjectKind::Index));
    assert!(before.0 >= 48 && before.1 >= 24, "{before:?}");
    assert!(after.0 < before.0 - 20 && after.1 < 8, "{before:?} -> {after:?}");
    for id in ids {
        read_back(&place.open_bare(), id).unwrap();
    }
    assert_same(&place.open(), *committed(&place).last().unwrap(), &top, &look(&top));
}

/// Too little room to store blobs alone: then the bases that they are differences to must stay.
#[test]
fn with_too_little_room_chains_stay_whole() {
    let place = Place::default();
    let chain = chained(&place, 4);
    forget(&place, &[chain[0].0, chain[1].0, chain[2].0]);
    let fault = Arc::new(FaultStore::new(place.store.clone()));
    fault.set_quota(Some((48 << 20) + 20_000));
    let report = prune::run(&place.open_through(fault), &all(), &Silent).unwrap();
    assert!(report.plan.short_of_room && report.plan.unchained_blobs == 0, "{:?}", report.plan);
    assert_chain(&place, &chain[3..]);
    let report = pruned(&place, &all());
    assert_eq!(report.plan.unchained_blobs, 1, "{:?}", report.plan);
    assert_chain(&place, &chain[3..]);
    assert_tight(&place);
}

/// Begins and flushes a session at the first listing of `kind` by a prune.
fn begun_while_it_reads(place: &Arc<Place>, kind: ObjectKind, commit: bool) -> (PruneReport, BlobId) {
    let fault = Arc::new(FaultStore::new(place.store.clone()));
    let open: Arc<std::sync::Mutex<Option<(Session, BlobId)>>> = Arc::default();
    let (theirs, slot, done) = (place.clone(), open.clone(), AtomicBool::new(false));
    fault.set_hook(move |call| {
        if call.method == Method::List && call.kind == Some(kind) && !done.swap(true, Ordering::SeqCst) {
            let repo = theirs.open_bare();
            let mut session = Session::begin(&repo, "snapshot", false, &Silent).unwrap();
            let chunk = session.store(BlobKind::Chunk, &bytes(70, 80_000)).unwrap().id;
            let root = tree_of(&session, chunk, 80_000);
            let flushed = session.flush().unwrap();
            if commit {
                session.commit(&snapshot_of(root), None, flushed).unwrap();
            }
            *slot.lock().unwrap() = Some((session, root));
        }
    });
    let report = prune::run(&place.open_through(fault.clone()), &all(), &Silent).unwrap();
    fault.clear_hook();
    let (mut session, root) = open.lock().unwrap().take().unwrap();
    if !commit {
        session.commit(&snapshot_of(root), None, Vec::new()).unwrap();
    }
    (report, root)
}

fn tree_of(session: &Session, chunk: BlobId, len: u32) -> BlobId {
    let mut node = Node::blank(b"model", NodeKind::File);
    node.content = vec![Entry::Chunk { id: chunk, len }];
    node.size = len.into();
    session.store_tree(vec![node]).unwrap()
}

/// A session begins after prune has listed packs and leases, and lists its packs before prune reads
/// index objects: what is named and was not listed is nobody's to leave out.
#[test]
fn packs_that_were_put_after_the_listing_stay_listed() {
    for (kind, commit) in [
        (ObjectKind::Lease, false),
        (ObjectKind::Ledger, false),
        (ObjectKind::Snapshot, false),
        (ObjectKind::Index, false),
        (ObjectKind::Lease, true),
        (ObjectKind::Ledger, true),
        (ObjectKind::Index, true),
    ] {
        let scene = scene();
        let place = &scene.place;
        let (_, root) = begun_while_it_reads(place, kind, commit);
        place.let_leases_lapse();
        for _ in 0..2 {
            pruned(place, &all());
            let reader = Reader::open(&place.open_bare()).unwrap();
            for blob in blobs_of(&reader, root).unwrap() {
                reader.blob(blob.kind, blob.id).unwrap_or_else(|e| panic!("{kind:?}, {commit}: {e}"));
            }
        }
        scene.assert_whole("beside a session");
    }
}

/// A finished pack of a dead run holds differences to what was pruned since: it is not taken over.
/// If its bases go only later, the run that took it over is told.
#[test]
fn a_pack_whose_bases_are_gone_is_not_adopted() {
    for gone_before in [true, false] {
        let place = Arc::new(Place::default());
        let chain = chained(&place, 1);
        let mut next = chain[0].1.clone();
        (0..30).for_each(|at| next[at * 3000] ^= 1);
        let fault = Arc::new(FaultStore::new(place.store.clone()));
        let repo = place.open_through(fault.clone());
        let mut session = Session::begin(&repo, "snapshot", false, &Silent).unwrap();
        let reader = Reader::with_index(&repo, session.index().clone());
        let base = BlobRef::new(BlobKind::Chunk, chain[0].2);
        let chunk = store_against(&session, &reader, &next, &[base]).unwrap().id;
        // The pack is durable, the index object is not.
        fault.die_at(2, Death::Before);
        session.flush().unwrap_err();
        drop((session, reader));
        fault.assert_all_hit();
        place.let_leases_lapse();
        forget(&place, &[chain[0].0]);
        let take_base_away = |place: &Place| {
            let reader = Reader::open(&place.open_bare()).unwrap();
            let at = reader.places().places(&base).unwrap().remove(0);
            let pack = reader.places().pack(at.pack).unwrap().id;
            let packs = vec![pack];
            let entry =
                ballast::format::ledger::CondemnV1 { packs, indexes: Vec::new(), snapshots: Vec::new() };
            append(&place.open_bare(), &Event::Condemn(entry));
        };
        if gone_before {
            take_base_away(&place);
        }
        let repo = place.open();
        let mut session = Session::begin(&repo, "snapshot", false, &Silent).unwrap();
        assert_eq!(session.stats().adopted_packs, u64::from(!gone_before));
        let stored = session.store(BlobKind::Chunk, &next).unwrap();
        assert_eq!((stored.id, stored.new), (chunk, gone_before));
        let root = tree_of(&session, chunk, 100_000);
        let flushed = session.flush().unwrap();
        if !gone_before {
            take_base_away(&place);
        }
        let id = session.commit(&snapshot_of(root), None, flushed).unwrap();
        assert_eq!(session.stats().rescues, u64::from(!gone_before));
        drop(session);
        place.let_leases_lapse();
        pruned(&place, &all());
        assert_chain(&place, &[(id, next, chunk)]);
    }
}

/// A newer program's word that came in the meantime binds this one too.
#[test]
fn what_is_forbidden_meanwhile_is_not_done() {
    use ballast::format::config::Features;
    use ballast::format::ledger::RaiseV1;
    for kind in [ObjectKind::Pack, ObjectKind::Index, ObjectKind::Ledger] {
        let scene = scene();
        let place = &scene.place;
        let theirs = place.clone();
        let (repo, hit) = interrupted_at(place, kind, 1, move || {
            let features = Features { read_only: 1 << 40, ..Features::default() };
            append(&theirs.open_bare(), &Event::Raise(RaiseV1 { features }));
        });
        let packs = place.names(ObjectKind::Pack);
        let error = prune::run(&repo, &all(), &Silent).unwrap_err();
        assert!(matches!(error, Error::ReadOnlyFeatures { .. }), "{error}");
        assert!(hit.load(Ordering::SeqCst));
        assert!(packs.iter().all(|pack| place.names(ObjectKind::Pack).contains(pack)), "nothing is deleted");
    }
}

/// An index object that was replaced stands until nobody may need it any more. What it names is not
/// named for good: a later prune must not count on it.
#[test]
fn what_only_a_replaced_index_object_names_is_listed_again() {
    let scene = scene();
    let place = &scene.place;
    let begin = |seed: u64| {
        let mut session = Session::begin(&place.open_bare(), "snapshot", false, &Silent).unwrap();
        let chunk = session.store(BlobKind::Chunk, &bytes(seed, 80_000)).unwrap().id;
        session.flush().unwrap();
        (session, chunk)
    };
    let (first, second) = (begin(800), begin(801));
    // Somebody else is at work all the time: nothing is deleted.
    let guard = lease(place);
    let stay = || {
        place.let_leases_lapse();
        place.store.put(&guard.0, &guard.1, ballast::store::PutMode::Replace).unwrap();
    };
    stay();
    let open = std::sync::Mutex::new(Some([first, second]));
    let ids: Arc<std::sync::Mutex<Vec<(SnapshotId, BlobId)>>> = Arc::default();
    let said = ids.clone();
    let (repo, hit) = interrupted_at(place, ObjectKind::Ledger, 1, move || {
        for (mut session, chunk) in open.lock().unwrap().take().unwrap() {
            let root = tree_of(&session, chunk, 80_000);
            let flushed = session.flush().unwrap();
            said.lock().unwrap().push((session.commit(&snapshot_of(root), None, flushed).unwrap(), root));
        }
    });
    let report = prune::run(&repo, &all(), &Silent).unwrap();
    assert!(hit.load(Ordering::SeqCst) && report.condemned_packs > 0 && report.deleted_indexes == 0);
    let ids = ids.lock().unwrap().clone();
    // The pack of one of the two that were spared goes, and with it the object that lists both.
    forget(place, &[ids[0].0]);
    stay();
    assert!(pruned(place, &all()).condemned_packs > 0);
    place.store.remove(&guard.0).unwrap();
    assert!(pruned(place, &all()).deleted_indexes > 0);
    let reader = Reader::open(&place.open_bare()).unwrap();
    for blob in blobs_of(&reader, ids[1].1).unwrap() {
        reader.blob(blob.kind, blob.id).unwrap();
    }
    scene.assert_whole("listed again");
    pruned(place, &all());
    assert_tight(place);
}

/// A snapshot of which the only chunk shares its pack with one that nothing needs.
fn half_a_pack(place: &Place) -> (SnapshotId, Vec<u8>, BlobId) {
    let contents = [bytes(600, 100_000), bytes(601, 100_000)];
    let mut all = Vec::new();
    for content in &contents {
        let mut session = Session::begin(&place.open_bare(), "snapshot", false, &Silent).unwrap();
        // The first stores both; the second has both already.
        let ids = contents.each_ref().map(|c| session.store(BlobKind::Chunk, c).unwrap().id);
        let chunk = ids[usize::from(*content == contents[1])];
        let root = tree_of(&session, chunk, 100_000);
        let flushed = session.flush().unwrap();
        all.push((session.commit(&snapshot_of(root), None, flushed).unwrap(), content.clone(), chunk));
    }
    forget(place, &[all[1].0]);
    all.remove(0)
}

/// Held for dead, a prune is stopped before it condemns; another one keeps the old copies and
/// condemns the new ones. Who ignored that would condemn the last copies.
#[test]
fn what_another_prune_condemned_is_not_counted_on() {
    let mut crossed = 0;
    for _ in 0..16 {
        let place = &Arc::new(Place::default());
        let kept = half_a_pack(place);
        let before = place.names(ObjectKind::Pack);
        let (theirs, mine) = (place.clone(), Arc::new(AtomicU64::new(0)));
        let lost = mine.clone();
        let (repo, hit) = interrupted_at(place, ObjectKind::Ledger, 1, move || {
            theirs.let_leases_lapse();
            let lazy = PruneOptions { max_unused: MaxUnused::Unlimited, ..PruneOptions::default() };
            prune::run(&theirs.open_bare(), &lazy, &Silent).unwrap();
            let left = theirs.names(ObjectKind::Pack);
            let old = before.iter().filter(|pack| left.contains(pack)).count();
            lost.store((left.len() == old).into(), Ordering::SeqCst);
        });
        prune::run(&repo, &all(), &Silent).unwrap();
        assert!(hit.load(Ordering::SeqCst));
        assert_chain(place, std::slice::from_ref(&kept));
        crossed += mine.load(Ordering::SeqCst);
        if crossed > 1 {
            return;
        }
    }
    panic!("the copies of the one that was stopped were never condemned");
}

/// A session that lives lists a difference to what was condemned meanwhile; another has stored the
/// same blob against something else. What cannot be decoded is no reason to call the other one lost.
#[test]
fn a_copy_that_cannot_be_decoded_says_nothing_of_the_others() {
    let place = Place::default();
    let chain = chained(&place, 1);
    let flipped = |step: usize| {
        let mut content = chain[0].1.clone();
        (0..30).for_each(|at| content[at * step] ^= 1);
        content
    };
    let (other, wanted) = (flipped(2500), flipped(3000));
    let repo = place.open_bare();
    let mut session = Session::begin(&repo, "snapshot", false, &Silent).unwrap();
    let other = session.store(BlobKind::Chunk, &other).unwrap().id;
    let root = tree_of(&session, other, 100_000);
    let flushed = session.flush().unwrap();
    let gone = session.commit(&snapshot_of(root), None, flushed).unwrap();
    let base = |n: usize| BlobRef::new(BlobKind::Chunk, [chain[0].2, other][n]);
    forget(&place, &[gone]);
    let mut slow = Session::begin(&repo, "snapshot", false, &Silent).unwrap();
    let reader = Reader::with_index(&repo, slow.index().clone());
    let stored = store_against(&slow, &reader, &wanted, &[base(1)]).unwrap();
    assert!(pruned(&place, &all()).condemned_packs > 0);
    let mut quick = Session::begin(&repo, "snapshot", false, &Silent).unwrap();
    let reader = Reader::with_index(&repo, quick.index().clone());
    assert!(!quick.is_known(&base(1)).unwrap());
    store_against(&quick, &reader, &wanted, &[base(0)]).unwrap();
    let root = tree_of(&quick, stored.id, 100_000);
    let flushed = quick.flush().unwrap();
    let id = quick.commit(&snapshot_of(root), None, flushed).unwrap();
    slow.flush().unwrap();
    pruned(&place, &all());
    drop((slow, quick));
    pruned(&place, &all());
    assert_chain(&place, &[chain[0].clone(), (id, wanted, stored.id)]);
    assert_tight(&place);
}

/// Another prune deletes index objects while this one looks for what a new snapshot needs: the numbers
/// of packs are those of one reading only.
#[test]
fn what_is_spared_is_known_by_name() {
    let scene = scene();
    let place = &scene.place;
    let other = tempfile::tempdir().unwrap();
    let again = other.path().canonicalize().unwrap();
    for i in 0..20u64 {
        put(again.join(format!("f{i}")), &bytes(i, 20_000 + i as usize * 900));
    }
    for n in 0..40u64 {
        let mut session = Session::begin(&place.open_bare(), "snapshot", false, &Silent).unwrap();
        session.store(BlobKind::Chunk, &bytes(9000 + n, 70_000)).unwrap();
        session.flush().unwrap();
    }
    let fault = Arc::new(FaultStore::new(place.store.clone()));
    let (theirs, below, committed_now) = (place.clone(), again.clone(), AtomicBool::new(false));
    let readings = Arc::new(AtomicU64::new(0));
    let seen = readings.clone();
    fault.set_hook(move |call| {
        if call.method == Method::Put
            && call.kind == Some(ObjectKind::Ledger)
            && !committed_now.swap(true, Ordering::SeqCst)
        {
            theirs.take(&below);
        }
        let listing = call.method == Method::List && call.kind == Some(ObjectKind::Index);
        if listing && committed_now.load(Ordering::SeqCst) && seen.fetch_add(1, Ordering::SeqCst) == 1 {
            theirs.let_leases_lapse();
            pruned(&theirs, &all());
        }
    });
    prune::run(&place.open_through(fault.clone()), &all(), &Silent).unwrap();
    assert!(readings.load(Ordering::SeqCst) > 1);
    let newest = *committed(place).last().unwrap();
    assert_same(&place.open_bare(), newest, &again, &look(&again));
    place.let_leases_lapse();
    pruned(place, &all());
    assert_same(&place.open_bare(), newest, &again, &look(&again));
    scene.assert_whole("spared");
    assert_tight(place);
}
