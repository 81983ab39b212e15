//! Which files of which snapshots are hit by a lost blob.
//!
//! A tree is looked into once to learn which faults are below it; only where there is one do paths
//! come into it, the newest snapshot's first. A tree that stands at the same path in several
//! snapshots is gone through once.
//!
//! Memory: 40 bytes a tree or list that snapshots have, and [`MAX_PATHS`] hashes of 24 bytes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::content::Entry;
use crate::format::tree::{Node, TreeV1};
use crate::format::wire::Bytes;
use crate::id::{BlobId, BlobKind, BlobRef, SnapshotId};
use crate::op::check::faults::{FaultNumber, Findings};
use crate::op::check::report::{CheckReport, Touched, Touches};
use crate::op::check::scene::Scene;
use crate::progress::Progress;
use crate::repo::reader::Reader;

/// Paths that are named one by one.
const FIRST: usize = 10;
/// Hashes of paths kept: then counting stops.
pub const MAX_PATHS: usize = 2_000_000;
/// A directory deeper than any system's paths: no snapshot has one.
const MAX_PATH_BYTES: usize = 1 << 20;

/// Faults below a tree or list; `None` where there are none.
type Below = Option<Arc<[FaultNumber]>>;

/// Fills in what each fault touches, and all of them together.
pub fn name(
    scene: &Scene,
    reader: &Reader,
    found: &mut Findings,
    report: &mut CheckReport,
    progress: &dyn Progress,
) -> Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    let lost = std::mem::take(&mut found.lost);
    let mut all = Touches::default();
    let mut hit: Vec<HashSet<SnapshotId>> = vec![HashSet::new(); found.len()];
    for (number, hit) in (0..).zip(&mut hit) {
        hit.extend(found.touches_of(number).whole_snapshots.iter().copied());
    }
    let whole: HashSet<SnapshotId> = hit.iter().flatten().copied().collect();
    if !lost.is_empty() {
        progress.phase("finding touched files", Some(scene.snapshots.len() as u64), None);
        progress.unit("snapshots");
        let mut search = Search {
            reader,
            lost: &lost,
            progress,
            known: HashMap::new(),
            gone_through: HashSet::new(),
            seen: HashSet::new(),
        };
        // The newest first: it is the one that is asked for.
        for (id, root) in scene.snapshots.iter().rev() {
            progress.check()?;
            progress.advance(1, 0);
            search.snapshot(*id, *root, found, &mut all, &mut hit)?;
        }
    }
    let mut everyone: HashSet<SnapshotId> = whole;
    for (number, hit) in (0..).zip(hit) {
        found.touches_of(number).snapshots = hit.len() as u64;
        everyone.extend(hit);
    }
    let mut wholly: BTreeSet<SnapshotId> = BTreeSet::new();
    for number in 0..found.len() as FaultNumber {
        let touches = found.touches_of(number);
        touches.whole_snapshots.sort();
        touches.whole_snapshots.dedup();
        wholly.extend(touches.whole_snapshots.iter().copied());
    }
    all.whole_snapshots = wholly.into_iter().collect();
    all.snapshots = everyone.len() as u64;
    report.touches = all;
    Ok(())
}

struct Search<'a> {
    reader: &'a Reader,
    lost: &'a HashMap<BlobRef, Vec<FaultNumber>>,
    progress: &'a dyn Progress,
    known: HashMap<BlobRef, Below>,
    /// Trees by their path.
    gone_through: HashSet<[u8; 16]>,
    /// Paths by the fault; `u32::MAX` for any.
    seen: HashSet<(FaultNumber, [u8; 16])>,
}

/// A tree or list whose children are being looked into.
struct Open {
    blob: BlobRef,
    children: Vec<BlobRef>,
    faults: BTreeSet<FaultNumber>,
}

