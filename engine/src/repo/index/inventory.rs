//! The index in memory: every frame and blob that index objects name, in arrays. For runs
//! without a cache, for a second process while the first has sled open, and for `check` and
//! `prune`, which look at all of it.
//!
//! Memory: [`FrameRow`] 32 bytes a frame, [`BlobRow`] 44, a number of 4 and a byte of [`Shelf`] a blob,
//! 34 an edge; so some 50 MB for a million small blobs, 85 MB for a million large ones. A test holds
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
    /// Kind and the first seven bytes of the id, in the order of [`key`].
    fn lead(&self) -> u64 {
        let [a, b, c, d, e, f, g, ..] = self.id.0;
        u64::from_be_bytes([self.kind, a, b, c, d, e, f, g])
    }

    fn is_same_blob(&self, other: &Self) -> bool {
        self.kind == other.kind && self.id == other.id
    }
}

/// Blobs of one kind in the order of ids, found by the leading bits of an id: these are as good as
/// random, so that a look-up touches a few rows and not one for each bit of their number.
#[derive(Debug)]
struct Shelf {
    kind: u8,
    /// How many leading bits of an id; its first rows are at `starts[those bits]`.
    bits: u32,
    starts: Vec<CopyNumber>,
}

/// Rows between two starts, on average.
const ROWS_A_START: usize = 4;

impl Shelf {
    /// Of the rows `ids`, which begin at `first` in the order.
    fn new(kind: u8, first: usize, ids: &[CopyNumber], blobs: &[BlobRow]) -> Self {
        let bits = (ids.len() / ROWS_A_START).checked_ilog2().unwrap_or(0).min(28);
        let mut starts = Vec::with_capacity((1 << bits) + 1);
        // Below the bound that `add` checked.
        let at = |row: usize| CopyNumber::try_from(first + row).unwrap_or(CopyNumber::MAX);
        for (row, copy) in ids.iter().enumerate() {
            let lead = leading(&blobs[*copy as usize].id, bits);
            while starts.len() <= lead {
                starts.push(at(row));
            }
        }
        starts.resize((1 << bits) + 1, at(ids.len()));
        Self { kind, bits, starts }
    }

    fn range(&self, id: &BlobId) -> std::ops::Range<usize> {
        let lead = leading(id, self.bits);
        self.starts[lead] as usize..self.starts[lead + 1] as usize
    }
}

fn leading(id: &BlobId, bits: u32) -> usize {
    let [a, b, c, d, ..] = id.0;
    (u64::from(u32::from_be_bytes([a, b, c, d])) >> (32 - bits)) as usize
}

/// Sorted arrays of everything.
#[derive(Debug, Default)]
pub struct Inventory {
    frames: Vec<FrameRow>,
    blobs: Vec<BlobRow>,
    edges: Vec<Edge>,
    /// Numbers of all copies by kind and id; copies of one blob in the order of frames.
    order: Vec<CopyNumber>,
    shelves: Vec<Shelf>,
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
            let blobs = &self.blobs;
            // Kind and the first bytes of the id beside the number: a comparison rarely looks further.
            // Numbers are below the bound that `add` checked.
            let mut rows: Vec<(u64, CopyNumber)> = (0..).zip(blobs).map(|(n, b)| (b.lead(), n)).collect();
            let rest = |n: CopyNumber| (&blobs[n as usize].id, n);
            rows.par_sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| rest(a.1).cmp(&rest(b.1))));
            self.order = rows.into_iter().map(|(_, n)| n).collect();
            let kind = |n: &CopyNumber| blobs[*n as usize].kind;
            let mut first = 0;
            self.shelves.clear();
            for ids in self.order.chunk_by(|a, b| kind(a) == kind(b)) {
                self.shelves.push(Shelf::new(kind(&ids[0]), first, ids, blobs));
                first += ids.len();
            }
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
        let Some(shelf) = self.shelves.iter().find(|s| s.kind == kind) else { return &[] };
        let near = &self.order[shelf.range(id)];
        let start = near.partition_point(|n| self.blobs[*n as usize].id < *id);
        let rest = &near[start..];
        &rest[..rest.iter().take_while(|n| self.blobs[**n as usize].id == *id).count()]
    }

    /// Every blob once, by kind and id, with all its copies. [`Inventory::sort`] must have been
    /// called.
    pub fn distinct(&self) -> impl Iterator<Item = &[CopyNumber]> {
        debug_assert!(self.sorted);
        self.order.chunk_by(|a, b| self.blobs[*a as usize].is_same_blob(&self.blobs[*b as usize]))
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

    fn blobs_at(&mut self, _place: &Place) -> Result<Vec<FrameBlob>> {
        // Looking them up is as quick.
        Ok(Vec::new())
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
    fn look_ups_agree_with_a_plain_search() {
        let mut all = Inventory::default();
        let ids: Vec<[u8; 32]> = (0..3000u32)
            .map(|i| match i % 3 {
                // Some without anything random in front.
                0 => std::array::from_fn(|at| if at == 31 { (i % 100) as u8 } else { 0 }),
                1 => [0xff; 32],
                _ => *blake3::hash(&i.to_le_bytes()).as_bytes(),
            })
            .collect();
        for (number, part) in (0..).zip(ids.chunks(7)) {
            let mut one = pack(&[(&[], 0)]);
            let kind = number as u8 % 2 * 3;
            one.frames[0].blobs = part.iter().map(|id| FrameBlob { kind, len: 1, id: BlobId(*id) }).collect();
            all.add(number, &one).unwrap();
        }
        all.sort();
        let absent = [[1; 32], [0xfe; 32], [0; 32]];
        for id in ids.iter().chain(&absent).map(|id| BlobId(*id)) {
            for kind in [0, 1, 3] {
                let rows = (0..).zip(all.blobs());
                let plain: Vec<CopyNumber> =
                    rows.filter(|(_, b)| (b.kind, b.id) == (kind, id)).map(|(n, _)| n).collect();
                assert_eq!(all.copies(kind, &id), plain);
            }
        }
    }

    #[test]
    fn a_million_blobs_take_what_is_written_above() {
        assert_eq!(size_of::<FrameRow>(), 32);
        assert_eq!(size_of::<BlobRow>(), 44);
    }
}
