//! The power fails at every call of a snapshot and of a prune on a local repository: whatever was not
//! flushed is gone, or there in part. Every committed snapshot is whole, and the next run succeeds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ballast::id::{ObjectKind, ObjectName, SnapshotId};
use ballast::op::{prune, snapshot};
use ballast::progress::Silent;
use ballast::repo::{OpenOptions, Repository};
use ballast::store::Store;
use ballast::store::local::LocalStore;
use ballast::store::simfs::SimFs;
use support::world::{all, fast_temp, forget};
use support::{PASSWORD, Seen, assert_same, bytes, identity, look, of, open_at, put, surroundings, tiny};

fn store(fs: &SimFs) -> Arc<LocalStore> {
    Arc::new(LocalStore::with_fs(Arc::new(fs.clone()), "/srv/repo").unwrap())
}

/// Holders of leases went with the power.
fn open(fs: &SimFs) -> Repository {
    let store = store(fs);
    for lease in store.list(ObjectKind::Lease).unwrap() {
        store.remove(&ObjectName::new(ObjectKind::Lease, lease)).unwrap();
    }
    open_at(store, &OpenOptions { identity: identity("here"), ..OpenOptions::default() }).unwrap()
}

type Known = Vec<(SnapshotId, BTreeMap<PathBuf, Seen>)>;

struct Scene {
    _dir: tempfile::TempDir,
    top: PathBuf,
    fs: SimFs,
    known: Known,
}

/// Three snapshots, the first of which is forgotten.
fn scene() -> Scene {
    let dir = fast_temp();
    let top = dir.path().canonicalize().unwrap();
    let fs = SimFs::new();
    let options = OpenOptions { identity: identity("here"), ..OpenOptions::default() };
    Repository::init(store(&fs), PASSWORD, &tiny(), &options, surroundings()).unwrap();
    let mut known = Known::new();
    for round in 0..3u64 {
        for n in 0..6u64 {
            if round == 0 || n % 3 == round % 3 {
                let path = top.join(format!("f{n}"));
                drop(std::fs::remove_file(&path));
                put(path, &bytes(round * 10 + n, 40_000));
            }
        }
        let id = snapshot::run(&open(&fs), &of(&top), &Silent).unwrap().snapshot.unwrap();
        known.push((id, look(&top)));
    }
    forget(&open(&fs), 0).unwrap();
    known.remove(0);
    Scene { _dir: dir, top, fs, known }
}

impl Scene {
    fn assert_whole(&self, fs: &SimFs, what: &str) {
        let repo = open(fs);
        let committed = repo.ledger(true).unwrap_or_else(|e| panic!("{what}: {e}")).committed();
        for (id, seen) in &self.known {
            assert!(committed.contains(id), "{what}");
            assert_same(&repo, *id, &self.top, seen);
        }
    }

    fn sweep(&self, run: impl Fn(&Repository) -> bool) -> u64 {
        let clean = self.fs.fork();
        let repo = open(&clean);
        let begun = clean.counts().mutations;
        assert!(run(&repo));
        let changes = clean.counts().mutations - begun;
        for n in 1..=changes {
            let dying = self.fs.fork();
            let repo = open(&dying);
            dying.crash_at(n);
            run(&repo);
            drop(repo);
            for keeps in [false, true] {
                let fs = dying.fork();
                if keeps {
                    fs.crash_keeping(n)
                } else {
                    fs.crash()
                }
                let what = format!("power lost at {n} of {changes}, {keeps}");
                self.assert_whole(&fs, &what);
                assert!(run(&open(&fs)), "{what}: the next run fails");
                self.assert_whole(&fs, &what);
            }
        }
        changes
    }
}

#[test]
fn the_power_fails_under_a_prune() {
    let scene = scene();
    let changes = scene.sweep(|repo| {
        let done = prune::run(repo, &all(), &Silent);
        done.is_ok_and(|report| report.waiting_packs == 0)
    });
    assert!(changes > 24, "{changes}");
}

#[test]
fn the_power_fails_under_a_snapshot_that_others_pruned_before() {
    let scene = scene();
    prune::run(&open(&scene.fs), &all(), &Silent).unwrap();
    put(scene.top.join("new"), &bytes(99, 120_000));
    // Of the source as it is now nothing was known: it is read back by the next run.
    let changes = scene.sweep(|repo| snapshot::run(repo, &of(scene.top.join("new")), &Silent).is_ok());
    assert!(changes > 20, "{changes}");
}
