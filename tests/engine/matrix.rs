//! Damage × object × operation. Whatever was done to whatever object: no operation panics, none harms
//! what it does not touch, prune keeps its hands off what is not whole, and repair brings back all whose
//! bytes exist.
//!
//! One more operation is one more row of [`OPERATIONS`]; one more kind of damage one of [`ACTIONS`].

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use ballast::error::Error;
use ballast::format::ledger::{Event, ForgetV1};
use ballast::id::{ObjectKind, ObjectName, SessionId, SnapshotId};
use ballast::op::prune::{self, MaxUnused, PruneOptions};
use ballast::op::repair::index::IndexOptions;
use ballast::op::repair::packs::PacksOptions;
use ballast::op::repair::snapshots::SnapshotsOptions;
use ballast::op::repair::{config, index, packs, snapshots};
use ballast::op::snapshot;
use ballast::progress::Silent;
use ballast::repo::{OpenOptions, Repository};
use ballast::store::memory::MemoryState;
use ballast::store::{PutMode, Store};
use support::{Place, Seen, assert_same, bytes, look, of, open_at, put, read_back, surroundings};

type Tree = BTreeMap<PathBuf, Seen>;
type Objects = BTreeMap<ObjectName, Vec<u8>>;

const SPARE: &[u8] = b"a spare password";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Delete,
    Truncate,
    Extend,
    Flip,
    Swap,
    Replay,
}

const ACTIONS: [Action; 6] =
    [Action::Delete, Action::Truncate, Action::Extend, Action::Flip, Action::Swap, Action::Replay];

type Operation = fn(&Repository, &Scene) -> Result<(), Error>;

/// What is run on the damaged repository, each on its own.
const OPERATIONS: [(&str, Operation); 6] = [
    ("snapshot", |repo, scene| snapshot::run(repo, &of(&scene.top), &Silent).map(drop)),
    ("prune", |repo, _| {
        let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
        prune::run(repo, &options, &Silent).map(drop)
    }),
    ("repair index", |repo, _| index::run(repo, &IndexOptions::default(), &Silent).map(drop)),
    ("repair index --all", |repo, _| {
        index::run(repo, &IndexOptions { all: true, dry_run: false }, &Silent).map(drop)
    }),
    ("repair packs", |repo, _| {
        packs::run(repo, &PacksOptions { read_data: true, ..PacksOptions::default() }, &Silent).map(drop)
    }),
    ("repair snapshots", |repo, _| snapshots::run(repo, &SnapshotsOptions::default(), &Silent).map(drop)),
];

/// Two snapshots that count, one that was forgotten and pruned away, two keys, a lease left behind, and
/// a condemned pack that still stands.
struct Scene {
    _dir: tempfile::TempDir,
    top: PathBuf,
    place: Place,
    all: Vec<(SnapshotId, Tree)>,
    /// Objects that were there once, to be replayed.
    old: Objects,
    leftover: ObjectName,
    state: MemoryState,
}

fn objects(place: &Place) -> Objects {
    let get = |name: ObjectName| {
        let bytes = place.store.get(&name, 1 << 30).unwrap();
        (name, bytes)
    };
    place.store.names().into_iter().map(get).collect()
}

fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap().join("source");
    let place = Place::default();
    let mut all = Vec::new();
    for turn in 0..3u64 {
        for i in 0..6u64 {
            put(top.join(format!("d{}/f{i}", i % 2)), &bytes(turn * 50 + i, 40_000));
        }
        put(top.join(format!("extra{turn}")), &bytes(800 + turn, 90_000));
        let id = place.take(&top).snapshot.unwrap();
        all.push((id, look(&top)));
    }
    let before = objects(&place);
    let (first, _) = all.remove(0);
    let mut ledger = place.open_bare().ledger(true).unwrap();
    let event = Event::Forget(ForgetV1 { snapshots: vec![first], reason: "test".into() });
    ledger.append(&place.open_bare(), SessionId([7; 16]), &event).unwrap();
    place.store.remove(&first.into()).unwrap();
    let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
    prune::run(&place.open(), &options, &Silent).unwrap();
    let old: Objects = before.into_iter().filter(|(name, _)| place.store.stat(name).is_err()).collect();
    place.open().add_key(SPARE, "spare", &ballast::crypto::kdf::CHEAP).unwrap();
    place
        .store
        .put(&ObjectName::new(ObjectKind::Lease, "ab".repeat(16)), &bytes(4, 300), PutMode::New)
        .unwrap();
    place.let_leases_lapse();
    // As if that prune had been killed before it deleted this one.
    let leftover = old.keys().find(|name| name.kind == ObjectKind::Pack).unwrap().clone();
    place.store.plant(&leftover, old[&leftover].clone());
    let state = place.store.snapshot_state();
    Scene { _dir: dir, top, place, all, old, leftover, state }
}

