//! Packs (`docs/format.md`, "Pack").
//!
//! ```text
//! prefix 12 | frames … | trailer: nonce 24, ciphertext, tag 16 | footer: nonce 24, ciphertext 96, tag 16
//! ```
//! The *frame region* is everything before the trailer, the prefix too. The
//! footer has a fixed size, so that a reader finds the trailer from the end; its
//! section table has room for three more sections (parity).

use crate::error::Malformed;
use crate::format::bytes::{Put, Take};
use crate::format::envelope::{NONCE_LEN, PREFIX_LEN, TAG_LEN};
use crate::format::frame::{FrameRecord, RECORD_FIXED_LEN};
use crate::format::wire::{Bytes, Extension, check_extensions};
use crate::format::{FORMAT_VERSION, MAX_PACK_BYTES, MAX_TRAILER_BYTES};
use crate::id::{RepoId, SessionId};

/// Plaintext of a footer.
pub const FOOTER_PLAIN_LEN: usize = 96;
/// Sealed footer.
pub const FOOTER_LEN: usize = NONCE_LEN + FOOTER_PLAIN_LEN + TAG_LEN;
/// Smallest thing that can be a pack.
pub const MIN_PACK_LEN: u64 = (PREFIX_LEN + NONCE_LEN + TAG_LEN + FOOTER_LEN) as u64;
/// Section of the trailer.
pub const SECTION_TRAILER: u32 = 1;
/// Section reserved for parity.
pub const SECTION_PARITY: u32 = 2;
const MAX_SECTIONS: usize = 4;

/// What kind of blobs a pack holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PackKind {
    /// Chunks.
    Data = 1,
    /// Lists, trees, seam tables.
    Metadata = 2,
}

/// Sealed at the end of each pack: everything needed to rebuild the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    /// Who wrote it.
    pub session: SessionId,
    /// [`PackKind`] as a number.
    pub pack_kind: u8,
    /// 0.
    pub flags: u8,
    /// Length of the frame region.
    pub region_len: u64,
    /// BLAKE3 of the frame region.
    pub region_hash: [u8; 32],
    /// Every frame, by offset.
    pub frames: Vec<FrameRecord>,
    /// For later versions.
    pub extensions: Vec<Extension>,
}

impl Trailer {
    /// Plaintext without padding.
    ///
    /// `version u8, pack kind u8, flags u8, 0 u8, session 16, region length u64, region hash 32,
    /// frame count u32, frame records, extension count u16, extensions, then zeros`
    pub fn encode(&self) -> Put {
        let frames: usize = self.frames.iter().map(FrameRecord::encoded_len).sum();
        let mut put = Put::with_capacity(128 + frames);
        put.u8(FORMAT_VERSION).u8(self.pack_kind).u8(self.flags).u8(0);
        put.bytes(self.session.as_bytes()).u64(self.region_len).bytes(&self.region_hash);
        put.u32(u32::try_from(self.frames.len()).expect("because a pack is bounded"));
        for frame in &self.frames {
            frame.encode(&mut put);
        }
        put_extensions(&mut put, &self.extensions);
        put
    }

    /// Reads a trailer and checks that its frames lie one after the other inside the region.
    pub fn decode(plain: &[u8]) -> Result<Self, Malformed> {
        let mut take = Take(plain);
        let version = take.u8()?;
        if version != FORMAT_VERSION {
            return Err(Malformed::new(format!("trailer version {version}")));
        }
        let (pack_kind, flags, _) = (take.u8()?, take.u8()?, take.u8()?);
        let session = SessionId(take.array()?);
        let (region_len, region_hash) = (take.u64()?, take.array()?);
        if region_len < PREFIX_LEN as u64 || region_len > MAX_PACK_BYTES {
            return Err(Malformed::new(format!("frame region of {region_len} bytes")));
        }
        let count = take.count(RECORD_FIXED_LEN)?;
        let mut frames = Vec::with_capacity(count);
        let mut end = PREFIX_LEN as u64;
        for _ in 0..count {
            let frame = FrameRecord::decode(&mut take)?;
            if u64::from(frame.offset) != end {
                return Err(Malformed::new(format!(
                    "a frame begins at {} where {end} was due",
                    frame.offset
                )));
            }
            end += u64::from(frame.stored_len);
            frames.push(frame);
        }
        if end != region_len {
            return Err(Malformed::new(format!("frames end at {end}, the region at {region_len}")));
        }
        let extensions = take_extensions(&mut take)?;
        check_extensions(&extensions, &[], "pack trailer")?;
        take.zeros()?;
        Ok(Self { session, pack_kind, flags, region_len, region_hash, frames, extensions })
    }
}

