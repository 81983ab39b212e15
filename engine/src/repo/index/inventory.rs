//! The index in memory: every frame and blob that index objects name, in arrays. For runs
//! without a cache, for a second process while the first has sled open, and for `check` and
//! `prune`, which look at all of it.
//!
//! Memory: [`FrameRow`] 32 bytes a frame, [`BlobRow`] 44 and a number of 4 bytes a blob, 34 an
//! edge; so some 50 MB for a million small blobs, 85 MB for a million large ones. A test holds
//! these sizes.

use crate::error::{Error, Result};
use crate::format::frame::{Edge, FrameBlob, FrameRecord};
use crate::format::index::IndexedPack;
use crate::id::{BlobId, BlobKind, BlobRef};
use crate::repo::index::{Lookup, PackNumber, Place};

/// Kind and id in one key, so that a kind lies together.
pub type Key = [u8; 33];

/// Number of a frame in an [`Inventory`].
pub type FrameNumber = u32;
/// Number of one copy of a blob in an [`Inventory`], in the order of frames.
pub type CopyNumber = u32;

/// Kind and id in one key.
pub fn key(kind: u8, id: &BlobId) -> Key {
    let mut key = [kind; 33];
    key[1..].copy_from_slice(id.as_bytes());
    key
}

/// A frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRow {
    /// Which pack.
    pub pack: PackNumber,
    /// From the start of the pack.
    pub offset: u32,
    /// Nonce, ciphertext and tag.
    pub stored_len: u32,
    /// Sum of the blobs' lengths.
    pub plain_len: u32,
    first_blob: CopyNumber,
    first_edge: u32,
    blob_count: u16,
    edge_count: u8,
    /// Encoding tag.
    pub encoding: u8,
    /// Version of that encoding.
    pub codec_version: u8,
    /// Height.
    pub height: u8,
    /// Flags of its record.
    pub flags: u8,
}

/// One copy of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobRow {
    /// Its id.
    pub id: BlobId,
    /// Its kind, as a number: what this program does not know is kept.
    pub kind: u8,
    /// Its length.
    pub len: u32,
    /// Which frame holds it.
    pub frame: FrameNumber,
}

impl BlobRow {
    fn key(&self) -> Key {
        key(self.kind, &self.id)
    }
}

/// Sorted arrays of everything.
#[derive(Debug, Default)]
pub struct Inventory {
    frames: Vec<FrameRow>,
    blobs: Vec<BlobRow>,
    edges: Vec<Edge>,
    /// Numbers of all copies by kind and id; copies of one blob in the order of frames.
    order: Vec<CopyNumber>,
    sorted: bool,
}

impl Inventory {
    /// Takes in a pack's frames under its number.
    pub fn add(&mut self, number: PackNumber, pack: &IndexedPack) -> Result<()> {
        let full = |_| Error::Internal("more than four billion blobs".into());
        self.sorted = false;
        for frame in &pack.frames {
            let at = FrameNumber::try_from(self.frames.len()).map_err(full)?;
            self.frames.push(FrameRow {
                pack: number,
                offset: frame.offset,
                stored_len: frame.stored_len,
                plain_len: frame.plain_len,
                first_blob: CopyNumber::try_from(self.blobs.len()).map_err(full)?,
                first_edge: u32::try_from(self.edges.len()).map_err(full)?,
                blob_count: frame.blobs.len().try_into().map_err(full)?,
                edge_count: frame.edges.len().try_into().map_err(full)?,
                encoding: frame.encoding,
                codec_version: frame.codec_version,
                height: frame.height,
                flags: frame.flags,
            });
            self.edges.extend_from_slice(&frame.edges);
            self.blobs.extend(frame.blobs.iter().map(|b| BlobRow {
                id: b.id,
                kind: b.kind,
                len: b.len,
                frame: at,
            }));
        }
        CopyNumber::try_from(self.blobs.len()).map_err(full).map(drop)
    }

    /// Makes it ready for look-ups; cheap where nothing was added.
    pub fn sort(&mut self) {
        if !self.sorted || self.order.len() != self.blobs.len() {
            use rayon::prelude::*;
            // Below the bound that `add` checked.
            self.order = (0..u32::try_from(self.blobs.len()).unwrap_or(u32::MAX)).collect();
            let blobs = &self.blobs;
            self.order.par_sort_unstable_by_key(|n| (blobs[*n as usize].key(), *n));
            self.sorted = true;
        }
    }

    /// All frames.
    pub fn frames(&self) -> &[FrameRow] {
        &self.frames
    }

    /// All copies of all blobs, in the order of frames.
    pub fn blobs(&self) -> &[BlobRow] {
        &self.blobs
    }

    /// The blobs of a frame: where the first stands in [`Inventory::blobs`], and they.
    pub fn blobs_of(&self, frame: &FrameRow) -> (CopyNumber, &[BlobRow]) {
        let first = frame.first_blob as usize;
        (frame.first_blob, &self.blobs[first..first + usize::from(frame.blob_count)])
    }

    /// Bases of a frame.
    pub fn edges_of(&self, frame: &FrameRow) -> &[Edge] {
        &self.edges[frame.first_edge as usize..][..usize::from(frame.edge_count)]
    }

