//! Reading blobs back: place → frame → blob, verified (invariant 5).
//!
//! No byte leaves before the keyed id of its blob was recomputed (once for a large chunk that stays in
//! memory). Of several copies the
//! usable one of least height is read; if its pack is missing or bad the next; then, once,
//! the index is made anew; then a condemned copy that still stands.
//!
//! Memory: shared frames and bases are kept in one cache, of [`CACHE_BYTES`] by default; a large chunk that
//! is alone in its frame is handed out and not kept. Two threads that want the same shared frame at
//! once decode it once: the second waits for that frame, never for a lock on the cache. Who decodes
//! waits at most for frames of lesser height, so no two can wait for each other; who weaves ([`loom`]), for
//! which others may wait while they decode, waits for none.

mod shelf;
mod trail;
mod woven;

use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use crate::codec;
use crate::error::{Error, Malformed, Result};
use crate::format::content::{Entry, ListV1, MAX_LIST_DEPTH};
use crate::format::frame::Edge;
use crate::id::{BlobId, BlobKind, BlobRef, ObjectName};
use crate::repo::Repository;
use crate::repo::frames::{self, FrameHead, SealedFrame};
use crate::repo::holdings::Holdings;
use crate::repo::index::inventory::FrameRow;
use crate::repo::index::{Index, Place, Places};
use crate::repo::ledger::Ledger;
use crate::repo::loom::{self, Loom};
use crate::repo::plain::Plain;
use crate::repo::trees::read_list;

pub use shelf::BlobBytes;
use shelf::{Frame, FrameCache, FrameKey};
pub use trail::Trail;
use woven::by_grains;

/// Plaintext of frames kept, unless [`Reader::keeping`] says otherwise.
const CACHE_BYTES: usize = 48 << 20;
/// Plaintext of all bases of one frame, together.
pub const MAX_BASE_BYTES: u64 = 64 << 20;

/// Is the frame of a large chunk, which is its own, kept in the cache?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Yes,
    No,
}

/// Reads blobs of one repository. Shared by threads.
pub struct Reader {
    repo: Repository,
    places: RwLock<Arc<dyn Places>>,
    /// May the index be made anew where it turns out to be old?
    renewable: bool,
    renewed: Mutex<bool>,
    cache: Mutex<FrameCache>,
    loom: Loom,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

impl Reader {
    /// With an index of its own.
    pub fn open(repo: &Repository) -> Result<Self> {
        let ledger = repo.ledger(false)?;
        Self::open_at(repo, &ledger)
    }

    /// The same, for who has read the ledger already.
    pub fn open_at(repo: &Repository, ledger: &Ledger) -> Result<Self> {
        Ok(Self::with_index(repo, Arc::new(Index::open(repo, ledger)?)))
    }

    /// On an index that is open.
    pub fn with_index(repo: &Repository, index: Arc<Index>) -> Self {
        Self::new(repo, index, true)
    }

    /// On other knowledge of where blobs stand; it is not made anew where it turns out to be old.
    pub fn with_places(repo: &Repository, places: Arc<dyn Places>) -> Self {
        Self::new(repo, places, false)
    }

    fn new(repo: &Repository, places: Arc<dyn Places>, renewable: bool) -> Self {
        Self {
            repo: repo.clone(),
            places: RwLock::new(places),
            renewable,
            renewed: Mutex::new(false),
            cache: Mutex::new(FrameCache::new(CACHE_BYTES)),
            loom: Loom::default(),
        }
    }

    /// Keeps frames of at most so much plaintext at a time, of none more than a quarter of that.
    pub fn keeping(mut self, bytes: usize) -> Self {
        self.cache = Mutex::new(FrameCache::new(bytes));
        self
    }

    /// The repository.
    pub fn repo(&self) -> &Repository {
        &self.repo
    }

