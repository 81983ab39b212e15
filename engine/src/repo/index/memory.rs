//! The index in memory: one sorted array, some 72 bytes an entry. For runs without a cache,
//! and for a second process while the first has sled open.

use crate::error::Result;
use crate::format::frame::Edge;
use crate::format::index::IndexedPack;
use crate::id::{BlobId, BlobKind, BlobRef};
use crate::repo::index::{Lookup, PackNumber, Place};

type Key = [u8; 33];

#[derive(Debug, Clone)]
struct Row {
    key: Key,
    encoding: u8,
    codec_version: u8,
    height: u8,
    pack: PackNumber,
    offset: u32,
    stored_len: u32,
    plain_len: u32,
    blob_offset: u32,
    blob_len: u32,
    /// First of the frame's edges in `edges`, and how many; most frames have none.
    first_edge: u32,
    edge_count: u8,
}

/// A sorted array of places.
#[derive(Debug, Default)]
pub struct MemoryIndex {
    rows: Vec<Row>,
    edges: Vec<Edge>,
    sorted: bool,
}

/// Kind and id in one key, so that a kind lies together.
pub fn key(kind: u8, id: &BlobId) -> Key {
    let mut key = [kind; 33];
    key[1..].copy_from_slice(id.as_bytes());
    key
}

impl MemoryIndex {
    /// At the first look-up, not at each insertion: thousands of objects are taken in one by one.
    fn sort(&mut self) {
        if !self.sorted {
            self.rows.sort_unstable_by_key(|row| row.key);
            self.sorted = true;
        }
    }
}

impl Lookup for MemoryIndex {
    fn places(&mut self, blob: &BlobRef) -> Result<Vec<Place>> {
        let key = key(blob.kind as u8, &blob.id);
        self.sort();
        let start = self.rows.partition_point(|row| row.key < key);
        let found = self.rows[start..].iter().take_while(|row| row.key == key).map(|row| Place {
            pack: row.pack,
            offset: row.offset,
            stored_len: row.stored_len,
            plain_len: row.plain_len,
            encoding: row.encoding,
            codec_version: row.codec_version,
            height: row.height,
            blob_offset: row.blob_offset,
            blob_len: row.blob_len,
            edges: self.edges[row.first_edge as usize..][..usize::from(row.edge_count)].to_vec(),
        });
        Ok(found.collect())
    }

    fn insert(&mut self, packs: &[(PackNumber, &IndexedPack)]) -> Result<()> {
        for (pack, frame) in packs.iter().flat_map(|(n, pack)| pack.frames.iter().map(move |f| (*n, f))) {
            let first_edge = u32::try_from(self.edges.len()).unwrap_or(u32::MAX);
            self.edges.extend_from_slice(&frame.edges);
            let mut blob_offset = 0;
            for blob in &frame.blobs {
                if BlobKind::from_byte(blob.kind).is_some() {
                    self.rows.push(Row {
                        key: key(blob.kind, &blob.id),
                        encoding: frame.encoding,
                        codec_version: frame.codec_version,
                        height: frame.height,
                        pack,
                        offset: frame.offset,
                        stored_len: frame.stored_len,
                        plain_len: frame.plain_len,
                        blob_offset,
                        blob_len: blob.len,
                        first_edge,
                        edge_count: u8::try_from(frame.edges.len()).unwrap_or(u8::MAX),
                    });
                }
                blob_offset += blob.len;
            }
        }
        self.sorted = false;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
