//! A small world: two hosts with caches, sources and clocks of their own, one store in memory, and
//! plain copies of everything that anybody tried to commit. [`World::verify`] holds the one to the
//! other: each committed, unforgotten snapshot reads back byte for byte for somebody without any
//! cache.

mod jobs;
mod sitting;
mod turns;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use ballast::entropy::seeded::SeededEntropy;
use ballast::entropy::{Clock, Entropy, KernelEntropy, Surroundings, SystemClock};
use ballast::error::{Error, Result};
use ballast::format::content::Entry;
use ballast::format::ledger::Event;
use ballast::format::tree::{Node, NodeKind};
use ballast::id::{BlobKind, ObjectKind, SnapshotId};
use ballast::op::prune::{self, MaxUnused, PruneOptions};
use ballast::progress::Silent;
use ballast::repo::reader::Reader;
use ballast::repo::{OpenOptions, Repository};
use ballast::store::Store;
use ballast::store::memory::{MemoryState, MemoryStore};

use crate::place::{PASSWORD, identity, tiny};
use crate::tree::{bytes, walk_back};

pub use jobs::{Between, Done, Job, Lost, Verb, forget, on_own_threads};
pub use sitting::Sitting;
pub use turns::{Action, TurnStore, Turnstile};

/// Paths and bytes of one snapshot.
pub type Content = BTreeMap<String, Vec<u8>>;

/// A directory in memory where there is one: the caches of hosts flush all the time.
pub fn fast_temp() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Some hours off.
struct Shifted(i64);

impl Clock for Shifted {
    fn now_ns(&self) -> i64 {
        SystemClock.now_ns() + self.0 * 3_600_000_000_000
    }
}

/// One of the two.
pub struct Host {
    /// Its name.
    pub name: &'static str,
    /// Its cache directory; `None` for one that has none.
    pub cache: Option<PathBuf>,
    /// What it snapshots.
    pub top: PathBuf,
    /// Its clock and randomness.
    pub surroundings: Surroundings,
    /// What is below `top`.
    pub files: Mutex<Content>,
    /// A session that is under way over several steps.
    pub sitting: Mutex<Option<Sitting>>,
}

/// How often what was to be tried really came to pass.
#[derive(Debug, Default)]
pub struct Counts {
    pub commits: AtomicU64,
    pub forgets: AtomicU64,
    pub condemns: AtomicU64,
    pub deleted: AtomicU64,
    pub repacks: AtomicU64,
    pub unchained: AtomicU64,
    pub deltas: AtomicU64,
    pub rescues: AtomicU64,
    pub overtaken: AtomicU64,
    pub adopted: AtomicU64,
    pub restores: AtomicU64,
    pub died_before: AtomicU64,
    pub died_torn: AtomicU64,
    pub died_after: AtomicU64,
    pub lost_answers: AtomicU64,
    pub nested: AtomicU64,
    pub lapses: AtomicU64,
}

impl Counts {
    /// By name.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        let all = [
            ("commits", &self.commits),
            ("forgets", &self.forgets),
            ("condemns", &self.condemns),
            ("deleted packs", &self.deleted),
            ("repacked packs", &self.repacks),
            ("unchained blobs", &self.unchained),
            ("deltas", &self.deltas),
            ("rescues", &self.rescues),
            ("overtaken runs", &self.overtaken),
            ("adopted packs", &self.adopted),
            ("restores", &self.restores),
            ("deaths before", &self.died_before),
            ("deaths torn", &self.died_torn),
            ("deaths after", &self.died_after),
            ("lost answers", &self.lost_answers),
            ("runs within runs", &self.nested),
            ("lapses", &self.lapses),
        ];
        all.into_iter().map(|(name, count)| (name, count.load(Ordering::Relaxed))).collect()
    }
}

/// One more of it.
pub fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

#[derive(Default)]
struct Oracle {
    /// By the description of a snapshot: what was to be in it.
    tried: HashMap<String, Content>,
    /// Reported as committed.
    reported: HashSet<SnapshotId>,
    next: u64,
}

/// See the module's words.
pub struct World {
    dir: tempfile::TempDir,
    /// The repository.
    pub store: Arc<MemoryStore>,
    /// Who works on it.
    pub hosts: [Host; 2],
    /// What came to pass.
    pub counts: Arc<Counts>,
    oracle: Mutex<Oracle>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// Prune all that can be.
pub fn all() -> PruneOptions {
    PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() }
}

