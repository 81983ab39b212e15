//! Can a frame be decoded? Its bases, and theirs, must each have a usable copy below it.
//!
//! Asked once for each frame, however many stand on it: a chain of pages is long, and its bases are
//! shared.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use crate::error::Error;
use crate::format::frame::Edge;
use crate::id::{BlobKind, BlobRef};
use crate::repo::holdings::Holdings;
use crate::repo::index::inventory::{CopyNumber, FrameNumber};
use crate::repo::reader::Reader;

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
        if edge.how != 0 {
            let led_to = self.reader.led_to(edge.id);
            all.extend(led_to.map_err(|(list, error)| (BlobRef::new(BlobKind::List, list), error))?);
        }
        Ok(all)
    }
}