    /// Where it finds blobs at the moment.
    pub fn places(&self) -> Arc<dyn Places> {
        self.places.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// The bytes of a blob, its id recomputed.
    pub fn blob(&self, kind: BlobKind, id: BlobId) -> Result<BlobBytes> {
        self.blob_below(&BlobRef::new(kind, id), u16::from(u8::MAX) + 1, Keep::No)
    }

    /// The same of a blob that others are stored as the difference to: its neighbours in a file
    /// will want it too, so it is kept for a while.
    pub fn base_bytes(&self, blob: &BlobRef) -> Result<BlobBytes> {
        self.base_bytes_up_to(blob, u8::MAX)
    }

    /// The same, from a copy no higher than `height`.
    pub fn base_bytes_up_to(&self, blob: &BlobRef, height: u8) -> Result<BlobBytes> {
        self.blob_below(blob, u16::from(height) + 1, Keep::Yes)
    }

    /// The bytes of this very copy, its id recomputed; its bases come from wherever they stand.
    pub fn copy_at(&self, blob: &BlobRef, place: &Place) -> Result<BlobBytes> {
        self.read_place(self.places().as_ref(), blob, place, Keep::No)
    }

    /// The same, from a copy of a height below `ceiling`: so decoding always descends.
    fn blob_below(&self, blob: &BlobRef, ceiling: u16, keep: Keep) -> Result<BlobBytes> {
        let mut reasons = Vec::new();
        if let Some(bytes) = self.try_copies(blob, ceiling, keep, &mut reasons)? {
            return Ok(bytes);
        }
        if self.renew_index()?
            && let Some(bytes) = self.try_copies(blob, ceiling, keep, &mut reasons)?
        {
            return Ok(bytes);
        }
        reasons.dedup();
        let reason =
            if reasons.is_empty() { "no index object names it".to_owned() } else { reasons.join("; ") };
        Err(Error::Missing { blob: blob.to_string(), reason })
    }

    fn try_copies(
        &self,
        blob: &BlobRef,
        ceiling: u16,
        keep: Keep,
        reasons: &mut Vec<String>,
    ) -> Result<Option<BlobBytes>> {
        let all = self.places();
        for place in all.places(blob)? {
            if u16::from(place.height) >= ceiling {
                reasons.push(format!("a copy of height {} cannot be its own base", place.height));
                continue;
            }
            match self.read_place(all.as_ref(), blob, &place, keep) {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(error) if error.is_ours() => {
                    return Err(error);
                }
                Err(error) => {
                    tracing::warn!(%blob, %error, "copy not readable");
                    reasons.push(error.to_string());
                }
            }
        }
        Ok(None)
    }

    fn read_place(&self, all: &dyn Places, blob: &BlobRef, place: &Place, keep: Keep) -> Result<BlobBytes> {
        let pack = all.pack(place.pack).ok_or_else(|| Error::Internal("a place without a pack".into()))?;
        if by_grains(place) {
            return self.read_woven(pack.id, blob, place);
        }
        let object: ObjectName = pack.id.into();
        let shared = place.blob_len != place.plain_len;
        if shared && let Some(bytes) = self.read_prepared(pack.id, blob, place)? {
            return Ok(bytes);
        }
        let frame = if shared || keep == Keep::Yes || blob.kind.is_metadata() {
            self.shared_frame(&object, (pack.id, place.offset, place.height), pack.epoch, place)?
        } else {
            Arc::new(self.read_frame(&object, pack.epoch, place)?.into())
        };
        let start = place.blob_offset as usize;
        let end = start + place.blob_len as usize;
        let plain = frame.plain.get(start..end).ok_or_else(|| {
            Error::corrupt(&object, format!("frame at {} is shorter than its blobs", place.offset))
        })?;
        let whole = plain.len() == frame.plain.len();
        if !whole || frame.holds.get() != Some(blob) {
            if self.repo.blob_id(blob.kind, plain) != blob.id {
                return Err(Error::corrupt(
                    &object,
                    format!("frame at {} holds another {blob}", place.offset),
                ));
            }
            if whole {
                frame.holds.get_or_init(|| *blob);
            }
        }
        Ok(BlobBytes { frame, start, end })
    }

    fn cache(&self) -> MutexGuard<'_, FrameCache> {
        self.cache.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A frame from the cache, or decoded by exactly one of those who want it.
    fn shared_frame(
        &self,
        object: &ObjectName,
        key: FrameKey,
        epoch: u16,
        place: &Place,
    ) -> Result<Arc<Frame>> {
        let in_flight = {
            let mut cache = self.cache();
            match cache.get(&key) {
                Some(frame) => return Ok(frame),
                None if loom::is_weaving() => None,
                None => Some(cache.in_flight.entry(key).or_default().clone()),
            }
        };
        let Some(in_flight) = in_flight else {
            let frame = Arc::new(Frame::from(self.read_frame(object, epoch, place)?));
            self.cache().put(key, frame.clone());
            return Ok(frame);
        };
        let mut failure = None;
        let decoded = in_flight.get_or_init(|| {
            let frame = self.read_frame(object, epoch, place).map(|plain| Arc::new(Frame::from(plain)));
            let mut cache = self.cache();
            cache.in_flight.remove(&key);
            match frame {
                Ok(frame) => {
                    cache.put(key, frame.clone());
                    Some(frame)
                }
                Err(error) => {
                    failure = Some(error);
                    None
                }
            }
        });
        match (decoded, failure) {
            (Some(frame), _) => Ok(frame.clone()),
            (None, Some(error)) => Err(error),
            // Another thread failed; its reason is not ours to guess.
            (None, None) => Ok(Arc::new(self.read_frame(object, epoch, place)?.into())),
        }
    }

    /// The same as [`Reader::read_frame`]; one that stands on nothing is kept for a while, since many stand on it.
    /// Nobody waits for one that has bases: they may want a plan that waits for this one.
    pub(crate) fn frame_bytes(
        &self,
        object: &ObjectName,
        key: FrameKey,
        epoch: u16,
        place: &Place,
    ) -> Result<BlobBytes> {
        let frame = match place.edges.is_empty() {
            true => self.shared_frame(object, key, epoch, place)?,
            false => Arc::new(self.read_frame(object, epoch, place)?.into()),
        };
        let end = frame.plain.len();
        Ok(BlobBytes { frame, start: 0, end })
    }

    /// A frame that is no delta by grains. Its blobs are not verified yet.
    pub(crate) fn read_frame(&self, object: &ObjectName, epoch: u16, place: &Place) -> Result<Plain> {
        let bases = self.bases(object, place.offset, &place.edges, place.height)?;
        let head = FrameHead {
            epoch,
            encoding: place.encoding,
            codec_version: place.codec_version,
            plain_len: place.plain_len,
            edges: &place.edges,
        };
        frames::fetch(&self.repo, object, place.offset, place.stored_len, &head, &bases)
    }

    fn bases(&self, object: &ObjectName, offset: u32, edges: &[Edge], height: u8) -> Result<Vec<BlobBytes>> {
        let mut bases = Vec::with_capacity(edges.len());
        let mut bytes = 0;
        for edge in edges {
            let base = self.base(edge, height)?;
            bytes += base.len() as u64;
            if bytes > MAX_BASE_BYTES {
                return Err(Error::corrupt(object, format!("frame at {offset} has bases over the limit")));
            }
            bases.push(base);
        }
        Ok(bases)
    }

    /// A frame as it is stored, and its plaintext, every blob of it verified: for who copies it.
    pub(crate) fn sealed_frame(&self, holdings: &Holdings, frame: &FrameRow) -> Result<(SealedFrame, Plain)> {
        let pack = holdings.packs[frame.pack as usize].info;
        let object: ObjectName = pack.id.into();
        let record = holdings.inventory.record(frame);
        let bytes = self.repo.store().get_range(&object, frame.offset.into(), frame.stored_len as usize)?;
        if codec::is_by_grains(record.encoding, record.codec_version) && !record.edges.is_empty() {
            let plain = self.woven_frame(holdings, frame, &bytes)?;
            return Ok((SealedFrame { record, bytes }, plain));
        }
        let bases = self.bases(&object, frame.offset, &record.edges, record.height)?;
        let head = FrameHead {
            epoch: pack.epoch,
            encoding: record.encoding,
            codec_version: record.codec_version,
            plain_len: record.plain_len,
            edges: &record.edges,
        };
        let damaged = |e: Malformed| e.of(format!("{object}, frame at {}", frame.offset));
        let plain = frames::open(&self.repo, &head, &bases, &bytes).map_err(damaged)?;
        let mut at = 0;
        for blob in &record.blobs {
            let part = &plain[at..at + blob.len as usize];
            at += blob.len as usize;
            let kind = BlobKind::from_byte(blob.kind)
                .ok_or_else(|| damaged(Malformed::new(format!("holds a blob of kind {}", blob.kind))))?;
            if self.repo.blob_id(kind, part) != blob.id {
                let reason = format!("holds another {} than {}", kind.word(), blob.id.short());
                return Err(damaged(Malformed::new(reason)));
            }
        }
        Ok((SealedFrame { record, bytes }, plain))
    }

    /// A list, from a copy of a height below `height`.
    pub(crate) fn list_below(&self, list: BlobId, height: u8) -> Result<ListV1> {
        let bytes = self.blob_below(&BlobRef::new(BlobKind::List, list), height.into(), Keep::Yes)?;
        read_list(list, &bytes)
    }

    /// The plaintext an edge names, verified as any blob is.
    fn base(&self, edge: &Edge, height: u8) -> Result<BlobBytes> {
        let unknown = || Error::corrupt("a frame", format!("has an edge of kind {}/{}", edge.how, edge.kind));
        let kind = BlobKind::from_byte(edge.kind).ok_or_else(unknown)?;
        let ceiling = u16::from(height);
        match edge.how {
            0 => self.blob_below(&BlobRef::new(kind, edge.id), ceiling, Keep::Yes),
            1 if kind == BlobKind::List => {
                let mut out = Vec::new();
                self.described(edge.id, ceiling, 0, &mut out)?;
                let end = out.len();
                Ok(BlobBytes { frame: Arc::new(Plain::from(out).into()), start: 0, end })
            }
            _ => Err(unknown()),
        }
    }

    /// The content that a list describes, appended to `out`. The lists too are read from copies of a height
    /// below `ceiling`: else one could be the difference to what it describes itself.
    fn described(&self, list: BlobId, ceiling: u16, depth: usize, out: &mut Vec<u8>) -> Result<()> {
        let refuse = |why: &str| Err(Error::corrupt(format!("content list {}", list.short()), why));
        if depth > MAX_LIST_DEPTH {
            return refuse("is nested too deep");
        }
        let bytes = self.blob_below(&BlobRef::new(BlobKind::List, list), ceiling, Keep::No)?;
        for entry in read_list(list, &bytes)?.entries {
            let len = entry.content_len();
            if len > MAX_BASE_BYTES.saturating_sub(out.len() as u64) {
                return refuse("describes more than a base may have");
            }
            let end = out.len() + usize::try_from(len).map_err(|_| Error::Internal("a long base".into()))?;
            match entry {
                _ if len == 0 => {}
                Entry::Chunk { id, .. } => {
                    let chunk = self.blob_below(&BlobRef::new(BlobKind::Chunk, id), ceiling, Keep::No)?;
                    out.extend_from_slice(&chunk);
                }
                Entry::List { id, .. } => self.described(id, ceiling, depth + 1, out)?,
                Entry::Hole { .. } => out.resize(end, 0),
                Entry::Inline { bytes } => out.extend_from_slice(&bytes),
                Entry::Tree { .. } => return refuse("has a directory in it"),
            }
            if out.len() != end {
                return refuse("does not describe what has the length it states");
            }
        }
        Ok(())
    }

    /// Once in a reader's life: another run may have moved blobs to other packs meanwhile.
    fn renew_index(&self) -> Result<bool> {
        if !self.renewable {
            return Ok(false);
        }
        let mut renewed = self.renewed.lock().unwrap_or_else(|e| e.into_inner());
        if !std::mem::replace(&mut *renewed, true) {
            let ledger = self.repo.ledger(false)?;
            let fresh = Arc::new(Index::open(&self.repo, &ledger)?);
            *self.places.write().unwrap_or_else(|e| e.into_inner()) = fresh;
        }
        Ok(true)
    }
}
