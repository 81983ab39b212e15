//! Whose is each blob? Walks from trees and lists down, each blob once for whoever it is of.
//!
//! Memory: twelve bytes a blob of the repository and four a frame, and the ids of one level of trees.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::format::content::Entry;
use crate::format::tree::Node;
use crate::id::{BlobKind, BlobRef};
use crate::progress::Progress;
use crate::repo::bases::Bases;
use crate::repo::holdings::Holdings;
use crate::repo::index::inventory::{CopyNumber, FrameRow, Inventory};
use crate::repo::reader::Reader;

/// Who needs a blob: nobody, one row, several rows, or others beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who(u32);

const NOBODY: Who = Who(0);
const OTHERS: Who = Who(1);
const SEVERAL: Who = Who(2);
const FIRST_ROW: u32 = 3;

impl Who {
    fn row(row: u32) -> Self {
        Self(row.saturating_add(FIRST_ROW))
    }

    /// That of one row alone.
    fn row_number(self) -> Option<usize> {
        self.0.checked_sub(FIRST_ROW).map(|row| row as usize)
    }
}

/// Who it is of then, if that is news. Everything is of one row, of several, or also of others, and only ever moves
/// on: so a blob is met three times at most.
fn shared(now: Who, who: Who) -> Option<Who> {
    match (now, who) {
        (NOBODY, who) => Some(who),
        (OTHERS, _) => None,
        (_, OTHERS) => Some(OTHERS),
        (now, who) if now == who || now == SEVERAL => None,
        _ => Some(SEVERAL),
    }
}

/// Each row by itself, one after the other.
fn single(now: Who, who: Who) -> Option<Who> {
    (now != who).then_some(who)
}

/// Bytes of some blobs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    /// Plaintext of all.
    pub plain_bytes: u64,
    /// Plaintext of chunks that are content themselves, not only what others are decoded against.
    pub unique_bytes: u64,
    /// In 2^-20 bytes: a frame of many blobs is shared out.
    stored: u128,
}

impl Sum {
    /// In packs.
    pub fn stored_bytes(&self) -> u64 {
        u64::try_from((self.stored + (1 << 19)) >> 20).unwrap_or(u64::MAX)
    }

    /// A blob of a frame.
    pub fn add(&mut self, frame: &FrameRow, len: u32) {
        self.plain_bytes += u64::from(len);
        let part = len.min(frame.plain_len);
        self.stored +=
            ((u128::from(frame.stored_len) << 20) * u128::from(part)) / u128::from(frame.plain_len.max(1));
    }
}

/// See the module's words.
pub struct Owners<'v> {
    holdings: &'v Holdings,
    reader: &'v Reader,
    bases: Bases<'v>,
    rule: fn(Who, Who) -> Option<Who>,
    /// By the number of a blob's first copy: of whom it is as content.
    content: Vec<Who>,
    /// By the number of a copy: who keeps it, also as a base.
    kept: Vec<Who>,
    /// By the number of a frame: for whom its bases are kept.
    frames: Vec<Who>,
    unreadable: BTreeMap<String, String>,
}

impl<'v> Owners<'v> {
    /// Finds what only one row needs. `reader` must read by `holdings`.
    pub fn shared(holdings: &'v Holdings, reader: &'v Reader) -> Self {
        Self::new(holdings, reader, shared)
    }

    /// Finds all that each row needs, whoever else does: rows must be taken one after the other.
    pub fn single(holdings: &'v Holdings, reader: &'v Reader) -> Self {
        Self::new(holdings, reader, single)
    }

    fn new(holdings: &'v Holdings, reader: &'v Reader, rule: fn(Who, Who) -> Option<Who>) -> Self {
        let inventory = &holdings.inventory;
        Self {
            holdings,
            reader,
            bases: Bases::new(holdings, reader),
            rule,
            content: vec![NOBODY; inventory.blobs().len()],
            kept: vec![NOBODY; inventory.blobs().len()],
            frames: vec![NOBODY; inventory.frames().len()],
            unreadable: BTreeMap::new(),
        }
    }

    /// A row needs these and all below; gives what became its own just now.
    pub fn take(&mut self, row: u32, start: Vec<BlobRef>, progress: &dyn Progress) -> Result<Sum> {
        self.walk(Who::row(row), start, progress)
    }

    /// Others need these and all below.
    pub fn take_others(&mut self, start: Vec<BlobRef>, progress: &dyn Progress) -> Result<()> {
        self.walk(OTHERS, start, progress).map(drop)
    }

    /// Others need these blobs, whatever becomes of what is below.
    pub fn keep_for_others(&mut self, blobs: Vec<BlobRef>) {
        self.keep(OTHERS, blobs, &mut Sum::default());
    }

    fn walk(&mut self, who: Who, start: Vec<BlobRef>, progress: &dyn Progress) -> Result<Sum> {
        let mut sum = Sum::default();
        let mut level = self.mark(who, start, &mut sum);
        while !level.is_empty() {
            let reader = self.reader;
            let read: Vec<Vec<(BlobRef, Result<Vec<BlobRef>>)>> = level
                .par_chunks(32)
                .map(|part| {
                    progress.check()?;
                    let inside = part.iter().map(|blob| (*blob, inside(reader, blob))).collect();
                    progress.advance(part.len() as u64, 0);
                    Ok(inside)
                })
                .collect::<Result<_>>()?;
            let mut next = Vec::new();
            for (blob, inside) in read.into_iter().flatten() {
                match inside {
                    Ok(inside) => next.extend(self.mark(who, inside, &mut sum)),
                    Err(error @ (Error::Missing { .. } | Error::Corrupt { .. })) => {
                        self.unreadable.insert(blob.to_string(), error.to_string());
                    }
                    Err(error) => return Err(error),
                }
            }
            level = next;
        }
        Ok(sum)
    }

