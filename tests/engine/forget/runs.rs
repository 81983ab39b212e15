//! Forgetting in a repository: what is written, in which order, and beside other runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ballast::error::{Error, Result};
use ballast::format::ledger::Event;
use ballast::id::{ObjectKind, SnapshotId};
use ballast::op::forget::{self, ForgetOptions, ForgetReport, GroupBy, KeepPolicy, Period};
use ballast::op::snapshot::{self, SnapshotOptions};
use ballast::progress::Silent;
use ballast::repo::clerk::{Clerk, MAX_FORGOTTEN_IDS};
use ballast::repo::snapshots::Filter;
use ballast::repo::{OpenOptions, Repository};
use ballast::store::Store;
use ballast::store::call::Method;
use ballast::store::fault::{Death, Effect, Fault, FaultStore};
use ballast::store::record::RecordStore;
use support::{Place, Seen, assert_died_or_done, assert_same, bytes, look, of, open_at, put, read_back};

const DAY_NS: i64 = 86_400_000_000_000;
const BEGIN_NS: i64 = 1_700_000_000 * 1_000_000_000;

struct Scene {
    _dir: tempfile::TempDir,
    top: PathBuf,
    place: Arc<Place>,
    /// Oldest first, each with what it holds.
    all: Vec<(SnapshotId, BTreeMap<PathBuf, Seen>)>,
}

impl Scene {
    /// A snapshot each day.
    fn new(count: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap().join("source");
        let place = Arc::new(Place::default());
        let mut scene = Self { _dir: dir, top, place, all: Vec::new() };
        put(scene.top.join("same"), &bytes(1, 30_000));
        (0..count).for_each(|_| scene.next());
        scene
    }

    fn next(&mut self) {
        let n = self.all.len() as u64;
        put(self.top.join("changing"), &bytes(100 + n, 20_000));
        let options = SnapshotOptions { time_ns: Some(BEGIN_NS + n as i64 * DAY_NS), ..of(&self.top) };
        let id = snapshot::run(&self.place.open_bare(), &options, &Silent).unwrap().snapshot.unwrap();
        self.all.push((id, look(&self.top)));
    }

    fn ids(&self) -> Vec<SnapshotId> {
        self.all.iter().map(|(id, _)| *id).collect()
    }

    fn committed(&self) -> Vec<SnapshotId> {
        self.place.open_bare().ledger(true).unwrap().committed()
    }

    fn forget(&self, options: &ForgetOptions) -> Result<ForgetReport> {
        forget::run(&self.place.open_bare(), options, &Silent)
    }

    /// Everything that counts comes back as it was.
    fn is_whole(&self) {
        let repo = self.place.open_bare();
        for id in self.committed() {
            match self.all.iter().find(|(known, _)| *known == id) {
                Some((_, seen)) => assert_same(&repo, id, &self.top, seen),
                None => drop(read_back(&repo, id).unwrap()),
            }
        }
    }

    fn objects(&self) -> Vec<SnapshotId> {
        let mut ids: Vec<SnapshotId> =
            self.place.names(ObjectKind::Snapshot).iter().map(|n| n.name.parse().unwrap()).collect();
        ids.sort();
        ids
    }

    /// Through a store that runs `act` once, before the first put of `kind`.
    fn interrupted_at(&self, kind: ObjectKind, act: impl Fn() + Send + Sync + 'static) -> Repository {
        let fault = Arc::new(FaultStore::new(self.place.store.clone()));
        let done = AtomicBool::new(false);
        fault.set_hook(move |call| {
            if call.method == Method::Put && call.kind == Some(kind) && !done.swap(true, Ordering::SeqCst) {
                act();
            }
        });
        open_at(fault, &OpenOptions { cache_dir: None, ..self.place.options() }).unwrap()
    }
}

fn sorted(ids: &[SnapshotId]) -> Vec<SnapshotId> {
    let mut ids = ids.to_vec();
    ids.sort();
    ids
}

fn last(n: u32) -> ForgetOptions {
    ForgetOptions { policy: KeepPolicy::new().keep(Period::Last, n), ..ForgetOptions::default() }
}

fn these(ids: &[SnapshotId]) -> ForgetOptions {
    ForgetOptions { ids: ids.to_vec(), ..ForgetOptions::default() }
}

