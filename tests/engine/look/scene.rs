//! A directory, and snapshots of it on days of April 2025.

use std::path::PathBuf;

use ballast::format::snapshot::SnapshotV1;
use ballast::format::tree::Node;
use ballast::id::{BlobRef, SnapshotId};
use ballast::op::snapshot::{self, SnapshotOptions};
use ballast::progress::Silent;
use ballast::repo::index::Places;
use ballast::repo::lookup::{self, LastLink};
use ballast::repo::reader::Reader;
use ballast::repo::session::Session;
use ballast::repo::{InitOptions, OpenOptions, Repository};
use ballast::store::Store;
use support::{Place, of, put};

pub struct Scene {
    pub place: Place,
    pub top: PathBuf,
    _dir: tempfile::TempDir,
}

impl Scene {
    pub fn new() -> Self {
        Self::at(Place::default())
    }

    pub fn with(options: &InitOptions) -> Self {
        Self::at(Place::new(options))
    }

    pub fn at(place: Place) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap().join("top");
        std::fs::create_dir(&top).unwrap();
        Self { place, top, _dir: dir }
    }

    pub fn put(&self, name: &str, content: &[u8]) {
        let path = self.top.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        put(path, content);
    }

    pub fn path(&self, name: &str) -> Vec<u8> {
        self.top.join(name).into_os_string().into_encoded_bytes()
    }

    /// What is below the top, said without it.
    pub fn name<'p>(&self, path: &'p [u8]) -> &'p str {
        let top = self.top.as_os_str().as_encoded_bytes();
        std::str::from_utf8(path.strip_prefix(top).unwrap()).unwrap().trim_start_matches('/')
    }

    /// Nanoseconds of that day.
    pub fn day(day: i64) -> i64 {
        (1_743_465_600 + (day - 1) * 86_400) * 1_000_000_000
    }

    pub fn take(&self, day: i64) -> SnapshotId {
        self.take_by("here", day, &of(&self.top))
    }

    pub fn take_by(&self, host: &str, day: i64, options: &SnapshotOptions) -> SnapshotId {
        let options =
            SnapshotOptions { host: Some(host.into()), time_ns: Some(Self::day(day)), ..options.clone() };
        snapshot::run(&self.repo(), &options, &Silent).unwrap().snapshot.unwrap()
    }

    pub fn repo(&self) -> Repository {
        self.place.open_with(&OpenOptions { cache_dir: None, ..self.place.options() })
    }

    /// A snapshot that holds nothing but, at its root, what `change` makes of a node of the newest one.
    pub fn doctored(&self, name: &str, change: impl FnOnce(&mut Session, Node) -> Node) -> SnapshotId {
        let repo = self.repo();
        let newest = repo.newest_snapshot(&repo.ledger(false).unwrap(), &Default::default(), 0).unwrap();
        let reader = Reader::open(&repo).unwrap();
        let found = lookup::resolve(&reader, newest.record.root, &self.path(name), LastLink::Follow);
        let mut session = Session::begin(&repo, "test", false, &Silent).unwrap();
        let node = change(&mut session, found.unwrap().node.unwrap());
        let root = session.store_tree(vec![node]).unwrap();
        let flushed = session.flush().unwrap();
        session.commit(&SnapshotV1 { root, ..newest.record }, None, flushed).unwrap()
    }

    /// The packs with this blob are gone.
    pub fn lose(&self, blob: &BlobRef) {
        let repo = self.repo();
        let index = ballast::repo::index::Index::open(&repo, &repo.ledger(true).unwrap()).unwrap();
        for place in index.places(blob).unwrap() {
            let pack = index.pack(place.pack).unwrap().id;
            self.place.store.remove(&pack.into()).unwrap();
        }
    }
}
