//! Copying blobs out of packs that will go: frame by frame as they are sealed while half of a
//! frame lives, else the living blobs anew. What is copied was opened, decoded and verified
//! first: what we cannot read we do not write.
//!
//! No least height is ever raised (design §3.2): a frame that is copied keeps its bases, a blob
//! that is stored anew stands alone.

use crate::error::{Error, Result};
use crate::format::frame::FrameBlob;
use crate::format::pack::PackKind;
use crate::id::{BlobKind, BlobRef};
use crate::repo::gather::Gathering;
use crate::repo::holdings::Holdings;
use crate::repo::index::inventory::{CopyNumber, FrameNumber};
use crate::repo::outbox::Outbox;
use crate::repo::reader::Reader;

/// Small blobs that one thread copied and that are not in a frame yet.
#[derive(Debug, Default)]
pub struct Nearby {
    data: Gathering,
    metadata: Gathering,
}

/// See the module's words.
pub struct Copier<'a> {
    holdings: &'a Holdings,
    reader: &'a Reader,
    outbox: &'a Outbox,
    epoch: u16,
}

/// Where blobs of a kind are packed.
fn pack_kind(kind: BlobKind) -> PackKind {
    if kind.is_metadata() { PackKind::Metadata } else { PackKind::Data }
}

impl<'a> Copier<'a> {
    /// `reader` must read by `holdings`.
    pub fn new(holdings: &'a Holdings, reader: &'a Reader, outbox: &'a Outbox) -> Self {
        let epoch = reader.repo().keyring().current_epoch();
        Self { holdings, reader, outbox, epoch }
    }

    /// Copies what is `wanted` of a frame; `alone` says that it must not keep its bases.
    pub fn frame(
        &self,
        number: FrameNumber,
        alone: bool,
        wanted: impl Fn(CopyNumber) -> bool,
        near: &mut Nearby,
    ) -> Result<()> {
        let inventory = &self.holdings.inventory;
        let frame = &inventory.frames()[number as usize];
        let (first, blobs) = inventory.blobs_of(frame);
        let living: u64 =
            (first..).zip(blobs).filter(|(copy, _)| wanted(*copy)).map(|(_, b)| u64::from(b.len)).sum();
        let some = (first..).zip(blobs).any(|(copy, _)| wanted(copy));
        if !some {
            return Ok(());
        }
        let read = self.reader.sealed_frame(self.holdings, frame);
        if let Ok((sealed, _)) = &read
            && !alone
            && living * 2 >= u64::from(frame.plain_len)
            && self.holdings.packs[frame.pack as usize].info.epoch == self.epoch
        {
            let metadata =
                blobs.iter().all(|b| BlobKind::from_byte(b.kind).is_some_and(BlobKind::is_metadata));
            let kind = if metadata { PackKind::Metadata } else { PackKind::Data };
            return self.outbox.push(kind, sealed);
        }
        let mut at = 0;
        for (copy, blob) in (first..).zip(blobs) {
            let range = at..at + blob.len as usize;
            at = range.end;
            if !wanted(copy) {
                continue;
            }
            let kind = BlobKind::from_byte(blob.kind)
                .ok_or_else(|| Error::Internal("a blob of unknown kind is wanted".into()))?;
            let blob = BlobRef::new(kind, blob.id);
            match &read {
                Ok((_, plain)) => self.anew(blob, &plain[range], near)?,
                // Another copy may be readable; else this is the end of it.
                Err(_) => self.blob(blob, near)?,
            }
        }
        Ok(())
    }

    /// Stores a blob anew, alone, from whichever copy can be read.
    pub fn blob(&self, blob: BlobRef, near: &mut Nearby) -> Result<()> {
        let bytes = self.reader.blob(blob.kind, blob.id)?;
        self.anew(blob, &bytes, near)
    }

    /// Stores a blob alone. `plain` must be what its id says.
    pub fn anew(&self, blob: BlobRef, plain: &[u8], near: &mut Nearby) -> Result<()> {
        let kind = pack_kind(blob.kind);
        let len = u32::try_from(plain.len()).map_err(|_| Error::Internal("a blob over 4 GiB".into()))?;
        let record = FrameBlob { kind: blob.kind as u8, len, id: blob.id };
        let config = self.reader.repo().config();
        if len >= config.small_blob_bytes {
            return self.outbox.write(kind, plain, vec![record]);
        }
        let gathering = if kind == PackKind::Metadata { &mut near.metadata } else { &mut near.data };
        match gathering.add(config.frame_target_bytes, plain, record) {
            Some(full) => self.outbox.write(kind, &full.plain, full.blobs),
            None => Ok(()),
        }
    }

    /// Writes what is left of small blobs.
    pub fn finish(&self, near: Nearby) -> Result<()> {
        for (kind, rest) in [(PackKind::Data, near.data), (PackKind::Metadata, near.metadata)] {
            if !rest.is_empty() {
                self.outbox.write(kind, &rest.plain, rest.blobs)?;
            }
        }
        Ok(())
    }
}
