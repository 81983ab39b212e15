//! Which blobs can be had: by what the index says, and where that leaves a doubt, by reading.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use crate::codec::is_known;
use crate::error::{Error, Result};
use crate::id::{BlobKind, BlobRef};
use crate::op::repair::is_damage;
use crate::repo::bases::Bases;
use crate::repo::holdings::Holdings;
use crate::repo::index::inventory::FrameRow;
use crate::repo::reader::Reader;

/// What is to be thought of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// A copy stands in a pack that may be relied on, and so does all that is needed to decode it.
    Sound,
    /// It can be read, but only from packs that may not be relied on.
    Frail,
    /// It cannot be read.
    Lost,
}

/// See the module's words.
pub struct Judge<'a> {
    holdings: &'a Holdings,
    /// Reads by the same holdings.
    pub reader: &'a Reader,
    bases: Bases<'a>,
    doubted: Mutex<HashMap<BlobRef, Hold>>,
}

impl<'a> Judge<'a> {
    /// `reader` must read by `holdings`.
    pub fn new(holdings: &'a Holdings, reader: &'a Reader) -> Self {
        Self { holdings, reader, bases: Bases::new(holdings, reader), doubted: Mutex::default() }
    }

    /// Of a chunk or seam table the index is believed; trees and lists, few as they are and needed to
    /// find all else, are read.
    pub fn of(&self, blob: BlobRef) -> Result<Hold> {
        let walked = matches!(blob.kind, BlobKind::Tree | BlobKind::TreePart | BlobKind::List);
        let sound = self.is_sound(&blob);
        if sound && !walked {
            return Ok(Hold::Sound);
        }
        let known = self.doubted().get(&blob).copied();
        if let Some(hold) = known {
            return Ok(hold);
        }
        let hold = match self.reader.blob(blob.kind, blob.id) {
            Ok(_) if sound => Hold::Sound,
            Ok(_) => Hold::Frail,
            Err(error) if is_damage(&error) => {
                self.refuse_unknown(&blob)?;
                Hold::Lost
            }
            Err(error) => return Err(error),
        };
        self.doubted().insert(blob, hold);
        Ok(hold)
    }

    fn doubted(&self) -> MutexGuard<'_, HashMap<BlobRef, Hold>> {
        self.doubted.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Is there a copy in a usable pack, and can it be decoded from such?
    pub fn is_sound(&self, blob: &BlobRef) -> bool {
        self.is_sound_up_to(blob, u8::MAX)
    }

    /// The same, of a copy no higher than `height`.
    pub fn is_sound_up_to(&self, blob: &BlobRef, height: u8) -> bool {
        let inventory = &self.holdings.inventory;
        inventory.copies(blob.kind as u8, &blob.id).iter().any(|copy| {
            let frame = inventory.blobs()[*copy as usize].frame;
            inventory.frames()[frame as usize].height <= height && self.bases.is_decodable(*copy)
        })
    }

    fn frames_of(&self, blob: &BlobRef) -> impl Iterator<Item = &'a FrameRow> + use<'a> {
        let inventory = &self.holdings.inventory;
        let copies = inventory.copies(blob.kind as u8, &blob.id).iter();
        copies.map(|copy| &inventory.frames()[inventory.blobs()[*copy as usize].frame as usize])
    }

    /// What a newer program stored is not lost because this one cannot decode it.
    fn refuse_unknown(&self, blob: &BlobRef) -> Result<()> {
        let stands = |frame: &&FrameRow| self.holdings.packs[frame.pack as usize].info.standing;
        let unknown = |frame: &&FrameRow| !is_known(frame.encoding, frame.codec_version);
        match self.frames_of(blob).filter(stands).find(unknown) {
            None => Ok(()),
            Some(frame) => Err(Error::corrupt(
                blob,
                format!("is encoded in a way ({}) that this version does not know", frame.encoding),
            )),
        }
    }
}
