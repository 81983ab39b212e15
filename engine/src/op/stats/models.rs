//! `stats --models`: what each version of a model cost when it came, by part of the network.
//!
//! Snapshots of one host and the same paths are gone through from the oldest on. A version pays for the chunks that
//! no model in an earlier one of them has, nor one before it in its own: with their share of the frames they are in.
//! So no byte is counted twice, and what two models share is the first one's. Lists, directories and seam tables are
//! not counted.
//!
//! Memory: a bit for each blob of the repository, the tensors and chunks of one file, and some 100 bytes for each file
//! of a model in each snapshot.

mod cost;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use super::{Error, Result, View};
use crate::error::printable;
use crate::format::content::Entry;
use crate::format::tree::{Node, NodeKind};
use crate::format::wire::{Bytes, Stamp};
use crate::id::{BlobId, SnapshotId};
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::layers::Part;
use crate::repo::lookup::{self, LastLink, join};
use crate::repo::model::{Model, is_index};
use crate::repo::snapshots::{Filter, Snapshot};
use cost::Payers;

/// A model in one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Version {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// When it was taken.
    pub time: Stamp,
    /// Length of the model's files.
    pub bytes: u64,
    /// Is it another one than in the snapshot before?
    pub changed: bool,
    /// Plaintext of what it brought.
    pub new_bytes: u64,
    /// What that takes in packs.
    pub stored_bytes: u64,
    /// The same by part of the network, without those that brought nothing.
    pub parts: BTreeMap<Part, u64>,
}

/// A model and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lineage {
    /// What it is found by in the newest snapshot: a file, or the index of its shards.
    pub path: Bytes,
    /// In each snapshot that has it, oldest first.
    pub versions: Vec<Version>,
}

/// What was found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ModelsReport {
    /// Snapshots looked at, over all hosts and paths.
    pub snapshots: u64,
    /// Each model, in the order of its first snapshot, then of paths.
    pub models: Vec<Lineage>,
    /// What could not be read, with the reason: it does not count.
    pub unreadable: Vec<(String, String)>,
}

/// Of the models at these places, each a snapshot and a path in it; without a path all models in it. Earlier
/// snapshots of the same host and paths are looked at as far as they fit `filter`.
///
/// # Errors
/// [`Error::Usage`] where a path leads to no model; those of reading, but for what is damaged, which is reported.
pub fn models(
    repo: &Repository,
    of: &[(SnapshotId, Option<Vec<u8>>)],
    filter: &Filter,
    progress: &dyn Progress,
) -> Result<ModelsReport> {
    let view = View::read(repo, progress)?;
    let mut report = ModelsReport { unreadable: view.unreadable.clone(), ..ModelsReport::default() };
    progress.phase("looking at models", None, None);
    progress.unit("snapshots");
    for (last, paths) in newest_of_rows(repo, of, filter)? {
        let mut line: Vec<&Snapshot> = view.snapshots.iter().filter(|s| belongs(s, &last, filter)).collect();
        if !line.iter().any(|snapshot| snapshot.id == last.id) {
            line.push(&last);
        }
        report.snapshots += line.len() as u64;
        let mut teller = Teller { view: &view, payers: Payers::new(&view) };
        let found = teller.all(&line, &last, &paths, progress, &mut report.unreadable)?;
        report.models.extend(found);
    }
    let first = |lineage: &Lineage| lineage.versions.first().map(|version| version.time.to_ns());
    report.models.sort_by(|a, b| first(a).cmp(&first(b)).then_with(|| a.path.cmp(&b.path)));
    Ok(report)
}

/// What is asked of a snapshot.
type Asked<'a> = (Snapshot, Vec<Option<&'a [u8]>>);

/// Each snapshot once, with all paths that are asked of it, newest first. One that is in the row of a newer one, asked
/// for nothing else, is told of by that.
fn newest_of_rows<'a>(
    repo: &Repository,
    of: &'a [(SnapshotId, Option<Vec<u8>>)],
    filter: &Filter,
) -> Result<Vec<Asked<'a>>> {
    let mut asked: Vec<Asked<'a>> = Vec::new();
    for (id, path) in of {
        match asked.iter_mut().find(|(known, _)| known.id == *id) {
            Some((_, paths)) => paths.push(path.as_deref()),
            None => asked.push((repo.snapshot(*id)?, vec![path.as_deref()])),
        }
    }
    asked.sort_by_key(|(snapshot, _)| Reverse((snapshot.record.time.to_ns(), *snapshot.id.as_bytes())));
    let mut kept: Vec<Asked<'a>> = Vec::new();
    for (snapshot, paths) in asked {
        let told = kept.iter().any(|(newer, all)| {
            belongs(&snapshot, newer, filter) && paths.iter().all(|path| all.contains(path))
        });
        if !told {
            kept.push((snapshot, paths));
        }
    }
    Ok(kept)
}

fn belongs(snapshot: &Snapshot, last: &Snapshot, filter: &Filter) -> bool {
    let (a, b) = (&snapshot.record, &last.record);
    a.host == b.host && a.paths == b.paths && a.time.to_ns() <= b.time.to_ns() && filter.fits(a)
}

struct Teller<'v> {
    view: &'v View,
    payers: Payers<'v>,
}

