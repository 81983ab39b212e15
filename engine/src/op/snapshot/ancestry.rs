//! Older snapshots in which a file may have kin: the parent, what came before it, and, for a
//! model under a new name or in a new folder, all recent ones.
//!
//! Found lazily: nothing of it is read for files that did not change, or that have an older version
//! in their own place.

use std::sync::{Mutex, OnceLock};

use super::kin::{Kin, OLDER, Version};
use crate::codec::{self, Hint};
use crate::format::seams::Seam;
use crate::format::tree::{Node, NodeKind};
use crate::id::{BlobId, SnapshotId};
use crate::repo::lookup::{self, LastLink};
use crate::repo::reader::Reader;
use crate::repo::session::Session;
use crate::repo::snapshots::Snapshot;

/// Committed snapshots looked at, newest first.
const MAX_SNAPSHOTS: usize = 400;
/// Of them, so many are searched for models: the newest of each host and paths.
const MAX_SEARCHED: usize = 8;
/// Directories of one snapshot that are searched.
const MAX_DIRECTORIES: usize = 200_000;
/// Files compared on a sample.
const MAX_COMPARED: usize = 4;
/// Bytes of the sample.
const SAMPLE_BYTES: u64 = 192 << 10;

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
}

/// See the module's words.
pub struct Ancestry<'a> {
    session: &'a Session,
    reader: Reader,
    parent: Option<SnapshotId>,
    named: Option<Named>,
    /// Newest first.
    snapshots: OnceLock<Vec<Snapshot>>,
    models: OnceLock<Vec<Model>>,
    compared: Mutex<()>,
}

impl<'a> Ancestry<'a> {
    /// For a run whose parent is `parent`.
    pub fn new(session: &'a Session, parent: Option<SnapshotId>, named: Option<Named>) -> Self {
        let reader = Reader::with_index(session.repo(), session.index().clone());
        Self {
            session,
            reader,
            parent,
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
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// What the file at `path` may be stored as the difference to: `before` is what the parent has in its
    /// place, `seams` are its tensors, `first` its first bytes.
    pub fn kin(
        &'a self,
        path: &[u8],
        before: Option<&Node>,
        seams: &[Seam],
        first: &[u8],
    ) -> Option<Kin<'a>> {
        let own = before.filter(|node| self.named.is_none() && node.kind == NodeKind::File);
        if let Some(node) = own
            && let Some(version) = Version::of(node, &self.reader)
            && matched(&version, seams) * 2 >= total(seams)
        {
            let origin = Origin { at: self.parent_at(), path: path.to_vec(), content: node.content.clone() };
            return Some(Kin::new(self, seams.to_vec(), version, origin));
        }
        if seams.is_empty() {
            let named = self.named.as_ref()?;
            let (origin, node) = self.file_of(named, path)?;
            return Some(Kin::new(self, Vec::new(), Version::of(&node, &self.reader)?, origin));
        }
        let mut best: Vec<(u64, Origin, Version)> = Vec::new();
        for model in self.models() {
            let Some(version) = Version::of(&model.node, &self.reader) else { continue };
            let bytes = matched(&version, seams);
            if bytes > 0 {
                best.push((bytes, model.origin.clone(), version));
                best.sort_by_key(|(bytes, origin, _)| (std::cmp::Reverse(*bytes), origin.at));
                best.truncate(MAX_COMPARED);
            }
        }
        let most = best.first().map_or(0, |(bytes, ..)| *bytes);
        best.retain(|(bytes, ..)| *bytes * 2 >= most);
        let (_, origin, version) = match best.len() {
            0 => return None,
            1 => best.pop()?,
            _ => self.nearest(best, seams, first)?,
        };
        Some(Kin::new(self, seams.to_vec(), version, origin))
    }

    /// The one to which a sample of the file is the shortest difference.
    fn nearest(
        &self,
        candidates: Vec<(u64, Origin, Version)>,
        seams: &[Seam],
        first: &[u8],
    ) -> Option<(u64, Origin, Version)> {
        // One at a time: each reads a few megabytes.
        let _one = self.compared.lock().unwrap_or_else(|e| e.into_inner());
        let inside = |seam: &&Seam| seam.offset + seam.len.min(SAMPLE_BYTES) <= first.len() as u64;
        let all = |seam: &&Seam| candidates.iter().all(|(.., version)| version.tensor(seam).is_some());
        let sample = seams.iter().filter(inside).filter(all).max_by_key(|seam| seam.len)?;
        let len = sample.len.min(SAMPLE_BYTES);
        let plain = first.get(usize::try_from(sample.offset).ok()?..)?.get(..usize::try_from(len).ok()?)?;
        let hint = Hint { element: super::kin::element(sample) };
        let mut out = Vec::new();
        let cost = |version: &Version, out: &mut Vec<u8>| -> usize {
            let bytes = version.tensor(sample).and_then(|(start, old)| {
                let source = version.stretch(start, len.min(old))?;
                let blobs: Option<Vec<_>> =
                    source.blobs.iter().map(|blob| self.reader.base_bytes(blob).ok()).collect();
                let (blobs, offset) = (blobs?, source.offset as usize);
                crate::format::delta::stretch(&blobs, offset, source.len as usize)
                    .ok()
                    .map(|b| b.into_owned())
            });
            let Some(bytes) = bytes else { return usize::MAX };
            match codec::encode_delta(plain, &[&bytes], hint, out) {
                Some(_) => out.len(),
                None => usize::MAX - 1,
            }
        };
        let costs: Vec<usize> = candidates.iter().map(|(.., version)| cost(version, &mut out)).collect();
        // Among equals the first: most in common, then the newest.
        let at = (0..costs.len()).min_by_key(|at| (costs[*at], *at))?;
        candidates.into_iter().nth(at)
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
            let found = lookup::resolve(&self.reader, snapshot.record.root, &origin.path, LastLink::Keep);
            let node = found.ok().and_then(|found| found.node).filter(|node| node.kind == NodeKind::File);
            let Some(node) = node else { break };
            if node.content == last {
                continue;
            }
            last.clone_from(&node.content);
            versions.extend(Version::of(&node, &self.reader));
            if versions.len() == OLDER {
                break;
            }
        }
        versions
    }