/// `count u16`, then `tag u16, critical u8, length u32, bytes` each.
pub fn put_extensions(put: &mut Put, extensions: &[Extension]) {
    put.u16(u16::try_from(extensions.len()).expect("because writers add few"));
    for e in extensions {
        put.u16(e.tag).u8(u8::from(e.critical));
        put.u32(u32::try_from(e.data.len()).expect("because writers add little")).bytes(&e.data);
    }
}

/// Reverse of [`put_extensions`].
pub fn take_extensions(take: &mut Take<'_>) -> Result<Vec<Extension>, Malformed> {
    let count = usize::from(take.u16()?);
    if count * 7 > take.0.len() {
        return Err(Malformed::new("counts more extensions than there are bytes"));
    }
    let mut out = Vec::with_capacity(count);
    for _ in 0..count {
        let (tag, critical) = (take.u16()?, take.u8()?);
        if critical > 1 {
            return Err(Malformed::new("extension flag is neither 0 nor 1"));
        }
        let len = take.count(1)?;
        out.push(Extension { tag, critical: critical == 1, data: Bytes::from(take.bytes(len)?) });
    }
    Ok(out)
}

/// Sealed at the very end: where the sections are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footer {
    /// From the start of the pack to the trailer.
    pub trailer_offset: u64,
    /// Nonce, ciphertext and tag of the trailer.
    pub trailer_len: u64,
}

impl Footer {
    /// `version u8, section count u8, 0 u16, sections {kind u32, offset u64, length u64}, zeros` to 96 bytes.
    pub fn encode(&self) -> [u8; FOOTER_PLAIN_LEN] {
        let mut put = Put::with_capacity(FOOTER_PLAIN_LEN);
        put.u8(FORMAT_VERSION).u8(1).u16(0);
        put.u32(SECTION_TRAILER).u64(self.trailer_offset).u64(self.trailer_len);
        let mut out = [0; FOOTER_PLAIN_LEN];
        out[..put.0.len()].copy_from_slice(&put.0);
        out
    }

    /// Reads the footer of a pack of `pack_len` bytes; sections of unknown kind are passed over.
    pub fn decode(plain: &[u8], pack_len: u64) -> Result<Self, Malformed> {
        if plain.len() != FOOTER_PLAIN_LEN {
            return Err(Malformed::new(format!("footer of {} bytes", plain.len())));
        }
        let mut take = Take(plain);
        let (version, count) = (take.u8()?, usize::from(take.u8()?));
        if version != FORMAT_VERSION {
            return Err(Malformed::new(format!("footer version {version}")));
        }
        if count > MAX_SECTIONS {
            return Err(Malformed::new(format!("footer with {count} sections")));
        }
        take.u16()?;
        let mut trailer = None;
        for _ in 0..count {
            let (kind, offset, len) = (take.u32()?, take.u64()?, take.u64()?);
            let body_end = pack_len.saturating_sub(FOOTER_LEN as u64);
            if offset.checked_add(len).is_none_or(|end| end > body_end) {
                return Err(Malformed::new("a section lies outside the pack"));
            }
            if kind == SECTION_TRAILER && trailer.replace((offset, len)).is_some() {
                return Err(Malformed::new("two trailers"));
            }
        }
        let (trailer_offset, trailer_len) = trailer.ok_or_else(|| Malformed::new("no trailer section"))?;
        if !((NONCE_LEN + TAG_LEN) as u64..=MAX_TRAILER_BYTES).contains(&trailer_len) {
            return Err(Malformed::new(format!("trailer of {trailer_len} bytes")));
        }
        Ok(Self { trailer_offset, trailer_len })
    }
}

/// Associated data of trailers.
pub fn trailer_aad(repo: &RepoId, suite: u8, epoch: u16) -> Vec<u8> {
    part_aad(repo, b"trailer", suite, epoch)
}

/// Associated data of footers.
pub fn footer_aad(repo: &RepoId, suite: u8, epoch: u16) -> Vec<u8> {
    part_aad(repo, b"footer", suite, epoch)
}

fn part_aad(repo: &RepoId, part: &[u8], suite: u8, epoch: u16) -> Vec<u8> {
    let mut put = Put::with_capacity(64);
    put.bytes(repo.as_bytes()).bytes(part).u8(FORMAT_VERSION).u8(suite).u16(epoch);
    put.0
}
