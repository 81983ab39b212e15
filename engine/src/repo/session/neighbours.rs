//! Small chunks of neighbours in a directory share frames, in their order.

use crate::codec::Hint;
use crate::error::Result;
use crate::format::pack::PackKind;
use crate::id::BlobKind;
use crate::repo::gather::Gathering;
use crate::repo::session::{Session, Stored, locked};

/// Neighbours in a directory.
pub struct Neighbours<'s> {
    session: &'s Session,
    gathering: Gathering,
}

impl<'s> Neighbours<'s> {
    pub(super) fn of(session: &'s Session) -> Self {
        Self { session, gathering: Gathering::default() }
    }

    /// Stores a chunk unless it is known.
    pub fn store(&mut self, plain: &[u8]) -> Result<Stored> {
        self.store_typed(plain, Hint::NONE)
    }

    /// The same where it is known what its elements are.
    pub fn store_typed(&mut self, plain: &[u8], hint: Hint) -> Result<Stored> {
        let id = self.session.repo.blob_id(BlobKind::Chunk, plain);
        self.session.store_as(BlobKind::Chunk, id, plain, hint, Some(&mut self.gathering))
    }

    /// Writes what is left: a frame of its own if it is a good half of one, else into the
    /// session's shared frame.
    pub fn finish(mut self) -> Result<()> {
        let rest = std::mem::take(&mut self.gathering);
        if rest.plain.len() >= self.session.repo.config().frame_target_bytes as usize / 2 {
            return self.session.write_frame(PackKind::Data, &rest.plain, rest.blobs);
        }
        let mut at = 0;
        for blob in rest.blobs {
            let plain = &rest.plain[at..at + blob.len as usize];
            at += blob.len as usize;
            let full = self.session.gather(&mut locked(&self.session.shared_data), plain, blob);
            if let Some(full) = full {
                self.session.write_frame(PackKind::Data, &full.plain, full.blobs)?;
            }
        }
        Ok(())
    }
}
