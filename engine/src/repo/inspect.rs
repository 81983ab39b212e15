//! One pack, held in memory, against its name, its own trailer and what the index says of it; each
//! frame opened and decoded, each blob's id recomputed.
//!
//! A frame that is decoded against bases needs more than its pack: it is only named here, and read
//! through a [`Reader`](crate::repo::reader::Reader).

use crate::codec;
use crate::error::{Error, Malformed, Result};
use crate::format::frame::FrameRecord;
use crate::format::index::IndexedPack;
use crate::id::{BlobKind, BlobRef, PackId};
use crate::repo::Repository;
use crate::repo::frames::{self, FrameHead};
use crate::repo::packfile::{self, Tail};

/// The blobs that a pack says it holds, by its own trailer.
pub fn blobs_in(repo: &Repository, pack: PackId) -> Result<Vec<BlobRef>> {
    let (_, indexed) = packfile::read_trailer(repo, pack)?;
    let blobs = indexed.frames.iter().flat_map(|frame| &frame.blobs);
    Ok(blobs.filter_map(|b| Some(BlobRef::new(BlobKind::from_byte(b.kind)?, b.id))).collect())
}

/// What was found. Frames are counted in the order of the index's records.
#[derive(Debug, Default)]
pub struct Inspection {
    /// What is wrong with the pack apart from its frames.
    pub faults: Vec<String>,
    /// The pack is whole, and the index says something else of it.
    pub misindexed: bool,
    /// Frames that cannot be read, or hold something else than stated.
    pub bad_frames: Vec<(usize, String)>,
    /// Frames to be read through a reader.
    pub with_bases: Vec<usize>,
    /// Frames that this program cannot judge: their encoding, or a blob's kind, is not known to it.
    pub unknown_frames: u64,
    /// Plaintext that was recomputed.
    pub plain_bytes: u64,
}

/// Inspects `bytes`, which may be shorter or longer than the pack should be.
pub fn inspect(repo: &Repository, expected: &IndexedPack, bytes: &[u8]) -> Inspection {
    let mut found = Inspection::default();
    let part = |offset: u64, len: usize| -> Result<&[u8]> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let stretch = start.checked_add(len).and_then(|end| bytes.get(start..end));
        stretch.ok_or_else(|| Error::corrupt("pack", "ends early"))
    };
    let tail = packfile::read_tail(repo, expected.id, bytes.len() as u64, part);
    let named_well = hash(expected, bytes, tail.as_ref().ok(), &mut found);
    match tail {
        Ok(tail) if tail.indexed != *expected => {
            if named_well {
                found.misindexed = true;
            } else {
                found.faults.push("its trailer says something else than the index".into());
            }
        }
        Ok(_) => {}
        Err(Error::Corrupt { reason, .. }) => found.faults.push(format!("its end {reason}")),
        Err(error) => found.faults.push(error.to_string()),
    }
    for (number, record) in expected.frames.iter().enumerate() {
        if !codec::is_known(record.encoding, record.codec_version) {
            found.unknown_frames += 1;
            continue;
        }
        if !record.edges.is_empty() {
            found.with_bases.push(number);
            continue;
        }
        match open(repo, expected.epoch, record, bytes) {
            Ok(all) => found.unknown_frames += u64::from(!all),
            Err(error) => found.bad_frames.push((number, error.0)),
        }
        found.plain_bytes += u64::from(record.plain_len);
    }
    found
}

/// One pass over all bytes: the hash of the frame region on the way to the name.
fn hash(expected: &IndexedPack, bytes: &[u8], tail: Option<&Tail>, found: &mut Inspection) -> bool {
    let region = tail.and_then(|t| Some((usize::try_from(t.region_len).ok()?, t.region_hash)));
    let mut hasher = blake3::Hasher::new();
    let rest = match region.filter(|(len, _)| *len <= bytes.len()) {
        None => bytes,
        Some((len, stated)) => {
            let (region, rest) = bytes.split_at(len);
            hasher.update(region);
            if *hasher.finalize().as_bytes() != stated {
                found.faults.push("its frames are not those its trailer was made for".into());
            }
            rest
        }
    };
    hasher.update(rest);
    let same = *hasher.finalize().as_bytes() == expected.id.0;
    if !same {
        found.faults.insert(0, "its bytes do not match its name".into());
    }
    same
}

/// `false` if some blob is of a kind that this program has no id for.
fn open(repo: &Repository, epoch: u16, record: &FrameRecord, bytes: &[u8]) -> Result<bool, Malformed> {
    let head = FrameHead {
        epoch,
        encoding: record.encoding,
        codec_version: record.codec_version,
        plain_len: record.plain_len,
        edges: &record.edges,
    };
    let start = record.offset as usize;
    let stored = start.checked_add(record.stored_len as usize).and_then(|end| bytes.get(start..end));
    let stored = stored.ok_or_else(|| Malformed::new("lies beyond the end of the pack"))?;
    let plain = frames::open(repo, &head, &[], stored)?;
    let (mut at, mut all) = (0, true);
    for blob in &record.blobs {
        let end = at + blob.len as usize;
        let bytes = plain.get(at..end).ok_or_else(|| Malformed::new("is shorter than its blobs"))?;
        at = end;
        match BlobKind::from_byte(blob.kind) {
            Some(kind) if repo.blob_id(kind, bytes) == blob.id => {}
            Some(kind) => {
                return Err(Malformed::new(format!("holds another {} {}", kind.word(), blob.id.short())));
            }
            None => all = false,
        }
    }
    Ok(all)
}
