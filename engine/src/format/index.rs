//! Index objects (`docs/format.md`, "Index object"): what packs hold, sealed apart
//! so that nobody needs to read a pack's trailer to find a blob.
//!
//! ```text
//! version u8, 0 × 3, session 16
//! replaces: count u32, index ids 32 each
//! packs:    count u32, each { name 32, size u64, pack kind u8, flags u8, epoch u16, frame count u32, frame records }
//! extensions
//! ```

use crate::error::Malformed;
use crate::format::bytes::{Put, Take};
use crate::format::envelope::PREFIX_LEN;
use crate::format::frame::{FrameRecord, RECORD_FIXED_LEN};
use crate::format::pack::{put_extensions, take_extensions};
use crate::format::wire::{Extension, check_extensions};
use crate::format::{FORMAT_VERSION, MAX_PACK_BYTES};
use crate::id::{IndexId, PackId, SessionId};

const PACK_FIXED_LEN: usize = 32 + 8 + 1 + 1 + 2 + 4;

/// One pack as an index object lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedPack {
    /// Its name.
    pub id: PackId,
    /// Its length in bytes.
    pub size: u64,
    /// [`crate::format::pack::PackKind`] as a number.
    pub pack_kind: u8,
    /// 0.
    pub flags: u8,
    /// Key epoch of its frames.
    pub epoch: u16,
    /// Its frames.
    pub frames: Vec<FrameRecord>,
}

/// One index object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexObject {
    /// Who wrote it.
    pub session: SessionId,
    /// Index objects whose packs it lists anew.
    pub replaces: Vec<IndexId>,
    /// Packs.
    pub packs: Vec<IndexedPack>,
    /// For later versions.
    pub extensions: Vec<Extension>,
}

impl IndexObject {
    /// Its plaintext.
    pub fn encode(&self) -> Vec<u8> {
        let frames: usize = self.packs.iter().flat_map(|p| &p.frames).map(FrameRecord::encoded_len).sum();
        let mut put = Put::with_capacity(64 + self.packs.len() * PACK_FIXED_LEN + frames);
        put.u8(FORMAT_VERSION).zeros(3).bytes(self.session.as_bytes());
        put.u32(u32::try_from(self.replaces.len()).expect("because writers bound it"));
        for id in &self.replaces {
            put.bytes(id.as_bytes());
        }
        put.u32(u32::try_from(self.packs.len()).expect("because writers bound it"));
        for pack in &self.packs {
            put.bytes(pack.id.as_bytes()).u64(pack.size).u8(pack.pack_kind).u8(pack.flags).u16(pack.epoch);
            put.u32(u32::try_from(pack.frames.len()).expect("because a pack is bounded"));
            for frame in &pack.frames {
                frame.encode(&mut put);
            }
        }
        put_extensions(&mut put, &self.extensions);
        put.0
    }

    /// Reverse of [`IndexObject::encode`]; frames must lie inside their pack.
    pub fn decode(plain: &[u8]) -> Result<Self, Malformed> {
        let mut take = Take(plain);
        let version = take.u8()?;
        if version != FORMAT_VERSION {
            return Err(Malformed::new(format!("index version {version}")));
        }
        take.bytes(3)?;
        let session = SessionId(take.array()?);
        let count = take.count(IndexId::LEN)?;
        let mut replaces = Vec::with_capacity(count);
        for _ in 0..count {
            replaces.push(IndexId(take.array()?));
        }
        let count = take.count(PACK_FIXED_LEN)?;
        let mut packs = Vec::with_capacity(count);
        for _ in 0..count {
            packs.push(decode_pack(&mut take)?);
        }
        let extensions = take_extensions(&mut take)?;
        check_extensions(&extensions, &[], "index object")?;
        take.end()?;
        Ok(Self { session, replaces, packs, extensions })
    }
}

fn decode_pack(take: &mut Take<'_>) -> Result<IndexedPack, Malformed> {
    let (id, size) = (PackId(take.array()?), take.u64()?);
    let (pack_kind, flags, epoch) = (take.u8()?, take.u8()?, take.u16()?);
    if size > MAX_PACK_BYTES {
        return Err(Malformed::new(format!("a pack of {size} bytes")));
    }
    let count = take.count(RECORD_FIXED_LEN)?;
    let mut frames = Vec::with_capacity(count);
    for _ in 0..count {
        let frame = FrameRecord::decode(take)?;
        let end = u64::from(frame.offset) + u64::from(frame.stored_len);
        if (frame.offset as usize) < PREFIX_LEN || end > size {
            return Err(Malformed::new("a frame lies outside its pack"));
        }
        frames.push(frame);
    }
    Ok(IndexedPack { id, size, pack_kind, flags, epoch, frames })
}
