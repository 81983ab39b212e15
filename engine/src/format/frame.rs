//! Frame records: where a frame stands, how it is encoded and what is in it
//! (`docs/format.md`, "Frame record"). The same bytes in a pack's trailer and in
//! index objects.
//!
//! ```text
//!  0  4  offset in the pack
//!  4  4  stored length: nonce, ciphertext, tag
//!  8  4  plain length
//! 12  1  encoding
//! 13  1  codec version
//! 14  1  height
//! 15  1  flags, 0
//! 16  1  number of edges
//! 17  2  number of blobs
//! 19     edges: how u8 | blob kind u8 | id 32
//!        blobs: blob kind u8 | length u32 | id 32
//! ```
//! Edges and height stand outside the encoded bytes, so that liveness can be
//! computed under an encoding that is not known.

use crate::error::Malformed;
use crate::format::bytes::{Put, Take};
use crate::format::{MAX_FRAME_BLOBS, MAX_FRAME_EDGES, MAX_FRAME_PLAIN_BYTES, MAX_FRAME_STORED_BYTES};
use crate::id::{BlobId, RepoId};

/// Nonce and tag around a frame's encoded bytes.
pub const SEAL_OVERHEAD: u32 = 24 + 16;
/// Fixed part of a record.
pub const RECORD_FIXED_LEN: usize = 19;
/// One edge.
pub const EDGE_LEN: usize = 34;
/// One blob.
pub const BLOB_LEN: usize = 37;

/// How a frame's bytes are stored. A closed set with one-byte tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// As they are.
    Raw = 0,
    /// One zstd frame.
    Zstd = 1,
    /// Byte planes of numbers, each its own zstd frame or raw.
    Planes = 2,
    /// Against the bytes its edges name.
    Delta = 3,
}

impl Encoding {
    /// From its tag.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Raw, Self::Zstd, Self::Planes, Self::Delta].get(usize::from(byte)).copied()
    }
}

/// What a delta frame is decoded against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Edge {
    /// 0: the bytes of that blob. 1: the content that list describes.
    pub how: u8,
    /// Blob kind, as a number: a reader keeps what it does not know.
    pub kind: u8,
    /// Blob id.
    pub id: BlobId,
}

/// One blob inside a frame; its offset is the sum of the lengths before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameBlob {
    /// Blob kind, as a number: a reader keeps what it does not know.
    pub kind: u8,
    /// Length of the plaintext.
    pub len: u32,
    /// Blob id.
    pub id: BlobId,
}

/// Where a frame stands and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameRecord {
    /// From the start of the pack.
    pub offset: u32,
    /// Nonce, ciphertext and tag.
    pub stored_len: u32,
    /// Sum of the blobs' lengths.
    pub plain_len: u32,
    /// Encoding tag, as a number: see [`Encoding::from_byte`].
    pub encoding: u8,
    /// Version of that encoding.
    pub codec_version: u8,
    /// 0 alone; else 1 + the greatest height among its bases.
    pub height: u8,
    /// 0.
    pub flags: u8,
    /// Bases.
    pub edges: Vec<Edge>,
    /// Content.
    pub blobs: Vec<FrameBlob>,
}

impl FrameRecord {
    /// Length of [`FrameRecord::encode`].
    pub fn encoded_len(&self) -> usize {
        RECORD_FIXED_LEN + self.edges.len() * EDGE_LEN + self.blobs.len() * BLOB_LEN
    }

    /// Appends the record.
    pub fn encode(&self, put: &mut Put) {
        debug_assert!(self.edges.len() <= MAX_FRAME_EDGES && self.blobs.len() <= MAX_FRAME_BLOBS);
        put.u32(self.offset).u32(self.stored_len).u32(self.plain_len);
        put.u8(self.encoding).u8(self.codec_version).u8(self.height).u8(self.flags);
        put.u8(u8::try_from(self.edges.len()).expect("because writers bound edges"));
        put.u16(u16::try_from(self.blobs.len()).expect("because writers bound blobs"));
        for edge in &self.edges {
            put.u8(edge.how).u8(edge.kind).bytes(edge.id.as_bytes());
        }
        for blob in &self.blobs {
            put.u8(blob.kind).u32(blob.len).bytes(blob.id.as_bytes());
        }
    }

    /// Reads one record and checks all that can be checked without its pack.
    pub fn decode(take: &mut Take<'_>) -> Result<Self, Malformed> {
        let (offset, stored_len, plain_len) = (take.u32()?, take.u32()?, take.u32()?);
        let (encoding, codec_version, height, flags) = (take.u8()?, take.u8()?, take.u8()?, take.u8()?);
        let (edge_count, blob_count) = (usize::from(take.u8()?), usize::from(take.u16()?));
        if plain_len > MAX_FRAME_PLAIN_BYTES || stored_len > MAX_FRAME_STORED_BYTES {
            return Err(Malformed::new(format!(
                "a frame of {plain_len} bytes ({stored_len} stored) is over the limit"
            )));
        }
        if stored_len < SEAL_OVERHEAD {
            return Err(Malformed::new("a frame is shorter than its seal"));
        }
        if blob_count == 0 || blob_count > MAX_FRAME_BLOBS {
            return Err(Malformed::new(format!("a frame of {blob_count} blobs")));
        }
        if (height == 0) != (edge_count == 0) {
            return Err(Malformed::new(format!("a frame of height {height} with {edge_count} edges")));
        }
        if offset.checked_add(stored_len).is_none() {
            return Err(Malformed::new("a frame ends beyond any pack"));
        }
        let need = edge_count * EDGE_LEN + blob_count * BLOB_LEN;
        if take.0.len() < need {
            return Err(Malformed::new("a frame record ends early"));
        }
        let mut edges = Vec::with_capacity(edge_count);
        for _ in 0..edge_count {
            edges.push(Edge { how: take.u8()?, kind: take.u8()?, id: BlobId(take.array()?) });
        }
        let mut blobs = Vec::with_capacity(blob_count);
        let mut sum = 0u64;
        for _ in 0..blob_count {
            let blob = FrameBlob { kind: take.u8()?, len: take.u32()?, id: BlobId(take.array()?) };
            sum += u64::from(blob.len);
            blobs.push(blob);
        }
        if sum != u64::from(plain_len) {
            return Err(Malformed::new(format!("a frame of {plain_len} bytes lists blobs of {sum}")));
        }
        Ok(Self { offset, stored_len, plain_len, encoding, codec_version, height, flags, edges, blobs })
    }
}

/// Associated data of a frame (design §6): no pack and no offset, so that it can
/// be copied to another pack as it is.
pub fn aad(
    repo: &RepoId,
    suite: u8,
    epoch: u16,
    encoding: u8,
    codec_version: u8,
    plain_len: u32,
    edges: &[Edge],
) -> Vec<u8> {
    let mut put = Put::with_capacity(64 + edges.len() * EDGE_LEN);
    put.bytes(repo.as_bytes()).bytes(b"frame").u8(super::FORMAT_VERSION).u8(suite).u16(epoch);
    put.u8(encoding).u8(codec_version).u32(plain_len);
    put.u8(u8::try_from(edges.len()).expect("because writers and readers bound edges"));
    for edge in edges {
        put.u8(edge.how).u8(edge.kind).bytes(edge.id.as_bytes());
    }
    put.0
}