impl Teller<'_> {
    fn all(
        &mut self,
        line: &[&Snapshot],
        last: &Snapshot,
        paths: &[Option<&[u8]>],
        progress: &dyn Progress,
        unreadable: &mut Vec<(String, String)>,
    ) -> Result<Vec<Lineage>> {
        let reader = &self.view.reader;
        let mut wanted = Vec::new();
        for path in paths {
            match path {
                Some(path) => match Model::find(reader, last.record.root, path) {
                    Ok(model) => wanted.push(model.path),
                    // A directory with several, or with one further down.
                    Err(Error::Usage(why)) => {
                        let place = lookup::resolve(reader, last.record.root, path, LastLink::Follow)?;
                        let Some(tree) = place.tree else { return Err(Error::Usage(why)) };
                        let below =
                            in_directory(self.view, last.record.root, (tree, place.path), unreadable)?;
                        if below.is_empty() {
                            return Err(Error::Usage(why));
                        }
                        wanted.extend(below);
                    }
                    Err(error) => return Err(error),
                },
                None => {
                    let top = (last.record.root, b"/".to_vec());
                    wanted.extend(in_directory(self.view, last.record.root, top, unreadable)?);
                }
            }
        }
        wanted.sort();
        wanted.dedup();
        let mut found: Vec<(Vec<Version>, Option<Vec<Vec<Entry>>>)> = vec![Default::default(); wanted.len()];
        for (at, snapshot) in line.iter().enumerate() {
            progress.check()?;
            self.payers.pay(at, snapshot.record.root, unreadable)?;
            for (path, (versions, before)) in wanted.iter().zip(&mut found) {
                let Some(model) = self.find(snapshot, path, unreadable)? else { continue };
                for shard in &model.shards {
                    // Without a seam table: stored from a pipe, or by an older version.
                    self.payers.pay_for(at, shard.path.clone(), shard.node.clone(), unreadable)?;
                }
                let now: Vec<Vec<Entry>> = model.shards.iter().map(|s| s.node.content.clone()).collect();
                let changed = before.as_ref() != Some(&now);
                versions.push(self.version(at, snapshot, &model, changed));
                *before = Some(now);
            }
            progress.advance(1, 0);
        }
        let lineage = |(path, (versions, _))| Lineage { path: Bytes(path), versions };
        Ok(wanted.into_iter().zip(found).map(lineage).collect())
    }

    /// The model of that name in a snapshot, if it is there.
    fn find(
        &self,
        snapshot: &Snapshot,
        path: &[u8],
        unreadable: &mut Vec<(String, String)>,
    ) -> Result<Option<Model>> {
        match Model::find(&self.view.reader, snapshot.record.root, path) {
            Ok(model) => Ok(Some(model)),
            Err(Error::NotFound { .. } | Error::Usage(_)) => Ok(None),
            Err(error) => {
                tell(unreadable, path, error)?;
                Ok(None)
            }
        }
    }

    fn version(&self, at: usize, snapshot: &Snapshot, model: &Model, changed: bool) -> Version {
        let cost = self.payers.brought(at, model);
        let whole = |stored: u128| u64::try_from((stored + (1 << 19)) >> 20).unwrap_or(u64::MAX);
        Version {
            snapshot: snapshot.id,
            time: snapshot.record.time,
            bytes: model.shards.iter().fold(0, |sum: u64, shard| sum.saturating_add(shard.node.size)),
            changed,
            new_bytes: cost.new_bytes,
            stored_bytes: whole(cost.parts.values().sum()),
            parts: cost.parts.into_iter().map(|(part, stored)| (part, whole(stored))).collect(),
        }
    }
}

fn is_tensors(node: &Node) -> bool {
    node.kind == NodeKind::File && node.seams.is_some()
}

fn tell(unreadable: &mut Vec<(String, String)>, path: &[u8], error: Error) -> Result<()> {
    match error {
        Error::Missing { .. } | Error::Corrupt { .. } => {
            let told = (printable(path), error.to_string());
            if !unreadable.contains(&told) {
                unreadable.push(told);
            }
            Ok(())
        }
        error => Err(error),
    }
}

/// Paths of all models below a directory; the shards that an index names are one.
fn in_directory(
    view: &View,
    root: BlobId,
    top: (BlobId, Vec<u8>),
    unreadable: &mut Vec<(String, String)>,
) -> Result<Vec<Vec<u8>>> {
    let (mut found, mut todo) = (Vec::new(), vec![top]);
    while let Some((tree, path)) = todo.pop() {
        let nodes = match view.reader.tree(tree) {
            Ok(nodes) => nodes,
            Err(error) => {
                tell(unreadable, &path, error)?;
                continue;
            }
        };
        let mut shards = HashSet::new();
        for node in nodes.iter().filter(|node| node.kind == NodeKind::File && is_index(&node.name)) {
            let path = join(&path, &node.name);
            match Model::of_node(&view.reader, root, &path, node) {
                Ok(Some(model)) => {
                    shards.extend(model.shards.into_iter().map(|shard| shard.path));
                    found.push(path);
                }
                // An index of something else, or of shards that are not all there.
                Ok(None) | Err(Error::Usage(_) | Error::NotFound { .. }) => {}
                Err(error) => tell(unreadable, &path, error)?,
            }
        }
        for node in nodes {
            let path = join(&path, &node.name);
            match node.subtree() {
                Some(tree) => todo.push((tree, path)),
                None if is_tensors(&node) && !shards.contains(&path) => found.push(path),
                None => {}
            }
        }
    }
    Ok(found)
}
