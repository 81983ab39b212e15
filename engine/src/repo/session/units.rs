//! Storing units of a database: many to a frame, alone or by grains against older ones.

use std::sync::atomic::Ordering;

use super::{Session, locked};
use crate::codec;
use crate::error::{Error, Result};
use crate::format::frame::{Encoding, FrameBlob};
use crate::format::pack::PackKind;
use crate::id::{BlobId, BlobKind, BlobRef};
use crate::repo::frames::{self, ByGrains, SealedFrame};

impl Session {
    /// Takes a chunk upon the caller, who must store it: `false` if it is known, or another does.
    pub fn take_chunk(&self, id: BlobId, len: usize) -> Result<bool> {
        let taken = self.claim(&BlobRef::new(BlobKind::Chunk, id))?;
        if taken {
            self.new_blobs.fetch_add(1, Ordering::Relaxed);
            self.new_bytes.fetch_add(len as u64, Ordering::Relaxed);
        }
        Ok(taken)
    }

    /// May a chunk that was taken be stored against others? Not if some pack ever held it: others may
    /// stand on it (design §3.2).
    pub fn may_stand_on_others(&self, id: BlobId) -> Result<bool> {
        Ok(!self.index.names(&BlobRef::new(BlobKind::Chunk, id))?)
    }

    /// Would these bytes, encoded alone, take less than so many?
    pub fn is_shorter_alone(&self, plain: &[u8], than: usize) -> bool {
        let mut out = Vec::new();
        let how = codec::encode(plain, &mut out);
        let len = if how.encoding == Encoding::Raw { plain.len() } else { out.len() };
        len < than
    }

    /// Stores chunks that were taken in a frame of their own. They lie one after the other in `plain`.
    pub fn store_units(&self, plain: &[u8], ids: &[(BlobId, u32)]) -> Result<()> {
        self.write_frame(PackKind::Data, plain, blobs(ids))
    }

    /// The same by grains. What `made` stands on is relied on from now on.
    pub fn store_units_against(
        &self,
        plain: &[u8],
        ids: &[(BlobId, u32)],
        made: &ByGrains<'_>,
    ) -> Result<()> {
        let height = made.height.saturating_add(1);
        let packs = self.index.packs_of_bases(made.edges, height, self.own_reader())?;
        locked(&self.relied)
            .extend(packs.ok_or_else(|| Error::Internal("a frame without its bases".into()))?);
        let frame = frames::make_by_grains(&self.repo, plain, blobs(ids), made)?;
        self.push(&frame)
    }

    fn push(&self, frame: &SealedFrame) -> Result<()> {
        match &self.outbox {
            Some(outbox) => outbox.push(PackKind::Data, frame),
            None => {
                self.extra_bytes.fetch_add(u64::from(frame.record.stored_len), Ordering::Relaxed);
                Ok(())
            }
        }
    }
}

fn blobs(ids: &[(BlobId, u32)]) -> Vec<FrameBlob> {
    ids.iter().map(|(id, len)| FrameBlob { kind: BlobKind::Chunk as u8, len: *len, id: *id }).collect()
}
