//! Reading deltas by grains ([`crate::codec::grains`]): chains of a database's daily copies.
//!
//! A unit's old versions lie in a frame of each day, each frame takes grains from hundreds of others, and
//! these from theirs: decoded one by one, with whatever a cache still holds, that would take a multiple of
//! all there is at every level. So all frames that are wanted, and those they stand on, are found first and
//! then decoded once each, the lowest first ([`plan`]). Of each only its new grains are decoded; what
//! it copies is a place in the [`spool`], and pages that did not change are not touched.
//!
//! What is between stays unverified: a wrong grain makes the wanted blob wrong, whose id the reader recomputes
//! before a byte of it leaves (invariant 5). A writer asks for each blob it names as a base, so
//! that its id is recomputed, too (invariant 2).
//!
//! Memory: 8 MiB of the spool; four bytes for each grain of the frames at hand; for each thread one frame, as
//! it is stored and decoded, and its prefix: some 20 MiB at the usual sizes. What was decoded is kept for the
//! reader's next wish until it is more than [`MAX_SPOOL_BYTES`] or [`MAX_FRAMES`] and nobody holds a [`Pin`].

mod decode;
mod plan;
mod spool;

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard};

use crate::codec::grains::{GRAIN_BYTES, grains_of};
use crate::error::{Error, Result};
use crate::id::{ObjectName, PackId};
use crate::progress::Progress;
use crate::repo::index::Place;
use crate::repo::reader::Reader;
pub use plan::{Failure, Failures};
#[cfg(feature = "testing")]
pub use spool::TESTED_MEMORY_BYTES;
use spool::{At, STEP_BYTES, Spool};

/// What is kept between two wishes, in the spool.
const MAX_SPOOL_BYTES: u64 = 4 << 30;
/// The same, frames.
const MAX_FRAMES: usize = 100_000;

/// Pack, offset and height, as in the reader's cache.
type FrameKey = (PackId, u32, u8);
/// A blob in a frame: by its offset and length there. A place may be described twice, and hold other blobs each time.
type Spot = (FrameKey, u32, u32);

/// What was decoded.
#[derive(Debug, Default)]
pub struct Cloth {
    spool: Spool,
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Of frames by grains: where each of their grains lies.
    woven: HashMap<FrameKey, Arc<[At]>>,
    /// Of other frames: where a blob lies.
    plain: HashMap<Spot, At>,
}

/// Where a blob's grains lie.
#[derive(Debug, Clone)]
enum Threads {
    Plain(At),
    Woven(Arc<[At]>, usize),
}

impl Threads {
    fn grain(&self, number: usize) -> Option<At> {
        match self {
            Self::Plain(at) => Some(at + (number * GRAIN_BYTES / STEP_BYTES) as u32),
            Self::Woven(all, first) => all.get(first + number).copied(),
        }
    }
}

impl Cloth {
    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(|e| e.into_inner())
    }

    fn threads(&self, spot: &Spot) -> Option<Threads> {
        let known = self.known();
        if let Some(at) = known.plain.get(spot) {
            return Some(Threads::Plain(*at));
        }
        let (frame, offset, len) = spot;
        let all = known.woven.get(frame)?;
        let (first, is_whole) =
            (*offset as usize / GRAIN_BYTES, (*offset as usize).is_multiple_of(GRAIN_BYTES));
        let is_there = first + grains_of(*len as usize) <= all.len();
        (is_whole && is_there).then(|| Threads::Woven(all.clone(), first))
    }

    /// The bytes of a blob that was woven into it. Its id is not recomputed yet.
    pub fn read(&self, key: FrameKey, place: &Place, out: &mut [u8]) -> Result<()> {
        let spot = (key, place.blob_offset, place.blob_len);
        let threads = self.threads(&spot).ok_or_else(|| {
            let reason =
                format!("frame at {} has no grains of the blob at {}", place.offset, place.blob_offset);
            Error::corrupt(ObjectName::from(key.0), reason)
        })?;
        self.gather(&threads, 0..grains_of(out.len()), out)
    }

    /// Some grains of a blob, one after the other; the last fills what is left of `out`.
    fn gather(&self, threads: &Threads, grains: std::ops::Range<usize>, out: &mut [u8]) -> Result<()> {
        let missing = || Error::Internal("a grain that was not woven".into());
        let mut grains = grains.peekable();
        let mut from = 0;
        while let Some(first) = grains.next() {
            let at = threads.grain(first).ok_or_else(missing)?;
            let (mut next, mut count) = (at, 1);
            // Neighbours in the spool are read at once.
            while let Some(number) = grains.peek() {
                next += (GRAIN_BYTES / STEP_BYTES) as u32;
                if threads.grain(*number) != Some(next) {
                    break;
                }
                grains.next();
                count += 1;
            }
            let to = (from + count * GRAIN_BYTES).min(out.len());
            self.spool.read(at, out.get_mut(from..to).ok_or_else(missing)?)?;
            from = to;
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        let known = self.known();
        self.spool.bytes() > MAX_SPOOL_BYTES || known.woven.len() + known.plain.len() > MAX_FRAMES
    }
}

