//! A repository with two keys, three snapshots and a lease that somebody left behind; and ways to
//! damage it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ballast::id::{ObjectKind, ObjectName};
use ballast::op::check::{self, CheckOptions, CheckReport};
use ballast::progress::Silent;
use ballast::repo::Repository;
use ballast::store::memory::MemoryState;
use ballast::store::{PutMode, Store};
pub use support::unreadable::{Unreadable, unreadable};
use support::{Place, bytes, put, surroundings};

pub struct Scene {
    _dir: tempfile::TempDir,
    pub top: PathBuf,
    pub place: Place,
    pub state: MemoryState,
    /// This machine's memory of the ledger's head, and where it is kept.
    head: (PathBuf, Vec<u8>),
    /// Another repository's objects: what an adversary could put in place of ours.
    pub foreign: BTreeMap<ObjectKind, Vec<u8>>,
}

pub fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap().join("source");
    let (place, foreign) = (Place::default(), Place::default());
    let lease = ObjectName::new(ObjectKind::Lease, "ab".repeat(16));
    for turn in 0..3u64 {
        put(top.join(format!("d{turn}/deep/file")), &bytes(turn, 300_000));
        put(top.join(format!("d{turn}/text")), &"words that compress ".repeat(900).into_bytes());
        put(top.join(format!("small{turn}")), &bytes(turn, 3000));
        for place in [&place, &foreign] {
            place.take(&top);
        }
    }
    for place in [&place, &foreign] {
        place.open().add_key(b"another password", "second", &ballast::crypto::kdf::CHEAP).unwrap();
        place.store.put(&lease, &bytes(4, 300), PutMode::New).unwrap();
    }
    let body = |kind| {
        let name = foreign.names(kind).remove(0);
        (kind, foreign.store.get(&name, 1 << 30).unwrap())
    };
    let foreign = ObjectKind::ALL.map(body).into();
    let state = place.store.snapshot_state();
    let head = place.cache_of(&place.open()).join("head");
    let head = (head.clone(), std::fs::read(head).unwrap());
    Scene { _dir: dir, top, place, state, head, foreign }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Delete,
    Empty,
    Halve,
    Extend,
    Flip(usize),
    Swap,
    Replay,
}

pub const ACTIONS: [Action; 9] = [
    Action::Delete,
    Action::Empty,
    Action::Halve,
    Action::Extend,
    Action::Flip(0),
    Action::Flip(500),
    Action::Flip(999),
    Action::Swap,
    Action::Replay,
];

impl Action {
    pub fn changes_length(self) -> bool {
        matches!(self, Self::Delete | Self::Empty | Self::Halve | Self::Extend)
    }
}

impl Scene {
    /// Store, and what this machine knows of its ledger, as they were.
    pub fn reset(&self) {
        self.reset_to(&self.state);
    }

    /// This machine has not seen the repository before.
    pub fn forget_head(&self) {
        std::fs::remove_file(&self.head.0).unwrap();
    }

    /// The store in another state, this machine as it was at first.
    pub fn reset_to(&self, state: &MemoryState) {
        self.place.store.restore_state(state);
        put(&self.head.0, &self.head.1);
    }

    /// Does it; gives the objects that were hit, none where it cannot be done.
    pub fn damage(&self, action: Action, name: &ObjectName) -> Vec<ObjectName> {
        let store = &self.place.store;
        let done = match action {
            Action::Delete => store.remove(name).is_ok(),
            Action::Empty => store.tamper(name, Vec::clear),
            Action::Halve => store.tamper(name, |b| b.truncate(b.len() / 2)),
            Action::Extend => store.tamper(name, |b| b.extend(bytes(8, 100))),
            Action::Flip(permille) => store.tamper(name, |b| {
                let at = b.len() * permille / 1000;
                b[at] ^= 0x10;
            }),
            Action::Swap => {
                let other = self.place.names(name.kind).into_iter().find(|n| n != name);
                return match other.filter(|other| store.swap(name, other)) {
                    Some(other) => vec![name.clone(), other],
                    None => Vec::new(),
                };
            }
            Action::Replay => store.tamper(name, |b| *b = self.foreign[&name.kind].clone()),
        };
        if done { vec![name.clone()] } else { Vec::new() }
    }

    /// With either password; `None` where no key is whole.
    pub fn open(&self) -> Option<Repository> {
        let options = self.place.options();
        let open = |password: &[u8]| {
            Repository::open(self.place.store.clone(), password, &options, surroundings()).ok()
        };
        open(support::PASSWORD).or_else(|| open(b"another password"))
    }
}

pub fn structure() -> CheckOptions {
    CheckOptions { threads: 2, ..CheckOptions::default() }
}

pub fn data() -> CheckOptions {
    CheckOptions { read_data: true, ..structure() }
}

pub fn run(repo: &Repository, options: &CheckOptions) -> CheckReport {
    check::run(repo, options, &Silent).unwrap()
}

/// Through a wrapper of the store.
pub fn run_through(place: &Place, store: Arc<dyn Store>, options: &CheckOptions) -> CheckReport {
    run(&place.open_through(store), options)
}