impl World {
    /// A new repository. `seed` is that of the hosts' randomness; 0 takes the kernel's.
    pub fn new(seed: u64, caches: bool, counts: Arc<Counts>) -> Arc<Self> {
        let dir = fast_temp();
        let top = dir.path().canonicalize().unwrap();
        let host = |n: u64, name: &'static str, hours| {
            let source = top.join(name);
            std::fs::create_dir(&source).unwrap();
            let entropy: Arc<dyn Entropy> = match seed {
                0 => Arc::new(KernelEntropy),
                seed => Arc::new(SeededEntropy::new(seed * 2 + n)),
            };
            Host {
                name,
                cache: caches.then(|| top.join(format!("cache-{name}"))),
                top: source,
                surroundings: Surroundings { clock: Arc::new(Shifted(hours)), entropy },
                files: Mutex::default(),
                sitting: Mutex::default(),
            }
        };
        // An hour apart, and both ahead of the files: none is too young to be taken over.
        let hosts = [host(0, "here", 1), host(1, "there", 2)];
        let store = Arc::new(MemoryStore::new());
        let open = OpenOptions { identity: identity("here"), ..OpenOptions::default() };
        Repository::init(store.clone(), PASSWORD, &tiny(), &open, hosts[0].surroundings.clone()).unwrap();
        Arc::new(Self { dir, store, hosts, counts, oracle: Mutex::default() })
    }

    /// The repository as a host has it, through `store`.
    pub fn open(&self, host: usize, store: Arc<dyn Store>) -> Result<Repository> {
        let host = &self.hosts[host];
        let options = OpenOptions {
            cache_dir: host.cache.clone(),
            identity: identity(host.name),
            ..OpenOptions::default()
        };
        Repository::open(store, PASSWORD, &options, host.surroundings.clone())
    }

    /// For somebody who has seen nothing of it before.
    pub fn bare(&self) -> Repository {
        let options = OpenOptions { identity: identity("a third"), ..OpenOptions::default() };
        Repository::open(self.store.clone(), PASSWORD, &options, crate::surroundings()).unwrap()
    }

    /// Writes a file of a host's source anew, or removes it. Its bytes are one of a few, so that both
    /// hosts have the same ones again and again.
    pub fn edit(&self, host: usize, file: u8, content: Option<u8>) {
        let host = &self.hosts[host];
        let name = format!("d{}/f{file}", file % 3);
        let path = host.top.join(&name);
        let mut files = locked(&host.files);
        match content {
            Some(content) => {
                let body = bytes(u64::from(content), 1500 + usize::from(content) * 1900);
                // A new inode: the clock of files is too coarse to tell two edits apart.
                let young = host.top.with_extension("young");
                crate::put(&young, &body);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::rename(young, path).unwrap();
                files.insert(name, body);
            }
            None => {
                drop(std::fs::remove_file(path));
                files.remove(&name);
            }
        }
    }

    /// Notes what a snapshot is to hold; gives the description it must bear.
    fn try_for(&self, content: Content) -> String {
        let mut oracle = locked(&self.oracle);
        oracle.next += 1;
        let label = format!("try {}", oracle.next);
        oracle.tried.insert(label.clone(), content);
        label
    }

    fn reported(&self, id: SnapshotId) {
        locked(&self.oracle).reported.insert(id);
    }

    /// Holders of leases have been silent for hours, as far as anyone can see.
    pub fn lapse(&self) {
        for name in self.store.names().iter().filter(|n| n.kind == ObjectKind::Lease) {
            self.store.set_modified_ns(name, 0);
            count(&self.counts.lapses, 1);
        }
    }

    /// Panics unless every snapshot that counts is what was to be in it, and whatever was reported
    /// counts or was forgotten.
    pub fn verify(&self, when: &str) {
        let repo = self.bare();
        let ledger = repo.ledger(true).unwrap_or_else(|e| panic!("{when}: {e}"));
        let committed = ledger.committed();
        let reader = Reader::open_at(&repo, &ledger).unwrap_or_else(|e| panic!("{when}: {e}"));
        for id in &committed {
            let found = self.content(&repo, &reader, *id);
            let (label, found) = found.unwrap_or_else(|e| panic!("{when}: snapshot {}: {e}", id.short()));
            let oracle = locked(&self.oracle);
            let tried = oracle.tried.get(&label).unwrap_or_else(|| panic!("{when}: nobody made {label}"));
            let names = |content: &Content| content.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(&found), names(tried), "{when}: {label}");
            for (name, body) in tried {
                assert!(found[name] == *body, "{when}: {label}: {name} has other bytes");
            }
        }
        for id in &locked(&self.oracle).reported {
            let counts = committed.contains(id) || ledger.is_forgotten(id);
            assert!(counts, "{when}: snapshot {} was reported, and is not in the ledger", id.short());
        }
    }

    fn content(&self, repo: &Repository, reader: &Reader, id: SnapshotId) -> Result<(String, Content)> {
        let snapshot = repo.snapshot(id)?.record;
        let mut all = Content::new();
        walk_back(reader, snapshot.root, Path::new("/"), &mut |path, node| {
            if node.kind == NodeKind::File {
                let below = self.hosts.iter().find_map(|host| path.strip_prefix(&host.top).ok());
                let name = below.unwrap_or(&path).to_string_lossy().into_owned();
                all.insert(name, body(reader, node)?);
            }
            Ok(())
        })?;
        Ok((snapshot.description.0, all))
    }

    /// Everybody is gone, and a prune leaves nothing that is not needed.
    pub fn assert_tight(&self, when: &str) {
        for host in [0, 1] {
            let sitting = self.take_sitting(host);
            drop(sitting);
        }
        self.lapse();
        let pruned = prune::run(&self.bare(), &all(), &Silent).unwrap_or_else(|e| panic!("{when}: {e}"));
        assert_eq!(pruned.waiting_packs, 0, "{when}: {pruned:?}");
        let dry = PruneOptions { dry_run: true, ..all() };
        let plan = prune::run(&self.bare(), &dry, &Silent).unwrap_or_else(|e| panic!("{when}: {e}")).plan;
        // What is left unneeded stands in frames of which half is needed: they are copied as they are.
        let left = (plan.dead_packs, plan.unlisted_packs, plan.waiting_packs, plan.dead_snapshots);
        assert_eq!(left, (0, 0, 0, 0), "{when}: {plan:?}");
        assert_eq!(plan.repack_packs, 0, "{when}: {plan:?}");
        self.verify(when);
    }

    /// Adds up what the ledger tells.
    pub fn tally(&self) {
        let ledger = self.bare().ledger(true).unwrap();
        for entry in ledger.entries() {
            match &entry.event {
                Event::Commit(_) => count(&self.counts.commits, 1),
                Event::Forget(_) => count(&self.counts.forgets, 1),
                Event::Condemn(_) => count(&self.counts.condemns, 1),
                _ => {}
            }
        }
    }

    /// As it is now, caches too.
    pub fn save(&self) -> Saved {
        let caches = fast_temp();
        for (n, host) in self.hosts.iter().enumerate() {
            if let Some(cache) = host.cache.as_ref().filter(|c| c.exists()) {
                copy_dir(cache, &caches.path().join(n.to_string()));
            }
        }
        Saved { state: self.store.snapshot_state(), caches }
    }

    /// As it was.
    pub fn reset(&self, saved: &Saved) {
        self.store.restore_state(&saved.state);
        for (n, host) in self.hosts.iter().enumerate() {
            if let Some(cache) = &host.cache {
                drop(std::fs::remove_dir_all(cache));
                let from = saved.caches.path().join(n.to_string());
                if from.exists() {
                    copy_dir(&from, cache);
                }
            }
        }
        locked(&self.oracle).reported.clear();
    }

    /// A second of the same state.
    pub fn save_of(&self, saved: &Saved) -> Saved {
        let caches = fast_temp();
        copy_dir(saved.caches.path(), caches.path());
        Saved { state: saved.state.clone(), caches }
    }

    fn target(&self) -> tempfile::TempDir {
        tempfile::tempdir_in(self.dir.path()).unwrap()
    }
}

/// A state to come back to.
pub struct Saved {
    state: MemoryState,
    caches: tempfile::TempDir,
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(std::result::Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The bytes of a file.
fn body(reader: &Reader, node: &Node) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for entry in reader.expand(&node.content) {
        match entry? {
            Entry::Chunk { id, .. } => out.extend_from_slice(&reader.blob(BlobKind::Chunk, id)?),
            Entry::Hole { len } => out.resize(out.len() + usize::try_from(len).unwrap(), 0),
            Entry::Inline { bytes } => out.extend_from_slice(&bytes),
            other => return Err(Error::Internal(format!("{other:?} in a file"))),
        }
    }
    Ok(out)
}