    /// A frame as a trailer or an index object describes it.
    pub fn record(&self, frame: &FrameRow) -> FrameRecord {
        let blob = |row: &BlobRow| FrameBlob { kind: row.kind, len: row.len, id: row.id };
        FrameRecord {
            offset: frame.offset,
            stored_len: frame.stored_len,
            plain_len: frame.plain_len,
            encoding: frame.encoding,
            codec_version: frame.codec_version,
            height: frame.height,
            flags: frame.flags,
            edges: self.edges_of(frame).to_vec(),
            blobs: self.blobs_of(frame).1.iter().map(blob).collect(),
        }
    }

    /// All copies of a blob. [`Inventory::sort`] must have been called.
    pub fn copies(&self, kind: u8, id: &BlobId) -> &[CopyNumber] {
        debug_assert!(self.sorted);
        let key = key(kind, id);
        let start = self.order.partition_point(|n| self.blobs[*n as usize].key() < key);
        let rest = &self.order[start..];
        &rest[..rest.iter().take_while(|n| self.blobs[**n as usize].key() == key).count()]
    }

    /// Every blob once, by kind and id, with all its copies. [`Inventory::sort`] must have been
    /// called.
    pub fn distinct(&self) -> impl Iterator<Item = &[CopyNumber]> {
        debug_assert!(self.sorted);
        self.order.chunk_by(|a, b| self.blobs[*a as usize].key() == self.blobs[*b as usize].key())
    }

    /// Where a copy stands.
    pub fn place(&self, copy: CopyNumber) -> Place {
        let blob = &self.blobs[copy as usize];
        let frame = &self.frames[blob.frame as usize];
        let before = &self.blobs[frame.first_blob as usize..copy as usize];
        Place {
            pack: frame.pack,
            offset: frame.offset,
            stored_len: frame.stored_len,
            plain_len: frame.plain_len,
            encoding: frame.encoding,
            codec_version: frame.codec_version,
            height: frame.height,
            blob_offset: before.iter().map(|b| b.len).sum(),
            blob_len: blob.len,
            edges: self.edges_of(frame).to_vec(),
        }
    }
}

impl Lookup for Inventory {
    fn places(&mut self, blob: &BlobRef) -> Result<Vec<Place>> {
        // At the first look-up, not at each insertion: thousands of objects are taken in one by one.
        self.sort();
        Ok(self.copies(blob.kind as u8, &blob.id).iter().map(|copy| self.place(*copy)).collect())
    }

    fn insert(&mut self, packs: &[(PackNumber, &IndexedPack)]) -> Result<()> {
        packs.iter().try_for_each(|(number, pack)| self.add(*number, pack))
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Kind and id of a row, if the kind is known here.
pub fn blob_ref(row: &BlobRow) -> Option<BlobRef> {
    BlobKind::from_byte(row.kind).map(|kind| BlobRef::new(kind, row.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::frame::{FrameBlob, FrameRecord};
    use crate::id::PackId;

    fn pack(frames: &[(&[u8], u8)]) -> IndexedPack {
        let frames = frames
            .iter()
            .map(|(ids, height)| FrameRecord {
                offset: 4,
                stored_len: 50,
                plain_len: ids.len() as u32 * 10,
                encoding: 0,
                codec_version: 1,
                height: *height,
                flags: 0,
                edges: vec![Edge { how: 0, kind: 0, id: BlobId([9; 32]) }; usize::from(*height)],
                blobs: ids.iter().map(|i| FrameBlob { kind: 0, len: 10, id: BlobId([*i; 32]) }).collect(),
            })
            .collect();
        IndexedPack { id: PackId([1; 32]), size: 100, pack_kind: 0, flags: 0, epoch: 1, frames }
    }

    #[test]
    fn every_copy_is_found_where_it_stands() {
        let mut all = Inventory::default();
        all.add(0, &pack(&[(&[5, 3], 0), (&[4], 2)])).unwrap();
        all.add(7, &pack(&[(&[3, 3, 1], 1)])).unwrap();
        all.sort();
        let places = |id: u8| -> Vec<(u32, u32, u8, usize)> {
            let copies = all.copies(0, &BlobId([id; 32]));
            let place = |n: &CopyNumber| {
                let p = all.place(*n);
                (p.pack, p.blob_offset, p.height, p.edges.len())
            };
            copies.iter().map(place).collect()
        };
        assert_eq!(places(3), [(0, 10, 0, 0), (7, 0, 1, 1), (7, 10, 1, 1)]);
        assert_eq!(places(5), [(0, 0, 0, 0)]);
        assert_eq!(places(4), [(0, 0, 2, 2)]);
        assert_eq!(places(1), [(7, 20, 1, 1)]);
        assert!(places(2).is_empty());
        assert!(all.copies(1, &BlobId([3; 32])).is_empty());
        let distinct: Vec<usize> = all.distinct().map(<[_]>::len).collect();
        assert_eq!(distinct, [1, 3, 1, 1]);
        all.add(8, &pack(&[(&[2], 0)])).unwrap();
        all.sort();
        assert_eq!(all.copies(0, &BlobId([2; 32])).len(), 1);
    }

    #[test]
    fn a_million_blobs_take_what_is_written_above() {
        assert_eq!(size_of::<FrameRow>(), 32);
        assert_eq!(size_of::<BlobRow>(), 44);
    }
}
