//! The writer's side of the protocol (design §3a) in the small: two sessions at once, a prune
//! in between, a run that is stopped, a store that fails or answers late.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};

use ballast::error::{Error, StoreErrorKind};
use ballast::format::frame::FrameBlob;
use ballast::format::ledger::{CondemnV1, Event, ForgetV1};
use ballast::format::pack::PackKind;
use ballast::id::{BlobKind, ObjectKind, ObjectName, PackId, SessionId, SnapshotId};
use ballast::op::prune::{self, PruneOptions};
use ballast::op::snapshot::{self, Parent, SnapshotOptions};
use ballast::progress::{Progress, Silent};
use ballast::repo::lease::Lease;
use ballast::repo::ledger::{Append, Ledger};
use ballast::repo::outbox::Outbox;
use ballast::repo::session::Session;
use ballast::repo::{OpenOptions, Repository};
use ballast::store::Store;
use ballast::store::call::Method;
use ballast::store::fault::{Effect, Fault, FaultStore};
use support::{Calls, Place, assert_same, bytes, look, of, open_at, put, read_back, repack_everything};

fn temp() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap().join("source");
    fs::create_dir(&top).unwrap();
    (dir, top)
}

fn source(top: &std::path::Path) {
    for i in 0..12u64 {
        put(top.join(format!("d{}/f{i}", i % 3)), &bytes(i, 30_000 + i as usize * 3000));
    }
}

/// The repository through a store that runs `act` once, before the first put of `kind`.
fn interrupted_at(place: &Place, kind: ObjectKind, act: impl Fn() + Send + Sync + 'static) -> Repository {
    let fault = Arc::new(FaultStore::new(place.store.clone()));
    let done = AtomicBool::new(false);
    fault.set_hook(move |call| {
        if call.method == Method::Put && call.kind == Some(kind) && !done.swap(true, Ordering::SeqCst) {
            act();
        }
    });
    place.open_through(fault)
}

fn append(repo: &Repository, event: &Event) {
    let mut ledger = Ledger::read(repo).unwrap();
    assert_eq!(ledger.append(repo, SessionId([7; 16]), event).unwrap(), Append::Done);
}

fn committed(place: &Place) -> Vec<SnapshotId> {
    place.open_bare().ledger(true).unwrap().committed()
}

fn everything_committed_is_whole(place: &Place) {
    let repo = place.open_bare();
    for id in committed(place) {
        read_back(&repo, id).unwrap();
    }
}

#[test]
fn an_entry_that_another_takes_first() {
    let (_dir, top) = temp();
    source(&top);
    let place = Arc::new(Place::default());
    let (theirs, below) = (place.clone(), top.join("d1"));
    let repo = interrupted_at(&place, ObjectKind::Ledger, move || {
        snapshot::run(&theirs.open_bare(), &of(&below), &Silent).unwrap();
    });
    let ours = snapshot::run(&repo, &of(&top), &Silent).unwrap().snapshot.unwrap();
    let ledger = place.open_bare().ledger(true).unwrap();
    assert_eq!(ledger.head(), 2);
    assert_eq!(ledger.committed()[1], ours, "ours came second");
    assert_same(&place.open_bare(), ours, &top, &look(&top));
    everything_committed_is_whole(&place);
    assert_eq!(place.store.count_of(ObjectKind::Lease), 0);
}