impl Search<'_> {
    fn snapshot(
        &mut self,
        id: SnapshotId,
        root: BlobId,
        found: &mut Findings,
        all: &mut Touches,
        hit: &mut [HashSet<SnapshotId>],
    ) -> Result<()> {
        let top = BlobRef::new(BlobKind::Tree, root);
        let Some(faults) = self.below(top)? else { return Ok(()) };
        faults.iter().for_each(|number| _ = hit[*number as usize].insert(id));
        if let Some(numbers) = self.lost.get(&top) {
            numbers.iter().for_each(|number| found.takes_snapshot(*number, id));
            return Ok(());
        }
        let mut todo = vec![(top, Vec::from(*b"/"))];
        while let Some((tree, path)) = todo.pop() {
            self.progress.check()?;
            if self.seen.len() + self.gone_through.len() > MAX_PATHS || path.len() > MAX_PATH_BYTES {
                all.at_least = true;
                for number in faults.iter() {
                    found.touches_of(*number).at_least = true;
                }
                return Ok(());
            }
            if !self.gone_through.insert(short_hash(&path, tree.id.as_bytes())) {
                continue;
            }
            if let Some(numbers) = self.lost.get(&tree) {
                self.record(id, path, numbers, found, all);
                continue;
            }
            let Some(tree) = self.tree(tree)? else { continue };
            for part in &tree.parts {
                let part = BlobRef::new(BlobKind::TreePart, part.id);
                if self.below(part)?.is_some() {
                    todo.push((part, path.clone()));
                }
            }
            for node in &tree.nodes {
                let mut below = path.clone();
                below.extend_from_slice(&node.name);
                match node.subtree() {
                    Some(tree) => {
                        let tree = BlobRef::new(BlobKind::Tree, tree);
                        if self.below(tree)?.is_some() {
                            below.push(b'/');
                            todo.push((tree, below));
                        }
                    }
                    None => {
                        let numbers = self.of_file(node)?;
                        if !numbers.is_empty() {
                            self.record(id, below, &numbers, found, all);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn record(
        &mut self,
        snapshot: SnapshotId,
        path: Vec<u8>,
        numbers: &[FaultNumber],
        found: &mut Findings,
        all: &mut Touches,
    ) {
        let hash = short_hash(&path, &[]);
        let touched = Touched { snapshot, path: Bytes(path) };
        for number in numbers {
            if self.seen.insert((*number, hash)) {
                add(found.touches_of(*number), &touched);
            }
        }
        if self.seen.insert((FaultNumber::MAX, hash)) {
            add(all, &touched);
        }
    }

    /// Faults of a file's own content.
    fn of_file(&mut self, node: &Node) -> Result<Vec<FaultNumber>> {
        let mut numbers = BTreeSet::new();
        let mut lists = Vec::new();
        let seams = node.seams.map(|id| BlobRef::new(BlobKind::Seams, id));
        numbers.extend(seams.and_then(|s| self.lost.get(&s)).into_iter().flatten());
        self.entries(&node.content, &mut numbers, &mut lists);
        for list in lists {
            numbers.extend(self.below(list)?.iter().flat_map(|b| b.iter()));
        }
        Ok(numbers.into_iter().collect())
    }

    fn entries(&self, entries: &[Entry], numbers: &mut BTreeSet<FaultNumber>, children: &mut Vec<BlobRef>) {
        for entry in entries {
            match entry {
                Entry::Chunk { id, .. } => {
                    numbers.extend(self.lost.get(&BlobRef::new(BlobKind::Chunk, *id)).into_iter().flatten());
                }
                Entry::List { id, .. } => children.push(BlobRef::new(BlobKind::List, *id)),
                Entry::Tree { id } => children.push(BlobRef::new(BlobKind::Tree, *id)),
                Entry::Hole { .. } | Entry::Inline { .. } => {}
            }
        }
    }

    /// Faults below a tree, part or list; each is looked into once. Ids are of contents, so nothing
    /// is below itself, however deep it goes.
    fn below(&mut self, blob: BlobRef) -> Result<Below> {
        if let Some(known) = self.known.get(&blob) {
            return Ok(known.clone());
        }
        let mut stack = vec![self.open(blob)?];
        loop {
            let Some(top) = stack.last_mut() else { return Ok(None) };
            if let Some(child) = top.children.pop() {
                match self.known.get(&child) {
                    Some(below) => top.faults.extend(below.iter().flat_map(|b| b.iter())),
                    None => {
                        self.progress.check()?;
                        let child = self.open(child)?;
                        stack.push(child);
                    }
                }
                continue;
            }
            let Some(done) = stack.pop() else { return Ok(None) };
            let below: Below = (!done.faults.is_empty()).then(|| done.faults.iter().copied().collect());
            self.known.insert(done.blob, below.clone());
            match stack.last_mut() {
                Some(above) => above.faults.extend(done.faults),
                None => return Ok(below),
            }
        }
    }

    fn open(&self, blob: BlobRef) -> Result<Open> {
        let (mut faults, mut children) = (BTreeSet::new(), Vec::new());
        if let Some(numbers) = self.lost.get(&blob) {
            faults.extend(numbers);
        } else if blob.kind == BlobKind::List {
            if let Some(list) = known(self.reader.list(blob.id))? {
                self.entries(&list.entries, &mut faults, &mut children);
            }
        } else if let Some(tree) = self.tree(blob)? {
            children.extend(tree.parts.iter().map(|p| BlobRef::new(BlobKind::TreePart, p.id)));
            for node in &tree.nodes {
                let seams = node.seams.map(|id| BlobRef::new(BlobKind::Seams, id));
                faults.extend(seams.and_then(|s| self.lost.get(&s)).into_iter().flatten());
                self.entries(&node.content, &mut faults, &mut children);
            }
        }
        children.sort_unstable();
        children.dedup();
        Ok(Open { blob, children, faults })
    }

    fn tree(&self, blob: BlobRef) -> Result<Option<TreeV1>> {
        known(self.reader.tree_blob(blob.kind, blob.id))
    }
}

/// What could be read when snapshots were walked, and cannot be now, is another run's doing.
fn known<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(Error::Missing { .. } | Error::Corrupt { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn add(touches: &mut Touches, touched: &Touched) {
    touches.files += 1;
    if touches.first.len() < FIRST {
        touches.first.push(touched.clone());
    }
}

fn short_hash(path: &[u8], id: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(path).update(b"\0").update(id);
    let mut out = [0; 16];
    out.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    out
}
