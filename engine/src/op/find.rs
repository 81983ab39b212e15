//! `find`: where a name is, and what became of it over time.
//!
//! Snapshots are gone through from the oldest to the newest. What stands below a tree at a path is looked up once,
//! however many snapshots share it; of a tree without anything that fits only that is kept.
//!
//! Memory: a few hundred bytes for each directory that differs between snapshots and for each version found.

use std::collections::{BTreeMap, HashMap};
use std::vec::IntoIter;

use crate::error::{Error, Result};
use crate::format::content::Entry;
use crate::format::tree::{Node, NodeKind};
use crate::format::wire::Stamp;
use crate::id::{BlobId, SnapshotId};
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::lookup::join;
use crate::repo::reader::Reader;
use crate::repo::snapshots::{Filter, Snapshot};
use crate::source::Patterns;

/// What to look for, and where.
#[derive(Debug, Clone, Default)]
pub struct FindOptions {
    /// Patterns ([`Patterns`]); what fits any is found.
    pub patterns: Vec<String>,
    /// Upper and lower case are the same.
    pub ignore_case: bool,
    /// Only of these kinds; none = of any.
    pub kinds: Vec<NodeKind>,
    /// Only in these snapshots; none = in all that fit `filter`.
    pub snapshots: Vec<SnapshotId>,
    /// See `snapshots`.
    pub filter: Filter,
}

/// A snapshot, in which something was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Its id.
    pub id: SnapshotId,
    /// Its time.
    pub time: Stamp,
}

/// One content of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// What it was.
    pub kind: NodeKind,
    /// Length, of a file.
    pub size: u64,
    /// Its time of change, in the first snapshot that has it.
    pub mtime: Stamp,
    /// The first snapshot with it.
    pub first: Sighting,
    /// The last.
    pub last: Sighting,
    /// How many have it, from `first` to `last`.
    pub snapshots: u64,
    /// The repository lost a part of it.
    pub damaged: bool,
}

/// A path and its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPath {
    /// On this host.
    pub host: String,
    /// Absolute, raw bytes.
    pub path: Vec<u8>,
    /// Oldest first. What came back after a change is a version again.
    pub versions: Vec<Version>,
    /// The first later snapshot of its place without it, if there is one.
    pub gone: Option<Sighting>,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct FindReport {
    /// Snapshots that were looked into.
    pub snapshots: u64,
    /// By host and path.
    pub paths: Vec<FoundPath>,
    /// Snapshots that could not be read, whole or in part, with the reason.
    pub unreadable: Vec<(SnapshotId, String)>,
}

/// Looks.
pub fn run(repo: &Repository, options: &FindOptions, progress: &dyn Progress) -> Result<FindReport> {
    if options.patterns.is_empty() {
        return Err(Error::Usage("nothing says what to look for".into()));
    }
    let patterns = Patterns::new(&options.patterns, options.ignore_case, "find")?;
    let ledger = repo.ledger(false)?;
    let (all, unreadable) = match options.snapshots.is_empty() {
        true => repo.snapshots(&ledger, &options.filter)?,
        false => {
            let chosen = options.snapshots.iter().map(|id| repo.snapshot(*id));
            let mut chosen = chosen.collect::<Result<Vec<_>>>()?;
            chosen.sort_by_key(|s| s.record.time);
            chosen.dedup_by_key(|s| s.id);
            (chosen, Vec::new())
        }
    };
    let unreadable = unreadable.into_iter().map(|(id, error)| (id, error.to_string())).collect();
    let mut report = FindReport { unreadable, ..FindReport::default() };
    progress.phase("looking into snapshots", Some(all.len() as u64), None);
    progress.unit("snapshots");
    let reader = Reader::open_at(repo, &ledger)?;
    let (looked, broken) = (HashMap::new(), HashMap::new());
    let mut search = Search { reader: &reader, patterns, kinds: &options.kinds, looked, broken };
    let mut found: BTreeMap<(String, Vec<u8>), Trail> = BTreeMap::new();
    for (number, snapshot) in all.iter().enumerate() {
        progress.check()?;
        if let Some(reason) = search.look(snapshot.record.root, progress)? {
            report.unreadable.push((snapshot.id, reason));
        }
        let host = &snapshot.record.host.0;
        search.each(snapshot.record.root, &mut |hit| {
            let trail = found.entry((host.clone(), hit.path.clone())).or_default();
            trail.see(hit, snapshot, number);
        });
        report.snapshots += 1;
        progress.advance(1, 0);
    }
    report.paths = found
        .into_iter()
        .map(|((host, path), trail)| {
            let later = all[trail.last + 1..].iter().find(|s| s.record.host.0 == host && s.covers(&path));
            let versions = trail.versions.into_iter().map(|(version, _)| version).collect();
            FoundPath { gone: later.map(sighting), host, path, versions }
        })
        .collect();
    Ok(report)
}

fn sighting(snapshot: &Snapshot) -> Sighting {
    Sighting { id: snapshot.id, time: snapshot.record.time }
}

/// Something that fits, as one tree has it.
struct Hit {
    path: Vec<u8>,
    kind: NodeKind,
    size: u64,
    mtime: Stamp,
    damaged: bool,
    /// Equal where kind and content are.
    content: [u8; 32],
}