#[test]
fn two_hosts_at_once_and_two_threads_with_one_cache() {
    let (_dir, top) = temp();
    source(&top);
    for shared_cache in [true, false] {
        let place = Place::default();
        let other = tempfile::tempdir().unwrap();
        for turn in 0..4u64 {
            let start = Barrier::new(2);
            let ids: Vec<SnapshotId> = std::thread::scope(|scope| {
                let threads = [0, 1].map(|i| {
                    let (place, start, other, top) = (&place, &start, &other, &top);
                    scope.spawn(move || {
                        let cache_dir =
                            if i == 0 || shared_cache { place.cache.path() } else { other.path() };
                        let options = OpenOptions { cache_dir: Some(cache_dir.into()), ..place.options() };
                        let repo = open_at(place.store.clone(), &options).unwrap();
                        start.wait();
                        let options = if i == 0 { of(top) } else { of(top.join("d1")) };
                        snapshot::run(&repo, &options, &Silent).unwrap().snapshot.unwrap()
                    })
                });
                threads.map(|t| t.join().unwrap()).into()
            });
            let repo = place.open();
            assert_same(&repo, ids[0], &top, &look(&top));
            assert_same(&repo, ids[1], &top.join("d1"), &look(&top.join("d1")));
            put(top.join(format!("d1/turn{turn}")), &bytes(500 + turn, 80_000));
        }
        assert_eq!(committed(&place).len(), 8);
        everything_committed_is_whole(&place);
    }
}

/// What a session relies on is condemned and deleted before it commits: it begins anew.
#[test]
fn a_prune_in_between() {
    for kind in [ObjectKind::Pack, ObjectKind::Snapshot, ObjectKind::Ledger] {
        for cache in [true, false] {
            let (_dir, top) = temp();
            source(&top);
            let place = Arc::new(Place::default());
            let first = place.take(&top).snapshot.unwrap();
            put(top.join("new"), &bytes(90, 70_000));
            let theirs = place.clone();
            let act = move || {
                append(
                    &theirs.open_bare(),
                    &Event::Forget(ForgetV1 { snapshots: vec![first], reason: "test".into() }),
                );
                let packs: Vec<PackId> = {
                    let ledger = theirs.open_bare().ledger(true).unwrap();
                    let index = ballast::repo::index::Index::open(&theirs.open_bare(), &ledger).unwrap();
                    index.packs().iter().map(|p| p.id).collect()
                };
                let condemn = CondemnV1 { packs: packs.clone(), indexes: vec![], snapshots: vec![first] };
                append(&theirs.open_bare(), &Event::Condemn(condemn));
                packs.iter().for_each(|id| theirs.store.remove(&(*id).into()).unwrap());
                theirs.store.remove(&first.into()).unwrap();
            };
            let (fault, done) = (Arc::new(FaultStore::new(place.store.clone())), AtomicBool::new(false));
            fault.set_hook(move |call| {
                if call.method == Method::Put && call.kind == Some(kind) && !done.swap(true, Ordering::SeqCst)
                {
                    act();
                }
            });
            let cache_dir = cache.then(|| place.cache.path().to_owned());
            let repo = open_at(fault, &OpenOptions { cache_dir, ..place.options() }).unwrap();
            let report = snapshot::run(&repo, &of(&top), &Silent).unwrap();
            assert_eq!(report.parent, None, "it was begun anew: {kind:?}");
            assert_eq!(committed(&place), [report.snapshot.unwrap()]);
            assert_same(&place.open_bare(), report.snapshot.unwrap(), &top, &look(&top));
            assert_same(&place.open(), report.snapshot.unwrap(), &top, &look(&top));
            let next = place.take(&top);
            assert_eq!((next.read_bytes, next.parent), (0, report.snapshot));
        }
    }
}

/// A prune that moves what this run's parent has, without forgetting it.
#[test]
fn a_repacking_in_between() {
    for forced in [false, true] {
        let (_dir, top) = temp();
        source(&top);
        let place = Arc::new(Place::default());
        place.take(&top);
        put(top.join("new"), &bytes(91, 70_000));
        let theirs = place.clone();
        let repo = interrupted_at(&place, ObjectKind::Snapshot, move || {
            repack_everything(&theirs.open_bare());
        });
        let options = SnapshotOptions { force: forced, ..of(&top) };
        let report = snapshot::run(&repo, &options, &Silent).unwrap();
        assert_same(&place.open_bare(), report.snapshot.unwrap(), &top, &look(&top));
        assert_same(&place.open(), report.snapshot.unwrap(), &top, &look(&top));
        let next = place.run(&SnapshotOptions { force: true, ..of(&top) }).unwrap();
        assert_same(&place.open_bare(), next.snapshot.unwrap(), &top, &look(&top));
        everything_committed_is_whole(&place);
    }
}

