//! Open packs: which one takes a frame, and when it closes (design §6).
//!
//! Data frames are spread at random over several open packs, so that the order and sizes of
//! a public model's chunks cannot be read off a pack. A pack closes once it is in its range
//! and just under a Padmé step, so that padding costs next to nothing; where a frame would
//! bring one there, that one takes it.

use crate::error::Result;
use crate::format::pack::PackKind;
use crate::format::padme;
use crate::repo::Repository;
use crate::repo::frames::SealedFrame;
use crate::repo::packfile::OpenPack;

/// Data packs open at a time.
const OPEN_DATA_PACKS: usize = 2;
/// Padding of a pack that closes in its range: at most one part in this many.
const TOLERANCE: u64 = 500;

/// Frame records of one pack: beyond this it closes, whatever its range. They stand in its trailer,
/// padding and all within [`crate::format::MAX_TRAILER_BYTES`], and once more in an index object.
const MAX_RECORDS_BYTES: usize = 8 << 20;

/// Sizes at which packs of one kind close.
#[derive(Debug, Clone, Copy)]
struct Range {
    min: u64,
    max: u64,
}

/// The open packs of one session.
pub struct Packer {
    data: Vec<OpenPack>,
    metadata: Option<OpenPack>,
    data_range: Range,
    metadata_range: Range,
    padded: bool,
    /// Buffers of packs that were stored, to be used again.
    spare: Vec<Vec<u8>>,
    epoch: u16,
}

impl Packer {
    /// With no pack open.
    pub fn new(repo: &Repository) -> Self {
        let c = repo.config();
        Self {
            data: Vec::new(),
            metadata: None,
            data_range: Range { min: c.data_pack_min_bytes.into(), max: c.data_pack_max_bytes.into() },
            metadata_range: Range {
                min: u64::from(c.metadata_pack_max_bytes) / 2,
                max: c.metadata_pack_max_bytes.into(),
            },
            padded: c.padding != 0,
            spare: Vec::new(),
            epoch: repo.keyring().current_epoch(),
        }
    }

    /// Puts a frame into an open pack; gives packs that are full by that. `chance` is random.
    pub fn push(&mut self, kind: PackKind, frame: &SealedFrame, chance: u64) -> Result<Vec<OpenPack>> {
        let mut full = Vec::new();
        if kind == PackKind::Metadata {
            let range = self.metadata_range;
            if let Some(pack) = self.metadata.take_if(|p| overflows(p, frame, range)) {
                full.push(pack);
            }
            if self.metadata.is_none() {
                self.metadata = Some(self.fresh(kind));
            }
            if let Some(pack) = &mut self.metadata {
                pack.push(frame)?;
            }
            if let Some(pack) = self.metadata.take_if(|p| closes_well(p.closed_len(), range, self.padded)) {
                full.push(pack);
            }
            return Ok(full);
        }
        let range = self.data_range;
        while self.data.len() < OPEN_DATA_PACKS {
            let pack = self.fresh(kind);
            self.data.push(pack);
        }
        let lucky = self.data.iter().position(|p| closes_well(p.closed_len_with(frame), range, self.padded));
        let at = lucky.unwrap_or(usize::try_from(chance % OPEN_DATA_PACKS as u64).unwrap_or(0));
        if overflows(&self.data[at], frame, range) {
            let fresh = self.fresh(kind);
            full.push(std::mem::replace(&mut self.data[at], fresh));
        }
        self.data[at].push(frame)?;
        if closes_well(self.data[at].closed_len(), range, self.padded) {
            full.push(self.data.swap_remove(at));
        }
        Ok(full)
    }

    fn fresh(&mut self, kind: PackKind) -> OpenPack {
        // Room for all it may ever hold, trailer and padding too: what is not touched costs nothing,
        // while growing step by step, for every pack anew, tears the heap to pieces.
        let room = usize::try_from(self.data_range.max + self.data_range.max / 16).unwrap_or(0);
        let buffer = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(room));
        OpenPack::new(kind, self.epoch, buffer)
    }

    /// Gives back the buffer of a pack that was stored. None is ever freed before the end: there are
    /// never more than were in use at the same time.
    pub fn give_back(&mut self, buffer: Vec<u8>) {
        self.spare.push(buffer);
    }

    /// What is still open at the end of a run: small packs are merged.
    pub fn drain(&mut self) -> Result<Vec<OpenPack>> {
        let mut out: Vec<OpenPack> = Vec::new();
        for pack in self.data.drain(..).filter(|p| !p.is_empty()) {
            match out.last_mut() {
                Some(last)
                    if last.closed_len() + pack.closed_len() <= self.data_range.max
                        && last.records_len() + pack.records_len() <= MAX_RECORDS_BYTES =>
                {
                    last.append(&pack)?
                }
                _ => out.push(pack),
            }
        }
        out.extend(self.metadata.take().filter(|p| !p.is_empty()));
        self.spare.clear();
        Ok(out)
    }
}

/// Would the pack grow beyond its range, or its records beyond what a reader takes? An empty one
/// takes any frame.
fn overflows(pack: &OpenPack, frame: &SealedFrame, range: Range) -> bool {
    let long = pack.closed_len_with(frame) > range.max || pack.records_len() > MAX_RECORDS_BYTES;
    long && !pack.is_empty()
}

/// In range, and so near under a step that padding costs next to nothing?
fn closes_well(len: u64, range: Range, padded: bool) -> bool {
    len >= range.min && len <= range.max && (!padded || padme::padded_len(len) - len <= len / TOLERANCE)
}
