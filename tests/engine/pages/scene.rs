//! A database, a repository, and a snapshot of each of its days.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ballast::entropy::{Surroundings, seeded};
use ballast::format::content::Entry;
use ballast::format::tree::Node;
use ballast::id::{BlobKind, SnapshotId};
use ballast::op::check::{self, CheckOptions};
use ballast::op::restore::{self, RestoreOptions};
use ballast::op::snapshot::{SnapshotOptions, SnapshotReport};
use ballast::op::{dump, forget, prune};
use ballast::progress::Silent;
use ballast::repo::reader::Reader;
use ballast::repo::{InitOptions, Repository};
use ballast::source::sqlite::{SqliteMode, SqliteOptions};
use ballast::store::memory::MemoryStore;
use support::days::Shape;
use support::{LateClock, PASSWORD, Place, of, walk_back, weeks};

pub struct Daily {
    _dir: tempfile::TempDir,
    pub path: PathBuf,
    pub place: Arc<Place>,
    pub shape: Shape,
    pub mode: SqliteMode,
    /// Each day as it was stored.
    pub all: Vec<(SnapshotId, Vec<u8>)>,
}

/// Secrets that are the same each time, and so ids, cuts and heights.
pub fn place(init: &InitOptions) -> Arc<Place> {
    let place = Place { store: Arc::new(MemoryStore::new()), cache: tempfile::tempdir().unwrap() };
    let surroundings = Surroundings { clock: Arc::new(LateClock), ..seeded::surroundings(4) };
    Repository::init(place.store.clone(), PASSWORD, init, &place.options(), surroundings).unwrap();
    Arc::new(place)
}

impl Daily {
    pub fn new(shape: Shape) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("source/chat.db");
        let (place, mode) = (place(&weeks::init()), SqliteMode::Auto);
        Self { _dir: dir, path, place, shape, mode, all: Vec::new() }
    }

    pub fn options(&self) -> SnapshotOptions {
        let sqlite = SqliteOptions { mode: self.mode, ..SqliteOptions::default() };
        SnapshotOptions { sqlite, ..of(self.path.parent().unwrap()) }
    }

    /// A snapshot of what is there now.
    pub fn take(&mut self) -> SnapshotReport {
        let report = self.place.run(&self.options()).unwrap();
        assert_eq!(report.problems, []);
        self.all.push((report.snapshot.unwrap(), fs::read(&self.path).unwrap()));
        report
    }

    /// The next day.
    pub fn go_on(&mut self) -> SnapshotReport {
        self.shape.write(&self.path, self.all.len() as u64);
        self.take()
    }

    /// The next day, and by how much all objects together grew.
    pub fn cost_of_a_day(&mut self) -> u64 {
        let before = used(&self.place);
        self.go_on();
        used(&self.place) - before
    }

    pub fn node(&self, day: usize) -> Node {
        node_of(&self.place, self.all[day].0, &self.path)
    }

    /// The pieces a day's content is made of.
    pub fn entries(&self, day: usize) -> Vec<Entry> {
        let reader = Reader::open(&self.place.open_bare()).unwrap();
        reader.expand(&self.node(day).content).collect::<Result<_, _>>().unwrap()
    }

    /// Every day that is asked for is restored, dumped, and read chunk by chunk, as it was.
    pub fn assert_back(&self, days: impl IntoIterator<Item = usize>) {
        for day in days {
            let (id, expected) = &self.all[day];
            let (repo, path) = (self.place.open_bare(), self.path.as_os_str().as_bytes());
            assert!(read(&repo, &self.node(day)) == *expected, "day {day}, chunk by chunk");
            let mut dumped = Vec::new();
            dump::run(&repo, *id, path, &mut dumped, &Silent).unwrap();
            assert!(dumped == *expected, "day {day}, dumped");
            let target = tempfile::tempdir().unwrap();
            let options = to(*id, path, target.path());
            let report = restore::run(&repo, &options, &Silent).unwrap();
            assert_eq!(report.problems, []);
            assert!(fs::read(target.path().join("chat.db")).unwrap() == *expected, "day {day}, restored");
        }
    }

    /// Forgets all days but these.
    pub fn forget_but(&self, kept: &[usize]) {
        let committed = self.place.open_bare().ledger(true).unwrap().committed();
        let gone = (0..self.all.len()).filter(|day| !kept.contains(day)).map(|day| self.all[day].0);
        let ids = gone.filter(|id| committed.contains(id)).collect();
        let options = forget::ForgetOptions { ids, ..Default::default() };
        forget::run(&self.place.open_bare(), &options, &Silent).unwrap();
    }

    pub fn prune(&self, options: &prune::PruneOptions) -> prune::PruneReport {
        self.place.let_leases_lapse();
        prune::run(&self.place.open_bare(), options, &Silent).unwrap()
    }

    /// A check that reads everything finds nothing.
    pub fn assert_sound(&self) {
        let options = CheckOptions { threads: 2, read_data: true, ..CheckOptions::default() };
        let report = check::run(&self.place.open_bare(), &options, &Silent).unwrap();
        assert!(report.is_sound(), "{:?}", report.faults);
    }
}

pub fn to(snapshot: SnapshotId, path: &[u8], target: &Path) -> RestoreOptions {
    RestoreOptions {
        path: Some(path.to_vec()),
        threads: 2,
        ..RestoreOptions::new(snapshot, target.to_owned())
    }
}

/// Bytes of all objects.
pub fn used(place: &Place) -> u64 {
    place.store.totals().values().map(|(_, bytes)| bytes).sum()
}

pub fn node_of(place: &Place, id: SnapshotId, path: &Path) -> Node {
    let repo = place.open_bare();
    let root = repo.snapshot(id).unwrap().record.root;
    let mut found = None;
    walk_back(&Reader::open(&repo).unwrap(), root, Path::new("/"), &mut |at, node| {
        if at == path {
            found = Some(node.clone());
        }
        Ok(())
    })
    .unwrap();
    found.unwrap()
}

/// A file's content, one chunk after the other by a reader of its own.
pub fn read(repo: &Repository, node: &Node) -> Vec<u8> {
    let reader = Reader::open(repo).unwrap();
    let mut out = Vec::new();
    for entry in reader.expand(&node.content) {
        match entry.unwrap() {
            Entry::Chunk { id, len } => {
                let bytes = reader.blob(BlobKind::Chunk, id).unwrap();
                assert_eq!(bytes.len(), len as usize);
                out.extend_from_slice(&bytes);
            }
            Entry::Hole { len } => out.resize(out.len() + usize::try_from(len).unwrap(), 0),
            Entry::Inline { bytes } => out.extend_from_slice(&bytes),
            other => panic!("{other:?} in a file"),
        }
    }
    out
}
