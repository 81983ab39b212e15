//! Older snapshots in which a file may have kin: the parent, what came before it, and, for a
//! model under a new name or in a new folder, all recent ones.
//!
//! Found lazily: nothing of it is read for files that did not change, or that have an older version
//! in their own place.
//!
//! Of each model at hand only its tensors' keys are kept, and once for all models with the same seam
//! table: eight bytes a tensor. Chunks and tensors are read of the few that a file is compared with.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, OnceLock};

use super::elements::{grid_of, hint_of};
use super::kin::{Kin, OLDER, Version, total};
use super::parent::ParentSnapshot;
use crate::chunk::ReadAt;
use crate::codec;
use crate::format::delta::stretch;
use crate::format::seams::Seam;
use crate::format::tree::{EXT_SQLITE, Node, NodeKind};
use crate::id::{BlobId, SnapshotId};
use crate::repo::lookup::{self, LastLink};
use crate::repo::reader::Reader;
use crate::repo::seams::table_of;
use crate::repo::session::Session;
use crate::repo::snapshots::Snapshot;

/// Committed snapshots looked at, newest first.
const MAX_SNAPSHOTS: usize = 400;
/// Of them, so many are searched for models: the newest of each host and paths.
const MAX_SEARCHED: usize = 8;
/// Directories of one snapshot that are searched.
const MAX_DIRECTORIES: usize = 200_000;
/// Files compared on a sample.
const MAX_COMPARED: usize = 8;
/// Pieces of the sample, spread over the file, of a pipe over what is at hand: some layers are frozen in training, and some rows
/// of a vocabulary never occur.
const SAMPLE_PIECES: u64 = 4;
/// Bytes of a piece.
const PIECE_BYTES: u64 = 48 << 10;

/// What a user named as the base of everything new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// A file or directory in it; `/` for all.
    pub path: Vec<u8>,
}

/// Where an older version lies: which snapshot, by its place in time, and under which path.
#[derive(Debug, Clone)]
pub struct Origin {
    at: usize,
    path: Vec<u8>,
    content: Vec<crate::format::content::Entry>,
}

/// A model in an older snapshot.
struct Model {
    origin: Origin,
    node: Node,
    /// Which of the sets of [`Models::keys`] it has.
    keys: usize,
}

/// The models among which kin is looked for.
#[derive(Default)]
struct Models {
    found: Vec<Model>,
    /// Keys of tensors, each set in order.
    keys: Vec<Vec<u64>>,
    /// By seam table: models of one make have the same.
    of_table: HashMap<BlobId, usize>,
    /// Databases, for [`super::likeness`].
    databases: Vec<(Vec<u8>, Node)>,
}

/// What makes two tensors comparable: name, type, shape but for the first dimension. Equal keys of others
/// cost a comparison in vain.
fn key(seam: &Seam) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&*seam.name, &*seam.dtype, seam.shape.len(), seam.shape.get(1..)).hash(&mut hasher);
    hasher.finish()
}

/// One that a file may be the difference to.
struct Candidate {
    bytes: u64,
    origin: Origin,
    version: Version,
}

/// See the module's words.
pub struct Ancestry<'a> {
    session: &'a Session,
    reader: &'a Reader,
    parent: Option<SnapshotId>,
    named: Option<Named>,
    /// Newest first.
    snapshots: OnceLock<Vec<Snapshot>>,
    models: OnceLock<Models>,
    compared: Mutex<()>,
}

impl<'a> Ancestry<'a> {
    /// For a run whose parent is `parent`.
    pub fn new(session: &'a Session, parent: &'a ParentSnapshot, named: Option<Named>) -> Self {
        Self {
            session,
            reader: parent.reader(),
            parent: parent.id(),
            named,
            snapshots: OnceLock::new(),
            models: OnceLock::new(),
            compared: Mutex::new(()),
        }
    }

    /// The session of this run.
    pub fn session(&self) -> &Session {
        self.session
    }