/// See the module's words.
#[derive(Debug, Default)]
pub struct Loom {
    cloth: RwLock<Arc<Cloth>>,
    weaving: Mutex<()>,
    pins: AtomicUsize,
}

/// While it lives, nothing that was decoded is given up.
#[derive(Debug)]
pub struct Pin<'l>(&'l Loom);

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        self.0.pins.fetch_sub(1, Ordering::Relaxed);
    }
}

thread_local! {
    /// This thread makes or follows a plan. Should it need another one on the way (for a difference of another kind
    /// that stands on a unit, or a list in a frame by grains), that is made at once: it only needs what is lower.
    static WEAVES: Cell<bool> = const { Cell::new(false) };
}

/// Is this thread at a plan? Then it must not wait for a frame that another thread decodes: that one may
/// wait for its turn to weave.
pub fn is_weaving() -> bool {
    WEAVES.get()
}

/// This thread is at a plan until this is dropped.
struct Weaving {
    before: bool,
}

impl Weaving {
    fn begin() -> Self {
        Self { before: WEAVES.replace(true) }
    }
}

impl Drop for Weaving {
    fn drop(&mut self) {
        WEAVES.set(self.before);
    }
}

impl Loom {
    /// Keeps what is decoded from now on.
    pub fn pin(&self) -> Pin<'_> {
        self.pins.fetch_add(1, Ordering::Relaxed);
        Pin(self)
    }

    /// Reads a blob if its frame was decoded before.
    pub fn read(&self, key: FrameKey, place: &Place, out: &mut [u8]) -> Result<bool> {
        let cloth = self.cloth.read().unwrap_or_else(|e| e.into_inner()).clone();
        if cloth.threads(&(key, place.blob_offset, place.blob_len)).is_none() {
            return Ok(false);
        }
        cloth.read(key, place, out).map(|()| true)
    }

    /// Was its frame decoded before?
    pub fn has(&self, key: FrameKey, place: &Place) -> bool {
        self.cloth
            .read()
            .unwrap_or_else(|e| e.into_inner())
            .threads(&(key, place.blob_offset, place.blob_len))
            .is_some()
    }

    /// Decodes what is wanted, each in this very copy, as far as that was not done before. What cannot be decoded
    /// is not in the cloth; why comes with it. Of `others` only those are taken in whose frame is decoded anyway.
    pub fn weave(
        &self,
        reader: &Reader,
        wanted: &[Place],
        others: &[Place],
        progress: &dyn Progress,
    ) -> Result<(Arc<Cloth>, Failures)> {
        let nested = WEAVES.get();
        let _one = (!nested).then(|| self.weaving.lock().unwrap_or_else(|e| e.into_inner()));
        let cloth = {
            let mut cloth = self.cloth.write().unwrap_or_else(|e| e.into_inner());
            if !nested && self.pins.load(Ordering::Relaxed) == 0 && cloth.is_full() {
                *cloth = Arc::default();
            }
            cloth.clone()
        };
        let _weaving = Weaving::begin();
        let failures = plan::weave(reader, &cloth, wanted, others, progress)?;
        Ok((cloth, failures))
    }
}