#[test]
fn what_is_not_kept_is_gone_and_the_rest_is_whole() {
    let scene = Scene::new(5);
    let ids = scene.ids();
    let dry = scene.forget(&ForgetOptions { dry_run: true, ..last(2) }).unwrap();
    assert_eq!((dry.forgotten.as_slice(), dry.kept), (&ids[..3], 2));
    assert_eq!(scene.committed(), ids, "a dry run writes nothing");
    assert_eq!(scene.place.store.count_of(ObjectKind::Lease), 0);
    let report = scene.forget(&last(2)).unwrap();
    assert_eq!((report.forgotten.as_slice(), report.entries.as_slice()), (&ids[..3], &[6][..]));
    assert_eq!(report.removed_objects, 3);
    assert_eq!(scene.committed(), ids[3..]);
    assert_eq!(scene.objects(), sorted(&ids[3..]));
    scene.is_whole();
    let again = scene.forget(&last(2)).unwrap();
    assert!(again.forgotten.is_empty() && again.entries.is_empty());
    assert_eq!(scene.place.open_bare().ledger(true).unwrap().head(), 6, "nothing to say, no entry");
    let report = scene.forget(&these(&[ids[4], ids[4], ids[0]])).unwrap();
    assert_eq!(report.forgotten, [ids[4]], "what is forgotten already is no error");
    assert!(matches!(scene.forget(&these(&[SnapshotId([9; 32])])), Err(Error::NotFound { .. })));
    assert_eq!(scene.committed(), [ids[3]]);
}

#[test]
fn nothing_goes_by_accident() {
    let scene = Scene::new(3);
    let ids = scene.ids();
    let tagged = |tag: &str| {
        let mut policy = KeepPolicy::new();
        policy.tags = vec![vec![tag.into()]];
        ForgetOptions { policy, ..ForgetOptions::default() }
    };
    for options in [
        ForgetOptions::default(),
        tagged("none"),
        last(0),
        ForgetOptions { ids: vec![ids[0]], ..last(1) },
        ForgetOptions { dry_run: true, ..tagged("none") },
    ] {
        assert!(matches!(scene.forget(&options), Err(Error::Usage(_))), "{options:?}");
    }
    // One that is dated in the future is no reason to let all others go.
    let far = i64::MAX / 2;
    let options = SnapshotOptions { time_ns: Some(far), ..of(&scene.top) };
    let future = snapshot::run(&scene.place.open_bare(), &options, &Silent).unwrap().snapshot.unwrap();
    assert!(matches!(scene.forget(&tagged("none")), Err(Error::Usage(_))));
    assert_eq!(scene.committed().len(), 4);
    assert_eq!(scene.place.store.count_of(ObjectKind::Lease), 0);
    scene.forget(&last(1)).unwrap();
    assert_eq!(scene.committed(), [ids[2], future], "nor does it take the place of a real one");
    scene.forget(&ForgetOptions { allow_empty: true, ..tagged("none") }).unwrap();
    assert_eq!(scene.committed(), [future]);
    scene.forget(&these(&[future])).unwrap();
    assert!(scene.committed().is_empty(), "by id the last one may go");
}

#[test]
fn every_group_has_its_own_policy() {
    let scene = Scene::new(2);
    let mut ids = scene.ids();
    for (host, tags) in [("there", vec![]), ("there", vec!["a".to_owned()]), ("there", vec![])] {
        let n = ids.len() as i64;
        let options = SnapshotOptions {
            host: Some(host.into()),
            tags,
            time_ns: Some(BEGIN_NS + n * DAY_NS),
            ..of(&scene.top)
        };
        let taken = snapshot::run(&scene.place.open_bare(), &options, &Silent).unwrap();
        ids.push(taken.snapshot.unwrap());
    }
    let gone =
        |options: ForgetOptions| scene.forget(&ForgetOptions { dry_run: true, ..options }).unwrap().forgotten;
    assert_eq!(gone(last(1)), [ids[0], ids[2], ids[3]]);
    let by = |host, paths, tags| ForgetOptions { group_by: GroupBy { host, paths, tags }, ..last(1) };
    assert_eq!(gone(by(false, false, false)), ids[..4]);
    assert_eq!(sorted(&gone(by(true, false, true))), sorted(&[ids[0], ids[2]]));
    let filter = Filter { hosts: vec!["there".into()], ..Filter::default() };
    assert_eq!(gone(ForgetOptions { filter, ..last(1) }), ids[2..4]);
}

