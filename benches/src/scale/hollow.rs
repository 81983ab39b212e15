//! Packs without data and the real index objects that name them.

use ballast::error::Result;
use ballast::format::frame::{Edge, Encoding, FrameBlob, FrameRecord};
use ballast::format::index::{IndexObject, IndexedPack};
use ballast::id::{BlobKind, PackId, SessionId};
use ballast::repo::Repository;

use crate::shape::{ALONE_BYTES, CHUNK_BYTES, DELTA_BYTES, PACK_BYTES, PACKS_PER_INDEX, id};
use crate::store::Unflushed;

/// Envelope before the first frame.
const FIRST_OFFSET: u32 = 16;
/// Trailer, padding and footer, about.
const TAIL_BYTES: u32 = 4096;

/// One run that writes packs.
pub struct Run<'a> {
    repo: &'a Repository,
    store: &'a Unflushed,
    session: SessionId,
    frames: Vec<FrameRecord>,
    end: u32,
    packs: Vec<IndexedPack>,
}

impl<'a> Run<'a> {
    /// With nothing written.
    pub fn begin(repo: &'a Repository, store: &'a Unflushed) -> Result<Self> {
        let session = SessionId(repo.surroundings().random()?);
        Ok(Self { repo, store, session, frames: Vec::new(), end: FIRST_OFFSET, packs: Vec::new() })
    }

    /// A chunk alone in its frame, as large ones are; with a base if its height is not 0.
    pub fn add(&mut self, number: u64, (height, back): (u8, u64)) -> Result<()> {
        let stored_len = if height == 0 { ALONE_BYTES } else { DELTA_BYTES };
        if self.end + stored_len + TAIL_BYTES > PACK_BYTES {
            self.close_pack()?;
        }
        let edge = Edge { how: 0, kind: BlobKind::Chunk as u8, id: id(number.saturating_sub(back)) };
        let encoding = if height == 0 { Encoding::Planes } else { Encoding::Delta };
        self.frames.push(FrameRecord {
            offset: self.end,
            stored_len,
            plain_len: CHUNK_BYTES,
            encoding: encoding as u8,
            codec_version: 1,
            height,
            flags: 0,
            edges: if height == 0 { Vec::new() } else { vec![edge] },
            blobs: vec![FrameBlob { kind: BlobKind::Chunk as u8, len: CHUNK_BYTES, id: id(number) }],
        });
        self.end += stored_len;
        Ok(())
    }

    fn close_pack(&mut self) -> Result<()> {
        if self.frames.is_empty() {
            return Ok(());
        }
        let id = PackId(self.repo.surroundings().random()?);
        let size = u64::from(self.end + TAIL_BYTES);
        self.store.put_hollow(id, size)?;
        let frames = std::mem::take(&mut self.frames);
        self.packs.push(IndexedPack { id, size, pack_kind: 0, flags: 0, epoch: 1, frames });
        self.end = FIRST_OFFSET;
        if self.packs.len() == PACKS_PER_INDEX { self.close_index() } else { Ok(()) }
    }

    fn close_index(&mut self) -> Result<()> {
        let packs = std::mem::take(&mut self.packs);
        if packs.is_empty() {
            return Ok(());
        }
        let object =
            IndexObject { session: self.session, replaces: Vec::new(), packs, extensions: Vec::new() };
        self.repo.put_index_object(&object).map(drop)
    }

    /// The last pack and the last index object.
    pub fn end(mut self) -> Result<()> {
        self.close_pack()?;
        self.close_index()
    }
}
