//! What snapshots need: every tree, part, list, seam table and chunk below their roots, and the
//! bases of the frames these are read from.
//!
//! Two steps. [`Reach::walk`] follows trees and lists, each blob once however many snapshots
//! share it, a level at a time and in parallel. [`Reach::settle`] then decides which copy of each
//! blob counts, and adds the bases of its frame, and their bases: as bytes only, never walked as
//! trees (design §3.2).
//!
//! Memory: one byte for each copy in the inventory, four more while settling, and the ids of one
//! level of trees.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard};

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::format::content::Entry;
use crate::format::frame::Edge;
use crate::format::tree::{PartRef, TreeV1};
use crate::format::wire::Bytes;
use crate::id::{BlobId, BlobKind, BlobRef};
use crate::progress::Progress;
use crate::repo::bases::Bases;
use crate::repo::holdings::Holdings;
use crate::repo::index::inventory::{CopyNumber, FrameNumber, FrameRow};
use crate::repo::reader::Reader;

const NEEDED: u8 = 1;
const BASE: u8 = 2;

/// A blob that is needed and cannot be had, or is not what is said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Which.
    pub blob: BlobRef,
    /// Why not.
    pub reason: String,
    /// Is it that it could not be found in any pack, rather than read?
    pub absent: bool,
    /// Is it that no copy could be read, though there are some?
    pub unread: bool,
}

/// What is said of a list or a part where it is referred to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stated {
    Len(u64),
    Part(Bytes, u64),
}