    /// Reads older blobs, by the session's index.
    pub fn reader(&self) -> &'a Reader {
        self.reader
    }

    /// What the file at `path` may be stored as the difference to: `before` is what the parent has in its
    /// place, `seams` are its tensors, and `at_hand` bytes of its `content` can be read.
    pub fn kin(
        &'a self,
        path: &[u8],
        before: Option<&Node>,
        seams: &[Seam],
        content: &dyn ReadAt,
        at_hand: u64,
    ) -> Option<Kin<'a>> {
        let own = before.filter(|node| self.named.is_none() && node.kind == NodeKind::File);
        if let Some(node) = own
            && let Some(version) = Version::of(node, self.reader)
            && version.matched(seams) >= total(seams.iter()).div_ceil(2)
        {
            let origin = Origin { at: self.parent_at(), path: path.to_vec(), content: node.content.clone() };
            return Some(Kin::new(self, seams.to_vec(), version, origin));
        }
        if seams.is_empty() {
            let named = self.named.as_ref()?;
            let (origin, node) = self.file_of(named, path)?;
            return Some(Kin::new(self, Vec::new(), Version::of(&node, self.reader)?, origin));
        }
        let mut best = self.likeliest(path, seams);
        let most = best.iter().map(|candidate| candidate.bytes).max().unwrap_or(0);
        best.retain(|candidate| candidate.bytes > 0 && candidate.bytes >= most.div_ceil(2));
        let Candidate { origin, version, .. } = match best.len() {
            0 => return None,
            1 => best.pop()?,
            _ => self.nearest(best, seams, content, at_hand)?,
        };
        Some(Kin::new(self, seams.to_vec(), version, origin))
    }

    /// The models that have the most in common with a file; among equals those whose path ends like its
    /// own, then the newest.
    fn likeliest(&self, path: &[u8], seams: &[Seam]) -> Vec<Candidate> {
        let models = self.models();
        let own: Vec<(u64, u64)> = seams.iter().map(|seam| (key(seam), seam.len)).collect();
        let common = |keys: &Vec<u64>| -> u64 {
            let common = own.iter().filter(|(key, _)| keys.binary_search(key).is_ok());
            common.fold(0, |sum, (_, len)| sum.saturating_add(*len))
        };
        let common: Vec<u64> = models.keys.iter().map(common).collect();
        let mut ranked: Vec<_> = models
            .found
            .iter()
            .filter(|model| common[model.keys] > 0)
            .map(|model| {
                let alike = alike(path, &model.origin.path);
                (std::cmp::Reverse((common[model.keys], alike)), model.origin.at, model)
            })
            .collect();
        ranked.sort_by_key(|(most, at, _)| (*most, *at));
        let version = |(.., model): (_, _, &Model)| {
            let version = Version::of(&model.node, self.reader)?;
            Some(Candidate { bytes: version.matched(seams), origin: model.origin.clone(), version })
        };
        ranked.into_iter().filter_map(version).take(MAX_COMPARED).collect()
    }

    /// The one to which a sample of the file is the shortest difference.
    fn nearest(
        &self,
        candidates: Vec<Candidate>,
        seams: &[Seam],
        content: &dyn ReadAt,
        at_hand: u64,
    ) -> Option<Candidate> {
        let mut pieces = Vec::new();
        for (seam, within, len) in sample(&candidates, seams, at_hand) {
            let mut plain = vec![0; usize::try_from(len).ok()?];
            if content.read_exact_at(seam.offset + within, &mut plain).is_ok_and(|whole| whole) {
                pieces.push((seam, within, plain));
            }
        }
        // One at a time: each reads a few megabytes of older versions. Nobody waits for another one's file.
        let _one = self.compared.lock().unwrap_or_else(|e| e.into_inner());
        let mut out = Vec::new();
        let mut cost = |version: &Version| -> usize {
            let cost = |(seam, within, plain): &(&Seam, u64, Vec<u8>)| -> usize {
                let hint = hint_of(seam, *within);
                let old = self.bytes_of(version, seam, *within, plain.len() as u64);
                match old.and_then(|old| codec::encode_delta(plain, &[&old], hint, &mut out)) {
                    Some(_) => out.len(),
                    None => plain.len(),
                }
            };
            pieces.iter().map(cost).sum()
        };
        let costs: Vec<usize> = candidates.iter().map(|candidate| cost(&candidate.version)).collect();
        // Among equals the first: most in common, then the likeliest place.
        let at = (0..costs.len()).min_by_key(|at| (costs[*at], *at))?;
        candidates.into_iter().nth(at)
    }

    /// What a version has in a stretch of a tensor.
    fn bytes_of(&self, version: &Version, seam: &Seam, within: u64, len: u64) -> Option<Vec<u8>> {
        let (start, old) = version.tensor(seam)?;
        let source = version.stretch(start + within, len.min(old.checked_sub(within)?))?;
        let blobs: Option<Vec<_>> =
            source.blobs.iter().map(|blob| self.reader.base_bytes(blob).ok()).collect();
        let bytes = stretch(&blobs?, source.offset as usize, source.len as usize).ok()?.into_owned();
        Some(bytes)
    }

    /// Committed snapshots that can be read, newest first.
    fn snapshots(&self) -> &[Snapshot] {
        self.snapshots.get_or_init(|| {
            let ids = self.session.ledger().committed();
            let all = ids.into_iter().rev().take(MAX_SNAPSHOTS);
            all.filter_map(|id| self.session.repo().snapshot(id).ok()).collect()
        })
    }

    fn parent_at(&self) -> usize {
        let at = |id| self.snapshots().iter().position(|snapshot| snapshot.id == id);
        self.parent.and_then(at).unwrap_or(usize::MAX)
    }

    /// Versions before the one at `origin`: other contents under the same path in older snapshots of
    /// the same host and paths, newest first.
    pub fn older(&self, origin: &Origin) -> Vec<Version> {
        let Some(newest) = self.snapshots().get(origin.at) else { return Vec::new() };
        let mut versions = Vec::new();
        let mut last = origin.content.clone();
        let same =
            |s: &&Snapshot| s.record.paths == newest.record.paths && s.record.host == newest.record.host;
        for snapshot in self.snapshots()[origin.at + 1..].iter().filter(same).take(4 * OLDER) {
            let found = lookup::resolve(self.reader, snapshot.record.root, &origin.path, LastLink::Keep);
            let node = found.ok().and_then(|found| found.node).filter(|node| node.kind == NodeKind::File);
            let Some(node) = node else { break };
            if node.content == last {
                continue;
            }
            last.clone_from(&node.content);
            versions.extend(Version::of(&node, self.reader));
            if versions.len() == OLDER {
                break;
            }
        }
        versions
    }

    /// Models in recent snapshots, or in what the user named.
    fn models(&self) -> &Models {
        self.models.get_or_init(|| {
            let mut models = Models::default();
            if let Some(named) = &self.named {
                let at = self.snapshots().iter().position(|s| s.id == named.snapshot);
                let Some(at) = at else { return models };
                let root = self.snapshots()[at].record.root;
                if let Ok(place) = lookup::resolve(self.reader, root, &named.path, LastLink::Follow) {
                    match (place.node, place.tree) {
                        (_, Some(tree)) => self.search(at, tree, &place.path, &mut models),
                        (Some(node), None) => self.add(at, place.path, node, &mut models),
                        (None, None) => {}
                    }
                }
                return models;
            }
            let mut groups = Vec::new();
            for (at, snapshot) in self.snapshots().iter().enumerate() {
                let group = (&snapshot.record.host, &snapshot.record.paths);
                if groups.contains(&group) {
                    continue;
                }
                groups.push(group);
                self.search(at, snapshot.record.root, b"/", &mut models);
                if groups.len() == MAX_SEARCHED {
                    break;
                }
            }
            models
        })
    }

    fn search(&self, at: usize, root: BlobId, path: &[u8], models: &mut Models) {
        let mut todo = vec![(root, path.to_vec())];
        let mut seen = 0;
        while let Some((tree, path)) = todo.pop() {
            seen += 1;
            let Ok(nodes) = self.reader.tree(tree) else { continue };
            if seen > MAX_DIRECTORIES {
                return;
            }
            for node in nodes {
                let path = lookup::join(&path, &node.name);
                if let Some(tree) = node.subtree() {
                    todo.push((tree, path));
                } else {
                    self.add(at, path, node, models);
                }
            }
        }
    }

    /// Takes a node in, if it is a model whose seam table can be read.
    fn add(&self, at: usize, path: Vec<u8>, node: Node, models: &mut Models) {
        let Some(table) = node.seams else {
            if node.extensions.iter().any(|extension| extension.tag == EXT_SQLITE) {
                models.databases.push((path, node));
            }
            return;
        };
        let keys = match models.of_table.get(&table) {
            Some(keys) => *keys,
            None => {
                let Ok(Some(table_of)) = table_of(&node, self.reader) else { return };
                let mut keys: Vec<u64> = table_of.seams.iter().map(key).collect();
                keys.sort_unstable();
                models.keys.push(keys);
                models.of_table.insert(table, models.keys.len() - 1);
                models.keys.len() - 1
            }
        };
        let origin = Origin { at, path, content: node.content.clone() };
        models.found.push(Model { origin, node, keys });
    }

    /// Databases in recent snapshots, or in what the user named: paths and nodes, those of newer snapshots first.
    pub(super) fn databases(&self) -> &[(Vec<u8>, Node)] {
        &self.models().databases
    }

    /// What the user named as the base of everything new: the file for `path`, if he did.
    pub(super) fn named_for(&self, path: &[u8]) -> Option<Option<Node>> {
        let named = self.named.as_ref()?;
        Some(self.file_of(named, path).map(|(_, node)| node))
    }

    /// The file that a user named, or the one of the same name below the directory he named.
    fn file_of(&self, named: &Named, path: &[u8]) -> Option<(Origin, Node)> {
        let at = self.snapshots().iter().position(|s| s.id == named.snapshot)?;
        let root = self.snapshots()[at].record.root;
        let place = lookup::resolve(self.reader, root, &named.path, LastLink::Follow).ok()?;
        let (path, node) = match (place.node, place.tree) {
            (Some(node), None) => (place.path, node),
            (_, Some(tree)) => {
                let name = path.rsplit(|b| *b == b'/').next()?;
                let node = self.reader.child(tree, name).ok().flatten()?;
                (lookup::join(&place.path, name), node)
            }
            (None, None) => return None,
        };
        (node.kind == NodeKind::File).then(|| (Origin { at, path, content: node.content.clone() }, node))
    }
}

