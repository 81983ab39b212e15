//! A repository with a few snapshots of a tree that has something to leave out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ballast::format::ledger::Event;
use ballast::id::{ObjectKind, SessionId, SnapshotId};
use ballast::op::snapshot::{self, SnapshotOptions};
use ballast::progress::Silent;
use ballast::repo::ledger::{Append, Ledger};
use ballast::repo::{OpenOptions, Repository};
use ballast::store::call::Method;
use ballast::store::fault::{Death, FaultStore};
use ballast::store::record::RecordStore;
use support::{Place, Seen, bytes, look, of, open_at, put, read_back};

pub const DAY_NS: i64 = 86_400_000_000_000;
pub const BEGIN_NS: i64 = 1_700_000_000 * 1_000_000_000;

pub type Tree = BTreeMap<PathBuf, Seen>;

pub struct Scene {
    _dir: tempfile::TempDir,
    pub top: PathBuf,
    pub place: Arc<Place>,
    /// Oldest first, each with what it holds.
    pub all: Vec<(SnapshotId, Tree)>,
}

impl Scene {
    pub fn new(count: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap().join("source");
        put(top.join("same/a"), &bytes(1, 30_000));
        put(top.join("same/deep/er/b"), &bytes(2, 5000));
        put(top.join("mixed/keep"), &bytes(3, 9000));
        put(top.join("mixed/x.tmp"), &bytes(4, 4000));
        put(top.join("cache/y"), &bytes(5, 70_000));
        put(top.join("cache/in/z"), &bytes(6, 500));
        let mut scene = Self { _dir: dir, top, place: Arc::new(Place::default()), all: Vec::new() };
        (0..count).for_each(|_| scene.next());
        scene
    }

    pub fn next(&mut self) {
        let n = self.all.len() as u64;
        put(self.top.join("changing"), &bytes(100 + n, 20_000));
        let options = SnapshotOptions {
            time_ns: Some(BEGIN_NS + n as i64 * DAY_NS),
            tags: vec!["weekly".into()],
            description: "as it was".into(),
            ..of(&self.top)
        };
        let id = snapshot::run(&self.place.open(), &options, &Silent).unwrap().snapshot.unwrap();
        self.all.push((id, look(&self.top)));
    }

    pub fn ids(&self) -> Vec<SnapshotId> {
        self.all.iter().map(|(id, _)| *id).collect()
    }

    pub fn committed(&self) -> Vec<SnapshotId> {
        self.place.open_bare().ledger(true).unwrap().committed()
    }

    pub fn objects(&self) -> usize {
        self.place.names(ObjectKind::Snapshot).len()
    }

    /// What a snapshot holds at and below the top.
    pub fn held(&self, id: SnapshotId) -> Tree {
        below(read_back(&self.place.open_bare(), id).unwrap(), &self.top)
    }

    /// Through a store that runs `act` once, before the first put of `kind`.
    pub fn interrupted_at(&self, kind: ObjectKind, act: impl Fn() + Send + Sync + 'static) -> Repository {
        let fault = Arc::new(FaultStore::new(self.place.store.clone()));
        let done = AtomicBool::new(false);
        fault.set_hook(move |call| {
            if call.method == Method::Put && call.kind == Some(kind) && !done.swap(true, Ordering::SeqCst) {
                act();
            }
        });
        open_at(fault, &OpenOptions { cache_dir: None, ..self.place.options() }).unwrap()
    }

    /// Runs `work` on the same state again and again, each time dying at another change; then `check`.
    pub fn sweep(&self, work: impl Fn(&Repository) -> bool, check: impl Fn(&str, bool)) -> u64 {
        let state = self.place.store.snapshot_state();
        let attempt = |death: Option<(u64, Death)>| {
            self.place.store.restore_state(&state);
            let fault = Arc::new(FaultStore::new(self.place.store.clone()));
            let record = Arc::new(RecordStore::new(fault.clone()));
            let cache = tempfile::tempdir().unwrap();
            let with_cache = death.is_some_and(|(n, _)| n % 2 == 0);
            let cache_dir = with_cache.then(|| cache.path().to_owned());
            let repo = open_at(record.clone(), &OpenOptions { cache_dir, ..self.place.options() }).unwrap();
            if let Some((n, death)) = death {
                fault.die_at(n, death);
            }
            let done = work(&repo);
            fault.assert_all_hit();
            let hit = record.calls().into_iter().rfind(|r| !r.ok && r.call.method == Method::Put);
            (done, fault.mutations(), hit.and_then(|r| r.call.kind))
        };
        let (done, mutations, _) = attempt(None);
        assert!(done);
        check("no death", true);
        for n in 1..=mutations {
            for death in [Death::Before, Death::Torn, Death::After] {
                let (done, _, hit) = attempt(Some((n, death)));
                // A record of a chosen name is given at once or not at all.
                if death == Death::Torn && hit == Some(ObjectKind::Ledger) {
                    continue;
                }
                self.place.let_leases_lapse();
                check(&format!("{death:?} at {n} of {mutations} ({hit:?})"), done);
            }
        }
        self.place.store.restore_state(&state);
        mutations
    }
}

pub fn below(tree: Tree, top: &Path) -> Tree {
    tree.into_iter().filter(|(path, _)| path.starts_with(top)).collect()
}

/// Somebody else's entry.
pub fn append(repo: &Repository, event: &Event) {
    let mut ledger = Ledger::read(repo).unwrap();
    assert_eq!(ledger.append(repo, SessionId([7; 16]), event).unwrap(), Append::Done);
}
