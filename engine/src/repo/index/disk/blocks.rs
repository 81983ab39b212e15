//! Blocks of rows: where each copy of a blob stands, sorted by kind, id and pack number. Pure; all rows have
//! the same length, so that a block is searched as it lies.
//!
//! ```text
//! kind u8 | id 32 | pack number u32, big-endian
//! offset u32 | stored length u32 | plain length u32 | encoding u8 | codec version u8 | height u8
//! blob offset u32 | blob length u32
//! ```
//! A block's key is [`LOWEST`] or that of the first row it was made with; it holds the rows from there to the next block's key.
//! Copies of one blob may go on in the next block: however many there are, a block stays short.

use crate::format::bytes::{Put, Take};
use crate::format::frame::{FrameBlob, FrameRecord};
use crate::repo::index::inventory::key;
use crate::repo::index::{PackNumber, Place};

/// Kind, id and pack number.
pub const KEY_LEN: usize = 37;
/// A row.
pub const ROW_LEN: usize = KEY_LEN + 23;
/// The key of the first block: nothing is below it.
pub const LOWEST: &[u8] = &[0];

/// A block that grew beyond so many rows is cut.
const MOST_ROWS: usize = 128;
/// Rows of the blocks it is cut into, about.
const ROWS: usize = 64;

/// A row as it lies in a block.
pub type Row = [u8; ROW_LEN];

/// The row of a blob in a frame.
pub fn row_of(pack: PackNumber, frame: &FrameRecord, blob: &FrameBlob, blob_offset: u32) -> Row {
    let mut put = Put::with_capacity(ROW_LEN);
    put.bytes(&key(blob.kind, &blob.id)).bytes(&pack.to_be_bytes());
    put.u32(frame.offset).u32(frame.stored_len).u32(frame.plain_len);
    put.u8(frame.encoding).u8(frame.codec_version).u8(frame.height);
    put.u32(blob_offset).u32(blob.len);
    put.0.try_into().expect("because these are the parts of a row")
}

fn place_of(row: &[u8]) -> Option<Place> {
    let mut take = Take(row.get(33..)?);
    Some(Place {
        pack: PackNumber::from_be_bytes(take.array().ok()?),
        offset: take.u32().ok()?,
        stored_len: take.u32().ok()?,
        plain_len: take.u32().ok()?,
        encoding: take.u8().ok()?,
        codec_version: take.u8().ok()?,
        height: take.u8().ok()?,
        blob_offset: take.u32().ok()?,
        blob_len: take.u32().ok()?,
        edges: Vec::new(),
    })
}

/// Sorted; of rows with the same key the last one.
pub fn in_order(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by(|a, b| a[..KEY_LEN].cmp(&b[..KEY_LEN]));
    rows.dedup_by(|later, earlier| {
        let same = later[..KEY_LEN] == earlier[..KEY_LEN];
        if same {
            *earlier = *later;
        }
        same
    });
    rows
}

fn rows_of(block: &[u8]) -> Option<&[Row]> {
    let (rows, rest) = block.as_chunks();
    rest.is_empty().then_some(rows)
}

/// The rows of a block and new ones, both in order; a new one takes the place of one with the same key. `None` if
/// the block is broken.
pub fn merged(block: &[u8], new: &[Row]) -> Option<Vec<Row>> {
    let mut old = rows_of(block)?.iter().peekable();
    let mut all = Vec::with_capacity(old.len() + new.len());
    for row in new {
        while let Some(before) = old.next_if(|old| old[..KEY_LEN] < row[..KEY_LEN]) {
            all.push(*before);
        }
        old.next_if(|old| old[..KEY_LEN] == row[..KEY_LEN]);
        all.push(*row);
    }
    all.extend(old);
    Some(all)
}

/// The blocks that rows make: one, if it is not too long.
pub fn cut(rows: &[Row]) -> impl Iterator<Item = &[u8]> {
    let many = if rows.len() <= MOST_ROWS { MOST_ROWS } else { ROWS };
    rows.chunks(many).map(<[Row]>::as_flattened)
}