/// Pieces of tensors that all candidates have, spread over the first `at_hand` bytes of a file, all of it but for a stream: each a tensor,
/// where in it, and how long.
fn sample<'s>(candidates: &[Candidate], seams: &'s [Seam], at_hand: u64) -> Vec<(&'s Seam, u64, u64)> {
    let begin = seams.iter().map(|seam| seam.offset).min().unwrap_or(0);
    let all = |seam: &&Seam| {
        let have = |c: &Candidate| c.version.tensor(seam).is_some_and(|(_, len)| len >= seam.len);
        seam.len > 0 && seam.offset < at_hand && candidates.iter().all(have)
    };
    let common: Vec<&Seam> = seams.iter().filter(all).collect();
    let end = seams.last().map_or(begin, |seam| seam.offset + seam.len).min(at_hand);
    let mut pieces: Vec<(&Seam, u64, u64)> = Vec::new();
    for n in 0..SAMPLE_PIECES {
        let at = begin + end.saturating_sub(begin) / (2 * SAMPLE_PIECES) * (2 * n + 1);
        // The tensor there; where not all have it, the next one.
        let next = common.partition_point(|seam| seam.offset + seam.len <= at);
        let Some(seam) = common.get(next).or(common.last()) else { break };
        let len = seam.len.min(end.saturating_sub(seam.offset));
        let within = at.saturating_sub(seam.offset).min(len.saturating_sub(PIECE_BYTES));
        let within = within - within % grid_of(seam);
        let piece = (*seam, within, (len - within).min(PIECE_BYTES));
        if piece.2 > 0 && !pieces.iter().any(|(s, at, _)| (s.offset, *at) == (piece.0.offset, piece.1)) {
            pieces.push(piece);
        }
    }
    pieces
}

/// Names at the end of two paths that are the same.
pub(super) fn alike(a: &[u8], b: &[u8]) -> usize {
    let (a, b) = (a.rsplit(|c| *c == b'/'), b.rsplit(|c| *c == b'/'));
    a.zip(b).take_while(|(a, b)| a == b).count()
}