impl Scene {
    /// Does it; `false` where it cannot be done to this object.
    fn damage(&self, action: Action, name: &ObjectName) -> bool {
        let store = &self.place.store;
        let other = self.place.names(name.kind).into_iter().find(|n| n != name);
        match action {
            Action::Delete => store.remove(name).is_ok(),
            Action::Truncate => store.tamper(name, |b| b.truncate(b.len() * 2 / 3)),
            Action::Extend => store.tamper(name, |b| b.extend(bytes(8, 100))),
            Action::Flip => store.tamper(name, |b| {
                let at = b.len() / 2;
                b[at] ^= 0x10;
            }),
            Action::Swap => other.is_some_and(|other| store.swap(name, &other)),
            Action::Replay => {
                let before = self.old.iter().find(|(old, _)| old.kind == name.kind && *old != name);
                match before {
                    // What was deleted on purpose is back, under its own name.
                    Some((old, bytes)) => {
                        store.plant(old, bytes.clone());
                        true
                    }
                    // Else an older object of the kind takes its place.
                    None => other.is_some_and(|other| {
                        let bytes = store.get(&other, 1 << 30).unwrap();
                        store.tamper(name, |b| *b = bytes)
                    }),
                }
            }
        }
    }

    fn options(&self) -> OpenOptions {
        OpenOptions { cache_dir: None, ..self.place.options() }
    }

    /// Opened with whichever password still does.
    fn open(&self, what: &str) -> Repository {
        let store = self.place.store.clone();
        open_at(store.clone(), &self.options())
            .or_else(|_| Repository::open(store, SPARE, &self.options(), surroundings()))
            .unwrap_or_else(|error| panic!("{what}: cannot be opened: {error}"))
    }

    /// Snapshots that count and are as they were.
    fn whole(&self, repo: &Repository) -> Vec<SnapshotId> {
        let Ok(ledger) = repo.ledger(false) else { return Vec::new() };
        let committed = ledger.committed();
        let is_whole = |(id, seen): &&(SnapshotId, Tree)| {
            let below = |got: Tree| -> Tree {
                got.into_iter().filter(|(path, _)| path.starts_with(&self.top)).collect()
            };
            committed.contains(id) && read_back(repo, *id).is_ok_and(|got| below(got) == *seen)
        };
        self.all.iter().filter(is_whole).map(|(id, _)| *id).collect()
    }

    /// Everything but leases, which come and go.
    fn lasting(&self) -> Objects {
        objects(&self.place).into_iter().filter(|(name, _)| name.kind != ObjectKind::Lease).collect()
    }

    /// Each object that may be damaged; of the ledger the first, one in the middle, the last.
    fn victims(&self) -> Vec<ObjectName> {
        let mut victims = Vec::new();
        for kind in ObjectKind::ALL {
            let names = self.place.names(kind);
            assert!(!names.is_empty(), "{kind:?}");
            if kind == ObjectKind::Ledger {
                let last = names.len();
                victims.extend([1, last.div_ceil(2), last].map(|n| ObjectName::ledger(n as u64)));
            } else {
                victims.extend(names);
            }
        }
        victims
    }
}

/// Calls `each` for every action on every object, the damage done.
fn for_all(scene: &Scene, mut each: impl FnMut(&str, Action, &ObjectName)) {
    let mut cases = 0;
    for name in scene.victims() {
        for action in ACTIONS {
            scene.place.store.restore_state(&scene.state);
            if !scene.damage(action, &name) {
                continue;
            }
            cases += 1;
            if name.kind == ObjectKind::Key && action == Action::Swap {
                // No key is what its name says: nothing can be opened, and nothing is done.
                let error = open_at(scene.place.store.clone(), &scene.options()).unwrap_err();
                assert!(error.to_string().contains("keys/"), "{error}");
                continue;
            }
            each(&format!("{action:?} on {name}"), action, &name);
        }
    }
    assert!(cases > 80, "{cases}");
}