/// A prune that held this session for dead condemns and deletes the snapshot object it has put but
/// not committed yet.
#[test]
fn a_snapshot_condemned_before_its_commit_is_not_committed() {
    let (_dir, top) = temp();
    source(&top);
    let place = Arc::new(Place::default());
    place.take(&top);
    let theirs = place.clone();
    let repo = interrupted_at(&place, ObjectKind::Ledger, move || {
        let ledger = theirs.open_bare().ledger(true).unwrap();
        let dead: Vec<SnapshotId> = theirs
            .names(ObjectKind::Snapshot)
            .iter()
            .map(|n| n.name.parse().unwrap())
            .filter(|id| !ledger.committed().contains(id))
            .collect();
        assert_eq!(dead.len(), 1);
        append(
            &theirs.open_bare(),
            &Event::Condemn(CondemnV1 { packs: Vec::new(), indexes: Vec::new(), snapshots: dead.clone() }),
        );
        dead.iter().for_each(|id| theirs.store.remove(&(*id).into()).unwrap());
    });
    let report = snapshot::run(&repo, &of(&top), &Silent).unwrap();
    assert_same(&place.open_bare(), report.snapshot.unwrap(), &top, &look(&top));
    everything_committed_is_whole(&place);
}

/// A run that is overtaken again and again gives up with a clear word, and harms nothing.
#[test]
fn a_run_that_is_always_overtaken_gives_up() {
    let (_dir, top) = temp();
    source(&top);
    let place = Arc::new(Place::default());
    let fault = Arc::new(FaultStore::new(place.store.clone()));
    let theirs = place.clone();
    fault.set_hook(move |call| {
        if call.method == Method::Put && call.kind == Some(ObjectKind::Ledger) {
            let packs = theirs.names(ObjectKind::Pack).iter().map(|n| n.name.parse().unwrap()).collect();
            let event = Event::Condemn(CondemnV1 { packs, indexes: vec![], snapshots: vec![] });
            append(&theirs.open_bare(), &event);
        }
    });
    let result = snapshot::run(&place.open_through(fault.clone()), &of(&top), &Silent);
    assert!(matches!(result, Err(Error::Overtaken { .. })), "{result:?}");
    assert!(committed(&place).is_empty());
    assert_eq!(place.store.count_of(ObjectKind::Lease), 0);
    fault.clear_hook();
    let report = place.take(&top);
    assert_same(&place.open_bare(), report.snapshot.unwrap(), &top, &look(&top));
}

/// The index vouches for it, but a prune that comes later may take it away without a word to
/// whoever stands on it: it was forgotten before the session began.
#[test]
fn what_was_forgotten_is_no_parent() {
    let (_dir, top) = temp();
    source(&top);
    let place = Place::default();
    let first = place.take(&top).snapshot.unwrap();
    append(&place.open_bare(), &Event::Forget(ForgetV1 { snapshots: vec![first], reason: "test".into() }));
    let given = SnapshotOptions { parent: Parent::Given(first), ..of(&top) };
    assert!(matches!(place.run(&given), Err(Error::NotFound { .. })));
    assert_eq!(place.take(&top).parent, None);
    let never = SnapshotOptions { parent: Parent::Given(SnapshotId([3; 32])), ..of(&top) };
    assert!(matches!(place.run(&never), Err(Error::NotFound { .. })));
}

