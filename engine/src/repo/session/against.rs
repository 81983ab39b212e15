//! Blobs that are stored as the difference to others.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use crate::codec::Hint;
use crate::error::{Error, Result};
use crate::format::frame::{Edge, FrameBlob};
use crate::format::pack::PackKind;
use crate::id::{BlobKind, BlobRef};
use crate::repo::frames::{self, Source};
use crate::repo::reader::{BlobBytes, Reader};
use crate::repo::session::{Session, Stored, locked};

/// What a blob may be stored as the difference to: a stretch of the bytes of known blobs, one after
/// the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRef {
    /// The blobs.
    pub blobs: Vec<BlobRef>,
    /// Where the stretch begins in their bytes.
    pub offset: u32,
    /// Its length.
    pub len: u32,
}

/// How a blob may be stored as a difference.
#[derive(Debug, Clone, Copy)]
pub struct Against<'a> {
    /// To these, likeliest first.
    pub sources: &'a [SourceRef],
    /// What its elements are.
    pub hint: Hint,
    /// Only if at least so much is saved against storing it alone.
    pub least_gain_percent: u8,
}

impl Session {
    /// Stores a blob as the difference to other blobs where that is shorter than alone. `reader` must
    /// read by this session's index. Bases come only from packs that were durable before this run, and
    /// a blob that the index names already is stored alone, even if its pack is gone: others may stand
    /// on it (design §3.2). A source that cannot be had is left out.
    pub fn store_against(
        &self,
        kind: BlobKind,
        plain: &[u8],
        against: &Against<'_>,
        reader: &Reader,
    ) -> Result<Stored> {
        let id = self.repo.blob_id(kind, plain);
        let blob = BlobRef::new(kind, id);
        if self.is_known(&blob)? {
            return Ok(Stored { id, new: false, sources: 0 });
        }
        let mut had = Vec::new();
        if !self.index.names(&blob)? {
            for source in against.sources {
                had.extend(self.had(source, reader)?);
            }
        }
        if had.is_empty() {
            return self.store_as(kind, id, plain, against.hint, None);
        }
        if !self.claim(&blob)? {
            return Ok(Stored { id, new: false, sources: 0 });
        }
        self.new_blobs.fetch_add(1, Ordering::Relaxed);
        self.new_bytes.fetch_add(plain.len() as u64, Ordering::Relaxed);
        let sources: Vec<Source<'_>> = had
            .iter()
            .map(|(source, bytes, height)| Source {
                blobs: source
                    .blobs
                    .iter()
                    .zip(bytes)
                    .map(|(b, bytes)| (Edge { how: 0, kind: b.kind as u8, id: b.id }, &**bytes))
                    .collect(),
                offset: source.offset,
                len: source.len,
                height: *height,
            })
            .collect();
        let len = u32::try_from(plain.len()).map_err(|_| Error::Internal("a blob over 4 GiB".into()))?;
        let blobs = vec![FrameBlob { kind: kind as u8, len, id }];
        let pack_kind = if kind.is_metadata() { PackKind::Metadata } else { PackKind::Data };
        let (hint, gain) = (against.hint, against.least_gain_percent);
        let (frame, used) = frames::make_against(&self.repo, plain, blobs, &sources, hint, gain)?;
        if used == 0 && len < self.repo.config().small_blob_bytes {
            // Small ones that stand alone share frames.
            self.put_alone(kind, id, plain, hint, None)?;
            return Ok(Stored { id, new: true, sources: 0 });
        }
        match &self.outbox {
            Some(outbox) => outbox.push(pack_kind, &frame)?,
            None => {
                self.extra_bytes.fetch_add(u64::from(frame.record.stored_len), Ordering::Relaxed);
            }
        }
        Ok(Stored { id, new: true, sources: used })
    }

    /// How high a source stands: the height of the highest of its blobs, each in the copy that would be
    /// relied on. `None` if one of them cannot be.
    pub fn height(&self, source: &SourceRef) -> Result<Option<u8>> {
        let mut height = 0;
        for blob in &source.blobs {
            match self.index.rely_on(blob, self.own_reader())? {
                Some(on) => height = height.max(on.height),
                None => return Ok(None),
            }
        }
        Ok(Some(height))
    }

    /// A source with its bytes and its height; `None` if it cannot be relied on or read.
    fn had<'s>(
        &self,
        source: &'s SourceRef,
        reader: &Reader,
    ) -> Result<Option<(&'s SourceRef, Vec<BlobBytes>, u8)>> {
        let (mut bytes, mut packs, mut height) = (Vec::new(), HashSet::new(), 0);
        for blob in &source.blobs {
            let Some(on) = self.index.rely_on(blob, self.own_reader())? else { return Ok(None) };
            // From no higher than what the new frame will stand on: else that may be damaged, and only
            // a copy above it whole.
            let Ok(read) = reader.base_bytes_up_to(blob, on.height) else { return Ok(None) };
            bytes.push(read);
            packs.extend(on.packs);
            height = height.max(on.height);
        }
        locked(&self.relied).extend(packs);
        Ok(Some((source, bytes, height)))
    }
}