#[test]
fn one_that_cannot_be_read_goes_by_its_id_only() {
    for gone in [false, true] {
        let scene = Scene::new(4);
        let ids = scene.ids();
        if gone {
            scene.place.store.remove(&ids[0].into()).unwrap();
        } else {
            assert!(scene.place.store.tamper(&ids[0].into(), |b| b[60] ^= 1));
        }
        let report = scene.forget(&last(1)).unwrap();
        assert_eq!(report.forgotten, ids[1..3]);
        assert_eq!(report.unreadable.len(), 1);
        assert_eq!(scene.committed(), [ids[0], ids[3]]);
        let report = scene.forget(&these(&[ids[0]])).unwrap();
        assert_eq!((report.forgotten.as_slice(), report.groups[0].snapshots[0].time_ns), (&ids[..1], None));
        assert_eq!(scene.committed(), [ids[3]]);
        assert_eq!(scene.objects(), [ids[3]]);
    }
}

/// The entry comes first, the objects after. Whenever the store dies, what counts is whole, nothing counts
/// no longer but what should not, and the next run brings it to its end.
#[test]
fn the_store_dies_at_every_change() {
    let scene = Scene::new(4);
    let ids = scene.ids();
    let state = scene.place.store.snapshot_state();
    let attempt = |death: Option<(u64, Death)>| {
        scene.place.store.restore_state(&state);
        let fault = Arc::new(FaultStore::new(scene.place.store.clone()));
        let record = Arc::new(RecordStore::new(fault.clone()));
        let options = OpenOptions { cache_dir: None, ..scene.place.options() };
        let repo = open_at(record.clone(), &options).unwrap();
        if let Some((n, death)) = death {
            fault.die_at(n, death);
        }
        let done = forget::run(&repo, &last(1), &Silent);
        assert_died_or_done(&fault, &done);
        (done, fault.mutations(), record)
    };
    let (done, mutations, record) = attempt(None);
    done.unwrap();
    assert!(mutations >= 7, "two leases, an entry, three objects, the lease: {mutations}");
    let calls = record.calls();
    let entry =
        calls.iter().position(|c| c.call.kind == Some(ObjectKind::Ledger) && c.call.method == Method::Put);
    let removal = calls
        .iter()
        .position(|c| c.call.kind == Some(ObjectKind::Snapshot) && c.call.method == Method::Remove);
    assert!(entry.unwrap() < removal.unwrap());
    let mut left_behind = 0;
    for n in 1..=mutations {
        for death in [Death::Before, Death::Torn, Death::After] {
            let (done, _, record) = attempt(Some((n, death)));
            let hit = record.calls().into_iter().rfind(|r| !r.ok && r.call.method == Method::Put);
            if death == Death::Torn && hit.is_some_and(|r| r.call.kind == Some(ObjectKind::Ledger)) {
                // A record of a chosen name is given at once or not at all.
                continue;
            }
            let what = format!("{death:?} at {n}");
            scene.place.let_leases_lapse();
            let committed = scene.committed();
            assert!(committed == ids || committed == ids[3..], "{what}: {committed:?}");
            if done.is_ok() {
                assert_eq!(committed, ids[3..], "{what}");
            }
            scene.is_whole();
            left_behind += usize::from(committed.len() == 1 && scene.objects().len() > 1);
            scene.forget(&last(1)).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(scene.committed(), ids[3..], "{what}");
            assert_eq!(scene.objects(), [ids[3]], "{what}: objects of forgotten snapshots are swept");
            scene.is_whole();
        }
    }
    assert!(left_behind > 0, "some run died between entry and objects");
}

#[test]
fn an_object_that_stays_is_told_and_does_no_harm() {
    let scene = Scene::new(2);
    let ids = scene.ids();
    let fault = Arc::new(FaultStore::new(scene.place.store.clone()));
    let denied = Effect::Fail(ballast::error::StoreErrorKind::Denied);
    fault.add(Fault::new(Method::Remove, denied).on(ObjectKind::Snapshot));
    let repo = open_at(fault, &OpenOptions { cache_dir: None, ..scene.place.options() }).unwrap();
    let report = forget::run(&repo, &last(1), &Silent).unwrap();
    assert_eq!(report.left_objects.len(), 1);
    assert_eq!(scene.committed(), [ids[1]]);
    let next = scene.forget(&last(1)).unwrap();
    assert_eq!((next.removed_objects, next.forgotten.len()), (1, 0));
}