#[test]
fn no_operation_harms_what_the_damage_does_not_touch() {
    let scene = scene();
    let mut refused = 0;
    for_all(&scene, |what, action, name| {
        let damaged = scene.place.store.snapshot_state();
        let whole = scene.whole(&scene.open(what));
        let harmless = matches!(name.kind, ObjectKind::Config | ObjectKind::Key | ObjectKind::Lease)
            || *name == scene.leftover && action != Action::Swap;
        if harmless {
            assert_eq!(whole.len(), 2, "{what}: losing it harms nothing");
        }
        for (operation, run) in OPERATIONS {
            scene.place.store.restore_state(&damaged);
            let before = scene.lasting();
            let what = format!("{what}, then {operation}");
            let repo = scene.open(&what);
            let result = catch_unwind(AssertUnwindSafe(|| run(&repo, &scene)))
                .unwrap_or_else(|_| panic!("{what}: panicked"));
            let repo = scene.open(&what);
            let after = scene.whole(&repo);
            for id in &whole {
                assert!(after.contains(id), "{what}: {} was whole before: {result:?}", id.short());
            }
            if harmless {
                assert!(result.is_ok(), "{what}: {result:?}");
            }
            if operation == "prune" && result.is_err() {
                refused += 1;
                assert_eq!(scene.lasting(), before, "{what}: it refused, and touched something");
            }
            if operation == "prune" && action == Action::Delete && whole.len() < 2 {
                assert!(result.is_err(), "{what}: something needed is gone");
            }
        }
    });
    assert!(refused > 10, "{refused}");
}

/// In the order of `docs/repair.md`, with the source at hand: all is whole again.
#[test]
fn repair_brings_back_all_whose_bytes_exist() {
    let scene = scene();
    for_all(&scene, |what, _, name| {
        let repo = scene.open(what);
        let whole = scene.whole(&repo);
        let done = (|| -> Result<SnapshotId, Error> {
            config::run(&repo, false)?;
            index::run(&repo, &IndexOptions { all: true, dry_run: false }, &Silent)?;
            let options =
                PacksOptions { read_data: true, from: vec![scene.top.clone()], ..PacksOptions::default() };
            packs::run(&repo, &options, &Silent)?;
            let taken = snapshot::run(&repo, &of(&scene.top), &Silent)?.snapshot.unwrap();
            packs::run(&repo, &PacksOptions::default(), &Silent)?;
            let options = SnapshotsOptions { forget_unreadable: true, ..SnapshotsOptions::default() };
            snapshots::run(&repo, &options, &Silent).map(|_| taken)
        })();
        let taken = match done {
            Ok(taken) => taken,
            Err(error) => {
                // A history with a hole is nobody's to mend: it says so by its name.
                assert!(
                    name.kind == ObjectKind::Ledger && error.to_string().contains("ledger/"),
                    "{what}: {error}"
                );
                return;
            }
        };
        let repo = scene.open(what);
        let after = scene.whole(&repo);
        assert!(whole.iter().all(|id| after.contains(id)), "{what}");
        let committed = repo.ledger(true).unwrap().committed();
        for id in &committed {
            drop(read_back(&repo, *id).unwrap_or_else(|error| panic!("{what}: {}: {error}", id.short())));
        }
        assert_same(&repo, taken, &scene.top, &look(&scene.top));
        // Of what only old snapshots had, the source has nothing; the newest is as it was.
        let touched = matches!(name.kind, ObjectKind::Snapshot | ObjectKind::Ledger);
        assert!(touched || after.contains(&scene.all[1].0) || name.kind == ObjectKind::Pack, "{what}");
        assert!(name.kind != ObjectKind::Index || after.len() == 2, "{what}: packs say all that it said");
        scene.place.let_leases_lapse();
        let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
        prune::run(&repo, &options, &Silent).unwrap_or_else(|error| panic!("{what}: prune: {error}"));
        assert_eq!(scene.whole(&scene.open(what)), after, "{what}: pruned");
    });
}