    /// Those that must be looked into come back.
    fn mark(&mut self, who: Who, blobs: Vec<BlobRef>, sum: &mut Sum) -> Vec<BlobRef> {
        let inventory = &self.holdings.inventory;
        let mut found = Vec::new();
        for blob in blobs {
            let copies = inventory.copies(blob.kind as u8, &blob.id);
            let Some(first) = copies.first().map(|copy| *copy as usize) else {
                self.unreadable.insert(blob.to_string(), "no index object names it".into());
                continue;
            };
            let Some(now) = (self.rule)(self.content[first], who) else { continue };
            self.content[first] = now;
            if blob.kind == BlobKind::Chunk {
                sum.unique_bytes += u64::from(inventory.blobs()[first].len);
            }
            found.push(blob);
        }
        self.keep(who, found.clone(), sum);
        found.retain(|blob| matches!(blob.kind, BlobKind::Tree | BlobKind::TreePart | BlobKind::List));
        found
    }

    /// Their copies, and the bases of these, and theirs.
    fn keep(&mut self, who: Who, mut todo: Vec<BlobRef>, sum: &mut Sum) {
        let inventory = &self.holdings.inventory;
        while let Some(blob) = todo.pop() {
            let Some(copy) = self.choose(inventory.copies(blob.kind as u8, &blob.id)) else { continue };
            let row = &inventory.blobs()[copy as usize];
            let frame = &inventory.frames()[row.frame as usize];
            if let Some(now) = (self.rule)(self.kept[copy as usize], who) {
                self.kept[copy as usize] = now;
                sum.add(frame, row.len);
            }
            let Some(now) = (self.rule)(self.frames[row.frame as usize], who).filter(|_| frame.height > 0)
            else {
                continue;
            };
            self.frames[row.frame as usize] = now;
            for edge in inventory.edges_of(frame) {
                match self.bases.of_edge(edge) {
                    Ok(bases) => todo.extend(bases),
                    Err((list, error)) => drop(self.unreadable.insert(list.to_string(), error.to_string())),
                }
            }
        }
    }

    fn choose(&self, copies: &[CopyNumber]) -> Option<CopyNumber> {
        chosen(&self.holdings.inventory, &self.bases, copies)
    }

    /// What is needed by each row alone, and by all rows together and nobody else.
    pub fn by_row(&self, rows: usize) -> (Vec<Sum>, Sum) {
        let (mut each, mut together) = (vec![Sum::default(); rows], Sum::default());
        self.each_kept(|who, frame, len| {
            if let Some(sum) = who.row_number().and_then(|row| each.get_mut(row)) {
                sum.add(frame, len);
            }
            if who != OTHERS {
                together.add(frame, len);
            }
        });
        (each, together)
    }

    /// What is kept only as bases.
    pub fn bases(&self) -> Sum {
        let inventory = &self.holdings.inventory;
        let mut sum = Sum::default();
        for copies in inventory.distinct().filter(|copies| self.content[copies[0] as usize] == NOBODY) {
            for copy in copies.iter().filter(|copy| self.kept[**copy as usize] != NOBODY) {
                let row = &inventory.blobs()[*copy as usize];
                sum.add(&inventory.frames()[row.frame as usize], row.len);
            }
        }
        sum
    }

    /// Every copy that somebody keeps: who, its frame and its length.
    pub fn each_kept(&self, mut tell: impl FnMut(Who, &FrameRow, u32)) {
        let inventory = &self.holdings.inventory;
        for (row, who) in inventory.blobs().iter().zip(&self.kept).filter(|(_, who)| **who != NOBODY) {
            tell(*who, &inventory.frames()[row.frame as usize], row.len);
        }
    }

    /// What could not be read, with the reason.
    pub fn unreadable(self) -> impl Iterator<Item = (String, String)> {
        self.unreadable.into_iter()
    }
}

/// The copy that readers take.
pub fn chosen(inventory: &Inventory, bases: &Bases<'_>, copies: &[CopyNumber]) -> Option<CopyNumber> {
    let height =
        |copy: &CopyNumber| inventory.frames()[inventory.blobs()[*copy as usize].frame as usize].height;
    match copies {
        [one] => Some(*one),
        _ => {
            let key = |copy: &CopyNumber| (!bases.is_decodable(*copy), height(copy));
            copies.iter().copied().min_by_key(key)
        }
    }
}

/// What a tree, a part or a list names.
fn inside(reader: &Reader, blob: &BlobRef) -> Result<Vec<BlobRef>> {
    if blob.kind == BlobKind::List {
        return Ok(reader.list(blob.id)?.entries.iter().filter_map(blob_of).collect());
    }
    let tree = reader.tree_blob(blob.kind, blob.id)?;
    let parts = tree.parts.iter().map(|part| BlobRef::new(BlobKind::TreePart, part.id));
    Ok(parts.chain(tree.nodes.iter().flat_map(blobs_of)).collect())
}

/// What a node names.
pub fn blobs_of(node: &Node) -> Vec<BlobRef> {
    let seams = node.seams.map(|seams| BlobRef::new(BlobKind::Seams, seams));
    node.content.iter().filter_map(blob_of).chain(seams).collect()
}

fn blob_of(entry: &Entry) -> Option<BlobRef> {
    let (kind, id) = match entry {
        Entry::Chunk { id, .. } => (BlobKind::Chunk, id),
        Entry::List { id, .. } => (BlobKind::List, id),
        Entry::Tree { id } => (BlobKind::Tree, id),
        Entry::Hole { .. } | Entry::Inline { .. } => return None,
    };
    Some(BlobRef::new(kind, *id))
}