/// Adds the places of the blob with this key (kind and id) in a block. `true` if more may stand in the next block;
/// `None` if the block is broken.
pub fn find(block: &[u8], key: &[u8], places: &mut Vec<Place>) -> Option<bool> {
    let rows = rows_of(block)?;
    let first = rows.partition_point(|row| &row[..key.len()] < key);
    for row in &rows[first..] {
        if &row[..key.len()] != key {
            return Some(false);
        }
        places.push(place_of(row)?);
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::frame::Edge;
    use crate::format::index::IndexedPack;
    use crate::id::BlobId;
    use crate::id::{BlobKind, BlobRef, PackId};
    use crate::repo::index::Lookup;
    use crate::repo::index::disk::DiskIndex;
    use crate::repo::index::inventory::Inventory;

    fn row(id: u8, pack: u32, len: u32) -> Row {
        let blob = FrameBlob { kind: 0, len, id: BlobId([id; 32]) };
        row_of(pack, &frame(4, 0, vec![blob]), &blob, 0)
    }

    fn frame(offset: u32, height: u8, blobs: Vec<FrameBlob>) -> FrameRecord {
        FrameRecord {
            offset,
            stored_len: 50,
            plain_len: 10,
            encoding: 0,
            codec_version: 1,
            height,
            flags: 0,
            edges: vec![Edge { how: 0, kind: 0, id: BlobId([offset as u8; 32]) }; usize::from(height)],
            blobs,
        }
    }

    #[test]
    fn rows_are_merged_in_order_and_the_last_one_of_a_key_counts() {
        let new = in_order(vec![row(5, 0, 1), row(2, 7, 1), row(5, 0, 2), row(2, 1, 1)]);
        assert_eq!(new, [row(2, 1, 1), row(2, 7, 1), row(5, 0, 2)]);
        let old = [row(1, 0, 9), row(2, 7, 9), row(9, 0, 9)];
        let all = merged(old.as_flattened(), &new).unwrap();
        assert_eq!(all, [row(1, 0, 9), row(2, 1, 1), row(2, 7, 1), row(5, 0, 2), row(9, 0, 9)]);
        let mut places = Vec::new();
        assert_eq!(find(all.as_flattened(), &key(0, &BlobId([2; 32])), &mut places), Some(false));
        assert_eq!(places.iter().map(|p| (p.pack, p.blob_len)).collect::<Vec<_>>(), [(1, 1), (7, 1)]);
        assert_eq!(find(all.as_flattened(), &key(0, &BlobId([9; 32])), &mut places), Some(true));
        assert_eq!(find(&all.as_flattened()[1..], &key(0, &BlobId([2; 32])), &mut places), None);
        assert_eq!(merged(&[0; ROW_LEN - 1], &new), None);
    }

    #[test]
    fn sled_and_memory_tell_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = DiskIndex::create(&dir.path().join("index")).unwrap();
        let mut memory = Inventory::default();
        // Some in one pack only, some in many, one in every pack and so in several blocks.
        let id = |n: u32| BlobId(*blake3::hash(&n.to_le_bytes()).as_bytes());
        let mut count = 0;
        for number in 0..400u32 {
            let ids = [0, number % 3, 10 + number % 50, 1000 + number, 2000 + number];
            let frames = (0..).zip(ids).map(|(at, n)| {
                let kind = n as u8 % 2 * 3;
                frame(16 + at * 50, (n % 3) as u8, vec![FrameBlob { kind, len: 10, id: id(n) }])
            });
            let mut frames: Vec<_> = frames.collect();
            if number % 3 == 0 {
                frames.remove(1);
            }
            count += frames.len() as u64;
            let pack =
                IndexedPack { id: PackId([1; 32]), size: 999, pack_kind: 0, flags: 0, epoch: 1, frames };
            disk.insert(&[(number, &pack)]).unwrap();
            memory.insert(&[(number, &pack)]).unwrap();
            if number % 37 == 0 {
                disk.flush().unwrap();
            }
            if number == 200 {
                disk.flush().unwrap();
                drop(disk);
                disk = DiskIndex::open(&dir.path().join("index"), count).unwrap();
            }
        }
        for n in 0..2500 {
            for kind in [BlobKind::Chunk, BlobKind::TreePart] {
                let blob = BlobRef::new(kind, id(n));
                let (mut left, mut right) = (disk.places(&blob).unwrap(), memory.places(&blob).unwrap());
                left.sort_by_key(|p| (p.pack, p.offset));
                right.sort_by_key(|p| (p.pack, p.offset));
                assert_eq!(left, right, "{n}");
                for place in left.iter().filter(|place| place.height > 0) {
                    assert_eq!(disk.blobs_at(place).unwrap()[0].id, id(n));
                }
            }
        }
        assert_eq!(disk.places(&BlobRef::new(BlobKind::Chunk, id(0))).unwrap().len(), 400);
    }
}