/// Two runs at once: what the first one meant to keep is forgotten by the second. Decided on what is
/// there now, one snapshot stays.
#[test]
fn another_run_forgets_what_this_one_keeps() {
    let scene = Scene::new(3);
    let ids = scene.ids();
    let (theirs, newest) = (scene.place.clone(), ids[2]);
    let repo = scene.interrupted_at(ObjectKind::Ledger, move || {
        forget::run(&theirs.open_bare(), &these(&[newest]), &Silent).unwrap();
    });
    let report = forget::run(&repo, &last(1), &Silent).unwrap();
    assert_eq!(report.forgotten, ids[..1]);
    assert_eq!(scene.committed(), ids[1..2]);
    scene.is_whole();
}

#[test]
fn a_snapshot_is_committed_in_between() {
    let scene = Scene::new(3);
    let (theirs, top) = (scene.place.clone(), scene.top.clone());
    let repo = scene.interrupted_at(ObjectKind::Ledger, move || {
        let options = SnapshotOptions { time_ns: Some(BEGIN_NS + 9 * DAY_NS), ..of(&top) };
        snapshot::run(&theirs.open_bare(), &options, &Silent).unwrap();
    });
    let report = forget::run(&repo, &last(1), &Silent).unwrap();
    assert_eq!(report.forgotten, scene.ids(), "decided anew: the newest one is another now");
    assert_eq!(scene.committed().len(), 1);
    scene.is_whole();
}

/// W5: who stands on a parent that is forgotten begins anew.
#[test]
fn the_parent_of_a_running_snapshot_is_forgotten() {
    for kind in [ObjectKind::Pack, ObjectKind::Snapshot, ObjectKind::Ledger] {
        let scene = Scene::new(1);
        let first = scene.ids()[0];
        // This machine vouches for it: its ids are taken over without a look-up.
        scene.place.take(&scene.top);
        let parent = scene.committed()[1];
        put(scene.top.join("new"), &bytes(7, 40_000));
        let theirs = scene.place.clone();
        let fault = Arc::new(FaultStore::new(scene.place.store.clone()));
        let done = AtomicBool::new(false);
        fault.set_hook(move |call| {
            if call.method == Method::Put && call.kind == Some(kind) && !done.swap(true, Ordering::SeqCst) {
                forget::run(&theirs.open_bare(), &these(&[parent]), &Silent).unwrap();
            }
        });
        let report = snapshot::run(&scene.place.open_through(fault), &of(&scene.top), &Silent).unwrap();
        assert_eq!(report.parent, Some(first), "{kind:?}");
        assert_eq!(scene.committed(), [first, report.snapshot.unwrap()]);
        assert_same(&scene.place.open_bare(), report.snapshot.unwrap(), &scene.top, &look(&scene.top));
    }
}

/// An entry has its limit; a long list becomes several.
#[test]
fn a_long_list_is_split() {
    let scene = Scene::new(1);
    let many: Vec<SnapshotId> = (0..2 * MAX_FORGOTTEN_IDS as u64 + 1)
        .map(|n| SnapshotId(*blake3::hash(&n.to_le_bytes()).as_bytes()))
        .collect();
    let repo = scene.place.open_bare();
    let mut clerk = Clerk::begin(&repo, "test").unwrap();
    let forgotten = clerk.forget("test", &mut |_| Ok(many.clone())).unwrap();
    assert_eq!((forgotten.entries.as_slice(), forgotten.ids.len()), (&[2, 3, 4][..], many.len()));
    let ledger = scene.place.open_bare().ledger(true).unwrap();
    assert!(many.iter().all(|id| ledger.is_forgotten(id)));
    for entry in ledger.entries() {
        if let Event::Forget(forget) = &entry.event {
            assert!(forget.snapshots.len() <= MAX_FORGOTTEN_IDS);
        }
    }
    assert_eq!(ledger.committed(), scene.ids());
}
