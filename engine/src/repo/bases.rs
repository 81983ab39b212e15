//! Can a frame be decoded? Its bases, and theirs, must each have a usable copy below it.
//!
//! Asked once for each frame, however many stand on it: a chain of pages is long, and its bases are
//! shared.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use crate::error::Error;
use crate::format::content::Entry;
use crate::format::frame::Edge;
use crate::id::{BlobId, BlobKind, BlobRef};
use crate::repo::holdings::Holdings;
use crate::repo::index::inventory::{CopyNumber, FrameNumber};
use crate::repo::reader::Reader;

/// Entries of the lists that one edge leads to: far beyond what may be one frame's base.
const MAX_LISTED: usize = 1 << 20;

/// See the module's words.
pub struct Bases<'a> {
    holdings: &'a Holdings,
    reader: &'a Reader,
    known: Mutex<HashMap<FrameNumber, bool>>,
}

impl<'a> Bases<'a> {
    /// `reader` must read by `holdings`.
    pub fn new(holdings: &'a Holdings, reader: &'a Reader) -> Self {
        Self { holdings, reader, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<FrameNumber, bool>> {
        self.known.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Does this copy stand in a usable pack, and can its frame be decoded? As deep as frames are high.
    pub fn is_decodable(&self, copy: CopyNumber) -> bool {
        let inventory = &self.holdings.inventory;
        let number = inventory.blobs()[copy as usize].frame;
        let frame = &inventory.frames()[number as usize];
        if !self.holdings.is_usable(copy) || frame.height == 0 {
            return self.holdings.is_usable(copy);
        }
        if let Some(known) = self.known().get(&number) {
            return *known;
        }
        let below = |blob: &BlobRef| {
            let mut copies = inventory.copies(blob.kind as u8, &blob.id).iter();
            copies.any(|copy| {
                let base = &inventory.frames()[inventory.blobs()[*copy as usize].frame as usize];
                base.height < frame.height && self.is_decodable(*copy)
            })
        };
        let whole = inventory
            .edges_of(frame)
            .iter()
            .all(|edge| self.of_edge(edge).is_ok_and(|bases| bases.iter().all(below)));
        self.known().insert(number, whole);
        whole
    }

    /// The blobs whose bytes an edge needs, each once. The error is that of a list that cannot be read.
    pub fn of_edge(&self, edge: &Edge) -> Result<Vec<BlobRef>, (BlobRef, Error)> {
        let Some(kind) = BlobKind::from_byte(edge.kind) else {
            let unknown = BlobRef::new(BlobKind::Chunk, edge.id);
            return Err((unknown, Error::corrupt("a frame", format!("has an edge of kind {}", edge.kind))));
        };
        let mut all = vec![BlobRef::new(kind, edge.id)];
        let mut seen: HashSet<BlobRef> = all.iter().copied().collect();
        let mut lists: Vec<BlobId> = if edge.how == 0 { Vec::new() } else { vec![edge.id] };
        while let Some(id) = lists.pop() {
            let list = self.reader.list(id).map_err(|error| (BlobRef::new(BlobKind::List, id), error))?;
            for entry in list.entries {
                let blob = match entry {
                    Entry::Chunk { id, .. } => BlobRef::new(BlobKind::Chunk, id),
                    Entry::List { id, .. } => BlobRef::new(BlobKind::List, id),
                    _ => continue,
                };
                if !seen.insert(blob) {
                    continue;
                }
                if all.len() == MAX_LISTED {
                    let error = Error::corrupt(format!("content list {}", id.short()), "leads to too much");
                    return Err((BlobRef::new(BlobKind::List, edge.id), error));
                }
                all.push(blob);
                lists.extend((blob.kind == BlobKind::List).then_some(blob.id));
            }
        }
        Ok(all)
    }
}
