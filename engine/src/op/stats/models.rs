//! `stats --models`: what each version of a model cost when it came, by part of the network.
//!
//! Snapshots of one host and the same paths are gone through from the oldest on. A version pays for the chunks that
//! no model in an earlier one of them has, nor one before it in its own: with their share of the frames they are in.
//! So no byte is counted twice, and what two models share is the first one's. Lists, directories and seam tables are
//! not counted.
//!
//! Memory: a bit for each blob of the repository, the tensors and chunks of one file, and some 100 bytes for each file
//! of a model in each snapshot.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::owners::chosen;
use super::{Error, Result, View};
use crate::error::printable;
use crate::format::content::Entry;
use crate::format::seams::Seam;
use crate::format::tree::{Node, NodeKind};
use crate::format::wire::{Bytes, Stamp};
use crate::id::{BlobId, BlobKind, SnapshotId};
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::bases::Bases;
use crate::repo::layers::Part;
use crate::repo::lookup::{self, LastLink, join};
use crate::repo::model::{Model, is_index};
use crate::repo::seams::table_of;
use crate::repo::snapshots::{Filter, Snapshot};
use crate::repo::trees::Piece;

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
    let mut wanted: Vec<(SnapshotId, Vec<Option<&[u8]>>)> = Vec::new();
    for (id, path) in of {
        match wanted.iter_mut().find(|(known, _)| known == id) {
            Some((_, paths)) => paths.push(path.as_deref()),
            None => wanted.push((*id, vec![path.as_deref()])),
        }
    }
    // Of two snapshots in one row the earlier, asked for the same, is told of by the later.
    let rows: Vec<Snapshot> = wanted.iter().map(|(id, _)| repo.snapshot(*id)).collect::<Result<_>>()?;
    let told = |at: usize| {
        rows.iter().zip(&wanted).any(|(later, (id, paths))| {
            *id != rows[at].id
                && belongs(&rows[at], later, filter)
                && wanted[at].1.iter().all(|p| paths.contains(p))
                && (later.record.time.to_ns(), later.id.as_bytes())
                    > (rows[at].record.time.to_ns(), rows[at].id.as_bytes())
        })
    };
    let kept: Vec<usize> = (0..wanted.len()).filter(|at| !told(*at)).collect();
    let wanted: Vec<_> = kept.into_iter().map(|at| wanted[at].clone()).collect();
    for (id, paths) in wanted {
        let last = repo.snapshot(id)?;
        let mut line: Vec<&Snapshot> = view.snapshots.iter().filter(|s| belongs(s, &last, filter)).collect();
        if !line.iter().any(|snapshot| snapshot.id == id) {
            line.push(&last);
        }
        report.snapshots += line.len() as u64;
        let bases = Bases::new(&view.holdings, &view.reader);
        let mut teller =
            Teller { view: &view, bases, seen: Vec::new(), trees: HashSet::new(), files: HashMap::new() };
        teller.seen.resize(view.holdings.inventory.blobs().len(), false);
        let found = teller.all(&line, &last, &paths, progress, &mut report.unreadable)?;
        report.models.extend(found);
    }
    let first = |lineage: &Lineage| lineage.versions.first().map(|version| version.time.to_ns());
    report.models.sort_by(|a, b| first(a).cmp(&first(b)).then_with(|| a.path.cmp(&b.path)));
    Ok(report)
}

fn belongs(snapshot: &Snapshot, last: &Snapshot, filter: &Filter) -> bool {
    let (a, b) = (&snapshot.record, &last.record);
    a.host == b.host && a.paths == b.paths && a.time.to_ns() <= b.time.to_ns() && filter.fits(a)
}

/// What a file brought.
#[derive(Debug, Clone, Default)]
struct Cost {
    new_bytes: u64,
    /// In 2^-20 bytes.
    parts: BTreeMap<Part, u128>,
}

/// A file of a model as it was last.
struct Known {
    content: Vec<Entry>,
    /// In which snapshot of the line it came.
    at: usize,
    cost: Cost,
}