#[test]
fn stopped_at_any_question_the_next_run_goes_on() {
    let (_dir, top) = temp();
    source(&top);
    put(top.join("large"), &bytes(40, 20 << 20));
    put(top.join("large2"), &bytes(41, 5 << 20));
    let questions = {
        let calls = Calls::default();
        snapshot::run(&Place::default().open(), &of(&top), &calls).unwrap();
        calls.asked()
    };
    assert!(questions > 20, "{questions}");
    let mut adopted = 0;
    for n in (1..=questions).step_by(4) {
        let place = Place::default();
        let result = snapshot::run(&place.open(), &of(&top), &Calls::stopping_at(n));
        assert!(matches!(result, Err(Error::Interrupted)), "at {n}: {result:?}");
        assert_eq!(place.store.count_of(ObjectKind::Lease), 0);
        assert!(committed(&place).is_empty());
        let finished = place.store.count_of(ObjectKind::Pack);
        if n % 3 == 0 || finished > 50 {
            let report = place.take(&top);
            adopted += report.adopted_packs;
            assert_same(&place.open(), report.snapshot.unwrap(), &top, &look(&top));
            assert!(place.store.bytes_of(ObjectKind::Pack) < 27 << 20, "nothing is stored twice");
        }
    }
    assert!(adopted > 0);
}