    /// Models in recent snapshots, or in what the user named.
    fn models(&self) -> &[Model] {
        self.models.get_or_init(|| {
            let mut found = Vec::new();
            if let Some(named) = &self.named {
                let at = self.snapshots().iter().position(|s| s.id == named.snapshot);
                let Some(at) = at else { return found };
                let root = self.snapshots()[at].record.root;
                if let Ok(place) = lookup::resolve(&self.reader, root, &named.path, LastLink::Follow) {
                    match (place.node, place.tree) {
                        (_, Some(tree)) => self.search(at, tree, &place.path, &mut found),
                        (Some(node), None) if node.seams.is_some() => {
                            let origin = Origin { at, path: place.path, content: node.content.clone() };
                            found.push(Model { origin, node });
                        }
                        _ => {}
                    }
                }
                return found;
            }
            let mut groups = Vec::new();
            for (at, snapshot) in self.snapshots().iter().enumerate() {
                let group = (&snapshot.record.host, &snapshot.record.paths);
                if groups.contains(&group) {
                    continue;
                }
                groups.push(group);
                self.search(at, snapshot.record.root, b"/", &mut found);
                if groups.len() == MAX_SEARCHED {
                    break;
                }
            }
            found
        })
    }

    fn search(&self, at: usize, root: BlobId, path: &[u8], found: &mut Vec<Model>) {
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
                } else if node.seams.is_some() {
                    found.push(Model { origin: Origin { at, path, content: node.content.clone() }, node });
                }
            }
        }
    }

    /// The file that a user named, or the one of the same name below the directory he named.
    fn file_of(&self, named: &Named, path: &[u8]) -> Option<(Origin, Node)> {
        let at = self.snapshots().iter().position(|s| s.id == named.snapshot)?;
        let root = self.snapshots()[at].record.root;
        let place = lookup::resolve(&self.reader, root, &named.path, LastLink::Follow).ok()?;
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

/// Bytes of tensors that another version has too.
fn matched(version: &Version, seams: &[Seam]) -> u64 {
    seams.iter().filter(|seam| version.tensor(seam).is_some()).map(|seam| seam.len).sum()
}

fn total(seams: &[Seam]) -> u64 {
    seams.iter().map(|seam| seam.len).sum()
}