struct Teller<'v> {
    view: &'v View,
    bases: Bases<'v>,
    /// By the number of a blob's first copy: was it paid for?
    seen: Vec<bool>,
    /// Directories that were gone through, by place: the same one there says nothing new.
    trees: HashSet<(BlobId, Vec<u8>)>,
    files: HashMap<Vec<u8>, Known>,
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
            self.pay(at, snapshot.record.root, unreadable)?;
            for (path, (versions, before)) in wanted.iter().zip(&mut found) {
                let Some(model) = self.find(snapshot, path, unreadable)? else { continue };
                for shard in &model.shards {
                    // Without a seam table: stored from a pipe, or by an older version.
                    self.pay_for(at, shard.path.clone(), shard.node.clone(), unreadable)?;
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
        let mut sum = Cost::default();
        let mut files: Vec<&[u8]> = model.shards.iter().map(|shard| &shard.path[..]).collect();
        files.sort_unstable();
        files.dedup();
        for known in files.iter().filter_map(|path| self.files.get(*path)).filter(|known| known.at == at) {
            sum.new_bytes += known.cost.new_bytes;
            for (part, stored) in &known.cost.parts {
                *sum.parts.entry(*part).or_default() += stored;
            }
        }
        let whole = |stored: u128| u64::try_from((stored + (1 << 19)) >> 20).unwrap_or(u64::MAX);
        Version {
            snapshot: snapshot.id,
            time: snapshot.record.time,
            bytes: model.shards.iter().fold(0, |sum: u64, shard| sum.saturating_add(shard.node.size)),
            changed,
            new_bytes: sum.new_bytes,
            stored_bytes: whole(sum.parts.values().sum()),
            parts: sum.parts.into_iter().map(|(part, stored)| (part, whole(stored))).collect(),
        }
    }

    /// Each file of a model that came with a snapshot pays for what nothing before it had.
    fn pay(&mut self, at: usize, root: BlobId, unreadable: &mut Vec<(String, String)>) -> Result<()> {
        let mut todo = vec![(root, b"/".to_vec())];
        while let Some((tree, path)) = todo.pop() {
            if !self.trees.insert((tree, path.clone())) {
                continue;
            }
            let nodes = match self.view.reader.tree(tree) {
                Ok(nodes) => nodes,
                Err(error) => {
                    tell(unreadable, &path, error)?;
                    continue;
                }
            };
            // The first by name is on top.
            for node in nodes.iter().rev() {
                todo.extend(node.subtree().map(|tree| (tree, join(&path, &node.name))));
            }
            for node in nodes.into_iter().filter(is_tensors) {
                let path = join(&path, &node.name);
                self.pay_for(at, path, node, unreadable)?;
            }
        }
        Ok(())
    }

    /// One file, if its content there is new.
    fn pay_for(
        &mut self,
        at: usize,
        path: Vec<u8>,
        node: Node,
        unreadable: &mut Vec<(String, String)>,
    ) -> Result<()> {
        if self.files.get(&path).is_some_and(|known| known.content == node.content) {
            return Ok(());
        }
        match self.cost(&node) {
            Ok(cost) => drop(self.files.insert(path, Known { content: node.content, at, cost })),
            Err(error) => tell(unreadable, &path, error)?,
        }
        Ok(())
    }

    fn cost(&mut self, node: &Node) -> Result<Cost> {
        let (pieces, _) = self.view.reader.pieces(&node.content)?;
        let mut seams = table_of(node, &self.view.reader)?.map(|table| table.seams).unwrap_or_default();
        seams.retain(|seam| seam.len > 0 && seam.offset.checked_add(seam.len).is_some());
        seams.sort_by_key(|seam| seam.offset);
        // Of tensors that lie on one another the first has the bytes.
        let mut end = 0;
        seams.retain(|seam| {
            seam.offset >= end && {
                end = seam.offset + seam.len;
                true
            }
        });
        let inventory = &self.view.holdings.inventory;
        let mut cost = Cost::default();
        for piece in &pieces {
            let Entry::Chunk { id, len } = piece.entry else { continue };
            let copies = inventory.copies(BlobKind::Chunk as u8, &id);
            let Some(first) = copies.first().map(|copy| *copy as usize) else {
                let reason = "no index object names it".into();
                return Err(Error::Missing { blob: format!("chunk {}", id.short()), reason });
            };
            if std::mem::replace(&mut self.seen[first], true) {
                continue;
            }
            let Some(copy) = chosen(inventory, &self.bases, copies) else { continue };
            let frame = &inventory.frames()[inventory.blobs()[copy as usize].frame as usize];
            cost.new_bytes += u64::from(len);
            let part = u128::from(len.min(frame.plain_len));
            let stored = (u128::from(frame.stored_len) << 20) * part / u128::from(frame.plain_len.max(1));
            split(piece, &seams, stored, &mut cost.parts);
        }
        Ok(cost)
    }
}

/// What a chunk takes, by the tensors it holds; what lies between tensors is [`Part::Other`].
fn split(piece: &Piece, seams: &[Seam], stored: u128, parts: &mut BTreeMap<Part, u128>) {
    let (start, len) = (piece.offset, piece.entry.content_len());
    let first = seams.partition_point(|seam| seam.offset + seam.len <= start);
    let mut left = stored;
    for seam in seams[first..].iter().take_while(|seam| seam.offset < start + len) {
        let common = (seam.offset + seam.len).min(start + len).saturating_sub(seam.offset.max(start));
        let share = (stored * u128::from(common) / u128::from(len.max(1))).min(left);
        left -= share;
        *parts.entry(Part::of(&seam.name)).or_default() += share;
    }
    if left > 0 {
        *parts.entry(Part::Other).or_default() += left;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_shared_out_to_its_tensors() {
        let seam = |name: &str, offset, len| Seam {
            name: Bytes::from(name.as_bytes()),
            dtype: Bytes::from(&b"U8"[..]),
            shape: vec![len],
            offset,
            len,
        };
        let seams = [seam("model.norm.weight", 8, 2), seam("h.0.attn.w", 10, 30), seam("h.0.mlp.w", 50, 50)];
        let of = |offset: u64, len: u32| {
            let mut parts = BTreeMap::new();
            let entry = Entry::Chunk { id: BlobId([1; 32]), len };
            split(&Piece { offset, entry }, &seams, u128::from(len) * 10, &mut parts);
            parts.into_iter().collect::<Vec<_>>()
        };
        use Part::*;
        assert_eq!(of(0, 8), [(Other, 80)]);
        assert_eq!(of(10, 20), [(Attention, 200)]);
        assert_eq!(of(0, 100), [(Attention, 300), (Mlp, 500), (Norms, 20), (Other, 180)]);
        assert_eq!(of(95, 20), [(Mlp, 50), (Other, 150)]);
        // Tables may lie: two tensors in one place take no more than there is.
        let both = [seam("a.attn", 0, 10), seam("a.mlp", 0, 10)];
        let mut parts = BTreeMap::new();
        split(
            &Piece { offset: 0, entry: Entry::Chunk { id: BlobId([1; 32]), len: 10 } },
            &both,
            70,
            &mut parts,
        );
        assert_eq!(parts.into_values().sum::<u128>(), 70);
    }
}
