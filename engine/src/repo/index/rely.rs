//! May a blob be relied on? A copy that stands is not enough: its frame may be a difference, and a dead
//! blob in a pack that stays may have lost its bases to a prune.
//!
//! Of each blob the decodable copy of least height is taken, and its bases from copies below it (design
//! §3.2), so the search always descends. Asked once for each blob, however many stand on it.

use std::collections::{HashMap, HashSet};

use crate::error::Result;
use crate::format::frame::{Edge, FrameRecord};
use crate::id::{BlobKind, BlobRef};
use crate::repo::index::{Index, PackNumber, Place};

/// A copy that can be decoded, with all that this takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relied {
    /// Packs: of the copy, of its bases, and theirs.
    pub packs: HashSet<PackNumber>,
    /// Height of the copy. A frame that names the blob as its base must be higher.
    pub height: u8,
}

/// What is known of a blob.
enum Known {
    /// Its decodable copy of least height, and the bases of that.
    Copy { height: u8, pack: PackNumber, bases: Vec<BlobRef> },
    /// None below this height.
    NoneBelow(u16),
}

struct Search<'a> {
    index: &'a Index,
    known: HashMap<BlobRef, Known>,
}

impl Search<'_> {
    fn is_there_below(&mut self, blob: &BlobRef, ceiling: u16) -> Result<bool> {
        let floor = match self.known.get(blob) {
            Some(Known::Copy { height, .. }) => return Ok(u16::from(*height) < ceiling),
            Some(Known::NoneBelow(none)) if ceiling <= *none => return Ok(false),
            Some(Known::NoneBelow(none)) => *none,
            None => 0,
        };
        let mut places = self.index.usable_places(blob)?;
        places.retain(|p| (floor..ceiling).contains(&p.height.into()));
        places.sort_by_key(|p| (p.height, p.pack));
        for place in places {
            if let Some(bases) = self.bases(&place.edges, place.height.into())? {
                let known = Known::Copy { height: place.height, pack: place.pack, bases };
                self.known.insert(*blob, known);
                return Ok(true);
            }
        }
        self.known.insert(*blob, Known::NoneBelow(ceiling));
        Ok(false)
    }

    /// The blobs named, if each can be had from below `ceiling`.
    fn bases(&mut self, edges: &[Edge], ceiling: u16) -> Result<Option<Vec<BlobRef>>> {
        let mut bases = Vec::with_capacity(edges.len());
        for edge in edges {
            // No writer makes another kind of edge yet.
            let kind = BlobKind::from_byte(edge.kind).filter(|_| edge.how == 0);
            let Some(base) = kind.map(|kind| BlobRef::new(kind, edge.id)) else { return Ok(None) };
            if !self.is_there_below(&base, ceiling)? {
                return Ok(None);
            }
            bases.push(base);
        }
        Ok(Some(bases))
    }

    /// Packs by which these, each found, can be had.
    fn packs(&self, mut todo: Vec<BlobRef>) -> HashSet<PackNumber> {
        let (mut packs, mut seen) = (HashSet::new(), HashSet::new());
        while let Some(blob) = todo.pop() {
            if let Some(Known::Copy { pack, bases, .. }) = self.known.get(&blob)
                && seen.insert(blob)
            {
                packs.insert(*pack);
                todo.extend_from_slice(bases);
            }
        }
        packs
    }
}

impl Index {
    /// The copy of a blob that may be relied on; `None` if there is none.
    pub fn rely_on(&self, blob: &BlobRef) -> Result<Option<Relied>> {
        if self.is_empty() {
            return Ok(None);
        }
        let mut search = Search { index: self, known: HashMap::new() };
        if !search.is_there_below(blob, u16::MAX)? {
            return Ok(None);
        }
        let Some(Known::Copy { height, .. }) = search.known.get(blob) else { return Ok(None) };
        Ok(Some(Relied { packs: search.packs(vec![*blob]), height: *height }))
    }

    /// Packs by which the bases of a frame can be had, each from a copy below it; `None` if it cannot
    /// be decoded.
    pub fn packs_of_bases(&self, frame: &FrameRecord) -> Result<Option<HashSet<PackNumber>>> {
        if frame.edges.is_empty() || self.is_empty() {
            return Ok(frame.edges.is_empty().then(HashSet::new));
        }
        let mut search = Search { index: self, known: HashMap::new() };
        let bases = search.bases(&frame.edges, frame.height.into())?;
        Ok(bases.map(|bases| search.packs(bases)))
    }

    fn usable_places(&self, blob: &BlobRef) -> Result<Vec<Place>> {
        let mut places = self.look_up(blob)?;
        let packs = self.packs.read().unwrap_or_else(|e| e.into_inner());
        places.retain(|p| packs.get(p.pack as usize).is_some_and(|i| i.usable));
        Ok(places)
    }
}
