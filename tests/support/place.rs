//! A repository in memory, its cache directory, and how to open it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ballast::chunk::CutParams;
use ballast::crypto::kdf;
use ballast::entropy::{Clock, KernelEntropy, Surroundings, SystemClock};
use ballast::error::{Problem, Result};
use ballast::op::snapshot::{self, SnapshotOptions, SnapshotReport};
use ballast::progress::{Progress, Silent};
use ballast::repo::{Identity, InitOptions, OpenOptions, Repository};
use ballast::store::Store;
use ballast::store::fault::FaultStore;
use ballast::store::memory::MemoryStore;

/// The password of every test repository.
pub const PASSWORD: &[u8] = b"a password";

/// This machine's clock, an hour ahead: no file is ever too young to be taken over.
#[derive(Debug, Default, Clone, Copy)]
pub struct LateClock;

impl Clock for LateClock {
    fn now_ns(&self) -> i64 {
        SystemClock.now_ns() + 3_600_000_000_000
    }
}

/// [`LateClock`] and the kernel's randomness.
pub fn surroundings() -> Surroundings {
    Surroundings { clock: Arc::new(LateClock), entropy: Arc::new(KernelEntropy) }
}

/// Cheap keys, chunks of 4 KiB on average, packs of a quarter of a megabyte.
pub fn tiny() -> InitOptions {
    InitOptions {
        kdf: kdf::CHEAP,
        cut: CutParams { min: 1 << 10, avg: 4 << 10, max: 16 << 10, ..CutParams::default() },
        data_pack_min_bytes: 128 << 10,
        data_pack_max_bytes: 256 << 10,
        reserve_bytes: 0,
        ..InitOptions::default()
    }
}

/// Somebody on `host`.
pub fn identity(host: &str) -> Identity {
    Identity { host: host.into(), user: "tester".into() }
}

/// Options for a snapshot of one path.
pub fn of(path: impl AsRef<Path>) -> SnapshotOptions {
    SnapshotOptions {
        paths: vec![path.as_ref().to_owned()],
        cwd: PathBuf::from("/"),
        threads: 2,
        ..SnapshotOptions::default()
    }
}

/// A repository in memory and a directory for caches.
pub struct Place {
    /// Its objects.
    pub store: Arc<MemoryStore>,
    /// Where caches are kept.
    pub cache: tempfile::TempDir,
}

impl Default for Place {
    fn default() -> Self {
        Self::new(&tiny())
    }
}

impl Place {
    /// A new repository.
    pub fn new(options: &InitOptions) -> Self {
        let place = Self { store: Arc::new(MemoryStore::new()), cache: tempfile::tempdir().unwrap() };
        Repository::init(place.store.clone(), PASSWORD, options, &place.options(), surroundings()).unwrap();
        place
    }

    /// How it is opened: with the cache.
    pub fn options(&self) -> OpenOptions {
        OpenOptions {
            cache_dir: Some(self.cache.path().to_owned()),
            accept_older: false,
            identity: identity("here"),
        }
    }

    /// Opens it anew, with the cache.
    pub fn open(&self) -> Repository {
        self.open_with(&self.options())
    }

    /// Opens it anew, without a cache.
    pub fn open_bare(&self) -> Repository {
        self.open_with(&OpenOptions { cache_dir: None, ..self.options() })
    }

    /// Opens it anew.
    pub fn open_with(&self, options: &OpenOptions) -> Repository {
        open_at(self.store.clone(), options).unwrap()
    }

    /// Opens it through a wrapper of its store.
    pub fn open_through(&self, store: Arc<dyn Store>) -> Repository {
        open_at(store, &self.options()).unwrap()
    }

    /// A snapshot of one path, by a repository opened anew.
    pub fn take(&self, path: impl AsRef<Path>) -> SnapshotReport {
        snapshot::run(&self.open(), &of(path), &Silent).unwrap()
    }

    /// The cache directory of the repository itself.
    pub fn cache_of(&self, repo: &Repository) -> PathBuf {
        repo.cache().unwrap().path().to_owned()
    }
}

/// In a sweep over every change: the store died, or the run was over before. How many packs a run makes
/// is left to chance, so one may need fewer changes than the one they were counted in.
pub fn assert_died_or_done<T, E: std::fmt::Debug>(fault: &FaultStore, done: &std::result::Result<T, E>) {
    if !fault.is_dead() {
        assert!(done.is_ok(), "the store never died, and yet: {:?}", done.as_ref().err());
    }
}

/// Opens the repository in `store`.
pub fn open_at(store: Arc<dyn Store>, options: &OpenOptions) -> Result<Repository> {
    Repository::open(store, PASSWORD, options, surroundings())
}