/// A worker that panics ends the run; it does not leave it waiting for ever.
#[test]
fn a_worker_that_panics_ends_the_run() {
    struct Panicking(&'static str, AtomicU64);
    impl Progress for Panicking {
        fn stop_requested(&self) -> bool {
            let here = std::thread::current().name().unwrap_or_default().starts_with("ballast-cpu");
            if here && self.1.fetch_add(1, Ordering::SeqCst) == 3 {
                panic!("{}", self.0);
            }
            false
        }
    }
    let (_dir, top) = temp();
    source(&top);
    let place = Place::default();
    let progress = Panicking("on purpose", AtomicU64::new(0));
    let result = snapshot::run(&place.open(), &of(&top), &progress);
    assert!(matches!(result, Err(Error::Internal(_))), "{result:?}");
    assert_eq!(place.store.count_of(ObjectKind::Lease), 0);
    assert!(committed(&place).is_empty());
    let report = place.take(&top);
    assert_same(&place.open(), report.snapshot.unwrap(), &top, &look(&top));
}

#[test]
fn a_store_that_fails_once_fails_the_run_with_its_own_words() {
    let (_dir, top) = temp();
    source(&top);
    let kinds =
        [ObjectKind::Lease, ObjectKind::Pack, ObjectKind::Index, ObjectKind::Snapshot, ObjectKind::Ledger];
    for kind in kinds {
        for effect in [Effect::Fail(StoreErrorKind::Full), Effect::LostAnswer(StoreErrorKind::Transient)] {
            let place = Place::default();
            let fault = Arc::new(FaultStore::new(place.store.clone()));
            fault.add(Fault::new(Method::Put, effect).on(kind));
            let repo = place.open_through(fault.clone());
            let result = snapshot::run(&repo, &of(&top), &Silent);
            fault.assert_all_hit();
            let error = result.unwrap_err().to_string();
            assert!(error.contains("scripted fault"), "{kind:?} {effect:?}: {error}");
            // The same repository handle can be used again.
            let report = snapshot::run(&repo, &of(&top), &Silent).unwrap();
            assert_same(&place.open(), report.snapshot.unwrap(), &top, &look(&top));
            everything_committed_is_whole(&place);
            assert_eq!(place.store.count_of(ObjectKind::Lease), u64::from(false));
        }
    }
}

/// A name that is taken by what cannot be found must not be tried for ever.
#[test]
fn a_ledger_that_contradicts_itself() {
    let (_dir, top) = temp();
    source(&top);
    let place = Place::default();
    let fault = Arc::new(FaultStore::new(place.store.clone()));
    fault.add(
        Fault::new(Method::Put, Effect::Fail(StoreErrorKind::AlreadyExists))
            .on(ObjectKind::Ledger)
            .for_ever(),
    );
    let result = snapshot::run(&place.open_through(fault), &of(&top), &Silent);
    assert!(matches!(&result, Err(Error::Corrupt { object, .. }) if object == "ledger/1"), "{result:?}");
}

/// Whether creation is atomic is found out by trying; a failure of another kind says nothing.
#[test]
fn init_does_not_mistake_a_failure_for_atomic_creation() {
    let store = Arc::new(ballast::store::memory::MemoryStore::new());
    let fault = Arc::new(FaultStore::new(store));
    fault.add(Fault::new(Method::Put, Effect::Fail(StoreErrorKind::Transient)).on(ObjectKind::Lease).nth(2));
    let init = || {
        let options = OpenOptions::default();
        Repository::init(fault.clone(), b"p", &support::tiny(), &options, support::surroundings())
    };
    assert!(matches!(init(), Err(Error::Store(_))));
    fault.assert_all_hit();
    assert_eq!(init().unwrap().config().store_mode, 1, "and it can be tried again");
}

/// A store that overwrites whatever it is told: its ledger entries bear their sessions.
struct Overwriting(Arc<ballast::store::memory::MemoryStore>, Mutex<u64>);

impl Store for Overwriting {
    fn location(&self) -> String {
        self.0.location()
    }
    fn prepare(&self) -> ballast::store::StoreResult<()> {
        self.0.prepare()
    }
    fn put(
        &self,
        name: &ObjectName,
        bytes: &[u8],
        _mode: ballast::store::PutMode,
    ) -> ballast::store::StoreResult<()> {
        self.0.put(name, bytes, ballast::store::PutMode::Replace)
    }
    fn get(&self, name: &ObjectName, limit: u64) -> ballast::store::StoreResult<Vec<u8>> {
        self.0.get(name, limit)
    }
    fn get_range(&self, name: &ObjectName, at: u64, len: usize) -> ballast::store::StoreResult<Vec<u8>> {
        self.0.get_range(name, at, len)
    }
    fn stat(&self, name: &ObjectName) -> ballast::store::StoreResult<ballast::store::ObjectStat> {
        self.0.stat(name)
    }
    fn list(&self, kind: ObjectKind) -> ballast::store::StoreResult<Vec<String>> {
        *self.1.lock().unwrap() += u64::from(kind == ObjectKind::Ledger);
        self.0.list(kind)
    }
    fn remove(&self, name: &ObjectName) -> ballast::store::StoreResult<()> {
        self.0.remove(name)
    }
}

#[test]
fn a_store_without_atomic_creation() {
    let (_dir, top) = temp();
    source(&top);
    let memory = Arc::new(ballast::store::memory::MemoryStore::new());
    let store = Arc::new(Overwriting(memory.clone(), Mutex::new(0)));
    let options = OpenOptions::default();
    let repo = Repository::init(
        store.clone(),
        support::PASSWORD,
        &support::tiny(),
        &options,
        support::surroundings(),
    )
    .unwrap();
    assert_eq!(repo.config().store_mode, 0);
    // Both begin from the same head and write the same number: both count.
    let start = Barrier::new(2);
    std::thread::scope(|scope| {
        for below in ["d0", "d1"] {
            let (repo, start, path) = (repo.clone(), &start, top.join(below));
            scope.spawn(move || {
                start.wait();
                snapshot::run(&repo, &of(path), &Silent).unwrap();
            });
        }
    });
    for _ in 0..5 {
        snapshot::run(&repo, &of(&top), &Silent).unwrap();
    }
    let before = *store.1.lock().unwrap();
    let fresh = open_at(store.clone(), &options).unwrap();
    let ledger = fresh.ledger(true).unwrap();
    assert_eq!(ledger.committed().len(), 7);
    for id in ledger.committed() {
        read_back(&fresh, id).unwrap();
    }
    assert!(*store.1.lock().unwrap() - before < 20, "one listing for a reading, not one for each number");
    assert!(memory.names().iter().any(|n| n.kind == ObjectKind::Ledger && n.name.contains('-')));

    // A prune runs alone there, and nobody begins beside one; who is dead is taken away first.
    let prune = |repo: &Repository| prune::run(repo, &PruneOptions::default(), &Silent).map(drop);
    let writer = Session::begin(&fresh, "snapshot", false, &Silent).unwrap();
    let refused = prune(&fresh);
    assert!(matches!(&refused, Err(Error::Locked { by }) if by.contains("snapshot")), "{refused:?}");
    drop(writer);
    prune(&fresh).unwrap();
    let other = SessionId([9; 16]);
    let pruner = Lease::take(&fresh, other, "prune").unwrap();
    let refused = snapshot::run(&fresh, &of(&top), &Silent);
    assert!(matches!(&refused, Err(Error::Locked { by }) if by.contains("a prune of")), "{refused:?}");
    drop(pruner);
    snapshot::run(&fresh, &of(&top), &Silent).unwrap();
    assert_eq!(memory.names().iter().filter(|n| n.kind == ObjectKind::Lease).count(), 0);
}

/// Attributes may make a directory's nodes longer than a blob may be, however few they are.
#[test]
fn a_directory_of_huge_attributes() {
    use ballast::format::tree::EXT_XATTRS;
    use ballast::format::wire::Extension;
    use ballast::repo::reader::Reader;
    use ballast::repo::session::Session;
    use ballast::source::{At, Names, node_of};

    let (_dir, top) = temp();
    put(top.join("file"), b"x");
    let at = At::of_path(&top.join("file")).unwrap();
    let (model, _) = node_of(&at, &at.stat().unwrap(), &Names::new());
    let node = |i: u64| {
        let mut node = model.clone();
        node.name = format!("{i:05}").into_bytes().into();
        let data = bytes(i, 64 << 10).into();
        node.extensions = vec![Extension { tag: EXT_XATTRS, critical: false, data }];
        node
    };
    let nodes: Vec<_> = (0..400).map(node).collect();
    let place = Place::default();
    let mut session = Session::begin(&place.open(), "test", false, &Silent).unwrap();
    let id = session.store_tree(nodes.clone()).unwrap();
    session.flush().unwrap();
    let (found, parts) = Reader::open(&place.open_bare()).unwrap().tree_with_parts(id).unwrap();
    assert!(found == nodes && parts.len() > 2);
}

/// While a full pack waits for a storing thread nobody fills another one, however many write: memory is
/// bounded by what is open, what is being stored, and one more.
#[test]
fn a_slow_store_holds_up_those_who_write() {
    const WRITERS: u64 = 8;
    const FRAME_BYTES: u64 = 16 << 10;
    let place = Place::default();
    let fault = Arc::new(FaultStore::new(place.store.clone()));
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let shut = gate.clone();
    fault.set_hook(move |call| {
        if call.method == Method::Put && call.kind == Some(ObjectKind::Pack) {
            let open = shut.0.lock().unwrap();
            drop(shut.1.wait_while(open, |open| !*open).unwrap());
        }
    });
    let repo = place.open_through(fault);
    let mut outbox = Outbox::start(&repo, SessionId([3; 16]));
    let taken = AtomicU64::new(0);
    let write = |writer: u64| {
        for n in 0..40 {
            let plain = bytes(1000 * writer + n, FRAME_BYTES as usize);
            let id = repo.blob_id(BlobKind::Chunk, &plain);
            let blob = FrameBlob { kind: BlobKind::Chunk as u8, len: FRAME_BYTES as u32, id };
            outbox.write(PackKind::Data, &plain, vec![blob]).unwrap();
            taken.fetch_add(1, Ordering::SeqCst);
        }
    };
    std::thread::scope(|scope| {
        (0..WRITERS).for_each(|writer| drop(scope.spawn(move || write(writer))));
        let settled = || {
            let before = taken.load(Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(200));
            (before == taken.load(Ordering::SeqCst) && before > 0).then_some(before)
        };
        let held = std::iter::repeat_with(settled).flatten().next().unwrap();
        // Packs of at most 256 KiB: two open, two that are being stored, one that waits.
        assert!(held * FRAME_BYTES <= 5 * (256 << 10), "{held} frames were taken in");
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
    });
    assert_eq!(taken.load(Ordering::SeqCst), WRITERS * 40);
    let listed: usize =
        outbox.flush().unwrap().iter().flat_map(|(_, o)| &o.packs).map(|p| p.frames.len()).sum();
    assert_eq!(listed as u64, WRITERS * 40);
}