impl Hit {
    fn new(path: Vec<u8>, node: &Node) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[node.kind as u8]);
        // Of a directory only that it is there; what is in it has versions of its own.
        if node.kind != NodeKind::Directory {
            hasher.update(&node.rdev.to_le_bytes());
            node.content.iter().for_each(|entry| hash(entry, &mut hasher));
        }
        Self {
            path,
            kind: node.kind,
            size: if node.kind == NodeKind::File { node.size } else { 0 },
            mtime: node.mtime,
            damaged: node.lost().is_some(),
            content: hasher.finalize().into(),
        }
    }
}

fn hash(entry: &Entry, hasher: &mut blake3::Hasher) {
    hasher.update(&entry.content_len().to_le_bytes());
    match entry {
        Entry::Chunk { id, .. } | Entry::List { id, .. } | Entry::Tree { id } => hasher.update(id.as_bytes()),
        Entry::Hole { .. } => hasher.update(b"hole"),
        Entry::Inline { bytes } => hasher.update(bytes),
    };
}

/// A tree, and the path at which it stands.
type Spot = (BlobId, Vec<u8>);

/// What a tree has at one path.
#[derive(Default)]
struct Looked {
    hits: Vec<Hit>,
    /// Directories in it below which something is.
    below: Vec<Spot>,
}

impl Looked {
    fn is_empty(&self) -> bool {
        self.hits.is_empty() && self.below.is_empty()
    }
}

/// A directory that is being looked through.
struct Level {
    spot: Spot,
    nodes: IntoIter<Node>,
    looked: Looked,
    /// All below it could be read.
    whole: bool,
}

struct Search<'s> {
    reader: &'s Reader,
    patterns: Patterns,
    kinds: &'s [NodeKind],
    looked: HashMap<Spot, Looked>,
    /// Directories that could not be read whole: to be told of every snapshot that has them.
    broken: HashMap<Spot, String>,
}

impl Search<'_> {
    /// Looks through a snapshot; gives the first thing that could not be read. Trees may be deeper than a stack.
    fn look(&mut self, root: BlobId, progress: &dyn Progress) -> Result<Option<String>> {
        let mut failed = None;
        let mut levels = Vec::new();
        levels.extend(self.enter((root, b"/".to_vec()), &mut failed)?);
        while let Some(level) = levels.last_mut() {
            let Some(node) = level.nodes.next() else {
                let Some(done) = levels.pop() else { break };
                let found = !done.looked.is_empty();
                if let Some(above) = levels.last_mut() {
                    above.whole &= done.whole;
                    above.looked.below.extend(found.then(|| done.spot.clone()));
                }
                if !done.whole {
                    let reason = failed.clone().unwrap_or_default();
                    self.broken.insert(done.spot.clone(), reason);
                }
                self.looked.insert(done.spot, done.looked);
                continue;
            };
            progress.check()?;
            let path = join(&level.spot.1, &node.name);
            let kind = self.kinds.is_empty() || self.kinds.contains(&node.kind);
            if kind && self.patterns.judge(&path, node.kind == NodeKind::Directory) == Some(true) {
                level.looked.hits.push(Hit::new(path.clone(), &node));
            }
            let Some(tree) = node.subtree() else { continue };
            let spot = (tree, path);
            match self.enter(spot.clone(), &mut failed)? {
                Some(below) => levels.push(below),
                None => {
                    level.whole &= !self.broken.contains_key(&spot);
                    let found = self.looked.get(&spot).is_some_and(|looked| !looked.is_empty());
                    level.looked.below.extend(found.then_some(spot));
                }
            }
        }
        Ok(failed)
    }

    /// `None`: what stands there is known, or cannot be read.
    fn enter(&mut self, spot: Spot, failed: &mut Option<String>) -> Result<Option<Level>> {
        if let Some(reason) = self.broken.get(&spot) {
            failed.get_or_insert_with(|| reason.clone());
            return Ok(None);
        }
        if self.looked.contains_key(&spot) {
            return Ok(None);
        }
        match self.reader.tree(spot.0) {
            Ok(nodes) => {
                let (nodes, looked) = (nodes.into_iter(), Looked::default());
                Ok(Some(Level { spot, nodes, looked, whole: true }))
            }
            Err(error @ (Error::Missing { .. } | Error::Corrupt { .. })) => {
                failed.get_or_insert_with(|| error.to_string());
                self.broken.insert(spot, error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn each(&self, root: BlobId, tell: &mut dyn FnMut(&Hit)) {
        let top = (root, b"/".to_vec());
        let mut todo = vec![&top];
        while let Some(looked) = todo.pop().and_then(|spot| self.looked.get(spot)) {
            looked.hits.iter().for_each(&mut *tell);
            todo.extend(&looked.below);
        }
    }
}

/// A path over time: its versions with what tells them apart, and the number of the last snapshot with it.
#[derive(Default)]
struct Trail {
    versions: Vec<(Version, [u8; 32])>,
    last: usize,
}

impl Trail {
    fn see(&mut self, hit: &Hit, snapshot: &Snapshot, number: usize) {
        self.last = number;
        match self.versions.last_mut() {
            Some((version, content)) if *content == hit.content => {
                version.last = sighting(snapshot);
                version.snapshots += 1;
                version.damaged |= hit.damaged;
            }
            _ => {
                let version = Version {
                    kind: hit.kind,
                    size: hit.size,
                    mtime: hit.mtime,
                    first: sighting(snapshot),
                    last: sighting(snapshot),
                    snapshots: 1,
                    damaged: hit.damaged,
                };
                self.versions.push((version, hit.content));
            }
        }
    }
}