/// See the module's words.
pub struct Reach<'h> {
    holdings: &'h Holdings,
    reader: &'h Reader,
    bases: Bases<'h>,
    /// By the number of a blob's first copy.
    state: Vec<AtomicU8>,
    gaps: Mutex<HashMap<BlobRef, Gap>>,
    stated: Mutex<HashMap<BlobRef, Stated>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl<'h> Reach<'h> {
    /// Nothing is needed yet. `reader` must read by `holdings`.
    pub fn new(holdings: &'h Holdings, reader: &'h Reader) -> Self {
        let state = holdings.inventory.blobs().iter().map(|_| AtomicU8::new(0)).collect();
        Self {
            holdings,
            reader,
            bases: Bases::new(holdings, reader),
            state,
            gaps: Mutex::default(),
            stated: Mutex::default(),
        }
    }

    /// Marks all that the trees `roots` need. Damage becomes [`Gap`]s; an error is the store's or
    /// the user's wish to stop.
    pub fn walk(&self, roots: &[BlobId], progress: &dyn Progress) -> Result<()> {
        let mut level: Vec<BlobRef> = Vec::new();
        for root in roots {
            self.mark(BlobRef::new(BlobKind::Tree, *root), None, &mut level);
        }
        while !level.is_empty() {
            // Neighbours in a pack share frames: each is then decoded once.
            level.par_sort_by_cached_key(|blob| self.nearest(blob));
            let next: Vec<Vec<BlobRef>> = level
                .par_chunks(32)
                .map(|part| {
                    progress.check()?;
                    let mut found = Vec::new();
                    part.iter().try_for_each(|blob| self.visit(blob, &mut found))?;
                    progress.advance(part.len() as u64, 0);
                    Ok(found)
                })
                .collect::<Result<_>>()?;
            level = next.concat();
        }
        Ok(())
    }

    fn nearest(&self, blob: &BlobRef) -> (u32, u32) {
        let copies = self.holdings.inventory.copies(blob.kind as u8, &blob.id);
        copies.first().map_or((0, 0), |copy| {
            let row = &self.holdings.inventory.blobs()[*copy as usize];
            let frame = &self.holdings.inventory.frames()[row.frame as usize];
            (frame.pack, frame.offset)
        })
    }

    /// Marks a blob; one that must be looked into is added to `found` at its first time.
    fn mark(&self, blob: BlobRef, len: Option<u32>, found: &mut Vec<BlobRef>) {
        let inventory = &self.holdings.inventory;
        let copies = inventory.copies(blob.kind as u8, &blob.id);
        let Some(first) = copies.first() else {
            return self.gap(blob, "no index object names it", true);
        };
        let held = inventory.blobs()[*first as usize].len;
        if let Some(len) = len.filter(|len| *len != held) {
            self.gap(blob, &format!("has {held} bytes where {len} are stated"), false);
        }
        if self.state[*first as usize].fetch_or(NEEDED, Ordering::Relaxed) & NEEDED != 0 {
            return;
        }
        if let Some(why) = self.no_good_copy(copies) {
            self.gap(blob, &why, true);
        }
        if matches!(blob.kind, BlobKind::Tree | BlobKind::TreePart | BlobKind::List) {
            found.push(blob);
        }
    }

    /// Why no copy may be relied on; `None` if one may.
    fn no_good_copy(&self, copies: &[CopyNumber]) -> Option<String> {
        let inventory = &self.holdings.inventory;
        let mut why = Vec::new();
        for copy in copies {
            let frame = &inventory.frames()[inventory.blobs()[*copy as usize].frame as usize];
            if self.holdings.is_usable(*copy) {
                return None;
            }
            let pack = &self.holdings.packs[frame.pack as usize];
            let fault = match (pack.info.standing, pack.condemned, pack.info.usable) {
                (false, ..) => "is gone",
                (true, true, _) => "is condemned",
                (true, false, false) => "was found bad",
                (true, false, true) => "has lost that frame",
            };
            why.push(format!("pack {} {fault}", pack.info.id.short()));
        }
        why.dedup();
        Some(why.join(", "))
    }

    fn gap(&self, blob: BlobRef, reason: &str, absent: bool) {
        let gap = || Gap { blob, reason: reason.into(), absent, unread: false };
        locked(&self.gaps).entry(blob).or_insert_with(gap);
    }

    fn state_that(&self, blob: BlobRef, stated: Stated) {
        let mut all = locked(&self.stated);
        let before = all.entry(blob).or_insert_with(|| stated.clone());
        if *before != stated {
            drop(all);
            self.gap(blob, "two places say different things of it", false);
        }
    }

    fn holds(&self, blob: &BlobRef, stated: &Stated) -> bool {
        locked(&self.stated).get(blob).is_none_or(|all| all == stated)
    }

    fn visit(&self, blob: &BlobRef, found: &mut Vec<BlobRef>) -> Result<()> {
        let looked_into = match blob.kind {
            BlobKind::List => {
                self.reader.list(blob.id).map(|list| self.entries(&list.entries, found)).map(|len| {
                    if !self.holds(blob, &Stated::Len(len)) {
                        self.gap(
                            *blob,
                            &format!("describes {len} bytes, and other numbers are stated"),
                            false,
                        );
                    }
                })
            }
            _ => self.reader.tree_blob(blob.kind, blob.id).map(|tree| self.tree(blob, &tree, found)),
        };
        match looked_into {
            Err(Error::Missing { reason, .. }) => {
                let gap = || Gap { blob: *blob, reason, absent: false, unread: true };
                locked(&self.gaps).entry(*blob).or_insert_with(gap);
                Ok(())
            }
            Err(Error::Corrupt { reason, .. }) => {
                self.gap(*blob, &reason, false);
                Ok(())
            }
            other => other,
        }
    }

    fn tree(&self, blob: &BlobRef, tree: &TreeV1, found: &mut Vec<BlobRef>) {
        for PartRef { id, first, count } in &tree.parts {
            let part = BlobRef::new(BlobKind::TreePart, *id);
            self.state_that(part, Stated::Part(first.clone(), *count));
            self.mark(part, None, found);
        }
        for node in &tree.nodes {
            self.entries(&node.content, found);
            if let Some(seams) = node.seams {
                self.mark(BlobRef::new(BlobKind::Seams, seams), None, found);
            }
        }
        if blob.kind == BlobKind::TreePart {
            let first = tree.nodes.first().map(|n| n.name.clone()).unwrap_or_default();
            if !self.holds(blob, &Stated::Part(first, tree.nodes.len() as u64)) {
                self.gap(*blob, "is not the stretch its tree says", false);
            }
        }
    }

    /// Marks what entries name; gives the length of their content.
    fn entries(&self, entries: &[Entry], found: &mut Vec<BlobRef>) -> u64 {
        let mut sum = 0u64;
        for entry in entries {
            sum = sum.saturating_add(entry.content_len());
            match entry {
                Entry::Chunk { id, len } => self.mark(BlobRef::new(BlobKind::Chunk, *id), Some(*len), found),
                Entry::List { id, len } => {
                    let list = BlobRef::new(BlobKind::List, *id);
                    self.state_that(list, Stated::Len(*len));
                    self.mark(list, None, found);
                }
                Entry::Tree { id } => self.mark(BlobRef::new(BlobKind::Tree, *id), None, found),
                Entry::Hole { .. } | Entry::Inline { .. } => {}
            }
        }
        sum
    }

    /// Is the blob needed by what was walked? `first` is its first copy.
    pub fn is_needed(&self, first: CopyNumber) -> bool {
        self.state[first as usize].load(Ordering::Relaxed) & NEEDED != 0
    }

    /// What was found missing or wrong so far, sorted.
    pub fn gaps(&self) -> Vec<Gap> {
        let mut gaps: Vec<_> = locked(&self.gaps).values().cloned().collect();
        gaps.sort_by_key(|gap| (gap.blob.kind as u8, gap.blob.id));
        gaps
    }

    /// Decides which copy of each needed blob counts: of all that stand outside of condemned and bad
    /// packs those that can be decoded, of these the ones of least height, of these the one that
    /// `better` puts first; where there are none, no copy. A run that was held for dead may have
    /// listed a difference to what was pruned before: beside a copy that can be decoded it says
    /// nothing. Their bases are then needed too, from copies below; but not those of frames that
    /// are to be `unchained`.
    pub fn settle<K: Ord>(
        &self,
        better: impl Fn(CopyNumber) -> K,
        unchained: &HashSet<FrameNumber>,
    ) -> Settled {
        let inventory = &self.holdings.inventory;
        let mut settled = Settled {
            chosen: vec![NONE; inventory.blobs().len()],
            bases: Vec::new(),
            dependants: HashMap::new(),
        };
        let mut todo = Vec::new();
        for copies in inventory.distinct().filter(|copies| self.is_needed(copies[0])) {
            if let Some(copy) = self.choose(copies, &better) {
                settled.chosen[copies[0] as usize] = copy;
                todo.push(copy);
            }
        }
        let mut done = HashSet::new();
        while let Some(copy) = todo.pop() {
            let number = inventory.blobs()[copy as usize].frame;
            let frame = &inventory.frames()[number as usize];
            if frame.height == 0 || unchained.contains(&number) || !done.insert(number) {
                continue;
            }
            for edge in inventory.edges_of(frame) {
                let bases = self.bases.of_edge(edge).unwrap_or_else(|(list, error)| {
                    self.gap(list, &error.to_string(), false);
                    Vec::new()
                });
                for base in bases {
                    let copies = inventory.copies(base.kind as u8, &base.id);
                    let chosen = self.choose(copies, &better);
                    let below = chosen.filter(|c| {
                        inventory.frames()[inventory.blobs()[*c as usize].frame as usize].height
                            < frame.height
                    });
                    let Some(base_copy) = below else {
                        let reason = if chosen.is_some() {
                            "a frame has it as base, and no copy stands below that frame"
                        } else {
                            "a frame has it as base, and there is no copy to rely on"
                        };
                        self.gap(base, reason, chosen.is_none());
                        continue;
                    };
                    settled.dependants.entry(base_copy).or_default().push(copy);
                    let first = copies[0] as usize;
                    if self.state[first].fetch_or(BASE, Ordering::Relaxed) & (NEEDED | BASE) == 0 {
                        settled.bases.push(base_copy);
                        settled.chosen[first] = base_copy;
                        todo.push(base_copy);
                    }
                }
            }
        }
        // So that it can be settled again with another wish.
        for state in &self.state {
            state.fetch_and(!BASE, Ordering::Relaxed);
        }
        settled
    }

    fn choose<K: Ord>(&self, copies: &[CopyNumber], better: &impl Fn(CopyNumber) -> K) -> Option<CopyNumber> {
        let mut usable: Vec<CopyNumber> =
            copies.iter().copied().filter(|copy| self.holdings.is_usable(*copy)).collect();
        // Where there is no choice, what is missing is told as a gap.
        if usable.len() > 1 && usable.iter().any(|copy| self.bases.is_decodable(*copy)) {
            usable.retain(|copy| self.bases.is_decodable(*copy));
        }
        usable.into_iter().min_by_key(|copy| (self.frame_of(*copy).1.height, better(*copy)))
    }

    fn frame_of(&self, copy: CopyNumber) -> (FrameNumber, &FrameRow) {
        let inventory = &self.holdings.inventory;
        let number = inventory.blobs()[copy as usize].frame;
        (number, &inventory.frames()[number as usize])
    }

    /// The blobs whose bytes a frame is decoded against; of a list that cannot be read itself.
    pub fn bases_of(&self, frame: FrameNumber) -> Vec<BlobRef> {
        let inventory = &self.holdings.inventory;
        let edges = inventory.edges_of(&inventory.frames()[frame as usize]);
        let bytes = |edge: &Edge| self.bases.of_edge(edge).unwrap_or_else(|(list, _)| vec![list]);
        edges.iter().flat_map(bytes).collect()
    }
}

const NONE: CopyNumber = CopyNumber::MAX;

/// Which copies count.
#[derive(Debug)]
pub struct Settled {
    chosen: Vec<CopyNumber>,
    /// Copies of blobs that only frames need, as bases.
    pub bases: Vec<CopyNumber>,
    /// By a copy: the chosen copies (one for each frame) that have it as base.
    pub dependants: HashMap<CopyNumber, Vec<CopyNumber>>,
}

impl Settled {
    /// The copy that counts of the blob with this first copy.
    pub fn chosen(&self, first: CopyNumber) -> Option<CopyNumber> {
        Some(self.chosen[first as usize]).filter(|copy| *copy != NONE)
    }

    /// All copies that count.
    pub fn copies(&self) -> impl Iterator<Item = CopyNumber> {
        self.chosen.iter().copied().filter(|copy| *copy != NONE)
    }
}