type Hook = Box<dyn Fn(&str, u64) + Send + Sync>;

/// Counts what a run tells, can ask it to stop at the n-th question, and can do something
/// whenever a file is found or bytes were read.
#[derive(Default)]
pub struct Calls {
    asked: AtomicU64,
    stop_at: u64,
    hook: Option<Hook>,
}

impl Calls {
    /// Asks to stop from the `n`-th question on (the first is 1).
    pub fn stopping_at(n: u64) -> Self {
        Self { stop_at: n, ..Self::default() }
    }

    /// Calls `hook` with `found` or `advance` and a number of bytes.
    pub fn with_hook(hook: impl Fn(&str, u64) + Send + Sync + 'static) -> Self {
        Self { hook: Some(Box::new(hook)), ..Self::default() }
    }

    /// How often it was asked whether to stop.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Progress for Calls {
    fn found(&self, _files: u64, bytes: u64) {
        if let Some(hook) = &self.hook {
            hook("found", bytes);
        }
    }

    fn advance(&self, _files: u64, bytes: u64) {
        if let Some(hook) = &self.hook {
            hook("advance", bytes);
        }
    }

    fn problem(&self, _problem: &Problem) {}

    fn stop_requested(&self) -> bool {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.stop_at > 0 && asked >= self.stop_at
    }
}

impl Place {
    /// As [`Place::take`], through options.
    pub fn run(&self, options: &SnapshotOptions) -> Result<SnapshotReport> {
        snapshot::run(&self.open(), options, &Silent)
    }

    /// Holders of leases have been silent for hours.
    pub fn let_leases_lapse(&self) {
        for name in self.store.names().iter().filter(|n| n.kind == ballast::id::ObjectKind::Lease) {
            self.store.set_modified_ns(name, 0);
        }
    }

    /// Names of objects of a kind.
    pub fn names(&self, kind: ballast::id::ObjectKind) -> Vec<ballast::id::ObjectName> {
        self.store.names().into_iter().filter(|n| n.kind == kind).collect()
    }
}

/// What prune will do, by another host: everything that committed snapshots need is stored
/// again in new packs, all old packs and index objects are condemned and deleted.
pub fn repack_everything(repo: &Repository) {
    use ballast::format::ledger::{CondemnV1, Event};
    use ballast::repo::ledger::Append;
    use ballast::repo::reader::Reader;
    use ballast::repo::session::Session;

    let mut ledger = repo.ledger(true).unwrap();
    let reader = Reader::open_at(repo, &ledger).unwrap();
    let index = ballast::repo::index::Index::open(repo, &ledger).unwrap();
    let packs: Vec<_> = index.packs().iter().map(|p| p.id).collect();
    let indexes: Vec<ballast::id::IndexId> = repo
        .store()
        .list(ballast::id::ObjectKind::Index)
        .unwrap()
        .iter()
        .map(|n| n.parse().unwrap())
        .collect();
    let condemn = CondemnV1 { packs: packs.clone(), indexes: indexes.clone(), snapshots: Vec::new() };
    let id = ballast::id::SessionId([0xcc; 16]);
    assert_eq!(ledger.append(repo, id, &Event::Condemn(condemn)).unwrap(), Append::Done);
    let mut session = Session::begin(repo, "prune", false, &Silent).unwrap();
    for snapshot in ledger.committed() {
        let root = repo.snapshot(snapshot).unwrap().record.root;
        for blob in crate::tree::blobs_of(&reader, root).unwrap() {
            let bytes = reader.blob(blob.kind, blob.id).unwrap();
            session.store(blob.kind, &bytes).unwrap();
        }
    }
    session.flush().unwrap();
    drop(session);
    for index in indexes {
        repo.store().remove(&index.into()).unwrap();
    }
    for pack in packs {
        repo.store().remove(&pack.into()).unwrap();
    }
}

/// Stores a chunk as the difference to others, each as a whole; what cannot be read is none.
pub fn store_against(
    session: &ballast::repo::session::Session,
    reader: &ballast::repo::reader::Reader,
    plain: &[u8],
    bases: &[ballast::id::BlobRef],
) -> Result<ballast::repo::session::Stored> {
    use ballast::repo::session::{Against, SourceRef};
    let source = |blob: &ballast::id::BlobRef| -> Option<SourceRef> {
        let len = u32::try_from(reader.base_bytes(blob).ok()?.len()).unwrap();
        Some(SourceRef { blobs: vec![*blob], offset: 0, len })
    };
    let sources: Vec<SourceRef> = bases.iter().filter_map(source).collect();
    let against = Against { sources: &sources, hint: ballast::codec::Hint::NONE, least_gain_percent: 0 };
    session.store_against(ballast::id::BlobKind::Chunk, plain, &against, reader)
}
