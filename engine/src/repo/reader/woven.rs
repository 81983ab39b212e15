//! Reading what stands in deltas by grains: by a [`Loom`](crate::repo::loom), and many at once where that is known before.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use super::Reader;
use super::shelf::{BlobBytes, Frame};
use crate::codec;
use crate::error::{Error, Result};
use crate::id::{BlobKind, BlobRef, ObjectName, PackId};
use crate::progress::{Progress, Silent};
use crate::repo::frames;
use crate::repo::holdings::Holdings;
use crate::repo::index::Place;
use crate::repo::index::inventory::FrameRow;
use crate::repo::loom::{Failure, Pin};
use crate::repo::plain::Plain;

/// Does the place lie in a delta by grains?
pub fn by_grains(place: &Place) -> bool {
    codec::is_by_grains(place.encoding, place.codec_version) && !place.edges.is_empty()
}

impl Reader {
    /// A blob of which [`Reader::prepare`] decoded the frame.
    pub(super) fn read_prepared(
        &self,
        pack: PackId,
        blob: &BlobRef,
        place: &Place,
    ) -> Result<Option<BlobBytes>> {
        let key = (pack, place.offset, place.height);
        if !self.loom.has(key, place) {
            return Ok(None);
        }
        let mut plain = Plain::with_room(place.blob_len as usize);
        let read = self.loom.read(key, place, plain.bytes_mut())?;
        // Else the frame itself tells what is wrong.
        if !read || self.repo.blob_id(blob.kind, &plain) != blob.id {
            return Ok(None);
        }
        let end = plain.len();
        Ok(Some(BlobBytes { frame: Arc::new(Frame { plain, holds: OnceLock::from(*blob) }), start: 0, end }))
    }

    /// The same of a blob in a delta by grains.
    pub(super) fn read_woven(&self, pack: PackId, blob: &BlobRef, place: &Place) -> Result<BlobBytes> {
        let key = (pack, place.offset, place.height);
        let mut plain = Plain::with_room(place.blob_len as usize);
        if !self.loom.read(key, place, plain.bytes_mut())? {
            let (cloth, failures) = self.loom.weave(self, std::slice::from_ref(place), &[], &Silent)?;
            match failures.get(&key) {
                None => {}
                Some(Failure::Own(reason)) => return Err(Error::corrupt(ObjectName::from(pack), reason)),
                Some(Failure::Base(base, reason)) => {
                    return Err(Error::Missing { blob: base.to_string(), reason: reason.clone() });
                }
            }
            cloth.read(key, place, plain.bytes_mut())?;
        }
        if self.repo.blob_id(blob.kind, &plain) != blob.id {
            let reason = format!("frame at {} holds another {blob}", place.offset);
            return Err(Error::corrupt(ObjectName::from(pack), reason));
        }
        let end = plain.len();
        let frame = Arc::new(Frame { plain, holds: OnceLock::from(*blob) });
        Ok(BlobBytes { frame, start: 0, end })
    }

    /// Decodes what of these blobs stands in deltas by grains, all at once, each frame once: to be asked for before
    /// many of them are read. What cannot be had is found out when it is read. It is kept while the pin lives.
    pub fn prepare(&self, blobs: &[BlobRef], progress: &dyn Progress) -> Result<Pin<'_>> {
        let (pin, places) = (self.loom.pin(), self.places_of(blobs)?);
        let (wanted, others): (Vec<Place>, Vec<Place>) = places.into_iter().partition(by_grains);
        if !wanted.is_empty() {
            self.loom.weave(self, &wanted, &others, progress)?;
        }
        Ok(pin)
    }

    /// The same for blobs that will be read again and again, in any order: whatever frames they stand in.
    pub fn prepare_all(&self, blobs: &[BlobRef], progress: &dyn Progress) -> Result<Pin<'_>> {
        let (pin, places) = (self.loom.pin(), self.places_of(blobs)?);
        self.loom.weave(self, &places, &[], progress)?;
        Ok(pin)
    }

    /// Where these stand; of those in one delta by grains one does for all.
    fn places_of(&self, blobs: &[BlobRef]) -> Result<Vec<Place>> {
        let places = self.places();
        let (mut found, mut frames, mut beside) = (Vec::new(), HashSet::new(), HashSet::new());
        for blob in blobs {
            if beside.contains(blob) {
                continue;
            }
            let Some(place) = places.places(blob)?.into_iter().next() else { continue };
            if by_grains(&place) {
                if !frames.insert((place.pack, place.offset)) {
                    continue;
                }
                let all = places.blobs_at(&place)?;
                let known = all.iter().filter_map(|b| Some(BlobRef::new(BlobKind::from_byte(b.kind)?, b.id)));
                beside.extend(known);
            }
            found.push(place);
        }
        Ok(found)
    }

    /// The plaintext of a delta by grains, every blob of it verified; `bytes` are it as it is stored.
    pub(super) fn woven_frame(&self, holdings: &Holdings, frame: &FrameRow, bytes: &[u8]) -> Result<Plain> {
        let (first, blobs) = holdings.inventory.blobs_of(frame);
        let mut plain = Vec::with_capacity(frame.plain_len as usize);
        for (copy, blob) in (first..).zip(blobs) {
            let place = holdings.inventory.place(copy);
            let kind = BlobKind::from_byte(blob.kind)
                .ok_or_else(|| Error::corrupt("a frame", format!("holds a blob of kind {}", blob.kind)))?;
            let epoch = holdings.packs[frame.pack as usize].info.epoch;
            if plain.is_empty() {
                // What is copied is what was decoded.
                frames::open_encoded(&self.repo, epoch, &place, bytes)
                    .map_err(|e| e.of(format!("a frame at {}", frame.offset)))?;
            }
            plain.extend_from_slice(&self.copy_at(&BlobRef::new(kind, blob.id), &place)?);
        }
        Ok(plain.into())
    }
}
